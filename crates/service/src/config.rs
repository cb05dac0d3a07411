//! Settings: one table per program, read once, and every mistake reported at one start.
//!
//! A daemon describes its settings as data ([`Program`], [`Setting`]); the command line, the environment,
//! the originals' names, `--help` and the messages all come from that table, so a setting has one name,
//! one default and one meaning. Values are then taken out by flag and parsed into types
//! ([`Reader::take`]); a value that does not parse is remembered, not returned, and [`Reader::finish`]
//! tells all of them together: who starts a daemon at night should not learn of the third typing error
//! at the third start.
//!
//! Precedence: flag, then environment variable, then the originals' variable, then the default. An empty
//! variable counts as unset, because `EnvironmentFile=` and compose files cannot unset one. Lists take
//! commas or blanks, and their flags may repeat.
//!
//! A configuration file was left out: systemd's `EnvironmentFile=` is one already, and two sources that
//! each may hold any setting need rules that nobody remembers. clap's derive was left out because hidden
//! second names, per-program variables and collecting mistakes would each need a way around it.
//!
//! ```
//! use service::config::{Program, Setting, Sound, Common, Exit};
//! use std::collections::BTreeMap;
//!
//! const PROGRAM: Program = Program {
//!     name: "example",
//!     version: "1.0.0",
//!     about: "shows settings",
//!     env_prefix: "EXAMPLE",
//!     listen_default: "127.0.0.1:8080",
//!     settings: &[Setting { flag: "ttl", value_name: "DURATION", default: Some("5s"),
//!                           legacy_env: &["TTL"], help: "How long answers may be kept", ..Setting::BLANK }],
//! };
//!
//! struct Config { common: Common, ttl: std::time::Duration }
//!
//! fn read(arguments: &[&str], environment: &BTreeMap<String, String>) -> Result<Sound<Config>, Exit> {
//!     let mut reader = PROGRAM.read(arguments, environment)?;
//!     let common = reader.common();
//!     let ttl = reader.take_duration("ttl");
//!     let config = (|| Some(Config { common: common?, ttl: ttl? }))();
//!     reader.finish(config)
//! }
//! let sound = read(&["example", "--ttl", "300ms"], &BTreeMap::new()).unwrap();
//! assert_eq!(sound.config.ttl.as_millis(), 300);
//! ```

mod client_tls;
mod command;
mod common;
mod reader;
mod secret;
mod secrets;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

pub use client_tls::{ClientTlsFiles, ClientTlsFlags, ETCD_SETTINGS, EtcdProof, ReadFiles, ReadPassword};
pub use reader::{Reader, Sound};
pub use secret::{Secret, SecretError, SecretSource};
pub use value::{DnsServer, HttpListen, parse_duration};

use crate::access::Access;
use crate::files::KeptFiles;
use crate::telemetry::{LogFilter, LogFormat};

/// EX_USAGE of sysexits.h: the settings are wrong; starting again unchanged will not help.
pub const EXIT_USAGE: u8 = 64;

/// One setting of a program.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its flag without the dashes; also its name for [`Reader::take`].
    pub flag: &'static str,
    /// Its environment variable; empty: made of the program's prefix and the flag (`DNSD_TTL_REFRESH`).
    pub env: &'static str,
    /// Variables of the originals that mean the same; read if `env` is unset.
    pub legacy_env: &'static [&'static str],
    /// Flags of the originals that mean the same; accepted, not shown in the help.
    pub legacy_flags: &'static [&'static str],
    /// What the help calls the value; empty: a switch.
    pub value_name: &'static str,
    /// The value if nobody sets one.
    pub default: Option<&'static str>,
    /// A list: the flag may repeat, and values are separated by commas or blanks.
    pub repeatable: bool,
    /// One sentence for the help.
    pub help: &'static str,
}

impl Setting {
    /// A switch without a name, to fill in with `..Setting::BLANK`.
    pub const BLANK: Setting = Setting {
        flag: "",
        env: "",
        legacy_env: &[],
        legacy_flags: &[],
        value_name: "",
        default: None,
        repeatable: false,
        help: "",
    };

    /// Whether it is on or off instead of having a value.
    pub fn is_switch(&self) -> bool {
        self.value_name.is_empty()
    }

    /// Its environment variable in the given program.
    pub fn env_name(&self, prefix: &str) -> String {
        if self.env.is_empty() {
            format!("{prefix}_{}", self.flag.replace('-', "_").to_ascii_uppercase())
        } else {
            self.env.to_owned()
        }
    }
}

/// A program and its settings. The common ones ([`Common`]) are added to its own.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The name of the binary.
    pub name: &'static str,
    /// For `--version`: `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// One sentence for the help.
    pub about: &'static str,
    /// What its variables begin with, without the underscore: `DICTATOR`.
    pub env_prefix: &'static str,
    /// The default of the common setting `--listen`.
    pub listen_default: &'static str,
    /// Its own settings.
    pub settings: &'static [Setting],
}

impl Program {
    /// Reads flags (the first argument is the program's name, as in `std::env::args_os`) and variables.
    ///
    /// # Errors
    /// [`Exit`] for `--help`, `--version` and flags that do not exist. Values are not judged yet.
    pub fn read<I, T>(&self, arguments: I, environment: &BTreeMap<String, String>) -> Result<Reader, Exit>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        Reader::read(self, arguments, environment)
    }
}

/// The settings that every daemon has, judged.
#[derive(Debug, Clone)]
pub struct Common {
    /// Where the HTTP face listens (`--listen`).
    pub listen: SocketAddr,
    /// Serving without authentication beyond loopback was permitted (`--insecure-no-auth`).
    pub insecure_no_auth: bool,
    /// Who is let in, and whether connections are private (`--tokens-file`, `--tls-cert`, `--tls-client-ca`).
    pub access: Access,
    /// What is made of files and kept fresh.
    pub files: KeptFiles,
    /// Host names besides IP addresses and localhost under which the HTTP face is asked (`--allow-host`).
    pub allow_hosts: Vec<String>,
    /// Where the daemon keeps what has to survive a restart (`--state-dir`).
    pub state_dir: PathBuf,
    /// Text or JSON (`--log-format`).
    pub log_format: LogFormat,
    /// Level or filter (`--log`).
    pub log: LogFilter,
}

/// An end of the program before it began: what to print, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// 0, or [`EXIT_USAGE`].
    pub code: u8,
    /// For standard output: help, version.
    pub stdout: String,
    /// For standard error: every mistake.
    pub stderr: String,
}

impl Exit {
    /// Prints and gives the code to return from `main`. A closed pipe is no reason to panic.
    pub fn report(&self) -> ExitCode {
        let printed = std::io::stdout().write_all(self.stdout.as_bytes());
        let complained = std::io::stderr().write_all(self.stderr.as_bytes());
        match printed.and(complained) {
            Ok(()) => ExitCode::from(self.code),
            Err(_) => ExitCode::from(self.code.max(1)),
        }
    }
}

/// The environment of this process. Variables that are not Unicode are left out.
#[allow(clippy::disallowed_methods, reason = "settings are read here and nowhere else")]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests;
