//! The command line's binary: a table of contents.

use std::process::ExitCode;

fn main() -> ExitCode {
    ctl::run(std::env::args_os(), &service::config::environment())
}
