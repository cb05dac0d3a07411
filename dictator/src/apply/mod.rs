//! The one task that owns the cluster's state, and how others ask it for things.
//!
//! Record, connections and the change under way belong to [`Owner`] alone; everybody else sends an
//! [`Ask`] and waits for its reply. There is no lock to hold too long and no second writer to
//! exclude. A client that hangs up drops its end of the reply, and nothing else happens.
//!
//! Of several documents sent while a change runs only the newest waits: an operator who corrects
//! himself twice means the last. One that equals the running change joins it.

mod drive;
mod election;
mod events;
mod groups;
mod history;
mod metrics;
mod names;
mod owner;
mod pause;
mod status;
#[cfg(feature = "stop-at")]
mod stop;
mod store;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use topology::document::Parsed;
use topology::plan::Plan;
use topology::receipt::Receipt;
use topology::record::Wanted;
use topology::refusal::Refusal;

pub use election::{Election, Parts, record_key, run as campaign};
pub use events::{EVENTS_MAX, Event, Events};
pub use history::{Entry, HISTORY_MAX};
pub use metrics::Metrics;
pub use names::{Lookup, Resolve};
pub use owner::{Owner, Settings};
pub use pause::{Enforcement, PAUSE_MAX, PauseRequest, Paused, REASON_CHARACTERS_MAX};
pub use status::{Change, GroupStatus, NodeStatus, Status};
pub use store::{Store, StoreError};

/// Asks that may wait for the owner.
pub const ASKS_MAX: usize = 64;

/// When a change is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// When the new master takes writes and the reachable slaves have been told.
    #[default]
    Promoted,
    /// When all links are up.
    Links,
}

/// A document to be applied, with the conditions it came under.
#[derive(Debug)]
pub struct ApplyRequest {
    /// The document.
    pub parsed: Parsed,
    /// `X-Topology-Revision`.
    pub revision: Option<u64>,
    /// `If-Match`, as the number in the ETag.
    pub if_match: Option<u64>,
    /// When to answer.
    pub wait: Wait,
    /// Only say what would be done.
    pub dry_run: bool,
    /// The request's id.
    pub request_id: String,
    /// `X-Reason`.
    pub reason: Option<String>,
    /// Who asks, where callers are known.
    pub asked_by: Option<String>,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Answered, Rejection>>,
}

/// Everything the owner can be asked.
#[derive(Debug)]
pub enum Ask {
    /// Apply a document, or say what applying it would do.
    Apply(Box<ApplyRequest>),
    /// The document in force.
    Master(oneshot::Sender<Option<InForce>>),
    /// Wanted beside observed; asks the nodes.
    Status(oneshot::Sender<Status>),
    /// What was done and refused, newest first.
    History(oneshot::Sender<Vec<Entry>>),
    /// Whether the topology is being kept true.
    Enforcement(oneshot::Sender<Enforcement>),
    /// Hold that for a while, or go on with it.
    Pause(PauseRequest),
}

/// The document in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Document and revision.
    pub wanted: Wanted,
    /// The number in the ETag.
    pub sequence: u64,
}

/// A change that was made, or a plan.
#[derive(Clone, Debug)]
pub enum Answered {
    /// What was done, and the ETag's number since.
    Receipt(Box<Receipt>, u64),
    /// What would be done.
    Plan(Box<Plan>),
}

/// Why a document was not applied.
#[derive(Clone, Debug)]
pub enum Rejection {
    /// The nodes do not permit it, or it failed.
    Refused(Box<Refusal>),
    /// A newer revision is in force.
    StaleRevision {
        /// The revision given.
        given: u64,
        /// The revision in force or waiting.
        in_force: u64,
    },
    /// Another document with this very revision is in force.
    RevisionConflict {
        /// The revision.
        revision: u64,
    },
    /// `If-Match` names another state than the present one.
    PreconditionFailed {
        /// The number in the present ETag, if a document is in force.
        current: Option<u64>,
    },
    /// A newer document took its place while it waited.
    Superseded {
        /// The request that did.
        by: String,
    },
    /// The change stands, but these links are not up.
    LinksLate(Box<Receipt>),
    /// The dictator is stopping, or has too much to do.
    Busy,
    /// It had the say when the change began and has not now: whatever it could tell is out of date.
    ReignEnded,
}

/// Where this dictator stands among several.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It has the say; asks go to its owner.
    Holding(mpsc::Sender<Ask>),
    /// Another has the say and takes requests at this URL.
    Following(String),
    /// It is not known who has the say.
    Contending,
}

/// Sends asks to the owner, while there is one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    standing: watch::Receiver<Standing>,
    /// Keeps the only standing of a single dictator.
    _single: Option<Arc<watch::Sender<Standing>>>,
}

impl Handle {
    /// A handle for a single dictator, and the receiving end for [`Owner`].
    pub fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, received) = mpsc::channel(ASKS_MAX);
        let (sender, standing) = watch::channel(Standing::Holding(asks));
        (Self { standing, _single: Some(Arc::new(sender)) }, received)
    }

    /// A handle for one of several; the sender says where it stands.
    pub fn elected() -> (Self, watch::Sender<Standing>) {
        let (sender, standing) = watch::channel(Standing::Contending);
        (Self { standing, _single: None }, sender)
    }

    /// Where this dictator stands now.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Sends an ask; gives it back if there is no owner here or it has too many waiting.
    ///
    /// # Errors
    /// The ask itself.
    pub fn ask(&self, ask: Ask) -> Result<(), Ask> {
        let Standing::Holding(asks) = self.standing() else { return Err(ask) };
        asks.try_send(ask).map_err(|error| match error {
            mpsc::error::TrySendError::Full(ask) | mpsc::error::TrySendError::Closed(ask) => ask,
        })
    }
}
