//! What an answer costs: the processor time per DNS query of dnsd beside NSD, Knot and BIND, which serve the
//! same zone, in one run on one machine.
//!
//! ```text
//! cargo bench --bench dns -- [--runs 5] [--seconds 3] [--servers dnsd,nsd,knot,bind]
//!                            [--cases mix,mix-ports,slaves20,slaves50,slaves50-ports,tcp50,swap] [--markdown]
//! ```
//!
//! Queries per second say more about the rest of the machine than about a server; the processor time that
//! the server has used, divided by the answers it gave, repeats. So a client on a core of its own keeps a
//! fixed number of queries under way, the server has another core, and the kernel is asked what the server's
//! processes have used. All servers answer with one thread (or process), without a rate limit, and with
//! their defaults otherwise. They take turns in each round, and the median of the rounds is shown.
//!
//! A server that is not installed is named and left out; nothing is installed.
//!
//! Tables go to standard output, progress to standard error.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tables and progress are what it makes")]
#![allow(clippy::disallowed_methods, reason = "it waits, reads /proc, and is no daemon")]

mod client;
#[path = "../command_line/mod.rs"]
mod command_line;
mod measure;
mod servers;
mod settings;
#[path = "../write_gap/table.rs"]
mod table;
mod zone;

use std::process::ExitCode;

use settings::Settings;

fn main() -> ExitCode {
    command_line::run(Settings::read(std::env::args().skip(1)), settings::HELP, measure::run)
}
