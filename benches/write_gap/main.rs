//! How long nobody's write is acknowledged while a master moves: by our dictator, by redis's own
//! FAILOVER, and by the algorithm of the tool this project descends from. One run, the same three
//! nodes, the same load.
//!
//! ```text
//! cargo bench --bench write_gap -- --switches 300 [--peer-switches 100] [--populate-mb 1024]
//!                                  [--mode ours,failover,original] [--markdown]
//! cargo bench --bench write_gap -- --idle [--markdown]
//! ```
//!
//! Numbers of one machine on one day mean little alone; beside each other they do. So the ways take
//! turns, switch by switch, and whatever else the machine does meets them all alike. The gap is seen
//! by the clients: from the last acknowledgement of the old master to the first of the new one, with
//! eight writers that know the nodes, keep their connections, and after an error try the next node
//! 1 ms later with a new id.
//!
//! FAILOVER and the original wait for an acknowledgement that slaves send once a second. Called in
//! step with the previous change they would always meet the same phase of that second, so all ways
//! are called after a pause of random length. They are slow by nature and measured over fewer
//! switches unless told otherwise.
//!
//! Tables go to standard output, progress to standard error. Exit code 1 if one of our switches lost
//! or invented a write, let two nodes take writes at once, or caused a full resync.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tables and progress are what it makes")]
#![allow(clippy::disallowed_methods, reason = "it waits, reads /proc, and is no daemon")]

#[path = "../command_line/mod.rs"]
mod command_line;
mod evidence;
mod idle;
mod operator;
mod report;
mod rounds;
mod settings;
mod table;

use std::process::ExitCode;

use settings::{Settings, What};

fn main() -> ExitCode {
    command_line::run(Settings::read(std::env::args().skip(1)), settings::HELP, run)
}

fn run(settings: &Settings) -> ExitCode {
    match settings.what {
        What::Switches => {
            let run = rounds::run(settings);
            report::print(settings, &run)
        }
        What::Idle => idle::run(settings),
    }
}
