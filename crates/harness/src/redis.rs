//! A real redis node, and what tests ask it.
//!
//! What a node was sent is judged by `INFO commandstats`, not by MONITOR: redis hides
//! administrative commands (REPLICAOF, CONFIG, CLIENT PAUSE: exactly those that matter here) from
//! MONITOR (redis `src/server.c`, `call`), while commandstats counts every one of them, rejected
//! ones too. [`Monitor`] is there for the arguments of all others.

mod config;
mod data;
mod monitor;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

pub use config::{Born, Persistence, RedisOptions};
pub use monitor::{CommandCounts, Monitor, assert_only_reads};

use crate::logs;
use crate::ports::free_address;
use crate::process::{Process, Recipe};
use crate::resp::{Connection, Reply};
use crate::wait::{ensure, wait_until};

/// How long a node may take until it answers PING.
const READY_DEADLINE: Duration = Duration::from_secs(10);
/// How long slaves may take to catch up and links to come up in [`wait_links_up`].
const SYNC_DEADLINE: Duration = Duration::from_secs(10);
/// How long a digest may take; redis reads through a gigabyte in several seconds.
const DIGEST_DEADLINE: Duration = Duration::from_secs(60);
/// How long a SIGTERM may take: redis writes its RDB file before it ends.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Attempts to start on a fresh port, should another process take it in between.
const STARTS_MAX: usize = 5;

/// A redis-server process.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    address: SocketAddr,
    folder: TempDir,
}

impl Redis {
    /// Starts a node as the shipped configuration does: born unassigned, append-only file on.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        Self::start_with(&RedisOptions::default())
    }

    /// Starts a node and waits until it answers, loading or not.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with(options: &RedisOptions) -> Self {
        for _ in 0..STARTS_MAX {
            let address = free_address();
            let mut node = Self::prepare(address, options);
            node.process.start();
            if node.wait_answering() {
                return node;
            }
        }
        panic!("redis-server did not start, {STARTS_MAX} times");
    }

    /// `count` nodes started alike.
    ///
    /// # Panics
    /// When one does not start.
    pub fn start_many(count: usize, options: &RedisOptions) -> Vec<Self> {
        (0..count).map(|_| Self::start_with(options)).collect()
    }

    /// A node with its folder and configuration but not running: a node that is down.
    pub fn prepare(address: SocketAddr, options: &RedisOptions) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path();
        std::fs::write(path.join("redis.conf"), config::text(options, address, path))
            .expect("redis.conf can be written");
        let process = Process::new(Recipe {
            name: format!("redis-server at {address}"),
            program: options.program.clone(),
            arguments: vec!["redis.conf".into()],
            environment: Vec::new(),
            folder: path.into(),
            log: path.join("redis.log"),
        });
        Self { process, address, folder }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node as a document names it: `{"address": "127.0.0.1", "port": 12345}`.
    pub fn json(&self) -> Value {
        json!({"address": self.address.ip().to_string(), "port": self.address.port()})
    }

    /// The node with its present run id, as an entry of a document's `discard`.
    pub fn discard_json(&self) -> Value {
        let mut entry = self.json();
        entry["run_id"] = self.run_id().into();
        entry
    }

    /// The process: its pid, to freeze and thaw it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The folder of its data.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM: redis saves what it is configured to save.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) {
        self.process.terminate_insistently(STOP_DEADLINE);
    }

    /// Starts it again with the same configuration, data and port, and waits until it answers, loading
    /// or not.
    ///
    /// # Panics
    /// When it does not.
    pub fn start_again(&mut self) {
        for _ in 0..STARTS_MAX {
            self.process.start();
            if self.wait_answering() {
                return;
            }
        }
        panic!(
            "{} did not start again:\n{}",
            self.process.recipe().name,
            logs::tail(&self.process.recipe().log)
        );
    }

    /// Starts it with another configuration or program next time; port and data stay.
    ///
    /// # Panics
    /// When redis.conf cannot be written.
    pub fn reconfigure(&mut self, options: &RedisOptions) {
        let path = self.folder.path();
        std::fs::write(path.join("redis.conf"), config::text(options, self.address, path))
            .expect("redis.conf can be written");
        self.process.recipe_mut().program.clone_from(&options.program);
    }

    /// Deletes the data of a stopped node, as a lost disk would.
    ///
    /// # Panics
    /// When a file cannot be removed.
    pub fn lose_data(&mut self) {
        assert!(!self.process.is_running(), "a running node keeps its data in memory");
        for name in ["appendonlydir", "dump.rdb"] {
            let path = self.folder.path().join(name);
            let removed =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            if let Err(error) = removed
                && error.kind() != std::io::ErrorKind::NotFound
            {
                panic!("cannot remove {}: {error}", path.display());
            }
        }
    }

    /// A new connection.
    ///
    /// # Panics
    /// When the node cannot be reached.
    pub fn connect(&self) -> Connection {
        Connection::open(self.address).unwrap_or_else(|error| panic!("redis at {}: {error}", self.address))
    }

    /// Sends one command on a connection of its own; words are separated by blanks.
    ///
    /// # Panics
    /// When no reply comes. An error reply is returned as such.
    pub fn command(&self, words: &str) -> Reply {
        self.try_command(words).unwrap_or_else(|error| panic!("{words} at {}: {error}", self.address))
    }

    /// Sends one command on a connection of its own, without panicking.
    ///
    /// # Errors
    /// When no reply comes.
    pub fn try_command(&self, words: &str) -> std::io::Result<Reply> {
        let words: Vec<&str> = words.split_whitespace().collect();
        Connection::open(self.address)?.command(&words)
    }

    /// All fields of INFO, those of `commandstats` and the like too.
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn info(&self) -> BTreeMap<String, String> {
        parse_info(&self.command("INFO everything").text())
    }

    /// One field of INFO; empty if it is not there.
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn info_field(&self, name: &str) -> String {
        self.info().remove(name).unwrap_or_default()
    }

    /// Its run id: one life of one node.
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn run_id(&self) -> String {
        self.info_field("run_id")
    }

    /// `master` or `slave`.
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn role(&self) -> String {
        self.info_field("role")
    }

    /// Where it replicates from, as it was told: `127.0.0.1:0` when parked, `None` for a master.
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn follows(&self) -> Option<String> {
        let info = self.info();
        let host = info.get("master_host")?;
        Some(format!("{host}:{}", info.get("master_port")?))
    }

    /// How many keys it holds, once it has loaded them.
    ///
    /// # Panics
    /// When the node does not answer, or does not finish loading in ten seconds.
    pub fn keys(&self) -> u64 {
        wait_until("the node to have loaded its data", READY_DEADLINE, || match self.command("DBSIZE") {
            Reply::Integer(count) => Ok(count.unsigned_abs()),
            other => Err(other.to_string()),
        })
    }

    /// A digest of its whole dataset.
    ///
    /// # Panics
    /// When the node does not answer or DEBUG is not enabled.
    pub fn digest(&self) -> String {
        let mut connection = self.connect();
        let reply = connection.set_reply_deadline(DIGEST_DEADLINE);
        match reply.and_then(|()| connection.command(&["DEBUG", "DIGEST"])) {
            Ok(Reply::Simple(digest)) => digest,
            other => panic!("DEBUG DIGEST at {}: {other:?}", self.address),
        }
    }

    /// How often it has been asked each command since its start, subcommands apart.
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn command_counts(&self) -> CommandCounts {
        CommandCounts::from_info(&self.info())
    }

    /// Full resyncs it has served since its start.
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn full_resyncs(&self) -> u64 {
        self.info_field("sync_full").parse().unwrap_or_default()
    }

    /// False if the process ended, as it does when the port was taken.
    fn wait_answering(&mut self) -> bool {
        let (address, process) = (self.address, &mut self.process);
        wait_until("redis-server to answer PING", READY_DEADLINE, || {
            if !process.is_running() {
                return Ok(false);
            }
            // An error reply (LOADING, NOAUTH) is an answer too.
            Connection::open(address).and_then(|mut connection| connection.command(&["PING"])).map(|_| true)
        })
    }
}

/// A document: `master`, then its slaves.
pub fn topology(master: &Redis, slaves: &[&Redis]) -> Value {
    json!({"master": master.json(), "slaves": slaves.iter().map(|slave| slave.json()).collect::<Vec<_>>()})
}

/// Makes `master` a master and `slaves` its slaves by hand, and waits until all links are up.
///
/// # Panics
/// When redis refuses or the links do not come up.
pub fn wire_by_hand(master: &Redis, slaves: &[&Redis]) {
    assert_eq!(master.command("REPLICAOF NO ONE"), Reply::Simple("OK".into()));
    for slave in slaves {
        let reply = slave.command(&format!("REPLICAOF {} {}", master.address.ip(), master.address.port()));
        assert!(!reply.is_error(), "{reply}");
    }
    wait_links_up(master, slaves);
}

/// Waits until every slave follows `master` with its link up and has applied what the master has.
///
/// # Panics
/// When that does not come true in ten seconds.
pub fn wait_links_up(master: &Redis, slaves: &[&Redis]) {
    let port = master.address.port().to_string();
    for slave in slaves {
        wait_until("a slave to follow its master", SYNC_DEADLINE, || {
            let info = slave.info();
            let field = |name: &str| info.get(name).map_or("", String::as_str);
            let caught_up = field("slave_repl_offset") == master.info_field("master_repl_offset");
            ensure(
                field("master_port") == port && field("master_link_status") == "up" && caught_up,
                format!(
                    "{}: role {} of port {} (wanted {port}), link {}, offset {}",
                    slave.address,
                    field("role"),
                    field("master_port"),
                    field("master_link_status"),
                    field("slave_repl_offset"),
                ),
            )
        });
    }
}

/// Waits until all nodes hold the same data.
///
/// # Panics
/// When they do not in ten seconds.
pub fn wait_equal_data(nodes: &[&Redis]) {
    wait_until("the nodes to hold equal data", SYNC_DEADLINE, || {
        let digests: Vec<String> = nodes.iter().map(|node| node.digest()).collect();
        ensure(digests.windows(2).all(|pair| pair[0] == pair[1]), format!("{digests:?}"))
    });
}

/// The nodes among `nodes` that take writes: role master.
///
/// # Panics
/// When a node does not answer.
pub fn masters<'a>(nodes: &[&'a Redis]) -> Vec<&'a Redis> {
    nodes.iter().copied().filter(|node| node.role() == "master").collect()
}

fn parse_info(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim_end().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests;
