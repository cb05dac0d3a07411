//! What earlier processes kept of many clusters, read at once.
//!
//! A file a cluster, and not one for all: a change writes a kilobyte, a broken file costs one cluster, and a
//! person finds what is meant by its name. Ten thousand small files are read in a fraction of a second, on
//! all cores, which are threads of their own here because nothing else has anything to do yet.
//!
//! A file that cannot be read, or has something else in it, is named in the log. Its cluster is known
//! then but not what it serves: it is answered for with SERVFAIL, so that resolvers ask another server, until
//! a new document comes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::{Below, check_name};
use crate::directory::Slot;
use crate::publisher::{Means, Publisher};
use crate::state::{Kept, Store, cluster_of};
use crate::zone::Registered;

/// Threads that read: beyond this the disk is the limit.
const THREADS_MAX: usize = 8;

/// The state folder cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("the state folder {path} cannot be listed")]
pub struct LoadError {
    /// The folder.
    pub path: PathBuf,
    /// What the system says.
    pub source: std::io::Error,
}

/// The publishers of all clusters of which there is a file, each serving what is in it.
pub(super) async fn load(
    folder: &Path,
    below: &Below,
    means: &Arc<Means>,
    nodes: &watch::Receiver<Registered>,
) -> Result<Vec<Box<Publisher>>, LoadError> {
    let error = |source| LoadError { path: folder.to_owned(), source };
    let names = list(folder).map_err(error)?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS_MAX);
    let mut readers = Vec::new();
    for names in names.chunks(names.len().div_ceil(threads).max(1)) {
        let (names, folder, below) = (names.to_vec(), folder.to_owned(), below.clone());
        let (means, nodes) = (Arc::clone(means), nodes.clone());
        readers.push(tokio::task::spawn_blocking(move || {
            let one = |cluster: &String| restore(&folder, cluster, &below, &means, &nodes);
            names.iter().filter_map(one).collect::<Vec<_>>()
        }));
    }
    let mut publishers = Vec::with_capacity(names.len());
    for reader in readers {
        publishers.extend(reader.await.map_err(|panic| error(std::io::Error::other(panic)))?);
    }
    Ok(publishers)
}

/// The clusters of which there are files, in order.
fn list(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(names),
        entries => entries?,
    };
    for entry in entries {
        let file = entry?.file_name();
        let file = file.to_string_lossy();
        let Some(cluster) = cluster_of(&file) else { continue };
        match check_name(cluster) {
            Ok(()) => names.push(cluster.to_owned()),
            Err(reason) => {
                let path = folder.join(&*file);
                tracing::error!(path = %path.display(), "left out, no cluster can have this name: {reason}");
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// `None` if the file is not that of a cluster of ours.
fn restore(
    folder: &Path,
    cluster: &str,
    below: &Below,
    means: &Arc<Means>,
    nodes: &watch::Receiver<Registered>,
) -> Option<Box<Publisher>> {
    let store = Store::new(folder, cluster);
    let path = store.path().to_owned();
    let kept = match store.load_blocking() {
        // Removed since it was listed.
        Ok(None) => return None,
        Ok(Some(kept)) => Some(kept),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(cluster, %error, cause, "the last publication is lost; waiting for a new one");
            None
        }
    };
    if let Some(Kept { domain, .. }) = &kept
        && domain.split('.').next() != Some(cluster)
    {
        tracing::error!(path = %path.display(), cluster, domain, "left out, this is the record of another cluster");
        return None;
    }
    let slot = match Slot::new(below.zone(cluster)) {
        Ok(slot) => Arc::new(slot),
        Err(error) => {
            tracing::error!(path = %path.display(), cluster, %error, "left out, the domain is too long");
            return None;
        }
    };
    let mut publisher = Box::new(Publisher::new(slot, Arc::clone(means), store, nodes.clone()));
    if let Some(kept) = kept
        && let Err(error) = publisher.restore(kept)
    {
        tracing::error!(cluster, %error, "the last publication cannot be served; waiting for a new one");
    }
    Some(publisher)
}
