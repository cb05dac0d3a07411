//! First use: there is no record.
//!
//! Without a record nothing says which of several data sets is the right one, so exactly one is
//! accepted, and only where the document points: on the target, or on the master the target follows.

use super::acting::Acting;
use super::{Right, Situation, Step, Would, known_target, loss};
use crate::address::NodeName;
use crate::observation::NodeState;
use crate::refusal::{Refusal, Slug};

/// Finds who takes writes in a cluster that was never under this dictator.
pub(super) fn find(situation: &Situation<'_>) -> Result<Acting, Refusal> {
    let target = &situation.wanted.document.master;
    let state = known_target(situation)?;
    if state.vitals.loading {
        return Err(super::fitness::loading(target));
    }
    let followed = state.vitals.following().filter(|following| !following.is_parked());
    let acting = match followed {
        Some(following) => match root(situation, target) {
            Some(root) => root,
            None => {
                return Err(Refusal::new(
                    Slug::ActingMasterUnreachable,
                    format!(
                        "{target} follows {}:{}, which cannot be asked; it may be taking writes",
                        following.host, following.port
                    ),
                    format!(
                        "start that node or mend the network; if {target} shall stand alone, send it REPLICAOF NO ONE first"
                    ),
                )
                .about(target)
                .with("master_host", following.host.clone())
                .with("master_port", following.port));
            }
        },
        None => target.clone(),
    };
    let Some(acting_state) = situation.observation.known(&acting) else {
        return Err(super::acting::unreachable(situation, &acting));
    };
    if acting_state.vitals.loading {
        return Err(super::fitness::loading(&acting));
    }
    others_hold_nothing_else(situation, &acting, acting_state)?;
    all_answer(situation, &acting)?;
    if acting_state.vitals.is_master() {
        return Ok(Acting::Node { node: acting, adopt: Some(Right::Established) });
    }
    let step = Step::Promote { node: acting, right: Right::Established };
    Ok(Acting::First { steps: vec![step], would: Would::Established })
}

/// Nothing is known about these nodes yet: one that is silent may hold more, or take writes at this moment.
/// Who is the master is not decided before all of them were asked.
fn all_answer(situation: &Situation<'_>, acting: &NodeName) -> Result<(), Refusal> {
    let silent = situation.wanted.document.nodes().find(|node| situation.observation.known(node).is_none());
    let Some(silent) = silent else { return Ok(()) };
    // An outage, not a conflict: whoever delivers the document soon tries again, and nodes that are still
    // starting are waited for.
    Err(Refusal::new(
        Slug::NodeUnreachable,
        format!(
            "this is the first document for these nodes, and {silent}, which may hold more than {acting} or take writes itself, cannot be reached"
        ),
        format!("start {silent}; or leave it out of the document if what only it holds may be lost"),
    )
    .about(silent)
    .with("record", "none: this cluster was never under this dictator"))
}

/// The node at the upper end of a chain of slaves, if all of it answers and is linked.
fn root(situation: &Situation<'_>, from: &NodeName) -> Option<NodeName> {
    const CHAIN_NODES_MAX: usize = 8;
    let mut node = from;
    for _ in 0..CHAIN_NODES_MAX {
        let state = situation.observation.known(node)?;
        match state.vitals.following() {
            None => return Some(node.clone()),
            Some(following) if following.is_parked() => return None,
            Some(_) => node = situation.observation.leader_of(node)?,
        }
    }
    None
}

fn others_hold_nothing_else(
    situation: &Situation<'_>,
    acting: &NodeName,
    acting_state: &NodeState,
) -> Result<(), Refusal> {
    let reference = situation.reference(&acting_state.vitals);
    for node in situation.wanted.document.nodes().filter(|node| *node != acting) {
        let Some(state) = situation.observation.known(node) else { continue };
        let follows = situation.observation.leader_of(node).is_some_and(|leader| leader == acting);
        let being_filled = follows && state.vitals.following().is_some_and(|link| link.syncing);
        if super::same_node(situation.observation, node, acting) || being_filled {
            continue;
        }
        if state.vitals.loading {
            // It may hold the one data set there is; an empty target must not be established beside it.
            return Err(super::fitness::loading(node));
        }
        if let Err(no_basis) = reference.judge(node, &state.vitals) {
            let refusal = loss(node, &state.vitals, no_basis);
            return Err(refusal.with("record", "none: this cluster was never under this dictator"));
        }
    }
    Ok(())
}
