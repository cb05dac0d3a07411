//! Taking the steps of a plan, those of one kind side by side, and judging every answer.

use std::time::Duration;

use super::{Conduct, Effect, Phase, RETRY_INTERVAL};
use crate::address::NodeName;
use crate::basis::{Basis, Reference};
use crate::command::{Answer, Assigned, Assignment, Command, Failure, Order, Reading, Reply};
use crate::grant::Grant;
use crate::handover::{Action, End, HandOver, Side, Who};
use crate::mutant::{self, Mutant};
use crate::observation::{NodeState, SessionId, Unknown, Vitals};
use crate::plan::{Pending, Right, Step, loss};
use crate::record::{Intent, Party};
use crate::refusal::{Refusal, Slug};

/// Wait between looks at a target that is syncing.
const SYNC_INTERVAL: Duration = Duration::from_millis(20);

/// What goes on after a save.
#[derive(Debug)]
pub(super) enum AfterSave {
    /// The steps of the plan; nothing was sent yet.
    Steps,
    /// The hand-over, of which this was the intent.
    HandOver(Box<HandOver>),
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
    AttachRead { node: NodeName, to: NodeName, at: Duration },
    AttachFollow { node: NodeName, basis: Basis, at: Duration },
    Sync { node: NodeName, to: NodeName },
    HandOver { machine: Box<HandOver>, step: &'static str, node: NodeName, at: Duration },
    Promote { node: NodeName, right: Right, at: Duration },
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
            Step::Promote { node, right } => {
                let running = Running::Promote { node: node.clone(), right, at: self.now };
                self.assign(&node, Assignment::Master, false, Reading::Brief, running);
            }
            Step::Adopt { node, right } => self.adopt(&node, right),
            Step::Undo { node } => {
                let running = Running::Undo { node: node.clone(), at: self.now };
                self.assign(&node, Assignment::Master, true, Reading::Brief, running);
            }
            Step::DropIntent { node } => self.drop_intent(node),
        }
    }

    // === sending ===

    fn order(&mut self, node: &NodeName, command: Command, running: Running) {
        let session = self.observation.known(node).map(|state| state.session);
        self.order_on(node, session, command, running);
    }

    fn order_on(&mut self, node: &NodeName, session: Option<SessionId>, command: Command, running: Running) {
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

    fn attach(&mut self, node: NodeName, to: NodeName, basis: Basis) {
        let was_slave = self.observation.vitals(&node).is_some_and(|vitals| !vitals.is_master());
        let demoted = self.demoted.as_ref() == Some(&node);
        let cannot_erase = basis == Basis::Lineage && (was_slave || demoted);
        if cannot_erase || mutant::active(Mutant::AttachWithoutReading) {
            return self.follow(node, &to, basis);
        }
        let running = Running::AttachRead { node: node.clone(), to, at: self.now };
        self.assign(&node, Assignment::Parked, false, Reading::Full, running);
    }

    fn follow(&mut self, node: NodeName, to: &NodeName, basis: Basis) {
        let Some(leader) = self.observation.nodes.get(to).and_then(|observed| observed.endpoint) else {
            self.again = true;
            return;
        };
        let running = Running::AttachFollow { node: node.clone(), basis, at: self.now };
        self.assign(&node, Assignment::SlaveOf(leader), false, Reading::Brief, running);
    }

    fn await_sync(&mut self, node: NodeName, to: NodeName) {
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
            Running::AttachRead { node, to, at } => self.attach_read(node, to, at, answer),
            Running::AttachFollow { node, basis, at } => self.followed(node, basis, at, answer),
            Running::Sync { node, to } => self.synced(node, to, answer),
            Running::HandOver { mut machine, step, node, at } => {
                self.log(step, &node, at);
                let action = machine.answered(answer, self.now);
                self.drive(machine, action);
            }
            Running::Promote { node, right, at } => self.promoted(&node, right, at, answer),
            Running::Undo { node, at } => self.undone(&node, at, answer),
            Running::Save(_) => debug_assert!(false, "a save is not answered by a node"),
        }
    }

    pub(super) fn on_step_woken(&mut self) {
        let waiting = self.running.keys().next().copied();
        let Some(running) = waiting.and_then(|ticket| self.running.remove(&ticket)) else { return };
        match running {
            Running::Sync { node, to } => self.await_sync(node, to),
            Running::HandOver { mut machine, .. } => {
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

    fn parked(&mut self, node: &NodeName, at: Duration, answer: Answer) {
        self.log("park", node, at);
        match assigned(answer) {
            Ok(assigned) if assigned.after.is_parked() => {
                self.dirty |= self.record.leaving.contains(node);
                self.record.leaving.retain(|leaving| leaving != node);
            }
            Ok(_) => self.again = true,
            Err(failure) => {
                self.tally.warnings.push(format!("{node} could not be parked: it {}", failure.reason()));
                // Without this node's state nothing that depends on it may be decided.
                self.queue.clear();
                self.again = self.again && !self.out_of_time();
            }
        }
        self.next_steps();
    }

    fn attach_read(&mut self, node: NodeName, to: NodeName, at: Duration, answer: Answer) {
        self.log("park", &node, at);
        let assigned = match assigned(answer) {
            Ok(assigned) if assigned.accepted.is_ok() => assigned,
            other => return self.not_attached(node, &reason(other)),
        };
        let Some(leader) = self.leader_vitals(&to) else {
            return self.not_attached(node, "its master is gone");
        };
        let wanted = self.wanted();
        let discard = wanted.as_ref().map_or(&[][..], |wanted| &wanted.document.discard);
        let judged =
            Reference { acting: &leader, record: &self.record, discard }.judge(&node, &assigned.after);
        match judged {
            Ok(basis) => self.follow(node, &to, basis),
            Err(no_basis) => {
                let refusal = loss(&node, &assigned.after, no_basis);
                self.not_attached(node, &refusal.detail);
            }
        }
    }

    fn followed(&mut self, node: NodeName, basis: Basis, at: Duration, answer: Answer) {
        self.log("attach", &node, at);
        match assigned(answer) {
            Ok(assigned) if assigned.accepted.is_ok() => {
                if basis == Basis::Discarded
                    && let Some(wanted) = self.wanted()
                {
                    self.record.spend_discards(&node, &wanted);
                    self.dirty = true;
                }
                if !self.tally.told.contains(&node) {
                    self.tally.told.push(node);
                }
                self.next_steps();
            }
            other => {
                let why = reason(other);
                self.not_attached(node, &why);
            }
        }
    }

    /// A slave that could not be attached is pending; a target ends the change.
    fn not_attached(&mut self, node: NodeName, why: &str) {
        let is_target = self.wanted().is_some_and(|wanted| wanted.document.master == node);
        if is_target {
            let refusal = Refusal::new(
                Slug::NodeUnreachable,
                format!("{node} could not be attached: {why}"),
                "see why, then send the document again",
            );
            return self.fail(refusal.about(&node).during("attach"));
        }
        self.tally.pending.retain(|pending| pending.node != node);
        self.tally.pending.push(Pending { node, reason: why.to_owned() });
        self.next_steps();
    }

    fn synced(&mut self, node: NodeName, to: NodeName, answer: Answer) {
        let leader = self.observation.vitals(&to).map(|vitals| vitals.replid.clone());
        let vitals = match answer {
            Ok(Reply::Vitals(vitals)) => vitals,
            Ok(_) => return self.fail(internal("await-sync")),
            Err(failure) => {
                return self.fail(Refusal::of_unknown(&node, failure.reason()).during("await-sync"));
            }
        };
        let up = vitals.following().is_some_and(|following| following.link_up);
        if up && !vitals.loading && Some(&vitals.replid) == leader.as_ref() {
            let was_up =
                self.observation.vitals(&node).and_then(Vitals::following).is_some_and(|link| link.link_up);
            if was_up {
                // It was only lagging; give it a moment before it is measured again.
                self.queue.clear();
                return self.rest(RETRY_INTERVAL);
            }
            return self.next_steps();
        }
        if self.now.saturating_sub(self.started) >= self.limits.apply_timeout {
            let refusal = Refusal::new(
                Slug::SyncTimeout,
                format!(
                    "{node} did not finish its sync with {to} within {} s; nothing was paused, it goes on syncing",
                    self.limits.apply_timeout.as_secs()
                ),
                format!(
                    "see why {node} is slow (its log tells), or allow a longer --apply-timeout; then send the document again"
                ),
            );
            let refusal = refusal.about(&node).during("await-sync");
            return self.fail(refusal.with("link_up", up).with("offset", vitals.position()));
        }
        let ticket = self.ticket();
        self.running.insert(ticket, Running::Sync { node, to });
        self.effects.push(Effect::Wake { at: self.now + SYNC_INTERVAL });
    }

    fn promoted(&mut self, node: &NodeName, right: Right, at: Duration, answer: Answer) {
        self.log("promote", node, at);
        match assigned(answer) {
            Ok(assigned) if assigned.accepted.is_ok() && assigned.after.is_master() => {
                self.grant(node, right, &assigned.after);
            }
            Err(failure @ Failure::NotExecuted(Unknown::Refuses(_))) => {
                let refusal = Refusal::of_unknown(node, failure.reason()).during("promote");
                self.fail(refusal);
            }
            other => {
                let why = reason(other);
                self.uncertain.get_or_insert_with(|| {
                    Refusal::new(
                        Slug::OutcomeUnknown,
                        format!("{node} did not say whether it was promoted: {why}"),
                        "nothing need be done if the node comes back: this is resolved by itself; see GET /status",
                    )
                    .about(node)
                    .during("promote")
                });
                self.look_again();
            }
        }
    }

    fn undone(&mut self, node: &NodeName, at: Duration, answer: Answer) {
        self.log("undo", node, at);
        match assigned(answer) {
            Ok(assigned) if assigned.accepted.is_ok() && assigned.after.is_master() => {
                self.record.intent = None;
                self.save(AfterSave::Granted);
            }
            _ => self.look_again(),
        }
    }

    /// Drops the rest of this plan and observes again shortly.
    fn look_again(&mut self) {
        self.queue.clear();
        self.running.clear();
        if self.out_of_time() {
            let refusal = self.uncertain.take().unwrap_or_else(|| internal("look-again"));
            return self.fail(refusal);
        }
        self.rest(RETRY_INTERVAL);
    }

    // === record only ===

    fn adopt(&mut self, node: &NodeName, right: Right) {
        if let Some(vitals) = self.observation.vitals(node).cloned() {
            self.grant(node, right, &vitals);
        } else {
            self.again = true;
        }
    }

    fn drop_intent(&mut self, node: Option<NodeName>) {
        self.record.intent = None;
        self.save(AfterSave::Granted);
        if let Some(node) = node.filter(|node| self.observation.vitals(node).is_some_and(Vitals::is_master)) {
            self.order(&node, Command::Unpause, Running::Unpause);
        }
    }

    fn grant(&mut self, node: &NodeName, right: Right, vitals: &Vitals) {
        let endpoint = self.observation.nodes.get(node).and_then(|observed| observed.endpoint);
        // A recovered hand-over puts its own document in force; the change goes on with its own.
        let intent = self.record.intent.as_ref().map(|intent| intent.wanted.clone());
        let (Some(endpoint), Some(wanted)) = (endpoint, intent.or_else(|| self.wanted())) else {
            self.again = true;
            return;
        };
        self.note_right(right);
        let observation = &self.observation;
        // Granted on the way to another target: the document is in force once that one is master.
        let arrived = crate::plan::same_node(observation, node, &wanted.document.master);
        let grant = Grant { node, endpoint, vitals, right, wanted: &wanted, arrived, observation };
        self.record.grant(&grant);
        self.leader = Some(vitals.clone());
        self.uncertain = None;
        self.save(AfterSave::Granted);
    }

    // === the hand-over ===

    fn hand_over(&mut self, from: &NodeName, to: &NodeName) {
        let (Some(old), Some(target)) = (self.side(from), self.side(to)) else {
            self.again = true;
            return;
        };
        let Some(acting) = self.observation.vitals(from) else { return };
        let (replid, seen) = (acting.replid.clone(), acting.offset);
        let machine = HandOver::new(old, target, replid, seen, self.hand_over_limits());
        let action = machine.start();
        self.drive(Box::new(machine), action);
    }

    fn side(&self, node: &NodeName) -> Option<Side> {
        let observed = self.observation.nodes.get(node)?;
        let (endpoint, state): (_, &NodeState) = (observed.endpoint?, observed.known()?);
        Some(Side {
            node: node.clone(),
            endpoint,
            run_id: state.vitals.run_id.clone(),
            session: state.session,
        })
    }

    fn drive(&mut self, machine: Box<HandOver>, action: Action) {
        match action {
            Action::SaveIntent => {
                let (from, to) = machine.sides();
                let party = |side: &Side| Party {
                    node: side.node.clone(),
                    endpoint: side.endpoint,
                    run_id: side.run_id.clone(),
                };
                let replid = self.observation.vitals(&from.node).map(|vitals| vitals.replid.clone());
                let (Some(wanted), Some(replid)) = (self.wanted(), replid) else { return };
                self.record.intent = Some(Intent {
                    generation: self.record.generation + 1,
                    from: Some(party(from)),
                    to: party(to),
                    replid,
                    wanted,
                });
                self.save(AfterSave::HandOver(machine));
            }
            Action::Order { who, step, command } => {
                let side = match who {
                    Who::From => machine.sides().0.clone(),
                    Who::To => machine.sides().1.clone(),
                };
                let session = (!mutant::active(Mutant::ProofOnAnotherConnection)).then_some(side.session);
                let running = Running::HandOver { machine, step, node: side.node.clone(), at: self.now };
                self.order_on(&side.node, session, command, running);
            }
            Action::Wait(interval) => {
                let node = machine.sides().1.node.clone();
                let ticket = self.ticket();
                let running = Running::HandOver { machine, step: "wait", node, at: self.now };
                self.running.insert(ticket, running);
                self.effects.push(Effect::Wake { at: self.now + interval });
            }
            Action::Done(end) => self.handed_over(&machine, end),
        }
    }

    fn handed_over(&mut self, machine: &HandOver, end: End) {
        match end {
            End::Promoted(promoted) => {
                self.tally.frozen = Some(promoted.frozen);
                self.tally.applied = Some(promoted.applied);
                self.tally.write_gap = Some(promoted.write_gap);
                let (from, to) = machine.sides();
                self.demoted = Some(from.node.clone());
                let right = Right::HandedOver { frozen: promoted.frozen };
                self.grant(&to.node.clone(), right, &promoted.after);
            }
            End::Unchanged(refusal) => {
                self.record.intent = None;
                if refusal.slug == Slug::RecordNotWritable {
                    return self.fail(refusal);
                }
                self.queue.clear();
                self.save(AfterSave::Refuse(Box::new(refusal)));
            }
            End::Unknown(refusal) => {
                self.uncertain = Some(refusal);
                self.look_again();
            }
        }
    }

    // === saves ===

    pub(super) fn on_saved(&mut self, ticket: u64, result: Result<(), String>) {
        let Some(Running::Save(after)) = self.running.remove(&ticket) else { return };
        match &result {
            Ok(()) => {
                self.dirty = false;
                self.record_unsaved = None;
            }
            Err(why) => self.record_unsaved = Some(why.clone()),
        }
        match after {
            AfterSave::HandOver(mut machine) => {
                if result.is_err() {
                    self.record.intent = None;
                }
                let action = machine.saved(result, self.now);
                self.drive(machine, action);
            }
            AfterSave::Steps => match result {
                Ok(()) => self.next_steps(),
                Err(why) => self.fail_unsaved(&why),
            },
            AfterSave::Granted => {
                if let Err(why) = result {
                    // The right was given and cannot be taken back; say so, and go on.
                    self.tally.warnings.push(format!(
                        "the record could not be written ({why}); mend the state directory before the dictator restarts"
                    ));
                }
                self.next_steps();
            }
            AfterSave::Refuse(refusal) => self.fail(*refusal),
            AfterSave::Finish => match result {
                Err(why) if !self.announced && self.job.purpose != super::Purpose::Enforce => {
                    self.fail_unsaved(&why);
                }
                _ => self.done(),
            },
        }
    }

    /// Nothing was done yet and the record cannot hold the new document: the old one stays in force.
    fn fail_unsaved(&mut self, why: &str) {
        self.record = self.before.clone();
        self.fail(not_writable(why));
    }

    // === helpers ===

    fn leader_vitals(&self, to: &NodeName) -> Option<Vitals> {
        let granted = self.record.granted.as_ref();
        let newer = self.leader.as_ref().filter(|vitals| {
            granted.is_some_and(|granted| granted.node == *to && granted.run_id == vitals.run_id)
        });
        newer.or_else(|| self.observation.vitals(to)).cloned()
    }

    fn log(&mut self, step: &str, node: &NodeName, at: Duration) {
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

fn assigned(answer: Answer) -> Result<Assigned, Failure> {
    match answer {
        Ok(Reply::Assigned(assigned)) => Ok(*assigned),
        Ok(_) => Err(Failure::NoReply(Unknown::NotRedis("an answer to another question".to_owned()))),
        Err(failure) => Err(failure),
    }
}

fn reason(outcome: Result<Assigned, Failure>) -> String {
    match outcome {
        Ok(assigned) => assigned.accepted.err().unwrap_or_else(|| "it did not take the role".to_owned()),
        Err(failure) => format!("it {}", failure.reason()),
    }
}

fn not_writable(why: &str) -> Refusal {
    Refusal::new(
        Slug::RecordNotWritable,
        format!("the record cannot be written: {why}; nothing was changed"),
        "make the state directory writable (space, permissions), then send the document again",
    )
}

fn internal(step: &'static str) -> Refusal {
    Refusal::new(
        Slug::Internal,
        format!("the change lost its way at {step}"),
        "report this as a fault of the dictator",
    )
    .during(step)
}
