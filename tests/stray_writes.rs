//! Writes that go where no master was published, and what becomes of the nodes that took them.
#![allow(missing_docs, reason = "a test")]

use std::time::Duration;

use harness::cluster::{
    Cluster, assert_problem, assert_takes_writes, assert_untouched, quick, quick_without_enforcement,
};
use harness::redis::{RedisOptions, wait_equal_data};
use harness::wait::ensure;
use harness::{DaemonOptions, Redis, wait_until};
use serde_json::json;

const KEYS: u64 = 100;
const NOTICED_DEADLINE: Duration = Duration::from_secs(10);

fn told(options: DaemonOptions) -> DaemonOptions {
    options.allow_log("the topology cannot be kept", "a stray that was written to is a human's business")
}

/// A client that still knows the address of a node finds that it takes writes.
fn write_when_loaded(node: &Redis) {
    wait_until("the node to have loaded its data", NOTICED_DEADLINE, || {
        let reply = node.command("SET stray 1").text();
        ensure(reply == "OK", reply)
    });
}

fn filled(options: &RedisOptions, dictator: &DaemonOptions) -> Cluster {
    let cluster = Cluster::established(3, options, dictator);
    cluster.nodes[0].fill(0..KEYS);
    cluster.assert_settled(0);
    // The heartbeat of a change is renewed by the next one, or by enforcement.
    cluster.put(0).expect(200);
    cluster
}

#[test]
fn an_unassigned_node_takes_no_writes() {
    let mut cluster = Cluster::start(2, &RedisOptions::default(), &quick_without_enforcement());
    let refuses = |node: &Redis| assert!(node.command("SET stray 1").text().starts_with("READONLY"));
    cluster.all().into_iter().for_each(refuses);
    cluster.put(0).expect(200);
    // Restarted with nobody there to assign it, the master itself takes none either.
    cluster.dictator.stop();
    cluster.nodes[0].kill();
    cluster.nodes[0].start_again();
    cluster.all().into_iter().for_each(refuses);
    // The first look of a dictator that starts assigns it again.
    cluster.dictator.start_again();
    cluster.assert_settled(0);
    assert_takes_writes(&cluster.nodes[0]);
}

#[test]
fn a_plain_node_that_was_written_to_after_its_restart_is_not_attached() {
    let mut cluster = filled(&RedisOptions::plain(), &quick_without_enforcement());
    cluster.nodes[1].stop();
    cluster.nodes[1].start_again();
    write_when_loaded(&cluster.nodes[1]);

    let answer = assert_untouched(&cluster.all(), || cluster.put(0));
    let problem = assert_problem(&answer, 409, "split-brain");
    assert_eq!(problem["evidence"]["discard"], cluster.nodes[1].discard_json(), "{problem}");
    assert!(problem["evidence"]["write_calls"].as_u64() >= Some(1), "{problem}");
    assert_eq!(cluster.nodes[1].command("GET stray").text(), "1");
    // Nor may it become the master over what the granted one holds.
    assert_untouched(&cluster.all(), || assert_eq!(cluster.put(1).status, 409));
    assert_takes_writes(&cluster.nodes[0]);

    // The operator gives that life up. Once: the same entry does not permit the next stray.
    let mut document = cluster.document(0);
    document["discard"] = json!([problem["evidence"]["discard"]]);
    cluster.put_document(&document).expect(200);
    cluster.assert_settled(0);
    assert_eq!(cluster.nodes[1].command("EXISTS stray").text(), "0");
    cluster.nodes[1].command("REPLICAOF NO ONE");
    cluster.nodes[1].command("SET stray again");
    let problem = assert_problem(&cluster.put_document(&document), 409, "split-brain");
    assert_eq!(problem["evidence"]["discard"], document["discard"][0], "the same life: {problem}");
    assert_eq!(cluster.nodes[1].command("GET stray").text(), "again");
}

#[test]
fn enforcement_refuses_as_well_and_goes_on_by_itself_when_the_stray_is_gone() {
    let mut cluster = filled(&RedisOptions::plain(), &told(quick()));
    cluster.dictator.stop();
    cluster.nodes[1].stop();
    cluster.nodes[1].start_again();
    write_when_loaded(&cluster.nodes[1]);
    cluster.dictator.start_again();
    cluster.wait_stuck("split-brain");
    assert_eq!(cluster.nodes[1].command("GET stray").text(), "1");
    assert_takes_writes(&cluster.nodes[0]);
    // Its data is saved elsewhere and the node emptied.
    cluster.nodes[1].kill();
    cluster.nodes[1].lose_data();
    cluster.nodes[1].start_again();
    cluster.assert_settled(0);
}

#[test]
fn one_refused_slave_does_not_keep_enforcement_from_attaching_the_other() {
    let mut cluster = filled(&RedisOptions::default(), &told(quick()));
    cluster.dictator.stop();
    cluster.nodes[1].command("REPLICAOF NO ONE");
    cluster.nodes[1].command("SET stray 1");
    cluster.nodes[2].stop();
    cluster.nodes[2].start_again();
    cluster.dictator.start_again();
    wait_until("enforcement to refuse the one and attach the other", NOTICED_DEADLINE, || {
        let status = cluster.dictator.status();
        let follows = cluster.nodes[2].follows() == Some(cluster.nodes[0].address().to_string());
        ensure(follows && status["problem"]["type"] == "split-brain", status.to_string())
    });
    wait_equal_data(&[&cluster.nodes[0], &cluster.nodes[2]]);
    assert_eq!(cluster.nodes[1].command("GET stray").text(), "1");
    wait_until("the pass to end", NOTICED_DEADLINE, || {
        let history = cluster.dictator.http().get("/history").expect(200).json().to_string();
        ensure(history.contains("repaired"), history)
    });
    // A document is carried out as a whole or not at all.
    cluster.nodes[2].command("REPLICAOF 127.0.0.1 0");
    assert_problem(&cluster.put(0), 409, "split-brain");
}

#[test]
fn a_restarted_slave_that_may_have_been_written_to_is_not_attached() {
    // CONFIG RESETSTAT hides whether it was.
    let mut cluster = filled(&RedisOptions::plain(), &quick_without_enforcement());
    cluster.nodes[1].stop();
    cluster.nodes[1].start_again();
    write_when_loaded(&cluster.nodes[1]);
    cluster.nodes[1].command("SET key:0 other");
    cluster.nodes[1].command("DEL stray");
    cluster.nodes[1].command("CONFIG RESETSTAT");
    let answer = assert_untouched(&cluster.all(), || cluster.put(0));
    let problem = assert_problem(&answer, 409, "would-lose-data");
    assert_eq!(problem["evidence"]["config_resetstat"], true, "{problem}");
    assert_eq!(cluster.nodes[1].command("GET key:0").text(), "other");
}

#[test]
fn a_restarted_slave_with_more_keys_than_the_master_is_not_attached() {
    let mut cluster = filled(&RedisOptions::default(), &quick_without_enforcement());
    cluster.nodes[1].stop();
    let mut connection = cluster.nodes[0].connect();
    for key in 0..KEYS / 2 {
        connection.command(&["DEL", &format!("key:{key}")]).expect("a write");
    }
    cluster.nodes[1].start_again();
    wait_until("the node to have loaded its data", NOTICED_DEADLINE, || {
        ensure(cluster.nodes[1].info_field("loading") == "0", "it is loading")
    });
    let answer = assert_untouched(&cluster.all(), || cluster.put(0));
    let problem = assert_problem(&answer, 409, "would-lose-data");
    assert_eq!(
        (&problem["evidence"]["keys"], &problem["evidence"]["master_keys"]),
        (&json!(KEYS), &json!(KEYS / 2)),
        "{problem}"
    );
    assert_eq!(cluster.nodes[1].keys(), KEYS);
    let mut document = cluster.document(0);
    document["discard"] = json!([problem["evidence"]["discard"]]);
    cluster.put_document(&document).expect(200);
    cluster.assert_settled(0);
}
