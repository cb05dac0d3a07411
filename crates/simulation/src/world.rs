//! The world of one schedule: parties, time, and the queue of what happens next.
//!
//! A discrete-event simulation in one thread. Time is a number that jumps from event to event, so
//! thirty seconds of waiting cost nothing and a schedule runs in well under a millisecond. Everything
//! is in one struct of vectors, and things refer to each other by index: the world is built and
//! thrown away a thousand times a second. Ties are broken by order of scheduling, so a seed gives
//! one and the same history everywhere.

use std::collections::BinaryHeap;

use topology::Discard;
use topology::record::Record;

use crate::chance::Chance;
use crate::clients::Client;
use crate::driver::{Dictator, Ended};
use crate::event::{Event, Scheduled};
use crate::faults::{Fault, KINDS};
use crate::ledger::Ledger;
use crate::link::Link;
use crate::lock::LockService;
use crate::operator::Put;
use crate::redis::Node;
use crate::session::Connection;

/// Simulated microseconds since the start of the schedule.
pub type Time = u64;
/// One millisecond of simulated time.
pub const MILLISECOND: Time = 1_000;
/// One second of simulated time.
pub const SECOND: Time = 1_000_000;
/// Most parties between which the network can be cut: nodes, dictators, clients.
pub const PARTIES_MAX: usize = 16;
/// How often something that is held up by a cut or a stopped process is tried again.
pub(crate) const HELD_RETRY: Time = 20 * MILLISECOND;
/// Most events in one schedule; more is a livelock and reported as such.
pub const EVENTS_MAX: u64 = 400_000;
/// Most lines of a trace that are kept.
const TRACE_LINES_MAX: usize = 20_000;

/// The constants of a world.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Least delay of a message, microseconds.
    pub delay_low: Time,
    /// Usual greatest delay of a message, microseconds; one in sixty-four takes twenty times longer.
    pub delay_high: Time,
    /// `repl-backlog-size`, bytes.
    pub backlog_bytes: u64,
    /// `repl-backlog-ttl`; 0 for never.
    pub backlog_ttl: Time,
    /// `repl-timeout`.
    pub repl_timeout: Time,
    /// `repl-diskless-sync-delay` and what it takes to send and load a data set.
    pub full_sync_delay: Time,
    /// What loading from disk takes at a start.
    pub load_time: Time,
    /// `repl-ping-replica-period`.
    pub ping_period: Time,
    /// Whether key counts say little: many writes, few keys.
    pub few_keys: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delay_low: 50,
            delay_high: 500,
            backlog_bytes: 1 << 20,
            backlog_ttl: 3_600 * SECOND,
            repl_timeout: 60 * SECOND,
            full_sync_delay: 10 * MILLISECOND,
            load_time: 5 * MILLISECOND,
            ping_period: 10 * SECOND,
            few_keys: false,
        }
    }
}

/// Everything there is in one schedule.
pub struct World {
    /// Now.
    pub now: Time,
    /// Chance.
    pub chance: Chance,
    /// Constants.
    pub settings: Settings,
    /// Redis nodes.
    pub nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) clients: Vec<Client>,
    pub(crate) dictators: Vec<Dictator>,
    pub(crate) lock: LockService,
    /// What was acknowledged, published, excused, violated.
    pub ledger: Ledger,
    /// The record, where dictators share one beside the lock.
    pub(crate) shared_record: Record,
    pub(crate) faults: Vec<Fault>,
    /// Faults by the moment at which they are due.
    pub(crate) armed: Vec<(u32, usize)>,
    pub(crate) puts: Vec<Put>,
    /// The permissions in the operator's document.
    pub(crate) discards: Vec<Discard>,
    /// Writes come in quick succession until then.
    pub(crate) burst_until: Time,
    /// Sentinels watch the nodes.
    pub(crate) watched: bool,
    /// Nothing goes wrong any more.
    pub(crate) calm: bool,
    /// Faults so far, and restarts and foreign orders among them.
    pub(crate) disturbances: u32,
    pub(crate) restarts: u32,
    pub(crate) meddled: u32,
    /// The nodes of the documents that dictators have in force, as bits.
    pub(crate) members: u32,
    /// The nodes that any record ever spoke of, as bits: of others no dictator can know.
    pub(crate) known: u32,
    /// A node that nobody published took a write.
    pub(crate) strayed: bool,
    /// Faults so far, by kind.
    pub happened: [u32; KINDS.len()],
    /// How the documents and the passes of enforcement ended.
    pub endings: Vec<(bool, Ended)>,
    /// Writes given out to clients so far.
    pub(crate) writes_given: u16,
    /// Clients send nothing new.
    pub(crate) clients_rest: bool,
    cuts: [u32; PARTIES_MAX],
    queue: BinaryHeap<Scheduled>,
    sequence: u64,
    last_replid: u64,
    /// Events handled.
    pub events: u64,
    /// Counts the moments at which a fault can be placed.
    pub steps: u32,
    /// The count when a document was taken and when its change ended, in turn.
    pub(crate) moments: Vec<u32>,
    trace: Option<Vec<String>>,
}

impl World {
    /// A world of `nodes` empty masters and nobody else.
    pub fn new(seed: u64, nodes: usize, settings: Settings) -> Self {
        let mut world = Self {
            now: 0,
            chance: Chance::new(seed),
            settings,
            nodes: Vec::with_capacity(nodes),
            links: Vec::with_capacity(16),
            connections: Vec::with_capacity(32),
            clients: Vec::new(),
            dictators: Vec::new(),
            lock: LockService::default(),
            ledger: Ledger::default(),
            shared_record: Record::default(),
            faults: Vec::new(),
            armed: Vec::new(),
            puts: Vec::new(),
            discards: Vec::new(),
            burst_until: 0,
            watched: false,
            calm: false,
            disturbances: 0,
            restarts: 0,
            meddled: 0,
            members: !0,
            known: 0,
            strayed: false,
            happened: [0; KINDS.len()],
            endings: Vec::new(),
            writes_given: 0,
            clients_rest: false,
            cuts: [0; PARTIES_MAX],
            queue: BinaryHeap::with_capacity(256),
            sequence: 0,
            last_replid: 0x1000,
            events: 0,
            steps: 0,
            moments: Vec::new(),
            trace: None,
        };
        for index in 0..nodes {
            let replid = world.new_replid();
            world.nodes.push(Node::new(index, replid));
            world.after(world.settings.ping_period, Event::Ping(index));
        }
        world
    }

    /// From now on keeps a line for everything worth reading.
    pub fn keep_trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// The lines kept.
    pub fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    pub(crate) fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.as_ref().is_some_and(|lines| lines.len() < TRACE_LINES_MAX) {
            let text = format!("{:>12.6} {}", self.now as f64 / SECOND as f64, line(self));
            if let Some(lines) = &mut self.trace {
                lines.push(text);
            }
        }
    }

    pub(crate) fn new_replid(&mut self) -> u64 {
        self.last_replid += 1;
        self.last_replid
    }

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.queue.push(Scheduled { at: at.max(self.now), sequence: self.sequence, event });
    }

    pub(crate) fn after(&mut self, delay: Time, event: Event) {
        self.at(self.now + delay, event);
    }

    /// The delay of one message.
    pub(crate) fn delay(&mut self) -> Time {
        let usual = self.chance.between(self.settings.delay_low, self.settings.delay_high);
        let fixed = self.settings.delay_low == self.settings.delay_high;
        if !fixed && self.chance.one_in(64) { usual * 20 } else { usual }
    }

    /// The party that is a dictator.
    pub(crate) fn dictator_party(&self, dictator: usize) -> usize {
        self.nodes.len() + dictator
    }

    /// The party that is a client.
    pub(crate) fn client_party(&self, client: usize) -> usize {
        self.nodes.len() + self.dictators.len() + client
    }

    /// Whether messages from one party to another get through now.
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts[from] & (1 << to) != 0
    }

    /// Holds up what one party sends to another; returns false if it was so already.
    pub(crate) fn cut(&mut self, from: usize, to: usize) -> bool {
        let new = !self.is_cut(from, to);
        self.cuts[from] |= 1 << to;
        new
    }

    /// Lets messages through again, those held up first.
    pub(crate) fn heal(&mut self, from: usize, to: usize) {
        self.cuts[from] &= !(1 << to);
        self.note(|_| format!("network: {from} reaches {to} again"));
        self.pump_party(from);
        self.pump_party(to);
    }

    /// Schedules delivery of whatever waits for or from a party, socket by socket in random order.
    pub(crate) fn pump_party(&mut self, party: usize) {
        let mut events = Vec::new();
        for (index, link) in self.links.iter().enumerate() {
            if !link.queue.is_empty() && (link.master == party || link.slave == party) {
                events.push(Event::Link(index));
            }
        }
        for (index, connection) in self.connections.iter().enumerate() {
            if connection.node == party || connection.owner == party {
                if !connection.to_node.is_empty() {
                    events.push(Event::ToNode(index));
                }
                if !connection.to_owner.is_empty() {
                    events.push(Event::ToOwner(index));
                }
            }
        }
        self.chance.shuffle(&mut events);
        for event in events {
            self.after(0, event);
        }
    }

    /// Handles the next event; false if there is none up to `until`, time then being `until`.
    pub fn step(&mut self, until: Time) -> bool {
        match self.queue.peek() {
            Some(next) if next.at <= until => {}
            _ => {
                self.now = self.now.max(until);
                return false;
            }
        }
        let Some(next) = self.queue.pop() else { return false };
        self.now = next.at;
        self.events += 1;
        self.handle(next.event);
        true
    }

    /// Runs up to a time, or until something is violated.
    pub fn run(&mut self, until: Time) {
        while self.events < EVENTS_MAX && self.ledger.violation.is_none() && self.step(until) {}
        if self.events >= EVENTS_MAX && self.ledger.violation.is_none() {
            self.violated("livelock", "more events than any schedule should need");
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Link(link) => self.pump_link(link),
            Event::LinkTimer(link) => self.link_timer(link),
            Event::LinkGone(link) => self.link_gone(link),
            Event::Psync { slave, attempt, since } => self.psync_arrives(slave, attempt, since),
            Event::Reconnect { slave, attempt } => self.reconnect(slave, attempt),
            Event::Fork(link) => self.fork(link),
            Event::Synced(link) => self.synced(link),
            Event::Loaded { node, life } => self.loaded(node, life),
            Event::Ping(node) => self.ping(node),
            Event::BacklogCheck { node, life } => self.backlog_check(node, life),
            Event::PauseEnd { node, life } => self.pause_end(node, life),
            Event::Traffic(node) => self.traffic(node),
            Event::Save(node) => self.save(node),
            Event::ToNode(connection) => self.pump_to_node(connection),
            Event::ToOwner(connection) => self.pump_to_owner(connection),
            Event::Client { client, turn } => self.client_timer(client, turn),
            Event::Start(node) => self.start_node(node),
            Event::Continue(node) => self.continue_node(node),
            Event::Heal { from, to } => self.heal(from, to),
            Event::Dictator { dictator, life, timer } => self.dictator_timer(dictator, life, timer),
            Event::Fault(index) => self.fault_due(index),
            Event::Put(index) => self.put_due(index),
        }
    }
}
