//! Many clusters in one dnsd: the one task that knows them all (`--domain-suffix`).
//!
//! Each cluster has a publisher of its own, which decides what is served in its zone. It is a value and not
//! a task: ten thousand idle tasks would take more memory than what they publish. The task here owns the
//! idle publishers, and hands one to a job while there is something to do for its cluster: a document to
//! publish, names to look up again, the cluster to remove. So the clusters do not wait for each other, be it
//! for name servers or for the disk, and within one cluster everything happens in order.
//!
//! A cluster comes to be by its first document and goes by `DELETE`. Nothing else removes one: a dnsd that
//! forgot clusters by itself, because nobody spoke of them for long, would clear what is served.
//!
//! Names are looked up again one cluster after the other, spread evenly over `--ttl-refresh`, and only a few
//! at a time. If that does not suffice the interval becomes longer, which `refresh_late_seconds` shows, and
//! name servers are not asked more. Clusters without names are never looked at.

mod load;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::admission::IfMatch;
use crate::directory::Slot;
use crate::labels::LABEL_BYTES_MAX;
use crate::publisher::{INBOX_MAX, Means, Published, Publisher, Put, PutError, Reply};
use crate::state::Store;
use crate::zone::{Registered, ZoneSettings, below};

pub use load::LoadError;

/// Orders that may wait to be looked at: as many as HTTP takes connections.
pub const ORDERS_MAX: usize = 256;
/// Clusters that are worked on at a time.
const JOBS_MAX: usize = 256;
/// Of these, most whose names are looked up again; each asks for up to 32 names at a time.
const REFRESHES_MAX: usize = 8;

/// What the zones have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// What stands behind the names of the clusters.
    pub suffix: Name,
    /// How long answers may be kept, in seconds.
    pub ttl_s: u32,
    /// Addresses of the name servers.
    pub server_ips: Vec<IpAddr>,
    /// Most clusters.
    pub clusters_max: usize,
}

impl Below {
    /// The zone of a cluster.
    pub fn zone(&self, cluster: &str) -> ZoneSettings {
        ZoneSettings {
            cluster: cluster.to_owned(),
            domain: below(cluster, &self.suffix),
            ttl_s: self.ttl_s,
            server_ips: self.server_ips.clone(),
        }
    }
}

/// Checks the name of a cluster, which is the label of its zone.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn check_name(name: &str) -> Result<(), String> {
    let sound = |character: u8| character.is_ascii_lowercase() || character.is_ascii_digit();
    match name.as_bytes() {
        [] => Err("it is empty".to_owned()),
        bytes if bytes.len() > LABEL_BYTES_MAX => {
            Err(format!("it has {} bytes, and a label of DNS at most {LABEL_BYTES_MAX}", bytes.len()))
        }
        bytes if !bytes.iter().all(|byte| sound(*byte) || *byte == b'-') => {
            Err("it may have lower-case letters, digits and hyphens".to_owned())
        }
        [b'-', ..] | [.., b'-'] => Err("it begins or ends with a hyphen".to_owned()),
        _ => Ok(()),
    }
}

/// Something to be done for one cluster.
#[derive(Debug)]
pub struct Order {
    /// The cluster, by a name that was checked.
    pub cluster: String,
    /// What.
    pub what: What,
}

/// What is to be done.
#[derive(Debug)]
pub enum What {
    /// Publish a document; makes the cluster if it is not there.
    Put(Put),
    /// Remove the cluster.
    Remove(Removal),
}

/// A cluster is to be removed.
#[derive(Debug)]
pub struct Removal {
    /// `If-Match`.
    pub if_match: Option<IfMatch>,
    /// Where the outcome goes.
    pub reply: oneshot::Sender<Result<(), RemovalError>>,
}

/// Why a cluster was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// There is none of this name.
    #[error("there is no such cluster")]
    Unknown,
    /// It stays.
    #[error(transparent)]
    Refused(#[from] PutError),
}

/// The owner of all publishers.
pub struct Clusters {
    means: Arc<Means>,
    below: Below,
    state_dir: PathBuf,
    refresh_interval: Duration,
    known: HashMap<Arc<str>, Cluster>,
    /// When the names of which cluster are to be looked up again.
    due: BTreeSet<(Instant, Arc<str>)>,
    jobs: JoinSet<Done>,
    refreshes: usize,
    /// No node is registered in any of these zones; a publisher wants to be told.
    nodes: watch::Receiver<Registered>,
}

/// One cluster.
struct Cluster {
    /// Away while a job has it.
    publisher: Option<Box<Publisher>>,
    waiting: VecDeque<What>,
    /// Ends the refresh that is under way.
    interrupt: Option<CancellationToken>,
    /// Its entry in `due`.
    due: Option<Instant>,
}

/// A job that has ended.
struct Done {
    cluster: Arc<str>,
    publisher: Box<Publisher>,
    outcome: Outcome,
}

enum Outcome {
    Published(Reply, Result<Published, PutError>),
    Removed(oneshot::Sender<Result<(), RemovalError>>, Result<(), PutError>),
    Refreshed,
}

impl Clusters {
    /// The clusters that earlier processes kept, already served.
    ///
    /// # Errors
    /// [`LoadError`] if the state folder cannot be listed. A file in it that cannot be used is told of in
    /// the log, and hides no other.
    pub async fn load(
        means: Arc<Means>,
        below: Below,
        state_dir: PathBuf,
        refresh_interval: Duration,
    ) -> Result<Self, LoadError> {
        // Nobody ever sends; the publishers see that and do not wait.
        let (_, nodes) = watch::channel(Registered::new());
        let publishers = load::load(&state_dir, &below, &means, &nodes).await?;
        let mut clusters = Self {
            means,
            below,
            state_dir,
            refresh_interval,
            known: HashMap::with_capacity(publishers.len()),
            due: BTreeSet::new(),
            jobs: JoinSet::new(),
            refreshes: 0,
            nodes,
        };
        let (now, count) = (Instant::now(), publishers.len().max(1));
        for (index, publisher) in publishers.into_iter().enumerate() {
            let slot = Arc::clone(publisher.slot());
            let cluster: Arc<str> = slot.settings.cluster.as_str().into();
            clusters.means.directory.add(&slot);
            clusters.known.insert(Arc::clone(&cluster), Cluster::idle(publisher));
            clusters.schedule(&cluster, now + refresh_interval.mul_f64(index as f64 / count as f64));
        }
        clusters.count();
        Ok(clusters)
    }

    /// Works until shutdown, then finishes what has begun.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Order>, shutdown: CancellationToken) {
        loop {
            self.start_due(Instant::now());
            let next_due = self.next_due();
            tokio::select! {
                () = shutdown.cancelled() => break,
                order = inbox.recv(), if self.jobs.len() < JOBS_MAX => match order {
                    Some(order) => self.take(order),
                    None => break,
                },
                Some(done) = self.jobs.join_next() => match done {
                    Ok(done) => self.done(done),
                    // A bug: the publisher is lost, and with it the order of things.
                    Err(_) => return,
                },
                () = sleep_until(next_due.unwrap_or_else(Instant::now)), if next_due.is_some() => {}
            }
        }
        for cluster in self.known.values() {
            cluster.interrupt.iter().for_each(CancellationToken::cancel);
        }
        while let Some(Ok(done)) = self.jobs.join_next().await {
            self.done(done);
        }
    }

    fn take(&mut self, order: Order) {
        let Order { cluster, what } = order;
        let is_known = self.known.contains_key(cluster.as_str());
        let room = is_known || self.known.len() < self.below.clusters_max;
        let what = match (what, is_known) {
            (What::Put(put), false) if !room => {
                let clusters_max = self.below.clusters_max;
                let _ = put.reply.send(Err(PutError::TooManyClusters { clusters_max }));
                return;
            }
            (What::Remove(removal), false) => {
                let _ = removal.reply.send(Err(RemovalError::Unknown));
                return;
            }
            (what, _) => what,
        };
        let name: Arc<str> = cluster.into();
        if !is_known {
            let zone = self.below.zone(&name);
            let slot = match Slot::new(zone) {
                Ok(slot) => Arc::new(slot),
                Err(error) => return what.refuse(PutError::TooLarge(error)),
            };
            let publisher = self.publisher(slot);
            self.known.insert(Arc::clone(&name), Cluster::idle(publisher));
        }
        let Some(cluster) = self.known.get_mut(&name) else { return };
        if cluster.waiting.len() >= INBOX_MAX {
            return what.refuse(PutError::Busy);
        }
        cluster.waiting.push_back(what);
        // A document that arrives is worth more than fresh addresses of the old one.
        cluster.interrupt.iter().for_each(CancellationToken::cancel);
        self.start_next(&name);
    }

    fn publisher(&self, slot: Arc<Slot>) -> Box<Publisher> {
        let store = Store::new(&self.state_dir, &slot.settings.cluster);
        Box::new(Publisher::new(slot, Arc::clone(&self.means), store, self.nodes.clone()))
    }

    /// Starts what waits for a cluster, unless it is being worked on.
    fn start_next(&mut self, name: &Arc<str>) {
        let Some(cluster) = self.known.get_mut(name) else { return };
        let Some(mut publisher) = cluster.publisher.take() else { return };
        let Some(what) = cluster.waiting.pop_front() else {
            cluster.publisher = Some(publisher);
            return;
        };
        let cluster = Arc::clone(name);
        self.jobs.spawn(async move {
            let outcome = match what {
                What::Put(put) => {
                    let (reply, published) = publisher.publish(put).await;
                    Outcome::Published(reply, published)
                }
                What::Remove(removal) => {
                    let forgotten = publisher.forget(removal.if_match.as_ref()).await;
                    Outcome::Removed(removal.reply, forgotten)
                }
            };
            Done { cluster, publisher, outcome }
        });
    }

    fn done(&mut self, done: Done) {
        let Done { cluster: name, publisher, outcome } = done;
        let slot = Arc::clone(publisher.slot());
        let Some(cluster) = self.known.get_mut(&name) else { return };
        if cluster.interrupt.take().is_some() {
            self.refreshes -= 1;
        }
        cluster.publisher = Some(publisher);
        match outcome {
            Outcome::Refreshed => {}
            Outcome::Published(reply, outcome) => {
                if outcome.is_ok() {
                    // From its first publication on it is there for everybody.
                    self.means.directory.add(&slot);
                    self.count();
                }
                // Nobody may be waiting any more; what was done stays done.
                let _ = reply.send(outcome);
            }
            Outcome::Removed(reply, outcome) => {
                if outcome.is_ok() {
                    self.means.directory.remove(&slot);
                    self.forget(&name);
                    tracing::info!(cluster = &*name, domain = %slot.settings.domain, "removed");
                }
                let _ = reply.send(outcome.map_err(RemovalError::from));
            }
        }
        let is_served = self.means.directory.of_cluster(&name).is_some();
        match self.known.get(&name) {
            // Its first document was refused: it never was.
            Some(cluster) if !is_served && cluster.is_idle() => self.forget(&name),
            Some(_) => {
                self.schedule(&name, Instant::now() + self.refresh_interval);
                self.start_next(&name);
            }
            None => {}
        }
    }

    /// Takes a cluster off the list. Whoever waits for it is heard as if the cluster had never been.
    fn forget(&mut self, name: &Arc<str>) {
        if let Some(cluster) = self.known.remove(name) {
            if let Some(due) = cluster.due {
                self.due.remove(&(due, Arc::clone(name)));
            }
            for what in cluster.waiting {
                self.take(Order { cluster: name.to_string(), what });
            }
        }
        self.count();
    }

    fn count(&self) {
        let count = self.means.directory.count();
        self.means.counters.clusters.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Notes when the names of a cluster are to be looked up again, if it has any.
    fn schedule(&mut self, name: &Arc<str>, at: Instant) {
        let Some(cluster) = self.known.get_mut(name) else { return };
        if let Some(due) = cluster.due.take() {
            self.due.remove(&(due, Arc::clone(name)));
        }
        if cluster.publisher.as_ref().is_some_and(|publisher| publisher.has_names()) {
            cluster.due = Some(at);
            self.due.insert((at, Arc::clone(name)));
        }
    }

    /// When there is something to look up, and a place to do it.
    fn next_due(&self) -> Option<Instant> {
        let has_place = self.refreshes < REFRESHES_MAX && self.jobs.len() < JOBS_MAX;
        self.due.first().filter(|_| has_place).map(|(at, _)| *at)
    }

    fn start_due(&mut self, now: Instant) {
        while self.next_due().is_some_and(|at| at <= now)
            && let Some((at, name)) = self.due.pop_first()
        {
            self.means.counters.refresh_late.set((now - at).as_secs_f64());
            let Some(cluster) = self.known.get_mut(&name) else { continue };
            cluster.due = None;
            // While it is worked on; it is scheduled anew after that.
            let Some(mut publisher) = cluster.publisher.take() else { continue };
            let interrupt = CancellationToken::new();
            cluster.interrupt = Some(interrupt.clone());
            self.refreshes += 1;
            self.jobs.spawn(async move {
                publisher.look_again(&interrupt).await;
                Done { cluster: name, publisher, outcome: Outcome::Refreshed }
            });
        }
    }
}

impl Cluster {
    fn idle(publisher: Box<Publisher>) -> Self {
        Self { publisher: Some(publisher), waiting: VecDeque::new(), interrupt: None, due: None }
    }

    fn is_idle(&self) -> bool {
        self.publisher.is_some() && self.waiting.is_empty()
    }
}

impl What {
    fn refuse(self, error: PutError) {
        match self {
            Self::Put(put) => drop(put.reply.send(Err(error))),
            Self::Remove(removal) => drop(removal.reply.send(Err(RemovalError::Refused(error)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for name in ["a", "0", "redis-1", "xn--bcher-kva", &"a".repeat(63)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a.b", "a_b", "a b", "ä", "a\0", "*", &"a".repeat(64)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
