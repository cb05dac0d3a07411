//! The hand-over: moving the right to take writes from one node to another without losing a write.
//!
//! The machine does no I/O. It says one [`Action`] at a time and is told what came of it, including
//! that nothing came. The happy path:
//!
//! 0. Poll the target until it has applied what the acting master had written when it was observed. A
//!    link that is up is no promise that anything flows: redis sends a slave nothing after its first sync
//!    until it has acknowledged that, up to a second later. Nobody's writes shall wait for that.
//! 1. Make the intent durable. Nothing but reads was sent yet; if this fails, nothing happened.
//! 2. Pause writes on the acting master, and read its offset *P* in the same go.
//! 3. Poll the target until it has applied *P*. Too slow: let writes go on, nothing changed.
//! 4. Demote the acting master by parking it, in the transaction that reads *F*, the offset at which it
//!    stopped taking writes. The pause ends in the same transaction: clients get `READONLY`.
//! 5. If the target has not been seen at *F* yet, poll until it has. Too slow: undo.
//! 6. Promote the target, over the one connection on which its run id and its offset were read.
//!
//! Why it is safe to stop anywhere: the pause expires by itself and the proof does not rest on it. From
//! 4 on the old master is read-only until somebody knows that the target was not promoted. *F* is read
//! in the transaction that ends writing, so no acknowledged write is beyond it, and the target is
//! promoted only in the life in which it was seen at *F*.
//!
//! Why parking and not demoting towards the target: a slave of the target would ask it for a resync
//! before it is a master, and a target that is behind would give it one of older data.
//!
//! Why an undo only before a promotion was sent, or after redis refused it: a promotion without reply
//! may still run, minutes later, when a stopped process reads its socket. Then both nodes stay
//! read-only and recovery finds out, over a connection opened after the old one was ended at the node.

mod approach;
mod evidence;
mod way_back;

use std::net::SocketAddr;
use std::time::Duration;

use crate::address::NodeName;
use crate::command::{Answer, Assigned, Assignment, Command, Failure, Reading, Reply};
use crate::mutant::{self, Mutant};
use crate::observation::{Offset, ReplId, RunId, SessionId, Vitals};
use crate::refusal::{Refusal, Slug};

/// Polls made back to back before the machine waits between them.
const EAGER_POLLS: u32 = 32;
/// Wait between later polls; inside the write gap nothing waits longer.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// One side of the hand-over, bound to the connection on which it was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The node.
    pub node: NodeName,
    /// Where it is.
    pub endpoint: SocketAddr,
    /// Its life.
    pub run_id: RunId,
    /// The only connection anything is sent on.
    pub session: SessionId,
}

/// Which side an order is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The acting master.
    From,
    /// The target.
    To,
}

/// What the machine wants done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the intent durable, then report with [`HandOver::saved`].
    SaveIntent,
    /// Send this, then report with [`HandOver::answered`].
    Order {
        /// To whom.
        who: Who,
        /// The step's name.
        step: &'static str,
        /// What.
        command: Command,
    },
    /// Come back with [`HandOver::woken`] after this long.
    Wait(Duration),
    /// Finished.
    Done(End),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The target takes writes.
    Promoted(Box<Promoted>),
    /// Nothing changed; the acting master still takes writes.
    Unchanged(Refusal),
    /// The acting master was demoted and takes writes again.
    Undone {
        /// Why.
        refusal: Refusal,
        /// The acting master just after: on a lineage of its own that goes on where the one before ended.
        after: Box<Vitals>,
    },
    /// A command's outcome is not known. The intent stays open.
    Unknown(Refusal),
}

/// A hand-over that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// *F*.
    pub frozen: Offset,
    /// The target's applied offset when it was promoted; at least *F*.
    pub applied: Offset,
    /// From sending the pause to the acknowledged promotion.
    pub write_gap: Duration,
    /// The target just after.
    pub after: Vitals,
}

/// Limits of one hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOverLimits {
    /// How long writes may be paused.
    pub write_pause: Duration,
    /// Until when, on the clock of `now`, the target may take to come close before anything is paused.
    pub approach_until: Duration,
}

/// The part of the pause in which the target must catch up; the rest is for the demotion.
const DRAIN_SHARE: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Approaching,
    Saving,
    Pausing,
    Draining { until: Duration },
    Unpausing { refusal: Box<Refusal> },
    Demoting,
    Proving { until: Duration },
    Promoting,
    ParkingTarget { refusal: Box<Refusal> },
    Undoing { refusal: Box<Refusal> },
    Over,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct HandOver {
    from: Side,
    to: Side,
    replid: ReplId,
    limits: HandOverLimits,
    state: State,
    polls: u32,
    paused_at: Duration,
    /// *P*, then *F*.
    goal: Offset,
    /// The target's applied offset as last read on its connection.
    applied: Offset,
}

impl HandOver {
    /// A hand-over between two sides on one lineage. `seen` is the acting master's offset as observed
    /// before the pause.
    pub fn new(from: Side, to: Side, replid: ReplId, seen: Offset, limits: HandOverLimits) -> Self {
        Self {
            from,
            to,
            replid,
            limits,
            state: State::Approaching,
            polls: 0,
            paused_at: Duration::ZERO,
            goal: seen,
            applied: 0,
        }
    }

    /// The sides, old master first.
    pub fn sides(&self) -> (&Side, &Side) {
        (&self.from, &self.to)
    }

    /// The first action.
    pub fn start(&mut self) -> Action {
        self.poll()
    }

    /// The intent was made durable, or was not.
    pub fn saved(&mut self, result: Result<(), String>, now: Duration) -> Action {
        debug_assert_eq!(self.state, State::Saving, "only the intent is saved");
        if let Err(why) = result {
            let refusal = Refusal::new(
                Slug::RecordNotWritable,
                format!("the intent of the hand-over cannot be recorded: {why}"),
                "mend what is named (space or permissions of the state directory, or etcd), then send the document again",
            );
            return self.end(End::Unchanged(refusal.during("intent")));
        }
        self.state = State::Pausing;
        self.paused_at = now;
        self.order(Who::From, "pause", Command::PauseWrites { budget: self.limits.write_pause })
    }

    /// A wait is over.
    pub fn woken(&mut self) -> Action {
        self.poll()
    }

    /// An order was answered, or was not.
    pub fn answered(&mut self, answer: Answer, now: Duration) -> Action {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Approaching => self.approached(answer, now),
            State::Pausing => self.paused(answer, now),
            State::Draining { until } => self.drained(answer, until, now),
            State::Unpausing { refusal } => self.end(End::Unchanged(*refusal)),
            State::Demoting => self.demoted(answer, now),
            State::Proving { until } => self.proved(answer, until, now),
            State::Promoting => self.promoted(answer, now),
            State::ParkingTarget { refusal } => self.target_parked(answer, *refusal),
            State::Undoing { refusal } => self.undone(answer, *refusal),
            State::Saving | State::Over => {
                debug_assert!(false, "an answer to nothing");
                Action::Done(End::Unknown(self.unknown("hand-over")))
            }
        }
    }

    fn order(&self, who: Who, step: &'static str, command: Command) -> Action {
        Action::Order { who, step, command }
    }

    fn end(&mut self, end: End) -> Action {
        self.state = State::Over;
        Action::Done(end)
    }

    fn poll(&mut self) -> Action {
        self.polls += 1;
        let step = match self.state {
            State::Approaching => "approach",
            State::Proving { .. } => "prove",
            _ => "drain",
        };
        self.order(Who::To, step, Command::Poll)
    }

    fn poll_again(&mut self, state: State) -> Action {
        self.state = state;
        if self.polls < EAGER_POLLS { self.poll() } else { Action::Wait(POLL_INTERVAL) }
    }

    // === before the demotion: everything can be called off ===

    fn paused(&mut self, answer: Answer, now: Duration) -> Action {
        let vitals = match answer {
            Ok(Reply::Vitals(vitals)) => vitals,
            // A pause that may or may not be in force ends by itself.
            other => return self.end(End::Unchanged(self.refused(Who::From, "pause", other))),
        };
        if !vitals.is_master() || vitals.run_id != self.from.run_id || vitals.replid != self.replid {
            return self.call_off(self.changed(Who::From, "pause", &vitals));
        }
        if !mutant::active(Mutant::EqualityOnMovingOffset) {
            self.goal = vitals.offset;
        }
        let until = now + self.limits.write_pause / DRAIN_SHARE;
        self.state = State::Draining { until };
        self.poll()
    }

    fn drained(&mut self, answer: Answer, until: Duration, now: Duration) -> Action {
        let vitals = match self.target_vitals(answer, "drain") {
            Ok(vitals) => vitals,
            Err(refusal) => return self.call_off(refusal),
        };
        self.applied = vitals.position();
        if self.applied >= self.goal || mutant::active(Mutant::PromoteWithoutProof) {
            self.state = State::Demoting;
            let to = if mutant::active(Mutant::DemoteTowardsTarget) {
                Assignment::SlaveOf(self.to.endpoint)
            } else {
                Assignment::Parked
            };
            return self.order(
                Who::From,
                "demote",
                Command::Assign { to, unpause: true, reading: Reading::Brief },
            );
        }
        if now >= until {
            let refusal = Refusal::new(
                Slug::DrainTimeout,
                format!(
                    "{} did not catch up within {} ms of paused writes; writes go on at {}",
                    self.to.node,
                    (self.limits.write_pause / DRAIN_SHARE).as_millis(),
                    self.from.node
                ),
                format!("see why {} is slow, or allow a longer --max-write-pause", self.to.node),
            )
            .about(&self.to.node)
            .during("drain")
            .with("frozen_offset", self.goal)
            .with("target_offset", self.applied);
            return self.call_off(refusal);
        }
        self.poll_again(State::Draining { until })
    }

    fn call_off(&mut self, refusal: Refusal) -> Action {
        self.state = State::Unpausing { refusal: Box::new(refusal) };
        self.order(Who::From, "unpause", Command::Unpause)
    }

    // === the demotion ===

    fn demoted(&mut self, answer: Answer, now: Duration) -> Action {
        let assigned = match answer {
            Ok(Reply::Assigned(assigned)) => assigned,
            not_done @ Err(Failure::NotExecuted(_)) => {
                return self.call_off(self.refused(Who::From, "demote", not_done));
            }
            // No reply, or none that makes sense: it may have run.
            Ok(_) | Err(Failure::NoReply(_)) => return self.end(End::Unknown(self.unknown("demote"))),
        };
        let Assigned { before, accepted, after } = *assigned;
        if let Err(error) = accepted {
            return self.call_off(self.rejected(Who::From, "demote", &error));
        }
        if !before.is_master() || before.run_id != self.from.run_id || before.replid != self.replid {
            // Somebody else gave it orders meanwhile. Recovery reads both nodes afresh.
            return self.end(End::Unknown(self.unknown("demote")));
        }
        let read_only = after.following().is_some_and(|following| following.read_only);
        if !read_only {
            let detail = format!("{} stayed writable after its demotion", self.from.node);
            let refusal = Refusal::new(Slug::TargetUnfit, detail, "set replica-read-only yes on it");
            return self.undo(refusal.about(&self.from.node).during("demote"));
        }
        if !mutant::active(Mutant::EqualityOnMovingOffset) {
            self.goal = before.offset;
        }
        if self.applied >= self.goal || mutant::active(Mutant::PromoteWithoutProof) {
            return self.promote();
        }
        self.polls = 0;
        self.state = State::Proving { until: now + self.limits.write_pause };
        self.poll()
    }

    fn proved(&mut self, answer: Answer, until: Duration, now: Duration) -> Action {
        let vitals = match self.target_vitals(answer, "prove") {
            Ok(vitals) => vitals,
            // No promotion was ever sent: whatever became of the target, it was not promoted by us.
            Err(refusal) => return self.undo(refusal),
        };
        self.applied = vitals.position();
        if self.applied >= self.goal {
            return self.promote();
        }
        if now >= until {
            let refusal = Refusal::new(
                Slug::DrainTimeout,
                format!(
                    "{} did not reach the last write of {}, which is master again",
                    self.to.node, self.from.node
                ),
                "send the document again",
            )
            .about(&self.to.node)
            .during("prove")
            .with("frozen_offset", self.goal)
            .with("target_offset", self.applied);
            return self.undo(refusal);
        }
        self.poll_again(State::Proving { until })
    }

    // === the promotion ===

    fn promote(&mut self) -> Action {
        self.state = State::Promoting;
        let command = Command::Assign { to: Assignment::Master, unpause: false, reading: Reading::Brief };
        self.order(Who::To, "promote", command)
    }

    fn promoted(&mut self, answer: Answer, now: Duration) -> Action {
        let assigned = match answer {
            Ok(Reply::Assigned(assigned)) => assigned,
            Err(Failure::NoReply(_)) if mutant::active(Mutant::UndoAfterLostReply) => {
                return self.undo(self.unknown("promote"));
            }
            not_done @ Err(Failure::NotExecuted(_)) => {
                return self.undo(self.refused(Who::To, "promote", not_done));
            }
            Ok(_) | Err(Failure::NoReply(_)) => return self.end(End::Unknown(self.unknown("promote"))),
        };
        let Assigned { before, accepted, after } = *assigned;
        if let Err(error) = accepted {
            let refusal = self.rejected(Who::To, "promote", &error);
            return self.park_target(refusal);
        }
        let proven = mutant::any()
            || (before.run_id == self.to.run_id
                && before.replid == self.replid
                && !before.is_master()
                && before.position() >= self.goal
                && after.is_master()
                && after.replid2.as_ref() == Some(&self.replid)
                && after.second_offset.is_some_and(|second| second > self.goal));
        if !proven {
            return self.park_target(self.changed(Who::To, "promote", &after));
        }
        self.end(End::Promoted(Box::new(Promoted {
            frozen: self.goal,
            applied: before.position(),
            write_gap: now.saturating_sub(self.paused_at),
            after,
        })))
    }
}
