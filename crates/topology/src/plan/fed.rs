//! Whether a slave gets what the acting master takes.
//!
//! Where it was told to follow an address that is known, that says it. Behind address translation it may
//! follow the master by an address of its own; then the lineage says it, but not surely: a slave that follows
//! a node which left the document has the master's lineage and an intact link, and nothing comes over it any
//! more. The two differ in time. Whoever is fed has at least what the master had when it was last seen in
//! good health, some seconds ago; whoever has not is attached by the address that is known here, which erases
//! nothing.

use super::Situation;
use crate::address::NodeName;
use crate::observation::NodeState;

/// Whether the acting master feeds this node, by whatever address.
pub(super) fn is_fed(
    situation: &Situation<'_>,
    node: &NodeName,
    state: &NodeState,
    acting: &NodeName,
    acting_state: &NodeState,
) -> bool {
    if let Some(told) = situation.observation.told_leader_of(node) {
        return told == acting;
    }
    let by_lineage = situation.observation.leader_of(node) == Some(acting);
    let linked = state.vitals.following().is_some_and(|following| following.link_up);
    let seen = situation.record.heartbeat.seen(acting);
    let then = seen.filter(|seen| seen.run_id == acting_state.vitals.run_id).map_or(0, |seen| seen.offset);
    by_lineage && linked && state.vitals.position() >= then
}
