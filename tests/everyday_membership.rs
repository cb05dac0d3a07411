//! Nodes that come, go, and are away for a while.
#![allow(missing_docs)]

use std::time::Duration;

use harness::cluster::{Cluster, assert_settled, assert_takes_writes, quick, quick_without_enforcement};
use harness::redis::{RedisOptions, assert_only_reads};
use harness::wait::ensure;
use harness::{Redis, topology, wait_until};

/// How long enforcement every 200 ms may take to see a change on a busy machine.
const ENFORCED_DEADLINE: Duration = Duration::from_secs(5);

fn wait_parked(node: &Redis) {
    wait_until("the node to be parked", ENFORCED_DEADLINE, || {
        let follows = node.follows();
        ensure(follows.as_deref() == Some("127.0.0.1:0"), format!("{follows:?}"))
    });
}

#[test]
fn an_empty_node_is_added_as_a_slave() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick());
    cluster.nodes[0].command("SET a 1");
    for options in [RedisOptions::default(), RedisOptions::plain()] {
        let fresh = Redis::start_with(&options);
        let document = topology(&cluster.nodes[0], &[&cluster.nodes[1], &fresh]);
        let receipt = cluster.put_document(&document).expect(200).json();
        assert_eq!(receipt["outcome"], "repaired", "{receipt}");
        assert_settled(&cluster.nodes[0], &[&cluster.nodes[1], &fresh]);
        assert_eq!(fresh.command("GET a").text(), "1");
        cluster.put(0).expect(200);
    }
}

#[test]
fn an_empty_node_is_added_as_the_master_to_be() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick());
    cluster.nodes[0].command("SET a 1");
    let fresh = Redis::start();
    let document = topology(&fresh, &[&cluster.nodes[0], &cluster.nodes[1]]);
    let receipt = cluster.put_document(&document).expect(200).json();
    assert_eq!((&receipt["outcome"], &receipt["provable"]), (&"switched".into(), &true.into()), "{receipt}");
    assert_settled(&fresh, &cluster.all());
    assert_eq!(fresh.command("GET a").text(), "1");
    assert_takes_writes(&fresh);
    // The test's own node goes before the dictator does.
    cluster.put(0).expect(200);
}

#[test]
fn a_node_that_left_the_document_is_parked_and_then_left_alone() {
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick());
    cluster.nodes[0].command("SET a 1");
    cluster.assert_settled(0);
    let document = topology(&cluster.nodes[0], &[&cluster.nodes[1]]);
    cluster.put_document(&document).expect(200);
    wait_parked(&cluster.nodes[2]);
    assert_eq!(cluster.nodes[2].command("GET a").text(), "1", "its data stays");
    assert_eq!(cluster.dictator.http().get("/master").json(), document);
    // What it becomes in other hands is nobody's business here.
    assert_only_reads(&[&cluster.nodes[0], &cluster.nodes[1]], || {
        cluster.nodes[2].command("REPLICAOF NO ONE");
        cluster.wait_no_drift();
        cluster.put_document(&document).expect(200);
    });
    assert_eq!(cluster.nodes[2].role(), "master");
}

#[test]
fn a_node_that_left_while_it_was_away_is_parked_when_it_returns() {
    let mut cluster = Cluster::established(3, &RedisOptions::default(), &quick());
    cluster.nodes[2].process().freeze();
    let document = topology(&cluster.nodes[0], &[&cluster.nodes[1]]);
    cluster.put_document(&document).expect(200);
    cluster.nodes[2].process().thaw();
    wait_parked(&cluster.nodes[2]);
}

#[test]
fn the_master_may_leave_and_is_parked_after_the_hand_over() {
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick());
    cluster.nodes[0].command("SET a 1");
    let document = topology(&cluster.nodes[1], &[&cluster.nodes[2]]);
    let receipt = cluster.put_document(&document).expect(200).json();
    assert_eq!((&receipt["outcome"], &receipt["provable"]), (&"switched".into(), &true.into()), "{receipt}");
    assert_settled(&cluster.nodes[1], &[&cluster.nodes[2]]);
    wait_parked(&cluster.nodes[0]);
    assert_eq!(cluster.nodes[1].command("GET a").text(), "1");
}

#[test]
fn a_slave_down_during_a_switch_is_pending_and_attached_when_it_returns() {
    let mut cluster = Cluster::established(3, &RedisOptions::default(), &quick());
    cluster.nodes[0].command("SET a 1");
    cluster.assert_settled(0);
    cluster.nodes[2].stop();
    let receipt = cluster.dictator.put_master(&cluster.document(1)).expect(200).json();
    assert_eq!(receipt["outcome"], "switched", "{receipt}");
    let pending = receipt["pending"].as_array().expect("pending");
    assert_eq!(pending.len(), 1, "{receipt}");
    assert_eq!(pending[0]["port"], cluster.nodes[2].address().port(), "{receipt}");
    assert!(pending[0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{receipt}");
    assert_eq!(cluster.dictator.status()["drift"], true);
    cluster.nodes[1].command("SET b 1");
    cluster.nodes[2].start_again();
    cluster.assert_settled(1);
    assert_eq!(cluster.nodes[2].command("GET b").text(), "1");
    cluster.wait_no_drift();
}

#[test]
fn a_slave_stopped_during_a_switch_is_pending_and_attached_when_it_goes_on() {
    let mut cluster = Cluster::established(3, &RedisOptions::default(), &quick());
    cluster.nodes[2].process().freeze();
    let receipt = cluster.dictator.put_master(&cluster.document(1)).expect(200).json();
    assert_eq!(receipt["outcome"], "switched", "{receipt}");
    assert_eq!(receipt["pending"].as_array().map(Vec::len), Some(1), "{receipt}");
    cluster.nodes[2].process().thaw();
    cluster.assert_settled(1);
}

#[test]
fn waiting_for_links_names_the_one_that_is_late_and_the_change_stands() {
    let mut cluster = Cluster::established(3, &RedisOptions::default(), &quick_without_enforcement());
    cluster.nodes[2].stop();
    let answer = cluster.put(1);
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(answer.text().contains(&cluster.nodes[2].address().port().to_string()), "{}", answer.text());
    assert_settled(&cluster.nodes[1], &[&cluster.nodes[0]]);
    cluster.nodes[2].start_again();
    let receipt = cluster.put(1).expect(200).json();
    assert_eq!(receipt["outcome"], "repaired", "{receipt}");
    cluster.assert_settled(1);
}

#[test]
fn enforcement_brings_a_stray_back() {
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick());
    cluster.wait_no_drift();
    cluster.nodes[1].command("REPLICAOF 127.0.0.1 0");
    cluster.assert_settled(0);
    cluster.wait_no_drift();
    let other = cluster.nodes[1].address().port();
    cluster.nodes[2].command(&format!("REPLICAOF 127.0.0.1 {other}"));
    cluster.assert_settled(0);
    cluster.wait_no_drift();
    // Somebody parks the master itself: it gets its right back.
    cluster.nodes[0].command("REPLICAOF 127.0.0.1 0");
    cluster.assert_settled(0);
    assert_takes_writes(&cluster.nodes[0]);
}
