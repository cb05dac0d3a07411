//! Three ways to move a master, as an operator would use them.
//!
//! All three end the same way: every other node follows the new master with its link up. None of
//! them opens a connection while writes stand still; those of the peers are opened beforehand and
//! kept, as a fair rival would.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::resp::{Connection, Reply};
use harness::whole::document;
use harness::{Daemon, Redis};
use serde_json::Value;

/// Longest time one switch may take before the run is given up.
const SWITCH_DEADLINE: Duration = Duration::from_secs(60);
/// What FAILOVER may take before it gives up by itself, in milliseconds.
const FAILOVER_TIMEOUT_MS: u32 = 10_000;
/// How often the operator looks whether FAILOVER is done, or links are up.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// How often the original looks at the offsets: every tenth of a second.
const ORIGINAL_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// More slaves than anybody has: what the original demands so that the master refuses writes.
const ORIGINAL_DENY: &str = "1000000";

/// A way to move the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `PUT /master` to a running dictator.
    Ours,
    /// `FAILOVER TO host port TIMEOUT ms`, and the third node re-pointed afterwards.
    Failover,
    /// The algorithm of the original tool: refuse writes by `min-slaves-to-write`, wait until
    /// every slave has acknowledged the master's offset, promote, re-point, allow writes again.
    Original,
}

impl Way {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 3] = [Self::Ours, Self::Failover, Self::Original];

    /// Its name on the command line.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Failover => "failover",
            Self::Original => "original",
        }
    }

    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "redis-dictator",
            Self::Failover => "redis FAILOVER",
            Self::Original => "the original",
        }
    }
}

/// Who moves the master.
pub(crate) struct Operator<'a> {
    nodes: &'a [Redis],
    lines: Vec<Connection>,
    dictator: Option<&'a Daemon>,
}

impl<'a> Operator<'a> {
    /// Connects to all nodes.
    pub(crate) fn new(nodes: &'a [Redis], dictator: Option<&'a Daemon>) -> Self {
        Self { nodes, lines: nodes.iter().map(Redis::connect).collect(), dictator }
    }

    /// Moves the master and returns our receipt, if it was our way. Followers have been told their
    /// place; their links may still be on the way up.
    pub(crate) fn switch(&mut self, way: Way, from: usize, to: usize) -> Option<Value> {
        match way {
            Way::Ours => {
                let dictator = self.dictator.expect("our way needs a dictator");
                Some(dictator.put_master(&document(self.nodes, to)).expect(200).json())
            }
            Way::Failover => {
                self.by_failover(from, to);
                None
            }
            Way::Original => {
                self.by_original(from, to);
                None
            }
        }
    }

    /// Tells the dictator, if there is one, of a move that was not its own. It accepts one move by
    /// others as a continuation of the history it knows, and rightly refuses what it cannot trace.
    pub(crate) fn make_known(&self, master: usize) {
        if let Some(dictator) = self.dictator {
            dictator.http().put("/master?wait=links", &document(self.nodes, master)).expect(200);
        }
    }

    /// Waits until everyone follows the node with this index, links up.
    pub(crate) fn wait_followers(&mut self, master: usize) {
        let port = self.address(master).port().to_string();
        for index in (0..self.nodes.len()).filter(|index| *index != master) {
            let mut seen = Vec::new();
            self.look("the links to come up", LOOK_INTERVAL, |operator| {
                seen = operator.replication(index, &["role", "master_port", "master_link_status"]);
                seen == ["slave", &port, "up"]
            });
        }
    }

    fn by_failover(&mut self, from: usize, to: usize) {
        let target = self.address(to);
        let (host, port) = (target.ip().to_string(), target.port().to_string());
        let timeout = FAILOVER_TIMEOUT_MS.to_string();
        self.order(from, &["FAILOVER", "TO", &host, &port, "TIMEOUT", &timeout]);
        self.look("FAILOVER to end", LOOK_INTERVAL, |operator| {
            operator.replication(to, &["role"]) == ["master"]
                && operator.replication(from, &["role", "master_failover_state"]) == ["slave", "no-failover"]
        });
        // FAILOVER changes two nodes; the others would go on following the old master.
        for index in (0..self.nodes.len()).filter(|index| *index != from && *index != to) {
            self.order(index, &["REPLICAOF", &host, &port]);
        }
    }

    fn by_original(&mut self, from: usize, to: usize) {
        let target = self.address(to);
        let (host, port) = (target.ip().to_string(), target.port().to_string());
        let saved = match self.order(from, &["CONFIG", "GET", "min-slaves-to-write"]) {
            reply @ Reply::Array(_) => reply.elements().pop().map(|value| value.text()).unwrap_or_default(),
            other => panic!("CONFIG GET: {other}"),
        };
        self.order(from, &["CONFIG", "SET", "min-slaves-to-write", ORIGINAL_DENY]);
        let slaves = self.nodes.len() - 1;
        self.look("all slaves to acknowledge the offset", ORIGINAL_LOOK_INTERVAL, |operator| {
            let info = operator.info_replication(from);
            let offset = format!("offset={},", field(&info, "master_repl_offset"));
            let states: Vec<&str> = info.lines().filter(|line| is_slave_line(line)).collect();
            states.len() == slaves && states.iter().all(|line| line.contains(&offset))
        });
        self.order(to, &["SLAVEOF", "NO", "ONE"]);
        for index in (0..self.nodes.len()).filter(|index| *index != to) {
            self.order(index, &["SLAVEOF", &host, &port]);
        }
        // The original has a message handed round by the new master; links that are up say the same.
        self.wait_followers(to);
        self.order(from, &["CONFIG", "SET", "min-slaves-to-write", &saved]);
    }

    fn address(&self, index: usize) -> SocketAddr {
        self.nodes[index].address()
    }

    fn order(&mut self, index: usize, words: &[&str]) -> Reply {
        let address = self.address(index);
        match self.lines[index].command(words) {
            Ok(Reply::Error(text)) => panic!("{words:?} at {address}: {text}"),
            Ok(reply) => reply,
            Err(error) => panic!("{words:?} at {address}: {error}"),
        }
    }

    fn info_replication(&mut self, index: usize) -> String {
        self.order(index, &["INFO", "replication"]).text()
    }

    fn replication(&mut self, index: usize, names: &[&str]) -> Vec<String> {
        let info = self.info_replication(index);
        names.iter().map(|name| field(&info, name).to_owned()).collect()
    }

    fn look(&mut self, what: &str, interval: Duration, mut holds: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < SWITCH_DEADLINE, "waited {SWITCH_DEADLINE:?} in vain for {what}");
            std::thread::sleep(interval);
        }
    }
}

/// The line of `INFO replication` about one slave: `slave0:ip=…,port=…,state=online,offset=…,lag=…`.
fn is_slave_line(line: &str) -> bool {
    line.strip_prefix("slave").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
    info.lines().find_map(value).unwrap_or_default().trim_end()
}
