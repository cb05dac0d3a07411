//! What a node was sent: counted by redis itself, or overheard with MONITOR.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Redis;
use crate::resp::{Connection, Reply};

/// How often the listening thread looks whether it shall end.
const MONITOR_POLL: Duration = Duration::from_millis(50);

/// Commands that change neither data nor role nor settings. `client|setname` and its like label a
/// connection only; `replconf` and `psync` are a slave's part of replication. `publish` is here since
/// a slave neither keeps nor sends on what is published on it: it feels whether writes are paused.
const READS: [&str; 30] = [
    "acl|cat",
    "acl|whoami",
    "auth",
    "client|getname",
    "client|id",
    "client|info",
    "client|list",
    "client|setinfo",
    "client|setname",
    "command",
    "command|docs",
    "command|info",
    "config|get",
    "dbsize",
    "debug",
    "echo",
    "get",
    "hello",
    "info",
    "lastsave",
    "memory|usage",
    "ping",
    "psync",
    "publish",
    "pubsub|numsub",
    "replconf",
    "role",
    "select",
    "slowlog|get",
    "time",
];

/// Calls per command since a node's start, as `INFO commandstats` tells: successful, failed and
/// rejected ones. Subcommands are apart: `client|pause`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandCounts(BTreeMap<String, u64>);

impl CommandCounts {
    pub(super) fn from_info(info: &BTreeMap<String, String>) -> Self {
        let counts = info.iter().filter_map(|(name, value)| {
            let command = name.strip_prefix("cmdstat_")?;
            let field = |wanted: &str| {
                value
                    .split(',')
                    .filter_map(|pair| pair.split_once('='))
                    .find(|(name, _)| *name == wanted)
                    .and_then(|(_, number)| number.parse::<u64>().ok())
                    .unwrap_or_default()
            };
            Some((command.to_owned(), field("calls") + field("rejected_calls")))
        });
        Self(counts.collect())
    }

    /// How often `command` was sent.
    pub fn of(&self, command: &str) -> u64 {
        self.0.get(command).copied().unwrap_or_default()
    }

    /// What was sent since `earlier`, a count of the same life of the same node.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let changed = self.0.iter().filter_map(|(command, count)| {
            let more = count.saturating_sub(earlier.of(command));
            (more > 0).then(|| (command.clone(), more))
        });
        Self(changed.collect())
    }

    /// Those commands that are not mere reads, with their counts.
    pub fn beyond_reads(&self) -> BTreeMap<String, u64> {
        let reads = |command: &str| READS.contains(&command);
        self.0
            .iter()
            .filter(|(command, _)| !reads(command))
            .map(|(name, count)| (name.clone(), *count))
            .collect()
    }
}

/// Asserts that while `action` ran, none of `nodes` was sent anything but reads, and returns what
/// `action` returned. `INFO` of the harness itself is among the reads.
///
/// # Panics
/// When a node was sent anything else, naming it.
pub fn assert_only_reads<T>(nodes: &[&Redis], action: impl FnOnce() -> T) -> T {
    let before: Vec<CommandCounts> = nodes.iter().map(|node| node.command_counts()).collect();
    let outcome = action();
    for (node, before) in nodes.iter().zip(&before) {
        let beyond = node.command_counts().since(before).beyond_reads();
        assert!(beyond.is_empty(), "{} was sent more than reads: {beyond:?}", node.address());
    }
    outcome
}

/// Overhears what a node executes. Administrative commands are not shown by redis.
#[derive(Debug)]
pub struct Monitor {
    stop: Arc<AtomicBool>,
    listener: Option<JoinHandle<Vec<String>>>,
}

impl Monitor {
    /// Starts to listen; what is sent to `node` after this returns is heard.
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn start(node: &Redis) -> Self {
        let mut connection = node.connect();
        let reply = connection.command(&["MONITOR"]).expect("MONITOR is answered");
        assert_eq!(reply, Reply::Simple("OK".into()));
        connection.set_reply_deadline(MONITOR_POLL).expect("a deadline can be set");
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let listener = std::thread::spawn(move || listen(connection, &told));
        Self { stop, listener: Some(listener) }
    }

    /// Ends listening and returns the lines, such as
    /// `1339518083.107412 [0 127.0.0.1:60866] "set" "a" "b"`.
    ///
    /// # Panics
    /// When the listening thread panicked.
    pub fn stop(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.listener.take().expect("stopped once").join().expect("the listener does not panic")
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn listen(mut connection: Connection, stop: &AtomicBool) -> Vec<String> {
    let mut lines = Vec::new();
    // A time-out in the middle of a line would lose its start; lines come whole on loopback.
    loop {
        match connection.receive() {
            Ok(reply) => lines.push(reply.text()),
            Err(error) if is_timeout(&error) => {
                if stop.load(Ordering::Relaxed) {
                    return lines;
                }
            }
            Err(_) => return lines,
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
