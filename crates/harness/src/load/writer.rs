//! One writer: a thread, its connections, and its notes.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Attempt, Kind, LoadOptions, Outcome, Progress, container, id, kind};
use crate::dns;
use crate::resp::{Connection, Reply};

/// Laps around the other nodes before the one that just failed is tried again.
const LAPS_BEFORE_RETURN: usize = 2;

/// How a writer finds the master.
#[derive(Clone, Debug)]
pub enum Finder {
    /// It knows the nodes and tries them.
    Nodes(Vec<SocketAddr>),
    /// It asks a DNS server for the SRV record of `master.<domain>`, again after any error.
    Dns {
        /// The server.
        server: SocketAddr,
        /// The domain.
        domain: String,
    },
}

/// The state of one writer.
pub(super) struct Writer {
    index: usize,
    options: LoadOptions,
    started: Instant,
    connections: HashMap<SocketAddr, Connection>,
    /// Where the next attempt goes.
    node: Option<SocketAddr>,
    /// Nodes to try after errors, in order; refilled when it runs out.
    candidates: Vec<SocketAddr>,
    attempts: Vec<Attempt>,
}

impl Writer {
    pub(super) fn new(index: usize, options: &LoadOptions, started: Instant) -> Self {
        Self {
            index,
            options: options.clone(),
            started,
            connections: HashMap::new(),
            node: None,
            candidates: Vec::new(),
            attempts: Vec::new(),
        }
    }

    pub(super) fn run(mut self, stop: &AtomicBool, progress: &Progress) -> Vec<Attempt> {
        self.connect_all();
        self.find(None);
        let mut due = Instant::now();
        let share = self.share();
        while !stop.load(Ordering::Relaxed) && share.is_none_or(|max| self.made() < max) {
            let attempt = self.attempt();
            let acknowledged = attempt.outcome == Outcome::Acknowledged;
            let node = attempt.node;
            self.attempts.push(attempt);
            if acknowledged {
                progress.acknowledged.fetch_add(1, Ordering::Relaxed);
                self.candidates.clear();
                due = (due + self.options.interval).max(Instant::now() - self.options.interval);
                pause_until(due);
            } else {
                progress.failed.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(self.options.retry);
                self.find(node);
                due = Instant::now();
            }
        }
        self.attempts
    }

    /// This writer's part of all attempts.
    fn share(&self) -> Option<u64> {
        let (index, writers) = (self.index as u64, self.options.writers as u64);
        self.options.attempts_max.map(|max| max / writers + u64::from(index < max % writers))
    }

    fn made(&self) -> u64 {
        self.attempts.len() as u64
    }

    /// One write of one new id.
    fn attempt(&mut self) -> Attempt {
        let sent = self.started.elapsed();
        let node = self.node;
        let outcome = match node {
            Some(node) => self.write(node),
            None => Outcome::Rejected("unsent".into()),
        };
        Attempt { node, sent, known: self.started.elapsed(), outcome }
    }

    fn write(&mut self, node: SocketAddr) -> Outcome {
        let number = self.attempts.len();
        let id = id(&self.options.run, self.index, number);
        let kind = kind(&self.options.kinds, number);
        let key = container(&self.options, kind, &id);
        let Ok(connection) = self.connection(node) else { return Outcome::Rejected("unsent".into()) };
        let reply = match kind {
            Kind::Set => connection.command(&["SET", &key, "1"]),
            Kind::Rpush => connection.command(&["RPUSH", &key, &id]),
            Kind::Sadd => connection.command(&["SADD", &key, &id]),
        };
        match reply {
            Ok(Reply::Error(text)) => Outcome::Rejected(text.split(' ').next().unwrap_or_default().into()),
            Ok(_) => Outcome::Acknowledged,
            Err(_) => {
                self.connections.remove(&node);
                Outcome::Unknown
            }
        }
    }

    fn connection(&mut self, node: SocketAddr) -> io::Result<&mut Connection> {
        use std::collections::hash_map::Entry;
        match self.connections.entry(node) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(Connection::open(node)?)),
        }
    }

    /// Connections are there before they are needed: making one is no part of a write gap.
    fn connect_all(&mut self) {
        if let Finder::Nodes(nodes) = &self.options.finder {
            for node in nodes.clone() {
                // A node that is down now is connected to when its turn comes.
                drop(self.connection(node));
            }
        }
    }

    /// Chooses where the next attempt goes, after `failed` did not acknowledge one.
    fn find(&mut self, failed: Option<SocketAddr>) {
        match &self.options.finder {
            Finder::Dns { server, domain } => self.node = dns::find_master(*server, domain).ok(),
            Finder::Nodes(nodes) => {
                if self.candidates.is_empty() {
                    self.candidates = order(nodes, self.index, failed);
                }
                self.node = self.candidates.pop();
            }
        }
    }
}

/// The nodes to try, last one first: the others twice, each writer beginning elsewhere, then
/// `failed`.
fn order(nodes: &[SocketAddr], index: usize, failed: Option<SocketAddr>) -> Vec<SocketAddr> {
    let mut others: Vec<SocketAddr> = nodes.iter().copied().filter(|node| Some(*node) != failed).collect();
    if !others.is_empty() {
        let shift = index % others.len();
        others.rotate_left(shift);
    }
    let mut tries = others.repeat(LAPS_BEFORE_RETURN);
    tries.extend(failed);
    tries.reverse();
    tries
}

fn pause_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if left > Duration::ZERO {
        std::thread::sleep(left);
    }
}
