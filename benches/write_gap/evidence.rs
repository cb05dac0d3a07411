//! What else happened during a switch: the witnesses for gaps that need explaining.
//!
//! A write gap is the sum of what the dictator did, what redis did, and what the machine did to
//! both. The receipt tells the first. Redis tells the second: its latency monitor notes every event
//! above a threshold (`aof-fsync-always`, `aof-write-pending-fsync`, `fork`, `command`, …), and
//! `aof_delayed_fsync` counts the writes that had to wait for a sync of the append-only file. The
//! third is told by the kernel, which counts for each process how long it was ready to run and had
//! no core (`/proc/<pid>/task/*/schedstat`), and by a witness: a thread that does nothing but sleep
//! 1 ms and note when it overslept.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::Redis;
use harness::resp::{Connection, Reply};

/// Events of redis shorter than this are not noted. In milliseconds, as its setting wants it.
pub(crate) const LATENCY_THRESHOLD_MS: u32 = 5;
/// How long the witness sleeps.
const WITNESS_SLEEP: Duration = Duration::from_millis(1);
/// Oversleeping below this is daily life.
const OVERSLEPT_MIN: Duration = Duration::from_millis(5);
/// Waits for a core below this are not worth a line.
const CORE_WAIT_MIN: Duration = Duration::from_millis(1);

/// The processes that take part, by name.
pub(crate) struct Cast(Vec<(String, u32)>);

impl Cast {
    /// Of these names and process ids.
    pub(crate) fn new(processes: Vec<(String, u32)>) -> Self {
        Self(processes)
    }

    /// For each, how long its threads have run and waited for a core so far.
    pub(crate) fn usage(&self) -> Vec<Usage> {
        self.0.iter().map(|(name, pid)| Usage { name: name.clone(), ..usage(*pid) }).collect()
    }
}

/// What the kernel gave and denied one process since its start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// Who.
    pub(crate) name: String,
    /// Time on a core, all threads.
    pub(crate) ran: Duration,
    /// Time ready to run, without a core, all threads.
    pub(crate) waited: Duration,
}

/// Sums up `schedstat` of all threads; see `Documentation/scheduler/sched-stats.rst` of Linux.
fn usage(pid: u32) -> Usage {
    let mut sum = Usage::default();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let mut fields = text.split_whitespace().map(|field| field.parse().unwrap_or(0));
        sum.ran += Duration::from_nanos(fields.next().unwrap_or(0));
        sum.waited += Duration::from_nanos(fields.next().unwrap_or(0));
    }
    sum
}

/// Counters of redis before a switch, and what became of them.
pub(crate) struct Counters {
    full_resyncs: u64,
    delayed_syncs: BTreeMap<u16, u64>,
}

impl Counters {
    /// Reads them from all nodes.
    pub(crate) fn read(nodes: &[Redis]) -> Self {
        let (mut full_resyncs, mut delayed_syncs) = (0, BTreeMap::new());
        for node in nodes {
            let info = node.info();
            let number = |name: &str| info.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
            full_resyncs += number("sync_full");
            delayed_syncs.insert(node.address().port(), number("aof_delayed_fsync"));
        }
        Self { full_resyncs, delayed_syncs }
    }

    /// Full resyncs since `earlier`, over all nodes.
    pub(crate) fn full_resyncs_since(&self, earlier: &Self) -> u64 {
        self.full_resyncs - earlier.full_resyncs
    }

    /// A line per node that had to wait for its append-only file since `earlier`.
    pub(crate) fn delayed_syncs_since(&self, earlier: &Self) -> Vec<String> {
        let more =
            |(port, count): (&u16, &u64)| (*port, count - earlier.delayed_syncs.get(port).unwrap_or(&0));
        let told = |(port, count): (u16, u64)| {
            (count > 0).then(|| format!("redis {port}: aof_delayed_fsync grew by {count}"))
        };
        self.delayed_syncs.iter().map(more).filter_map(told).collect()
    }
}

/// What the latency monitors of the nodes noted since the last call; forgets it there.
pub(crate) fn latency_events(nodes: &[Redis]) -> Vec<String> {
    let mut lines = Vec::new();
    for node in nodes {
        let mut connection = node.connect();
        let events = ask(&mut connection, &["LATENCY", "LATEST"]).elements();
        let noted = !events.is_empty();
        for event in events {
            let fields: Vec<String> = event.elements().iter().map(Reply::text).collect();
            if let [name, _, _, longest_ms, ..] = fields.as_slice() {
                lines.push(format!("redis {}: {name} took up to {longest_ms} ms", node.address().port()));
            }
        }
        if noted {
            ask(&mut connection, &["LATENCY", "RESET"]);
        }
    }
    lines
}

fn ask(connection: &mut Connection, words: &[&str]) -> Reply {
    connection.command(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// A line per process that ran or waited for a core noticeably between two readings.
pub(crate) fn core_waits(before: &[Usage], after: &[Usage]) -> Vec<String> {
    let told = |(before, after): (&Usage, &Usage)| {
        let (ran, waited) = (after.ran - before.ran, after.waited.saturating_sub(before.waited));
        (waited >= CORE_WAIT_MIN)
            .then(|| format!("{}: ran {} ms, waited {} ms for a core", after.name, ms(ran), ms(waited)))
    };
    before.iter().zip(after).filter_map(told).collect()
}

/// The part of a core that each process had between two readings `elapsed` apart.
pub(crate) fn core_shares(before: &[Usage], after: &[Usage], elapsed: Duration) -> String {
    let share = |(before, after): (&Usage, &Usage)| {
        let ran = after.ran.saturating_sub(before.ran).as_secs_f64();
        format!("{} {:.0} %", after.name, ran / elapsed.as_secs_f64() * 100.0)
    };
    before.iter().zip(after).map(share).collect::<Vec<_>>().join(", ")
}

/// Milliseconds with two decimals.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1_000.0)
}

/// The thread that sleeps.
pub(crate) struct Witness {
    stop: Arc<AtomicBool>,
    overslept: Arc<Mutex<Vec<(Instant, Duration)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let (stop, overslept) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (told, notes) = (Arc::clone(&stop), Arc::clone(&overslept));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let asleep = Instant::now();
                std::thread::sleep(WITNESS_SLEEP);
                let late = asleep.elapsed().saturating_sub(WITNESS_SLEEP);
                if late >= OVERSLEPT_MIN {
                    notes.lock().expect("nobody panics with it").push((Instant::now(), late));
                }
            }
        });
        Self { stop, overslept, thread: Some(thread) }
    }

    /// The longest time it overslept since `since`.
    pub(crate) fn overslept_since(&self, since: Instant) -> Duration {
        let notes = self.overslept.lock().expect("nobody panics with it");
        let late = notes.iter().filter(|(woke, _)| *woke >= since).map(|(_, late)| *late);
        late.max().unwrap_or_default()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
