//! Replication as redis does it: roles, PSYNC, links, full resyncs.
//!
//! Follows `replication.c` of redis 7.0 function by function, as far as it decides which history a
//! node is on and what its data set is: `replicationSetMaster`, `replicationUnsetMaster`,
//! `shiftReplicationId`, `replicationCacheMasterUsingMyself`, `masterTryPartialResynchronization`,
//! `slaveTryPartialResynchronization`, `replicationAttachToNewMaster`, `replicationCron`. A test
//! compares the outcome with real servers.

use crate::event::Event;
use crate::link::{Item, Link};
use crate::redis::{Backlog, Entry, LinkIndex, NodeIndex, Operation, Part, Power, Upstream};
use crate::world::{HELD_RETRY, SECOND, Time, World};

/// `replicationCron` runs once a second and reconnects.
pub(crate) const CRON: Time = SECOND;
/// Bytes of a PING to slaves.
const PING_BYTES: u32 = 14;

/// What REPLICAOF answered.
pub type Accepted = Result<(), &'static str>;

impl World {
    /// `REPLICAOF NO ONE`, `REPLICAOF 127.0.0.1 0` or `REPLICAOF` a node.
    ///
    /// # Errors
    /// The text of redis's error.
    pub fn assign(&mut self, node: NodeIndex, part: Part) -> Accepted {
        if self.nodes[node].loading {
            return Err("LOADING Redis is loading the dataset in memory");
        }
        if self.nodes[node].part == part {
            return Ok(());
        }
        self.note(|_| format!("node {node}: {part:?}"));
        match part {
            Part::Master => self.unset_master(node),
            Part::Slave(of) => self.set_master(node, of),
        }
        self.ledger_role_changed(node);
        Ok(())
    }

    fn set_master(&mut self, node: NodeIndex, of: Option<NodeIndex>) {
        let was_master = self.nodes[node].part == Part::Master;
        let life = of.map_or(0, |master| self.nodes[master].life);
        self.leave_master(node);
        self.nodes[node].follows_life = life;
        let state = &mut self.nodes[node];
        state.part = Part::Slave(of);
        // Its own position becomes that of a slave (`replicationCacheMasterUsingMyself`); redis 7.0
        // creates no backlog at this point, so a node that had none cannot serve partial resyncs.
        state.cached |= was_master;
        if state.cuts_slaves {
            self.disconnect_slaves(node);
        }
        self.connect_with_master(node);
    }

    fn unset_master(&mut self, node: NodeIndex) {
        self.leave_master(node);
        let replid = self.new_replid();
        let state = &mut self.nodes[node];
        state.part = Part::Master;
        state.cached = false;
        state.replid2 = Some(state.replid);
        state.second_offset = state.offset + 1;
        state.replid = replid;
        self.disconnect_slaves(node);
        self.slaves_are_gone(node);
    }

    /// Closes the link to the master, keeping the position in its stream.
    fn leave_master(&mut self, node: NodeIndex) {
        let state = &mut self.nodes[node];
        state.attempt += 1;
        state.upstream = Upstream::Apart;
        if let Some(link) = state.feed.take() {
            self.close_by_slave(link);
        }
    }

    pub(crate) fn close_by_slave(&mut self, link: LinkIndex) {
        self.links[link].open_at_slave = false;
        let delay = self.delay();
        self.after(delay, Event::LinkGone(link));
    }

    /// The master learns that a slave is gone.
    pub(crate) fn link_gone(&mut self, link: LinkIndex) {
        let (master, slave, life) =
            (self.links[link].master, self.links[link].slave, self.links[link].master_life);
        if !self.links[link].open_at_master || self.nodes[master].life != life {
            return;
        }
        if self.is_cut(slave, master) || self.nodes[master].power == Power::Stopped {
            self.after(HELD_RETRY, Event::LinkGone(link));
            return;
        }
        self.links[link].open_at_master = false;
        self.nodes[master].slaves.retain(|other| *other != link);
        if self.nodes[master].slaves.is_empty() {
            self.slaves_are_gone(master);
        }
    }

    pub(crate) fn slaves_are_gone(&mut self, node: NodeIndex) {
        self.nodes[node].no_slaves_since = self.now;
        let life = self.nodes[node].life;
        if self.settings.backlog_ttl > 0 {
            self.after(self.settings.backlog_ttl + CRON, Event::BacklogCheck { node, life });
        }
    }

    /// A lone master frees its backlog and takes a new replid, once the time is over.
    pub(crate) fn backlog_check(&mut self, node: NodeIndex, life: u32) {
        let state = &self.nodes[node];
        if state.life != life || state.power != Power::Running {
            if state.life == life && state.power == Power::Stopped {
                self.after(CRON, Event::BacklogCheck { node, life });
            }
            return;
        }
        let expired = state.part == Part::Master
            && state.slaves.is_empty()
            && state.backlog.is_some()
            && self.now >= state.no_slaves_since + self.settings.backlog_ttl;
        if expired {
            let replid = self.new_replid();
            let state = &mut self.nodes[node];
            (state.replid, state.replid2, state.backlog) = (replid, None, None);
            self.note(|_| format!("node {node}: backlog expired, new replid {replid:x}"));
        }
    }

    /// `disconnectSlaves`.
    pub(crate) fn disconnect_slaves(&mut self, node: NodeIndex) {
        for link in std::mem::take(&mut self.nodes[node].slaves) {
            self.close_by_master(link);
        }
        self.nodes[node].no_slaves_since = self.now;
    }

    /// Tries to reach the master, if there is one.
    pub(crate) fn connect_with_master(&mut self, node: NodeIndex) {
        let state = &mut self.nodes[node];
        state.attempt += 1;
        state.upstream = Upstream::Apart;
        let attempt = state.attempt;
        if let Part::Slave(Some(_)) = state.part {
            state.upstream = Upstream::Asking;
            // Connection, PING, REPLCONF, PSYNC: one way of each at least.
            let delay = 3 * self.delay();
            self.after(delay, Event::Psync { slave: node, attempt, since: self.now });
        }
    }

    /// A second later, try again.
    pub(crate) fn reconnect(&mut self, slave: NodeIndex, attempt: u32) {
        let state = &self.nodes[slave];
        if state.attempt != attempt || state.upstream != Upstream::Apart {
            return;
        }
        match state.power {
            Power::Running => self.connect_with_master(slave),
            Power::Stopped => self.after(HELD_RETRY, Event::Reconnect { slave, attempt }),
            Power::Down => {}
        }
    }

    fn try_later(&mut self, slave: NodeIndex) {
        let state = &mut self.nodes[slave];
        state.upstream = Upstream::Apart;
        let attempt = state.attempt;
        self.after(CRON, Event::Reconnect { slave, attempt });
    }

    /// `PSYNC` reaches the master, or does not.
    pub(crate) fn psync_arrives(&mut self, slave: NodeIndex, attempt: u32, since: Time) {
        if self.nodes[slave].attempt != attempt || !self.nodes[slave].is_up() {
            return;
        }
        let Part::Slave(Some(master)) = self.nodes[slave].part else { return };
        let held = self.is_cut(slave, master)
            || self.is_cut(master, slave)
            || self.nodes[master].power == Power::Stopped
            || self.nodes[slave].power == Power::Stopped;
        if held && self.now < since + self.settings.repl_timeout {
            self.after(HELD_RETRY, Event::Psync { slave, attempt, since });
            return;
        }
        let state = &self.nodes[master];
        let no_master_link = state.part != Part::Master && state.upstream != Upstream::Connected;
        if held || !state.is_up() || state.loading || no_master_link || master == slave {
            self.try_later(slave);
            return;
        }
        self.serve_psync(master, slave);
    }

    /// `syncCommand`: partial if the history and the backlog allow it, else full.
    fn serve_psync(&mut self, master: NodeIndex, slave: NodeIndex) {
        let asked =
            self.nodes[slave].cached.then(|| (self.nodes[slave].replid, self.nodes[slave].offset + 1));
        let partial = asked.filter(|(replid, from)| self.continues(master, *replid, *from));
        let link = self.links.len();
        let ends = ((master, self.nodes[master].life), (slave, self.nodes[slave].life));
        self.links.push(Link::new(ends.0, ends.1, partial.is_some(), self.now));
        self.nodes[slave].feed = Some(link);
        self.nodes[master].slaves.push(link);
        self.after(self.settings.repl_timeout, Event::LinkTimer(link));
        if let Some((_, from)) = partial {
            self.nodes[master].partial_syncs += 1;
            self.note(|_| format!("node {master}: partial resync of node {slave} from {from}"));
            self.send(link, Item::Continue(self.nodes[master].replid));
            let kept: Vec<Entry> = self.nodes[master]
                .backlog
                .iter()
                .flat_map(|backlog| backlog.entries.iter().copied())
                .filter(|entry| entry.end >= from)
                .collect();
            for entry in kept {
                self.send(link, Item::Entry(entry));
            }
            return;
        }
        if asked.is_some() {
            self.nodes[master].partial_errors += 1;
        }
        self.nodes[master].full_syncs += 1;
        self.note(|_| format!("node {master}: FULL resync of node {slave}, which asked {asked:x?}"));
        if self.nodes[master].slaves.len() == 1 && self.nodes[master].backlog.is_none() {
            let replid = self.new_replid();
            let state = &mut self.nodes[master];
            (state.replid, state.replid2) = (replid, None);
            state.backlog = Some(Backlog::new(state.offset));
        }
        self.after(self.settings.full_sync_delay, Event::Fork(link));
    }

    /// `masterTryPartialResynchronization`.
    fn continues(&self, master: NodeIndex, replid: u64, from: u64) -> bool {
        let state = &self.nodes[master];
        let known = replid == state.replid || (state.replid2 == Some(replid) && from <= state.second_offset);
        known
            && state.backlog.as_ref().is_some_and(|backlog| from >= backlog.first && from <= state.offset + 1)
    }

    /// The snapshot of a full resync is taken.
    pub(crate) fn fork(&mut self, link: LinkIndex) {
        let (master, life) = (self.links[link].master, self.links[link].master_life);
        let state = &self.nodes[master];
        if state.life != life || !state.is_up() || !self.links[link].open_at_master {
            return;
        }
        if state.power == Power::Stopped || state.loading {
            self.after(HELD_RETRY, Event::Fork(link));
            return;
        }
        self.links[link].snapshot = (state.data, state.replid, state.offset);
        self.links[link].online = true;
        self.send(link, Item::FullResync);
        self.send(link, Item::Snapshot);
    }

    /// PING to the slaves, every period.
    pub(crate) fn ping(&mut self, node: NodeIndex) {
        let state = &self.nodes[node];
        if state.power == Power::Running && state.part == Part::Master && !state.slaves.is_empty() {
            self.feed(node, Operation::Filler, PING_BYTES);
        }
        self.after(self.settings.ping_period, Event::Ping(node));
    }
}
