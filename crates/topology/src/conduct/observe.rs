//! Observing: every name of the document and the record, then whatever slaves were found to follow.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use super::{Conduct, Effect, Phase};
use crate::address::{Address, NodeName};
use crate::command::{Answer, Command, Order, Reply};
use crate::observation::{Observation, Observed, Unknown, View, Vitals};

/// Most rounds of following slaves to masters not named anywhere.
const DISCOVERY_ROUNDS_MAX: u32 = 4;

/// An observation being made.
#[derive(Debug, Default)]
pub(super) struct Observing {
    waiting: BTreeMap<u64, (NodeName, SocketAddr)>,
    answers: BTreeMap<NodeName, Vec<(SocketAddr, View)>>,
    rounds: u32,
}

impl Conduct {
    /// Begins to observe.
    pub(super) fn observe(&mut self) {
        self.phase = Phase::Observing(Observing::default());
        let mut asked: Vec<(NodeName, SocketAddr)> = Vec::new();
        let mut unresolved = Vec::new();
        for (name, endpoints) in &self.names {
            match endpoints {
                Ok(endpoints) => asked.extend(endpoints.iter().map(|endpoint| (name.clone(), *endpoint))),
                Err(why) => unresolved.push((name.clone(), why.clone())),
            }
        }
        self.observation = Observation::default();
        for (name, why) in unresolved {
            let view = View::Unknown(Unknown::Unresolvable(why));
            self.observation.nodes.insert(name, Observed { endpoint: None, view });
        }
        self.ask(asked);
        self.observed_all();
    }

    fn ask(&mut self, asked: Vec<(NodeName, SocketAddr)>) {
        let target = self.wanted().map(|wanted| wanted.document.master);
        for (node, endpoint) in asked {
            let ticket = self.ticket();
            let feel_pause = target.as_ref() == Some(&node);
            if let Phase::Observing(observing) = &mut self.phase {
                observing.waiting.insert(ticket, (node.clone(), endpoint));
            }
            let deadline = self.limits.observe_deadline;
            let command = Command::Observe { feel_pause };
            let order = Order { node, endpoint, session: None, command, deadline };
            self.effects.push(Effect::Order { ticket, order });
        }
    }

    /// Looks only at the vitals of some nodes, over the connections that are open.
    pub(super) fn glance(&mut self, nodes: &[NodeName]) {
        self.phase = Phase::Observing(Observing { rounds: DISCOVERY_ROUNDS_MAX, ..Observing::default() });
        for node in nodes {
            let Some(observed) = self.observation.nodes.get(node) else { continue };
            let (Some(endpoint), Some(session)) =
                (observed.endpoint, observed.known().map(|state| state.session))
            else {
                continue;
            };
            let ticket = self.ticket();
            if let Phase::Observing(observing) = &mut self.phase {
                observing.waiting.insert(ticket, (node.clone(), endpoint));
            }
            let (node, deadline) = (node.clone(), self.limits.observe_deadline);
            let order = Order { node, endpoint, session: Some(session), command: Command::Poll, deadline };
            self.effects.push(Effect::Order { ticket, order });
        }
        self.observed_all();
    }

    pub(super) fn on_observed(&mut self, ticket: u64, answer: Answer) {
        let Phase::Observing(observing) = &mut self.phase else { return };
        let Some((node, endpoint)) = observing.waiting.remove(&ticket) else { return };
        if let Ok(Reply::Vitals(vitals)) = answer {
            if let Some(View::Known(state)) = self.observation.nodes.get_mut(&node).map(|node| &mut node.view)
            {
                // A brief reading has no command statistics; the node keeps those it had.
                let (write_calls, stats_reset) = (state.vitals.write_calls, state.vitals.stats_reset);
                state.vitals = Vitals { write_calls, stats_reset, ..*vitals };
            }
            return self.observed_all();
        }
        let view = match answer {
            Ok(Reply::State(state)) => View::Known(state),
            Ok(_) => View::Unknown(Unknown::NotRedis("an answer to another question".to_owned())),
            Err(failure) => View::Unknown(failure.reason().clone()),
        };
        observing.answers.entry(node).or_default().push((endpoint, view));
        self.observed_all();
    }

    /// Goes on if every question of this round is answered.
    fn observed_all(&mut self) {
        let Phase::Observing(observing) = &mut self.phase else { return };
        if !observing.waiting.is_empty() {
            return;
        }
        for (name, answers) in std::mem::take(&mut observing.answers) {
            self.observation.nodes.insert(name, merge(answers));
        }
        observing.rounds += 1;
        let more = observing.rounds <= DISCOVERY_ROUNDS_MAX;
        let found = if more { undiscovered(&self.observation) } else { Vec::new() };
        if found.is_empty() {
            self.decide();
        } else {
            self.ask(found);
        }
    }
}

/// One name, several addresses: fine if they lead to one life.
fn merge(mut answers: Vec<(SocketAddr, View)>) -> Observed {
    answers.sort_by_key(|(endpoint, _)| *endpoint);
    let known: Vec<(SocketAddr, &str)> = answers
        .iter()
        .filter_map(|(endpoint, view)| match view {
            View::Known(state) => Some((*endpoint, state.vitals.run_id.0.as_str())),
            View::Unknown(_) => None,
        })
        .collect();
    if let Some((_, first)) = known.first()
        && known.iter().any(|(_, run_id)| run_id != first)
    {
        let list: Vec<String> =
            known.iter().map(|(endpoint, run_id)| format!("{endpoint} is {run_id}")).collect();
        return Observed { endpoint: None, view: View::Unknown(Unknown::Ambiguous(list.join(", "))) };
    }
    let best = answers.iter().position(|(_, view)| matches!(view, View::Known(_))).unwrap_or(0);
    let (endpoint, view) = answers.swap_remove(best);
    Observed { endpoint: Some(endpoint), view }
}

/// Masters that observed slaves follow and that nobody named.
fn undiscovered(observation: &Observation) -> Vec<(NodeName, SocketAddr)> {
    let mut found: Vec<(NodeName, SocketAddr)> = Vec::new();
    for (name, state) in observation.all_known() {
        let Some(following) = state.vitals.following() else { continue };
        let (Some(port), Ok(ip)) = (NonZeroU16::new(following.port), following.host.parse::<IpAddr>()) else {
            continue;
        };
        let own = observation.nodes.get(name).and_then(|node| node.endpoint);
        // A slave that says "loopback" means its own host.
        let ip = match own {
            Some(own) if ip.is_loopback() && !own.ip().is_loopback() => own.ip(),
            _ => ip,
        };
        let endpoint = SocketAddr::new(ip, port.get());
        let by_lineage = observation.leader_of(name).is_some();
        let asked =
            observation.name_of(endpoint).is_some() || found.iter().any(|(_, other)| *other == endpoint);
        if !asked && !by_lineage {
            found.push((NodeName { address: Address::Ip(ip), port: Some(port) }, endpoint));
        }
    }
    found
}
