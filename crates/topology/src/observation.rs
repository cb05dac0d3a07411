//! What was read from the nodes, with *unknown, because…* as a value.
//!
//! An observation is evidence, not belief: every field is something a node said in one reply, and a
//! node that said nothing is [`View::Unknown`] with the reason, never a node with default values.
//! Decisions elsewhere must treat unknown as "may be the worst": a node that does not answer may be
//! taking writes at this moment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::address::NodeName;

/// One life of a redis process (INFO server `run_id`); a restart takes a new one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

/// A replication history (INFO replication `master_replid`). Offsets compare only within one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for ReplId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A position in a replication stream, in bytes.
pub type Offset = u64;

/// One connection to a node (redis `CLIENT ID`); within one life never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

/// A server version as three numbers; forks that report a compatible redis version use that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The oldest server the hand-over works with: `CLIENT PAUSE … WRITE` came with redis 6.2.
pub const VERSION_MIN: Version = Version { major: 6, minor: 2, patch: 0 };

/// Whether a node takes writes or follows another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// `role:master`: it takes writes from anyone who finds it.
    Master,
    /// `role:slave`.
    Slave(Following),
}

/// How a slave follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// `master_host` as the slave was told.
    pub host: String,
    /// `master_port`; 0 means parked.
    pub port: u16,
    /// `master_link_status:up`.
    pub link_up: bool,
    /// `master_sync_in_progress:1`: a full resync is under way.
    pub syncing: bool,
    /// `slave_repl_offset`: the bytes of the stream it has applied, not merely read.
    pub applied: Offset,
    /// `slave_read_only:1`; a slave without it takes writes nobody replicates.
    pub read_only: bool,
}

impl Following {
    /// Follows nobody: `REPLICAOF 127.0.0.1 0`.
    pub fn is_parked(&self) -> bool {
        self.port == 0
    }
}

/// What one INFO reply says about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Which life this is.
    pub run_id: RunId,
    /// Master or slave.
    pub role: Role,
    /// `master_replid`: the history it is on.
    pub replid: ReplId,
    /// `master_replid2`: the history before, if there is one.
    pub replid2: Option<ReplId>,
    /// `second_repl_offset`: one past the last offset shared with `replid2`.
    pub second_offset: Option<Offset>,
    /// `master_repl_offset`: the end of its own stream.
    pub offset: Offset,
    /// Keys over all databases (INFO keyspace).
    pub keys: u64,
    /// `loading:1`: the data set is being read from disk.
    pub loading: bool,
    /// `master_failover_state` other than `no-failover`: redis's own FAILOVER is at work.
    pub failover_running: bool,
    /// `redis_version`.
    pub version: Version,
    /// `valkey_version`, where the server is one: every valkey says `redis_version:7.2.4`.
    pub valkey: Option<Version>,
    /// `redis_mode:cluster` or `cluster_enabled:1`.
    pub cluster: bool,
    /// `redis_mode:sentinel`.
    pub sentinel: bool,
    /// `unexpected_error_replies`: commands of the stream that failed here and not on the master.
    pub unexpected_errors: u64,
    /// `evicted_keys`.
    pub evicted_keys: u64,
    /// `sync_full`: full resyncs this node has given to slaves in this life.
    pub full_syncs: u64,
    /// `total_net_repl_input_bytes` > 0: it has been fed by a master in this life (redis ≥ 7.0).
    pub fed: bool,
    /// Calls of commands flagged `write` in this life (INFO commandstats), where it was asked for.
    pub write_calls: Option<u64>,
    /// `CONFIG RESETSTAT` was called in this life, so the counters above prove nothing.
    pub stats_reset: bool,
    /// `maxmemory` in bytes, 0 for none.
    pub memory_max: u64,
    /// `aof_enabled:1`.
    pub append_only: bool,
    /// `repl_backlog_size` in bytes.
    pub backlog_bytes: u64,
}

impl Vitals {
    /// Whether this server is older than another: of two valkeys by their own version, else by the redis
    /// they are compatible with.
    pub fn is_older_than(&self, other: &Self) -> bool {
        match (self.valkey, other.valkey) {
            (Some(ours), Some(theirs)) => ours < theirs,
            _ => self.version < other.version,
        }
    }

    /// The server as messages call it: `7.0.15`, `valkey 8.1.1`.
    pub fn server(&self) -> String {
        self.valkey.map_or_else(|| self.version.to_string(), |valkey| format!("valkey {valkey}"))
    }

    /// Takes writes, as far as redis is concerned.
    pub fn is_master(&self) -> bool {
        self.role == Role::Master
    }

    /// How it follows, if it is a slave.
    pub fn following(&self) -> Option<&Following> {
        match &self.role {
            Role::Slave(following) => Some(following),
            Role::Master => None,
        }
    }

    /// A slave that follows nobody.
    pub fn is_parked(&self) -> bool {
        self.following().is_some_and(Following::is_parked)
    }

    /// Up to where this node surely holds everything: the applied offset of a slave, the stream end of a
    /// master. What is proven by it is proven.
    pub fn position(&self) -> Offset {
        match &self.role {
            Role::Master => self.offset,
            Role::Slave(following) => following.applied,
        }
    }

    /// Up to where this node may hold anything. A slave that has no place in any master's stream says 1 for
    /// what it has applied (redis `genRedisInfoString`, without `cached_master`), also where it was parked
    /// in the middle of a full resync and has all of its old data still.
    pub fn extent(&self) -> Offset {
        match &self.role {
            Role::Slave(following) if !following.link_up => following.applied.max(self.offset),
            _ => self.position(),
        }
    }
}

/// A connection of a dictator, this one or another, seen in a node's client list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DictatorConnection {
    /// `CLIENT ID`.
    pub id: SessionId,
    /// The epoch in its name, `dictator:<epoch>`.
    pub epoch: u64,
    /// The peer address as the node sees it.
    pub peer: String,
    /// Opened by this process; then it is one this process has given up.
    pub ours: bool,
}

/// Settings of a node that bear on a hand-over; `None` where it could not be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSettings {
    /// `replica-read-only`.
    pub read_only: Option<bool>,
    /// `replica-ignore-maxmemory`.
    pub ignore_memory_max: Option<bool>,
    /// `min-replicas-to-write`.
    pub min_replicas: Option<u64>,
    /// Whether `masterauth` is set (never its value).
    pub has_master_auth: Option<bool>,
    /// Whether `requirepass` is set (never its value).
    pub requires_password: Option<bool>,
    /// Whether `save` has any point.
    pub saves: Option<bool>,
}

/// All that is read from a node before deciding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// The connection everything was read on.
    pub session: SessionId,
    /// What INFO said, with command statistics.
    pub vitals: Vitals,
    /// Settings.
    pub settings: NodeSettings,
    /// The node's clock minus ours, in milliseconds, give or take the round trip.
    pub clock_skew_ms: i64,
    /// Whether a `CLIENT PAUSE` is in force; `None` where it cannot be told.
    pub paused: Option<bool>,
    /// Names of connections by which Sentinels give orders, and subscribers of their channel.
    pub sentinels: Vec<String>,
    /// Connections of dictators other than `session`, read before the vitals were.
    pub dictators: Vec<DictatorConnection>,
}

/// Why nothing is known of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The name leads nowhere.
    #[error("does not resolve: {0}")]
    Unresolvable(String),
    /// The name leads to different instances.
    #[error("leads to different instances: {0}")]
    Ambiguous(String),
    /// No connection.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// A connection, but no answer within the deadline (milliseconds).
    #[error("did not answer within {0} ms")]
    Silent(u64),
    /// It answers, but refuses what is asked: authentication, permission.
    #[error("refuses: {0}")]
    Refuses(String),
    /// What answers does not speak redis.
    #[error("is not redis: {0}")]
    NotRedis(String),
}

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// It answered.
    Known(Box<NodeState>),
    /// It did not.
    Unknown(Unknown),
}

/// One node and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Where it was asked; `None` if the name does not resolve.
    pub endpoint: Option<SocketAddr>,
    /// What came back.
    pub view: View,
}

impl Observed {
    /// The state, if the node answered.
    pub fn known(&self) -> Option<&NodeState> {
        match &self.view {
            View::Known(state) => Some(state),
            View::Unknown(_) => None,
        }
    }

    /// What INFO said, if the node answered.
    pub fn vitals(&self) -> Option<&Vitals> {
        self.known().map(|state| &state.vitals)
    }

    /// Why nothing is known, if so.
    pub fn unknown(&self) -> Option<&Unknown> {
        match &self.view {
            View::Known(_) => None,
            View::Unknown(unknown) => Some(unknown),
        }
    }
}

/// All nodes that matter to a cluster, as read in one pass: those of the document, those of the
/// record, and those that slaves were found to follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// By name; a node that was only discovered is named by its address and port.
    pub nodes: BTreeMap<NodeName, Observed>,
}

impl Observation {
    /// The state of a node, if it answered.
    pub fn known(&self, name: &NodeName) -> Option<&NodeState> {
        self.nodes.get(name).and_then(Observed::known)
    }

    /// What INFO said of a node, if it answered.
    pub fn vitals(&self, name: &NodeName) -> Option<&Vitals> {
        self.known(name).map(|state| &state.vitals)
    }

    /// All nodes that answered, in name order.
    pub fn all_known(&self) -> impl Iterator<Item = (&NodeName, &NodeState)> {
        self.nodes.iter().filter_map(|(name, observed)| observed.known().map(|state| (name, state)))
    }

    /// The name under which an endpoint was observed.
    pub fn name_of(&self, endpoint: SocketAddr) -> Option<&NodeName> {
        self.nodes.iter().find(|(_, observed)| observed.endpoint == Some(endpoint)).map(|(name, _)| name)
    }

    /// The known node whose address a slave was told to follow. Nobody else can be sure to feed it: one that
    /// is not asked any more may have the lineage of a master, and nothing to hand on.
    pub fn told_leader_of(&self, name: &NodeName) -> Option<&NodeName> {
        let following = self.known(name)?.vitals.following().filter(|following| !following.is_parked())?;
        let ip = following.host.parse().ok()?;
        self.name_of(SocketAddr::new(ip, following.port)).filter(|leader| *leader != name)
    }

    /// The known node that a slave follows, found by address, or by lineage where the address is one
    /// that only the slave can use (address translation).
    pub fn leader_of(&self, name: &NodeName) -> Option<&NodeName> {
        let state = self.known(name)?;
        state.vitals.following().filter(|following| !following.is_parked())?;
        self.told_leader_of(name).or_else(|| {
            let lineage = &state.vitals.replid;
            self.all_known()
                .find(|(other, state)| {
                    *other != name && state.vitals.is_master() && state.vitals.replid == *lineage
                })
                .map(|(other, _)| other)
        })
    }
}
