//! Nodes that restart, one by one and all at once. Nobody is called, nothing is lost.
#![allow(missing_docs, clippy::print_stdout, reason = "a test; what it prints is shown when it fails")]

use harness::cluster::{Cluster, assert_takes_writes, quick, quick_without_enforcement};
use harness::redis::{Persistence, RedisOptions};
use harness::{DaemonOptions, Redis};

const KEYS: u64 = 100;

/// While the master is down a human is rightly told.
fn with_the_master_down(options: DaemonOptions) -> DaemonOptions {
    options.allow_log("the topology cannot be kept", "the master is down for a moment")
}

fn every_kind() -> [(&'static str, RedisOptions); 4] {
    let rdb = |options: RedisOptions| options.persistence(Persistence::Rdb);
    [
        ("AOF, born unassigned", RedisOptions::default()),
        ("AOF, plain", RedisOptions::plain()),
        ("RDB, born unassigned", rdb(RedisOptions::default())),
        ("RDB, plain", rdb(RedisOptions::plain())),
    ]
}

/// An established cluster, all of whose nodes hold some data.
fn filled(count: usize, redis: &RedisOptions, dictator: &DaemonOptions) -> Cluster {
    let cluster = Cluster::established(count, redis, dictator);
    cluster.nodes[0].fill(0..KEYS);
    cluster.assert_settled(0);
    cluster
}

/// The first node is the master of the others again, with all it had, and works.
fn assert_resumed(cluster: &Cluster, kind: &str) {
    cluster.assert_settled(0);
    assert_eq!(cluster.nodes[0].keys(), KEYS, "{kind}");
    assert_takes_writes(&cluster.nodes[0]);
    cluster.assert_settled(0);
}

#[test]
fn a_restarted_slave_is_attached_again_by_itself() {
    for (kind, options) in every_kind() {
        println!("{kind}");
        let mut cluster = filled(2, &options, &quick());
        cluster.wait_no_drift();
        cluster.nodes[1].stop();
        cluster.nodes[0].fill(0..KEYS);
        cluster.nodes[1].start_again();
        cluster.assert_settled(0);
        assert_eq!(cluster.nodes[1].keys(), KEYS, "{kind}");
    }
}

#[test]
fn a_restarted_slave_is_attached_again_when_its_trigger_comes() {
    for (kind, options) in every_kind() {
        println!("{kind}");
        let mut cluster = filled(3, &options, &quick_without_enforcement());
        cluster.nodes[1].stop();
        cluster.nodes[1].start_again();
        let receipt = cluster.put(0).expect(200).json();
        assert_eq!(receipt["outcome"], "repaired", "{kind}: {receipt}");
        cluster.assert_settled(0);
    }
}

#[test]
fn a_trigger_that_finds_its_slave_still_loading_waits_for_it() {
    // A second for a hundred keys, and it answers meanwhile that it is loading.
    let options = RedisOptions::default()
        .persistence(Persistence::Rdb)
        .line("key-load-delay 10000")
        .line("loading-process-events-interval-bytes 1024")
        .line("rdbcompression no");
    let mut cluster = Cluster::established(2, &options, &quick_without_enforcement());
    let long = "x".repeat(1_024);
    for key in 0..KEYS {
        cluster.nodes[0].command(&format!("SET key:{key} {long}"));
    }
    cluster.assert_settled(0);
    cluster.nodes[1].stop();
    cluster.nodes[1].start_again();
    assert_eq!(cluster.nodes[1].info_field("loading"), "1", "it has to be loading for this test");
    let receipt = cluster.put(0).expect(200).json();
    assert_eq!(receipt["outcome"], "repaired", "{receipt}");
    cluster.assert_settled(0);
}

#[test]
fn a_slave_killed_without_persistence_comes_back_empty_and_is_filled() {
    let options = RedisOptions::default().persistence(Persistence::None);
    let mut cluster = Cluster::established(2, &options, &quick());
    cluster.nodes[0].fill(0..KEYS);
    cluster.nodes[1].kill();
    cluster.nodes[1].start_again();
    cluster.assert_settled(0);
    assert_eq!(cluster.nodes[1].keys(), KEYS);
}

#[test]
fn the_master_restarted_within_a_second_resumes_by_itself() {
    for (kind, options) in every_kind() {
        println!("{kind}");
        let mut cluster = filled(3, &options, &with_the_master_down(quick()));
        cluster.wait_no_drift();
        cluster.nodes[0].stop();
        cluster.nodes[0].start_again();
        assert_resumed(&cluster, kind);
    }
}

#[test]
fn the_receipt_of_a_restarted_master_says_whether_offsets_prove_anything() {
    for (options, provable) in
        [(RedisOptions::default(), false), (RedisOptions::default().persistence(Persistence::Rdb), true)]
    {
        let mut cluster = filled(3, &options, &quick_without_enforcement());
        // The heartbeat of the change before is from before the writes; one more change renews it.
        cluster.put(0).expect(200);
        cluster.nodes[0].stop();
        cluster.nodes[0].start_again();
        let receipt = cluster.put(0).expect(200).json();
        assert_eq!(receipt["outcome"], "resumed", "{receipt}");
        assert_eq!(receipt["provable"], provable, "{receipt}");
        cluster.assert_settled(0);
        assert_eq!(cluster.nodes[0].keys(), KEYS);
    }
}

#[test]
fn a_restarted_master_may_be_moved_away_from_in_the_same_breath() {
    let mut cluster = filled(3, &RedisOptions::default(), &quick_without_enforcement());
    cluster.nodes[0].stop();
    cluster.nodes[0].start_again();
    let receipt = cluster.put(2).expect(200).json();
    assert_eq!(receipt["outcome"], "switched", "{receipt}");
    cluster.assert_settled(2);
    assert_eq!(cluster.nodes[2].keys(), KEYS);
}

#[test]
fn all_nodes_restarted_at_once_find_each_other_again() {
    for (kind, options) in every_kind() {
        println!("{kind}");
        let mut cluster = filled(3, &options, &with_the_master_down(quick()));
        cluster.wait_no_drift();
        cluster.nodes.iter_mut().for_each(Redis::stop);
        cluster.nodes.iter_mut().for_each(Redis::start_again);
        assert_resumed(&cluster, kind);
    }
}

#[test]
fn all_nodes_and_the_dictator_restarted_at_once_find_each_other_again() {
    let options = with_the_master_down(quick());
    let mut cluster = filled(3, &RedisOptions::default(), &options);
    cluster.wait_no_drift();
    cluster.dictator.kill();
    cluster.nodes.iter_mut().for_each(Redis::kill);
    cluster.nodes.iter_mut().for_each(Redis::start_again);
    cluster.dictator.start_again();
    cluster.assert_settled(0);
    assert_eq!(cluster.nodes[0].keys(), KEYS);
}
