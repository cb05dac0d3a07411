//! Who takes part: four nodes behind proxies, one dictator or two, dnsd, observer, etcd, and a redis
//! that belongs to somebody else.
//!
//! Every node is named in documents by its proxy's port, so that commands to it can be held back and
//! replies of it lost; the writers go to the nodes themselves. Three nodes keep their data in an
//! append-only file, one in an RDB that it writes when it is told to end.
//!
//! `appendfsync no`: what a node acknowledges was written to the file before, and a killed process
//! takes nothing along that the kernel has. With `everysec` redis puts the write off while an fsync
//! runs, for up to two seconds, so that a kill alone can cost acknowledged writes; that would be
//! redis's loss, and this run would have to call it ours.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::redis::{Persistence, RedisOptions};
use harness::{Daemon, DaemonOptions, Etcd, Http, Proxy, Redis, binaries};
use serde_json::{Value, json};

use crate::settings::Settings;

/// How many nodes keep their data in an append-only file.
const AOF_NODES: usize = 3;
/// How many keep it in an RDB.
const RDB_NODES: usize = 1;
/// Between two looks at a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A node and the proxy before it.
pub(crate) struct Node {
    /// The node.
    pub(crate) redis: Redis,
    /// What documents name.
    pub(crate) proxy: Proxy,
    /// Where its data survives.
    pub(crate) persistence: Persistence,
    /// Full resyncs that it had given, in this life, when they were last counted.
    pub(crate) full_resyncs: u64,
}

/// All of them. Those who depend on others are dropped first.
pub(crate) struct Cast {
    /// Notifies the first dictator and dnsd.
    pub(crate) observer: Daemon,
    /// One, or two that share a lock.
    pub(crate) dictators: Vec<Daemon>,
    /// Publishes.
    pub(crate) dnsd: Daemon,
    /// Holds topology and trigger, and the lock if there are two dictators.
    pub(crate) etcd: Etcd,
    /// The nodes.
    pub(crate) nodes: Vec<Node>,
    /// A redis of other people, with data of its own.
    pub(crate) foreign: Redis,
    /// The dictator that answered last.
    pub(crate) speaker: usize,
    /// The node that was last known to take writes.
    pub(crate) master: usize,
    /// Lives that were named in a `discard` before; each can be given up once.
    pub(crate) given_up: BTreeSet<String>,
}

impl Cast {
    /// Starts everybody; no document is in force yet.
    pub(crate) fn start(settings: &Settings) -> Self {
        let options = RedisOptions::default().line("appendfsync no").line("shutdown-timeout 1");
        let node = |persistence: Persistence| {
            let redis = Redis::start_with(&options.clone().persistence(persistence));
            let proxy = Proxy::before(&redis);
            Node { redis, proxy, persistence, full_resyncs: 0 }
        };
        let kinds = [Persistence::Aof; AOF_NODES].into_iter().chain([Persistence::Rdb; RDB_NODES]);
        let nodes: Vec<Node> = kinds.map(node).collect();
        let foreign = Redis::start_with(&RedisOptions::plain());
        foreign.command("SET treasure 1");
        let etcd = Etcd::start();
        let mut options = expecting_anything()
            .flag("--enforce-interval", "200ms")
            .flag("--apply-timeout", "5s")
            .flag("--max-write-pause", "500ms");
        if settings.dictators > 1 {
            options = options.flag("--etcd", &etcd.url()).flag("--lease", "2s");
        }
        let dictators: Vec<Daemon> = (0..settings.dictators).map(|_| Daemon::dictator(&options)).collect();
        let dnsd = Daemon::dnsd(&expecting_anything());
        let notify = [dictators[0].url("/master"), dnsd.url("/dns")];
        let options = expecting_anything().flag("--notify-timeout", "8s");
        let observer = Daemon::observer(&etcd.url(), &notify, &options);
        Self {
            observer,
            dictators,
            dnsd,
            etcd,
            nodes,
            foreign,
            speaker: 0,
            master: 0,
            given_up: BTreeSet::new(),
        }
    }

    /// The document that makes one node master and all others but `left_out` its slaves.
    pub(crate) fn document(&self, master: usize, left_out: Option<usize>) -> Value {
        let slaves = self.nodes.iter().enumerate();
        let slaves = slaves.filter(|(index, _)| *index != master && Some(*index) != left_out);
        json!({
            "master": self.nodes[master].proxy.json(),
            "slaves": slaves.map(|(_, node)| node.proxy.json()).collect::<Vec<_>>(),
        })
    }

    /// Which node a text such as `127.0.0.1:12345` names.
    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        let port = name.rsplit(':').next()?.parse::<u16>().ok()?;
        self.nodes.iter().position(|node| node.proxy.address().port() == port)
    }

    /// The HTTP face of the dictator that answered last.
    pub(crate) fn http(&self) -> Http {
        self.dictators[self.speaker].http()
    }

    /// How much a node holds: nobody ever deletes while a load runs, so of two nodes with one history the
    /// one with more holds all the other does.
    pub(crate) fn weight(&self, index: usize, key: &str) -> Option<u64> {
        let number = |words: &str| {
            let reply = self.nodes[index].redis.try_command(words).ok()?;
            reply.text().parse::<u64>().ok()
        };
        Some(number("DBSIZE")? + number(&format!("LLEN {key}:list"))? + number(&format!("SCARD {key}:set"))?)
    }

    /// Counts the full resyncs that a node that answers has given since they were last counted.
    pub(crate) fn take_full_resyncs(&mut self, index: usize) -> u64 {
        let node = &mut self.nodes[index];
        let before = node.full_resyncs;
        node.full_resyncs = node.redis.full_resyncs();
        node.full_resyncs.saturating_sub(before)
    }

    /// Whether one node is a master, all others follow it with their links up, and all hold the same.
    ///
    /// # Errors
    /// What is not so.
    pub(crate) fn settled(&self) -> Result<usize, String> {
        let infos: Vec<_> = self.nodes.iter().map(|node| node.redis.info()).collect();
        let field = |index: usize, name: &str| infos[index].get(name).cloned().unwrap_or_default();
        let masters: Vec<usize> =
            (0..infos.len()).filter(|index| field(*index, "role") == "master").collect();
        let [master] = masters[..] else { return Err(format!("masters: {masters:?}")) };
        let port = self.nodes[master].proxy.address().port().to_string();
        for index in (0..infos.len()).filter(|index| *index != master) {
            let (follows, link) = (field(index, "master_port"), field(index, "master_link_status"));
            if follows != port || link != "up" {
                return Err(format!("node {index} follows port {follows} ({link}), not {port}"));
            }
        }
        let digests: Vec<String> = self.nodes.iter().map(|node| node.redis.digest()).collect();
        if digests.iter().any(|digest| *digest != digests[0]) {
            return Err(format!("the data differs: {digests:?}"));
        }
        Ok(master)
    }

    /// Copies all logs to where they outlive the run, and says where.
    pub(crate) fn keep_logs(&mut self, seed: u64) {
        let folder = binaries::workspace().join("target").join(format!("soak-{seed}"));
        if let Err(error) = std::fs::create_dir_all(&folder) {
            eprintln!("cannot keep the logs in {}: {error}", folder.display());
            return;
        }
        let keep = |name: String, log: &Path| match std::fs::copy(log, folder.join(&name)) {
            Ok(_) => {}
            Err(error) => eprintln!("cannot keep {name}: {error}"),
        };
        for (index, dictator) in self.dictators.iter().enumerate() {
            keep(format!("dictator-{index}.log"), dictator.log());
            keep(format!("record-{index}.json"), &dictator.state_folder().join("record.json"));
        }
        keep("observer.log".into(), self.observer.log());
        keep("dnsd.log".into(), self.dnsd.log());
        for (index, node) in self.nodes.iter_mut().enumerate() {
            keep(format!("node-{index}.log"), &node.redis.process().recipe().log.clone());
        }
        eprintln!("logs are kept in {}", folder.display());
    }
}

/// The log lines of daemons that are killed and starved all the time are no news.
fn expecting_anything() -> DaemonOptions {
    DaemonOptions::new().allow_log("", "everything around it breaks all the time")
}

/// Looks until a condition holds.
///
/// # Errors
/// What was last seen when the deadline passed.
pub(crate) fn until<T>(
    deadline: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(why) if start.elapsed() >= deadline => return Err(why),
            Err(_) => std::thread::sleep(LOOK_INTERVAL),
        }
    }
}
