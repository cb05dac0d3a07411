//! What can happen next, and the order of it: by time, then by the order of scheduling.

use std::cmp::Ordering;

use crate::redis::{LinkIndex, NodeIndex};
use crate::session::ConnectionIndex;
use crate::world::Time;

/// Something that happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A replication link may have something to deliver.
    Link(LinkIndex),
    /// A link may have been silent for too long.
    LinkTimer(LinkIndex),
    /// The master learns that its slave closed the link.
    LinkGone(LinkIndex),
    /// A slave's PSYNC arrives at its master.
    Psync { slave: NodeIndex, attempt: u32, since: Time },
    /// A slave tries to connect again.
    Reconnect { slave: NodeIndex, attempt: u32 },
    /// A master takes the snapshot for a full resync.
    Fork(LinkIndex),
    /// A data set sent by the master is in memory.
    Synced(LinkIndex),
    /// A data set is read from disk.
    Loaded { node: NodeIndex, life: u32 },
    /// The master pings its slaves.
    Ping(NodeIndex),
    /// A backlog that nobody uses may have expired.
    BacklogCheck { node: NodeIndex, life: u32 },
    /// A pause ends.
    PauseEnd { node: NodeIndex, life: u32 },
    /// Expiry and PUBLISH on a master.
    Traffic(NodeIndex),
    /// A snapshot to disk.
    Save(NodeIndex),
    /// A connection may have something for the node.
    ToNode(ConnectionIndex),
    /// A connection may have something for its owner.
    ToOwner(ConnectionIndex),
    /// A client's timer.
    Client { client: usize, turn: u32 },
    /// A process starts again.
    Start(NodeIndex),
    /// A stopped process goes on.
    Continue(NodeIndex),
    /// A cut ends.
    Heal { from: usize, to: usize },
    /// Something of a dictator.
    Dictator { dictator: usize, life: u32, timer: Timer },
    /// The next fault of the schedule by time.
    Fault(usize),
    /// The next order of an operator.
    Put(usize),
}

/// A dictator's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The process starts.
    Start,
    /// The stopped process goes on.
    Continue,
    /// An order's deadline.
    Deadline(u64),
    /// An answer that needs no network.
    Instant(u64),
    /// The conduct asked to be woken.
    Wake(u32),
    /// The record is written, or cannot be.
    Saved { ticket: u64, sound: bool },
    /// Time for an enforcement pass, or for the next job.
    Enforce(u32),
    /// Time to renew or to try for the lock.
    Lease,
    /// The lock was asked after a connection was named.
    Checked(ConnectionIndex),
}

/// An event in the queue.
pub(crate) struct Scheduled {
    pub(crate) at: Time,
    pub(crate) sequence: u64,
    pub(crate) event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}
