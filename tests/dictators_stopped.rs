//! The dictator that has the say is stopped for longer than its lease in the middle of a switch, another
//! takes over and moves the master elsewhere, and then the first goes on.
//!
//! Two things can be late. What the first had **sent** may still lie in the network or in the socket of
//! a node that was asleep: a proxy holds it back until the other is done. And what the first would have
//! sent **next**: the held command is let through at once, so that its reply waits for the first to wake.
//! Neither may reach a node, and the first may not write its own idea of things over the other's record.
//!
//! `DICTATORS_STOPPED_S=30` makes it sleep that long instead of just as long as the takeover needs.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test blocks its own thread, and tells what it measured"
)]

use std::time::Duration;

use harness::proxy::{ATTACHMENT, DEMOTION, PAUSE, PROMOTION};
use harness::several::options;
use harness::wait::{ensure, wait_until};
use harness::{Load, LoadOptions, Several};

/// How long a node may take to carry out a command that was let through.
const EXECUTED_DEADLINE: Duration = Duration::from_secs(10);

/// When the held command goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    /// While the first sleeps and still has the say; its reply is the first thing it sees when it wakes.
    AtOnce,
    /// When another has moved the master elsewhere.
    Late,
}

/// Where the first is stopped: the command, and the node it is for.
const PLACES: [(&str, &[u8], usize); 4] = [
    ("pause", PAUSE, 0),
    ("demotion", DEMOTION, 0),
    ("promotion", PROMOTION, 1),
    ("attachment", ATTACHMENT, 0),
];

fn asleep_at_least() -> Duration {
    let text = std::env::var("DICTATORS_STOPPED_S").unwrap_or_default();
    Duration::from_secs(text.parse().unwrap_or_default())
}

fn load(several: &Several) -> Load {
    let nodes: Vec<_> = several.nodes.iter().collect();
    Load::start(LoadOptions { writers: 4, interval: Duration::from_millis(2), ..LoadOptions::on(&nodes) })
}

/// One case: three nodes, two dictators, writes going on all the time.
fn stopped_at((place, bytes, node): (&str, &'static [u8], usize), release: Release) {
    let mut several = Several::established(2, &options("2s"));
    several.wait_following(1, 0);
    let load = load(&several);
    load.wait_acknowledged(100);

    several.proxies[node].hold_at(bytes);
    let asked = several.put_aside(0, 1);
    several.proxies[node].wait_held();
    several.dictators[0].process().freeze();
    let asleep = std::time::Instant::now();
    if release == Release::AtOnce {
        let before = several.orders()[node];
        several.proxies[node].release();
        wait_until("the held command to be carried out", EXECUTED_DEADLINE, || {
            ensure(several.orders()[node] > before, format!("{before:?} before and now"))
        });
    }

    let receipt = several.put_until_done(1, 2);
    println!("{place}, {release:?}: another has moved the master after {:?}", asleep.elapsed());
    several.wait_settled(2);
    load.wait_acknowledged(100);
    std::thread::sleep(asleep_at_least().saturating_sub(asleep.elapsed()));
    let (orders, record) = (several.orders(), several.record());
    if release == Release::Late {
        several.proxies[node].release();
    }
    several.dictators[0].process().thaw();
    several.wait_following(0, 1);
    let answer = asked.join().expect("the asking thread does not panic").expect("an answer");
    let case = format!("{place}, {release:?}");
    assert_eq!((answer.status, answer.slug().as_str()), (503, "not-leader"), "{case}: {}", answer.text());

    load.wait_acknowledged(100);
    assert_eq!(several.orders(), orders, "{case}: a late command reached a node");
    assert_same_right(&record, &several.record());
    let ledger = load.stop();
    several.wait_equal(2);
    let tally = ledger.verify(several.nodes[2].address());
    assert!(tally.is_clean(), "{case}: {tally}: {tally:?}");
    for switch in ledger.switches() {
        assert_eq!(switch.overlaps, 0, "{case}: two took writes: {switch:?}");
    }
    assert!(receipt["generation"].as_u64() >= Some(2), "{receipt}");
}

/// The heartbeat in a record goes on; who has the right to be master, and by which document, does not.
fn assert_same_right(before: &str, after: &str) {
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("a record");
    let (before, after) = (read(before), read(after));
    for member in ["generation", "granted", "intent", "wanted"] {
        assert_eq!(before[member], after[member], "{member}: {before}\n{after}");
    }
}

#[test]
fn what_it_sent_comes_late_and_reaches_no_node() {
    for place in PLACES {
        stopped_at(place, Release::Late);
    }
}

#[test]
fn what_it_would_have_sent_next_is_never_sent() {
    for place in PLACES {
        stopped_at(place, Release::AtOnce);
    }
}
