//! Everything that is measured without writers: what the daemons cost at rest, how fast they are
//! there, and how long the changes take that are not about the write gap.
//!
//! A daemon is ready when it tells systemd so (`READY=1` at `NOTIFY_SOCKET`), which is what a unit
//! that is ordered after it waits for. Its memory is looked at two seconds later, and again in the
//! whole loop with a topology in force.

mod changes;
mod startup;

use std::process::ExitCode;
use std::time::Duration;

use harness::load::percentile;
use harness::{Whole, WholeOptions, binaries};

use crate::evidence::ms;
use crate::settings::Settings;
use crate::table;

/// The daemons, in the order in which a trigger meets them.
const PROGRAMS: [&str; 3] = ["observer", "dictator", "dnsd"];
/// Starts measured of each daemon.
const STARTS: usize = 5;
/// How long a daemon is left alone before its memory is looked at.
const REST: Duration = Duration::from_secs(2);
/// Slaves of the small and the large cluster.
const SLAVES: [usize; 2] = [2, 50];

/// Measures everything and prints two tables.
pub(crate) fn run(settings: &Settings) -> ExitCode {
    eprintln!("starting each daemon {STARTS} times");
    let started = PROGRAMS.map(startup::measure);
    eprintln!("starting the whole loop");
    let mut whole = Whole::start(&WholeOptions::default());
    whole.move_to(0);
    std::thread::sleep(REST);
    let processes = [whole.observer.process(), whole.dictator.process(), whole.dnsd.process()];
    let in_force = processes.map(|process| startup::resident_bytes(process.pid()));
    let rows = PROGRAMS.iter().zip(&started).zip(in_force).map(|((program, start), in_force)| {
        let size = binaries::binary(program).metadata().map_or(0, |metadata| metadata.len());
        vec![
            (*program).to_owned(),
            ms(percentile(&start.ready, 0.5)),
            ms(percentile(&start.ready, 1.0)),
            mebibytes(start.resident_bytes),
            mebibytes(in_force),
            format!("{:.2}", size as f64 / 1e6),
        ]
    });
    let heads = [
        "daemon",
        "ready after, ms, median",
        "longest",
        "RSS after 2 s, MiB",
        "RSS with a topology in force, MiB",
        "program, MB",
    ];
    table::print(settings.markdown, &heads, &rows.collect::<Vec<_>>());
    println!();

    let mut rows = Vec::new();
    eprintln!("sending the document in force again and again");
    rows.extend(changes::document_in_force(&whole));
    eprintln!("triggering changes");
    rows.extend(changes::trigger_to_dns(&whole));
    drop(whole);
    for slaves in SLAVES {
        eprintln!("moving the master of {slaves} slaves");
        rows.extend(changes::many_slaves(slaves));
    }
    table::print(settings.markdown, &["times in ms", "n", "median", "p99", "longest", "remark"], &rows);
    ExitCode::SUCCESS
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1024.0 / 1024.0)
}

/// A row of the second table.
fn row(what: &str, times: &[Duration], remark: &str) -> Vec<String> {
    vec![
        what.to_owned(),
        times.len().to_string(),
        ms(percentile(times, 0.5)),
        ms(percentile(times, 0.99)),
        ms(percentile(times, 1.0)),
        remark.to_owned(),
    ]
}
