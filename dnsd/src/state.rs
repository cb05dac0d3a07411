//! What survives a restart: the last publication's ingredients, in one small versioned file.
//!
//! The ingredients and not the records: they are what a person can read at night, and a daemon that was
//! started anew with another TTL should serve that. Addresses are part of it, because at a restart the
//! name servers may be the very thing that is broken, and the last answer must be served at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use topology::{Document, NodeName};

use crate::zone::{LeftOut, Stamp};

/// The version of the file this program writes, and the only one it reads.
const VERSION: u32 = 1;
/// The file's name within the state folder, before the cluster's name.
const FILE_PREFIX: &str = "publication";
/// What stands behind it.
const FILE_SUFFIX: &str = ".json";
/// A record was accepted once, so nothing is refused for its number of nodes when it is read.
const NODES_MAX: usize = usize::MAX;

/// One publication, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The domain it was published under.
    pub domain: String,
    /// The TTL it was published with, in seconds.
    pub ttl_s: u32,
    /// Its serial.
    pub serial: u32,
    /// Revision, generation, time.
    pub stamp: Stamp,
    /// The document.
    pub document: Document,
    /// What its names led to when they last did.
    pub addresses: BTreeMap<NodeName, Vec<SocketAddr>>,
    /// The slaves that are not published.
    pub left_out: Vec<LeftOut>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system refuses.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is something else in it.
    #[error("{path} is not a record of this program: {detail}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    domain: String,
    ttl_s: u32,
    serial: u32,
    revision: u64,
    generation: u64,
    since: u64,
    document: serde_json::Value,
    addresses: Vec<Addresses>,
    left_out: Vec<Missing>,
}

#[derive(Serialize, Deserialize)]
struct Addresses {
    #[serde(flatten)]
    node: NodeName,
    candidates: Vec<SocketAddr>,
}

#[derive(Serialize, Deserialize)]
struct Missing {
    #[serde(flatten)]
    node: NodeName,
    reason: String,
}

/// The cluster that a file in the state folder is of, by its name.
pub fn cluster_of(file_name: &str) -> Option<&str> {
    file_name.strip_prefix(FILE_PREFIX)?.strip_prefix('-')?.strip_suffix(FILE_SUFFIX)
}

/// The file of one cluster.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The file of a cluster in the state folder.
    pub fn new(folder: &std::path::Path, cluster: &str) -> Self {
        Self { path: folder.join(format!("{FILE_PREFIX}-{cluster}{FILE_SUFFIX}")) }
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// What was kept last; `None` if nothing ever was.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn load(&self) -> Result<Option<Kept>, StateError> {
        self.understand(service::durable::read(&self.path).await)
    }

    /// The same on this thread.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn load_blocking(&self) -> Result<Option<Kept>, StateError> {
        self.understand(service::durable::read_blocking(&self.path))
    }

    fn understand(&self, read: std::io::Result<Option<Vec<u8>>>) -> Result<Option<Kept>, StateError> {
        let bytes = read.map_err(|source| StateError::Unreadable { path: self.path.clone(), source })?;
        let Some(bytes) = bytes else { return Ok(None) };
        parse(&bytes).map(Some).map_err(|detail| StateError::Malformed { path: self.path.clone(), detail })
    }

    /// Keeps a publication. When this returns, a restart will find it.
    ///
    /// # Errors
    /// Whatever the file system says; the earlier one is then still kept.
    pub async fn save(&self, kept: &Kept) -> std::io::Result<()> {
        service::durable::write(&self.path, write(kept)?).await
    }

    /// Removes the file, if there is one. When this returns, a restart will find none.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub async fn remove(&self) -> std::io::Result<()> {
        service::durable::remove(&self.path).await
    }
}

fn write(kept: &Kept) -> std::io::Result<Vec<u8>> {
    let file = File {
        version: VERSION,
        domain: kept.domain.clone(),
        ttl_s: kept.ttl_s,
        serial: kept.serial,
        revision: kept.stamp.revision,
        generation: kept.stamp.generation,
        since: kept.stamp.since,
        document: kept.document.to_json(),
        addresses: kept
            .addresses
            .iter()
            .map(|(node, candidates)| Addresses { node: node.clone(), candidates: candidates.clone() })
            .collect(),
        left_out: kept
            .left_out
            .iter()
            .map(|left_out| Missing { node: left_out.name.clone(), reason: left_out.reason.clone() })
            .collect(),
    };
    let mut bytes = serde_json::to_vec_pretty(&file).map_err(std::io::Error::other)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Kept, String> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("version {}, this program reads version {VERSION}", file.version));
    }
    let document = Document::parse(file.document.to_string().as_bytes(), NODES_MAX)
        .map_err(|error| error.to_string())?
        .document;
    Ok(Kept {
        domain: file.domain,
        ttl_s: file.ttl_s,
        serial: file.serial,
        stamp: Stamp { revision: file.revision, generation: file.generation, since: file.since },
        document,
        addresses: file.addresses.into_iter().map(|entry| (entry.node, entry.candidates)).collect(),
        left_out: file
            .left_out
            .into_iter()
            .map(|entry| LeftOut { name: entry.node, reason: entry.reason })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let text = r#"{"master": {"address": "a.b"}, "slaves": [{"address": "10.0.0.2", "port": 6380}]}"#;
        let document = Document::parse(text.as_bytes(), 8).unwrap().document;
        let kept = Kept {
            domain: "redis-1.docker".to_owned(),
            ttl_s: 5,
            serial: 7,
            stamp: Stamp { revision: 42, generation: 3, since: 1_795_256_100 },
            addresses: BTreeMap::from([(document.master.clone(), vec!["10.0.0.1:6379".parse().unwrap()])]),
            left_out: vec![LeftOut { name: document.slaves[0].clone(), reason: "why".to_owned() }],
            document,
        };
        assert_eq!(parse(&write(&kept).unwrap()), Ok(kept.clone()));
        let newer =
            String::from_utf8(write(&kept).unwrap()).unwrap().replace("\"version\": 1", "\"version\": 2");
        assert!(parse(newer.as_bytes()).unwrap_err().contains("version 2"));
        assert!(parse(b"{}").is_err());
    }
}
