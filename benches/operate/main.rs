//! What those who operate it wait for: `status` on many nodes, a scrape of the metrics, and what it costs a
//! change to be asked who wants it.
//!
//! ```text
//! cargo bench --bench operate -- [--slaves 49] [--looks 200] [--puts 300] [--switches 100] [--markdown]
//! ```
//!
//! `status` is what an operator types, from the start of `dictatorctl` to its end, and beside it the question to the
//! dictator alone, which asks every node anew. A scrape is what Prometheus does, with the nodes of that cluster in
//! the answer; it asks no node.
//!
//! For authentication there are as many clusters of three nodes as there are ways to prove who one is, each with a
//! dictator of its own, and they take turns, request by request: whatever else the machine does meets them all alike.
//! A PUT is that of the document in force, which moves nothing, so that what is compared is not lost in what is done.
//! Every request has a connection of its own, as `curl` would make it; with TLS that is a handshake each, the client's
//! part of it included. The write gap is that of switches, by the receipt.
//!
//! The tables go to standard output, progress to standard error.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tables and progress are what it makes")]
#![allow(clippy::disallowed_methods, reason = "it starts programs and is no daemon")]

mod callers;
#[path = "../command_line/mod.rs"]
mod command_line;
mod looks;
#[path = "../write_gap/table.rs"]
mod table;

use std::process::ExitCode;
use std::time::Duration;

use harness::load::percentile;

const HELP: &str = "\
cargo bench --bench operate -- [options]
  --slaves N    slaves of the cluster that is looked at (49)
  --looks N     looks at the status, and scrapes (200)
  --puts N      PUTs of the document in force, of each kind of caller (300)
  --switches N  switches of each kind of caller (100)
  --markdown    print the tables in markdown";

/// How much is measured.
struct Settings {
    slaves: usize,
    looks: usize,
    puts: usize,
    switches: usize,
    markdown: bool,
}

fn main() -> ExitCode {
    command_line::run(read(std::env::args().skip(1)), HELP, run)
}

fn read(arguments: impl Iterator<Item = String>) -> Result<Option<Settings>, String> {
    let mut settings = Settings { slaves: 49, looks: 200, puts: 300, switches: 100, markdown: false };
    let is_bench = command_line::read(arguments, |option, value| {
        let mut count = || command_line::count(&value()?);
        match option {
            "--markdown" => settings.markdown = true,
            "--slaves" => settings.slaves = count()?,
            "--looks" => settings.looks = count()?,
            "--puts" => settings.puts = count()?,
            "--switches" => settings.switches = count()?,
            other => return command_line::unknown(other),
        }
        Ok(())
    })?;
    Ok(is_bench.then_some(settings))
}

fn run(settings: &Settings) {
    const HEADS: [&str; 5] = ["times in ms", "n", "median", "p99", "longest"];
    let rows = looks::measure(settings.slaves, settings.looks);
    table::print(settings.markdown, &HEADS, &rows);
    println!();
    let callers = callers::measure(settings.puts, settings.switches);
    table::print(settings.markdown, &HEADS, &callers);
}

/// A row of a table.
fn row(what: &str, times: &[Duration]) -> Vec<String> {
    let ms = |share: f64| format!("{:.2}", percentile(times, share).as_secs_f64() * 1_000.0);
    vec![what.to_owned(), times.len().to_string(), ms(0.5), ms(0.99), ms(1.0)]
}
