//! Why a change is not made, or was not finished: a slug for machines, a sentence for people, the
//! evidence both can check, and what to do next.
//!
//! Nothing here knows HTTP; the dictator maps each slug to a status.

use serde_json::{Map, Value};

use crate::address::NodeName;
use crate::document::Mistake;
use crate::observation::Unknown;

/// The closed list of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slug {
    /// Attaching a node would erase data of its own.
    WouldLoseData,
    /// Two nodes take writes on different lineages.
    SplitBrain,
    /// The node that takes writes cannot be asked.
    ActingMasterUnreachable,
    /// Another reachable node holds more than the target.
    TargetBehind,
    /// The target is reading its data from disk.
    TargetLoading,
    /// The target must not be promoted, or a node must not take part, for the reason in evidence.
    TargetUnfit,
    /// The granted master restarted with less than its slaves hold.
    MasterLostData,
    /// Two names lead to one instance.
    SameInstance,
    /// One name leads to several instances.
    AmbiguousName,
    /// Sentinels give orders to a node.
    ManagedBySentinel,
    /// A hand-over's outcome cannot be learnt any more.
    UnresolvedHandover,
    /// The master's name leads nowhere, or nobody is known behind the name of a group.
    Unresolvable,
    /// More nodes than allowed, members of groups included.
    TooManyNodes,
    /// Cluster mode, a Sentinel, or too old a server.
    UnsupportedNode,
    /// The target cannot be reached.
    NodeUnreachable,
    /// A node refuses a command.
    NodeRefused,
    /// What answers is not redis.
    NotRedis,
    /// Another dictator has the say.
    NotLeader,
    /// The record cannot be written; nothing was begun.
    RecordNotWritable,
    /// The target did not catch up within the pause; writes were let go on.
    DrainTimeout,
    /// The target did not finish its sync in time; nothing was paused.
    SyncTimeout,
    /// A command's reply did not come and its outcome is not known yet.
    OutcomeUnknown,
    /// A fault of this program: its plan failed the audit.
    Internal,
}

impl Slug {
    /// The text in problem types, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WouldLoseData => "would-lose-data",
            Self::SplitBrain => "split-brain",
            Self::ActingMasterUnreachable => "acting-master-unreachable",
            Self::TargetBehind => "target-behind",
            Self::TargetLoading => "target-loading",
            Self::TargetUnfit => "target-unfit",
            Self::MasterLostData => "master-lost-data",
            Self::SameInstance => "same-instance",
            Self::AmbiguousName => "ambiguous-name",
            Self::ManagedBySentinel => "managed-by-sentinel",
            Self::UnresolvedHandover => "unresolved-handover",
            Self::Unresolvable => "unresolvable",
            Self::TooManyNodes => "too-many-nodes",
            Self::UnsupportedNode => "unsupported-node",
            Self::NodeUnreachable => "node-unreachable",
            Self::NodeRefused => "node-refused",
            Self::NotRedis => "not-redis",
            Self::NotLeader => "not-leader",
            Self::RecordNotWritable => "record-not-writable",
            Self::DrainTimeout => "drain-timeout",
            Self::SyncTimeout => "sync-timeout",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::Internal => "internal",
        }
    }
}

/// A reason with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Which reason.
    pub slug: Slug,
    /// The node it is about, if it is about one.
    pub node: Option<NodeName>,
    /// The step during which it arose, if a step had begun.
    pub step: Option<&'static str>,
    /// One sentence for a person.
    pub detail: String,
    /// What was read that shows it.
    pub evidence: Map<String, Value>,
    /// What to do next.
    pub advice: String,
    /// The places in the document that it is about, if it is about the document.
    pub places: Vec<Mistake>,
}

impl Refusal {
    /// A refusal about the cluster as a whole; refine it with the other builders.
    pub fn new(slug: Slug, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            slug,
            node: None,
            step: None,
            detail: detail.into(),
            evidence: Map::new(),
            advice: advice.into(),
            places: Vec::new(),
        }
    }

    /// Says which node it is about.
    #[must_use]
    pub fn about(mut self, node: &NodeName) -> Self {
        self.node = Some(node.clone());
        self
    }

    /// Says which place of the document it is about, as a JSON pointer, and what is wrong there.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.places.push(Mistake { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// Says during which step it arose.
    #[must_use]
    pub fn during(mut self, step: &'static str) -> Self {
        self.step = Some(step);
        self
    }

    /// Adds a piece of evidence.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.evidence.insert(name.to_owned(), value.into());
        self
    }

    /// What it means for a change that one of its indispensable nodes told nothing.
    pub fn of_unknown(node: &NodeName, unknown: &Unknown) -> Self {
        let (slug, advice) = match unknown {
            Unknown::Unresolvable(_) => {
                (Slug::Unresolvable, "correct the name in the document, or its SRV or A record")
            }
            Unknown::Ambiguous(_) => (
                Slug::AmbiguousName,
                "let the name lead to one instance, or write the instance's own address and port",
            ),
            Unknown::Unreachable(_) | Unknown::Silent(_) => {
                (Slug::NodeUnreachable, "start the node or mend the network, then send the document again")
            }
            Unknown::Refuses(_) => {
                (Slug::NodeRefused, "see to what the node asks for, then send the document again")
            }
            Unknown::NotRedis(_) => (Slug::NotRedis, "correct address and port in the document"),
        };
        Self::new(slug, format!("{node} {unknown}"), advice).about(node)
    }
}
