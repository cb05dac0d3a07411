//! The etcd source: the trigger is watched, the document is read as it was at the trigger's revision.
//!
//! Reading at that revision is what makes "define, look at it again, then trigger" safe: whatever is written
//! to the document between the trigger and its delivery waits for a trigger of its own. Where etcd has
//! compacted that revision away, the present document is taken if it has not been written since (then it is
//! the same), and otherwise with a warning.

use std::sync::Arc;
use std::time::Duration;

use coordination::{Endpoints, Etcd, EtcdError, KeyState, KeyWatch, Phase, ReadAt, watch_key};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Found, NotFound, SourceHealth};
use crate::trigger::{Level, Trigger};

/// Deadline of reading the document.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// Deadline of writing the retrigger key.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// A watched trigger key with its document key.
pub struct EtcdSource {
    etcd: Etcd,
    watch: KeyWatch,
    health: watch::Receiver<SourceHealth>,
    trigger: String,
    read: String,
    retrigger: Option<String>,
}

impl EtcdSource {
    pub(super) fn start(
        endpoints: Endpoints,
        (trigger, read, retrigger): (&str, &str, Option<String>),
        shutdown: CancellationToken,
    ) -> Self {
        let watch = watch_key(endpoints.clone(), trigger, shutdown);
        let etcd = Etcd::new(endpoints);
        let (trigger, read) = (trigger.to_owned(), read.to_owned());
        let health = follow_health(watch.health.clone(), etcd.clone(), read.clone());
        Self { etcd, watch, health, trigger, read, retrigger }
    }

    pub(super) fn level(&mut self) -> Option<Level> {
        match &*self.watch.state.borrow_and_update() {
            None => None,
            Some(KeyState::Absent { .. }) => Some(Level::Absent),
            Some(KeyState::Present(version)) => Some(Level::Present(Trigger {
                revision: version.mod_revision,
                value: Arc::from(version.value.as_slice()),
            })),
        }
    }

    pub(super) async fn changed(&mut self) {
        if self.watch.state.changed().await.is_err() {
            // The watch ends only at shutdown, which is looked at elsewhere.
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn health(&self) -> watch::Receiver<SourceHealth> {
        self.health.clone()
    }

    pub(super) async fn document_of(&self, trigger: &Trigger) -> Result<Found, NotFound> {
        if self.read == self.trigger {
            return Ok(Found { bytes: trigger.value.clone(), warning: None });
        }
        let revision = trigger.revision;
        let missing = || NotFound::Missing { key: self.read.clone(), revision };
        let then =
            self.etcd.get_at(&self.read, revision, READ_DEADLINE).await.map_err(NotFound::Unreadable)?;
        match then {
            ReadAt::Found(version) => Ok(Found { bytes: Arc::from(version.value), warning: None }),
            ReadAt::Missing => Err(missing()),
            ReadAt::Compacted => {
                let now = self.etcd.get(&self.read, READ_DEADLINE).await.map_err(NotFound::Unreadable)?;
                let KeyState::Present(version) = now else { return Err(missing()) };
                let written_since = version.mod_revision > revision;
                let warning = written_since.then(|| {
                    format!(
                        "etcd has compacted revision {revision}: {} is forwarded as it was written at revision {}",
                        self.read, version.mod_revision
                    )
                });
                Ok(Found { bytes: Arc::from(version.value), warning })
            }
        }
    }

    pub(super) async fn retrigger(&self, trigger: &Trigger) -> Result<(), EtcdError> {
        let Some(key) = &self.retrigger else { return Ok(()) };
        let revision = self.etcd.put(key, &trigger.value, WRITE_DEADLINE).await?;
        tracing::debug!(key, revision, "passed the trigger on");
        Ok(())
    }
}

/// Translates the watch's health, in a task that ends with the watch.
///
/// Whenever watching begins, the document is read once and forgotten: the first trigger then finds a
/// connection that stands.
fn follow_health(
    mut health: watch::Receiver<coordination::Health>,
    etcd: Etcd,
    read: String,
) -> watch::Receiver<SourceHealth> {
    let translate = |health: &coordination::Health| SourceHealth {
        watching: health.phase == Phase::Watching,
        phase: health.phase.to_string(),
        place: health.endpoint.clone(),
        reconnects: health.reconnects,
        failure: health.failure.clone(),
    };
    let (sender, receiver) = watch::channel(translate(&health.borrow()));
    tokio::spawn(async move {
        while health.changed().await.is_ok() {
            let now = translate(&health.borrow_and_update());
            let begins = now.watching && !sender.borrow().watching;
            sender.send_if_modified(|known| {
                let changed = *known != now;
                if changed {
                    *known = now;
                }
                changed
            });
            if begins && let Err(error) = etcd.get(&read, READ_DEADLINE).await {
                tracing::debug!(%error, "the connection for reading documents does not stand yet");
            }
        }
    });
    receiver
}
