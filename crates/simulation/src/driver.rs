//! The dictator process: the real conductor, with simulated sockets, disk, clock and lock.
//!
//! The decisions are those of the shipped crate ([`Conduct`]); what is written here is what the
//! daemon does around it: one connection to each node, named with its epoch before anything is sent;
//! deadlines, after which a connection is given up; a record that is durable only once saved; passes of
//! enforcement; a lock that is checked after every connect and before every irreversible order. A
//! crash can come before any effect, and a stopped process goes on later with whatever it was about
//! to do.

mod jobs;
mod orders;
mod record;

use std::collections::VecDeque;

use topology::command::{Answer, Command};
use topology::conduct::{Conduct, Effect, Event as Happened};
use topology::mutant::{self, Mutant};
use topology::record::{Record, Wanted};

use crate::event::{Event, Timer};
use crate::redis::{NodeIndex, Part};
use crate::session::ConnectionIndex;
use crate::world::{MILLISECOND, SECOND, Time, World};

/// Time between passes of enforcement.
const ENFORCE_INTERVAL: Time = 5 * SECOND;
/// Time between tries to take the lock, and to renew it.
const LEASE_INTERVAL: Time = SECOND;
/// Life of a lease that is not renewed.
const LEASE: Time = 5 * SECOND;
/// Time a save takes, at most.
const SAVE_TIME_MAX: Time = 4 * MILLISECOND;

/// An order under way.
#[derive(Debug)]
struct Ticket {
    /// Its number on the wire; never used twice in a schedule.
    serial: u64,
    /// Its number for the conductor; `None` once that conductor is gone.
    ticket: Option<u64>,
    node: NodeIndex,
    connection: Option<ConnectionIndex>,
    sent: bool,
    command: Command,
    /// Sent over a connection that was open before; reading is tried once more then over a new one.
    reused: bool,
    due: Time,
}

/// The connection to a node.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    connection: Option<ConnectionIndex>,
    ready: bool,
}

/// What one change ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A receipt, with this outcome and so many slaves pending.
    Done(&'static str, usize),
    /// A refusal.
    Refused(&'static str),
}

/// One dictator.
#[derive(Default)]
pub struct Dictator {
    life: u32,
    up: bool,
    stopped: bool,
    /// What survives a crash; unused where the lock service keeps the record.
    durable: Record,
    /// As the running process has it.
    record: Record,
    /// As the change under way last gave it to be saved.
    latest: Record,
    conduct: Option<Box<Conduct>>,
    /// The document being applied; `None` in a pass of enforcement.
    applying: bool,
    announced: bool,
    lines: Vec<Line>,
    /// The life of each node from which it last had an answer.
    knows: Vec<u32>,
    tickets: Vec<Ticket>,
    /// Saves under way, with the record where it is written only at the end.
    saves: Vec<(u64, Option<Box<Record>>)>,
    instant: Vec<(u64, u64, Answer)>,
    held: VecDeque<Effect>,
    held_timers: Vec<Timer>,
    wake: u32,
    enforce: u32,
    serial: u64,
    epoch: u64,
    lease_until: Time,
    waiting: Option<Wanted>,
    /// Saves fail until then.
    pub(crate) saves_fail_until: Time,
    /// What the last change ended with.
    pub last: Option<Ended>,
    /// The parts of the nodes when the change began, and how many disturbances there had been.
    before: Vec<(Part, u32)>,
    disturbances: u32,
    sound_before: bool,
}

impl Dictator {
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// Whether its connection to a node is up.
    pub(crate) fn reaches(&self, node: NodeIndex) -> bool {
        self.lines.get(node).is_some_and(|line| line.ready)
    }

    /// Until when it may believe to hold the lock.
    pub(crate) fn mandate_until(&self) -> Time {
        self.lease_until
    }

    /// The record on its disk.
    pub fn durable_record(&self) -> &Record {
        &self.durable
    }
}

impl World {
    /// Adds dictators and starts them. More than one share a lock.
    pub fn add_dictators(&mut self, count: usize) {
        for dictator in 0..count {
            self.dictators.push(Dictator::default());
            self.after(0, Event::Dictator { dictator, life: 0, timer: Timer::Start });
        }
    }

    /// Whether any change is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.dictators.iter().any(|dictator| dictator.conduct.is_some())
    }

    pub(crate) fn locked(&self) -> bool {
        self.dictators.len() > 1
    }

    /// Whether a dictator believes that it may act.
    pub(crate) fn has_mandate(&self, d: usize) -> bool {
        !self.locked() || self.now < self.dictators[d].lease_until || mutant::active(Mutant::NoLockCheck)
    }

    fn start_dictator(&mut self, d: usize) {
        let locked = self.locked();
        let state = &mut self.dictators[d];
        if state.up {
            return;
        }
        state.life += 1;
        (state.up, state.stopped) = (true, false);
        state.record = state.durable.clone();
        state.lines = vec![Line::default(); self.nodes.len()];
        state.knows = vec![0; self.nodes.len()];
        state.lease_until = 0;
        state.epoch = if locked { 0 } else { u64::from(state.life) };
        self.note(|_| format!("dictator {d}: starts"));
        if locked {
            self.dictator_after(d, MILLISECOND, Timer::Lease);
        } else {
            self.enforce_after(d, MILLISECOND);
        }
    }

    /// SIGKILL; what it had handed to the network may still arrive.
    pub(crate) fn crash_dictator(&mut self, d: usize) {
        if !self.dictators[d].up {
            return;
        }
        self.note(|_| format!("dictator {d}: down"));
        let state = &mut self.dictators[d];
        state.up = false;
        state.conduct = None;
        state.waiting = None;
        state.tickets.clear();
        state.saves.clear();
        state.instant.clear();
        state.held.clear();
        state.held_timers.clear();
        for line in std::mem::take(&mut state.lines) {
            if let Some(connection) = line.connection {
                self.close(connection);
            }
        }
    }

    pub(crate) fn stop_dictator(&mut self, d: usize) {
        if self.dictators[d].up {
            self.note(|_| format!("dictator {d}: stopped"));
            self.dictators[d].stopped = true;
        }
    }

    fn continue_dictator(&mut self, d: usize) {
        if !std::mem::replace(&mut self.dictators[d].stopped, false) {
            return;
        }
        self.note(|_| format!("dictator {d}: continues"));
        let party = self.dictator_party(d);
        let mut timers = std::mem::take(&mut self.dictators[d].held_timers);
        self.chance.shuffle(&mut timers);
        for timer in timers {
            self.dictator_after(d, self.chance.clone().below(100), timer);
        }
        self.pump_party(party);
        self.drive(d);
    }

    pub(crate) fn dictator_after(&mut self, d: usize, delay: Time, timer: Timer) {
        let life = self.dictators[d].life;
        self.after(delay, Event::Dictator { dictator: d, life, timer });
    }

    pub(crate) fn dictator_timer(&mut self, d: usize, life: u32, timer: Timer) {
        match timer {
            Timer::Start => return self.start_dictator(d),
            Timer::Continue => return self.continue_dictator(d),
            _ => {}
        }
        let state = &mut self.dictators[d];
        if !state.up || state.life != life {
            return;
        }
        if state.stopped {
            // A save is the work of the kernel and of etcd as well; it completes.
            if let Timer::Saved { ticket, sound } = timer {
                let _ = self.commit(d, ticket, sound);
            }
            self.dictators[d].held_timers.push(timer);
            return;
        }
        match timer {
            Timer::Start | Timer::Continue => {}
            Timer::Deadline(serial) => self.deadline(d, serial),
            Timer::Instant(serial) => {
                let at = state.instant.iter().position(|(other, ..)| *other == serial);
                if let Some(at) = at {
                    let (_, ticket, answer) = state.instant.swap_remove(at);
                    self.tell(d, Happened::Answer { ticket, answer });
                }
            }
            Timer::Wake(wake) if wake == state.wake => self.tell(d, Happened::Woken),
            Timer::Wake(_) => {}
            Timer::Saved { ticket, sound } => {
                let result = self.commit(d, ticket, sound);
                self.dictators[d].saves.retain(|(other, _)| *other != ticket);
                self.tell(d, Happened::Saved { ticket, result });
            }
            Timer::Enforce(number) if number == state.enforce => self.next_job(d),
            Timer::Enforce(_) => {}
            Timer::Lease => self.lease(d),
            Timer::Checked(connection) => self.line_ready(d, connection),
        }
    }
}
