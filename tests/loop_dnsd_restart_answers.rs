//! A dnsd that was killed answers again at once, from its own memory of the last publication, even
//! when everything else is gone.

use std::time::{Duration, Instant};

use harness::dns::{Data, RecordType};
use harness::{Whole, WholeOptions};

/// Ready this soon after its start; a debug build on a busy machine is given more than the 200 ms
/// that a release build is held to.
const READY_MAX: Duration = Duration::from_secs(1);

#[test]
fn a_killed_dnsd_serves_its_last_publication_at_once() {
    let mut whole = Whole::start(&WholeOptions::default());
    whole.move_to(1);
    let serial = serial(&whole);
    whole.observer.kill();
    whole.dictator.kill();
    whole.etcd.kill();
    whole.dnsd.kill();
    for node in &mut whole.nodes {
        node.kill();
    }
    let start = Instant::now();
    whole.dnsd.start_again();
    assert_eq!(whole.dnsd.published_master(), Some(whole.nodes[1].address()));
    assert!(start.elapsed() < READY_MAX, "{:?}", start.elapsed());
    assert_eq!(whole.dnsd.http().get("/readyz").status, 200);
    assert_eq!(self::serial(&whole), serial, "nothing changed, so the serial did not");
}

fn serial(whole: &Whole) -> u32 {
    let answer = harness::dns::query(whole.dnsd.dns_address(), harness::daemon::DOMAIN, RecordType::Soa);
    match answer.expect("an answer").data().as_slice() {
        [Data::Soa { serial, .. }] => *serial,
        other => panic!("no SOA: {other:?}"),
    }
}
