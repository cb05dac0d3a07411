//! Acting masters that are away, came back with less, or were forgotten in the document.
#![allow(missing_docs, clippy::disallowed_methods, reason = "a test handles files as it likes")]

use std::time::Duration;

use harness::cluster::{
    Cluster, assert_never_paused, assert_problem, assert_settled, assert_takes_writes, assert_untouched,
    quick, quick_without_enforcement,
};
use harness::redis::{Persistence, RedisOptions};
use harness::wait::ensure;
use harness::{Load, LoadOptions, topology, wait_until};
use serde_json::json;

#[test]
fn an_acting_master_that_is_left_out_is_still_handed_over_from() {
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick());
    let load = Load::start(LoadOptions::on(&cluster.all()));
    load.wait_acknowledged(500);
    let document = topology(&cluster.nodes[1], &[&cluster.nodes[2]]);
    let receipt = cluster.put_document(&document).expect(200).json();
    assert_eq!(receipt["provable"], true, "{receipt}");
    assert!(receipt["frozen_offset"].is_u64(), "{receipt}");
    load.wait_acknowledged(500);
    let tally = load.stop().verify(cluster.nodes[1].address());
    assert!(tally.is_clean(), "{tally}");
    assert_settled(&cluster.nodes[1], &[&cluster.nodes[2]]);
    assert_eq!(cluster.nodes[0].follows().as_deref(), Some("127.0.0.1:0"), "parked, with its data");
}

#[test]
fn an_acting_master_that_cannot_be_asked() {
    let mut cluster = Cluster::established(3, &RedisOptions::default(), &quick_without_enforcement());
    let run_id = cluster.nodes[0].run_id();
    let port = cluster.nodes[0].address().port();
    cluster.nodes[0].process().freeze();
    let survivors = [&cluster.nodes[1], &cluster.nodes[2]];
    // Left out of the document or not: what it holds is not known.
    for document in [cluster.document(1), topology(&cluster.nodes[1], &[&cluster.nodes[2]])] {
        let answer = assert_untouched(&survivors, || cluster.dictator.put_master(&document));
        let problem = assert_problem(&answer, 409, "acting-master-unreachable");
        assert_eq!(problem["evidence"]["run_id"], run_id, "{problem}");
        assert_eq!(problem["node"], format!("127.0.0.1:{port}"), "{problem}");
        assert!(problem["do"].as_str().is_some_and(|advice| advice.contains("discard")), "{problem}");
    }
    cluster.nodes[0].process().thaw();
    assert_never_paused(&cluster.all());
    cluster.assert_settled(0);
    assert_takes_writes(&cluster.nodes[0]);
}

#[test]
fn a_master_that_comes_back_empty_does_not_wipe_its_slaves() {
    const KEYS: u64 = 50;
    for enforced in [true, false] {
        let options = if enforced { quick() } else { quick_without_enforcement() };
        let options = options.allow_log("the topology cannot be kept", "the master lost its data");
        let redis = RedisOptions::default().persistence(Persistence::None);
        let mut cluster = Cluster::established(3, &redis, &options);
        for key in 0..KEYS {
            cluster.nodes[0].command(&format!("SET key:{key} 1"));
        }
        cluster.assert_settled(0);
        cluster.nodes[0].kill();
        cluster.nodes[0].start_again();
        assert_eq!(cluster.nodes[0].keys(), 0);

        let problem =
            assert_problem(&cluster.dictator.put_master(&cluster.document(0)), 409, "master-lost-data");
        let better = problem["evidence"]["better"].as_str().expect("a better node").to_owned();
        assert!(problem["do"].as_str().is_some_and(|advice| advice.contains(&better)), "{problem}");
        wait_until("the slaves to be parked", Duration::from_secs(5), || {
            let follows: Vec<_> = cluster.nodes[1..].iter().map(|node| node.follows()).collect();
            ensure(follows.iter().all(|to| to.as_deref() == Some("127.0.0.1:0")), format!("{follows:?}"))
        });
        for slave in &cluster.nodes[1..] {
            assert_eq!((slave.keys(), slave.role().as_str()), (KEYS, "slave"), "parked and whole");
        }
        assert_never_paused(&cluster.all());

        // The way out that the refusal names.
        let best = cluster.nodes.iter().position(|node| node.address().to_string() == better).expect("ours");
        let mut document = cluster.document(best);
        document["discard"] = json!([cluster.nodes[0].discard_json()]);
        let receipt = cluster.put_document(&document).expect(200).json();
        assert_eq!(receipt["provable"], false, "{receipt}");
        cluster.assert_settled(best);
        assert_eq!(cluster.nodes[0].keys(), KEYS);
    }
}

#[test]
fn a_master_that_comes_back_with_fewer_keys_is_not_followed() {
    let options = quick().allow_log("the topology cannot be kept", "the master lost data");
    let redis = RedisOptions::default().persistence(Persistence::None);
    let mut cluster = Cluster::established(2, &redis, &options);
    cluster.nodes[0].command("SET a 1");
    cluster.nodes[0].command("SET b 1");
    cluster.assert_settled(0);
    cluster.dictator.process().freeze();
    cluster.nodes[0].kill();
    cluster.nodes[0].start_again();
    // Clients with a hard-wired address and an eager operator.
    cluster.nodes[0].command("REPLICAOF NO ONE");
    cluster.nodes[1].command("REPLICAOF 127.0.0.1 0");
    cluster.nodes[0].command("SET c 1");
    cluster.dictator.process().thaw();
    let answer = cluster.dictator.put_master(&cluster.document(0));
    assert_problem(&answer, 409, "master-lost-data");
    assert_eq!(cluster.nodes[1].keys(), 2, "the slave is whole");
    assert_never_paused(&cluster.all());
}

#[test]
fn a_record_that_cannot_be_written_stops_a_hand_over_before_anything() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let mut dictator = cluster.dictator;
    dictator.allow_log("", "the state folder is gone, every line about it is rightly there");
    let nodes: Vec<_> = cluster.nodes.iter().collect();
    let state = dictator.state_folder();
    // A folder in the place of the state folder's files would be found at start; without the folder
    // nothing can be written, whoever runs this test.
    let hidden = state.with_extension("hidden");
    std::fs::rename(&state, &hidden).expect("renamed");
    let document = harness::whole::document(&cluster.nodes, 1);
    let answer = assert_untouched(&nodes, || dictator.put_master(&document));
    assert_problem(&answer, 503, "record-not-writable");
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    assert_never_paused(&nodes);
    assert_takes_writes(nodes[0]);
    std::fs::rename(&hidden, &state).expect("renamed back");
    dictator.http().put("/master?wait=links", &document).expect(200);
    assert_settled(nodes[1], &[nodes[0]]);
}
