//! What a run has counted so far.

use std::collections::BTreeMap;
use std::time::Duration;

/// A move of the writes from one node to another, as the writers saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    /// From the last acknowledgement of the old master to the first of the new one.
    pub(crate) length: Duration,
    /// Nothing was broken at that time.
    pub(crate) calm: bool,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Rounds played to their end.
    pub(crate) rounds: u64,
    /// Changes that moved the master.
    pub(crate) switches: u64,
    /// Answers 200 by outcome, and deliveries by the observer.
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// Refusals by slug.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// What the operator did about refusals, by slug.
    pub(crate) remedies: BTreeMap<String, u64>,
    /// Faults by kind.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Acknowledged writes.
    pub(crate) acknowledged: u64,
    /// Writes that were certainly rejected.
    pub(crate) rejected: u64,
    /// Writes of unknown outcome.
    pub(crate) unknown: u64,
    /// Acknowledged and absent.
    pub(crate) missing: u64,
    /// Rejected and present.
    pub(crate) phantom: u64,
    /// Present more than once.
    pub(crate) repeated: u64,
    /// Writes acknowledged by an old master after the new one had begun.
    pub(crate) overlaps: u64,
    /// Full resyncs that the nodes gave, as far as their counters could be read.
    pub(crate) full_resyncs: u64,
    /// Every move of the writes.
    pub(crate) gaps: Vec<Gap>,
    /// What must not happen and did.
    pub(crate) violations: Vec<String>,
}

/// One more of something.
pub(crate) fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, what: K) {
    *counts.entry(what).or_insert(0) += 1;
}
