//! What may be missing, and why: the limits that the design itself names.
//!
//! Every excuse is as narrow as the sentence it comes from. A wide one would hide faults, so the
//! deliberate faults are run against them too.

use topology::observation::{Observation, ReplId};
use topology::record::Record;

use crate::data::Writes;
use crate::ledger::ids;
use crate::link::Item;
use crate::redis::{Born, Node, NodeIndex, Power, replid};
use crate::world::World;

impl World {
    /// After a crash: what no disk, memory or socket holds any more is lost for good.
    pub(crate) fn ledger_damaged(&mut self) {
        let gone = self.ledger.acked.without(&self.ledger.excused).without(&self.everything_held());
        if !gone.is_empty() {
            self.excuse(gone, "as lost by a disk");
        }
    }

    fn everything_held(&self) -> Writes {
        let mut held = Writes::NONE;
        for node in &self.nodes {
            if node.is_up() {
                held = held.with(&node.data);
            }
            held = node.disk.iter().fold(held, |held, disk| held.with(disk));
        }
        for link in &self.links {
            for (_, item) in &link.queue {
                match item {
                    Item::Entry(entry) => {
                        ids(entry.operation).into_iter().flatten().for_each(|id| held.insert(id));
                    }
                    Item::Snapshot => held = held.with(&link.snapshot_data()),
                    _ => {}
                }
            }
        }
        held
    }

    /// A record names the node that takes writes. Where that is the published node in a later life
    /// whose disk did not keep its offset, the design lets it resume if no slave shows more keys, and
    /// calls that unprovable: what it lost then is excused.
    pub(crate) fn ledger_granted(&mut self, dictator: usize, before: &Record, record: &Record) {
        let (Some(old), Some(new)) = (&before.granted, &record.granted) else { return };
        let Some(node) = self.nodes.iter().position(|node| node.run_id == new.run_id) else { return };
        let state = &self.nodes[node];
        let now = (node, state.life);
        if old.node != new.node || old.run_id == new.run_id || self.ledger.resumed.contains(&now) {
            return;
        }
        self.ledger.resumed.push(now);
        let known = |id: &ReplId| {
            before.end_of(id).is_some() || before.granted.as_ref().is_some_and(|old| old.replid == *id)
        };
        // Its lineage is one that the record knew, and the node still shows it.
        let comparable = state.restored.is_some_and(|restored| {
            let shown = state.replid == restored || state.replid2 == Some(restored);
            shown && known(&replid(restored))
        });
        let keys = |node: &Node| self.visible_keys(node);
        // A slave that the dictator cannot ask does not hold a resumption up if it was away before, or if the
        // operator gave one of the two up.
        let given_up = |index| self.ledger.permissions.iter().any(|one| one.node == index && !one.spent);
        let more = self.nodes.iter().enumerate().any(|(index, other)| {
            let asked = other.power == Power::Running && self.dictators[dictator].reaches(index);
            let awaited = !before.heartbeat.long_away(&other.name) && !given_up(index) && !given_up(node);
            // Who left the document is not asked.
            let member = self.members & (1 << index) != 0;
            member && (asked || awaited) && !other.loading && keys(other) > keys(state)
        });
        if more {
            return;
        }
        // Where its own history can be compared, those who lost theirs are compared by keys alone.
        let strangers = self.nodes.iter().enumerate().filter(|(index, other)| {
            let ids = [Some(other.replid), other.replid2];
            *index != node && !ids.into_iter().flatten().any(|id| known(&replid(id)))
        });
        let theirs = strangers.fold(Writes::NONE, |held, (index, _)| held.with(&self.held_by(index)));
        // What its lost life held may have been handed over to it, by lives that were granted and followed by
        // the next before anyone published them.
        let by_it = self.ledger.of_lives(node, |_| true).with(&self.ledger.of_granted_lives());
        let lost = self.ledger.owed.with(&by_it).without(&self.held_by(node)).without(&self.ledger.excused);
        let lost = if comparable { lost.common(&theirs) } else { lost };
        if !lost.is_empty() {
            self.excuse(lost, "by an unprovable resumption");
        }
    }

    /// A dictator refused because the restarted master lost data, and said the slaves are safe.
    pub(crate) fn ledger_warned(&mut self, observation: &Observation) {
        let Some((master, _)) = self.ledger.published.last().copied() else { return };
        let life = self.nodes[master].life;
        for node in 0..self.nodes.len() {
            if observation.known(&self.nodes[node].name).is_some() {
                self.nodes[node].saved_from = Some((master, life));
            }
        }
    }

    /// What a life wrote that was given up may be lost wherever it is; and what a node with a plain
    /// configuration took as a stray master in a life that nobody can ask any more.
    pub(crate) fn excuse_given_up(&mut self, node: NodeIndex, lost: Writes) -> Writes {
        let mut lost = lost;
        for at in 0..self.ledger.permissions.len() {
            let one = self.ledger.permissions[at];
            let covered =
                lost.common(&self.ledger.of_lives(one.node, |life| life == one.life).with(&one.holds));
            if !one.spent && !covered.is_empty() {
                self.ledger.permissions[at].used = true;
                self.excuse(covered, "by a discard");
                lost = lost.without(&covered);
            }
        }
        let state = &self.nodes[node];
        let (now, published) = (state.life, self.ledger.published.clone());
        let strays =
            self.ledger.of_lives(node, |life| life < now && !published.contains(&(node, life))).common(&lost);
        if state.born == Born::Master && !strays.is_empty() {
            self.ledger.forgotten += 1;
            self.excuse(strays, "as taken by a stray master that restarted");
            return lost.without(&strays);
        }
        // People promoted it, it was written to, and it restarted before any dictator looked.
        let people = self.ledger.tampered.clone();
        let tampered =
            self.ledger.of_lives(node, |life| life < now && people.contains(&(node, life))).common(&lost);
        if !tampered.is_empty() {
            self.ledger.forgotten += 1;
            self.excuse(tampered, "as taken by a stray that people promoted and that restarted");
            return lost.without(&tampered);
        }
        lost
    }

    pub(crate) fn missing_on(&mut self, node: NodeIndex, missing: Writes) {
        let mut missing = self.excuse_given_up(node, missing);
        for at in 0..self.ledger.permissions.len() {
            let one = self.ledger.permissions[at];
            if !one.spent && self.nodes[one.node].life == one.life && one.node != node {
                let covered = missing.common(&self.held_by(one.node));
                if !covered.is_empty() {
                    self.ledger.permissions[at].used = true;
                    self.excuse(covered, "by a discard");
                    missing = missing.without(&covered);
                }
            }
        }
        if missing.is_empty() {
            return;
        }
        if !self.ledger.tampered.is_empty() {
            return self.excuse(missing, "by people");
        }
        // A node that left the document is parked, forgotten, and not asked when a master restarts.
        let members = (0..self.nodes.len()).filter(|other| self.members & (1 << other) != 0);
        let held = members.fold(Writes::NONE, |held, other| held.with(&self.held_by(other)));
        let left = missing.without(&held);
        if !left.is_empty() {
            self.excuse(left, "as held only by nodes that left the document");
            missing = missing.without(&left);
        }
        if missing.is_empty() {
            return;
        }
        self.violated(
            "missing",
            format!("node {node} was published without acknowledged writes {missing:?}"),
        );
    }
}
