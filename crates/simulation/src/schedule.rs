//! One schedule: a cluster, documents, faults, and the verdict at the end.
//!
//! Every schedule has the same shape. A few seconds in which nodes link up and clients write; then
//! documents and faults, close to each other; then calm, in which everything that is down comes back;
//! and long enough after that, with the clients at rest, the verdict: one master, the one of the
//! document in force, every slave linked and equal, or a refusal that the design gives for what
//! happened.

use topology::basis::Reference;
use topology::command::Reading;
use topology::record::Record;

use crate::clients::Client;
use crate::driver::Ended;
use crate::event::Event;
use crate::faults::{Fault, KINDS};
use crate::ledger::Violation;
use crate::operator::{GivingUp, Put};
use crate::redis::{Born, Node, NodeIndex, Part, Persistence, Upstream};
use crate::world::{MILLISECOND, SECOND, Settings, Time, World};

/// When the first document is sent.
pub(crate) const FIRST_PUT: Time = 2 * SECOND;
/// When the last document before the calm is sent at the latest.
pub(crate) const LAST_PUT: Time = 14 * SECOND;
/// When faults stop.
const CALM: Time = 22 * SECOND;
/// When clients stop.
const REST: Time = CALM + 28 * SECOND;
/// When the verdict is given.
const END: Time = REST + 12 * SECOND;
/// No schedule lasts longer.
const LATEST: Time = END + 70 * SECOND;
/// Below this a master without slaves takes a new lineage within a schedule, and evidence with it.
const SHORT_TTL: Time = 60 * SECOND;
/// Refusals the design gives where a process lost its memory or others gave orders.
const EXPLAINED: [&str; 7] = [
    "would-lose-data",
    "split-brain",
    "master-lost-data",
    "unresolved-handover",
    "target-behind",
    "target-unfit",
    "acting-master-unreachable",
];

/// How the cluster is made.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Constants of the world.
    pub settings: Settings,
    /// Number of nodes; node 0 is the master at first.
    pub nodes: usize,
    /// How nodes persist.
    pub persistence: Persistence,
    /// How nodes are configured.
    pub born: Born,
    /// Whether they behave as 6.2.
    pub cuts_slaves: bool,
    /// Number of dictators.
    pub dictators: usize,
    /// Number of clients.
    pub clients: usize,
    /// One client writes to nodes nobody published.
    pub strays: bool,
    /// All nodes are empty and parked at first.
    pub fresh: bool,
    /// Others give orders as well.
    pub meddlers: bool,
}

/// Everything that determines a schedule, except the chance within it.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The seed of the chance within it.
    pub seed: u64,
    /// The cluster.
    pub cluster: Cluster,
    /// Documents.
    pub puts: Vec<Put>,
    /// Faults.
    pub faults: Vec<Fault>,
}

/// What came of a schedule.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// How documents and passes of enforcement ended.
    pub endings: Vec<(bool, Ended)>,
    /// Faults that happened, by kind.
    pub happened: [u32; KINDS.len()],
    /// Moments counted when each document was sent, and in the end.
    pub moments: Vec<u32>,
    /// How often writes of a stray master were lost in its second restart.
    pub forgotten: u32,
    /// Acknowledged writes.
    pub acked: u64,
    /// Events handled.
    pub events: u64,
    /// The story, where it was asked for.
    pub trace: Vec<String>,
}

impl Schedule {
    /// Runs it.
    pub fn run(&self, with_trace: bool) -> Verdict {
        let mut world = self.world(with_trace);
        world.run(CALM);
        world.calm_down();
        let last = self.puts.last().map_or(0, |put| put.master);
        world.add_put(put(CALM + 6 * SECOND, last));
        world.run(REST);
        if world.was_too_slow() {
            // Whoever is told to send the document again does so.
            world.add_put(put(REST, last));
        }
        world.clients_rest = true;
        world.run(END);
        // A change that is still being verified gets the time it takes.
        while world.is_busy() && world.ledger.violation.is_none() && world.now < LATEST {
            world.run(world.now + SECOND);
        }
        if world.ledger.violation.is_none() {
            world.judge();
        }
        Verdict {
            endings: std::mem::take(&mut world.endings),
            happened: world.happened,
            moments: std::mem::take(&mut world.moments),
            forgotten: world.ledger.forgotten,
            acked: world.ledger.acked.count(),
            events: world.events,
            trace: world.trace().to_vec(),
            violation: world.ledger.violation.take(),
        }
    }

    fn world(&self, with_trace: bool) -> World {
        let cluster = &self.cluster;
        let mut world = World::new(self.seed, cluster.nodes, cluster.settings.clone());
        if with_trace {
            world.keep_trace();
        }
        for index in 0..cluster.nodes {
            let node: &mut Node = &mut world.nodes[index];
            node.persistence = cluster.persistence;
            node.born = cluster.born;
            node.cuts_slaves = cluster.cuts_slaves;
            if cluster.fresh {
                node.part = Part::Slave(None);
            } else if index > 0 {
                let _ = world.assign(index, Part::Slave(Some(0)));
            }
            if cluster.persistence == Persistence::Snapshot {
                world.after(SECOND + SECOND * index as u64, Event::Save(index));
            }
            world.after(SECOND, Event::Traffic(index));
        }
        if !cluster.fresh {
            world.establish(0);
        }
        for index in 0..cluster.clients {
            let mut client = Client::new(0, 400 * MILLISECOND);
            client.wanders = cluster.strays && index == 0;
            client.attentive = index == 1 || client.wanders;
            world.add_client(client);
        }
        world.add_dictators(cluster.dictators);
        for put in &self.puts {
            world.add_put(put.clone());
        }
        for fault in &self.faults {
            world.add_fault(*fault);
        }
        world
    }
}

impl Verdict {
    /// How many moments there were from a document until its change ended.
    pub fn moments_of(&self, put: usize) -> u32 {
        match self.moments.get(2 * put..) {
            Some([from, to, ..]) => to - from,
            _ => 0,
        }
    }
}

/// A document with what earlier ones permitted to discard.
pub(crate) fn put(at: Time, master: NodeIndex) -> Put {
    Put { at, master, without: None, giving_up: GivingUp::Earlier }
}

impl World {
    /// A change was called off because messages were slow while writes were paused. Where no document was in
    /// force before, nobody but its sender tries it again.
    fn was_too_slow(&self) -> bool {
        self.dictators.iter().any(|dictator| dictator.last == Some(Ended::Refused("drain-timeout")))
    }

    /// The verdict, when all is quiet.
    fn judge(&mut self) {
        self.check_phantoms();
        self.check_owed();
        let holder = (0..self.dictators.len()).max_by_key(|d| self.dictators[*d].mandate_until());
        let Some(holder) = holder else { return };
        let ended = self.dictators[holder].last;
        // What restarts and orders of others destroyed as evidence may end in a refusal.
        let excusable = self.restarts > 0
            || self.meddled > 0
            || self.strayed
            || self.settings.backlog_ttl < SHORT_TTL
            || !self.ledger.permissions.is_empty();
        match ended {
            Some(Ended::Done(_, 0)) => self.judge_topology(holder),
            Some(Ended::Done(_, pending)) if !excusable => {
                self.violated("stuck", format!("{pending} slaves are pending although all is well"));
            }
            Some(Ended::Refused(slug)) if !(excusable && EXPLAINED.contains(&slug)) => {
                self.violated("stuck", format!("enforcement ends with {slug} although all is well"));
            }
            Some(Ended::Refused("would-lose-data" | "split-brain")) => self.judge_left_out(holder),
            None => self.violated("stuck", "no change ever ended"),
            _ => {}
        }
    }

    fn record_of(&self, holder: usize) -> &Record {
        if self.dictators.len() > 1 { &self.shared_record } else { self.dictators[holder].durable_record() }
    }

    /// A slave is refused for what it holds; that keeps nobody else from the master.
    fn judge_left_out(&mut self, holder: usize) {
        let record = self.record_of(holder);
        let (Some(wanted), Some(granted), None) = (&record.wanted, &record.granted, &record.intent) else {
            return;
        };
        let document = &wanted.document;
        let master = self.nodes.iter().position(|node| node.run_id == granted.run_id && node.takes_writes());
        let Some(master) = master.filter(|master| self.nodes[*master].name == document.master) else {
            return;
        };
        let acting = self.vitals(master, Reading::Full);
        let reference = Reference { acting: &acting, record, discard: &document.discard };
        let left_out = self.nodes.iter().enumerate().position(|(index, node)| {
            let waits = node.part == Part::Slave(None) && node.is_up() && !node.loading;
            let named = document.slaves.contains(&node.name);
            waits && named && reference.judge(&node.name, &self.vitals(index, Reading::Full)).is_ok()
        });
        if let Some(node) = left_out {
            self.violated("left-out", format!("node {node} is not attached because another is refused"));
        }
    }

    fn judge_topology(&mut self, holder: usize) {
        let record = self.record_of(holder);
        let Some(wanted) = &record.wanted else { return };
        let document = wanted.document.clone();
        let masters: Vec<NodeIndex> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].takes_writes()).collect();
        let named = self.nodes.iter().position(|node| node.name == document.master);
        let members = |node: &Node| document.nodes().any(|name| *name == node.name);
        let strangers = masters.iter().any(|node| Some(*node) != named && members(&self.nodes[*node]));
        let Some(master) = named.filter(|named| masters.contains(named)) else {
            return self.violated(
                "stuck",
                format!("{} is named master but {masters:?} take writes", document.master),
            );
        };
        if strangers {
            return self.violated("stuck", format!("{masters:?} take writes in the end"));
        }
        for node in 0..self.nodes.len() {
            let state = &self.nodes[node];
            if node == master || !document.slaves.contains(&state.name) {
                continue;
            }
            if state.upstream != Upstream::Connected || state.part != Part::Slave(Some(master)) {
                return self
                    .violated("stuck", format!("node {node} is not linked to node {master} in the end"));
            }
            if state.data != self.nodes[master].data {
                return self.violated("unequal", format!("nodes {node} and {master} differ in the end"));
            }
        }
    }
}
