//! Moves the master every few hundred milliseconds under load, breaks everything around it at random,
//! and asks at the end whether one acknowledged write is missing or one rejected write is there.
//!
//! ```text
//! cargo bench --bench soak -- --minutes 5 [--switches 1000] [--seed 7] [--dictators 2] [--markdown]
//! ```
//!
//! The seed is printed first. It fixes what is done to whom and in which order; when exactly a process
//! is met by it is the machine's business, so a seed repeats the kind of a run and not each of its
//! microseconds. A run therefore tells, for everything it finds, what it did before that and when.
//!
//! It is a sequence of rounds. In a round the master moves and things break; at its end everything is
//! healed, the cluster has to converge, the writers stop, every write is held against the final master,
//! and all nodes have to hold the same data. So a lost write is known within a minute of its loss, and
//! neither the ledger nor the nodes grow with the length of the run.
//!
//! Where the dictator refuses and says what to do, an operator does it, as long as that loses nothing
//! (`operator.rs`). Which faults are allowed here, and why nothing may be lost under them, is told in
//! `docs/soak.md`.
//!
//! The table goes to standard output, progress to standard error. Exit code 1 if a write is missing,
//! invented or repeated, if two nodes took writes at once, if a document was accepted that had to be
//! refused, or if the cluster did not converge.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a table and progress are what it makes")]
#![allow(clippy::disallowed_methods, reason = "it waits, copies logs, and is no daemon")]

mod cast;
#[path = "../command_line/mod.rs"]
mod command_line;
mod fault;
mod operator;
mod report;
mod round;
mod settings;
mod tally;

use std::process::ExitCode;
use std::time::Instant;

use settings::Settings;
use tally::Tally;

fn main() -> ExitCode {
    command_line::run(Settings::read(std::env::args().skip(1)), settings::HELP, run)
}

fn run(settings: &Settings) -> ExitCode {
    println!("seed {}", settings.seed);
    let mut tally = Tally::default();
    let mut cast = cast::Cast::start(settings);
    // Building the programs first may take minutes, which are no part of the run.
    let started = Instant::now();
    let mut number = 0;
    while !settings.is_enough(started.elapsed(), tally.switches) && tally.violations.is_empty() {
        number += 1;
        round::play(settings, number, &mut cast, &mut tally);
    }
    if !tally.violations.is_empty() {
        cast.keep_logs(settings.seed);
    }
    report::print(settings, &tally, started.elapsed())
}
