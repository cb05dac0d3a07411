//! The granted master is not the process it was: it restarted, or it is gone.
//!
//! A restarted node has a new lineage unless it saved an RDB, and a master that restarts empty makes
//! its slaves wipe themselves as soon as they reconnect. So the slaves are parked first, which erases
//! nothing, and only then is anyone compared: by offset where the old lineage survived in the node,
//! by the number of keys where it did not (and then the receipt says that this is no proof).

use serde_json::json;

use super::acting::Acting;
use super::standing::{self, Standing};
use super::{Right, Situation, Step, Would, known_target};
use crate::address::NodeName;
use crate::mutant::{self, Mutant};
use crate::observation::{NodeState, Offset, ReplId, Vitals};
use crate::record::Granted;
use crate::refusal::{Refusal, Slug};

/// How far a node is on a lineage: on it now, or on it until it restarted or was promoted.
pub(crate) fn position_on(vitals: &Vitals, replid: &ReplId) -> Option<Offset> {
    if vitals.replid == *replid {
        return Some(vitals.extent());
    }
    let before = vitals.replid2.as_ref().filter(|before| *before == replid)?;
    let _ = before;
    vitals.second_offset.map(|second| second.saturating_sub(1))
}

/// The nodes that belong to the cluster, as against those that were merely discovered.
fn members<'a>(situation: &Situation<'a>) -> impl Iterator<Item = (&'a NodeName, &'a NodeState)> {
    let before = situation.record.wanted.as_ref().map(|wanted| &wanted.document);
    let wanted = &situation.wanted.document;
    situation.observation.all_known().filter(move |(name, _)| {
        wanted.nodes().any(|node| node == *name)
            || before.is_some_and(|before| before.nodes().any(|node| node == *name))
    })
}

/// Members whose data counts against that of `node`: all others but those that the document gives up.
fn rivals<'a>(
    situation: &'a Situation<'_>,
    node: &NodeName,
) -> impl Iterator<Item = (&'a NodeName, &'a NodeState)> {
    members(situation)
        .filter(move |(name, _)| *name != node)
        .filter(|(name, other)| !situation.discards(name, &other.vitals.run_id.0))
}

/// The granted node is wanted as master although what its present life holds may be lost: the operator
/// knows that nobody who is away holds more. What those hold who answer still counts.
fn waits_for_nobody(situation: &Situation<'_>, granted: &Granted) -> bool {
    let life = situation.observation.vitals(&granted.node);
    life.is_some_and(|vitals| situation.discards(&granted.node, &vitals.run_id.0))
}

/// The granted node answers in another life.
pub(super) fn restarted(
    situation: &Situation<'_>,
    granted: &Granted,
    state: &NodeState,
) -> Result<Acting, Refusal> {
    if let Some(successor) = successor(situation, granted) {
        return Ok(Acting::Node { node: successor.clone(), adopt: Some(Right::Successor) });
    }
    // Who left the document while it was away, or was attached for one that is not in force, may still
    // follow the granted node, and would be wiped by it.
    let left = situation.record.outside().filter_map(|node| Some((node, situation.observation.known(node)?)));
    let unparked: Vec<Step> = members(situation)
        .chain(left.filter(|(name, _)| members(situation).all(|(member, _)| member != *name)))
        .filter(|(name, other)| {
            // One that is loading takes no orders; it is waited for below.
            let stands = other.vitals.is_parked() || other.vitals.loading;
            **name != granted.node && other.vitals.run_id != state.vitals.run_id && !stands
        })
        .map(|(name, _)| Step::Park {
            node: name.clone(),
            why: format!("{} restarted; nobody follows it before its data was compared", granted.node),
        })
        .collect();
    if !unparked.is_empty() && !mutant::active(Mutant::ResumeWithoutParking) {
        return Ok(Acting::First { steps: unparked, would: Would::Resumed });
    }
    // Nobody can be compared before everybody who answers has loaded.
    let loading = members(situation).find(|(_, other)| other.vitals.loading).map(|(name, _)| name);
    if let Some(node) = loading.or_else(|| state.vitals.loading.then_some(&granted.node)) {
        return Err(super::fitness::loading(node));
    }
    let given_up = situation.discards(&granted.node, &state.vitals.run_id.0);
    if given_up && situation.wanted.document.master != granted.node {
        return replacement(situation, granted);
    }
    match standing::of(situation, &granted.replid, &state.vitals) {
        Some(own) => by_offset(situation, granted, state, own),
        None => by_keys(situation, granted, state),
    }
}

/// A slave that somebody promoted while the granted master was away: in the very life in which it was
/// last seen as a healthy slave, so its second lineage is no trace of a restart from an RDB.
fn successor<'a>(situation: &Situation<'a>, granted: &Granted) -> Option<&'a NodeName> {
    let mut promoted = members(situation).filter(|(name, state)| {
        let seen = situation.record.heartbeat.seen(name);
        state.vitals.is_master()
            && state.vitals.replid2.as_ref() == Some(&granted.replid)
            && seen.is_some_and(|seen| seen.run_id == state.vitals.run_id)
    });
    let first = promoted.next()?;
    promoted.next().is_none().then_some(first.0)
}

fn by_offset(
    situation: &Situation<'_>,
    granted: &Granted,
    state: &NodeState,
    own: Standing,
) -> Result<Acting, Refusal> {
    let target = &situation.wanted.document.master;
    let others: Vec<(&NodeName, Standing)> = rivals(situation, &granted.node)
        .filter_map(|(name, other)| Some((name, standing::of(situation, &granted.replid, &other.vitals)?)))
        .collect();
    if others.iter().all(|(_, theirs)| own.holds(*theirs)) {
        if !own.is_present() {
            return by_keys(situation, granted, state);
        }
        let provable = strangers_hold_no_more(situation, granted, state, keys_kept(&state.vitals))?;
        absent_hold_no_more(situation, granted, state, (&granted.node, own.offset))?;
        return Ok(resume(granted, state, provable));
    }
    let best = others
        .iter()
        .filter(|(_, most)| most.holds(own) && others.iter().all(|(_, theirs)| most.holds(*theirs)))
        .max_by_key(|(name, _)| *name == target);
    let Some((name, most)) = best else {
        let detail =
            format!("{} restarted on an earlier history, and no node surely holds all of it", granted.node);
        let better = others.first().map_or(target, |(name, _)| name);
        return Err(lost(situation, granted, state, better, &detail));
    };
    let keys = situation.observation.vitals(name).map_or(0, |vitals| vitals.keys);
    strangers_hold_no_more(situation, granted, state, keys)?;
    absent_hold_no_more(situation, granted, state, (name, most.offset))?;
    let wrote = state.vitals.write_calls != Some(0) && !state.vitals.fed;
    if wrote {
        let detail = format!(
            "{} restarted at offset {} and has taken writes since, while {name} holds {}",
            granted.node, own.offset, most.offset
        );
        return Err(lost(situation, granted, state, name, &detail));
    }
    let step = if state.vitals.is_master() {
        // Clients may write to it until it is parked; only then it shows whether they did.
        Step::Park { node: granted.node.clone(), why: format!("{name} holds more of what was written") }
    } else {
        Step::Promote { node: (*name).clone(), right: Right::MostAdvanced }
    };
    Ok(Acting::First { steps: vec![step], would: Would::Resumed })
}

/// Slaves that lost their place in the history (a restart with AOF, or as a master that nobody followed), and
/// those that have gone on from it on a lineage that nobody knows, can be compared by the number of their keys
/// alone. Returns whether there are none, so that offsets prove it.
fn strangers_hold_no_more(
    situation: &Situation<'_>,
    granted: &Granted,
    state: &NodeState,
    keys: u64,
) -> Result<bool, Refusal> {
    let mut strangers = rivals(situation, &granted.node).filter(|(name, other)| {
        let (vitals, present) = (&other.vitals, &granted.replid);
        // What the restarted master has fed it since, that one has itself.
        let fed_since = vitals.replid == state.vitals.replid;
        let gone_on = !fed_since && standing::has_gone_on(situation, present, vitals);
        let stranger = gone_on || standing::of(situation, present, vitals).is_none();
        stranger && situation.record.heartbeat.seen(name).is_some() && vitals.keys > 0
    });
    let Some(first) = strangers.next() else { return Ok(true) };
    let richest =
        strangers.fold(first, |most, next| if next.1.vitals.keys > most.1.vitals.keys { next } else { most });
    if richest.1.vitals.keys <= keys {
        return Ok(false);
    }
    let detail = format!(
        "{} restarted with {} keys, while {} holds {} of a history that cannot be compared",
        granted.node, state.vitals.keys, richest.0, richest.1.vitals.keys
    );
    Err(lost(situation, granted, state, richest.0, &detail))
}

/// The nodes of this document or the one before that cannot be asked, nor were given up.
fn absent<'a>(situation: &'a Situation<'_>) -> impl Iterator<Item = &'a NodeName> {
    let before = situation.record.wanted.iter().flat_map(|wanted| wanted.document.nodes());
    situation.wanted.document.nodes().chain(before).filter(|node| {
        let seen = situation.record.heartbeat.seen(node);
        let given_up = seen.is_some_and(|seen| situation.discards(node, &seen.run_id.0));
        situation.observation.known(node).is_none() && !given_up
    })
}

/// What a master that restarted from a save lacks may be on any slave that was fed to the end. Nobody is
/// granted before all of them were asked, however little the absent one had when it was last seen.
fn absent_hold_no_more(
    situation: &Situation<'_>,
    granted: &Granted,
    state: &NodeState,
    best: (&NodeName, Offset),
) -> Result<(), Refusal> {
    let Some(absent) = absent(situation).next().filter(|_| !waits_for_nobody(situation, granted)) else {
        return Ok(());
    };
    let seen = situation.record.heartbeat.seen(absent).map(|seen| seen.offset);
    Err(may_hold_more(granted, state, absent, "from an earlier save", best.0)
        .with("last_seen_offset", json!(seen))
        .with("best_reachable", best.0.to_string())
        .with("best_reachable_offset", best.1))
}

fn may_hold_more(
    granted: &Granted,
    state: &NodeState,
    absent: &NodeName,
    how: &str,
    best: &NodeName,
) -> Refusal {
    Refusal::new(
        Slug::MasterLostData,
        format!(
            "{} restarted {how}, and {absent}, which may hold more of its data, cannot be reached",
            granted.node
        ),
        format!(
            "start {absent} again, it will be compared before anyone is attached; or, if what only {absent} holds may be lost, name {best} as master and add \"discard\":[{}]",
            discard_entry(&granted.node, state)
        ),
    )
    .about(&granted.node)
}

/// How many keys a restarted node surely brought with it. One without AOF may have come back empty, and
/// what it holds may be what clients wrote to it since: a single command writes any number of keys.
pub(crate) fn keys_kept(vitals: &Vitals) -> u64 {
    if vitals.append_only || vitals.write_calls == Some(0) { vitals.keys } else { 0 }
}

fn by_keys(situation: &Situation<'_>, granted: &Granted, state: &NodeState) -> Result<Acting, Refusal> {
    let kept = keys_kept(&state.vitals);
    let richer = rivals(situation, &granted.node).filter(|(_, other)| other.vitals.keys > kept);
    // Of those that hold more, name the one that got furthest.
    let standing = |vitals: &Vitals| (position_on(vitals, &granted.replid), vitals.keys);
    if let Some((name, other)) = richer.max_by_key(|(_, other)| standing(&other.vitals)) {
        let detail =
            format!("{} restarted with {kept} keys, while {name} holds {}", granted.node, other.vitals.keys);
        return Err(lost(situation, granted, state, name, &detail));
    }
    if waits_for_nobody(situation, granted) {
        return Ok(resume(granted, state, false));
    }
    // Without AOF it holds what it held when it last saved, if anything: a slave that is away may hold more.
    // With AOF it is the one that was written to, and is believed if it kept anything. But one that was synced
    // just before may have had no file yet, and what it holds may all have been written to it since.
    let written = state.vitals.write_calls != Some(0);
    let how = match (state.vitals.append_only, state.vitals.keys) {
        (_, 0) => "empty",
        (true, _) if kept == 0 || written => "and may have been empty then",
        (true, _) => "from its append-only file, which may lack its last seconds",
        (false, _) => "from an earlier save",
    };
    let doubtful = kept == 0 || written || !state.vitals.append_only;
    // A power cut takes the end of the file, which a slave has that was fed until then.
    let heartbeat = &situation.record.heartbeat;
    if let Some(absent) = absent(situation).find(|node| doubtful || !heartbeat.long_away(node)) {
        let refusal = may_hold_more(granted, state, absent, how, &granted.node);
        return Err(refusal
            .with("run_id", state.vitals.run_id.0.clone())
            .with("discard", discard_entry(&granted.node, state)));
    }
    Ok(resume(granted, state, false))
}

fn resume(granted: &Granted, state: &NodeState, provable: bool) -> Acting {
    let (node, right) = (granted.node.clone(), Right::Resumed { provable });
    if state.vitals.is_master() {
        return Acting::Node { node, adopt: Some(right) };
    }
    Acting::First { steps: vec![Step::Promote { node, right }], would: Would::Resumed }
}

fn discard_entry(node: &NodeName, state: &NodeState) -> serde_json::Value {
    json!(crate::document::Discard { node: node.clone(), run_id: state.vitals.run_id.0.clone() })
}

fn lost(
    situation: &Situation<'_>,
    granted: &Granted,
    state: &NodeState,
    better: &NodeName,
    detail: &str,
) -> Refusal {
    let nodes: Vec<_> = members(situation)
        .map(|(name, other)| {
            json!({
                "node": name.to_string(), "run_id": other.vitals.run_id, "keys": other.vitals.keys,
                "replid": other.vitals.replid, "offset": other.vitals.extent(),
            })
        })
        .collect();
    Refusal::new(
        Slug::MasterLostData,
        format!("{detail}; the slaves are parked and keep their data"),
        format!("name {better} as master and add \"discard\":[{}]", discard_entry(&granted.node, state)),
    )
    .about(&granted.node)
    .with("better", better.to_string())
    .with("nodes", json!(nodes))
}

/// The granted master was given up in the document: the target takes its place if nobody reachable
/// holds more.
pub(super) fn replacement(situation: &Situation<'_>, granted: &Granted) -> Result<Acting, Refusal> {
    let target = &situation.wanted.document.master;
    let state = most_advanced(situation, &granted.replid, Beyond::No)?;
    if state.vitals.is_master() {
        return Ok(Acting::Node { node: target.clone(), adopt: Some(Right::Replacement) });
    }
    Ok(Acting::First { steps: replace(target, state), would: Would::Switched })
}

/// Promotes the node that takes the place of one that was given up. It ceases to follow first: should the
/// promotion get lost, it is found parked, and not following one who may come back.
pub(super) fn replace(node: &NodeName, state: &NodeState) -> Vec<Step> {
    let promote = Step::Promote { node: node.clone(), right: Right::Replacement };
    if state.vitals.is_parked() {
        return vec![promote];
    }
    let why = "it takes the place of the master it followed".to_owned();
    vec![Step::Park { node: node.clone(), why }, promote]
}

/// Whether the target may have taken writes beyond the lineage that everybody is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// It was a slave. Where only its position on the lineage was lost, a node with one is preferred.
    No,
    /// It may have been promoted before it restarted. A position on the lineage proves nothing against
    /// it then; only a node with more keys does.
    Perhaps,
}

/// The target's state, if nobody who answers holds more of a lineage than it, apart from those whose present
/// life the document gives up. That one was given up in an earlier life says nothing about what this one
/// has brought back.
pub(super) fn most_advanced<'a>(
    situation: &Situation<'a>,
    lineage: &ReplId,
    beyond: Beyond,
) -> Result<&'a NodeState, Refusal> {
    let target = &situation.wanted.document.master;
    let state = known_target(situation)?;
    let others = || rivals(situation, target);
    let loading = others().find(|(_, other)| other.vitals.loading).map(|(name, _)| name);
    if let Some(node) = state.vitals.loading.then_some(target).or(loading) {
        return Err(super::fitness::loading(node));
    }
    let own = (standing::of(situation, lineage, &state.vitals), state.vitals.keys);
    let better = others()
        .filter(|(_, other)| match (standing::of(situation, lineage, &other.vitals), own.0) {
            (Some(theirs), Some(own)) => !own.holds(theirs),
            (Some(_), None) if beyond == Beyond::No => true,
            (None, Some(_)) => false,
            (_, None) => other.vitals.keys > own.1,
        })
        .max_by_key(|(_, other)| (position_on(&other.vitals, lineage), other.vitals.keys));
    let Some((name, other)) = better else { return Ok(state) };
    Err(Refusal::new(
        Slug::TargetBehind,
        format!("{name} holds more of what was written than {target}"),
        format!("name {name} as master"),
    )
    .about(target)
    .with("better", name.to_string())
    .with("better_offset", other.vitals.extent())
    .with("better_keys", other.vitals.keys)
    .with("target_offset", state.vitals.extent())
    .with("target_keys", state.vitals.keys))
}
