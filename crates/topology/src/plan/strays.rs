//! Nodes that must not go on as they are: masters without the right, nodes that left the document.
//!
//! Parking erases nothing, so no basis is asked for; what they hold is judged if they are ever attached.

use std::collections::BTreeSet;

use super::{Plan, Situation, Step, same_node};
use crate::address::NodeName;
use crate::observation::Vitals;

/// Masters that were given up while they were out of reach and are back, taking writes: parked before
/// anything else is asked, so that no refusal about another node leaves two masters.
pub(super) fn returned(situation: &Situation<'_>) -> Vec<Step> {
    let record = situation.record;
    let is_party = |node: &NodeName| {
        let granted = record.granted.iter().map(|granted| &granted.node);
        let parties = record.intent.iter().flat_map(|intent| intent.from.iter().chain([&intent.to]));
        granted.chain(parties.map(|party| &party.node)).any(|party| party == node)
    };
    let given_up = record.discards.iter().filter(|used| !used.spent).map(|used| &used.discard.node);
    let nodes: BTreeSet<&NodeName> = given_up.filter(|node| !is_party(node)).collect();
    nodes
        .into_iter()
        .filter(|node| situation.observation.vitals(node).is_some_and(Vitals::is_master))
        .map(|node| Step::Park { node: node.clone(), why: "it was given up while it was away".to_owned() })
        .collect()
}

/// Nodes of the cluster that take writes without the right to: parked before the master moves.
pub(super) fn strays(situation: &Situation<'_>, acting: &NodeName) -> Vec<Step> {
    let document = &situation.wanted.document;
    let members = document.nodes().cloned().chain(situation.leavers());
    members
        .filter(|node| !same_node(situation.observation, node, acting))
        .filter(|node| situation.observation.vitals(node).is_some_and(Vitals::is_master))
        .map(|node| Step::Park {
            node,
            why: "it takes writes without having been granted the right".to_owned(),
        })
        .collect()
}

/// Members that came up as masters while another node is about to become one are parked first, and it is
/// looked again: until they are attached two nodes would take writes.
pub(super) fn parked_first(situation: &Situation<'_>, steps: Vec<Step>) -> Vec<Step> {
    let promoted = steps.iter().find_map(|step| match step {
        Step::Promote { node, .. } | Step::Undo { node } => Some(node),
        _ => None,
    });
    let planned = |stray: &Step| {
        steps.iter().any(|step| matches!(step, Step::Park { .. }) && step.node() == stray.node())
    };
    let mut strays = promoted.map(|node| strays(situation, node)).unwrap_or_default();
    strays.retain(|stray| !planned(stray));
    if strays.is_empty() { steps } else { strays }
}

/// Nodes that left the document are parked where they can be reached.
pub(super) fn park_leavers(situation: &Situation<'_>, acting: &NodeName, plan: &mut Plan) {
    for node in situation.leavers() {
        let Some(vitals) = situation.observation.vitals(&node) else { continue };
        let in_use = same_node(situation.observation, &node, acting)
            || situation
                .wanted
                .document
                .nodes()
                .any(|wanted| same_node(situation.observation, wanted, &node));
        if !in_use && !vitals.is_parked() {
            plan.steps.push(Step::Park { node, why: "it left the document".to_owned() });
        }
    }
}
