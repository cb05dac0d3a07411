//! Driving the hand-over: its actions become orders and saves, and its end is noted.
//!
//! Every order of a hand-over goes over the connection its node was observed on. A connection that was
//! opened since could belong to another life of the node, and would prove nothing.

use super::steps::{AfterSave, Running, WAITING};
use super::{Conduct, Effect};
use crate::address::NodeName;
use crate::handover::{Action, End, HandOver, Side, Who};
use crate::mutant::{self, Mutant};
use crate::observation::NodeState;
use crate::plan::Right;
use crate::record::{Intent, Party};
use crate::refusal::{Refusal, Slug};

impl Conduct {
    pub(super) fn hand_over(&mut self, from: &NodeName, to: &NodeName) {
        let (Some(old), Some(target)) = (self.side(from), self.side(to)) else {
            self.again = true;
            return;
        };
        let Some(acting) = self.observation.vitals(from) else { return };
        let (replid, seen) = (acting.replid.clone(), acting.offset);
        let mut machine = HandOver::new(old, target, replid, seen, self.hand_over_limits());
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

    pub(super) fn drive(&mut self, machine: Box<HandOver>, action: Action) {
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
                let running = Running::HandOver { machine, step: WAITING, node, at: self.now };
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
            End::Unchanged(refusal) => self.called_off(machine, refusal),
            End::Undone { refusal, after } => {
                let (from, _) = machine.sides();
                self.record.undone(&from.node, &after);
                self.called_off(machine, refusal);
            }
            End::Unknown(refusal) => {
                self.uncertain = Some(refusal);
                self.look_again();
            }
        }
    }

    fn called_off(&mut self, machine: &HandOver, refusal: Refusal) {
        self.record.intent = None;
        if refusal.slug == Slug::RecordNotWritable {
            return self.fail(refusal);
        }
        if refusal.slug == Slug::TargetUnfit {
            // It was found to be no slave any more.
            self.record.doubt(&machine.sides().1.node);
        }
        self.queue.clear();
        self.save(AfterSave::Refuse(Box::new(refusal)));
    }
}
