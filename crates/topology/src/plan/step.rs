//! The steps a plan is made of, each with its order contract, and how they are put to people.

use serde_json::{Value, json};

use crate::address::NodeName;
use crate::basis::Basis;
use crate::observation::{Offset, SessionId};

/// One step of a plan.
///
/// The order contract stands with each: what must be durable or observed before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// End connections of earlier dictators, so that none of their commands can still run.
    /// Before anything else; the observation is taken again afterwards.
    Quiet {
        /// The node.
        node: NodeName,
        /// The connections to end.
        connections: Vec<SessionId>,
    },
    /// Make a node read-only and follow nobody. Erases nothing, so nothing need precede it.
    Park {
        /// The node.
        node: NodeName,
        /// Why, for people.
        why: String,
    },
    /// Let a node follow another. Its basis must hold in the very state it is attached from.
    Attach {
        /// The node.
        node: NodeName,
        /// The node to follow.
        to: NodeName,
        /// Why that loses nothing.
        basis: Basis,
    },
    /// Wait until an attached target has its first sync behind it.
    AwaitSync {
        /// The target.
        node: NodeName,
        /// The node it follows.
        to: NodeName,
    },
    /// Move the right to take writes. The intent is durable before the pause; the grant is
    /// durable before anyone else is attached.
    HandOver {
        /// The acting master.
        from: NodeName,
        /// The target.
        to: NodeName,
    },
    /// Promote where no node takes writes.
    Promote {
        /// The node.
        node: NodeName,
        /// By what right.
        right: Right,
    },
    /// Take note of a node that already takes writes rightfully; sends nothing.
    Adopt {
        /// The node.
        node: NodeName,
        /// By what right.
        right: Right,
    },
    /// Give the old master of the open intent its role back. Only when the target is known not to
    /// have been promoted and no promotion can still be on its way.
    Undo {
        /// The old master.
        node: NodeName,
    },
    /// Forget the open intent: nothing of it took effect.
    DropIntent {
        /// The old master, which may still be paused.
        node: Option<NodeName>,
    },
}

/// By what right a node takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// First use.
    Established,
    /// It was granted before and has come back, or was found parked.
    Resumed {
        /// Whether offsets prove that nothing is missing.
        provable: bool,
    },
    /// The granted master restarted behind it.
    MostAdvanced,
    /// The granted master is gone and was given up in the document.
    Replacement,
    /// The open hand-over, completed: it has everything up to this offset.
    HandedOver {
        /// *F*, where the old master stopped taking writes.
        frozen: Offset,
    },
    /// Somebody else promoted it, and the granted master follows it or its history.
    Successor,
}

impl Step {
    /// The name of the step in receipts, logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Quiet { .. } => "quiet",
            Self::Park { .. } => "park",
            Self::Attach { .. } => "attach",
            Self::AwaitSync { .. } => "await-sync",
            Self::HandOver { .. } => "hand-over",
            Self::Promote { .. } => "promote",
            Self::Adopt { .. } => "adopt",
            Self::Undo { .. } => "undo",
            Self::DropIntent { .. } => "drop-intent",
        }
    }

    /// The node it acts on; the target of a hand-over.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Quiet { node, .. }
            | Self::Park { node, .. }
            | Self::Attach { node, .. }
            | Self::AwaitSync { node, .. }
            | Self::Promote { node, .. }
            | Self::Adopt { node, .. }
            | Self::Undo { node }
            | Self::HandOver { to: node, .. } => Some(node),
            Self::DropIntent { node } => node.as_ref(),
        }
    }

    /// Why it is done, for people.
    pub fn why(&self) -> String {
        match self {
            Self::Quiet { connections, .. } => {
                format!(
                    "end {} connections of earlier dictators, so that nothing of theirs can run late",
                    connections.len()
                )
            }
            Self::Park { why, .. } => why.clone(),
            Self::Attach { to, basis, .. } => format!("follow {to}; {}", basis.why()),
            Self::AwaitSync { to, .. } => format!("wait until it has caught up with {to}"),
            Self::HandOver { from, .. } => {
                format!("pause writes on {from}, let the target catch up, demote {from}, promote on proof")
            }
            Self::Promote { right, .. } | Self::Adopt { right, .. } => right.why(),
            Self::Undo { .. } => "the target was not promoted; give the old master its role back".to_owned(),
            Self::DropIntent { .. } => "the begun hand-over took no effect; let writes go on".to_owned(),
        }
    }

    /// As in the answer to a dry run.
    pub fn to_json(&self) -> Value {
        json!({ "step": self.name(), "node": self.node().map(ToString::to_string), "why": self.why() })
    }
}

impl Right {
    /// In words.
    pub fn why(self) -> String {
        match self {
            Self::Established => "first use: grant it the right to take writes".to_owned(),
            Self::Resumed { provable: true } => {
                "it was granted before and holds all that was written".to_owned()
            }
            Self::Resumed { provable: false } => {
                "it was granted before and its data is there, as far as key counts can tell".to_owned()
            }
            Self::MostAdvanced => "it holds the most of what the restarted master had written".to_owned(),
            Self::Replacement => "the document gives the unreachable master up".to_owned(),
            Self::HandedOver { frozen } => format!("it holds all that was written, up to offset {frozen}"),
            Self::Successor => {
                "somebody promoted it, and the granted master's history leads to it".to_owned()
            }
        }
    }
}
