//! Nodes that are put back from an old backup, and nodes that lost theirs.
#![allow(missing_docs, reason = "a test")]

use std::time::{Duration, Instant};

use harness::cluster::{Cluster, assert_takes_writes, quick, quick_without_enforcement};
use harness::redis::RedisOptions;
use harness::{Redis, wait_until};

const KEYS: u64 = 100;
/// Far less than what a dictator waits for late links, and far more than a small sync takes.
const LINKS_DEADLINE: Duration = Duration::from_secs(10);

#[test]
fn a_slave_put_back_from_an_old_backup_is_filled_again() {
    for options in [RedisOptions::default(), RedisOptions::plain()] {
        let mut cluster = Cluster::established(3, &options, &quick());
        cluster.nodes[0].fill(0..KEYS);
        cluster.assert_settled(0);
        cluster.nodes[1].back_up();
        cluster.assert_settled(0);
        cluster.nodes[0].fill(KEYS..2 * KEYS);
        cluster.assert_settled(0);
        cluster.wait_no_drift();
        cluster.nodes[1].put_back();
        cluster.assert_settled(0);
        assert_eq!(cluster.nodes[1].keys(), 2 * KEYS);
    }
}

#[test]
fn a_target_put_back_from_an_old_backup_is_synced_before_it_becomes_the_master() {
    let mut cluster = Cluster::established(3, &RedisOptions::default(), &quick_without_enforcement());
    cluster.nodes[0].fill(0..KEYS);
    cluster.assert_settled(0);
    cluster.nodes[1].back_up();
    cluster.put(0).expect(200);
    cluster.nodes[0].fill(KEYS..2 * KEYS);
    cluster.assert_settled(0);
    cluster.nodes[1].put_back();
    assert_eq!(cluster.nodes[1].keys(), KEYS);
    let mut asked = Instant::now();
    let receipt = wait_until("an answer of a node that has just started", LINKS_DEADLINE, || {
        asked = Instant::now();
        let answer = cluster.put(1);
        // A busy machine may keep a node that has just started from answering within a second.
        if answer.status == 502 { Err(answer.text()) } else { Ok(answer.expect(200).json()) }
    });
    assert!(asked.elapsed() < LINKS_DEADLINE, "the links were up long before {:?}", asked.elapsed());
    assert_eq!((&receipt["outcome"], &receipt["provable"]), (&"switched".into(), &true.into()), "{receipt}");
    cluster.assert_settled(1);
    assert_eq!(cluster.nodes[1].keys(), 2 * KEYS);
}

#[test]
fn a_slave_that_lost_its_volume_is_filled_again() {
    for options in [RedisOptions::default(), RedisOptions::plain()] {
        let mut cluster = Cluster::established(2, &options, &quick());
        cluster.nodes[0].fill(0..KEYS);
        cluster.assert_settled(0);
        cluster.nodes[1].kill();
        cluster.nodes[1].lose_data();
        cluster.nodes[1].start_again();
        cluster.assert_settled(0);
        assert_eq!(cluster.nodes[1].keys(), KEYS);
    }
}

#[test]
fn a_whole_cluster_put_back_from_an_old_backup_goes_on_from_there() {
    let options =
        quick().allow_log("the topology cannot be kept", "for a moment the nodes come back one by one");
    let mut cluster = Cluster::established(3, &RedisOptions::default(), &options);
    cluster.nodes[0].fill(0..KEYS);
    cluster.assert_settled(0);
    cluster.nodes.iter_mut().for_each(Redis::back_up);
    cluster.assert_settled(0);
    cluster.nodes[0].fill(KEYS..2 * KEYS);
    cluster.assert_settled(0);
    cluster.wait_no_drift();
    // With the dictator away, or it would rightly see one old node beside two new ones.
    cluster.dictator.stop();
    cluster.nodes.iter_mut().for_each(Redis::put_back);
    cluster.dictator.start_again();
    cluster.assert_settled(0);
    assert_eq!(cluster.nodes[0].keys(), KEYS);
    assert_takes_writes(&cluster.nodes[0]);
}
