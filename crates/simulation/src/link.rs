//! Links between masters and slaves: queues in the order of the stream.
//!
//! Items carry the earliest time of their delivery; a cut or a stopped slave leaves them queued, as
//! kernel buffers would. A link belongs to one life of each end and is never used again.

use std::collections::VecDeque;

use crate::data::Writes;
use crate::event::Event;
use crate::redis::{Backlog, Entry, LinkIndex, NodeIndex, Operation, Power, Saved, Upstream};
use crate::replication::CRON;
use crate::world::{HELD_RETRY, SECOND, Time, World};

/// What travels on a link.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    /// `+CONTINUE` with the master's replid.
    Continue(u64),
    /// `+FULLRESYNC`.
    FullResync,
    /// The data set.
    Snapshot,
    /// A piece of the stream.
    Entry(Entry),
    /// The master's end is closed.
    Closed,
}

/// A replication connection between a life of a master and a life of a slave.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) master: NodeIndex,
    pub(crate) master_life: u32,
    pub(crate) slave: NodeIndex,
    pub(crate) slave_life: u32,
    /// The master sends stream entries on it (after the snapshot or `+CONTINUE`).
    pub(crate) online: bool,
    pub(crate) open_at_master: bool,
    pub(crate) open_at_slave: bool,
    /// Data set, replid and offset of the full resync under way.
    pub(crate) snapshot: (Writes, u64, u64),
    last_at: Time,
    last_heard: Time,
    /// Acknowledgements did not get through when last looked at.
    mute: bool,
    pub(crate) queue: VecDeque<(Time, Item)>,
}

impl World {
    pub(crate) fn close_by_master(&mut self, link: LinkIndex) {
        self.links[link].open_at_master = false;
        self.send(link, Item::Closed);
    }

    pub(crate) fn send(&mut self, link: LinkIndex, item: Item) {
        let delay = self.delay();
        let at = (self.now + delay).max(self.links[link].last_at);
        self.links[link].last_at = at;
        self.links[link].queue.push_back((at, item));
        if self.links[link].queue.len() == 1 {
            self.at(at, Event::Link(link));
        }
    }

    /// Adds to the stream of a master (`replicationFeedSlaves`).
    pub fn feed(&mut self, node: NodeIndex, operation: Operation, bytes: u32) {
        let state = &mut self.nodes[node];
        if state.backlog.is_none() && state.slaves.is_empty() {
            return;
        }
        state.offset += u64::from(bytes);
        let entry = Entry { end: state.offset, bytes, operation };
        self.pass_on(node, entry);
    }

    fn pass_on(&mut self, node: NodeIndex, entry: Entry) {
        let bytes_max = self.settings.backlog_bytes;
        if let Some(backlog) = &mut self.nodes[node].backlog {
            backlog.push(entry, bytes_max);
        }
        for at in 0..self.nodes[node].slaves.len() {
            let link = self.nodes[node].slaves[at];
            if self.links[link].online {
                self.send(link, Item::Entry(entry));
            }
        }
    }

    /// Delivers what is due on a link.
    pub(crate) fn pump_link(&mut self, link: LinkIndex) {
        let (master, slave) = (self.links[link].master, self.links[link].slave);
        while self.links[link].open_at_slave {
            let state = &self.nodes[slave];
            if state.life != self.links[link].slave_life || state.power != Power::Running || state.loading {
                return;
            }
            if self.is_cut(master, slave) {
                return;
            }
            let Some((at, item)) = self.links[link].queue.front().copied() else { return };
            if at > self.now {
                self.at(at, Event::Link(link));
                return;
            }
            self.links[link].queue.pop_front();
            self.links[link].last_heard = self.now;
            self.deliver(link, item);
        }
        self.links[link].queue.clear();
    }

    /// A slave that hears nothing for `repl-timeout` gives the link up, and so does a master that gets
    /// no acknowledgement in two such times.
    pub(crate) fn link_timer(&mut self, link: LinkIndex) {
        let Link { master, slave, slave_life, last_heard, open_at_slave, open_at_master, .. } =
            self.links[link];
        let state = &self.nodes[slave];
        if !open_at_slave || state.life != slave_life || !state.is_up() {
            return;
        }
        let mute = self.is_cut(slave, master);
        if mute && self.links[link].mute && open_at_master {
            self.nodes[master].slaves.retain(|other| *other != link);
            self.close_by_master(link);
            if self.nodes[master].slaves.is_empty() {
                self.slaves_are_gone(master);
            }
        }
        self.links[link].mute = mute;
        let deadline = last_heard + self.settings.repl_timeout;
        if self.nodes[slave].power == Power::Running && !self.nodes[slave].loading && self.now >= deadline {
            self.note(|_| format!("node {slave}: link to node {master} timed out"));
            self.nodes[slave].feed = None;
            self.close_by_slave(link);
            self.connect_with_master(slave);
            return;
        }
        self.at(deadline.max(self.now + SECOND), Event::LinkTimer(link));
    }

    fn deliver(&mut self, link: LinkIndex, item: Item) {
        let slave = self.links[link].slave;
        match item {
            Item::Continue(replid) => {
                let state = &mut self.nodes[slave];
                state.upstream = Upstream::Connected;
                state.fed = true;
                if state.backlog.is_none() {
                    state.backlog = Some(Backlog::new(state.offset));
                }
                if state.replid != replid {
                    state.replid2 = Some(state.replid);
                    state.second_offset = state.offset + 1;
                    state.replid = replid;
                    self.disconnect_slaves(slave);
                }
            }
            Item::FullResync => {
                let state = &mut self.nodes[slave];
                state.upstream = Upstream::Transfer;
                state.cached = false;
                state.fed = true;
            }
            Item::Snapshot => self.load_snapshot(link),
            Item::Entry(entry) => {
                let state = &mut self.nodes[slave];
                debug_assert_eq!(state.offset + u64::from(entry.bytes), entry.end, "a gap in the stream");
                state.perform(entry.operation);
                state.offset = entry.end;
                self.pass_on(slave, entry);
            }
            Item::Closed => {
                self.links[link].open_at_slave = false;
                self.nodes[slave].feed = None;
                self.connect_with_master(slave);
            }
        }
    }

    /// The old data set is erased; the new one takes its time to load.
    fn load_snapshot(&mut self, link: LinkIndex) {
        let (slave, new) = (self.links[link].slave, self.links[link].snapshot.0);
        self.disconnect_slaves(slave);
        let old = std::mem::take(&mut self.nodes[slave].data);
        let state = &mut self.nodes[slave];
        state.backlog = None;
        state.disk = Some(old);
        state.loading = true;
        state.tail.clear();
        self.ledger_erased(slave, &old, &new);
        self.after(self.settings.load_time, Event::Synced(link));
    }

    /// The data set of a full resync is in memory.
    pub(crate) fn synced(&mut self, link: LinkIndex) {
        let (slave, life) = (self.links[link].slave, self.links[link].slave_life);
        if self.nodes[slave].life != life || !self.nodes[slave].is_up() {
            return;
        }
        if self.nodes[slave].power == Power::Stopped {
            self.after(HELD_RETRY, Event::Synced(link));
            return;
        }
        let (data, replid, offset) = self.links[link].snapshot;
        let state = &mut self.nodes[slave];
        state.data = data;
        state.disk = None;
        (state.replid, state.replid2, state.offset) = (replid, None, offset);
        state.backlog = Some(Backlog::new(offset));
        state.cached = true;
        state.loading = false;
        state.upstream = Upstream::Connected;
        // What was received came as an RDB file, and it stays on disk (`readSyncBulkPayload`).
        state.saved = Some(Saved { data, lineage: Some((replid, offset)) });
        self.pump_link(link);
    }

    /// A crash of the master: what has not left its sockets is lost; slaves notice at once, or only
    /// after a timeout where the machine died with the process.
    pub(crate) fn links_of_crashed(&mut self, node: NodeIndex, silent: bool, loses_output: bool) {
        for link in std::mem::take(&mut self.nodes[node].slaves) {
            if loses_output {
                let kept = self.chance.index(self.links[link].queue.len() + 1);
                self.links[link].queue.truncate(kept);
            }
            self.links[link].open_at_master = false;
            if !silent {
                self.send(link, Item::Closed);
            }
        }
        if let Some(link) = self.nodes[node].feed.take() {
            self.close_by_slave(link);
        }
    }

    /// A machine that went dark is back: it resets the connections of which it knows nothing, as soon
    /// as slaves acknowledge on them (once a second).
    pub(crate) fn links_of_returned(&mut self, node: NodeIndex) {
        for link in 0..self.links.len() {
            if self.links[link].master == node
                && self.links[link].open_at_slave
                && !self.links[link].open_at_master
            {
                self.links[link].last_at = self.links[link].last_at.max(self.now + CRON);
                self.send(link, Item::Closed);
            }
        }
    }
}

impl Link {
    /// A new link over which a master serves a slave.
    pub(crate) fn new(master: (NodeIndex, u32), slave: (NodeIndex, u32), online: bool, now: Time) -> Self {
        Self {
            master: master.0,
            master_life: master.1,
            slave: slave.0,
            slave_life: slave.1,
            online,
            open_at_master: true,
            open_at_slave: true,
            snapshot: (Writes::NONE, 0, 0),
            last_at: 0,
            last_heard: now,
            mute: false,
            queue: VecDeque::new(),
        }
    }
    /// The data set of the full resync under way.
    pub(crate) fn snapshot_data(&self) -> Writes {
        self.snapshot.0
    }
}
