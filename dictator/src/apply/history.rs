//! What was done and what was refused, newest first, with a cap.
//!
//! The file is for people, so no change waits for it, and it is written by one task, a moment after
//! the last change: written with each change it would be synced to disk just when redis writes what
//! its clients had held back, often to the same disk, and two writers at once would spoil the file.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use topology::receipt::Receipt;

use super::Store;

/// Entries kept.
pub const HISTORY_MAX: usize = 200;
/// How long after a change the history is written; changes until then go with it.
const WRITTEN_AFTER: Duration = Duration::from_secs(1);

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// `put` or `enforcement`.
    pub cause: String,
    /// The request that asked for it, if one did.
    pub request_id: String,
    /// Who asked for it: the name of a token or certificate, where callers are known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked_by: Option<String>,
    /// Why it was asked for (`X-Reason`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// `switched` and so on, or the slug of the refusal.
    pub outcome: String,
    /// One sentence, for refusals.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// The receipt, if something was done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<Receipt>,
}

/// Who asked for something, and why. Of several who asked for the same the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The request; empty if nobody asked.
    pub(super) request_id: String,
    /// Who, where callers are known.
    pub(super) asked_by: Option<String>,
    /// In the words of who asked.
    pub(super) reason: Option<String>,
}

/// The last [`HISTORY_MAX`] entries, and the task that keeps them in a file.
#[derive(Debug)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    newest: watch::Sender<Vec<Entry>>,
    keeper: JoinHandle<()>,
}

impl History {
    /// Goes on with what was kept.
    pub(super) async fn open(store: Store) -> Self {
        let entries = store.history().await.into_iter().take(HISTORY_MAX).collect();
        let (newest, kept) = watch::channel(Vec::new());
        Self { entries, newest, keeper: tokio::spawn(keep(store, kept)) }
    }

    /// Adds the newest.
    pub(super) fn add(&mut self, entry: Entry) {
        self.entries.push_front(entry);
        self.entries.truncate(HISTORY_MAX);
        self.newest.send_replace(self.entries());
    }

    /// All, newest first.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    /// Writes what is not written yet.
    pub(super) async fn close(self) {
        drop(self.newest);
        if let Err(error) = self.keeper.await {
            tracing::warn!(%error, "the last entries of the history may be missing from its file");
        }
    }
}

/// Writes the newest entries whenever there are any, until nobody can add one.
async fn keep(store: Store, mut newest: watch::Receiver<Vec<Entry>>) {
    while newest.changed().await.is_ok() {
        let more = async { while newest.changed().await.is_ok() {} };
        let ended = timeout(WRITTEN_AFTER, more).await.is_ok();
        let entries = newest.borrow().clone();
        store.save_history(entries).await;
        if ended {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> Entry {
        Entry {
            at_unix_ms: number,
            cause: "put".to_owned(),
            request_id: String::new(),
            asked_by: None,
            reason: None,
            outcome: "unchanged".to_owned(),
            detail: None,
            receipt: None,
        }
    }

    #[tokio::test]
    async fn whatever_was_added_is_kept_at_the_end_newest_first_and_capped() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let mut history = History::open(store.clone()).await;
        let added = HISTORY_MAX as u64 + 5;
        for number in 1..=added {
            history.add(entry(number));
            tokio::task::yield_now().await;
        }
        let entries = history.entries();
        assert_eq!((entries.len(), entries[0].at_unix_ms), (HISTORY_MAX, added));
        history.close().await;
        assert_eq!(store.history().await, entries);
    }

    #[tokio::test]
    async fn what_was_added_is_written_while_the_dictator_runs() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let mut history = History::open(store.clone()).await;
        history.add(entry(1));
        let written = async {
            while store.history().await.is_empty() {
                tokio::time::sleep(WRITTEN_AFTER / 4).await;
            }
        };
        timeout(WRITTEN_AFTER * 10, written).await.expect("written without a close");
    }
}
