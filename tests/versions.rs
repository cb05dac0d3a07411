//! The same promises on every version of redis and valkey that can be had: ten switches under load lose
//! nothing, restarts of slaves, of the master and of all nodes need no human, and a switch whose target
//! does not catch up is undone.
//!
//! Each test prints a row of the table in docs/versions.md. The installed redis is always judged; the
//! others are when `.ci/servers` has fetched them.

#![allow(clippy::print_stdout, reason = "the rows of the table in docs/versions.md")]

mod undone;

use std::time::Duration;

use harness::cluster::{Cluster, assert_problem, quick, quick_without_enforcement};
use harness::load::percentile;
use harness::proxy::info_field;
use harness::redis::{Persistence, wait_equal_data};
use harness::servers::Server;
use harness::wait::ensure;
use harness::{Daemon, Load, LoadOptions, Proxy, Redis, RedisOptions, wait_until};
use serde_json::json;
use undone::undone;

/// Switches under load.
const SWITCHES: usize = 10;
/// Keys that a restart has to bring back.
const KEYS: u64 = 100;
/// How long enforcement and links may take.
const SETTLED_DEADLINE: Duration = Duration::from_secs(20);

fn load_options(nodes: &[Redis]) -> LoadOptions {
    let nodes: Vec<_> = nodes.iter().collect();
    LoadOptions { writers: 4, interval: Duration::from_millis(2), ..LoadOptions::on(&nodes) }
}

fn judge(name: &str) {
    let Some(server) = Server::find(name) else { return };
    let switched = lossless(&server);
    restarts(&server);
    undo(&server);
    println!("| {name} | {} | {switched} | kept | kept |", server.version);
}

/// Ten switches under load: the middle columns of the row.
fn lossless(server: &Server) -> String {
    let cluster = Cluster::established(3, &server.options(), &quick());
    let load = Load::start(load_options(&cluster.nodes));
    let mut gaps = Vec::new();
    for round in 1..=SWITCHES {
        load.wait_acknowledged(100);
        let receipt = cluster.put(round % 3).expect(200).json();
        assert_eq!(receipt["outcome"], "switched", "{receipt}");
        assert_eq!(receipt["full_resyncs"], 0, "{receipt}");
        gaps.push(Duration::from_micros(receipt["write_gap_us"].as_u64().expect("a gap")));
    }
    load.wait_acknowledged(100);
    let ledger = load.stop();
    cluster.assert_settled(SWITCHES % 3);
    let tally = ledger.verify(cluster.nodes[SWITCHES % 3].address());
    assert!(tally.is_clean(), "{}: {tally}: {tally:?}", server.name);
    let switches = ledger.switches();
    assert_eq!(switches.len(), SWITCHES, "{switches:?}");
    assert!(switches.iter().all(|switch| switch.overlaps == 0), "{switches:?}");
    let gap = |share: f64| percentile(&gaps, share).as_secs_f64() * 1e3;
    format!(
        "{SWITCHES} | {} | {} | {} | {:.1} ms | {:.1} ms",
        tally.acknowledged,
        tally.missing.len(),
        tally.phantom.len(),
        gap(0.5),
        gap(1.0)
    )
}

/// A slave, the master, and all nodes restart, with either persistence.
fn restarts(server: &Server) {
    for persistence in [Persistence::Aof, Persistence::Rdb] {
        let options = server.options().persistence(persistence);
        let dictator = quick().allow_log("the topology cannot be kept", "nodes are down for a moment");
        let mut cluster = Cluster::established(3, &options, &dictator);
        cluster.nodes[0].fill(0..KEYS);
        cluster.assert_settled(0);
        for restarted in [&[1][..], &[0], &[0, 1, 2]] {
            cluster.wait_no_drift();
            restarted.iter().for_each(|index| cluster.nodes[*index].stop());
            restarted.iter().for_each(|index| cluster.nodes[*index].start_again());
            wait_until("the first node to be master again", SETTLED_DEADLINE, || {
                ensure(cluster.nodes[0].role() == "master", cluster.nodes[0].role())
            });
            cluster.assert_settled(0);
            let keys = cluster.nodes.iter().map(Redis::keys).collect::<Vec<_>>();
            assert_eq!(keys, [KEYS; 3], "{} {persistence:?}, {restarted:?} restarted", server.name);
        }
    }
}

fn undo(server: &Server) {
    let nodes = Redis::start_many(2, &server.options());
    let undone = undone(&server.name, &nodes, &quick_without_enforcement(), load_options(&nodes));
    undone.dictator.http().put("/master?wait=links", &undone.document(0)).expect(200);
    wait_equal_data(&nodes.iter().collect::<Vec<_>>());
}

#[test]
fn redis_6_2() {
    judge("redis-6.2");
}

#[test]
fn redis_7_0() {
    judge("redis-7.0");
}

#[test]
fn redis_8_0() {
    judge("redis-8.0");
}

#[test]
fn valkey_8_0() {
    judge("valkey-8.0");
}

#[test]
fn valkey_8_1() {
    judge("valkey-8.1");
}

#[test]
fn valkey_9_1() {
    judge("valkey-9.1");
}

#[test]
fn a_server_older_than_6_2_is_refused() {
    let nodes = Redis::start_many(2, &RedisOptions::default());
    let proxy = Proxy::before(&nodes[1]);
    proxy.rewrite(info_field("redis_version", "6.0.16"));
    let dictator = Daemon::dictator(&quick());
    for document in [
        json!({"master": nodes[0].json(), "slaves": [proxy.json()]}),
        json!({"master": proxy.json(), "slaves": [nodes[0].json()]}),
    ] {
        let problem = assert_problem(&dictator.put_master(&document), 422, "unsupported-node");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("runs redis 6.0.16, which cannot pause writes"), "{detail}");
        assert_eq!(problem["do"], "upgrade it to redis 6.2 or later");
        assert_eq!(nodes[0].role(), "slave", "nobody was promoted");
    }
}
