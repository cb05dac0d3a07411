//! `dictatorctl`: what an operator asks of the daemons, asked and answered on a terminal.
//!
//! ```text
//! command_line ──▶ settings ──▶ commands ──▶ client (HTTP) ──▶ dictator
//!   (what exists)   (flag, variable, file)      │
//!                                               └─▶ render (pure: answers to text)
//! ```
//!
//! It decides nothing: whether a master may move is the dictator's to say, and this program carries the
//! question there and the answer back, in words an operator can act on at night. So everything between
//! a daemon's JSON and the text on the terminal is a pure function in [`render`], and `-o json` prints what
//! the daemon said, unchanged, for other programs.
//!
//! It knows the daemons by their HTTP faces alone, as `curl` would, and shares no code with them beyond the
//! vocabulary of [`topology`] and the reading of settings. It has no redis client: the doctor asks nodes by the
//! operator's own `redis-cli`.
//!
//! The exit code is part of the answer ([`exit`]): scripts must tell "refused, nothing changed" from
//! "nobody knows" without reading sentences.

pub mod answer;
pub mod client;
pub mod cluster_config;
pub mod command_line;
pub mod commands;
pub mod doctor;
pub mod exit;
pub mod output;
pub mod permissions;
pub mod progress;
pub mod render;
pub mod settings;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use exit::{Code, Failure};
use output::Output;

/// Runs one command and says how it ended.
pub fn run<I, T>(arguments: I, environment: &BTreeMap<String, String>) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let matches = match command_line::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return exit::of_clap(&error),
    };
    let Some((name, own)) = matches.subcommand() else { return Code::Usage.into() };
    let settings = match settings::read(own, environment) {
        Ok(settings) => settings,
        Err(failure) => return failure.report(),
    };
    let output = Output::new(&settings, environment);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(commands::run(name, own, &settings, &output));
            // A name lookup that was given up may go on for long; nobody waits for it.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Failure::new(Code::Failed, format!("no runtime can be started: {error}"))),
    };
    match ended {
        Ok(code) => code.into(),
        Err(failure) => failure.report(),
    }
}
