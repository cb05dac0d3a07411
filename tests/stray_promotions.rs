//! A human's REPLICAOF NO ONE: by mistake, and in an emergency with the master down, with and without
//! restarts after it. What was acknowledged by the promoted node is never given up by the dictator itself.
#![allow(missing_docs, reason = "a test")]

use std::time::Duration;

use harness::cluster::quick_without_enforcement;
use harness::cluster::{
    Cluster, assert_problem, assert_settled, assert_takes_writes, assert_untouched, quick,
};
use harness::redis::{RedisOptions, wire_by_hand};
use harness::wait::ensure;
use harness::{DaemonOptions, Redis, wait_until};
use serde_json::json;

const KEYS: u64 = 100;
const NOTICED_DEADLINE: Duration = Duration::from_secs(10);

fn told(options: DaemonOptions) -> DaemonOptions {
    options.allow_log("the topology cannot be kept", "a human has to look after an emergency")
}

fn filled(dictator: &DaemonOptions) -> Cluster {
    let cluster = Cluster::established(3, &RedisOptions::default(), dictator);
    cluster.nodes[0].fill(0..KEYS);
    cluster.assert_settled(0);
    cluster.put(0).expect(200);
    cluster.nodes.iter().for_each(Redis::wait_on_disk);
    cluster
}

/// The master dies, a human promotes the second node and lets the third follow it, clients write there.
fn emergency(dictator: &DaemonOptions) -> Cluster {
    let mut cluster = filled(dictator);
    cluster.nodes[0].kill();
    wire_by_hand(&cluster.nodes[1], &[&cluster.nodes[2]]);
    cluster.nodes[1].fill(KEYS..2 * KEYS);
    cluster
}

#[test]
fn a_slave_promoted_by_mistake_is_attached_again_while_nobody_wrote_to_it() {
    let cluster = filled(&quick());
    cluster.nodes[1].command("REPLICAOF NO ONE");
    cluster.assert_settled(0);
    assert_eq!(cluster.nodes[1].keys(), KEYS);
}

#[test]
fn a_slave_promoted_by_mistake_and_written_to_keeps_what_it_was_written() {
    let cluster = filled(&quick_without_enforcement());
    cluster.nodes[1].command("REPLICAOF NO ONE");
    cluster.nodes[1].command("SET stray 1");
    let problem = assert_problem(&assert_untouched(&cluster.all(), || cluster.put(0)), 409, "split-brain");
    assert_eq!(problem["evidence"]["discard"], cluster.nodes[1].discard_json(), "{problem}");
    assert_eq!(cluster.nodes[1].command("GET stray").text(), "1");
    assert_takes_writes(&cluster.nodes[0]);
}

#[test]
fn an_emergency_promotion_is_left_alone_and_taken_over_by_a_discard() {
    let mut cluster = emergency(&told(quick()));
    cluster.wait_stuck("acting-master-unreachable");
    assert_takes_writes(&cluster.nodes[1]);
    let problem = assert_problem(&cluster.put(1), 409, "acting-master-unreachable");
    let mut document = cluster.document(1);
    let mut entry = cluster.nodes[0].json();
    entry["run_id"] = problem["evidence"]["run_id"].clone();
    document["discard"] = json!([entry]);
    let receipt = cluster.dictator.put_master(&document).expect(200).json();
    assert_eq!(receipt["provable"], false, "{receipt}");
    assert_settled(&cluster.nodes[1], &[&cluster.nodes[2]]);
    assert!(cluster.nodes[1].keys() >= 2 * KEYS);
    // The dead one returns, holds nothing that was not given up, and follows.
    cluster.nodes[0].start_again();
    cluster.assert_settled(1);
    assert!(cluster.nodes[0].keys() >= 2 * KEYS);
}

#[test]
fn an_emergency_promotion_outlives_the_return_of_the_old_master() {
    let mut cluster = emergency(&told(quick()));
    cluster.nodes[0].start_again();
    // Whatever is said of the old master's data: nobody loses what the promoted node was written.
    wait_until("the promoted node to be the acting master", NOTICED_DEADLINE, || {
        let status = cluster.dictator.status();
        let port = cluster.nodes[1].address().to_string();
        ensure(status["acting_master"] == port || cluster.nodes[0].keys() >= 2 * KEYS, status.to_string())
    });
    let answer = cluster.put(1);
    if answer.status != 200 {
        let problem = assert_problem(&answer, 409, "would-lose-data");
        assert_eq!(problem["evidence"]["discard"], cluster.nodes[0].discard_json(), "{problem}");
        let mut document = cluster.document(1);
        document["discard"] = json!([problem["evidence"]["discard"]]);
        cluster.put_document(&document).expect(200);
    }
    cluster.assert_settled(1);
    assert!(cluster.nodes.iter().all(|node| node.keys() >= 2 * KEYS));
}

#[test]
fn an_emergency_promotion_that_restarted_is_not_wiped_by_the_old_master() {
    let mut cluster = emergency(&told(quick()));
    cluster.nodes[1].stop();
    cluster.nodes[1].start_again();
    assert_eq!(cluster.nodes[1].role(), "slave", "born unassigned");
    cluster.nodes[0].start_again();
    // The old master has fewer keys than the node that was promoted: it is not simply resumed.
    cluster.wait_stuck("master-lost-data");
    assert_eq!((cluster.nodes[0].keys(), cluster.nodes[1].keys()), (KEYS, 2 * KEYS));
    let problem = assert_problem(&cluster.put(0), 409, "master-lost-data");
    let better = problem["evidence"]["better"].as_str().expect("the better node");
    let better = cluster.nodes.iter().position(|node| node.address().to_string() == better).expect("a node");
    let mut document = cluster.document(better);
    document["discard"] = json!([cluster.nodes[0].discard_json()]);
    let answer = cluster.put_document(&document);
    assert!(cluster.nodes[1].keys() >= 2 * KEYS && cluster.nodes[2].keys() >= 2 * KEYS, "{}", answer.text());
    // The other may have to be given up in writing as well: its history is not the master's.
    if answer.status != 200 {
        let problem = assert_problem(&answer, 409, "would-lose-data");
        document["discard"].as_array_mut().expect("a list").push(problem["evidence"]["discard"].clone());
        cluster.put_document(&document).expect(200);
    }
    cluster.assert_settled(better);
    assert!(cluster.nodes.iter().all(|node| node.keys() >= 2 * KEYS));
}
