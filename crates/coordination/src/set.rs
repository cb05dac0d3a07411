//! Many keys at once: what is below a path, and a change of several in one transaction.
//!
//! Paths are those of people: `/skydns/docker/redis-1/slaves` means that key and all behind the next slash,
//! but not `/skydns/docker/redis-1/slaves-old`. etcd knows only ranges of bytes, so what a range holds
//! too much is left out here.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{Client, GetOptions, PutOptions, Txn, TxnOp};

use crate::client::Etcd;
use crate::error::EtcdError;
use crate::key::{KeyVersion, revision_of};

/// Most keys below one path; a set this large is not one of ours.
const KEYS_MAX: i64 = 4_096;
/// Most operations of a transaction that etcd takes unless told otherwise (its `--max-txn-ops`).
const OPERATIONS_MAX: usize = 128;

/// One key of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is to hold this, and to live by the lease of the change.
    Put(String, Vec<u8>),
    /// It is to be gone.
    Delete(String),
}

impl Etcd {
    /// The key `path` and every key below it (a linearizable read). Keys that are not text are left out.
    ///
    /// # Errors
    /// [`EtcdError::Unreachable`] or [`EtcdError::Refused`], no later than `deadline`.
    pub async fn list(
        &self,
        path: &str,
        deadline: Duration,
    ) -> Result<BTreeMap<String, KeyVersion>, EtcdError> {
        let operation = "list keys";
        // `0` is the byte after `/`, so the range ends behind the last key below the path.
        let (first, end, below) = (path.to_owned(), format!("{path}0"), format!("{path}/"));
        let ask = |mut client: Client| {
            let options = GetOptions::new().with_range(end.clone()).with_limit(KEYS_MAX);
            let first = first.clone();
            async move { client.get(first, Some(options)).await }
        };
        let response = self
            .read(operation, deadline, ask)
            .await
            .map_err(|failed| failed.of_read(operation, self.endpoints()))
            .map_err(|error| self.needing("read", &format!("--prefix {path}"), error))?;
        if response.more() {
            let reason = format!("more than {KEYS_MAX} keys at {path}");
            return Err(EtcdError::Refused { operation, reason });
        }
        let found = response.kvs().iter().filter_map(|found| {
            let key = found.key_str().ok().filter(|key| *key == path || key.starts_with(&below))?;
            Some((key.to_owned(), KeyVersion::from(found)))
        });
        Ok(found.collect())
    }

    /// Makes a change, all of it or nothing, and returns the revision after it. More keys than one
    /// transaction takes go in several, in the order given.
    ///
    /// # Errors
    /// Any [`EtcdError`]; after [`EtcdError::OutcomeUnknown`] some of it, or all, may have happened.
    pub(crate) async fn change(
        &self,
        changes: &[Change],
        lease: i64,
        deadline: Duration,
    ) -> Result<u64, EtcdError> {
        let mut revision = 0;
        for part in changes.chunks(OPERATIONS_MAX) {
            let operations: Vec<TxnOp> = part.iter().map(|change| operation_of(change, lease)).collect();
            let write = |mut client: Client| async move {
                let response = client.txn(Txn::new().and_then(operations)).await?;
                Ok(response.header().map_or(0, |header| revision_of(header.revision())))
            };
            revision = self.write("change keys in a transaction", deadline, write).await?;
        }
        Ok(revision)
    }
}

fn operation_of(change: &Change, lease: i64) -> TxnOp {
    match change {
        Change::Put(key, value) => {
            TxnOp::put(key.as_str(), value.clone(), Some(PutOptions::new().with_lease(lease)))
        }
        Change::Delete(key) => TxnOp::delete(key.as_str(), None),
    }
}
