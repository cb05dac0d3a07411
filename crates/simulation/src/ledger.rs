//! What was acknowledged, who was published, what may be lost, and what must never be seen.
//!
//! The ledger knows nothing of how a dictator decides. It holds the promises of the design against
//! what happens in the world:
//!
//! * a write acknowledged by a published master is on every master published later (`missing`);
//! * no acknowledged write is erased anywhere, published node or not (`erased`); a copy of what a stray
//!   took may go as long as the stray itself has it and is refused;
//! * no refused write is anywhere (`phantom`);
//! * never do two lives that were published, or made master by a dictator, take writes at once
//!   (`two-writers`);
//! * a refusal has changed nothing (`refusal-changed`), and in the end there is one master, the one
//!   of the document in force, or a refusal that says why not (`stuck`).
//!
//! Excused is only what the design says cannot be kept: what existed nowhere else when a disk lost
//! it; what a discard in force names, once; what a resumption that calls itself unprovable lost; and
//! what people destroyed by orders of their own.

use topology::receipt::Receipt;

use crate::data::Writes;
use crate::redis::{Born, NodeIndex, Operation, Part};
use crate::world::{Time, World};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub kind: &'static str,
    /// What was seen.
    pub detail: String,
}

/// Permission to lose what one life of one node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The node.
    pub node: NodeIndex,
    /// Its life.
    pub life: u32,
    /// Since when.
    pub since: Time,
    /// What this life held then: losing that is permitted wherever it came from.
    pub holds: Writes,
    /// Something was lost to it.
    pub used: bool,
    /// It was used, and the node was attached since.
    pub spent: bool,
}

/// The books of one schedule.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Executed by some node that took writes.
    pub acked: Writes,
    /// Refused.
    pub rejected: Writes,
    /// May be missing.
    pub excused: Writes,
    /// Acknowledged by a published master, or found on one when it was published.
    pub owed: Writes,
    /// The generation of the last publication; earlier ones come from dictators that slept.
    generation: u64,
    /// Lives of which a resumption was judged.
    pub(crate) resumed: Vec<(NodeIndex, u32)>,
    /// Lives that were published, in order.
    pub published: Vec<(NodeIndex, u32)>,
    /// Which life executed each write.
    origins: Vec<(u16, NodeIndex, u32)>,
    /// Lives that a dictator's order made master.
    appointed: Vec<(NodeIndex, u32)>,
    /// Lives that people made master by orders of their own.
    pub tampered: Vec<(NodeIndex, u32)>,
    /// Nodes that follow another because of people's orders.
    meddled: Vec<(NodeIndex, u32, Part)>,
    /// Permissions of the documents sent so far.
    pub permissions: Vec<Permission>,
    /// How often writes of a stray master were lost after it restarted: the limit of plain
    /// configurations.
    pub forgotten: u32,
    /// The first broken promise.
    pub violation: Option<Violation>,
}

impl Ledger {
    /// The node that clients find when they look the master up.
    pub fn published_node(&self) -> Option<NodeIndex> {
        self.published.last().map(|(node, _)| *node)
    }

    /// Writes executed by lives of a node, up to one.
    pub(crate) fn of_lives(&self, node: NodeIndex, lives: impl Fn(u32) -> bool) -> Writes {
        let mut writes = Writes::NONE;
        for (id, _, _) in self.origins.iter().filter(|(_, by, life)| *by == node && lives(*life)) {
            writes.insert(*id);
        }
        writes
    }

    /// Writes executed by lives that a dictator let take writes, published or not.
    pub(crate) fn of_granted_lives(&self) -> Writes {
        let mut writes = Writes::NONE;
        for (id, node, life) in &self.origins {
            let life = (*node, *life);
            let appointed = self.appointed.contains(&life) || self.resumed.contains(&life);
            if appointed || self.published.contains(&life) {
                writes.insert(*id);
            }
        }
        writes
    }

    fn permits(&self, node: NodeIndex, life: u32) -> bool {
        self.permissions.iter().any(|one| (one.node, one.life) == (node, life) && !one.spent)
    }
}

impl World {
    /// Notes a broken promise; the first one ends the schedule.
    pub fn violated(&mut self, kind: &'static str, detail: impl Into<String>) {
        let detail = detail.into();
        self.note(|_| format!("VIOLATION {kind}: {detail}"));
        if self.ledger.violation.is_none() {
            self.ledger.violation = Some(Violation { kind, detail });
        }
    }

    /// The topology before any dictator: its master is published.
    pub fn establish(&mut self, node: NodeIndex) {
        let life = self.nodes[node].life;
        self.ledger.published.push((node, life));
    }

    pub(crate) fn ledger_executed(&mut self, node: NodeIndex, operation: Operation) {
        let published = self.ledger.published.last() == Some(&(node, self.nodes[node].life));
        self.strayed |= !published;
        for id in ids(operation).into_iter().flatten() {
            self.ledger.acked.insert(id);
            self.ledger.origins.push((id, node, self.nodes[node].life));
            if published {
                self.ledger.owed.insert(id);
            }
        }
    }

    pub(crate) fn ledger_rejected(&mut self, operation: Operation) {
        for id in ids(operation).into_iter().flatten() {
            self.ledger.rejected.insert(id);
        }
    }

    /// A dictator's order overrides what people ordered.
    pub(crate) fn ledger_ordered(&mut self, node: NodeIndex, part: Part) {
        let now = self.now;
        let state = &mut self.nodes[node];
        state.raced = state.meddled_at > state.read_at;
        state.read_at = now;
        state.led_since = matches!(part, Part::Slave(Some(_))).then_some(now);
        if part == Part::Master {
            self.nodes[node].ordered = true;
            self.ledger.appointed.push((node, self.nodes[node].life));
        }
        self.ledger.meddled.retain(|(other, ..)| *other != node);
    }

    /// People gave an order of their own.
    pub(crate) fn ledger_meddled(&mut self, node: NodeIndex, part: Part) {
        let life = self.nodes[node].life;
        (self.nodes[node].led_since, self.nodes[node].meddled_at) = (None, self.now);
        self.ledger.meddled.push((node, life, part));
        if part == Part::Master {
            self.ledger.tampered.push((node, life));
        }
    }

    /// A full resync replaces what a node holds.
    pub(crate) fn ledger_erased(&mut self, node: NodeIndex, old: &Writes, new: &Writes) {
        let lost = old.common(&self.ledger.acked).without(new).without(&self.ledger.excused);
        self.judge_erased(node, lost);
        // Whatever was permitted for this life is used up once a dictator attached it and it was erased.
        let (life, led_since) = (self.nodes[node].life, self.nodes[node].led_since);
        for one in self.ledger.permissions.iter_mut().filter(|one| (one.node, one.life) == (node, life)) {
            one.spent |= one.used && led_since.is_some_and(|led| led >= one.since);
        }
    }

    /// What nodes hold that took it themselves, without the right to, and have not restarted since.
    fn held_by_strays(&self) -> Writes {
        let strays = self.nodes.iter().enumerate().filter(|(index, node)| {
            let life = (*index, node.life);
            let granted = self.ledger.published.contains(&life) || self.ledger.appointed.contains(&life);
            node.is_up() && !node.loading && !granted
        });
        strays.fold(Writes::NONE, |held, (index, node)| {
            held.with(&self.ledger.of_lives(index, |life| life == node.life).common(&node.data))
        })
    }

    fn judge_erased(&mut self, node: NodeIndex, lost: Writes) {
        let lost = if lost.is_empty() { lost } else { lost.without(&self.held_by_strays()) };
        let lost = self.excuse_given_up(node, lost);
        if lost.is_empty() {
            return;
        }
        let life = self.nodes[node].life;
        if self.ledger.permits(node, life) {
            for one in self.ledger.permissions.iter_mut().filter(|one| (one.node, one.life) == (node, life)) {
                one.used = true;
            }
            return self.excuse(lost, "by a discard");
        }
        if self.ledger.meddled.iter().any(|(other, of, _)| (*other, *of) == (node, life)) {
            self.excuse(lost, "by people");
            return;
        }
        if self.nodes[node].raced {
            return self.excuse(lost, "by people, whose order came between a look and an order");
        }
        if self.known & (1 << node) == 0 {
            return self.excuse(lost, "as held by a node that nobody told a dictator of");
        }
        if let Part::Slave(Some(master)) = self.nodes[node].part
            && self.ledger.tampered.contains(&(master, self.nodes[master].life))
            && !self.nodes[master].ordered
        {
            // People made its master one, and it came to that before any dictator gave an order.
            return self.excuse(lost, "by people who promoted its master");
        }
        if let Part::Slave(Some(master)) = self.nodes[node].part
            && (self.nodes[master].life != self.nodes[node].follows_life
                || self.nodes[master].life != self.nodes[node].attached_knowing)
            && self.nodes[master].born == Born::Master
            && !self.nodes[master].ordered
            && self.nodes[node].saved_from != Some((master, self.nodes[master].life))
        {
            // It restarted as a master by its own configuration, and its slaves came to it before any
            // dictator could see that.
            self.excuse(lost, "by the master's own restart");
            return;
        }
        self.violated("erased", format!("a full resync erased acknowledged writes {lost:?} on node {node}"));
    }

    pub(crate) fn excuse(&mut self, lost: Writes, why: &str) {
        self.note(|_| format!("excused {why}: {lost:?}"));
        self.ledger.excused = self.ledger.excused.with(&lost);
    }

    /// A dictator says that a node takes writes from now on.
    pub(crate) fn ledger_published(&mut self, node: NodeIndex, life: u32, receipt: &Receipt) {
        if receipt.generation < self.ledger.generation {
            self.note(|_| format!("a late publication of node {node} is refused: its revision is old"));
            return;
        }
        self.ledger.generation = receipt.generation;
        self.note(|_| format!("published: node {node} life {life}"));
        if self.nodes[node].life == life && self.nodes[node].is_up() && !self.nodes[node].loading {
            let held = self.held_by(node);
            let missing = self.ledger.owed.without(&held).without(&self.ledger.excused);
            if !missing.is_empty() {
                self.missing_on(node, missing);
            }
            self.ledger.owed = self.ledger.owed.with(&held.common(&self.ledger.acked));
        }
        if self.ledger.published.last() != Some(&(node, life)) {
            self.ledger.published.push((node, life));
        }
        self.check_phantoms();
        self.check_writers();
    }

    pub(crate) fn held_by(&self, node: NodeIndex) -> Writes {
        let state = &self.nodes[node];
        state.disk.map_or(state.data, |disk| if state.loading || !state.is_up() { disk } else { state.data })
    }

    pub(crate) fn ledger_role_changed(&mut self, _node: NodeIndex) {
        self.check_writers();
    }

    fn check_writers(&mut self) {
        let mut writer: Option<(NodeIndex, u32)> = None;
        for (node, state) in self.nodes.iter().enumerate() {
            let life = (node, state.life);
            let excused = self.ledger.tampered.contains(&life)
                || self.ledger.permissions.iter().any(|one| (one.node, one.life) == life);
            // Whoever led the cluster before the first document did not name it is known to nobody.
            let unheard = self.known != 0 && self.known & (1 << node) == 0;
            let named = self.ledger.published.contains(&life) || self.ledger.appointed.contains(&life);
            let named = named && !unheard;
            if !state.takes_writes() || excused || !named {
                continue;
            }
            if let Some((other, _)) = writer {
                let text =
                    format!("nodes {other} and {node} both take writes, and each was published or promoted");
                self.violated("two-writers", text);
                return;
            }
            writer = Some(life);
        }
    }

    /// No refused write is anywhere.
    pub(crate) fn check_phantoms(&mut self) {
        for node in 0..self.nodes.len() {
            let phantoms = self.nodes[node].data.common(&self.ledger.rejected);
            if !phantoms.is_empty() {
                self.violated("phantom", format!("node {node} holds refused writes {phantoms:?}"));
            }
        }
    }

    /// Once everything is quiet, the published master holds all that is owed.
    pub fn check_owed(&mut self) {
        let Some((node, life)) = self.ledger.published.last().copied() else { return };
        if self.nodes[node].life != life || !self.nodes[node].is_up() {
            return;
        }
        let missing = self.ledger.owed.without(&self.nodes[node].data).without(&self.ledger.excused);
        if !missing.is_empty() && self.ledger.tampered.is_empty() {
            self.violated("missing", format!("in the end node {node} lacks acknowledged writes {missing:?}"));
        }
    }
}

pub(crate) fn ids(operation: Operation) -> [Option<u16>; 2] {
    match operation {
        Operation::Write(id) => [Some(id), None],
        Operation::Pair(one, two) => [Some(one), Some(two)],
        Operation::Filler => [None, None],
    }
}
