//! The way back: the target parked where it may have taken the role, the old master given its own again.

use super::{Action, End, HandOver, State, Who};
use crate::command::{Answer, Assignment, Command, Reading, Reply};
use crate::refusal::Refusal;

impl HandOver {
    pub(super) fn park_target(&mut self, refusal: Refusal) -> Action {
        self.state = State::ParkingTarget { refusal: Box::new(refusal) };
        let command = Command::Assign { to: Assignment::Parked, unpause: false, reading: Reading::Brief };
        self.order(Who::To, "park-target", command)
    }

    pub(super) fn target_parked(&mut self, answer: Answer, refusal: Refusal) -> Action {
        match answer {
            Ok(Reply::Assigned(assigned)) if assigned.after.is_parked() => self.undo(refusal),
            _ => self.end(End::Unknown(self.unknown("park-target"))),
        }
    }

    pub(super) fn undo(&mut self, refusal: Refusal) -> Action {
        self.state = State::Undoing { refusal: Box::new(refusal) };
        let command = Command::Assign { to: Assignment::Master, unpause: true, reading: Reading::Brief };
        self.order(Who::From, "undo", command)
    }

    pub(super) fn undone(&mut self, answer: Answer, refusal: Refusal) -> Action {
        match answer {
            Ok(Reply::Assigned(assigned)) if assigned.after.is_master() => {
                self.end(End::Undone { refusal, after: Box::new(assigned.after) })
            }
            _ => self.end(End::Unknown(self.unknown("undo"))),
        }
    }
}
