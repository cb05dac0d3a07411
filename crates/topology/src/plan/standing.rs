//! How far a node is along the history of the cluster.
//!
//! After a restart the offset on the granted lineage is the best evidence, but not the only one. A
//! master that restarts from an RDB older than its grant shows a lineage of the chain: it may lack what
//! was written since, however many keys it has, and counting keys would let it resume over slaves
//! that hold more.

use super::Situation;
use crate::observation::{Offset, ReplId, Vitals};

/// Which of the past lineages a node is on, oldest first and the present one last, and its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    lineage: usize,
    /// The offset on that lineage.
    pub(super) offset: Offset,
}

/// The place of the present lineage, after all of the chain.
const PRESENT: usize = usize::MAX;

impl Standing {
    /// On the lineage that was written last.
    pub(super) fn is_present(self) -> bool {
        self.lineage == PRESENT
    }

    /// Surely holds all that the other holds. Neither figure alone says so: a slave takes the newer
    /// lineage as soon as its master answers, before it has applied what it lacks of the older; and
    /// after a restart without a saved offset a new lineage counts from zero.
    pub(super) fn holds(self, other: Self) -> bool {
        self.lineage >= other.lineage && self.offset >= other.offset
    }
}

/// The standing of an offset, if its lineage is the present one or part of the chain.
pub(super) fn on(
    situation: &Situation<'_>,
    present: &ReplId,
    replid: &ReplId,
    offset: Offset,
) -> Option<Standing> {
    if replid == present {
        return Some(Standing { lineage: PRESENT, offset });
    }
    // Beyond the end of a past lineage there are only writes that nobody was granted.
    let mut chain = situation.record.chain.iter();
    let lineage = chain.position(|past| past.replid == *replid && offset <= past.end)?;
    Some(Standing { lineage, offset })
}

/// The standing of a node: on the newer of its two lineages that is known.
pub(super) fn of(situation: &Situation<'_>, present: &ReplId, vitals: &Vitals) -> Option<Standing> {
    let now = on(situation, present, &vitals.replid, vitals.position());
    let before = vitals
        .replid2
        .as_ref()
        .zip(vitals.second_offset)
        .and_then(|(replid, second)| on(situation, present, replid, second.saturating_sub(1)));
    match (now, before) {
        (Some(now), Some(before)) if before.lineage > now.lineage => Some(before),
        (now, before) => now.or(before),
    }
}
