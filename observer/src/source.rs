//! Where triggers come from: a key in etcd, or a file.
//!
//! An enum and not a trait: there are two, both known here, and the code that drives them reads the same
//! either way. Both show the trigger's present state and how they are themselves; both hand out the
//! document that a trigger put in force.

mod etcd;
mod file;

use std::sync::Arc;

use coordination::EtcdError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::settings::SourceConfig;
use crate::trigger::{Level, Trigger};
use etcd::EtcdSource;
use file::FileSource;

/// Largest document that is read from a file, in bytes; etcd's own limit for a value.
pub const DOCUMENT_BYTES_MAX: u64 = 1_500_000;

/// A running source.
pub enum Source {
    /// A watched key.
    Etcd(Box<EtcdSource>),
    /// A watched file.
    File(FileSource),
}

/// How a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceHealth {
    /// Whether changes are being noticed.
    pub watching: bool,
    /// The state of its machine, in a word.
    pub phase: String,
    /// The etcd member in use, or the file.
    pub place: String,
    /// How often watching was lost and taken up again.
    pub reconnects: u64,
    /// What is wrong; `None` while all is well.
    pub failure: Option<String>,
}

/// A document that a trigger put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its bytes, not judged yet.
    pub bytes: Arc<[u8]>,
    /// Why it may not be what was in force at that revision.
    pub warning: Option<String>,
}

/// Why there is no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// There was none at that revision, and never will have been.
    #[error("the document {key} did not exist at revision {revision}")]
    Missing {
        /// Its key.
        key: String,
        /// The trigger's revision.
        revision: u64,
    },
    /// It could not be read; later it may.
    #[error("the document could not be read")]
    Unreadable(#[source] EtcdError),
}

impl Source {
    /// Starts watching. The file source keeps its counter in `state_dir`.
    pub fn start(config: &SourceConfig, state_dir: &std::path::Path, shutdown: CancellationToken) -> Self {
        match config {
            SourceConfig::Etcd { endpoints, trigger, read, retrigger } => {
                let keys = (trigger.as_str(), read.as_str(), retrigger.clone());
                Self::Etcd(Box::new(EtcdSource::start(endpoints.clone(), keys, shutdown)))
            }
            SourceConfig::File { path } => Self::File(FileSource::start(path.clone(), state_dir, shutdown)),
        }
    }

    /// The trigger's present state; `None` before it was read for the first time.
    pub fn level(&mut self) -> Option<Level> {
        match self {
            Self::Etcd(source) => source.level(),
            Self::File(source) => source.level(),
        }
    }

    /// Returns when the state may have changed since [`Source::level`] was last asked. Cancel-safe.
    pub async fn changed(&mut self) {
        match self {
            Self::Etcd(source) => source.changed().await,
            Self::File(source) => source.changed().await,
        }
    }

    /// How it is; changes arrive here.
    pub fn health(&self) -> watch::Receiver<SourceHealth> {
        match self {
            Self::Etcd(source) => source.health(),
            Self::File(source) => source.health(),
        }
    }

    /// The document as it was when the trigger was written.
    ///
    /// # Errors
    /// [`NotFound`], within a few seconds.
    pub async fn document_of(&self, trigger: &Trigger) -> Result<Found, NotFound> {
        match self {
            Self::Etcd(source) => source.document_of(trigger).await,
            Self::File(_) => Ok(Found { bytes: trigger.value.clone(), warning: None }),
        }
    }

    /// Passes the trigger on, if that is configured.
    ///
    /// # Errors
    /// [`EtcdError`]; after an unknown outcome doing it again is harmless.
    pub async fn retrigger(&self, trigger: &Trigger) -> Result<(), EtcdError> {
        match self {
            Self::Etcd(source) => source.retrigger(trigger).await,
            Self::File(_) => Ok(()),
        }
    }
}
