//! A dictator and the nodes under it, as the tests of its front door want them.

use std::time::Duration;

use serde_json::Value;

use crate::daemon::{Daemon, DaemonOptions};
use crate::http::HttpAnswer;
use crate::redis::{CommandCounts, Redis, RedisOptions, masters, wait_equal_data, wait_links_up};
use crate::resp::Reply;
use crate::wait::{ensure, wait_until};
use crate::whole::document;

/// How long enforcement and links may take in a test until all is as the document says.
const SETTLED_DEADLINE: Duration = Duration::from_secs(20);

/// A dictator with its nodes. The dictator is dropped first, or it would rightly complain about them.
#[derive(Debug)]
pub struct Cluster {
    /// The dictator.
    pub dictator: Daemon,
    /// The nodes.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts nodes and a dictator; no document is in force yet.
    ///
    /// # Panics
    /// When something does not start.
    pub fn start(count: usize, redis: &RedisOptions, dictator: &DaemonOptions) -> Self {
        let nodes = Redis::start_many(count, redis);
        Self { dictator: Daemon::dictator(dictator), nodes }
    }

    /// The same, with the first node as master and all others as its slaves, links up.
    ///
    /// # Panics
    /// When that is refused.
    pub fn established(count: usize, redis: &RedisOptions, dictator: &DaemonOptions) -> Self {
        let cluster = Self::start(count, redis, dictator);
        let receipt = cluster.move_to(0);
        assert_eq!(receipt["outcome"], "established", "{receipt}");
        cluster
    }

    /// The document that makes the node with this index master and all others its slaves.
    pub fn document(&self, master: usize) -> Value {
        document(&self.nodes, master)
    }

    /// `PUT /master?wait=links` with [`Self::document`].
    ///
    /// # Panics
    /// When no answer comes.
    pub fn put(&self, master: usize) -> HttpAnswer {
        self.put_document(&self.document(master))
    }

    /// `PUT /master?wait=links` with this document.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn put_document(&self, document: &Value) -> HttpAnswer {
        self.dictator.http().put("/master?wait=links", document)
    }

    /// Moves the master and returns the receipt, all links up and the data equal.
    ///
    /// # Panics
    /// When that is refused.
    #[track_caller]
    pub fn move_to(&self, master: usize) -> Value {
        let receipt = self.put(master).expect(200).json();
        self.assert_settled(master);
        receipt
    }

    /// Waits until the node with this index is the only master, all others follow it with their links
    /// up, and all hold the same data.
    ///
    /// # Panics
    /// When that does not come true.
    #[track_caller]
    pub fn assert_settled(&self, master: usize) {
        assert_settled(&self.nodes[master], &self.others(master));
    }

    /// The same while writes go on, when data is never equal for long: roles and links only.
    ///
    /// # Panics
    /// When that does not come true.
    #[track_caller]
    pub fn assert_settled_under_load(&self, master: usize) {
        wait_until("one master and links that are up", SETTLED_DEADLINE, || {
            let state: Vec<(String, String)> =
                self.nodes.iter().map(|node| (node.role(), node.info_field("master_link_status"))).collect();
            let settled = state.iter().enumerate().all(|(index, (role, link))| {
                if index == master { role == "master" } else { role == "slave" && link == "up" }
            });
            ensure(settled, format!("{state:?}"))
        });
    }

    /// All nodes but the one with this index.
    pub fn others(&self, master: usize) -> Vec<&Redis> {
        self.nodes.iter().enumerate().filter(|(index, _)| *index != master).map(|(_, node)| node).collect()
    }

    /// All nodes.
    pub fn all(&self) -> Vec<&Redis> {
        self.nodes.iter().collect()
    }

    /// Waits until the dictator itself sees nothing left to do.
    ///
    /// # Panics
    /// When that does not come true.
    pub fn wait_no_drift(&self) {
        wait_until("the dictator to see no drift", SETTLED_DEADLINE, || {
            let status = self.dictator.status();
            ensure(status["drift"] == false, status.to_string())
        });
    }

    /// Waits until enforcement itself says that it is stuck at the problem of this name.
    ///
    /// # Panics
    /// When that does not come true.
    pub fn wait_stuck(&self, slug: &str) {
        wait_until("enforcement to refuse", SETTLED_DEADLINE, || {
            let status = self.dictator.status();
            ensure(status["problem"]["type"] == slug, status.to_string())
        });
    }
}

/// Settings that make a dictator's deadlines as short as a test wants them.
pub fn quick() -> DaemonOptions {
    DaemonOptions::new()
        .flag("--enforce-interval", "200ms")
        .flag("--apply-timeout", "5s")
        .flag("--max-write-pause", "500ms")
}

/// The same without enforcement: nothing happens but what is asked.
pub fn quick_without_enforcement() -> DaemonOptions {
    DaemonOptions::new()
        .flag("--enforce-interval", "0")
        .flag("--apply-timeout", "5s")
        .flag("--max-write-pause", "500ms")
}

/// Waits until `master` is a master, `slaves` follow it with their links up, and all hold the same data.
///
/// # Panics
/// When that does not come true.
#[track_caller]
pub fn assert_settled(master: &Redis, slaves: &[&Redis]) {
    wait_until("the master's role", SETTLED_DEADLINE, || {
        ensure(master.role() == "master", format!("{} is {}", master.address(), master.role()))
    });
    wait_links_up(master, slaves);
    let mut all = slaves.to_vec();
    all.push(master);
    wait_equal_data(&all);
    let masters = masters(&all);
    assert_eq!(masters.len(), 1, "{:?}", masters.iter().map(|node| node.address()).collect::<Vec<_>>());
}

/// Asserts that an answer is this problem, with everything a problem must have, and returns it.
///
/// # Panics
/// When it is not, with the whole answer.
#[track_caller]
pub fn assert_problem(answer: &HttpAnswer, status: u16, slug: &str) -> Value {
    assert_eq!((answer.status, answer.slug().as_str()), (status, slug), "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:redis-dictator:{slug}"));
    assert_eq!(problem["status"], status, "the body repeats the status: {problem}");
    for member in ["title", "detail", "do", "request_id"] {
        let text = problem[member].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "no `{member}` in {problem}");
    }
    assert_eq!(answer.header("x-request-id"), problem["request_id"].as_str(), "{problem}");
    problem
}

/// What a node is, as far as a change of roles could be seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    role: String,
    follows: Option<String>,
    replid: String,
    read_only: String,
}

impl Standing {
    /// Reads it.
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn of(node: &Redis) -> Self {
        Self {
            role: node.role(),
            follows: node.follows(),
            replid: node.info_field("master_replid"),
            read_only: node.info_field("slave_read_only"),
        }
    }
}

/// Asserts that `action` changed no role, and that no node was sent anything but reads; returns what
/// `action` returned.
///
/// # Panics
/// When anything changed, naming the node.
#[track_caller]
pub fn assert_untouched<T>(nodes: &[&Redis], action: impl FnOnce() -> T) -> T {
    let before: Vec<(Standing, CommandCounts)> =
        nodes.iter().map(|node| (Standing::of(node), node.command_counts())).collect();
    let outcome = action();
    for (node, (standing, counts)) in nodes.iter().zip(&before) {
        let beyond = node.command_counts().since(counts).beyond_reads();
        assert!(beyond.is_empty(), "{} was sent more than reads: {beyond:?}", node.address());
        assert_eq!(*standing, Standing::of(node), "{}", node.address());
    }
    outcome
}

/// Asserts that a write to `master` is done at once, so that nothing holds writes back there.
///
/// # Panics
/// When it is not.
#[track_caller]
pub fn assert_takes_writes(master: &Redis) {
    /// Far shorter than any pause that a dictator orders.
    const AT_ONCE: Duration = Duration::from_millis(250);
    let mut connection = master.connect();
    connection.set_reply_deadline(AT_ONCE).expect("a deadline can be set");
    let reply = connection.command(&["SET", "probe:of-the-test", "1"]);
    assert_eq!(reply.ok(), Some(Reply::Simple("OK".into())), "{} takes no writes", master.address());
}

/// Asserts that a node was never told to pause its clients in this life.
///
/// # Panics
/// When it was.
#[track_caller]
pub fn assert_never_paused(nodes: &[&Redis]) {
    for node in nodes {
        assert_eq!(node.command_counts().of("client|pause"), 0, "{} was paused", node.address());
    }
}
