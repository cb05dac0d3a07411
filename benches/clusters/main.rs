//! Many clusters in one dnsd: how much memory they take, how soon a change is seen, how long a start takes,
//! and how soon a thousand subscribers of the Sentinel face are told.
//!
//! ```text
//! cargo bench --bench clusters -- [--clusters 10000] [--changes 500] [--subscribers 1000] [--markdown]
//! ```
//!
//! All clusters are PUT into one dnsd, each with a master and two slaves. Then some of them change: a change
//! counts from before the connection for the PUT is made until a DNS query that is sent after the answer has
//! been answered with the new master, so that what is told is an upper bound. Subscribers and questions go
//! to the same dnsd, with all clusters in it. At the end it is stopped and started again from its folder.
//!
//! The table goes to standard output, progress to standard error.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a table and progress are what it makes")]
#![allow(clippy::disallowed_methods, reason = "it waits, reads /proc, and is no daemon")]

#[path = "../command_line/mod.rs"]
mod command_line;
mod fleet;
mod sentinel;
#[path = "../write_gap/table.rs"]
mod table;

use std::process::ExitCode;
use std::time::Duration;

use fleet::Fleet;

const HELP: &str = "\
cargo bench --bench clusters -- [options]
  --clusters N     clusters in one dnsd (10000)
  --changes N      changes that are measured (500)
  --subscribers N  clients that wait for +switch-master (1000)
  --markdown       print the table in markdown";

/// Switches that subscribers are told of.
const SWITCHES: usize = 20;
/// Questions to the Sentinel face.
const QUESTIONS: usize = 5_000;
/// Starts that are measured.
const STARTS: usize = 5;

struct Settings {
    clusters: usize,
    changes: usize,
    subscribers: usize,
    markdown: bool,
}

fn main() -> ExitCode {
    command_line::run(read(std::env::args().skip(1)), HELP, run)
}

fn read(arguments: impl Iterator<Item = String>) -> Result<Option<Settings>, String> {
    let mut settings = Settings { clusters: 10_000, changes: 500, subscribers: 1_000, markdown: false };
    let is_bench = command_line::read(arguments, |option, value| {
        let mut count = || command_line::count(&value()?);
        match option {
            "--markdown" => settings.markdown = true,
            "--clusters" => settings.clusters = count()?,
            "--changes" => settings.changes = count()?,
            "--subscribers" => settings.subscribers = count()?,
            other => return command_line::unknown(other),
        }
        Ok(())
    })?;
    Ok(is_bench.then_some(settings))
}

fn run(settings: &Settings) {
    let mut rows = Rows::default();
    let fleet = Fleet::start(settings.clusters);
    rows.memory("memory of an empty dnsd", fleet.resident_bytes());
    eprintln!("{} clusters …", settings.clusters);
    rows.times("a PUT of a new cluster, one after the other", fleet.fill());
    rows.memory("memory with all clusters", fleet.resident_bytes());
    eprintln!("{} changes …", settings.changes);
    rows.times("a change until DNS answers with it", fleet.change(settings.changes));
    rows.times("of that, for the disk to sync a file and its folder", fleet.sync(settings.changes));
    rows.memory("memory after the changes", fleet.resident_bytes());
    eprintln!("{} subscribers …", settings.subscribers);
    let told = sentinel::switches(&fleet, settings.subscribers, SWITCHES);
    rows.times(
        &format!("PUT sent until the last of {} subscribers was told", settings.subscribers),
        told.last,
    );
    rows.times("PUT answered until the last was told", told.after_answer);
    rows.times("a question to the Sentinel face", sentinel::questions(&fleet, QUESTIONS));
    let mut ready = Vec::new();
    for start in 1..=STARTS {
        eprintln!("start {start} of {STARTS} …");
        ready.push(fleet.restart());
    }
    rows.times("exec until ready, from disk", ready);
    rows.memory("memory after a start from disk", fleet.resident_bytes());
    println!("\n{} clusters, each with a master and two slaves\n", settings.clusters);
    table::print(settings.markdown, &["", "n", "median", "p99", "longest"], &rows.0);
}

#[derive(Default)]
struct Rows(Vec<Vec<String>>);

impl Rows {
    fn memory(&mut self, what: &str, bytes: u64) {
        let mib = format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        self.0.push(vec![what.to_owned(), "1".to_owned(), mib, String::new(), String::new()]);
    }

    fn times(&mut self, what: &str, mut times: Vec<Duration>) {
        times.sort_unstable();
        let of = |percent: usize| {
            let time = times[(times.len() * percent / 100).min(times.len() - 1)];
            format!("{:.3} ms", time.as_secs_f64() * 1_000.0)
        };
        let mut row = vec![what.to_owned(), times.len().to_string()];
        row.extend([of(50), of(99), of(100)]);
        self.0.push(row);
    }
}
