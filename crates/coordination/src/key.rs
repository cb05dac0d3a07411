//! What a key held, with the numbers etcd gives it.
//!
//! Absence has a revision too: "absent as of 17" and "written at 12" can be ordered, which a bare `None`
//! could not.

/// One version of a key's value.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyVersion {
    /// The value, any bytes; etcd allows 1.5 MiB unless told otherwise.
    pub value: Vec<u8>,
    /// The store's revision at which this version was written.
    pub mod_revision: u64,
    /// The store's revision at which the key was created; changes when it is deleted and written again.
    pub create_revision: u64,
    /// Number of writes since it was created, from 1.
    pub version: u64,
    /// The lease that the key lives by; 0 for none.
    pub lease: i64,
}

/// The present state of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// The key is there.
    Present(KeyVersion),
    /// The key was deleted, or never written.
    Absent {
        /// The revision of the deletion, or the store's revision when the key was found missing.
        revision: u64,
    },
}

/// A key as it was at a past revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadAt {
    /// It held this.
    Found(KeyVersion),
    /// It was not there.
    Missing,
    /// The store has forgotten that revision (compaction): what the key held then cannot be known.
    Compacted,
}

impl KeyState {
    /// The revision since which the key is in this state, as far as known.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Present(version) => version.mod_revision,
            Self::Absent { revision } => *revision,
        }
    }

    /// The version, if the key is there.
    pub fn present(&self) -> Option<&KeyVersion> {
        match self {
            Self::Present(version) => Some(version),
            Self::Absent { .. } => None,
        }
    }
}

/// Values may be large or binary, so only their length is shown.
impl std::fmt::Debug for KeyVersion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KeyVersion")
            .field("value_bytes", &self.value.len())
            .field("mod_revision", &self.mod_revision)
            .field("create_revision", &self.create_revision)
            .field("version", &self.version)
            .field("lease", &self.lease)
            .finish()
    }
}

impl From<&etcd_client::KeyValue> for KeyVersion {
    fn from(found: &etcd_client::KeyValue) -> Self {
        Self {
            value: found.value().to_vec(),
            mod_revision: revision_of(found.mod_revision()),
            create_revision: revision_of(found.create_revision()),
            version: revision_of(found.version()),
            lease: found.lease(),
        }
    }
}

/// etcd counts in signed 64 bit and never sends a negative revision.
pub(crate) fn revision_of(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The same number for the wire; no store reaches the upper half of the range.
pub(crate) fn revision_to_wire(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
