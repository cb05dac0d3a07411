//! What several dictators owe an operator: a follower says who has the say, and when the one that has it
//! is gone, another acts within the lease and a second, with the record of the one before. The record is
//! in etcd, so the disk of a dictator's host may be lost.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test blocks its own thread, and tells what it measured"
)]

use std::time::{Duration, Instant};

use harness::several::options;
use harness::{Load, LoadOptions, Several};

/// The lease unless told otherwise.
const LEASE: Duration = Duration::from_secs(5);
/// Beyond the lease, until another has done what it was asked.
const TAKEOVER_MAX: Duration = Duration::from_secs(1);

#[test]
fn another_acts_within_the_lease_and_a_second() {
    let mut several = Several::established(2, &options("5s"));
    several.wait_following(1, 0);
    let nodes: Vec<_> = several.nodes.iter().collect();
    let load = Load::start(LoadOptions {
        writers: 4,
        interval: Duration::from_millis(2),
        ..LoadOptions::on(&nodes)
    });
    load.wait_acknowledged(100);
    several.dictators[0].kill();
    let killed = Instant::now();
    let receipt = several.put_until_done(1, 1);
    let took = killed.elapsed();
    println!("from the kill to the next change: {took:?}");
    assert!(took < LEASE + TAKEOVER_MAX, "{took:?}");
    assert_eq!((&receipt["outcome"], &receipt["generation"]), (&"switched".into(), &2.into()), "{receipt}");
    load.wait_acknowledged(100);
    let ledger = load.stop();
    several.wait_equal(1);
    let tally = ledger.verify(several.nodes[1].address());
    assert!(tally.is_clean() && tally.unknown == 0, "{tally}: {tally:?}");
}

#[test]
fn each_in_turn_has_the_say_and_the_generation_grows() {
    let mut several = Several::established(3, &options("2s"));
    let mut alive = vec![0, 1, 2];
    let mut generation = 1;
    while !alive.is_empty() {
        let holder = several.wait_holder(&alive);
        for follower in alive.iter().copied().filter(|index| *index != holder) {
            several.wait_following(follower, holder);
        }
        let receipt = several.put_until_done(holder, generation % 3);
        generation += 1;
        assert_eq!(receipt["generation"], generation, "{receipt}");
        several.wait_settled((generation - 1) % 3);
        several.dictators[holder].kill();
        alive.retain(|index| *index != holder);
    }
    assert_eq!(generation, 4, "three of them moved the master");
}

#[test]
fn one_that_ends_cleanly_hands_the_say_on_at_once() {
    let mut several = Several::established(2, &options("30s"));
    several.wait_following(1, 0);
    several.dictators[0].stop();
    let stopped = Instant::now();
    several.put_until_done(1, 1);
    assert!(stopped.elapsed() < LEASE, "its lease was given back: {:?}", stopped.elapsed());
}

#[test]
fn the_record_outlives_the_disk_of_its_writer() {
    let mut several = Several::established(1, &options("2s"));
    several.put_until_done(0, 2);
    let before = several.dictators[0].http().get("/master").json();
    several.dictators[0].kill();
    let folder = several.dictators[0].state_folder();
    std::fs::remove_dir_all(&folder).expect("the state folder can be removed");
    std::fs::create_dir(&folder).expect("an empty state folder");
    several.dictators[0].start_again();
    several.wait_holder(&[0]);
    assert_eq!(several.dictators[0].http().get("/master").json(), before, "the document is in force again");
    let receipt = several.put_until_done(0, 1);
    assert_eq!((&receipt["outcome"], &receipt["generation"]), (&"switched".into(), &3.into()), "{receipt}");
}
