//! Before anything is paused: the target comes as close as the acting master was when it was observed.
//!
//! A link that is up is no promise that anything flows. Redis sends a slave nothing after its first sync
//! until the slave has acknowledged that, up to a second later, and a slave may be stuck behind a slow
//! network for as long as `repl-timeout`. Nobody's writes shall wait for that.

use std::time::Duration;

use super::{Action, End, HandOver, State};
use crate::command::Answer;
use crate::refusal::{Refusal, Slug};

/// Wait between polls while writes still go on.
const APPROACH_INTERVAL: Duration = Duration::from_millis(10);

impl HandOver {
    pub(super) fn approached(&mut self, answer: Answer, now: Duration) -> Action {
        let vitals = match self.target_vitals(answer, "approach") {
            Ok(vitals) => vitals,
            Err(refusal) => return self.end(End::Unchanged(refusal)),
        };
        self.applied = vitals.position();
        if self.applied >= self.goal {
            self.polls = 0;
            self.state = State::Saving;
            return Action::SaveIntent;
        }
        if now >= self.limits.approach_until {
            return self.end(End::Unchanged(self.lagging()));
        }
        self.state = State::Approaching;
        Action::Wait(APPROACH_INTERVAL)
    }

    fn lagging(&self) -> Refusal {
        let (from, to) = (&self.from.node, &self.to.node);
        Refusal::new(
            Slug::SyncTimeout,
            format!(
                "{to} lags behind {from} and did not come close within --apply-timeout; nothing was paused"
            ),
            format!("see why {to} is slow, or allow a longer --apply-timeout; then send the document again"),
        )
        .about(to)
        .during("approach")
        .with("acting_offset", self.goal)
        .with("target_offset", self.applied)
    }
}
