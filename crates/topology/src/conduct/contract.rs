//! What goes into the conductor and what comes out of it.
//!
//! These are the only words that the dictator and the simulation share with it. Whoever carries an
//! [`Effect`] out reports with an [`Event`], also when nothing came of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::address::NodeName;
use crate::command::{Answer, Order};
use crate::observation::Observation;
use crate::plan::{Plan, Policy};
use crate::receipt::Receipt;
use crate::record::{Record, Wanted};
use crate::refusal::Refusal;

/// Where every name leads, resolved once and frozen; or why it leads nowhere.
pub type Names = BTreeMap<NodeName, Result<Vec<SocketAddr>, String>>;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Apply this document.
    Apply(Wanted),
    /// Only say what applying it would do.
    DryRun(Wanted),
    /// Keep the document in force true, and resolve what is open.
    Enforce,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is to be done.
    pub purpose: Purpose,
    /// What the dictator may do.
    pub policy: Policy,
    /// Warnings about the document, for the receipt.
    pub warnings: Vec<String>,
    /// The wall clock at the start, in milliseconds since the Unix epoch; for the heartbeat.
    pub started_unix_ms: u64,
}

/// Limits of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long writes may be paused.
    pub write_pause: Duration,
    /// How long a change may take before it is given up (never in the middle of a hand-over).
    pub apply_timeout: Duration,
    /// Deadline of one observation, connecting included.
    pub observe_deadline: Duration,
    /// Deadline of every other command.
    pub order_deadline: Duration,
    /// How long links are waited for after the answer.
    pub verify_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            write_pause: Duration::from_secs(1),
            apply_timeout: Duration::from_secs(30),
            observe_deadline: Duration::from_secs(1),
            order_deadline: Duration::from_secs(2),
            verify_timeout: Duration::from_secs(20),
        }
    }
}

/// What the conductor wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send this and report with [`Event::Answer`].
    Order {
        /// For the answer.
        ticket: u64,
        /// What.
        order: Order,
    },
    /// Make this record durable and report with [`Event::Saved`].
    Save {
        /// For the answer.
        ticket: u64,
        /// The whole record.
        record: Box<Record>,
    },
    /// Report with [`Event::Woken`] at this time. A later `Wake` replaces an earlier one.
    Wake {
        /// On the clock of `now`.
        at: Duration,
    },
    /// A step begins; for logs and status.
    Began {
        /// The step's name.
        step: &'static str,
        /// The node.
        node: NodeName,
    },
    /// The change can be answered; verification goes on.
    Announce(Box<Receipt>),
    /// All is done.
    Finished(Box<Finish>),
}

/// What came of an effect.
#[derive(Clone, Debug)]
pub enum Event {
    /// Of an order.
    Answer {
        /// Of which.
        ticket: u64,
        /// The answer.
        answer: Answer,
    },
    /// Of a save.
    Saved {
        /// Of which.
        ticket: u64,
        /// Whether it is durable, or why not.
        result: Result<(), String>,
    },
    /// The time asked for has come.
    Woken,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The receipt or plan, or why not.
    pub result: Result<Outcome, Refusal>,
    /// The record as it is now; durable except where `record_unsaved` says otherwise.
    pub record: Record,
    /// Why the last save failed, if it did.
    pub record_unsaved: Option<String>,
    /// The nodes as last observed.
    pub observation: Observation,
}

/// A good end.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// What was done.
    Done(Box<Receipt>),
    /// What would be done.
    Planned(Box<Plan>),
}
