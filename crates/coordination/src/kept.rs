//! A set of keys that is as wanted for as long as this process lives, and soon gone after it.
//!
//! One task owns a lease and compares, again and again, what etcd holds with what is wanted: when that
//! changes, at every renewal of the lease, and after every failure. What differs is mended in one
//! transaction, which also deletes what is not wanted any more, so that no reader ever sees half of a set.
//! Nothing is remembered of what was written before; whatever happened in between (an etcd that lost its
//! data, a lease that ran out, a write whose outcome is unknown, somebody with `etcdctl`) is mended by the
//! next comparison in the same way.
//!
//! The keys and everything below them belong to this set alone. Two processes that want different things
//! of one key would mend it after each other for ever.
//!
//! When the process ends the keys stay until the lease ends, so that a restart in good time is not seen;
//! who wants them gone at once asks for it ([`KeptKeys::withdraw`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::client::Etcd;
use crate::error::EtcdError;
use crate::key::KeyVersion;
use crate::set::Change;

/// The lease is renewed, and the keys are compared, this often within its lifetime.
const PASSES_PER_TTL: u32 = 3;
/// First wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest such wait.
const BACKOFF_LONGEST: Duration = Duration::from_secs(2);
/// Deadline of each question to etcd.
const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// Deadline of [`KeptKeys::withdraw`].
const WITHDRAW_DEADLINE: Duration = Duration::from_secs(3);

/// Keys and their values.
pub type Keys = BTreeMap<String, Vec<u8>>;

/// How the keys fare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Nothing is wanted yet, or it was not tried yet.
    Idle,
    /// They were as wanted when last looked at.
    InForce {
        /// The store's revision of the last change that was made for it; 0 if none was needed.
        revision: u64,
    },
    /// They cannot be seen to. They end with their lease, unless this ends before.
    Failing {
        /// What happened last, as a sentence.
        reason: String,
    },
}

/// Keys that are kept. Dropping it ends the upkeep; the keys then end with their lease.
pub struct KeptKeys {
    wanted: watch::Sender<Option<Arc<Keys>>>,
    state: watch::Receiver<Upkeep>,
    stop: CancellationToken,
    task: Option<JoinHandle<Keeper>>,
}

impl KeptKeys {
    /// Begins to keep the keys `owned`, and everything below each, under a lease of lifetime `ttl` (whole
    /// seconds). Nothing is touched before something is wanted.
    pub fn new(etcd: Etcd, owned: Vec<String>, ttl: Duration) -> Self {
        let (wanted, wanting) = watch::channel(None);
        let (told, state) = watch::channel(Upkeep::Idle);
        let stop = CancellationToken::new();
        let backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_LONGEST);
        let keeper = Keeper { etcd, owned, ttl, lease: None, wanting, state: told, backoff };
        let task = Some(tokio::spawn(keeper.run(stop.clone())));
        Self { wanted, state, stop, task }
    }

    /// From now on these keys are to be there with these values, and no others of those that are owned.
    pub fn want(&self, keys: Keys) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = wanted.as_deref() != Some(&keys);
            *wanted = Some(Arc::new(keys));
            is_new
        });
    }

    /// How they fare; changes arrive here.
    pub fn state(&self) -> watch::Receiver<Upkeep> {
        self.state.clone()
    }

    /// Takes the keys away at once, if etcd can be asked; otherwise they end with their lease.
    pub async fn withdraw(mut self) {
        self.stop.cancel();
        let Some(task) = self.task.take() else { return };
        let Ok(Ok(keeper)) = timeout(WITHDRAW_DEADLINE, task).await else { return };
        let Some(lease) = keeper.lease else { return };
        if let Err(error) = keeper.etcd.revoke_lease(lease.id, ASK_DEADLINE).await {
            tracing::warn!(%error, "the keys could not be taken away; they end with their lease");
        }
    }
}

impl Drop for KeptKeys {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The one owner of the lease.
struct Keeper {
    etcd: Etcd,
    owned: Vec<String>,
    ttl: Duration,
    lease: Option<Lease>,
    wanting: watch::Receiver<Option<Arc<Keys>>>,
    state: watch::Sender<Upkeep>,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    id: i64,
    renewed_at: Instant,
}

impl Keeper {
    async fn run(mut self, stop: CancellationToken) -> Self {
        let mut due = None;
        loop {
            let waiting = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return self,
                changed = self.wanting.changed() => if changed.is_err() {
                    return self;
                },
                () = waiting => {}
            }
            let Some(wanted) = self.wanting.borrow_and_update().clone() else { continue };
            let outcome = tokio::select! {
                outcome = self.pass(&wanted) => outcome,
                () = stop.cancelled() => return self,
            };
            let wait = match outcome {
                Ok(changed) => {
                    self.backoff.reset();
                    self.in_force(changed, wanted.len());
                    self.ttl / PASSES_PER_TTL
                }
                Err(error) => {
                    self.failing(error.to_string());
                    self.backoff.next_wait()
                }
            };
            due = Some(Instant::now() + wait);
        }
    }

    /// Compares and mends once. Returns the revision of the change, if one was needed.
    async fn pass(&mut self, wanted: &Keys) -> Result<Option<u64>, EtcdError> {
        let lease = self.lease().await?;
        let mut found = BTreeMap::new();
        for path in &self.owned {
            found.append(&mut self.etcd.list(path, ASK_DEADLINE).await?);
        }
        let changes = changes(&found, wanted, lease);
        if changes.is_empty() {
            return Ok(None);
        }
        let changed = self.etcd.change(&changes, lease, ASK_DEADLINE).await;
        if let Err(EtcdError::Refused { .. }) = changed {
            // Most likely the lease is gone; with another one the next attempt will tell.
            self.lease = None;
        }
        let needing = |error| match self.owned.first() {
            Some(path) => self.etcd.needing("readwrite", &format!("--prefix {path}"), error),
            None => error,
        };
        changed.map(Some).map_err(needing)
    }

    /// The lease, alive for a good while yet.
    async fn lease(&mut self) -> Result<i64, EtcdError> {
        let now = Instant::now();
        if let Some(lease) = &mut self.lease {
            if now < lease.renewed_at + self.ttl / (2 * PASSES_PER_TTL) {
                return Ok(lease.id);
            }
            match self.etcd.renew_lease(lease.id, ASK_DEADLINE).await {
                Ok(()) => {
                    lease.renewed_at = now;
                    return Ok(lease.id);
                }
                Err(EtcdError::Refused { .. }) => self.lease = None,
                Err(error) => return Err(error),
            }
        }
        let (id, _) = self.etcd.grant_lease(self.ttl, ASK_DEADLINE).await?;
        self.lease = Some(Lease { id, renewed_at: now });
        Ok(id)
    }

    fn in_force(&self, changed: Option<u64>, keys: usize) {
        if let Some(revision) = changed {
            tracing::info!(keys, revision, "the keys in etcd are as wanted");
        }
        self.state.send_modify(|state| {
            let before = match state {
                Upkeep::InForce { revision } => *revision,
                _ => 0,
            };
            *state = Upkeep::InForce { revision: changed.unwrap_or(before) };
        });
    }

    fn failing(&self, reason: String) {
        if matches!(*self.state.borrow(), Upkeep::Failing { .. }) {
            tracing::debug!(reason, "the keys in etcd are still not seen to");
        } else {
            let lifetime_s = self.ttl.as_secs();
            tracing::warn!(reason, lifetime_s, "the keys in etcd are not seen to and end with their lease");
        }
        self.state.send_replace(Upkeep::Failing { reason });
    }
}

/// What has to change so that etcd holds what is wanted, all of it under this lease. Pure.
fn changes(found: &BTreeMap<String, KeyVersion>, wanted: &Keys, lease: i64) -> Vec<Change> {
    let is_there = |key: &str, value: &[u8]| {
        found.get(key).is_some_and(|found| found.value == value && found.lease == lease)
    };
    let puts = wanted
        .iter()
        .filter(|(key, value)| !is_there(key, value))
        .map(|(key, value)| Change::Put(key.clone(), value.clone()));
    let deletes =
        found.keys().filter(|key| !wanted.contains_key(*key)).map(|key| Change::Delete(key.clone()));
    // What is new comes first: should it take several transactions, nobody is missing in between.
    puts.chain(deletes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_changes() {
        let version = |value: &str, lease| KeyVersion {
            value: value.into(),
            mod_revision: 1,
            create_revision: 1,
            version: 1,
            lease,
        };
        let found = BTreeMap::from([
            ("same".to_owned(), version("a", 7)),
            ("other value".to_owned(), version("a", 7)),
            ("other lease".to_owned(), version("a", 6)),
            ("left".to_owned(), version("a", 7)),
        ]);
        let wanted: Keys = [("same", "a"), ("other value", "b"), ("other lease", "a"), ("new", "a")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        let put = |key: &str, value: &str| Change::Put(key.to_owned(), value.into());
        assert_eq!(
            changes(&found, &wanted, 7),
            [
                put("new", "a"),
                put("other lease", "a"),
                put("other value", "b"),
                Change::Delete("left".to_owned())
            ]
        );
        assert_eq!(changes(&found, &Keys::new(), 7).len(), found.len());
    }
}
