//! Two authorities over one node lose data: Sentinels, other dictators.
#![allow(missing_docs, clippy::disallowed_methods, reason = "a test writes files as it likes")]

use std::time::Duration;

use harness::cluster::{
    Cluster, assert_never_paused, assert_problem, assert_takes_writes, assert_untouched, quick,
    quick_without_enforcement,
};
use harness::ports::free_address;
use harness::process::{Process, Recipe};
use harness::redis::RedisOptions;
use harness::resp::Connection;
use harness::wait::ensure;
use harness::{Daemon, Redis, wait_until};

/// A real Sentinel that watches `master`.
struct Sentinel {
    _process: Process,
    address: std::net::SocketAddr,
    _folder: tempfile::TempDir,
}

impl Sentinel {
    fn of(master: &Redis) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = free_address();
        let text = format!(
            "bind 127.0.0.1\nport {}\nsentinel monitor mine 127.0.0.1 {} 2\n",
            address.port(),
            master.address().port()
        );
        std::fs::write(folder.path().join("sentinel.conf"), text).expect("written");
        let mut process = Process::new(Recipe {
            name: format!("sentinel at {address}"),
            program: "redis-server".into(),
            arguments: vec!["sentinel.conf".into(), "--sentinel".into()],
            environment: Vec::new(),
            folder: folder.path().into(),
            log: folder.path().join("sentinel.log"),
        });
        process.start();
        wait_until("the Sentinel to watch the master", Duration::from_secs(10), || {
            let clients = master.command("CLIENT LIST").text();
            ensure(clients.contains("name=sentinel-") && clients.contains("-cmd"), clients)
        });
        Self { _process: process, address, _folder: folder }
    }

    fn forget(&self) {
        let mut connection = Connection::open(self.address).expect("the Sentinel accepts");
        connection.command(&["SENTINEL", "REMOVE", "mine"]).expect("answered");
    }
}

#[test]
fn a_watching_sentinel_is_a_second_authority() {
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick_without_enforcement());
    let sentinel = Sentinel::of(&cluster.nodes[0]);
    // The Sentinel publishes its hello by itself, which is a write of nobody: only roles are compared
    // where it is connected.
    let answer = cluster.dictator.put_master(&cluster.document(1));
    let problem = assert_problem(&answer, 409, "managed-by-sentinel");
    assert!(problem["evidence"]["connections"].to_string().contains("sentinel"), "{problem}");
    assert!(problem["do"].as_str().is_some_and(|advice| advice.contains("SENTINEL REMOVE")), "{problem}");
    assert_never_paused(&cluster.all());
    assert_eq!(cluster.nodes[0].role(), "master");
    assert_eq!(cluster.nodes[0].command_counts().of("replicaof"), 1, "only that of the first document");
    assert_takes_writes(&cluster.nodes[0]);

    sentinel.forget();
    wait_until("the Sentinel to leave", Duration::from_secs(10), || {
        let clients: String = cluster.nodes.iter().map(|node| node.command("CLIENT LIST").text()).collect();
        ensure(!clients.contains("name=sentinel-"), clients)
    });
    cluster.move_to(1);
}

#[test]
fn a_sentinel_may_be_ignored_by_who_knows_better() {
    let options = quick_without_enforcement().switch("--ignore-sentinel");
    let cluster = Cluster::established(2, &RedisOptions::default(), &options);
    let _sentinel = Sentinel::of(&cluster.nodes[0]);
    let receipt = cluster.put(1).expect(200).json();
    assert_eq!(receipt["outcome"], "switched", "{receipt}");
}

#[test]
fn a_sentinel_is_no_node() {
    let cluster = Cluster::established(1, &RedisOptions::default(), &quick_without_enforcement());
    let other = Redis::start();
    let sentinel = Sentinel::of(&other);
    let mut document = cluster.document(0);
    document["slaves"] = serde_json::json!([{"address": "127.0.0.1", "port": sentinel.address.port()}]);
    let answer = assert_untouched(&cluster.all(), || cluster.dictator.put_master(&document));
    assert_problem(&answer, 422, "unsupported-node");
}

#[test]
fn a_second_dictator_without_a_shared_lock_does_nothing() {
    let options = quick().allow_log("the topology cannot be kept", "two dictators, somebody has to choose");
    let cluster = Cluster::established(3, &RedisOptions::default(), &options);
    let rival = Daemon::dictator(&quick_without_enforcement());
    let answer = assert_untouched(&cluster.all(), || rival.put_master(&cluster.document(1)));
    let problem = assert_problem(&answer, 503, "not-leader");
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    assert!(problem["evidence"]["peer"].is_string(), "{problem}");
    assert_never_paused(&cluster.all());
    drop(rival);
    cluster.move_to(1);
}
