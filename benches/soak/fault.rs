//! What breaks, whom it strikes, and how it is healed.
//!
//! A fault has a subject, and nobody is struck twice at a time. Nearly all of them last for a while and
//! are healed when their time is over, whatever happens meanwhile; so faults meet hand-overs at every
//! point of them, and each other.

use std::time::{Duration, Instant};

use fastrand::Rng;
use harness::proxy::{Cut, DEMOTION, PAUSE, PROMOTION};
use harness::redis::Persistence;

use crate::cast::Cast;

/// Bytes of any look at a node.
const LOOK: &[u8] = b"INFO\r\n";

/// Who is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A node's process.
    Node(usize),
    /// What is sent to a node by name: dictators' commands, and replication.
    Wire(usize),
    /// A dictator's process.
    Dictator(usize),
    /// dnsd's process.
    Dnsd,
    /// The observer's process.
    Observer,
    /// etcd's process.
    Etcd,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ill {
    /// The process is not there.
    Dead,
    /// The process stands still.
    Frozen,
    /// The next command of a kind is held back, and then passed on.
    Held,
    /// The next command of a kind is held back, then passed on, and its reply is lost.
    ReplyLost,
    /// What it sends to its slaves does not arrive, although their links stay up.
    Stalled,
    /// Nothing arrives, one way or both; only clients reach it.
    Cut,
}

/// A part in a move of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Takes writes.
    Master,
    /// Is to take them.
    Target,
    /// Neither.
    Bystander,
}

/// Something that goes wrong around one move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9`; for the node with an RDB, SIGTERM.
    NodeKilled(Part),
    /// SIGSTOP.
    NodeFrozen(Part),
    /// Held or lost at the proxy.
    Wire(Part, Ill),
    /// The target ends while its promotion is under way, before or after it has run.
    TargetLost,
    /// A slave is not there during several moves.
    SlaveAway,
    /// `kill -9`.
    DictatorKilled,
    /// SIGSTOP.
    DictatorFrozen,
    /// `kill -9`.
    EtcdKilled,
    /// SIGSTOP.
    EtcdFrozen,
    /// `kill -9`.
    DnsdKilled,
    /// `kill -9`.
    ObserverKilled,
    /// The document leaves a slave out.
    SlaveLeft,
    /// A human promotes a slave.
    Stray,
    /// A document with somebody else's redis.
    ForeignNode,
    /// A document with a revision of the past.
    StaleRevision,
}

/// Every fault with how often it is drawn, compared with the others.
const CHANCES: [(Fault, u32); 27] = [
    (Fault::NodeKilled(Part::Master), 6),
    (Fault::NodeKilled(Part::Target), 6),
    (Fault::NodeKilled(Part::Bystander), 4),
    (Fault::NodeFrozen(Part::Master), 6),
    (Fault::NodeFrozen(Part::Target), 6),
    (Fault::NodeFrozen(Part::Bystander), 4),
    (Fault::Wire(Part::Master, Ill::Held), 5),
    (Fault::Wire(Part::Master, Ill::ReplyLost), 5),
    (Fault::Wire(Part::Target, Ill::Held), 5),
    (Fault::Wire(Part::Target, Ill::ReplyLost), 5),
    (Fault::Wire(Part::Bystander, Ill::ReplyLost), 2),
    (Fault::Wire(Part::Master, Ill::Stalled), 5),
    (Fault::Wire(Part::Master, Ill::Cut), 5),
    (Fault::Wire(Part::Target, Ill::Cut), 5),
    (Fault::Wire(Part::Bystander, Ill::Cut), 3),
    (Fault::TargetLost, 6),
    (Fault::SlaveAway, 3),
    (Fault::DictatorKilled, 10),
    (Fault::DictatorFrozen, 6),
    (Fault::EtcdKilled, 3),
    (Fault::EtcdFrozen, 3),
    (Fault::DnsdKilled, 3),
    (Fault::ObserverKilled, 3),
    (Fault::SlaveLeft, 3),
    (Fault::Stray, 3),
    (Fault::ForeignNode, 3),
    (Fault::StaleRevision, 3),
];

impl Fault {
    /// Draws one.
    pub(crate) fn draw(chance: &mut Rng) -> Self {
        let all: u32 = CHANCES.iter().map(|(_, weight)| weight).sum();
        let mut left = chance.u32(0..all);
        for (fault, weight) in CHANCES {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return fault,
            }
        }
        Fault::DictatorKilled
    }

    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NodeKilled(Part::Master) => "master killed",
            Self::NodeKilled(Part::Target) => "target killed",
            Self::NodeKilled(Part::Bystander) => "another slave killed",
            Self::NodeFrozen(Part::Master) => "master frozen",
            Self::NodeFrozen(Part::Target) => "target frozen",
            Self::NodeFrozen(Part::Bystander) => "another slave frozen",
            Self::Wire(_, Ill::Held) => "command held back",
            Self::Wire(_, Ill::Stalled) => "replication stalled",
            Self::Wire(_, Ill::Cut) => "node cut off from dictator and slaves",
            Self::Wire(..) => "command held back, its reply lost",
            Self::TargetLost => "target killed at its promotion",
            Self::SlaveAway => "slave away for several moves",
            Self::DictatorKilled => "dictator killed",
            Self::DictatorFrozen => "dictator frozen",
            Self::EtcdKilled => "etcd killed",
            Self::EtcdFrozen => "etcd frozen",
            Self::DnsdKilled => "dnsd killed",
            Self::ObserverKilled => "observer killed",
            Self::SlaveLeft => "slave left out of the document",
            Self::Stray => "slave promoted by a human",
            Self::ForeignNode => "document with a foreign node",
            Self::StaleRevision => "document with a stale revision",
        }
    }

    /// Whether it must meet a healthy cluster, because nothing else may go wrong at its time.
    pub(crate) fn is_exclusive(self) -> bool {
        matches!(self, Self::Stray | Self::ForeignNode | Self::StaleRevision)
    }

    /// Whom it strikes when the master moves `from` one node `to` another, how, and for how long.
    pub(crate) fn strike(
        self,
        (from, to): (usize, usize),
        cast: &Cast,
        chance: &mut Rng,
    ) -> Option<(Subject, Ill, Duration)> {
        let mut pick = |part: Part| match part {
            Part::Master => from,
            Part::Target => to,
            Part::Bystander => {
                let rest: Vec<usize> =
                    (0..cast.nodes.len()).filter(|index| ![from, to].contains(index)).collect();
                rest[chance.usize(0..rest.len())]
            }
        };
        let (subject, ill) = match self {
            Self::NodeKilled(part) => (Subject::Node(pick(part)), Ill::Dead),
            Self::NodeFrozen(part) => (Subject::Node(pick(part)), Ill::Frozen),
            Self::Wire(part, ill) => (Subject::Wire(pick(part)), ill),
            Self::SlaveAway => (Subject::Node(pick(Part::Bystander)), Ill::Dead),
            Self::DictatorKilled => (Subject::Dictator(cast.speaker), Ill::Dead),
            Self::DictatorFrozen => (Subject::Dictator(cast.speaker), Ill::Frozen),
            Self::EtcdKilled => (Subject::Etcd, Ill::Dead),
            Self::EtcdFrozen => (Subject::Etcd, Ill::Frozen),
            Self::DnsdKilled => (Subject::Dnsd, Ill::Dead),
            Self::ObserverKilled => (Subject::Observer, Ill::Dead),
            Self::TargetLost => (Subject::Node(to), Ill::Dead),
            Self::SlaveLeft | Self::Stray | Self::ForeignNode | Self::StaleRevision => return None,
        };
        let longest_ms = match self {
            Self::SlaveAway => return Some((subject, ill, Duration::from_millis(chance.u64(3_000..8_000)))),
            Self::EtcdKilled | Self::EtcdFrozen | Self::DictatorFrozen => 4_000,
            Self::NodeFrozen(_) | Self::Wire(_, Ill::Cut) => 2_500,
            _ => 1_500,
        };
        // Short ones are as likely as long ones: the interesting moments are milliseconds apart.
        let longest_ms = *chance.choice([50, 300, longest_ms].iter()).unwrap_or(&longest_ms);
        Some((subject, ill, Duration::from_millis(chance.u64(1..=longest_ms))))
    }
}

/// A fault under way.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// Who.
    pub(crate) subject: Subject,
    /// What.
    pub(crate) ill: Ill,
    /// When it began, since the start of the load.
    pub(crate) since: Duration,
    /// When it is healed.
    pub(crate) until: Instant,
}

/// Lets a fault strike.
pub(crate) fn begin(cast: &mut Cast, subject: Subject, ill: Ill, chance: &mut Rng) {
    match (subject, ill) {
        (Subject::Node(index), Ill::Dead) => {
            let node = &mut cast.nodes[index];
            match node.persistence {
                // Its data is in its memory alone until it is told to end.
                Persistence::Rdb => node.redis.stop(),
                _ => node.redis.kill(),
            }
            node.full_resyncs = 0;
        }
        (Subject::Node(index), _) => cast.nodes[index].redis.process().freeze(),
        (Subject::Wire(index), Ill::Stalled) => cast.nodes[index].proxy.stall_replication(true),
        (Subject::Wire(index), Ill::Cut) => {
            let cut = chance.choice([Cut::Towards, Cut::Back, Cut::Both]);
            cast.nodes[index].proxy.cut(cut);
        }
        (Subject::Wire(index), _) => {
            let patterns = [PAUSE, DEMOTION, PROMOTION, LOOK];
            cast.nodes[index].proxy.hold_at(patterns[chance.usize(0..patterns.len())]);
        }
        (Subject::Dictator(index), Ill::Dead) => cast.dictators[index].kill(),
        (Subject::Dictator(index), _) => cast.dictators[index].process().freeze(),
        (Subject::Dnsd, _) => cast.dnsd.kill(),
        (Subject::Observer, _) => cast.observer.kill(),
        (Subject::Etcd, Ill::Dead) => cast.etcd.kill(),
        (Subject::Etcd, _) => cast.etcd.process().freeze(),
    }
}

/// Holds the next promotion of a node back.
pub(crate) fn hold_promotion(cast: &Cast, index: usize) {
    cast.nodes[index].proxy.hold_at(PROMOTION);
}

/// Heals it.
pub(crate) fn heal(cast: &mut Cast, trouble: &Trouble) {
    match (trouble.subject, trouble.ill) {
        (Subject::Node(index), Ill::Dead) => cast.nodes[index].redis.start_again(),
        (Subject::Node(index), _) => cast.nodes[index].redis.process().thaw(),
        (Subject::Wire(index), Ill::ReplyLost) => cast.nodes[index].proxy.release_and_lose_the_reply(),
        (Subject::Wire(index), Ill::Stalled) => cast.nodes[index].proxy.stall_replication(false),
        (Subject::Wire(index), Ill::Cut) => cast.nodes[index].proxy.cut(None),
        (Subject::Wire(index), _) => cast.nodes[index].proxy.release(),
        (Subject::Dictator(index), Ill::Dead) => cast.dictators[index].start_again(),
        (Subject::Dictator(index), _) => cast.dictators[index].process().thaw(),
        (Subject::Dnsd, _) => cast.dnsd.start_again(),
        (Subject::Observer, _) => cast.observer.start_again(),
        (Subject::Etcd, Ill::Dead) => cast.etcd.start_again(),
        (Subject::Etcd, _) => cast.etcd.process().thaw(),
    }
}
