//! When the dictator refuses, DNS stays where it was: dnsd is told only after the nodes did move.

use std::time::Duration;

use harness::redis::{Redis, RedisOptions, assert_only_reads, masters};
use harness::wait::ensure;
use harness::{DaemonOptions, Whole, WholeOptions, topology, wait_until};

#[test]
fn a_refused_topology_changes_neither_nodes_nor_dns() {
    let refusal = "the topology asked for is refused, and the operator has to know";
    let options = WholeOptions {
        observer: DaemonOptions::new().allow_log("takes writes of its own", refusal),
        ..WholeOptions::default()
    };
    let whole = Whole::start(&options);
    let first = whole.move_to(0);
    let [a, b, c] = &whole.nodes[..] else { panic!("three nodes") };
    let foreign = Redis::start_with(&RedisOptions::plain());
    foreign.command("SET treasure 1");

    let revision = assert_only_reads(&[&foreign, b, c], || {
        whole.define(&topology(a, &[b, c, &foreign]));
        let revision = whole.trigger();
        wait_until("the observer to be refused", Duration::from_secs(10), || {
            let status = whole.observer.http().get("/status").expect(200).text();
            ensure(status.contains("split-brain"), status)
        });
        revision
    });
    assert!(revision > first);
    assert_eq!(foreign.keys(), 1);
    assert_eq!(whole.dnsd.published_master(), Some(a.address()));
    let published = whole.dnsd.http().get("/dns").expect(200).text();
    assert!(!published.contains(&foreign.address().port().to_string()), "{published}");
    assert_eq!(masters(&[a, b, c]).iter().map(|node| node.address()).collect::<Vec<_>>(), [a.address()]);

    // The next good topology goes through at once; the refused one does not stand in its way.
    whole.move_to(1);
}
