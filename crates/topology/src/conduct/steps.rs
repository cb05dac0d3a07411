//! Taking the steps of a plan: what is sent, those of one kind side by side, and what is awaited.

use std::time::Duration;

use super::{Conduct, Effect, Phase};
use crate::address::NodeName;
use crate::basis::Basis;
use crate::command::{Answer, Assignment, Command, Order, Reading};
use crate::handover::HandOver;
use crate::mutant::{self, Mutant};
use crate::observation::{SessionId, Vitals};
use crate::plan::{Right, Step};
use crate::record::Record;
use crate::refusal::Refusal;

/// Most slaves in a row between a slave and the master that feeds it.
const CHAIN_NODES_MAX: usize = 8;

/// The step of a hand-over that waits before it polls again.
pub(super) const WAITING: &str = "wait";

/// What goes on after a save.
#[derive(Debug)]
pub(super) enum AfterSave {
    /// The steps of the plan; nothing was sent yet.
    Steps,
    /// The hand-over, of which this was the intent.
    HandOver(Box<HandOver>),
    /// The promotion of this node, which was granted ahead, and the record to go back to.
    Promotion { node: NodeName, right: Right, before: Box<Record> },
    /// The attachment of a node whose data may be lost, once that is noted.
    Follow { node: NodeName, to: NodeName },
    /// The steps after a grant; the grant is in force whether or not it could be saved.
    Granted,
    /// A refusal, after the record was put back.
    Refuse(Box<Refusal>),
    /// Nothing; the end of the change.
    Finish,
}

/// An effect that was not answered yet.
#[derive(Debug)]
pub(super) enum Running {
    Quiet,
    Park { node: NodeName, at: Duration },
    AttachRead { node: NodeName, to: NodeName, reading: Reading, at: Duration },
    AttachFollow { node: NodeName, at: Duration },
    Sync { node: NodeName, to: NodeName },
    HandOver { machine: Box<HandOver>, step: &'static str, node: NodeName, at: Duration },
    Promote { node: NodeName, right: Right, before: Option<Box<Record>>, at: Duration },
    Undo { node: NodeName, at: Duration },
    Unpause,
    Save(AfterSave),
}

impl Conduct {
    /// Begins the next group of steps, or ends the pass.
    pub(super) fn next_steps(&mut self) {
        if !self.running.is_empty() || !matches!(self.phase, Phase::Stepping) {
            return;
        }
        let Some(first) = self.queue.pop_front() else {
            return if self.again { self.observe() } else { self.announce() };
        };
        let kind = std::mem::discriminant(&first);
        let side_by_side = matches!(first, Step::Quiet { .. } | Step::Park { .. } | Step::Attach { .. });
        self.begin(first);
        while side_by_side
            && matches!(self.phase, Phase::Stepping)
            && self.queue.front().is_some_and(|step| std::mem::discriminant(step) == kind)
        {
            if let Some(step) = self.queue.pop_front() {
                self.begin(step);
            }
        }
        if self.running.is_empty() && matches!(self.phase, Phase::Stepping) {
            self.next_steps();
        }
    }

    fn begin(&mut self, step: Step) {
        if let Some(node) = step.node() {
            self.effects.push(Effect::Began { step: step.name(), node: node.clone() });
        }
        match step {
            Step::Quiet { node, connections } => {
                self.order(&node, Command::KillConnections { ids: connections }, Running::Quiet);
            }
            Step::Park { node, .. } => {
                let running = Running::Park { node: node.clone(), at: self.now };
                self.assign(&node, Assignment::Parked, false, Reading::Brief, running);
            }
            Step::Attach { node, to, basis } => self.attach(node, to, basis),
            Step::AwaitSync { node, to } => self.await_sync(node, to),
            Step::HandOver { from, to } => self.hand_over(&from, &to),
            // Of a hand-over the intent already says who may take writes from now on.
            Step::Promote { node, right: right @ Right::HandedOver { .. } } => {
                self.send_promotion(&node, right, None);
            }
            Step::Promote { node, right } => self.grant_ahead(node, right),
            Step::Adopt { node, right } => self.adopt(&node, right),
            Step::Undo { node } => {
                let running = Running::Undo { node: node.clone(), at: self.now };
                self.assign(&node, Assignment::Master, true, Reading::Brief, running);
            }
            Step::DropIntent { node } => self.drop_intent(node),
        }
    }

    // === sending ===

    pub(super) fn order(&mut self, node: &NodeName, command: Command, running: Running) {
        let session = self.observation.known(node).map(|state| state.session);
        self.order_on(node, session, command, running);
    }

    pub(super) fn order_on(
        &mut self,
        node: &NodeName,
        session: Option<SessionId>,
        command: Command,
        running: Running,
    ) {
        let endpoint = self.observation.nodes.get(node).and_then(|observed| observed.endpoint);
        let Some(endpoint) = endpoint else {
            // Planned only for nodes that answered; without an address there is nothing to do but look again.
            self.again = true;
            return;
        };
        let ticket = self.ticket();
        self.running.insert(ticket, running);
        let deadline = self.limits.order_deadline;
        let order = Order { node: node.clone(), endpoint, session, command, deadline };
        self.effects.push(Effect::Order { ticket, order });
    }

    fn assign(&mut self, node: &NodeName, to: Assignment, unpause: bool, reading: Reading, running: Running) {
        self.order(node, Command::Assign { to, unpause, reading }, running);
    }

    /// Sends a promotion; `before` is the record to go back to if the node surely did not execute it.
    pub(super) fn send_promotion(&mut self, node: &NodeName, right: Right, before: Option<Box<Record>>) {
        let running = Running::Promote { node: node.clone(), right, before, at: self.now };
        self.assign(node, Assignment::Master, false, Reading::Brief, running);
    }

    fn attach(&mut self, node: NodeName, to: NodeName, basis: Basis) {
        // A slave gets no data but its master's. Where that is anyone else than the node it shall follow, it
        // may have got more since it was observed: it is parked and read again. That goes for a slave of
        // the master demoted here, too: while this dictator was stopped, that one may have come back from
        // a restart, taken writes and handed them on. The demoted one itself is still in the life that was
        // demoted, since the order goes over the connection that demoted it.
        let still = self.observation.vitals(&node).is_some_and(Vitals::is_parked);
        let fed_by_ours = self.is_fed_by(&node, &to);
        let demoted = self.demoted.as_ref() == Some(&node);
        let cannot_erase = basis == Basis::Lineage && (still || fed_by_ours || demoted);
        if cannot_erase || mutant::active(Mutant::AttachWithoutReading) {
            return self.follow(node, &to, basis);
        }
        // Lineage and offset tell all there is to know of a slave that is linked. Of fifty, the counts of all
        // commands would take longer to read than the rest of the change takes.
        let linked = self.observation.vitals(&node).and_then(Vitals::following).is_some_and(|it| it.link_up);
        let reading = if basis == Basis::Lineage && linked { Reading::Brief } else { Reading::Full };
        let running = Running::AttachRead { node: node.clone(), to, reading, at: self.now };
        self.assign(&node, Assignment::Parked, false, reading, running);
    }

    /// Whether a slave gets what it gets from a node, if by way of others.
    fn is_fed_by(&self, node: &NodeName, to: &NodeName) -> bool {
        let mut at = node;
        for _ in 0..CHAIN_NODES_MAX {
            let Some(leader) = self.observation.told_leader_of(at) else { return false };
            if leader == to {
                return true;
            }
            at = leader;
        }
        false
    }

    pub(super) fn follow(&mut self, node: NodeName, to: &NodeName, basis: Basis) {
        if basis == Basis::Discarded
            && let Some(wanted) = self.wanted()
            && self.record.note_discards(&node, &wanted)
        {
            // From the moment it follows, this life holds what is to be kept: the permission to lose it must
            // not be found unused by whoever goes on after a crash.
            return self.save(AfterSave::Follow { node, to: to.clone() });
        }
        self.send_follow(node, to);
    }

    pub(super) fn send_follow(&mut self, node: NodeName, to: &NodeName) {
        let Some(leader) = self.observation.nodes.get(to).and_then(|observed| observed.endpoint) else {
            self.again = true;
            return;
        };
        let running = Running::AttachFollow { node: node.clone(), at: self.now };
        self.assign(&node, Assignment::SlaveOf(leader), false, Reading::Brief, running);
    }

    pub(super) fn await_sync(&mut self, node: NodeName, to: NodeName) {
        let running = Running::Sync { node: node.clone(), to };
        self.order(&node, Command::Poll, running);
    }

    // === answers ===

    pub(super) fn on_step_answered(&mut self, ticket: u64, answer: Answer) {
        let Some(running) = self.running.remove(&ticket) else { return };
        match running {
            // Whatever came of it, the next observation shows whether any connection is left.
            Running::Quiet | Running::Unpause => self.next_steps(),
            Running::Park { node, at } => self.parked(&node, at, answer),
            Running::AttachRead { node, to, reading, at } => {
                self.log("park", &node, at);
                self.attach_read(node, to, reading, answer);
            }
            Running::AttachFollow { node, at } => self.followed(node, at, answer),
            Running::Sync { node, to } => self.synced(node, to, answer),
            Running::HandOver { mut machine, step, node, at } => {
                self.log(step, &node, at);
                let action = machine.answered(answer, self.now);
                self.drive(machine, action);
            }
            Running::Promote { node, right, before, at } => {
                self.log("promote", &node, at);
                self.promoted(&node, right, before, answer);
            }
            Running::Undo { node, at } => self.undone(&node, at, answer),
            Running::Save(_) => debug_assert!(false, "a save is not answered by a node"),
        }
    }

    pub(super) fn on_step_woken(&mut self) {
        let waiting = self.running.keys().next().copied();
        let Some(running) = waiting.and_then(|ticket| self.running.remove(&ticket)) else { return };
        match running {
            Running::Sync { node, to } => self.await_sync(node, to),
            Running::HandOver { mut machine, step: WAITING, .. } => {
                let action = machine.woken();
                self.drive(machine, action);
            }
            other => {
                // Not one that waits: it keeps waiting for its answer.
                let ticket = waiting.unwrap_or_default();
                self.running.insert(ticket, other);
            }
        }
    }

    // === the log ===

    pub(super) fn log(&mut self, step: &str, node: &NodeName, at: Duration) {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at_us = micros(at.saturating_sub(self.started));
        let end_us = micros(self.now.saturating_sub(self.started));
        let node = node.to_string();
        if let Some(last) = self.tally.steps.last_mut()
            && last.step == step
            && last.node == node
        {
            // Polls of one wait are one line.
            last.took_us = end_us.saturating_sub(last.at_us);
            return;
        }
        let took_us = end_us.saturating_sub(at_us);
        self.tally.steps.push(crate::receipt::ReceiptStep { step: step.to_owned(), node, at_us, took_us });
    }
}
