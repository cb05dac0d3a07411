//! Judging what came of each step.
//!
//! An answer that proves less than it should never ends in a guess: the rest of the plan is dropped and
//! the nodes are observed again, so that the next plan is made from what is then known.

use std::time::Duration;

use super::recording::internal;
use super::steps::{AfterSave, Running};
use super::{Conduct, Effect, RETRY_INTERVAL};
use crate::address::NodeName;
use crate::basis::Reference;
use crate::command::{Answer, Assigned, Failure, Reading, Reply};
use crate::observation::{Unknown, View, Vitals};
use crate::plan::{Pending, Right, loss};
use crate::record::Record;
use crate::refusal::{Refusal, Slug};

/// Wait between looks at a target that is syncing.
const SYNC_INTERVAL: Duration = Duration::from_millis(20);

impl Conduct {
    pub(super) fn parked(&mut self, node: &NodeName, at: Duration, answer: Answer) {
        self.log("park", node, at);
        match assigned(answer) {
            Ok(assigned) if assigned.after.is_parked() => {
                self.dirty |= self.record.leaving.contains(node);
                self.record.leaving.retain(|leaving| leaving != node);
            }
            Ok(_) => self.again = true,
            Err(failure) => {
                let warning = format!("{node} could not be parked: it {}", failure.reason());
                if !self.tally.warnings.contains(&warning) {
                    self.tally.warnings.push(warning);
                }
                if self.again {
                    // What was planned to follow depends on this node; look again what there is, in a while.
                    let why = Refusal::of_unknown(node, failure.reason()).during("park");
                    self.uncertain.get_or_insert(why);
                    return self.look_again();
                }
            }
        }
        self.next_steps();
    }

    pub(super) fn attach_read(&mut self, node: NodeName, to: NodeName, reading: Reading, answer: Answer) {
        let assigned = match assigned(answer) {
            Ok(assigned) if assigned.accepted.is_ok() => assigned,
            other => return self.not_attached(node, &reason(other)),
        };
        if let Some(View::Known(state)) = self.observation.nodes.get_mut(&node).map(|node| &mut node.view) {
            // Its link is down by our order, whatever was observed before.
            state.vitals = assigned.after.clone();
        }
        let Some(leader) = self.leader_vitals(&to) else {
            return self.not_attached(node, "its master is gone");
        };
        let wanted = self.wanted();
        let discard = wanted.as_ref().map_or(&[][..], |wanted| &wanted.document.discard);
        let judged =
            Reference { acting: &leader, record: &self.record, discard }.judge(&node, &assigned.after);
        match judged {
            Ok(basis) => self.follow(node, &to, basis),
            Err(_) if assigned.after.replid == leader.replid => {
                // It was fed, if by way of others, since its master was read. Now that it is parked, both
                // can be compared.
                self.again = true;
                self.next_steps();
            }
            Err(_) if reading == Reading::Brief => {
                // It is not what it was when it was observed: it restarted, or somebody gave it orders.
                self.again = true;
                self.next_steps();
            }
            Err(no_basis) => {
                self.dirty |= self.record.doubt(&node);
                let refusal = loss(&node, &assigned.after, no_basis);
                if self.is_target(&node) {
                    return self.fail(refusal.during("attach"));
                }
                self.not_attached(node, &refusal.detail);
            }
        }
    }

    pub(super) fn followed(&mut self, node: NodeName, at: Duration, answer: Answer) {
        self.log("attach", &node, at);
        match assigned(answer) {
            Ok(assigned) if assigned.accepted.is_ok() => {
                self.dirty |= self.record.settle_discards(&node);
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

    fn is_target(&self, node: &NodeName) -> bool {
        self.wanted().is_some_and(|wanted| wanted.document.master == *node)
    }

    /// A slave that could not be attached is pending; a target ends the change.
    pub(super) fn not_attached(&mut self, node: NodeName, why: &str) {
        if self.is_target(&node) {
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

    pub(super) fn synced(&mut self, node: NodeName, to: NodeName, answer: Answer) {
        let leader = self.observation.vitals(&to).map(|vitals| vitals.replid.clone());
        let vitals = match answer {
            Ok(Reply::Vitals(vitals)) => vitals,
            Ok(_) => return self.fail(internal("await-sync")),
            Err(failure) => {
                return self.fail(Refusal::of_unknown(&node, failure.reason()).during("await-sync"));
            }
        };
        let up = vitals.following().is_some_and(|following| following.link_up);
        if up && !vitals.loading {
            let was_up =
                self.observation.vitals(&node).and_then(Vitals::following).is_some_and(|link| link.link_up);
            if was_up || Some(&vitals.replid) != leader.as_ref() {
                // It was only lagging: give it a moment before it is measured again. Or it was the first
                // slave of a master without a backlog, which takes a new lineage for it (redis
                // `syncCommand`): what was observed of the master is out of date.
                self.queue.clear();
                self.again = true;
                return self.rest(RETRY_INTERVAL);
            }
            return self.next_steps();
        }
        if up && !vitals.loading && !self.out_of_time() {
            // Synced, but on another lineage than was observed: a lone master takes a new one when
            // its first slave comes (redis `syncCommand`). Everything is observed afresh.
            self.queue.clear();
            return self.rest(RETRY_INTERVAL);
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

    pub(super) fn promoted(
        &mut self,
        node: &NodeName,
        right: Right,
        before: Option<Box<Record>>,
        answer: Answer,
    ) {
        let outcome = assigned(answer);
        if let (Err(Failure::NotExecuted(_)), Some(before)) = (&outcome, &before) {
            // It surely takes no writes: whoever was granted before is so again.
            self.record = (**before).clone();
            self.dirty = true;
        }
        match outcome {
            Ok(assigned) if assigned.accepted.is_ok() && assigned.after.is_master() => match before {
                Some(_) => self.confirm(node, &assigned.after),
                None => self.grant(node, right, &assigned.after),
            },
            Err(failure @ Failure::NotExecuted(Unknown::Refuses(_))) => {
                let refusal = Refusal::of_unknown(node, failure.reason()).during("promote");
                self.save(AfterSave::Refuse(Box::new(refusal)));
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

    pub(super) fn undone(&mut self, node: &NodeName, at: Duration, answer: Answer) {
        self.log("undo", node, at);
        match assigned(answer) {
            Ok(assigned) if assigned.accepted.is_ok() && assigned.after.is_master() => {
                self.record.intent = None;
                self.record.undone(node, &assigned.after);
                self.save(AfterSave::Granted);
            }
            _ => self.look_again(),
        }
    }

    /// Drops the rest of this plan and observes again shortly.
    pub(super) fn look_again(&mut self) {
        self.queue.clear();
        self.running.clear();
        if self.out_of_time() {
            let refusal = self.uncertain.take().unwrap_or_else(|| internal("look-again"));
            return self.fail(refusal);
        }
        self.rest(RETRY_INTERVAL);
    }

    fn leader_vitals(&self, to: &NodeName) -> Option<Vitals> {
        let granted = self.record.granted.as_ref();
        let newer = self.leader.as_ref().filter(|vitals| {
            granted.is_some_and(|granted| granted.node == *to && granted.run_id == vitals.run_id)
        });
        newer.or_else(|| self.observation.vitals(to)).cloned()
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
