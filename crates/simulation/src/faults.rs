//! What goes wrong, and when: at a time, or so many moments after an operator's document arrived.
//!
//! A hand-over lasts a few simulated milliseconds in a schedule of a minute, so faults at random times
//! would nearly always miss it. A *moment* is counted before every effect of a dictator, before every
//! order a node executes and before every answer a dictator hears: placing a fault by moments hits
//! every gap between two steps with the same chance, and lets small cases be enumerated.

use crate::event::{Event, Timer};
use crate::process::{Disk, Ending};
use crate::redis::{NodeIndex, Part, Power};
use crate::world::{Time, World};

/// When a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At this time.
    At(Time),
    /// So many moments after this document was sent.
    Moment {
        /// Index of the document.
        put: usize,
        /// Moments later; 0 is before the first.
        moments: u32,
    },
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A dictator is killed and starts again later.
    CrashDictator {
        /// Which.
        dictator: usize,
        /// Time until it starts again.
        down: Time,
    },
    /// A dictator is stopped and goes on later.
    StopDictator {
        /// Which.
        dictator: usize,
        /// For how long.
        length: Time,
    },
    /// A node ends and starts again later.
    CrashNode {
        /// Which.
        node: NodeIndex,
        /// How it ends.
        ending: Ending,
        /// What its disk gives back.
        disk: Disk,
        /// Time until it starts again.
        down: Time,
    },
    /// A node is stopped and goes on later.
    StopNode {
        /// Which.
        node: NodeIndex,
        /// For how long.
        length: Time,
    },
    /// What one party sends to another is held up.
    Cut {
        /// The sender.
        from: usize,
        /// The receiver.
        to: usize,
        /// For how long.
        length: Time,
    },
    /// The connections of a dictator to a node are reset, replies on their way are lost.
    Reset {
        /// Whose.
        dictator: usize,
        /// To which node.
        node: NodeIndex,
    },
    /// A dictator cannot write its record.
    SavesFail {
        /// Which.
        dictator: usize,
        /// For how long.
        length: Time,
    },
    /// Somebody else gives a node a role.
    Meddle {
        /// Which.
        node: NodeIndex,
        /// What.
        part: Part,
    },
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub when: When,
    /// What.
    pub what: What,
}

/// Names of the kinds of faults, in the order of [`What::kind`].
pub const KINDS: [&str; 8] = [
    "dictator killed",
    "dictator stopped",
    "node down",
    "node stopped",
    "network cut",
    "replies lost",
    "record not writable",
    "orders of others",
];

impl What {
    /// Its place in [`KINDS`].
    pub fn kind(&self) -> usize {
        match self {
            Self::CrashDictator { .. } => 0,
            Self::StopDictator { .. } => 1,
            Self::CrashNode { .. } => 2,
            Self::StopNode { .. } => 3,
            Self::Cut { .. } => 4,
            Self::Reset { .. } => 5,
            Self::SavesFail { .. } => 6,
            Self::Meddle { .. } => 7,
        }
    }
}

impl World {
    /// Adds a fault.
    pub fn add_fault(&mut self, fault: Fault) {
        self.faults.push(fault);
        if let When::At(at) = fault.when {
            self.at(at, Event::Fault(self.faults.len() - 1));
        }
    }

    /// From now on the moments of this document count.
    pub(crate) fn arm(&mut self, put: usize) {
        for (index, fault) in self.faults.iter().enumerate() {
            if let When::Moment { put: of, moments } = fault.when
                && of == put
            {
                self.armed.push((self.steps + moments, index));
            }
        }
    }

    /// A moment passes; what is due now happens.
    pub(crate) fn moment(&mut self) {
        let step = self.steps;
        self.steps += 1;
        while let Some(at) = self.armed.iter().position(|(due, _)| *due <= step) {
            let (_, index) = self.armed.swap_remove(at);
            self.fault_due(index);
        }
    }

    pub(crate) fn fault_due(&mut self, index: usize) {
        if self.calm {
            return;
        }
        let what = self.faults[index].what;
        self.disturbances += 1;
        self.happened[what.kind()] += 1;
        match what {
            What::CrashDictator { dictator, down } => {
                self.crash_dictator(dictator);
                self.dictator_after(dictator, down, Timer::Start);
            }
            What::StopDictator { dictator, length } => {
                self.stop_dictator(dictator);
                self.dictator_after(dictator, length, Timer::Continue);
            }
            What::CrashNode { node, ending, disk, down } => {
                if self.nodes[node].is_up() {
                    self.restarts += 1;
                    self.crash_node(node, ending);
                    self.damage_disk(node, disk);
                    self.after(down, Event::Start(node));
                }
            }
            What::StopNode { node, length } => {
                self.stop_node(node);
                self.after(length, Event::Continue(node));
            }
            What::Cut { from, to, length } => {
                if self.cut(from, to) {
                    self.note(|_| format!("network: {from} does not reach {to}"));
                    self.after(length, Event::Heal { from, to });
                }
            }
            What::Reset { dictator, node } => {
                let party = self.dictator_party(dictator);
                self.note(|_| format!("network: resets connections of dictator {dictator} to node {node}"));
                for connection in 0..self.connections.len() {
                    let other = &self.connections[connection];
                    if other.owner == party && other.node == node && other.open_at_owner {
                        self.reset(connection);
                    }
                }
            }
            What::SavesFail { dictator, length } => {
                self.note(|_| format!("dictator {dictator}: its record cannot be written"));
                self.dictators[dictator].saves_fail_until = self.now + length;
            }
            What::Meddle { node, part } => self.meddle(node, part),
        }
    }

    fn meddle(&mut self, node: NodeIndex, part: Part) {
        let state = &self.nodes[node];
        if state.power == Power::Running && !state.loading && state.part != part {
            self.note(|_| format!("somebody orders node {node}: {part:?}"));
            self.meddled += 1;
            self.ledger_meddled(node, part);
            let _ = self.assign(node, part);
        }
    }

    /// From now on nothing goes wrong any more: everything that is down starts, everything stopped
    /// goes on, the network is whole.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.note(|_| "no more faults".to_owned());
        let parties = self.nodes.len() + self.dictators.len() + self.clients.len();
        for from in 0..parties {
            for to in 0..parties {
                if self.is_cut(from, to) {
                    self.heal(from, to);
                }
            }
        }
        for node in 0..self.nodes.len() {
            match self.nodes[node].power {
                Power::Running => {}
                Power::Stopped => self.after(0, Event::Continue(node)),
                Power::Down => self.after(0, Event::Start(node)),
            }
        }
        for dictator in 0..self.dictators.len() {
            self.dictators[dictator].saves_fail_until = 0;
            let timer = if self.dictators[dictator].is_up() { Timer::Continue } else { Timer::Start };
            self.dictator_after(dictator, 0, timer);
        }
    }

    /// Connections by which Sentinels give orders to a node.
    pub(crate) fn sentinels_at(&self, _node: NodeIndex) -> Vec<String> {
        if self.watched { vec!["sentinel-5f2a-cmd".to_owned()] } else { Vec::new() }
    }
}
