//! The life of a redis process: crash, start from disk, SIGSTOP, saves, pauses, writes.
//!
//! What a restart brings back decides most of the hard cases, so it follows `loadDataFromDisk` of
//! redis 7.0 closely: an append-only file gives the data and a new replid; an RDB file gives replid
//! and offset too, to a slave as its own (it can ask for a partial resync), to a master as `replid2`
//! under a new replid.

use crate::data::Writes;
use crate::event::Event;
use crate::redis::{
    Backlog, Born, NodeIndex, Operation, Part, Persistence, Power, Saved, TAIL_WRITES_MAX, Upstream, run_id,
};
use crate::world::{HELD_RETRY, MILLISECOND, SECOND, World};

/// Bytes of one write in the stream.
const WRITE_BYTES: u32 = 37;
/// Bytes of a MULTI with two writes in the stream.
const PAIR_BYTES: u32 = 104;
/// Bytes of a PUBLISH or an expiry.
const FILLER_BYTES: u32 = 33;
/// Longest time between two pieces of filler traffic.
const TRAFFIC_PERIOD_MAX: u64 = 3 * SECOND;
/// Longest time between two saves of a node with snapshots.
const SAVE_PERIOD_MAX: u64 = 20 * SECOND;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// SIGKILL: the kernel closes its sockets; what it had written to them may still arrive.
    Killed,
    /// The machine dies with it: nobody is told, unsent output is lost.
    PowerCut,
    /// `SHUTDOWN SAVE`: slaves get the rest of the stream, an RDB file is written.
    Shutdown,
}

/// What the disk gives back at the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// What the configured persistence keeps.
    Sound,
    /// Without the last writes (at most [`TAIL_WRITES_MAX`]).
    TailLost(usize),
    /// Nothing.
    Lost,
}

impl World {
    /// Ends a process.
    pub fn crash_node(&mut self, node: NodeIndex, ending: Ending) {
        if !self.nodes[node].is_up() {
            return;
        }
        self.note(|_| format!("node {node}: down ({ending:?})"));
        if ending == Ending::Shutdown && self.nodes[node].power == Power::Running && !self.nodes[node].loading
        {
            self.nodes[node].saved = Some(self.nodes[node].snapshot());
        }
        self.nodes[node].power = Power::Down;
        let loses_output = match ending {
            Ending::Killed => self.chance.one_in(2),
            Ending::PowerCut => true,
            Ending::Shutdown => false,
        };
        self.links_of_crashed(node, ending == Ending::PowerCut, loses_output);
        self.connections_of_crashed(node, ending == Ending::PowerCut);
    }

    /// Decides what the disk of a node that is down gives back.
    pub fn damage_disk(&mut self, node: NodeIndex, disk: Disk) {
        let state = &mut self.nodes[node];
        let mut kept = match state.persistence {
            Persistence::AppendOnly => state.disk.take().unwrap_or(state.data),
            Persistence::Snapshot => state.saved.unwrap_or_default().data,
            Persistence::Nothing => Writes::NONE,
        };
        match disk {
            Disk::TailLost(count) if state.persistence == Persistence::AppendOnly => {
                let lost = count.min(TAIL_WRITES_MAX).min(state.tail.len());
                for _ in 0..lost {
                    if let Some(id) = state.tail.pop_back() {
                        kept.remove(id);
                    }
                }
            }
            Disk::Sound | Disk::TailLost(_) => {}
            Disk::Lost => (kept, state.saved) = (Writes::NONE, None),
        }
        state.disk = Some(kept);
        self.ledger_damaged();
    }

    /// Starts a process that is down, with its data to be read from disk.
    pub fn start_node(&mut self, node: NodeIndex) {
        if self.nodes[node].is_up() {
            return;
        }
        let replid = self.new_replid();
        let state = &mut self.nodes[node];
        state.life += 1;
        state.run_id = run_id(node, state.life);
        state.power = Power::Running;
        state.part = match state.born {
            Born::Unassigned => Part::Slave(None),
            Born::Master => Part::Master,
        };
        state.upstream = Upstream::Apart;
        state.attempt += 1;
        (state.replid, state.replid2, state.second_offset, state.offset) = (replid, None, 0, 0);
        (state.cached, state.backlog, state.feed) = (false, None, None);
        state.slaves.clear();
        let memory = state.disk.take().unwrap_or(state.data);
        state.disk = Some(memory);
        state.data = Writes::NONE;
        state.tail.clear();
        state.loading = true;
        state.paused_until = 0;
        (state.write_calls, state.fed) = (0, false);
        (state.full_syncs, state.partial_syncs, state.partial_errors) = (0, 0, 0);
        state.next_client = 0;
        state.postponed.clear();
        state.ordered = false;
        (state.led_since, state.meddled_at, state.read_at, state.raced) = (None, 0, 0, false);
        state.restored = None;
        state.dark = false;
        let life = state.life;
        self.links_of_returned(node);
        self.note(|world| format!("node {node}: starts as {:?}, life {life}", world.nodes[node].part));
        self.after(self.settings.load_time, Event::Loaded { node, life });
    }

    /// The data set is read from disk.
    pub(crate) fn loaded(&mut self, node: NodeIndex, life: u32) {
        let state = &mut self.nodes[node];
        if state.life != life || !state.is_up() {
            return;
        }
        if state.power == Power::Stopped {
            self.after(HELD_RETRY, Event::Loaded { node, life });
            return;
        }
        state.loading = false;
        let file = state.disk.take().unwrap_or_default();
        match state.persistence {
            Persistence::AppendOnly => state.data = file,
            Persistence::Nothing => {}
            Persistence::Snapshot => {
                let Saved { data, lineage } = state.saved.unwrap_or_default();
                state.data = data;
                if let Some((replid, offset)) = lineage {
                    state.restored = Some(replid);
                    state.offset = offset;
                    if state.part == Part::Master {
                        (state.replid2, state.second_offset) = (Some(replid), offset + 1);
                        state.backlog = Some(Backlog::new(offset));
                        state.no_slaves_since = self.now;
                        if self.settings.backlog_ttl > 0 {
                            let wait = self.settings.backlog_ttl + SECOND;
                            self.after(wait, Event::BacklogCheck { node, life });
                        }
                    } else {
                        state.replid = replid;
                        state.cached = true;
                    }
                }
            }
        }
        self.note(|world| format!("node {node}: loaded {} writes", world.nodes[node].data.count()));
        self.ledger_role_changed(node);
        self.pump_party(node);
    }

    /// SIGSTOP.
    pub fn stop_node(&mut self, node: NodeIndex) {
        if self.nodes[node].power == Power::Running {
            self.nodes[node].power = Power::Stopped;
            self.note(|_| format!("node {node}: stopped"));
        }
    }

    /// SIGCONT: sockets are read in any order.
    pub(crate) fn continue_node(&mut self, node: NodeIndex) {
        if self.nodes[node].power == Power::Stopped {
            self.nodes[node].power = Power::Running;
            self.note(|_| format!("node {node}: continues"));
            self.pump_party(node);
        }
    }

    /// A snapshot to disk.
    pub fn save(&mut self, node: NodeIndex) {
        let state = &self.nodes[node];
        if state.power == Power::Running && !state.loading {
            self.nodes[node].saved = Some(state.snapshot());
        }
        let wait = self.chance.between(SECOND, SAVE_PERIOD_MAX);
        self.after(wait, Event::Save(node));
    }

    /// PUBLISH and expiry move the offset of a master that is not paused.
    pub(crate) fn traffic(&mut self, node: NodeIndex) {
        let state = &self.nodes[node];
        if state.power == Power::Running && state.takes_writes() && self.now >= state.paused_until {
            self.feed(node, Operation::Filler, FILLER_BYTES);
        }
        let wait = self.chance.between(MILLISECOND, TRAFFIC_PERIOD_MAX);
        self.after(wait, Event::Traffic(node));
    }

    /// Executes a write command or a MULTI of two on a node that runs and is not paused.
    ///
    /// # Errors
    /// The redis error where the node does not take writes.
    pub fn write(&mut self, node: NodeIndex, operation: Operation) -> Result<(), &'static str> {
        let state = &mut self.nodes[node];
        if state.loading {
            return Err("LOADING Redis is loading the dataset in memory");
        }
        if state.part != Part::Master {
            return Err("READONLY You can't write against a read only replica.");
        }
        state.perform(operation);
        let bytes = match operation {
            Operation::Write(_) => WRITE_BYTES,
            Operation::Pair(..) => PAIR_BYTES,
            Operation::Filler => FILLER_BYTES,
        };
        self.feed(node, operation, bytes);
        Ok(())
    }

    /// `CLIENT PAUSE … WRITE`; of several pauses the longest counts.
    pub(crate) fn pause(&mut self, node: NodeIndex, length: u64) {
        let until = self.now + length;
        if until > self.nodes[node].paused_until {
            self.nodes[node].paused_until = until;
            let life = self.nodes[node].life;
            self.at(until, Event::PauseEnd { node, life });
        }
    }

    /// `CLIENT UNPAUSE`.
    pub(crate) fn unpause(&mut self, node: NodeIndex) {
        self.nodes[node].paused_until = 0;
        self.run_postponed(node);
    }

    /// The pause is over by itself.
    pub(crate) fn pause_end(&mut self, node: NodeIndex, life: u32) {
        let state = &self.nodes[node];
        if state.life != life || self.now < state.paused_until {
            return;
        }
        match state.power {
            Power::Running => self.run_postponed(node),
            Power::Stopped => self.after(HELD_RETRY, Event::PauseEnd { node, life }),
            Power::Down => {}
        }
    }
}
