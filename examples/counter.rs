//! A client that counts: it writes while the master moves, and then asks what became of each write.
//!
//! It finds the master as any client would, by the SRV record of `master.<domain>`, and asks again
//! after any error. Every write is a new id pushed to a list. In the end the final master is asked
//! for the whole list: an id that redis acknowledged and that is not there is *missing*, an id that
//! redis rejected and that is there nevertheless is a *phantom*. Neither may happen; the exit code
//! is 1 if one does. Writes that were sent and got no answer at all count as err'd but are neither
//! missing nor phantom: nobody was told anything about them.
//!
//! Settings are environment variables:
//!
//! | variable           | default               | meaning                                        |
//! |--------------------|-----------------------|------------------------------------------------|
//! | `COUNTER_CLEAR`    | `0`                   | `1`: delete the list first                     |
//! | `COUNTER_COUNT`    | `10000`               | writes to attempt, over all writers            |
//! | `COUNTER_INTERVAL` | `1`                   | milliseconds from one write of a writer to its next |
//! | `COUNTER_KEY`      | `debug:counter:stack` | the list                                       |
//! | `COUNTER_WRITERS`  | `1`                   | writers, each with its own connection          |
//! | `COUNTER_DNS`      | `127.0.0.1:5300`      | where dnsd answers                             |
//! | `COUNTER_DOMAIN`   | `redis-1.docker`      | the domain it publishes                        |

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what this program is for")]
#![allow(clippy::disallowed_methods, reason = "an example reads its own environment, and it waits")]

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use harness::dns::find_master;
use harness::load::{Finder, Kind, Ledger, Load, LoadOptions, percentile};
use harness::resp::Connection;

/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// How often it is looked whether the writers are done.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long a master may be missing from DNS at the start and at the end.
const MASTER_DEADLINE: Duration = Duration::from_secs(30);

struct Settings {
    clear: bool,
    count: u64,
    interval: Duration,
    key: String,
    writers: usize,
    dns: SocketAddr,
    domain: String,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("counter: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing is missing and nothing is a phantom.
fn run() -> Result<bool, Box<dyn Error>> {
    let settings = Settings::read()?;
    let master = wait_for_master(&settings)?;
    if settings.clear {
        Connection::open(master)?.command(&["DEL", &settings.key])?;
    }
    println!("{} writes by {} writers, beginning at {master}", settings.count, settings.writers);
    let ledger = count(&settings);
    let last_master = wait_for_master(&settings)?;
    let tally = ledger.verify(last_master);
    report(&ledger);
    for id in tally.missing.iter().chain(&tally.phantom).chain(&tally.repeated).take(10) {
        println!("wrong: {id}");
    }
    println!("{tally}");
    Ok(tally.is_clean())
}

fn count(settings: &Settings) -> Ledger {
    let mut options = LoadOptions::new(&[]);
    options.finder = Finder::Dns { server: settings.dns, domain: settings.domain.clone() };
    options.kinds = vec![Kind::Rpush];
    options.key = settings.key.clone();
    options.interval = settings.interval;
    options.writers = settings.writers;
    options.attempts_max = Some(settings.count);
    let load = Load::start(options);
    let mut shown = Instant::now();
    while !load.is_finished() {
        std::thread::sleep(POLL_INTERVAL);
        if shown.elapsed() >= PROGRESS_INTERVAL {
            println!("ack'd so far: {}, err'd: {}", load.acknowledged(), load.failed());
            shown = Instant::now();
        }
    }
    load.stop()
}

fn report(ledger: &Ledger) {
    let switches = ledger.switches();
    let gaps: Vec<Duration> = switches.iter().map(|switch| switch.gap).collect();
    if !gaps.is_empty() {
        println!(
            "the master moved {} times; nobody's write was acknowledged for {:.1} ms (median), {:.1} ms (longest)",
            gaps.len(),
            milliseconds(percentile(&gaps, 0.5)),
            milliseconds(percentile(&gaps, 1.0)),
        );
    }
    let mut rejected: Vec<(String, usize)> = ledger.rejected().into_iter().collect();
    rejected.sort();
    for (word, count) in rejected {
        println!("rejected: {count} × {word}");
    }
    if ledger.unknown() > 0 {
        println!("without an answer: {}", ledger.unknown());
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn wait_for_master(settings: &Settings) -> Result<SocketAddr, Box<dyn Error>> {
    let start = Instant::now();
    loop {
        match find_master(settings.dns, &settings.domain) {
            Ok(master) => return Ok(master),
            Err(error) if start.elapsed() > MASTER_DEADLINE => return Err(error.into()),
            Err(_) => std::thread::sleep(POLL_INTERVAL),
        }
    }
}

impl Settings {
    fn read() -> Result<Self, Box<dyn Error>> {
        let settings = Self {
            clear: variable::<String>("COUNTER_CLEAR", "0")? != "0",
            count: variable("COUNTER_COUNT", "10000")?,
            interval: Duration::from_millis(variable("COUNTER_INTERVAL", "1")?),
            key: variable("COUNTER_KEY", "debug:counter:stack")?,
            writers: variable("COUNTER_WRITERS", "1")?,
            dns: variable("COUNTER_DNS", "127.0.0.1:5300")?,
            domain: variable("COUNTER_DOMAIN", "redis-1.docker")?,
        };
        if settings.writers == 0 {
            return Err("COUNTER_WRITERS must be at least 1".into());
        }
        Ok(settings)
    }
}

/// The value of an environment variable, or `default` if it is unset or empty.
fn variable<T: FromStr>(name: &str, default: &str) -> Result<T, Box<dyn Error>>
where
    T::Err: std::fmt::Display,
{
    let text = std::env::var(name).ok().filter(|text| !text.is_empty());
    let text = text.as_deref().unwrap_or(default);
    text.parse().map_err(|error| format!("{name} is {text:?}: {error}").into())
}
