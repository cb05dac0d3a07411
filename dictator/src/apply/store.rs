//! The files of the state directory: the record, the epoch, the history.
//!
//! Every dictator that starts takes the next epoch, so that a connection of the one before can be
//! told from its own. (With a lock in etcd the epoch comes from there.)

use std::path::{Path, PathBuf};

use service::durable;
use topology::record::Record;

use super::history::Entry;

/// File with the record.
const RECORD_FILE: &str = "record.json";
/// File with the last epoch taken.
const EPOCH_FILE: &str = "epoch";
/// File with the history.
const HISTORY_FILE: &str = "history.json";

/// The state directory.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
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
        Ok(Self { folder })
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
        match self.read(RECORD_FILE).await? {
            None => Ok(Record::default()),
            Some(bytes) => Record::from_json(&bytes)
                .map_err(|why| StoreError::Content { path: self.folder.join(RECORD_FILE), why }),
        }
    }

    /// Replaces the record; durable when this returns.
    ///
    /// # Errors
    /// A sentence with the path; the record before is still there then.
    pub async fn save(&self, record: &Record) -> Result<(), String> {
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
