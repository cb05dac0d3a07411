//! Redis and valkey in other versions than the installed one, where `.ci/servers` has fetched them.
//!
//! They lie in `target/servers/<name>/server`. A test that wants one that is not there says so in one
//! line and does without: what was fetched is a matter of the network, not of this repository.

use std::path::PathBuf;
use std::process::Command;

use crate::binaries::workspace;
use crate::redis::RedisOptions;

/// The name of the server that is always there: the installed one.
pub const INSTALLED: &str = "redis-7.0";

/// A server program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// As `.ci/servers` calls it: `valkey-8.1`.
    pub name: String,
    /// As it calls itself: `valkey 8.1.1`.
    pub version: String,
    program: PathBuf,
}

impl Server {
    /// The server of this name; `None`, with a line on standard error, if it is not there.
    pub fn find(name: &str) -> Option<Self> {
        let program = match name {
            INSTALLED => PathBuf::from("redis-server"),
            _ => workspace().join("target/servers").join(name).join("server"),
        };
        let Some(version) = version(&program) else {
            eprintln!("skipped: {name} is not there; .ci/servers fetches it");
            return None;
        };
        Some(Self { name: name.to_owned(), version, program })
    }

    /// The usual configuration of a node, as far as this server knows its settings.
    pub fn options(&self) -> RedisOptions {
        // Redis before 7.0 permits DEBUG without being told to.
        let unknown = if self.name == "redis-6.2" { vec!["enable-debug-command".to_owned()] } else { vec![] };
        RedisOptions { program: self.program.clone(), unknown_settings: unknown, ..RedisOptions::default() }
    }
}

/// `Redis server v=7.0.15 sha=…` as `redis 7.0.15`.
fn version(program: &PathBuf) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    Some(format!("{} {number}", text.split_whitespace().next()?.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_one_is_there_and_an_invented_one_is_not() {
        let installed = Server::find(INSTALLED).expect("redis-server is installed");
        assert!(installed.version.starts_with("redis "), "{}", installed.version);
        assert_eq!(Server::find("redis-0.1"), None);
    }
}
