//! Who takes writes now.
//!
//! Role master alone proves nothing: a slave with a plain configuration comes back from a restart as a
//! master with old data. The record says to which *life* of which node the right was granted; where
//! that life is still there and a master, nothing else is asked. Everything else is a case to reason
//! about, and where the evidence does not suffice the answer is a refusal, not a guess.

use serde_json::json;

use super::{Right, Situation, Step, Would, first, restart};
use crate::address::NodeName;
use crate::document::Discard;
use crate::mutant::{self, Mutant};
use crate::observation::{NodeState, Observed, Vitals};
use crate::record::Granted;
use crate::refusal::{Refusal, Slug};

/// Who takes writes, or what must happen before that can be said.
#[derive(Debug)]
pub(super) enum Acting {
    /// This node does.
    Node {
        /// The node.
        node: NodeName,
        /// If the record does not say so yet: by what right.
        adopt: Option<Right>,
    },
    /// Nobody does, or not for sure; these steps come first.
    First {
        /// The steps.
        steps: Vec<Step>,
        /// How the change ends then.
        would: Would,
    },
}

/// Finds who takes writes.
pub(super) fn find(situation: &Situation<'_>) -> Result<Acting, Refusal> {
    let Some(granted) = &situation.record.granted else {
        return first::find(situation);
    };
    let same_life =
        situation.observation.all_known().find(|(_, state)| state.vitals.run_id == granted.run_id);
    if let Some((node, state)) = same_life {
        return same_life_of(situation, granted, node, state);
    }
    match situation.observation.known(&granted.node) {
        Some(state) => restart::restarted(situation, granted, state),
        None if gave_up(situation, granted) => restart::replacement(situation, granted),
        None => Err(unreachable(situation, &granted.node)),
    }
}

/// Whether the document gives the unreachable granted master up.
fn gave_up(situation: &Situation<'_>, granted: &Granted) -> bool {
    mutant::active(Mutant::DiscardIgnored) || situation.discards(&granted.node, &granted.run_id.0)
}

fn same_life_of(
    situation: &Situation<'_>,
    granted: &Granted,
    node: &NodeName,
    state: &NodeState,
) -> Result<Acting, Refusal> {
    if state.vitals.loading {
        return Err(super::fitness::loading(node));
    }
    let Some(following) = state.vitals.following() else {
        // Under another name it is recorded anew; a lone master's new lineage is noted without fuss.
        let adopt = (*node != granted.node).then_some(Right::Resumed { provable: true });
        return Ok(Acting::Node { node: node.clone(), adopt });
    };
    if let Some(successor) = successor(situation, granted, &state.vitals) {
        return Ok(Acting::Node { node: successor.clone(), adopt: Some(Right::Successor) });
    }
    let holds_its_history = restart::position_on(&state.vitals, &granted.replid).is_some();
    if following.is_parked() && holds_its_history {
        let step = Step::Promote { node: node.clone(), right: Right::Resumed { provable: true } };
        return Ok(Acting::First { steps: vec![step], would: Would::Resumed });
    }
    if gave_up(situation, granted) {
        return restart::replacement(situation, granted);
    }
    let does = if following.is_parked() {
        "was given another history".to_owned()
    } else {
        format!("follows {}:{}", following.host, following.port)
    };
    let entry =
        json!({ "discard": [Discard { node: granted.node.clone(), run_id: granted.run_id.0.clone() }] });
    let entry = entry.to_string();
    Err(Refusal::new(
        Slug::SplitBrain,
        format!(
            "{node}, which was granted the right to take writes, {does} by somebody else's order, and that is no continuation of its own history"
        ),
        format!(
            "if {node} still holds its own data, send it REPLICAOF NO ONE; if that was overwritten, name the slave that has it as master and add to the document: {}",
            entry.trim_start_matches('{').trim_end_matches('}')
        ),
    )
    .about(node)
    .with("master_host", following.host.clone())
    .with("master_port", following.port)
    .with("replid", granted.replid.0.clone()))
}

/// A node somebody else promoted, whose history continues the granted one beyond what the granted
/// master holds, or leads it on. A stranger that filled the granted master with its own data does not.
fn successor<'a>(situation: &Situation<'a>, granted: &Granted, old: &Vitals) -> Option<&'a NodeName> {
    let mut continuing = situation.observation.all_known().filter(|(_, state)| {
        let vitals = &state.vitals;
        let continues = vitals.replid2.as_ref() == Some(&granted.replid)
            && vitals.second_offset.is_some_and(|second| second > old.extent());
        let branched = |vitals: &Vitals| vitals.replid2.as_ref() == Some(&granted.replid);
        let leads = old.following().is_some_and(|link| link.link_up)
            && vitals.replid == old.replid
            && (vitals.replid == granted.replid || branched(vitals) || branched(old));
        vitals.is_master() && (continues || leads)
    });
    let first = continuing.next()?;
    continuing.next().is_none().then_some(first.0)
}

/// The refusal for a granted master that does not answer.
pub(super) fn unreachable(situation: &Situation<'_>, node: &NodeName) -> Refusal {
    let why = match situation.observation.nodes.get(node).and_then(Observed::unknown) {
        Some(unknown) => unknown.to_string(),
        None => "was not asked".to_owned(),
    };
    let granted = situation.record.granted.as_ref();
    let run_id = granted.map(|granted| granted.run_id.0.clone()).unwrap_or_default();
    let entry = json!({ "address": node.address, "port": node.port, "run_id": run_id });
    let entry = entry.to_string().replace("\"port\":null,", "");
    Refusal::new(
        Slug::ActingMasterUnreachable,
        format!("{node}, which takes writes, {why}; what it holds may be more than any slave has"),
        format!(
            "start it or mend the network; if it is dead for good, name the most advanced slave as master and add \"discard\":[{entry}]"
        ),
    )
    .about(node)
    .with("run_id", run_id)
    .with("reason", why)
}
