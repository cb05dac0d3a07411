//! Enforcement held for a while, so that somebody can work on a node without being helped.
//!
//! A pause always has an end, because the one who ordered it may forget. It is kept in memory only: it ends
//! with the reign of this owner, since a successor cannot know what the operator had in mind. But it never
//! ends, or begins, silently: both are entries of the history, which outlives a restart, and `GET /status`
//! shows it. It holds enforcement and nothing else: a document that is PUT is applied, and a hand-over whose
//! outcome is open goes on being resolved, because until then nobody can write.

use std::time::Duration;

use serde::Serialize;
use service::clock;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::history::Entry;

/// Longest pause. Who needs longer says so again, or starts the dictator with `--enforce-interval 0`.
pub const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest reason, in characters.
pub const REASON_CHARACTERS_MAX: usize = 200;

/// Outcome of the history's entry for the begin of a pause.
const PAUSED: &str = "enforcement-paused";
/// Outcome of the history's entry for its end.
pub(super) const RESUMED: &str = "enforcement-resumed";
/// The cause of both.
pub(super) const CAUSE: &str = "operator";

/// A wish to pause, or to resume.
#[derive(Debug)]
pub struct PauseRequest {
    /// How long; zero resumes.
    pub duration: Duration,
    /// Why, in the operator's words; may be empty.
    pub reason: String,
    /// The request's id.
    pub request_id: String,
    /// Who asks, where callers are known.
    pub asked_by: Option<String>,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Enforcement>,
}

/// Whether the topology is being kept true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Enforcement {
    /// Between two passes, in milliseconds; 0: never.
    pub interval_ms: u64,
    /// The pause, if there is one.
    pub paused: Option<Paused>,
}

/// A pause as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paused {
    /// When it ends, in milliseconds since the Unix epoch.
    pub until_unix_ms: u64,
    /// Why.
    pub reason: String,
    /// The request that asked for it.
    pub request_id: String,
}

/// A pause as it is kept: its end does not move when the wall clock does.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    pub(super) ends: Instant,
    pub(super) shown: Paused,
}

impl Pause {
    /// A pause that begins now.
    pub(super) fn begin(duration: Duration, reason: String, request_id: String) -> Self {
        let length_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let until_unix_ms = clock::unix_millis().saturating_add(length_ms);
        Self { ends: Instant::now() + duration, shown: Paused { until_unix_ms, reason, request_id } }
    }

    /// Its entry in the history: outcome and detail.
    pub(super) fn entry(duration: Duration, reason: &str) -> (&'static str, String) {
        let why = if reason.is_empty() { "no reason given" } else { reason };
        (PAUSED, format!("for {} s: {why}", duration.as_secs()))
    }
}

/// Whether the newest word in a history about pauses is one that began.
pub(super) fn left_open(entries: &[Entry]) -> bool {
    let word = entries.iter().find(|entry| [PAUSED, RESUMED].contains(&entry.outcome.as_str()));
    word.is_some_and(|entry| entry.outcome == PAUSED)
}
