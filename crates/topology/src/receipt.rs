//! The receipt: what was done, for the answer to a PUT, the history and the logs.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::NodeName;
use crate::observation::{Offset, ReplId, RunId};

/// What was done, or that nothing needed to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// `unchanged`, `established`, `switched`, `repaired` or `resumed`.
    pub outcome: String,
    /// The document's revision, if it has one.
    pub revision: Option<u64>,
    /// The generation of the granted master.
    pub generation: u64,
    /// Whether offsets prove that nothing was lost. `false` only after a restart without comparable
    /// offsets, or past a master that was given up.
    pub provable: bool,
    /// The master.
    pub master: Option<ReceiptNode>,
    /// The slaves that were told to follow it.
    pub slaves: Vec<ReceiptNode>,
    /// The slaves that were not, or whose link is not up yet.
    pub pending: Vec<ReceiptPending>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// *F*: the offset at which the old master stopped taking writes.
    pub frozen_offset: Option<Offset>,
    /// The target's applied offset when it was promoted.
    pub target_offset: Option<Offset>,
    /// Microseconds from sending the pause to the acknowledged promotion.
    pub write_gap_us: Option<u64>,
    /// Full resyncs the master gave since; `null` until all links have been verified.
    pub full_resyncs: Option<u64>,
    /// Every command that changed something, in order.
    pub steps: Vec<ReceiptStep>,
    /// The request this answers.
    #[serde(default)]
    pub request_id: String,
}

/// A node in a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptNode {
    /// The name as written.
    #[serde(flatten)]
    pub name: ReceiptName,
    /// The address it resolved to.
    pub ip: IpAddr,
    /// Its life.
    pub run_id: RunId,
    /// Its lineage.
    pub replid: ReplId,
    /// For slaves: `up`, `down` or `syncing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Address as written, with the port that is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptName {
    /// As written.
    pub address: crate::address::Address,
    /// In use.
    pub port: u16,
}

/// A slave that is not attached yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptPending {
    /// The name as written.
    #[serde(flatten)]
    pub name: NodeName,
    /// Why.
    pub reason: String,
}

/// One command that changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptStep {
    /// Its name.
    pub step: String,
    /// The node.
    pub node: String,
    /// Microseconds since the change began.
    pub at_us: u64,
    /// Microseconds until it was answered.
    pub took_us: u64,
}
