//! Several dictators over one cluster, with a proxy before every node.
//!
//! Documents name the proxies, so a test can hold back a command of the dictator that has the say, stop
//! that dictator there for longer than its lease, and see what becomes of the command and of all that
//! would have followed, once another has taken over.
//!
//! Fields are dropped in their order: the dictators go before what they depend on.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{Daemon, DaemonOptions};
use crate::http::HttpAnswer;
use crate::redis::{Redis, RedisOptions, wait_equal_data};
use crate::wait::{ensure, wait_until};
use crate::{Etcd, Proxy};

/// The record that the dictators share.
pub const RECORD_KEY: &str = "/dictator/redis-1/record";
/// The lock that one of them holds.
pub const LOCK_KEY: &str = "/dictator/redis-1/lock";

/// How long another may take until it has the say and has done what it was asked: leases, retries and a
/// busy machine.
const TAKEOVER_DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two requests while nobody has the say; each of them may touch nodes.
const ASK_INTERVAL: Duration = Duration::from_millis(20);
/// How long links may take to come up when all is done.
const SETTLED_DEADLINE: Duration = Duration::from_secs(20);

/// Dictators, etcd and nodes.
#[derive(Debug)]
pub struct Several {
    /// The dictators.
    pub dictators: Vec<Daemon>,
    /// Holds their lock and their record.
    pub etcd: Etcd,
    /// The proxy before each node.
    pub proxies: Vec<Proxy>,
    /// The nodes.
    pub nodes: Vec<Redis>,
}

/// Options of a dictator among several, with deadlines as short as a test wants them. What it says when
/// it loses the lock or etcd is announced: the tests take both away from it.
pub fn options(lease: &str) -> DaemonOptions {
    let why = "the test takes the lock, etcd or a node away from it";
    let mut options = DaemonOptions::new()
        .flag("--lease", lease)
        .flag("--enforce-interval", "200ms")
        .flag("--apply-timeout", "5s")
        .flag("--max-write-pause", "500ms");
    for part in ["lock", "etcd", "the topology cannot be kept", "the record", "the history"] {
        options = options.allow_log(part, why);
    }
    options
}

impl Several {
    /// Starts three nodes and `count` dictators; the first of these has the say, and the first node is
    /// master.
    ///
    /// # Panics
    /// When something does not start.
    pub fn established(count: usize, options: &DaemonOptions) -> Self {
        Self::established_as(count, options, |_| {})
    }

    /// The same over nodes that were prepared after their start, such as with a user for the dictators.
    ///
    /// # Panics
    /// When something does not start.
    pub fn established_as(count: usize, options: &DaemonOptions, prepare: impl FnOnce(&[Redis])) -> Self {
        Self::established_on(&RedisOptions::default(), count, options, prepare)
    }

    /// The same over nodes of another kind.
    ///
    /// # Panics
    /// When something does not start.
    pub fn established_on(
        redis: &RedisOptions,
        count: usize,
        options: &DaemonOptions,
        prepare: impl FnOnce(&[Redis]),
    ) -> Self {
        let nodes = Redis::start_many(3, redis);
        prepare(&nodes);
        let proxies: Vec<Proxy> = nodes.iter().map(Proxy::before).collect();
        let etcd = Etcd::start();
        let options = options.clone().flag("--etcd", &etcd.url());
        let first = Daemon::dictator(&options);
        let mut several = Self { dictators: vec![first], etcd, proxies, nodes };
        let receipt = several.put_until_done(0, 0);
        assert_eq!(receipt["outcome"], "established", "{receipt}");
        several.dictators.extend((1..count).map(|_| Daemon::dictator(&options)));
        several.wait_settled(0);
        several
    }

    /// The document that makes the node with this index master and all others its slaves.
    pub fn document(&self, master: usize) -> Value {
        let slaves = self.proxies.iter().enumerate().filter(|(index, _)| *index != master);
        json!({
            "master": self.proxies[master].json(),
            "slaves": slaves.map(|(_, proxy)| proxy.json()).collect::<Vec<_>>(),
        })
    }

    /// Asks a dictator to move the master.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn put(&self, dictator: usize, master: usize) -> HttpAnswer {
        self.dictators[dictator].put_master(&self.document(master))
    }

    /// The same from a thread of its own, for a dictator that will not answer soon.
    pub fn put_aside(&self, dictator: usize, master: usize) -> JoinHandle<std::io::Result<HttpAnswer>> {
        let (http, body) = (self.dictators[dictator].http(), self.document(master).to_string());
        std::thread::spawn(move || http.try_request("PUT", "/master", &[], body.as_bytes()))
    }

    /// Asks until this dictator has done it, and returns the receipt.
    ///
    /// # Panics
    /// When it does not within 30 seconds, with its last answer.
    pub fn put_until_done(&self, dictator: usize, master: usize) -> Value {
        let start = Instant::now();
        loop {
            let answer = self.put(dictator, master);
            if answer.status == 200 {
                return answer.json();
            }
            let waited = start.elapsed();
            assert!(waited < TAKEOVER_DEADLINE, "waited {waited:?} in vain; last answer: {}", answer.text());
            std::thread::sleep(ASK_INTERVAL);
        }
    }

    /// Waits until one of `among` has the say, and returns which.
    ///
    /// # Panics
    /// When none has within 30 seconds.
    pub fn wait_holder(&self, among: &[usize]) -> usize {
        wait_until("one of the dictators to have the say", TAKEOVER_DEADLINE, || {
            let answers = among.iter().map(|index| (*index, self.dictators[*index].http().get("/status")));
            let answers: Vec<_> = answers.collect();
            let holder = answers.iter().find(|(_, answer)| answer.status == 200);
            holder.map(|(index, _)| *index).ok_or_else(|| format!("{answers:?}"))
        })
    }

    /// Waits until this dictator says that `holder` has the say.
    ///
    /// # Panics
    /// When it does not within 30 seconds.
    pub fn wait_following(&self, dictator: usize, holder: usize) {
        let url = self.dictators[holder].url("");
        wait_until("a dictator to name the one that has the say", TAKEOVER_DEADLINE, || {
            let answer = self.dictators[dictator].http().get("/status");
            ensure(answer.status == 503 && answer.json()["evidence"]["leader"] == url, answer.text())
        });
    }

    /// The record in etcd, as text.
    ///
    /// # Panics
    /// When there is none.
    pub fn record(&self) -> String {
        self.etcd.get(RECORD_KEY).expect("a record in etcd")
    }

    /// Waits until the node with this index is the only master and all others follow it through its proxy
    /// with their links up. While a load runs, that is all that can be equal.
    ///
    /// # Panics
    /// When that does not come true.
    #[track_caller]
    pub fn wait_settled(&self, master: usize) {
        let port = self.proxies[master].address().port().to_string();
        wait_until("one master and its slaves", SETTLED_DEADLINE, || {
            for (index, node) in self.nodes.iter().enumerate() {
                let info = node.info();
                let field = |name: &str| info.get(name).map_or("", String::as_str);
                let (role, follows) = (field("role"), field("master_port"));
                let (link, address) = (field("master_link_status"), node.address());
                let stands = match index == master {
                    true => role == "master",
                    false => role == "slave" && follows == port && link == "up",
                };
                ensure(stands, format!("{address} is {role} of port {follows}, link {link}"))?;
            }
            Ok::<_, String>(())
        });
    }

    /// The same, and waits until all nodes hold the same data.
    ///
    /// # Panics
    /// When that does not come true.
    #[track_caller]
    pub fn wait_equal(&self, master: usize) {
        self.wait_settled(master);
        wait_equal_data(&self.nodes.iter().collect::<Vec<_>>());
    }

    /// How often each node was told its role or to pause, since its start.
    ///
    /// # Panics
    /// When a node does not answer.
    pub fn orders(&self) -> Vec<(u64, u64)> {
        let counts = self.nodes.iter().map(Redis::command_counts);
        counts.map(|counts| (counts.of("replicaof"), counts.of("client|pause"))).collect()
    }
}
