//! Questions that come before all others: is the document about usable nodes, and is this dictator the
//! only one to give them orders.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Situation, Step};
use crate::address::NodeName;
use crate::mutant::{self, Mutant};
use crate::observation::{NodeState, RunId, Unknown, VERSION_MIN};
use crate::refusal::{Refusal, Slug};

/// The document names usable nodes, each once.
pub(super) fn document(situation: &Situation<'_>) -> Result<(), Refusal> {
    let document = &situation.wanted.document;
    let observation = situation.observation;
    for node in document.nodes() {
        let unknown = observation.nodes.get(node).and_then(|observed| observed.unknown());
        match unknown {
            Some(unknown @ Unknown::Ambiguous(_)) => return Err(Refusal::of_unknown(node, unknown)),
            Some(unknown @ Unknown::Unresolvable(_)) if *node == document.master => {
                return Err(Refusal::of_unknown(node, unknown));
            }
            // One that answers and is not a usable redis is a mistake in the document, not an outage.
            Some(unknown @ (Unknown::NotRedis(_) | Unknown::Refuses(_))) => {
                return Err(Refusal::of_unknown(node, unknown));
            }
            _ => {}
        }
    }
    for (node, state) in observation.all_known() {
        supported(node, state)?;
    }
    let mut names: BTreeMap<&RunId, &NodeName> = BTreeMap::new();
    for node in document.nodes() {
        let Some(vitals) = observation.vitals(node) else { continue };
        if let Some(first) = names.insert(&vitals.run_id, node) {
            return Err(Refusal::new(
                Slug::SameInstance,
                format!("{first} and {node} are the same redis instance"),
                "name each instance once",
            )
            .about(node)
            .with("run_id", vitals.run_id.0.clone())
            .with("names", json!([first.to_string(), node.to_string()])));
        }
    }
    Ok(())
}

fn supported(node: &NodeName, state: &NodeState) -> Result<(), Refusal> {
    let vitals = &state.vitals;
    let unsupported = |what: &str, advice: &str| {
        Err(Refusal::new(Slug::UnsupportedNode, format!("{node} {what}"), advice)
            .about(node)
            .with("version", vitals.version.to_string()))
    };
    if vitals.cluster {
        return unsupported(
            "runs in cluster mode",
            "use CLUSTER FAILOVER there, or a node without cluster mode",
        );
    }
    if vitals.sentinel {
        return unsupported("is a Sentinel, not a data node", "name the redis instance, not its Sentinel");
    }
    if vitals.version < VERSION_MIN {
        return unsupported(
            &format!("runs redis {}, which cannot pause writes", vitals.version),
            "upgrade it to redis 6.2 or later",
        );
    }
    Ok(())
}

/// Nobody else gives these nodes orders, and none of them would go on writing after its demotion.
pub(super) fn authorities(situation: &Situation<'_>) -> Result<(), Refusal> {
    for (node, state) in situation.observation.all_known() {
        if let Some(rival) = state
            .dictators
            .iter()
            .find(|connection| !connection.ours && connection.epoch >= situation.policy.epoch)
            && !mutant::active(Mutant::NoLockCheck)
        {
            return Err(Refusal::new(
                Slug::NotLeader,
                format!(
                    "another dictator (epoch {}, from {}) is connected to {node}; ours is epoch {}",
                    rival.epoch, rival.peer, situation.policy.epoch
                ),
                "run one dictator for these nodes, or let all of them share one etcd",
            )
            .about(node)
            .with("epoch", rival.epoch)
            .with("peer", rival.peer.clone()));
        }
        if !state.sentinels.is_empty() && !situation.policy.ignore_sentinel {
            return Err(Refusal::new(
                Slug::ManagedBySentinel,
                format!("{node} is watched by Sentinels; two authorities over one node lose data"),
                "remove this master from the Sentinels (SENTINEL REMOVE), or start the dictator with --ignore-sentinel",
            )
            .about(node)
            .with("connections", json!(state.sentinels)));
        }
        if state.vitals.failover_running {
            return Err(Refusal::new(
                Slug::TargetUnfit,
                format!("a FAILOVER of redis itself is running on {node}"),
                format!("let it end, or send FAILOVER ABORT to {node}"),
            )
            .about(node)
            .with("master_failover_state", "running"));
        }
        writable_replica(node, state)?;
    }
    Ok(())
}

fn writable_replica(node: &NodeName, state: &NodeState) -> Result<(), Refusal> {
    let while_slave = state.vitals.following().is_some_and(|following| !following.read_only);
    if state.settings.read_only == Some(false) || while_slave {
        return Err(Refusal::new(
            Slug::TargetUnfit,
            format!("{node} has replica-read-only no: it would go on taking writes after its demotion"),
            format!("on {node}: CONFIG SET replica-read-only yes, and the same in its configuration file"),
        )
        .about(node)
        .with("replica_read_only", false));
    }
    Ok(())
}

/// Connections whose commands may still be on their way: earlier dictators', and our own given-up ones.
pub(super) fn quiet(situation: &Situation<'_>) -> Vec<Step> {
    if mutant::active(Mutant::NoNodeFencing) {
        return Vec::new();
    }
    situation
        .observation
        .all_known()
        .filter_map(|(node, state)| {
            let connections: Vec<_> = state
                .dictators
                .iter()
                .filter(|connection| connection.ours || connection.epoch < situation.policy.epoch)
                .map(|connection| connection.id)
                .collect();
            (!connections.is_empty()).then(|| Step::Quiet { node: node.clone(), connections })
        })
        .collect()
}
