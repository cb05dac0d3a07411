//! What a publisher is asked for, and what it answers.

use std::sync::Arc;

use tokio::sync::oneshot;
use topology::Document;

use crate::admission::{IfMatch, Refusal};
use crate::publication::Publication;
use crate::zone::MembersError;

/// Documents that may wait while one is being published.
pub const INBOX_MAX: usize = 16;

/// A document to publish.
#[derive(Debug)]
pub struct Put {
    /// The document.
    pub document: Document,
    /// `X-Topology-Revision`.
    pub revision: Option<u64>,
    /// `X-Topology-Generation`.
    pub generation: Option<u64>,
    /// `If-Match`.
    pub if_match: Option<IfMatch>,
    /// The request's id, for the log.
    pub request_id: Arc<str>,
    /// Where the outcome goes.
    pub reply: Reply,
}

/// Where the outcome of a [`Put`] goes.
pub type Reply = oneshot::Sender<Result<Published, PutError>>;

/// A document that is in force now.
#[derive(Clone, Debug)]
pub struct Published {
    /// What is served.
    pub publication: Arc<Publication>,
    /// Whether anything that is served changed.
    pub changed: bool,
    /// What the author should know.
    pub warnings: Vec<String>,
}

/// Why a document was not put in force. What is served is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It may not replace what is in force.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its master cannot be published.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// Its records do not fit into DNS messages.
    #[error("the zone cannot be encoded")]
    TooLarge(#[source] hickory_proto::ProtoError),
    /// It could not be kept.
    #[error("{path} cannot be written")]
    NotKept {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// There would be more clusters than are wanted.
    #[error("there are {clusters_max} clusters already")]
    TooManyClusters {
        /// The limit.
        clusters_max: usize,
    },
    /// Too many documents wait.
    #[error("too many documents wait")]
    Busy,
}
