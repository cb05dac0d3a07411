//! The loop, once around: a trigger is written, the master moves under load without losing a write,
//! and DNS follows.
//!
//! Defining a topology without pulling the trigger changes nothing.

use std::time::Duration;

use harness::dns::{Data, RecordType};
use harness::redis::{masters, wait_equal_data, wait_links_up};
use harness::{Load, LoadOptions, Whole, WholeOptions};

#[test]
fn one_trigger_moves_the_master_and_dns_follows() {
    let whole = Whole::start(&WholeOptions::default());
    let [a, b, c] = &whole.nodes[..] else { panic!("three nodes") };
    whole.move_to(0);
    wait_links_up(a, &[b, c]);
    let load = Load::start(LoadOptions::on(&[a, b, c]));
    load.wait_acknowledged(500);

    whole.define(&whole.document(1));
    load.wait_acknowledged(500);
    assert_eq!(whole.dnsd.published_master(), Some(a.address()), "defined, but not triggered");
    assert_eq!(masters(&[a, b, c]).len(), 1);

    let resyncs: u64 = whole.nodes.iter().map(|node| node.full_resyncs()).sum();
    let revision = whole.trigger();
    whole.wait_published(1);
    load.wait_acknowledged(500);
    let ledger = load.stop();
    let tally = ledger.verify(b.address());
    assert!(tally.is_clean() && tally.unknown == 0, "{tally}: {tally:?}");
    let switches = ledger.switches();
    assert_eq!(switches.len(), 1, "{switches:?}");
    assert_eq!((switches[0].to, switches[0].overlaps), (b.address(), 0), "{switches:?}");
    assert!(switches[0].gap < Duration::from_millis(500), "{switches:?}");

    wait_links_up(b, &[a, c]);
    wait_equal_data(&[a, b, c]);
    let resyncs_now: u64 = whole.nodes.iter().map(|node| node.full_resyncs()).sum();
    assert_eq!(resyncs_now, resyncs, "no full resync");
    assert_eq!(whole.dictator.status()["revision"], revision);
}

#[test]
fn dns_tells_the_master_and_every_slave() {
    let whole = Whole::start(&WholeOptions::default());
    whole.move_to(2);
    let slaves = whole.dnsd.ask("slaves", RecordType::Srv);
    let mut found = slaves.services();
    found.sort();
    let mut wanted = vec![whole.nodes[0].address(), whole.nodes[1].address()];
    wanted.sort();
    assert_eq!(found, wanted);
    let master = whole.dnsd.ask("master", RecordType::Srv);
    assert!(master.authoritative);
    let port = whole.nodes[2].address().port();
    let target = format!("master.{}", harness::daemon::DOMAIN);
    assert_eq!(master.data(), [Data::Srv { priority: 10, weight: 100, port, target }]);
    let address = whole.dnsd.ask("master", RecordType::A);
    assert_eq!(address.data(), [Data::Address(whole.nodes[2].address().ip())]);
}
