//! A tiny honest world of redis nodes: every order is answered at once, and whoever is attached syncs at
//! once, with what redis does to lineages, offsets and data when it does.
//!
//! What makes it a judge: every write has a number, and a node that throws its data away in favour of its
//! master's (a full resync, redis `replicationEmptyDbCallback`) must not have held a write that its master
//! lacks. [`World::erased`] notes each that did.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use topology::NodeName;
use topology::command::{Answer, Assigned, Assignment, Command, Failure, Order, Reply};
use topology::conduct::{Conduct, Effect, Event, Finish, Job, Limits, Names, Purpose};
use topology::observation::{Following, NodeState, ReplId, Role, RunId, Unknown, Vitals};
use topology::plan::Policy;
use topology::record::Record;

use crate::nodes::{endpoint, name, parked, vitals};
use crate::observed::state;

/// Bytes of the stream that one write takes.
const WRITE_BYTES: u64 = 10;
/// Clients write once in so many answers.
const ANSWERS_PER_WRITE: u32 = 3;
/// Most events of one change; beyond that it goes round in circles.
const EVENTS_MAX: u32 = 20_000;

/// What a node saved of itself.
#[derive(Clone, Debug)]
struct Saved {
    replid: ReplId,
    offset: u64,
    data: Arc<BTreeSet<u32>>,
}

/// How a node comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// With all its data and no lineage.
    Aof,
    /// With data and lineage of this moment.
    Rdb,
    /// With data and lineage of when it was last saved.
    OldRdb,
    /// With nothing.
    Empty,
}

/// One redis.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    life: u32,
    pub(crate) reachable: bool,
    /// Where it replicates from; `None` for a master.
    leader: Option<SocketAddr>,
    linked: bool,
    /// Its link broke; it is tried again when time passes.
    broken: bool,
    replid: ReplId,
    before: Option<(ReplId, u64)>,
    offset: u64,
    backlog: bool,
    pub(crate) data: Arc<BTreeSet<u32>>,
    fed: bool,
    write_calls: u64,
    paused: bool,
    full_syncs: u64,
    /// Whether it keeps an AOF.
    aof: bool,
    saved: Option<Saved>,
}

/// All nodes, their clients, and what came of them.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) nodes: BTreeMap<String, Node>,
    /// Where clients write, if it is a master.
    pub(crate) clients_at: Option<String>,
    /// Every write that was acknowledged to a client.
    pub(crate) acknowledged: BTreeSet<u32>,
    /// What full resyncs destroyed: node, and the writes that its master did not have.
    pub(crate) erased: Vec<(String, BTreeSet<u32>)>,
    /// Every order but reads, for reading a failure.
    pub(crate) orders: Vec<String>,
    lineages: u32,
    writes: u32,
    answers: u32,
}

fn own(life: u32, node: &str) -> RunId {
    RunId(format!("run-{node}-{life}"))
}

impl World {
    /// Nodes without data: born unassigned, or `plain` masters.
    pub(crate) fn new(nodes: &[&str], plain: bool) -> Self {
        let mut world = Self {
            nodes: BTreeMap::new(),
            clients_at: None,
            acknowledged: BTreeSet::new(),
            erased: Vec::new(),
            orders: Vec::new(),
            lineages: 0,
            writes: 0,
            answers: 0,
        };
        for node in nodes {
            let fresh = Node {
                life: 1,
                reachable: true,
                leader: (!plain).then(nobody),
                linked: false,
                broken: false,
                replid: world.lineage(),
                before: None,
                offset: 0,
                backlog: false,
                data: Arc::default(),
                fed: false,
                write_calls: 0,
                paused: false,
                full_syncs: 0,
                aof: false,
                saved: None,
            };
            world.nodes.insert((*node).to_owned(), fresh);
        }
        world
    }

    fn lineage(&mut self) -> ReplId {
        self.lineages += 1;
        ReplId(format!("R{}", self.lineages))
    }

    pub(crate) fn node(&mut self, node: &str) -> &mut Node {
        self.nodes.get_mut(node).expect("a node of this world")
    }

    pub(crate) fn run_id(&self, node: &str) -> RunId {
        own(self.nodes[node].life, node)
    }

    pub(crate) fn is_master(&self, node: &str) -> bool {
        self.nodes[node].leader.is_none()
    }

    /// A write that a client sends to a node; acknowledged if the node takes it.
    pub(crate) fn write(&mut self, node: &str) {
        let number = self.writes;
        let at = self.node(node);
        if at.leader.is_some() || at.paused {
            return;
        }
        Arc::make_mut(&mut at.data).insert(number);
        at.write_calls += 1;
        // Without a backlog redis feeds nothing, and the offset stays (redis `replicationFeedSlaves`).
        at.offset += if at.backlog { WRITE_BYTES } else { 0 };
        self.writes += 1;
        self.acknowledged.insert(number);
        self.settle();
    }

    /// What the clients of the cluster do from time to time.
    fn write_as_clients(&mut self) {
        if let Some(node) = self.clients_at.clone() {
            self.write(&node);
        }
    }

    pub(crate) fn save(&mut self, node: &str) {
        // A master without a backlog saves no lineage (redis `rdbPopulateSaveInfo`).
        let unknown = self.lineage();
        let node = self.node(node);
        let known = node.leader.is_some() || node.backlog;
        let (replid, offset) = if known { (node.replid.clone(), node.offset) } else { (unknown, 0) };
        node.saved = Some(Saved { replid, offset, data: node.data.clone() });
    }

    /// A restart: a new life, with what was kept; unassigned or as a master.
    pub(crate) fn restart(&mut self, node: &str, how: Restart, plain: bool) {
        if how == Restart::Rdb {
            self.save(node);
        }
        let fresh = self.lineage();
        let at = self.node(node);
        at.life += 1;
        at.leader = (!plain).then(nobody);
        at.broken = false;
        (at.linked, at.before, at.backlog, at.fed, at.paused) = (false, None, false, false, false);
        (at.write_calls, at.full_syncs, at.aof) = (0, 0, how == Restart::Aof);
        if how == Restart::Empty {
            // Its disk is gone, and what was saved there.
            at.saved = None;
        }
        let kept = at.saved.clone().filter(|_| matches!(how, Restart::Rdb | Restart::OldRdb));
        match kept {
            Some(kept) if plain => {
                at.before = Some((kept.replid, kept.offset + 1));
                (at.replid, at.offset, at.data, at.backlog) = (fresh, kept.offset, kept.data, true);
            }
            Some(kept) => (at.replid, at.offset, at.data) = (kept.replid, kept.offset, kept.data),
            None => {
                (at.replid, at.offset) = (fresh, 0);
                if how != Restart::Aof {
                    at.data = Arc::default();
                }
            }
        }
        let restarted = endpoint(node);
        for slave in self.nodes.values_mut().filter(|slave| slave.leader == Some(restarted)) {
            (slave.linked, slave.broken) = (false, true);
        }
        self.settle();
    }

    /// Time passes: broken links are tried again.
    pub(crate) fn reconnect(&mut self) {
        self.nodes.values_mut().for_each(|node| node.broken = false);
        self.settle();
    }

    /// Who follows a node.
    pub(crate) fn led_by(&self, node: &str) -> Vec<String> {
        let leader = Some(endpoint(node));
        self.nodes.iter().filter(|(_, slave)| slave.leader == leader).map(|(name, _)| name.clone()).collect()
    }

    /// `REPLICAOF NO ONE`, whoever sends it.
    pub(crate) fn promote(&mut self, node: &str) {
        let fresh = self.lineage();
        let at = self.node(node);
        if at.leader.take().is_some() {
            let old = std::mem::replace(&mut at.replid, fresh);
            at.before = Some((old, at.offset + 1));
            at.linked = false;
            at.backlog = true;
        }
        self.settle();
    }

    /// `REPLICAOF ip port`, whoever sends it.
    pub(crate) fn follow(&mut self, node: &str, leader: SocketAddr) {
        let at = self.node(node);
        at.leader = Some(leader);
        (at.linked, at.broken) = (false, false);
        at.backlog = true;
        self.settle();
    }

    /// Lets every link come up that can, until nothing changes.
    fn settle(&mut self) {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for _ in 0..=names.len() {
            let changes = names.iter().filter(|node| self.link(node)).count();
            if changes == 0 {
                return;
            }
        }
    }

    /// Whether anything changed by it.
    fn link(&mut self, node: &str) -> bool {
        let slave = &self.nodes[node];
        let found = slave.leader.and_then(|leader| {
            self.nodes.iter().find(|(name, _)| endpoint(name) == leader).map(|(name, _)| name.clone())
        });
        let leads = |leader: &Node| leader.reachable && (leader.leader.is_none() || leader.linked);
        let Some(leader) =
            found.filter(|found| slave.reachable && found != node && leads(&self.nodes[found]))
        else {
            let slave = self.node(node);
            slave.broken |= slave.linked;
            return std::mem::take(&mut slave.linked);
        };
        let slave = self.nodes[node].clone();
        if slave.broken {
            return false;
        }
        let mut source = self.nodes[&leader].clone();
        let same = slave.replid == source.replid && slave.offset <= source.offset;
        let earlier = source
            .before
            .as_ref()
            .is_some_and(|(before, second)| *before == slave.replid && slave.offset < *second);
        let streams = slave.linked && slave.replid == source.replid;
        if !streams && !(source.backlog && (same || earlier)) {
            if !source.backlog && source.leader.is_none() {
                // The first slave of a master without a backlog: a new lineage (redis `syncCommand`).
                source.replid = self.lineage();
                (source.before, source.backlog) = (None, true);
            }
            source.full_syncs += 1;
            let lost: BTreeSet<u32> = slave.data.difference(&source.data).copied().collect();
            if !lost.is_empty() {
                self.erased.push((node.to_owned(), lost));
            }
        }
        if streams && slave.offset == source.offset && Arc::ptr_eq(&slave.data, &source.data) {
            return false;
        }
        let changed = slave.replid != source.replid;
        let at = self.node(node);
        if changed && (same || earlier) {
            at.before = Some((at.replid.clone(), at.offset + 1));
        } else if changed {
            at.before = None;
        }
        at.write_calls += u64::from(!Arc::ptr_eq(&at.data, &source.data));
        (at.linked, at.fed, at.backlog) = (true, true, true);
        (at.replid, at.offset, at.data) = (source.replid.clone(), source.offset, source.data.clone());
        self.nodes.insert(leader, source);
        true
    }

    // === answering ===

    fn info(&self, node: &str) -> Vitals {
        let at = &self.nodes[node];
        let role = match at.leader {
            None => Role::Master,
            Some(leader) => Role::Slave(Following {
                host: leader.ip().to_string(),
                port: leader.port(),
                link_up: at.linked,
                ..parked(at.offset)
            }),
        };
        Vitals {
            run_id: self.run_id(node),
            replid: at.replid.clone(),
            replid2: at.before.as_ref().map(|(before, _)| before.clone()),
            second_offset: at.before.as_ref().map(|(_, second)| *second),
            offset: at.offset,
            keys: at.data.len() as u64,
            fed: at.fed,
            write_calls: Some(at.write_calls),
            full_syncs: at.full_syncs,
            append_only: at.aof,
            ..vitals(node, role)
        }
    }

    fn observed(&self, node: &str) -> NodeState {
        NodeState { paused: Some(self.nodes[node].paused), ..state(self.session(node), self.info(node)) }
    }

    fn session(&self, node: &str) -> u64 {
        u64::from(self.nodes[node].life)
    }

    fn answer(&mut self, order: &Order) -> Answer {
        let gone = |why: &str| Err(Failure::NotExecuted(Unknown::Unreachable(why.to_owned())));
        let node = self.nodes.keys().find(|node| endpoint(node) == order.endpoint).cloned();
        let Some(node) = node.filter(|node| self.nodes[node].reachable) else {
            return gone("connection refused");
        };
        if order.session.is_some_and(|session| session.0 != self.session(&node)) {
            return gone("the connection is closed");
        }
        if !matches!(order.command, Command::Observe { .. } | Command::Poll) {
            self.orders.push(format!("{node}: {:?}", order.command));
        }
        self.answers += 1;
        if self.answers.is_multiple_of(ANSWERS_PER_WRITE) {
            self.write_as_clients();
        }
        Ok(match &order.command {
            Command::Observe { .. } => Reply::State(Box::new(self.observed(&node))),
            Command::Poll => Reply::Vitals(Box::new(self.info(&node))),
            Command::PauseWrites { .. } => {
                self.node(&node).paused = true;
                Reply::Vitals(Box::new(self.info(&node)))
            }
            Command::Unpause => {
                self.node(&node).paused = false;
                Reply::Done
            }
            Command::KillConnections { .. } => Reply::Done,
            Command::Assign { to, unpause, .. } => {
                let before = self.info(&node);
                match to {
                    Assignment::Master => {
                        self.promote(&node);
                        // Clients learn of the new master.
                        self.clients_at = Some(node.clone());
                    }
                    Assignment::Parked => self.follow(&node, nobody()),
                    Assignment::SlaveOf(leader) => self.follow(&node, *leader),
                }
                self.node(&node).paused &= !unpause;
                let assigned = Assigned { before, accepted: Ok(()), after: self.info(&node) };
                Reply::Assigned(Box::new(assigned))
            }
        })
    }

    // === conducting ===

    /// Carries out one change to its end. `turns` decides which of the answers that are there comes first.
    pub(crate) fn conduct(&mut self, purpose: Purpose, record: Record, turns: &[u8]) -> Finish {
        let wanted = match &purpose {
            Purpose::Apply(wanted) | Purpose::DryRun(wanted) => Some(wanted.clone()),
            Purpose::Enforce => None,
        };
        let listed = wanted.iter().flat_map(|wanted| wanted.document.nodes().cloned());
        let names: Names =
            listed.chain(record.nodes()).map(|node| (node.clone(), Ok(vec![endpoint_of(&node)]))).collect();
        let policy = Policy { ignore_sentinel: false, epoch: 1 };
        let job = Job { purpose, policy, warnings: Vec::new(), started_unix_ms: 0 };
        let mut now = Duration::ZERO;
        let mut conduct = Conduct::new(job, record, names, Limits::default(), now);
        let mut events: Vec<Event> = Vec::new();
        let mut wake = None;
        for count in 0..EVENTS_MAX {
            for effect in conduct.effects() {
                match effect {
                    Effect::Order { ticket, order } => {
                        events.push(Event::Answer { ticket, answer: self.answer(&order) });
                    }
                    Effect::Save { ticket, .. } => events.push(Event::Saved { ticket, result: Ok(()) }),
                    Effect::Wake { at } => wake = Some(at),
                    Effect::Began { .. } | Effect::Announce(_) => {}
                    Effect::Finished(finish) => return *finish,
                }
            }
            let event = if events.is_empty() {
                now = wake.take().expect("an answer, a save or a time to wait for").max(now);
                self.reconnect();
                Event::Woken
            } else {
                let turn = turns.get(count as usize % turns.len().max(1)).copied().unwrap_or(0);
                events.remove(usize::from(turn) % events.len())
            };
            now += Duration::from_micros(200);
            conduct.on(event, now);
        }
        panic!("no end after {EVENTS_MAX} events; orders: {:?}", self.orders);
    }
}

fn nobody() -> SocketAddr {
    SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), 0)
}

fn endpoint_of(node: &NodeName) -> SocketAddr {
    endpoint(&node.to_string())
}

/// The name of a node in documents.
pub(crate) fn named(node: &str) -> NodeName {
    name(node)
}
