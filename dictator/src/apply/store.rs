//! The files of the state directory: the record, the epoch, the history.
//!
//! Every dictator that starts takes the next epoch, so that a connection of the one before can be
//! told from its own. Where several dictators share a cluster, the epoch is that of the lock in etcd,
//! and the record stands beside the lock, written only in a transaction that demands the lock: then a
//! holder that was stopped and has been succeeded cannot write over its successor's record.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coordination::{Etcd, EtcdError, Leadership, PutIfHeldError};
use service::durable;
use topology::record::Record;

use super::history::Entry;

/// File with the record.
const RECORD_FILE: &str = "record.json";
/// File with the last epoch taken.
const EPOCH_FILE: &str = "epoch";
/// File with the history.
const HISTORY_FILE: &str = "history.json";

/// Deadline of reading or writing the record in etcd.
const ETCD_DEADLINE: Duration = Duration::from_secs(2);

/// Where the record is kept.
#[derive(Clone)]
enum Backing {
    Folder,
    Etcd(Shared),
}

/// A record shared by several dictators.
#[derive(Clone)]
pub struct Shared {
    /// The cluster of etcd.
    pub etcd: Etcd,
    /// The campaign that holds the lock.
    pub leadership: Arc<Leadership>,
    /// The epoch it holds.
    pub epoch: u64,
    /// The record's key.
    pub key: String,
}

/// The state directory, and etcd where the record is shared.
#[derive(Clone)]
pub struct Store {
    folder: PathBuf,
    backing: Backing,
}

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be made or written.
    #[error("prepare the state directory")]
    Folder(#[from] durable::FolderError),
    /// A file cannot be read or written.
    #[error("use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The shared record cannot be read.
    #[error("read the shared record {key}")]
    Etcd {
        /// Its key.
        key: String,
        /// Why.
        source: EtcdError,
    },
    /// A file holds something else.
    #[error(
        "{path} is unusable: {why}; restore it from a backup, or move it away and let the cluster be established anew"
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Store {
    /// Makes the folder if need be and sees that it can be written.
    ///
    /// # Errors
    /// [`StoreError`] naming the path.
    pub async fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        let folder = folder.as_ref().to_owned();
        durable::prepare_folder(folder.clone()).await?;
        Ok(Self { folder, backing: Backing::Folder })
    }

    /// The same folder, with the record shared in etcd.
    #[must_use]
    pub fn shared(&self, shared: Shared) -> Self {
        Self { folder: self.folder.clone(), backing: Backing::Etcd(shared) }
    }

    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.folder.join(name);
        durable::read(path.clone()).await.map_err(|source| StoreError::File { path, source })
    }

    /// The record, or an empty one at first start.
    ///
    /// # Errors
    /// [`StoreError`] if there is one that cannot be used; it is never overwritten then.
    pub async fn record(&self) -> Result<Record, StoreError> {
        let (bytes, place) = match &self.backing {
            Backing::Folder => (self.read(RECORD_FILE).await?, self.folder.join(RECORD_FILE)),
            Backing::Etcd(shared) => {
                let state = shared.etcd.get(&shared.key, ETCD_DEADLINE).await;
                let state = state.map_err(|source| StoreError::Etcd { key: shared.key.clone(), source })?;
                (state.present().map(|present| present.value.clone()), PathBuf::from(&shared.key))
            }
        };
        match bytes {
            None => Ok(Record::default()),
            Some(bytes) => Record::from_json(&bytes).map_err(|why| StoreError::Content { path: place, why }),
        }
    }

    /// Replaces the record; durable when this returns.
    ///
    /// # Errors
    /// A sentence with the path; the record before is still there then.
    pub async fn save(&self, record: &Record) -> Result<(), String> {
        if let Backing::Etcd(shared) = &self.backing {
            let text = record.to_json();
            let write =
                shared.leadership.put_if_held(shared.epoch, &shared.key, text.as_bytes(), ETCD_DEADLINE);
            return write.await.map(|_| ()).map_err(|error| match error {
                // What etcd said is what somebody can mend.
                PutIfHeldError::Etcd { source, .. } => format!("{}: {source}", shared.key),
                PutIfHeldError::NotHeld { .. } => format!("{}: {error}", shared.key),
            });
        }
        let path = self.folder.join(RECORD_FILE);
        let shown = path.display().to_string();
        durable::write(path, record.to_json()).await.map_err(|error| format!("{shown}: {error}"))
    }

    /// Takes the next epoch.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be made durable.
    pub async fn next_epoch(&self) -> Result<u64, StoreError> {
        let path = self.folder.join(EPOCH_FILE);
        let last = match self.read(EPOCH_FILE).await? {
            None => 0,
            Some(bytes) => String::from_utf8_lossy(&bytes)
                .trim()
                .parse::<u64>()
                .map_err(|error| StoreError::Content { path: path.clone(), why: error.to_string() })?,
        };
        let epoch = last + 1;
        durable::write(path.clone(), format!("{epoch}\n"))
            .await
            .map_err(|source| StoreError::File { path, source })?;
        Ok(epoch)
    }

    /// The history; one that cannot be read is no reason not to start.
    pub async fn history(&self) -> Vec<Entry> {
        match self.read(HISTORY_FILE).await {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "the history cannot be read; a new one is begun");
                Vec::new()
            }),
            Ok(None) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, "the history cannot be read; a new one is begun");
                Vec::new()
            }
        }
    }

    /// Replaces the history.
    pub async fn save_history(&self, entries: Vec<Entry>) {
        let path = self.folder.join(HISTORY_FILE);
        let text = serde_json::to_vec(&entries).unwrap_or_default();
        if let Err(error) = durable::write(path, text).await {
            tracing::warn!(%error, "the history cannot be written; changes are not held up by that");
        }
    }
}
