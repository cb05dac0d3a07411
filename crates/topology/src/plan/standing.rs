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
    /// How often offsets were counted anew up to that lineage.
    count: usize,
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

    /// Surely holds all that the other holds. The lineage alone does not say so: a slave takes the newer one
    /// as soon as its master answers, before it has applied what it lacks of the older. But to a lineage
    /// that counts anew nobody comes except with all that was there when it began.
    pub(super) fn holds(self, other: Self) -> bool {
        self.lineage >= other.lineage && (self.count > other.count || self.offset >= other.offset)
    }
}

/// The standing of an offset, if its lineage is the present one or part of the chain.
pub(super) fn on(
    situation: &Situation<'_>,
    present: &ReplId,
    replid: &ReplId,
    offset: Offset,
) -> Option<Standing> {
    let record = situation.record;
    let counts = |places: usize| record.chain.iter().take(places).filter(|past| past.anew).count();
    if replid == present {
        let granted =
            record.granted.as_ref().is_some_and(|granted| granted.replid == *replid && granted.anew);
        let count = counts(record.chain.len()) + usize::from(granted);
        return Some(Standing { lineage: PRESENT, count, offset });
    }
    // Beyond the end of a past lineage there are only writes that nobody was granted.
    let mut chain = record.chain.iter();
    let lineage = chain.position(|past| past.replid == *replid && offset <= past.end)?;
    Some(Standing { lineage, count: counts(lineage + 1), offset })
}

/// The standing of a node: on the newer of its two lineages that is known.
pub(super) fn of(situation: &Situation<'_>, present: &ReplId, vitals: &Vitals) -> Option<Standing> {
    let now = on(situation, present, &vitals.replid, vitals.extent());
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

/// Whether a node has more than its standing says: it has gone on from there on a lineage that is not known.
pub(super) fn has_gone_on(situation: &Situation<'_>, present: &ReplId, vitals: &Vitals) -> bool {
    let known = vitals.replid == *present || situation.record.end_of(&vitals.replid).is_some();
    !known && vitals.second_offset.is_some_and(|second| vitals.extent() >= second)
}
