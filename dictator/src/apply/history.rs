//! What was done and what was refused, newest first, with a cap.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use topology::receipt::Receipt;

/// Entries kept.
pub const HISTORY_MAX: usize = 200;

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// `put` or `enforcement`.
    pub cause: String,
    /// The request that asked for it, if one did.
    pub request_id: String,
    /// `switched` and so on, or the slug of the refusal.
    pub outcome: String,
    /// One sentence, for refusals.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// The receipt, if something was done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<Receipt>,
}

/// The last [`HISTORY_MAX`] entries.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: VecDeque<Entry>,
}

impl History {
    /// From what was kept, newest first.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        Self { entries: entries.into_iter().take(HISTORY_MAX).collect() }
    }

    /// Adds the newest.
    pub(super) fn add(&mut self, entry: Entry) {
        self.entries.push_front(entry);
        self.entries.truncate(HISTORY_MAX);
    }

    /// All, newest first.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }
}
