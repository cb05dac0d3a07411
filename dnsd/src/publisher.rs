//! Who decides what is served in one zone.
//!
//! It owns the publication in force: documents come to it one after the other, and between them it looks
//! the names up again. With one zone it is a task with a bounded inbox; with many it is worked by `clusters`. The order of a change is always the same: look up,
//! build, keep on disk, serve, answer. So a restart serves what was answered for, and whatever fails on
//! the way (a name server, the disk) leaves what is served as it was. Nothing ever clears it.
//!
//! A client that hangs up cancels nothing: the handler only sends and waits.
//!
//! Beside the document there may be nodes that something else registers (`--nodes-etcd`). Their names are
//! a part of the zone, and before the first publication they are all of it.
//!
//! Refreshing must not make things worse. A name that cannot be looked up keeps its last addresses, with
//! one warning when that begins and one line when it ends; a change of the zone's content gets a new serial,
//! and no change gets none.

mod addresses;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use resolve::{Resolved, Resolver};
use service::admin::Latch;
use service::clock;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use topology::{Address, Document, NodeName};
use tracing::Instrument;

use crate::admission::{self, Current, IfMatch};
use crate::directory::{Directory, Slot};
use crate::metrics::Counters;
use crate::publication::{Answers, Publication, next_serial};
use crate::state::{Kept, Store};
use crate::zone::{Members, Registered, Stamp, bare, build};

use addresses::{good, literal, look_up, problem_of, with_literals};
pub use request::{INBOX_MAX, Published, Put, PutError, Reply};

/// What every publisher works with.
pub struct Means {
    /// Where zones are served from.
    pub directory: Arc<Directory>,
    /// Looks names up.
    pub resolver: Resolver,
    /// What is counted.
    pub counters: Counters,
    /// Released with the first publication.
    pub readiness: Latch,
}

/// The owner of one zone's publication.
pub struct Publisher {
    slot: Arc<Slot>,
    means: Arc<Means>,
    store: Store,
    /// What is in force, and the last good addresses of its names.
    in_force: Option<InForce>,
    /// Names whose last look-up failed; each was warned about.
    failing: BTreeSet<NodeName>,
    /// Whether the last attempt to keep a refreshed publication failed; it was warned about.
    unwritable: bool,
    /// Nodes that are registered, whatever the document says.
    nodes: watch::Receiver<Registered>,
    /// The serial under which their names were answered before there was a publication.
    serial_of_nodes: Option<u32>,
}

struct InForce {
    publication: Arc<Publication>,
    /// Of names alone; an IP address leads to itself.
    addresses: BTreeMap<NodeName, Vec<SocketAddr>>,
    /// The registered nodes that are in it.
    nodes: Registered,
    /// What was to be said about it.
    warnings: Vec<String>,
}

impl Publisher {
    /// A publisher that serves nothing yet.
    pub fn new(slot: Arc<Slot>, means: Arc<Means>, store: Store, nodes: watch::Receiver<Registered>) -> Self {
        Self {
            slot,
            means,
            store,
            in_force: None,
            failing: BTreeSet::new(),
            unwritable: false,
            nodes,
            serial_of_nodes: None,
        }
    }

    /// Serves what an earlier process kept. Domain and TTL are those of today's settings; if they differ
    /// from what was kept, the zone has changed and gets a new serial.
    ///
    /// # Errors
    /// [`PutError`] if it cannot be served under today's settings.
    pub fn restore(&mut self, kept: Kept) -> Result<(), PutError> {
        let resolved: Resolved =
            kept.addresses.iter().map(|(name, found)| (name.clone(), Ok(found.clone()))).collect();
        let mut members = Members::new(&kept.document, &resolved)?;
        members.left_out = kept.left_out;
        let settings = &self.slot.settings;
        // Which nodes were registered then is not known any more.
        let no_nodes = self.nodes.borrow().is_empty();
        let same = no_nodes && kept.domain == domain_text(&self.slot) && kept.ttl_s == settings.ttl_s;
        let serial = if same { kept.serial } else { next_serial(Some(kept.serial), clock::unix_seconds()) };
        let nodes = self.nodes.borrow().clone();
        let mut zone = build(settings, &members, kept.stamp).with_nodes(settings, &nodes);
        let warnings = std::mem::take(&mut zone.warnings);
        let publication = Publication::new(settings, kept.document, members, kept.stamp, serial, zone)
            .map_err(PutError::TooLarge)?;
        let publication = Arc::new(publication);
        self.serve(InForce { publication, addresses: kept.addresses, nodes, warnings });
        Ok(())
    }

    /// Works until shutdown. The names are looked up for the first time at once, for what was restored.
    pub async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Put>,
        refresh_interval: Duration,
        shutdown: CancellationToken,
    ) {
        let mut ticks = interval_at(Instant::now(), refresh_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut nodes = self.nodes.clone();
        nodes.mark_changed();
        loop {
            let put = tokio::select! {
                () = shutdown.cancelled() => return,
                put = inbox.recv() => put,
                Ok(()) = nodes.changed() => {
                    self.follow_nodes().await;
                    continue;
                }
                _ = ticks.tick() => {
                    // A document that arrives meanwhile is worth more than fresh addresses of the old one.
                    let nodes: Vec<NodeName> = self.nodes_in_force();
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        put = inbox.recv() => put,
                        resolved = look_up(&self.means.resolver, nodes) => {
                            self.refresh(resolved).await;
                            continue;
                        }
                    }
                }
            };
            let Some(put) = put else { return };
            let (reply, outcome) = self.publish(put).await;
            // Nobody may be waiting any more; what was done stays done.
            let _ = reply.send(outcome);
        }
    }

    /// Puts a document in force, and gives the outcome and where it is to go.
    pub async fn publish(&mut self, put: Put) -> (Reply, Result<Published, PutError>) {
        let Put { document, revision, generation, if_match, request_id, reply } = put;
        let span = tracing::info_span!("put", %request_id);
        let outcome = self.put(document, revision, generation, if_match.as_ref()).instrument(span).await;
        (reply, outcome)
    }

    /// Forgets what is kept, so that a restart will not find it.
    ///
    /// # Errors
    /// [`PutError`] if something else is in force than `if_match` names, or the file cannot be removed.
    pub async fn forget(&mut self, if_match: Option<&IfMatch>) -> Result<(), PutError> {
        let serial = self.in_force.as_ref().map(|in_force| in_force.publication.serial);
        admission::check(serial, if_match)?;
        self.store.remove().await.map_err(|source| self.not_kept(source))?;
        self.count_failing(BTreeSet::new());
        Ok(())
    }

    /// Looks the names up again and serves what they lead to, unless interrupted before they are found.
    pub async fn look_again(&mut self, interrupt: &CancellationToken) {
        let nodes = self.nodes_in_force();
        tokio::select! {
            () = interrupt.cancelled() => {}
            resolved = look_up(&self.means.resolver, nodes) => self.refresh(resolved).await,
        }
    }

    /// Where it publishes.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Whether there are names to look up again.
    pub fn has_names(&self) -> bool {
        self.in_force.as_ref().is_some_and(|in_force| {
            in_force.publication.document.nodes().any(|node| matches!(node.address, Address::Name(_)))
        })
    }

    async fn put(
        &mut self,
        document: Document,
        revision: Option<u64>,
        generation: Option<u64>,
        if_match: Option<&IfMatch>,
    ) -> Result<Published, PutError> {
        let current = self.in_force.as_ref().map(|in_force| Current {
            document: &in_force.publication.document,
            revision: in_force.publication.stamp.revision,
            serial: in_force.publication.serial,
        });
        let same = current.is_some_and(|current| admission::is_same(current.document, &document));
        let revision = admission::admit(current, &document, revision, if_match)?;
        let previous = self.in_force.as_ref().map_or(0, |known| known.publication.stamp.generation);
        let generation = generation.unwrap_or(if same { previous } else { previous + 1 });
        let document = match &self.in_force {
            Some(in_force) => document.with_members_of(&in_force.publication.document),
            None => document,
        };
        let resolved = look_up(&self.means.resolver, document.nodes().cloned()).await;
        let members = Members::new(&document, &resolved)?;
        let addresses = good(&resolved);
        let published = self.replace(document, members, revision, generation, addresses).await?;
        let left_out = &published.publication.members.left_out;
        for left_out in left_out.iter().filter(|left_out| !self.failing.contains(&left_out.name)) {
            tracing::warn!(node = %left_out.name, "{}; the slave is left out until it can be looked up", left_out.reason);
        }
        self.count_failing(left_out.iter().map(|left_out| left_out.name.clone()).collect());
        Ok(published)
    }

    /// Keeps the names whose last look-up failed, and counts them among those of all zones.
    fn count_failing(&mut self, failing: BTreeSet<NodeName>) {
        let count = |failing: &BTreeSet<NodeName>| i64::try_from(failing.len()).unwrap_or(i64::MAX);
        self.means.counters.unresolved.inc_by(count(&failing) - count(&self.failing));
        self.failing = failing;
    }

    fn not_kept(&self, source: std::io::Error) -> PutError {
        PutError::NotKept { path: self.store.path().display().to_string(), source }
    }

    /// Answers for the nodes that are registered now, beside what is published or before anything is.
    async fn follow_nodes(&mut self) {
        if let Some(in_force) = &self.in_force {
            let publication = Arc::clone(&in_force.publication);
            let addresses = in_force.addresses.clone();
            let (document, members, stamp) =
                (publication.document.clone(), publication.members.clone(), publication.stamp);
            let replaced = self.replace(document, members, stamp.revision, stamp.generation, addresses).await;
            self.tell_of_refresh(replaced.map(drop));
            return;
        }
        let nodes = self.nodes.borrow().clone();
        if nodes.is_empty() && self.serial_of_nodes.is_none() {
            return;
        }
        let settings = &self.slot.settings;
        let serial = next_serial(self.serial_of_nodes, clock::unix_seconds());
        let zone = bare(settings).with_nodes(settings, &nodes);
        match Answers::new(settings, serial, zone.records, false) {
            Ok(answers) => {
                self.slot.answer_for_nodes(answers);
                self.serial_of_nodes = Some(serial);
            }
            Err(error) => self.tell_of_refresh(Err(PutError::TooLarge(error))),
        }
    }

    /// Puts freshly found addresses in force, where there are any.
    async fn refresh(&mut self, mut resolved: Resolved) {
        let Some(in_force) = &self.in_force else { return };
        let mut failing = BTreeSet::new();
        for (name, found) in &mut resolved {
            let Some(problem) = problem_of(name, found) else { continue };
            failing.insert(name.clone());
            let last = in_force.addresses.get(name);
            if !self.failing.contains(name) {
                let keeps = if last.is_some() { "keeps its last addresses" } else { "stays out" };
                tracing::warn!(node = %name, "{problem}; it {keeps}");
            }
            if let Some(last) = last {
                *found = Ok(last.clone());
            }
        }
        for name in self.failing.difference(&failing) {
            tracing::info!(node = %name, "the name can be looked up again");
        }
        self.count_failing(failing);
        let Some(in_force) = &self.in_force else { return };
        let publication = &in_force.publication;
        let (document, stamp) = (publication.document.clone(), publication.stamp);
        let replaced = match Members::new(&document, &resolved) {
            Ok(members) => {
                let addresses = good(&resolved);
                self.replace(document, members, stamp.revision, stamp.generation, addresses).await.map(drop)
            }
            Err(error) => Err(error.into()),
        };
        self.tell_of_refresh(replaced);
    }

    fn tell_of_refresh(&mut self, replaced: Result<(), PutError>) {
        match replaced {
            Ok(()) => self.unwritable = false,
            Err(error) if self.unwritable => tracing::debug!(%error, "still not refreshed"),
            Err(error) => {
                self.unwritable = true;
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%error, cause, "addresses have changed and are not served: mend this first");
            }
        }
    }

    /// Builds, keeps, serves. Nothing is written and no serial used if nothing is different.
    async fn replace(
        &mut self,
        document: Document,
        members: Members,
        revision: u64,
        generation: u64,
        addresses: BTreeMap<NodeName, Vec<SocketAddr>>,
    ) -> Result<Published, PutError> {
        let settings = &self.slot.settings;
        let nodes = self.nodes.borrow().clone();
        let now = clock::unix_seconds();
        let last = self.in_force.as_ref().map(|in_force| &in_force.publication);
        // The TXT record tells both, so another number is another zone, and nothing has to be compared.
        let same_numbers =
            last.filter(|last| (last.stamp.revision, last.stamp.generation) == (revision, generation));
        // A zone is made of these and of nothing else, so the same make the same zone.
        let same = self.in_force.as_ref().filter(|in_force| {
            let last = &in_force.publication;
            same_numbers.is_some()
                && last.members == members
                && last.document == document
                && in_force.nodes == nodes
        });
        if let Some(in_force) = same {
            let (publication, warnings) = (Arc::clone(&in_force.publication), in_force.warnings.clone());
            return Ok(Published { publication, changed: false, warnings });
        }
        let zone_since = |since: u64| {
            let stamp = Stamp { revision, generation, since };
            (build(settings, &members, stamp).with_nodes(settings, &nodes), stamp)
        };
        // Others can make the same zone as well.
        let unchanged = same_numbers.and_then(|last| {
            let (zone, stamp) = zone_since(last.stamp.since);
            last.has_same_content(&zone.records).then_some((zone, stamp, last.serial))
        });
        let changed = unchanged.is_none();
        let (mut zone, stamp, serial) = unchanged.unwrap_or_else(|| {
            let (zone, stamp) = zone_since(now);
            (zone, stamp, next_serial(last.map(|last| last.serial).or(self.serial_of_nodes), now))
        });
        let warnings = std::mem::take(&mut zone.warnings);
        let publication =
            Publication::new(settings, document, members, stamp, serial, zone).map_err(PutError::TooLarge)?;
        let publication = Arc::new(publication);
        let kept = self.kept(&publication, &addresses);
        self.store.save(&kept).await.map_err(|source| self.not_kept(source))?;
        let in_force =
            InForce { publication: Arc::clone(&publication), addresses, nodes, warnings: warnings.clone() };
        self.serve(in_force);
        if changed {
            self.means.counters.publications.inc();
            tracing::info!(
                revision,
                generation,
                serial,
                node = %publication.members.master.name,
                slaves = publication.members.slaves.len(),
                left_out = publication.members.left_out.len(),
                "published"
            );
        }
        Ok(Published { publication, changed, warnings })
    }

    fn serve(&mut self, mut in_force: InForce) {
        let publication = &in_force.publication;
        self.means.directory.publish(&self.slot, Arc::clone(publication));
        in_force.addresses.retain(|node, _| literal(node).is_none());
        self.means.readiness.release();
        self.means.counters.serial.set(publication.serial.into());
        self.means.counters.revision.set(i64::try_from(publication.stamp.revision).unwrap_or(i64::MAX));
        self.in_force = Some(in_force);
    }

    fn kept(&self, publication: &Publication, addresses: &BTreeMap<NodeName, Vec<SocketAddr>>) -> Kept {
        Kept {
            domain: domain_text(&self.slot),
            ttl_s: self.slot.settings.ttl_s,
            serial: publication.serial,
            stamp: publication.stamp,
            document: publication.document.clone(),
            addresses: with_literals(publication.document.nodes(), addresses),
            left_out: publication.members.left_out.clone(),
        }
    }

    fn nodes_in_force(&self) -> Vec<NodeName> {
        let documents = self.in_force.iter().map(|in_force| &in_force.publication.document);
        documents.flat_map(Document::nodes).cloned().collect()
    }
}

fn domain_text(slot: &Slot) -> String {
    slot.settings.domain.to_ascii().trim_end_matches('.').to_owned()
}
