//! A hand-over was begun and its end is not recorded: find out what happened, finish it or undo it.
//!
//! This is the same code after a crash, after a lost reply, and in another dictator that took over.
//! It is reached only when no connection of an earlier dictator is left on any node that answers, so
//! what is observed is final: no order of the past can still arrive.
//!
//! The target counts as promoted only in the very life recorded in the intent and with the lineage of
//! the intent as its previous one, begun no earlier than where the old master stopped. If the old master
//! was never demoted, nobody was promoted by us, whatever the target says. A restart of the target destroys
//! that evidence; then nobody may guess.

use super::restart::{self, Beyond};
use super::{Right, Situation, Step};
use crate::mutant::{self, Mutant};
use crate::observation::{NodeState, Observation, Observed, Vitals};
use crate::record::{Intent, Party};
use crate::refusal::{Refusal, Slug};

/// What became of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TargetFate {
    /// It was promoted by the hand-over.
    Promoted,
    /// It was not.
    NotPromoted,
    /// It cannot be known yet: it does not answer.
    Silent(String),
    /// It cannot be known any more: the life that knew is over.
    Unknowable(String),
}

/// Reads the target's fate from what is observed.
pub(crate) fn target_fate(intent: &Intent, observation: &Observation) -> TargetFate {
    let never_demoted = old_master(intent, observation)
        .is_some_and(|state| state.vitals.is_master() && state.vitals.replid == intent.replid);
    let target = observation.vitals(&intent.to.node);
    if mutant::active(Mutant::TrustRoleMaster) && target.is_some_and(Vitals::is_master) {
        return TargetFate::Promoted;
    }
    if never_demoted {
        return TargetFate::NotPromoted;
    }
    let Some(vitals) = target else {
        let why = observation.nodes.get(&intent.to.node).and_then(Observed::unknown).map(ToString::to_string);
        return TargetFate::Silent(why.unwrap_or_else(|| "was not asked".to_owned()));
    };
    if vitals.run_id != intent.to.run_id && !mutant::active(Mutant::TrustReplid2) {
        return TargetFate::Unknowable("restarted since".to_owned());
    }
    let old = old_master(intent, observation).map(|state| &state.vitals);
    if vitals.is_master() {
        // Where the old master stopped, if it still shows that.
        let frozen = old.filter(|old| old.is_parked() && old.replid == intent.replid).map(Vitals::position);
        let follows = vitals.replid2.as_ref() == Some(&intent.replid);
        let fits = frozen.is_none_or(|frozen| vitals.second_offset.is_some_and(|second| second > frozen));
        return match (follows, fits) {
            (true, true) => TargetFate::Promoted,
            (true, false) => TargetFate::Unknowable(
                "became a master before it had all that the old master had taken".to_owned(),
            ),
            (false, _) => TargetFate::Unknowable(
                "is a master on a lineage that does not follow the hand-over's".to_owned(),
            ),
        };
    }
    let from_new_lineage =
        old.is_some_and(|old| old.replid == vitals.replid && old.replid2.as_ref() == Some(&intent.replid));
    // It was filled by a later life of the old master, which it had never ceased to follow: nobody who is
    // promoted follows anyone, and of what it held itself nothing is left to ask about.
    let from_new_life = intent.from.as_ref().is_some_and(|from| {
        observation.leader_of(&intent.to.node) == Some(&from.node)
            && observation.vitals(&from.node).is_some_and(|later| later.replid == vitals.replid)
    });
    let from_new_lineage = from_new_lineage || from_new_life;
    if vitals.replid == intent.replid || from_new_lineage {
        TargetFate::NotPromoted
    } else {
        TargetFate::Unknowable("is a slave on another lineage".to_owned())
    }
}

fn old_master<'a>(intent: &Intent, observation: &'a Observation) -> Option<&'a NodeState> {
    let from = intent.from.as_ref()?;
    observation.known(&from.node).filter(|state| state.vitals.run_id == from.run_id)
}

/// Plans the steps that resolve an open intent.
pub(super) fn recover(situation: &Situation<'_>, intent: &Intent) -> Result<Vec<Step>, Refusal> {
    match target_fate(intent, situation.observation) {
        TargetFate::Promoted => Ok(adopt_target(situation, intent)),
        TargetFate::NotPromoted => not_promoted(situation, intent),
        TargetFate::Silent(why) => unknown(situation, intent, Slug::OutcomeUnknown, &why),
        TargetFate::Unknowable(why) => unknown(situation, intent, Slug::UnresolvedHandover, &why),
    }
}

fn adopt_target(situation: &Situation<'_>, intent: &Intent) -> Vec<Step> {
    let second = situation.observation.vitals(&intent.to.node).and_then(|vitals| vitals.second_offset);
    let right = match &intent.from {
        Some(_) => Right::HandedOver { frozen: second.unwrap_or(1).saturating_sub(1) },
        None => Right::Replacement,
    };
    vec![Step::Adopt { node: intent.to.node.clone(), right }]
}

fn not_promoted(situation: &Situation<'_>, intent: &Intent) -> Result<Vec<Step>, Refusal> {
    let Some(from) = &intent.from else {
        return Ok(vec![Step::DropIntent { node: None }]);
    };
    let Some(state) = situation.observation.known(&from.node) else {
        if replaces(situation, from, None) {
            return replacement(situation, intent, from);
        }
        let why = situation.observation.nodes.get(&from.node).and_then(Observed::unknown);
        let why = why.map_or_else(|| "was not asked".to_owned(), ToString::to_string);
        return Err(refusal(
            Slug::OutcomeUnknown,
            intent,
            format!(
                "{} was not promoted, and whether {} was demoted is not known: it {why}",
                intent.to.node, from.node
            ),
            format!("start {} or mend the network; this is retried by itself", from.node),
        ));
    };
    if state.vitals.run_id != from.run_id || state.vitals.is_master() {
        return Ok(vec![Step::DropIntent { node: Some(from.node.clone()) }]);
    }
    let target = situation.observation.vitals(&intent.to.node);
    let frozen = state.vitals.position();
    let complete = state.vitals.is_parked()
        && state.vitals.replid == intent.replid
        && target.is_some_and(|target| {
            target.run_id == intent.to.run_id
                && !target.is_master()
                && !target.loading
                && target.replid == intent.replid
                && target.position() >= frozen
        });
    if complete {
        let right = Right::HandedOver { frozen };
        return Ok(vec![Step::Promote { node: intent.to.node.clone(), right }]);
    }
    // It has the lineage after the hand-over's where an undo reached it and the end of that was not recorded:
    // the next dictator parked it again while it did not know of the target.
    let undone_before = state.vitals.replid2.as_ref() == Some(&intent.replid);
    if state.vitals.is_parked() && (state.vitals.replid == intent.replid || undone_before) {
        return Ok(vec![Step::Undo { node: from.node.clone() }]);
    }
    Err(refusal(
        Slug::UnresolvedHandover,
        intent,
        format!("{} was demoted and then given another role by somebody else", from.node),
        "park both nodes (REPLICAOF 127.0.0.1 0), then name the one to keep as master and the other's run_id in `discard`".to_owned(),
    ))
}

/// Whether the document gives up a party of the intent, in its recorded or its present life.
fn given_up(situation: &Situation<'_>, party: &Party, present: Option<&NodeState>) -> bool {
    situation.discards(&party.node, &party.run_id.0)
        || present.is_some_and(|state| situation.discards(&party.node, &state.vitals.run_id.0))
}

/// Whether the document gives the old master up and names another node that answers in its place.
fn replaces(situation: &Situation<'_>, from: &Party, present: Option<&NodeState>) -> bool {
    let target = &situation.wanted.document.master;
    *target != from.node
        && situation.observation.known(target).is_some()
        && given_up(situation, from, present)
}

/// The old master was given up: the document's master takes its place, if nobody who answers holds more.
/// The discard speaks of the old master alone; what other slaves hold must not be lost for it.
fn replacement(situation: &Situation<'_>, intent: &Intent, from: &Party) -> Result<Vec<Step>, Refusal> {
    if situation.observation.vitals(&from.node).is_some_and(Vitals::is_master) {
        let why = "the document gives up what it holds".to_owned();
        return Ok(vec![Step::Park { node: from.node.clone(), why }]);
    }
    let node = situation.wanted.document.master.clone();
    // The very target of the hand-over, in another life: what it was written in between is not on the lineage.
    let life = situation.observation.vitals(&node).map(|vitals| &vitals.run_id);
    let restarted = node == intent.to.node && life != Some(&intent.to.run_id);
    let beyond = if restarted { Beyond::Perhaps } else { Beyond::No };
    let state = restart::most_advanced(situation, &intent.replid, beyond)?;
    if state.vitals.is_master() {
        return Ok(vec![Step::Adopt { node, right: Right::Replacement }]);
    }
    Ok(restart::replace(&node, state))
}

/// The target's fate is not known: the old master stays parked, and only the operator can give one of
/// the two up.
fn unknown(situation: &Situation<'_>, intent: &Intent, slug: Slug, why: &str) -> Result<Vec<Step>, Refusal> {
    let target = situation.observation.known(&intent.to.node);
    let old = intent.from.as_ref().and_then(|from| situation.observation.known(&from.node));
    if let (Some(from), Some(state)) = (&intent.from, old)
        && state.vitals.is_master()
        && !given_up(situation, &intent.to, target)
    {
        let why = format!("{} may have been promoted in its place", intent.to.node);
        return Ok(vec![Step::Park { node: from.node.clone(), why }]);
    }
    let in_doubt = situation.wanted.document.master != intent.to.node;
    if let Some(from) = &intent.from
        && replaces(situation, from, old)
    {
        // A third node may take over only if what the target may have been written is given up as well.
        if !in_doubt || given_up(situation, &intent.to, target) {
            return replacement(situation, intent, from);
        }
    } else if given_up(situation, &intent.to, target) {
        return match (&intent.from, old) {
            (Some(from), Some(state)) if state.vitals.run_id == from.run_id && state.vitals.is_parked() => {
                Ok(vec![Step::Undo { node: from.node.clone() }])
            }
            _ => Ok(vec![Step::DropIntent { node: None }]),
        };
    }
    if slug == Slug::UnresolvedHandover
        && let Some(from) = &intent.from
        && old.is_none()
    {
        return Err(old_master_silent(situation, intent, from, why));
    }
    let from = intent.from.as_ref().map_or_else(|| "the old master".to_owned(), |from| from.node.to_string());
    let advice = match slug {
        Slug::OutcomeUnknown => {
            format!("start {} or mend the network; this is retried by itself", intent.to.node)
        }
        _ => format!(
            "{from} stays read-only and whole; name the node to keep as master and the other's run_id in `discard` (both run_ids to make a third node master)"
        ),
    };
    let detail =
        format!("whether {} was promoted is not known: it {why}; {from} stays read-only", intent.to.node);
    Err(refusal(slug, intent, detail, advice))
}

/// The target can tell no more, and the old master, which may never have been demoted, does not answer.
/// It may be taking writes: nothing is final before it was asked.
fn old_master_silent(situation: &Situation<'_>, intent: &Intent, from: &Party, why: &str) -> Refusal {
    let silent = situation.observation.nodes.get(&from.node).and_then(Observed::unknown);
    let silent = silent.map_or_else(|| "was not asked".to_owned(), ToString::to_string);
    let (to, from_node) = (&intent.to.node, &from.node);
    refusal(
        Slug::OutcomeUnknown,
        intent,
        format!(
            "whether {to} was promoted is not known: it {why}; and whether {from_node} was demoted is not known: it {silent}"
        ),
        format!(
            "start {from_node} or mend the network, this is retried by itself; if {from_node} is dead for good, name the node to keep as master and the run_id of {from_node} in `discard`"
        ),
    )
}

fn refusal(slug: Slug, intent: &Intent, detail: String, advice: String) -> Refusal {
    let mut refusal = Refusal::new(slug, detail, advice)
        .about(&intent.to.node)
        .during("hand-over")
        .with("generation", intent.generation)
        .with("target_run_id", intent.to.run_id.0.clone())
        .with("replid", intent.replid.0.clone());
    if let Some(from) = &intent.from {
        refusal = refusal.with("from", from.node.to_string()).with("from_run_id", from.run_id.0.clone());
    }
    refusal
}
