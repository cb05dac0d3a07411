//! What the conductor writes down: grants, dropped intents, and what goes on after each save.
//!
//! A record that cannot be written stops a change only as long as nothing was sent. After a grant it is
//! a warning: the right was given and cannot be taken back.

use super::Conduct;
use super::steps::{AfterSave, Running};
use crate::address::NodeName;
use crate::command::Command;
use crate::grant::Grant;
use crate::observation::Vitals;
use crate::plan::Right;
use crate::refusal::{Refusal, Slug};

impl Conduct {
    pub(super) fn adopt(&mut self, node: &NodeName, right: Right) {
        if let Some(vitals) = self.observation.vitals(node).cloned() {
            self.grant(node, right, &vitals);
        } else {
            self.again = true;
        }
    }

    pub(super) fn drop_intent(&mut self, node: Option<NodeName>) {
        self.record.intent = None;
        self.save(AfterSave::Granted);
        if let Some(node) = node.filter(|node| self.observation.vitals(node).is_some_and(Vitals::is_master)) {
            self.order(&node, Command::Unpause, Running::Unpause);
        }
    }

    /// Grants a node the right to take writes before it is told to: whatever becomes of the order, a stop of
    /// the node or the end of this dictator, nobody else is promoted until it is known what this node did.
    pub(super) fn grant_ahead(&mut self, node: NodeName, right: Right) {
        let before = Box::new(self.record.clone());
        let Some(vitals) = self.observation.vitals(&node).cloned() else {
            self.again = true;
            return;
        };
        if self.note_grant(&node, right, &vitals) {
            self.save(AfterSave::Promotion { node, right, before });
        }
    }

    /// The node that was granted ahead takes writes, on a lineage of its own.
    pub(super) fn confirm(&mut self, node: &NodeName, vitals: &Vitals) {
        self.record.promoted(node, vitals);
        self.leads(node, vitals);
        self.save(AfterSave::Granted);
    }

    pub(super) fn grant(&mut self, node: &NodeName, right: Right, vitals: &Vitals) {
        if self.note_grant(node, right, vitals) {
            self.leads(node, vitals);
            self.save(AfterSave::Granted);
        }
    }

    fn leads(&mut self, node: &NodeName, vitals: &Vitals) {
        // It may have been attached on the way; whoever takes writes has no link that could come up.
        self.tally.told.retain(|told| told != node);
        self.leader = Some(vitals.clone());
        self.uncertain = None;
    }

    /// Changes the record to a grant. Returns whether it could.
    fn note_grant(&mut self, node: &NodeName, right: Right, vitals: &Vitals) -> bool {
        let endpoint = self.observation.nodes.get(node).and_then(|observed| observed.endpoint);
        // A recovered hand-over puts its own document in force; the change goes on with its own. Who takes
        // the place of a master that was given up does so by the document that gave it up.
        let open = self.record.intent.as_ref().filter(|_| right != Right::Replacement);
        let intent = open.map(|intent| intent.wanted.clone());
        let (Some(endpoint), Some(wanted)) = (endpoint, intent.or_else(|| self.wanted())) else {
            self.again = true;
            return false;
        };
        self.note_right(right);
        let observation = &self.observation;
        // Granted on the way to another target: the document is in force once that one is master.
        let arrived = crate::plan::same_node(observation, node, &wanted.document.master);
        let grant = Grant { node, endpoint, vitals, right, wanted: &wanted, arrived, observation };
        self.record.grant(&grant);
        self.record.doubt_all(observation, vitals);
        true
    }

    pub(super) fn on_saved(&mut self, ticket: u64, result: Result<(), String>) {
        let Some(Running::Save(after)) = self.running.remove(&ticket) else { return };
        match &result {
            Ok(()) => {
                self.dirty = false;
                self.strays_noted = false;
                self.record_unsaved = None;
                self.durable = self.record.clone();
                self.saved = true;
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
            AfterSave::Promotion { node, right, before } => match result {
                Ok(()) => self.send_promotion(&node, right, Some(before)),
                Err(why) => {
                    self.record = *before;
                    self.fail(self.not_writable(&why));
                }
            },
            AfterSave::Follow { node, to } => match result {
                Ok(()) => self.send_follow(node, &to),
                Err(why) => self.not_attached(node, &format!("the record cannot be written: {why}")),
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

    /// The record cannot hold the new document: what was last made durable stays in force. An order that was
    /// given since the start may have been carried out, and the record that permitted it says so.
    fn fail_unsaved(&mut self, why: &str) {
        self.record = self.durable.clone();
        self.fail(self.not_writable(why));
    }

    fn not_writable(&self, why: &str) -> Refusal {
        let so_far = if self.saved { "what was done before stays as it is" } else { "nothing was changed" };
        Refusal::new(
            Slug::RecordNotWritable,
            format!("the record cannot be written: {why}; {so_far}"),
            "mend what is named (space or permissions of the state directory, or etcd), then send the document again",
        )
    }
}

pub(super) fn internal(step: &'static str) -> Refusal {
    Refusal::new(
        Slug::Internal,
        format!("the change lost its way at {step}"),
        "report this as a fault of the dictator",
    )
    .during(step)
}
