//! etcd goes away in the middle of a switch and stays away for longer than the lease.
//!
//! The dictator that has the say then has it no more, and nobody else can get it. What it had sent may
//! still arrive; nothing irreversible may follow. Writes may have to wait for etcd, if the old master was
//! already demoted; that is the price of never having two masters. Once etcd is back the switch is
//! finished or undone from the record, without a human.
//!
//! `DICTATORS_ALL=1` takes both ways of going away at every place; without, they take turns.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test blocks its own thread, and tells what it measured"
)]

use std::time::{Duration, Instant};

use harness::proxy::{ATTACHMENT, DEMOTION, PAUSE, PROMOTION};
use harness::redis::masters;
use harness::several::options;
use harness::wait::{ensure, wait_until};
use harness::{Load, LoadOptions, Several};

/// Longer than the lease of these tests.
const AWAY: Duration = Duration::from_millis(2500);
/// How long a dictator may take until it knows that its lease has ended.
const LOST_DEADLINE: Duration = Duration::from_secs(10);
/// How often the nodes are asked who takes writes, while etcd is away.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Where the switch is when etcd goes: the held command, and the node it is for.
const PLACES: [(&str, &[u8], usize); 4] = [
    ("pause", PAUSE, 0),
    ("demotion", DEMOTION, 0),
    ("promotion", PROMOTION, 1),
    ("attachment", ATTACHMENT, 0),
];

/// How etcd goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    /// It is stopped, and its sockets stay open.
    Frozen,
    /// It is killed and starts again with its data.
    Killed,
}

fn etcd_goes(at: (&str, &'static [u8], usize), away: Away) {
    let (place, bytes, node) = at;
    let case = format!("{place}, etcd {away:?}");
    let mut several = Several::established(2, &options("2s"));
    let holder = several.wait_holder(&[0, 1]);
    let nodes: Vec<_> = several.nodes.iter().collect();
    let load = Load::start(LoadOptions {
        writers: 4,
        interval: Duration::from_millis(2),
        ..LoadOptions::on(&nodes)
    });
    load.wait_acknowledged(100);

    several.proxies[node].hold_at(bytes);
    let asked = several.put_aside(holder, 1);
    several.proxies[node].wait_held();
    match away {
        Away::Frozen => several.etcd.process().freeze(),
        Away::Killed => several.etcd.kill(),
    }
    wait_until("the dictator to know that its lease has ended", LOST_DEADLINE, || {
        let answer = several.dictators[holder].http().get("/status");
        ensure(answer.status == 503, answer.text())
    });
    several.proxies[node].release();
    let gone = Instant::now();
    while gone.elapsed() < AWAY {
        let masters = masters(&several.nodes.iter().collect::<Vec<_>>());
        assert!(masters.len() <= 1, "{case}: {masters:?}");
        std::thread::sleep(LOOK_INTERVAL);
    }
    match away {
        Away::Frozen => several.etcd.process().thaw(),
        Away::Killed => several.etcd.start_again(),
    }

    let answer = asked.join().expect("the asking thread does not panic").expect("an answer");
    assert_eq!(answer.status, 503, "{case}: nobody who lost the say tells of success: {}", answer.text());
    let holder = several.wait_holder(&[0, 1]);
    several.put_until_done(holder, 1);
    load.wait_acknowledged(100);
    let ledger = load.stop();
    several.wait_equal(1);
    let tally = ledger.verify(several.nodes[1].address());
    assert!(tally.is_clean(), "{case}: {tally}: {tally:?}");
    for switch in ledger.switches() {
        assert_eq!(switch.overlaps, 0, "{case}: two took writes: {switch:?}");
        println!("{case}: writes waited {:?}", switch.gap);
    }
}

/// The places for one way of going away: every second one unless all are asked for.
fn places(first: usize) -> impl Iterator<Item = (&'static str, &'static [u8], usize)> {
    let all = std::env::var_os("DICTATORS_ALL").is_some();
    let wanted = move |(index, _): &(usize, _)| all || index % 2 == first;
    PLACES.into_iter().enumerate().filter(wanted).map(|(_, place)| place)
}

#[test]
fn a_stopped_etcd_costs_no_write_and_makes_no_second_master() {
    for place in places(1) {
        etcd_goes(place, Away::Frozen);
    }
}

#[test]
fn a_killed_etcd_costs_no_write_and_makes_no_second_master() {
    for place in places(0) {
        etcd_goes(place, Away::Killed);
    }
}

#[test]
fn without_etcd_nothing_is_begun_and_the_master_goes_on() {
    let mut several = Several::established(1, &options("2s"));
    let orders = several.orders();
    several.etcd.kill();
    wait_until("the dictator to know that its lease has ended", LOST_DEADLINE, || {
        let answer = several.put(0, 1);
        ensure(answer.slug() == "not-leader", answer.text())
    });
    assert_eq!(several.orders(), orders, "nothing was sent");
    assert_eq!(several.nodes[0].role(), "master");
    several.etcd.start_again();
    assert_eq!(several.put_until_done(0, 1)["outcome"], "switched");
}
