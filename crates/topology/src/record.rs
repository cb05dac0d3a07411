//! What must outlive the dictator: the few facts that cannot be observed again.
//!
//! Everything that nodes can tell is asked of the nodes. Kept here is what they cannot tell: which
//! document is in force, who was granted the right to take writes, which hand-over was begun, where
//! past lineages ended, which discards are spent, and how each node was last seen in good health.
//! It is one small JSON text with a version number, replaced as a whole.

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::address::NodeName;
use crate::document::Discard;
use crate::observation::{Offset, ReplId, RunId};

/// The format written by this version.
pub const FORMAT: u32 = 1;
/// Most past lineages kept; the oldest goes first.
pub const CHAIN_MAX: usize = 64;
/// Most spent discards kept; the oldest goes first.
pub const DISCARDS_MAX: usize = 256;
/// Most nodes kept that left while out of reach.
pub const LEAVING_MAX: usize = 64;

/// The dictator's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// Grows with every change of the document in force; the ETag of `GET /master`.
    pub sequence: u64,
    /// The document in force.
    pub wanted: Option<Wanted>,
    /// Grows with every grant.
    pub generation: u64,
    /// Who may take writes.
    pub granted: Option<Granted>,
    /// A hand-over that was begun and of which the end is not recorded.
    pub intent: Option<Intent>,
    /// Past lineages and where each ended, oldest first.
    pub chain: VecDeque<PastLineage>,
    /// Discards that were used, oldest first.
    pub discards: VecDeque<UsedDiscard>,
    /// Nodes that left the document and have not been seen parked yet.
    pub leaving: Vec<NodeName>,
    /// Nodes outside of the document in force that were attached for one that is not in force yet.
    #[serde(default)]
    pub joining: Vec<NodeName>,
    /// Each node as last seen in good health.
    pub heartbeat: Heartbeat,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            format: FORMAT,
            sequence: 0,
            wanted: None,
            generation: 0,
            granted: None,
            intent: None,
            chain: VecDeque::new(),
            discards: VecDeque::new(),
            leaving: Vec::new(),
            joining: Vec::new(),
            heartbeat: Heartbeat::default(),
        }
    }
}

/// A document with the revision it came with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The document.
    pub document: crate::document::Document,
    /// `X-Topology-Revision`; kept from before where a document came without.
    pub revision: Option<u64>,
}

/// The right to take writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// The node.
    pub node: NodeName,
    /// Where it was.
    pub endpoint: SocketAddr,
    /// The life it was granted to.
    pub run_id: RunId,
    /// The lineage it writes.
    pub replid: ReplId,
    /// Its offsets do not go on from those of the lineage before, but count anew.
    #[serde(default)]
    pub anew: bool,
}

/// One side of a hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// The node.
    pub node: NodeName,
    /// Where it is.
    pub endpoint: SocketAddr,
    /// Its life.
    pub run_id: RunId,
}

/// A hand-over about to be done. Must be durable before anything of it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The generation the target will have.
    pub generation: u64,
    /// The old master; `None` if it is dead and was discarded.
    pub from: Option<Party>,
    /// The target.
    pub to: Party,
    /// The lineage both are on.
    pub replid: ReplId,
    /// The document this hand-over carries out, to be in force once it is done.
    pub wanted: Wanted,
}

/// A lineage that nobody writes any more, and its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastLineage {
    /// The lineage.
    pub replid: ReplId,
    /// The last offset that the granted data set contains.
    pub end: Offset,
    /// Its offsets did not go on from those of the lineage before: that one's master had restarted without
    /// keeping its place. Whoever is on this one got all of the one before when it came to it.
    #[serde(default)]
    pub anew: bool,
}

/// A discard that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsedDiscard {
    /// Node and life.
    pub discard: Discard,
    /// Whether the node has been attached since; from then on the permission is spent.
    pub spent: bool,
}

/// Nodes as last seen in good health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// When it was last renewed, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// One entry a node.
    pub nodes: Vec<Seen>,
    /// Nodes that were not in good health when the granted master last was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<Away>,
}

/// A node that was missed while the granted master was well. Dropped once the node is seen in good health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Away {
    /// The node.
    pub node: NodeName,
    /// When it was first missed, in milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// When it was last missed.
    pub until_unix_ms: u64,
}

/// A role in good health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeenRole {
    /// The granted master.
    Master,
    /// A slave with its link up, on the granted lineage.
    Slave,
    /// Since then it was seen taking writes without the right to: what it held in good health says nothing
    /// about what it holds.
    Stray,
}

/// One node as last seen in good health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The node.
    pub node: NodeName,
    /// Its life then.
    pub run_id: RunId,
    /// Its role then.
    pub role: SeenRole,
    /// Its lineage then.
    pub replid: ReplId,
    /// Its position then.
    pub offset: Offset,
}

impl Record {
    /// Appends to the chain, dropping the oldest beyond [`CHAIN_MAX`]. Where it is the granted one, what is
    /// granted next goes on from its offsets, unless a grant says otherwise.
    pub fn end_lineage(&mut self, replid: ReplId, end: Offset) {
        let granted = self.granted.as_mut().filter(|granted| granted.replid == replid);
        let anew = granted.is_some_and(|granted| std::mem::take(&mut granted.anew));
        self.end_past(PastLineage { replid, end, anew });
    }

    pub(crate) fn end_past(&mut self, ended: PastLineage) {
        // One that ended before keeps its place: the order of the chain is the order of history.
        match self.chain.iter_mut().find(|past| past.replid == ended.replid) {
            Some(past) => past.end = ended.end,
            None => self.chain.push_back(ended),
        }
        while self.chain.len() > CHAIN_MAX {
            self.chain.pop_front();
        }
    }

    /// Where a past lineage ended, if it is in the chain.
    pub fn end_of(&self, replid: &ReplId) -> Option<Offset> {
        self.chain.iter().find(|past| past.replid == *replid).map(|past| past.end)
    }

    /// Reads the text of a record.
    ///
    /// # Errors
    /// A sentence if it is not a record of [`FORMAT`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| format!("not a record: {error}"))?;
        if record.format != FORMAT {
            return Err(format!("record of format {}; this version reads format {FORMAT}", record.format));
        }
        Ok(record)
    }

    /// The text of the record.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}
