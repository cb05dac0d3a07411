//! The few things a dictator asks of a node, as values.
//!
//! Decisions are made without I/O, so what they want done must be a value: the dictator turns it
//! into RESP, the simulation applies it to a model of redis. Every change of a node's role is one
//! and the same transaction, `MULTI · INFO · REPLICAOF … · INFO [· CLIENT UNPAUSE] · EXEC`, so that the
//! evidence before and after is taken in the instant of the change.
//!
//! The one distinction everything rests on is in [`Failure`]: *surely not executed* against *no
//! reply*. A command without a reply may still run, at any later time.

use std::net::SocketAddr;
use std::time::Duration;

use crate::address::NodeName;
use crate::observation::{NodeState, SessionId, Unknown, Vitals};

/// The role to give to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// `REPLICAOF 127.0.0.1 0`: read-only, follows nobody, keeps its data.
    Parked,
    /// `REPLICAOF NO ONE`.
    Master,
    /// `REPLICAOF ip port`; always a number, never a name.
    SlaveOf(SocketAddr),
}

/// How much INFO to take in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The default sections; inside the write gap.
    Brief,
    /// With command statistics, which tell whether a node took writes of its own.
    Full,
}

/// What is asked of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read everything of [`NodeState`], over the open connection or a new one. The client list is
    /// read before the vitals, so that vitals read with no dictator in the list are final.
    Observe {
        /// Find out whether a slave holds writes back, too; where it does not say so itself that takes a
        /// second connection, and only of a target it matters.
        feel_pause: bool,
    },
    /// Read INFO (brief).
    Poll,
    /// `CLIENT PAUSE <budget> WRITE`, then INFO (brief), in one go.
    PauseWrites {
        /// How long redis holds writes back at most.
        budget: Duration,
    },
    /// `CLIENT UNPAUSE`.
    Unpause,
    /// The role transaction.
    Assign {
        /// The role to give.
        to: Assignment,
        /// Whether `CLIENT UNPAUSE` is the transaction's last command.
        unpause: bool,
        /// How much INFO to take before and after.
        reading: Reading,
    },
    /// `CLIENT KILL ID` for each; one that is gone already is fine.
    KillConnections {
        /// The connections.
        ids: Vec<SessionId>,
    },
}

impl Command {
    /// Changes a role; must not be sent by one who may have lost the right to.
    pub fn is_irreversible(&self) -> bool {
        matches!(self, Self::Assign { .. } | Self::KillConnections { .. } | Self::PauseWrites { .. })
    }
}

/// A command for a node, with the connection it must go over and its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The node, for logs and evidence.
    pub node: NodeName,
    /// Where it is.
    pub endpoint: SocketAddr,
    /// The only connection this may be sent on; `None`: the open one or a new one.
    /// A connection proves that no restart came between what was read on it and this command.
    pub session: Option<SessionId>,
    /// What is asked.
    pub command: Command,
    /// How long to wait for the reply.
    pub deadline: Duration,
}

/// The evidence of a role transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// INFO just before, in the same transaction.
    pub before: Vitals,
    /// What REPLICAOF answered: `OK`, or the error.
    pub accepted: Result<(), String>,
    /// INFO just after, in the same transaction.
    pub after: Vitals,
}

/// What a node answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Command::Observe`].
    State(Box<NodeState>),
    /// To [`Command::Poll`] and [`Command::PauseWrites`].
    Vitals(Box<Vitals>),
    /// To [`Command::Assign`].
    Assigned(Box<Assigned>),
    /// To the others.
    Done,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Surely not executed and never will be: not sent, or redis said no.
    NotExecuted(Unknown),
    /// Sent, and no reply came: it may have run, or may still run. The connection is given up.
    NoReply(Unknown),
}

impl Failure {
    /// The reason, either way.
    pub fn reason(&self) -> &Unknown {
        match self {
            Self::NotExecuted(reason) | Self::NoReply(reason) => reason,
        }
    }
}

/// Reply or failure.
pub type Answer = Result<Reply, Failure>;
