//! A load whose every write is accounted for.
//!
//! Each writer is a thread with its own connections. It writes unique ids, one at a time, and notes
//! for each what became of it and when: **acknowledged**, **rejected** (an error reply, or it was
//! never sent: certainly not executed), or of **unknown outcome** (sent, and no reply came). An id
//! is never written twice, so afterwards the final master tells the truth: an acknowledged id that
//! is absent was lost (*missing*), a rejected id that is present was executed in spite of what its
//! writer was told (*phantom*). Ids of unknown outcome may be either.
//!
//! Writers know the nodes (or ask DNS) and find the master by trying: after any error a writer
//! waits 1 ms and tries the next node with a new id. It comes back to the node that just stopped
//! acknowledging only after it has tried the others twice; writers start with different nodes, so
//! that one of them is at the new master within a millisecond of its promotion.
//!
//! Threads and not tasks: a thread sleeps 1 ms in about 1.06 ms, a runtime's timer in up to 2.

mod ledger;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use ledger::{Ledger, Switch, Tally, percentile};
pub use writer::Finder;

use writer::Writer;

/// One way to write an id; writers take them in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `SET <key>:<id> 1`
    Set,
    /// `RPUSH <key>:list <id>`; a list shows an id that was applied twice.
    Rpush,
    /// `SADD <key>:set <id>`
    Sadd,
}

/// What load to make.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// How the master is found.
    pub finder: Finder,
    /// Number of writers.
    pub writers: usize,
    /// Pause between two writes of one writer, measured from start to start; zero for none.
    pub interval: Duration,
    /// Attempts, over all writers, after which they end by themselves.
    pub attempts_max: Option<u64>,
    /// How ids are written.
    pub kinds: Vec<Kind>,
    /// Prefix of all keys, and the key itself when `kinds` is only `Rpush`.
    pub key: String,
    /// Beginning of every id; makes them unique when several loads share a key.
    pub run: String,
    /// Wait after an error.
    pub retry: Duration,
}

impl LoadOptions {
    /// Eight writers that know `nodes` and offer about 8 000 writes per second together.
    pub fn new(nodes: &[SocketAddr]) -> Self {
        let run = format!("{:08x}", fastrand::u32(..));
        Self {
            finder: Finder::Nodes(nodes.to_vec()),
            writers: 8,
            interval: Duration::from_millis(1),
            attempts_max: None,
            kinds: vec![Kind::Set, Kind::Rpush, Kind::Sadd],
            key: format!("load:{run}"),
            run,
            retry: Duration::from_millis(1),
        }
    }

    /// The same for nodes of the harness.
    pub fn on(nodes: &[&crate::Redis]) -> Self {
        Self::new(&nodes.iter().map(|node| node.address()).collect::<Vec<_>>())
    }
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// redis said it was done.
    Acknowledged,
    /// Certainly not done; the first word of the error, or `unsent`.
    Rejected(Box<str>),
    /// Sent, and no reply came.
    Unknown,
}

/// One attempt of one writer; its place in the writer's list is the id's number.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Which node it was made at; `None` if no master could be found.
    pub node: Option<SocketAddr>,
    /// When it was sent, since the start of the load.
    pub sent: Duration,
    /// When its outcome was known, since the start of the load.
    pub known: Duration,
    /// What became of it.
    pub outcome: Outcome,
}

/// Counters that can be watched while the load runs.
#[derive(Debug, Default)]
struct Progress {
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    options: LoadOptions,
    started: Instant,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    writers: Vec<JoinHandle<Vec<Attempt>>>,
}

impl Load {
    /// Starts the writers.
    pub fn start(options: LoadOptions) -> Self {
        let started = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Progress::default());
        let writers = (0..options.writers)
            .map(|index| {
                let writer = Writer::new(index, &options, started);
                let (stop, progress) = (Arc::clone(&stop), Arc::clone(&progress));
                std::thread::spawn(move || writer.run(&stop, &progress))
            })
            .collect();
        Self { options, started, stop, progress, writers }
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.progress.acknowledged.load(Ordering::Relaxed)
    }

    /// Writes rejected or of unknown outcome so far.
    pub fn failed(&self) -> u64 {
        self.progress.failed.load(Ordering::Relaxed)
    }

    /// Time since the start of the load, the clock of all its notes.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether all writers have made their last attempt.
    pub fn is_finished(&self) -> bool {
        self.writers.iter().all(JoinHandle::is_finished)
    }

    /// Waits until `more` further writes are acknowledged: proof that writes go on.
    ///
    /// # Panics
    /// When they are not within ten seconds.
    pub fn wait_acknowledged(&self, more: u64) {
        let wanted = self.acknowledged() + more;
        crate::wait_until("writes to go on", Duration::from_secs(10), || {
            let seen = self.acknowledged();
            crate::wait::ensure(seen >= wanted, format!("{seen} of {wanted} writes acknowledged"))
        });
    }

    /// Ends the writers and returns what they noted.
    ///
    /// # Panics
    /// When a writer panicked.
    pub fn stop(mut self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        let attempts = self.writers.drain(..).map(|writer| writer.join().expect("a writer does not panic"));
        Ledger::new(self.options.clone(), attempts.collect(), self.started.elapsed())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The id of an attempt.
fn id(run: &str, writer: usize, number: usize) -> String {
    format!("{run}-{writer}-{number}")
}

/// The kind of the attempt with this number.
fn kind(kinds: &[Kind], number: usize) -> Kind {
    kinds[number % kinds.len()]
}

/// The key an id of this kind is kept in. A load of lists alone uses the plain key.
fn container(options: &LoadOptions, kind: Kind, id: &str) -> String {
    match kind {
        Kind::Set => format!("{}:{id}", options.key),
        Kind::Rpush if options.kinds == [Kind::Rpush] => options.key.clone(),
        Kind::Rpush => format!("{}:list", options.key),
        Kind::Sadd => format!("{}:set", options.key),
    }
}

#[cfg(test)]
mod tests;
