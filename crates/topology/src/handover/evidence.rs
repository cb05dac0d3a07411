//! What an answer proves in a hand-over, and how it is put to people when it proves too little.

use super::{HandOver, Side, Who};
use crate::command::{Answer, Reply};
use crate::observation::Vitals;
use crate::refusal::{Refusal, Slug};

impl HandOver {
    /// The target's vitals if it is still the slave it was.
    pub(super) fn target_vitals(&self, answer: Answer, step: &'static str) -> Result<Vitals, Refusal> {
        match answer {
            Ok(Reply::Vitals(vitals))
                if vitals.run_id == self.to.run_id && vitals.replid == self.replid && !vitals.is_master() =>
            {
                Ok(*vitals)
            }
            Ok(Reply::Vitals(vitals)) => Err(self.changed(Who::To, step, &vitals)),
            other => Err(self.refused(Who::To, step, other)),
        }
    }

    pub(super) fn side(&self, who: Who) -> &Side {
        match who {
            Who::From => &self.from,
            Who::To => &self.to,
        }
    }

    pub(super) fn refused(&self, who: Who, step: &'static str, answer: Answer) -> Refusal {
        let side = self.side(who);
        match answer {
            Err(failure) => Refusal::of_unknown(&side.node, failure.reason()).during(step),
            Ok(_) => Refusal::new(
                Slug::Internal,
                format!("{} answered {step} with something else", side.node),
                "report this as a fault of the dictator",
            )
            .about(&side.node)
            .during(step),
        }
    }

    pub(super) fn rejected(&self, who: Who, step: &'static str, error: &str) -> Refusal {
        let node = &self.side(who).node;
        Refusal::new(Slug::NodeRefused, format!("{node} refused {step}: {error}"), "see the error of redis")
            .about(node)
            .during(step)
            .with("error", error)
    }

    pub(super) fn changed(&self, who: Who, step: &'static str, vitals: &Vitals) -> Refusal {
        let side = self.side(who);
        Refusal::new(
            Slug::TargetUnfit,
            format!("{} changed while the hand-over was prepared", side.node),
            "send the document again; if this repeats, see who else gives this node orders",
        )
        .about(&side.node)
        .during(step)
        .with("run_id", vitals.run_id.0.clone())
        .with("expected_run_id", side.run_id.0.clone())
        .with("replid", vitals.replid.0.clone())
        .with("expected_replid", self.replid.0.clone())
        .with("role", if vitals.is_master() { "master" } else { "slave" })
    }

    pub(super) fn unknown(&self, step: &'static str) -> Refusal {
        let node = match step {
            "demote" | "undo" => &self.from.node,
            _ => &self.to.node,
        };
        Refusal::new(
            Slug::OutcomeUnknown,
            format!("{node} did not say whether {step} was done; until that is known no node takes writes"),
            "nothing need be done if the node comes back: this is resolved by itself; see GET /status",
        )
        .about(node)
        .during(step)
        .with("from", self.from.node.to_string())
        .with("to", self.to.node.to_string())
        .with("frozen_offset", self.goal)
    }
}
