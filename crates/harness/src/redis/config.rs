//! The redis.conf of a test's node.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// How a node keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Not at all.
    None,
    /// In an append-only file, synced once a second. Offsets do not survive a restart.
    Aof,
    /// In an RDB file written on SIGTERM. Offsets survive a restart.
    Rdb,
}

/// What a node is when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Born {
    /// `replicaof 127.0.0.1 0`: read-only and following nobody, until it is told its place.
    Unassigned,
    /// A master, as redis is by default.
    Plain,
}

/// How to configure a node.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// How it keeps its data.
    pub persistence: Persistence,
    /// What it is when it starts.
    pub born: Born,
    /// Further lines of redis.conf, after all others.
    pub lines: Vec<String>,
    /// Settings, by name, that the server does not know; their lines are left out.
    pub unknown_settings: Vec<String>,
    /// The server's program, for tests with another version.
    pub program: PathBuf,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            persistence: Persistence::Aof,
            born: Born::Unassigned,
            lines: Vec::new(),
            unknown_settings: Vec::new(),
            program: "redis-server".into(),
        }
    }
}

impl RedisOptions {
    /// As the shipped configuration, but a master from birth.
    pub fn plain() -> Self {
        Self { born: Born::Plain, ..Self::default() }
    }

    /// With this persistence.
    #[must_use]
    pub fn persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }

    /// With one more line in redis.conf.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }
}

/// The text of redis.conf.
pub(super) fn text(options: &RedisOptions, address: SocketAddr, folder: &Path) -> String {
    let (appendonly, save) = match options.persistence {
        Persistence::None => ("no", r#"save """#),
        Persistence::Aof => ("yes", r#"save """#),
        // Never by time in a test's life; on SIGTERM, which needs a save point to be set.
        Persistence::Rdb => ("no", "save 86400 1000000000"),
    };
    let mut text = format!(
        "bind {ip}\nport {port}\ndir {dir}\nappendonly {appendonly}\n{save}\n\
         protected-mode no\nenable-debug-command local\nrepl-diskless-sync-delay 0\nrepl-backlog-size 64mb\n",
        ip = address.ip(),
        port = address.port(),
        dir = folder.display(),
    );
    if options.born == Born::Unassigned {
        text.push_str("replicaof 127.0.0.1 0\n");
    }
    for line in &options.lines {
        text.push_str(line);
        text.push('\n');
    }
    let known =
        |line: &&str| options.unknown_settings.iter().all(|name| line.split(' ').next() != Some(name));
    text.lines().filter(known).map(|line| format!("{line}\n")).collect()
}
