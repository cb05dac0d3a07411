//! The state of one simulated redis process, named after the fields of redis itself.
//!
//! Everything redis keeps about replication is here (`replication.c` and `struct redisServer` of
//! redis 7.0): two history ids, one offset, the backlog, the cached master. One offset is enough: on
//! a slave the stream it passes on (`master_repl_offset`) and what it has applied (`reploff`) end at
//! the same byte, as redis feeds its own slaves with what it has just applied. Left out is what
//! cannot change where a write ends up: memory, values, reads, authentication.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use topology::observation::{ReplId, RunId};
use topology::{Address, NodeName};

use crate::data::Writes;
use crate::world::Time;

/// A node by its place in the world.
pub type NodeIndex = usize;
/// A replication link by its place in the world.
pub(crate) type LinkIndex = usize;

/// Port every simulated node listens on.
const PORT: u16 = 6379;
/// How many of the last writes a crash can take from an append-only file.
pub const TAIL_WRITES_MAX: usize = 8;

/// What a stream entry does to the data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// One write.
    Write(u16),
    /// Two writes of one MULTI; they are applied together or not at all.
    Pair(u16, u16),
    /// Bytes that change no write: PING, PUBLISH, the DEL of an expired key.
    Filler,
}

/// A piece of a replication stream that is applied as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Offset of its last byte.
    pub end: u64,
    /// Length, bytes.
    pub bytes: u32,
    /// What it does.
    pub operation: Operation,
}

/// The end of a stream that is kept for slaves that come back.
#[derive(Clone, Debug)]
pub struct Backlog {
    /// Kept entries, oldest first.
    pub entries: VecDeque<Entry>,
    /// Offset of the first byte kept; one past the stream end if nothing is.
    pub first: u64,
}

impl Backlog {
    /// A new backlog of a stream that ends at `offset`.
    pub(crate) fn new(offset: u64) -> Self {
        Self { entries: VecDeque::new(), first: offset + 1 }
    }

    pub(crate) fn push(&mut self, entry: Entry, bytes_max: u64) {
        self.entries.push_back(entry);
        while entry.end + 1 - self.first > bytes_max {
            match self.entries.pop_front() {
                Some(gone) => self.first = gone.end + 1,
                None => break,
            }
        }
    }
}

/// Master, or slave of a node; a slave of none is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Takes writes.
    Master,
    /// `REPLICAOF` another node, or a port where nothing listens.
    Slave(Option<NodeIndex>),
}

/// How far a slave is with its master (`repl_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Not connected; a timer may try again.
    Apart,
    /// `PSYNC` is on its way or unanswered.
    Asking,
    /// `+FULLRESYNC` came: the history of its own is given up, the data not yet.
    Transfer,
    /// `master_link_status:up`.
    Connected,
}

/// Whether the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It runs.
    Running,
    /// SIGSTOP: sockets stay open, nothing is read.
    Stopped,
    /// No process.
    Down,
}

/// What survives a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Append-only file: the data, not the lineage.
    AppendOnly,
    /// Snapshots: data with lineage and offset, as of the last save.
    Snapshot,
    /// Nothing: not even the files a resync leaves, as in a container without a volume.
    Nothing,
}

/// What the configuration file says of the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Born {
    /// `replicaof 127.0.0.1 0`.
    Unassigned,
    /// No `replicaof` line.
    Master,
}

/// An RDB file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Saved {
    /// Its data.
    pub data: Writes,
    /// `repl-id` and `repl-offset`, where the node had a lineage worth saving.
    pub lineage: Option<(u64, u64)>,
}

/// One redis process and its disk.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it listens.
    pub endpoint: SocketAddr,
    /// As documents name it.
    pub name: NodeName,
    /// Running, stopped, down.
    pub power: Power,
    /// Counts restarts.
    pub life: u32,
    /// The id of this life.
    pub run_id: RunId,
    /// Role.
    pub part: Part,
    /// The life of the master it was told to follow, when it was told.
    pub(crate) follows_life: u32,
    /// The life of that master as the dictator knew it that gave the order.
    pub(crate) attached_knowing: u32,
    /// The life of a restarted master from which dictators said to have saved this node.
    pub(crate) saved_from: Option<(NodeIndex, u32)>,
    /// A dictator gave this life a role.
    pub(crate) ordered: bool,
    /// When a dictator told this life whom to follow, unless people told it otherwise since.
    pub(crate) led_since: Option<Time>,
    /// When people last gave this life an order, and when it was last read by a dictator.
    pub(crate) meddled_at: Time,
    pub(crate) read_at: Time,
    /// People gave it an order between a dictator's look at it and its order.
    pub(crate) raced: bool,
    /// State of the link to the master.
    pub upstream: Upstream,
    /// Grows with every try to connect; replies to earlier tries are void.
    pub(crate) attempt: u32,
    /// The link it is fed by.
    pub(crate) feed: Option<LinkIndex>,
    /// Its slaves' links, as it knows them.
    pub(crate) slaves: Vec<LinkIndex>,
    /// `master_replid`.
    pub replid: u64,
    /// `master_replid2`.
    pub replid2: Option<u64>,
    /// `second_repl_offset`.
    pub second_offset: u64,
    /// `master_repl_offset`.
    pub offset: u64,
    /// Whether it can ask for a partial resync (`cached_master`, or connected).
    pub cached: bool,
    /// The backlog, if there is one.
    pub backlog: Option<Backlog>,
    /// When the last slave went.
    pub(crate) no_slaves_since: Time,
    /// The data set in memory.
    pub data: Writes,
    /// The last writes applied, for a crash that loses the tail of the file.
    pub(crate) tail: VecDeque<u16>,
    /// `loading:1`.
    pub loading: bool,
    /// Data on disk where it is not what is in memory (during a load).
    pub(crate) disk: Option<Writes>,
    /// The last RDB file.
    pub saved: Option<Saved>,
    /// The lineage its disk gave back at the start of this life.
    pub(crate) restored: Option<u64>,
    /// How it persists.
    pub persistence: Persistence,
    /// How it is configured.
    pub born: Born,
    /// Behaves as 6.2: REPLICAOF cuts the node's own slaves.
    pub cuts_slaves: bool,
    /// End of a `CLIENT PAUSE WRITE`; 0 if none.
    pub paused_until: Time,
    /// Calls of write commands in this life, those of the stream included.
    pub write_calls: u64,
    /// Fed by a master in this life.
    pub fed: bool,
    /// `sync_full`.
    pub full_syncs: u64,
    /// `sync_partial_ok`.
    pub partial_syncs: u64,
    /// `sync_partial_err`.
    pub partial_errors: u64,
    /// The next `CLIENT ID`.
    pub(crate) next_client: u64,
    /// Writes held back by the pause: connection, what, and the client's turn.
    pub(crate) postponed: Vec<(usize, Operation, u32)>,
    /// The machine is off as well: nobody answers for it.
    pub(crate) dark: bool,
    /// The node's clock minus the world's, milliseconds.
    pub skew_ms: i64,
}

impl Node {
    pub(crate) fn new(index: NodeIndex, replid: u64) -> Self {
        let ip = Ipv4Addr::new(10, 0, 0, index as u8 + 1);
        Self {
            endpoint: SocketAddr::V4(SocketAddrV4::new(ip, PORT)),
            name: NodeName { address: Address::Ip(ip.into()), port: None },
            power: Power::Running,
            life: 1,
            run_id: run_id(index, 1),
            part: Part::Master,
            follows_life: 0,
            attached_knowing: 0,
            saved_from: None,
            ordered: false,
            led_since: None,
            meddled_at: 0,
            read_at: 0,
            raced: false,
            upstream: Upstream::Apart,
            attempt: 0,
            feed: None,
            slaves: Vec::new(),
            replid,
            replid2: None,
            second_offset: 0,
            offset: 0,
            cached: false,
            backlog: None,
            no_slaves_since: 0,
            data: Writes::NONE,
            tail: VecDeque::new(),
            loading: false,
            disk: None,
            saved: None,
            restored: None,
            persistence: Persistence::AppendOnly,
            born: Born::Master,
            cuts_slaves: false,
            paused_until: 0,
            write_calls: 0,
            fed: false,
            full_syncs: 0,
            partial_syncs: 0,
            partial_errors: 0,
            next_client: 0,
            postponed: Vec::new(),
            dark: false,
            skew_ms: 0,
        }
    }

    /// Runs, as far as others can tell after it wakes: not down.
    pub fn is_up(&self) -> bool {
        self.power != Power::Down
    }

    /// Would execute a write that arrived now.
    pub fn takes_writes(&self) -> bool {
        self.is_up() && self.part == Part::Master && !self.loading
    }

    /// Applies one piece of a stream to the data set.
    pub(crate) fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Write(id) => self.keep(id),
            Operation::Pair(one, two) => {
                self.keep(one);
                self.keep(two);
            }
            Operation::Filler => return,
        }
        self.write_calls += 1;
    }

    fn keep(&mut self, id: u16) {
        self.data.insert(id);
        if self.tail.len() == TAIL_WRITES_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(id);
    }

    /// What a save would write now (`rdbPopulateSaveInfo`).
    pub(crate) fn snapshot(&self) -> Saved {
        let has_lineage = match self.part {
            Part::Master => self.backlog.is_some(),
            Part::Slave(_) => self.cached,
        };
        Saved { data: self.data, lineage: has_lineage.then_some((self.replid, self.offset)) }
    }
}

/// The run id of a life: 40 hexadecimal digits that a reader of traces can take apart.
pub(crate) fn run_id(node: NodeIndex, life: u32) -> RunId {
    RunId(format!("{:08x}{:032x}", node + 1, life))
}

/// The life that a run id is of.
pub(crate) fn life_of(run_id: &RunId) -> Option<u32> {
    u32::from_str_radix(run_id.0.get(8..)?, 16).ok()
}

/// A replication id as redis shows it.
pub(crate) fn replid(id: u64) -> ReplId {
    ReplId(format!("{id:040x}"))
}
