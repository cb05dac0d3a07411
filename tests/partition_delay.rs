//! The nodes are far away: everything between dictator and nodes, and between master and slaves, takes
//! twenty milliseconds in each direction. Switches take longer then, and lose as little.

use std::time::Duration;

use harness::several::options;
use harness::{Load, LoadOptions, Several};

/// One way, so that a command and its reply take twice that.
const DELAY: Duration = Duration::from_millis(20);
/// Switches under load.
const SWITCHES: usize = 3;

#[test]
fn a_long_way_costs_time_and_no_write() {
    let several = Several::established(1, &options("5s"));
    several.proxies.iter().for_each(|proxy| proxy.delay(DELAY));
    let nodes: Vec<_> = several.nodes.iter().collect();
    let load = Load::start(LoadOptions {
        writers: 4,
        interval: Duration::from_millis(5),
        ..LoadOptions::on(&nodes)
    });
    for round in 1..=SWITCHES {
        load.wait_acknowledged(100);
        let receipt = several.put_until_done(0, round % 3);
        assert_eq!(receipt["outcome"], "switched", "{receipt}");
        let gap = Duration::from_micros(receipt["write_gap_us"].as_u64().expect("a gap"));
        assert!(gap >= DELAY * 4, "pause, demotion and promotion went the long way: {gap:?}");
    }
    load.wait_acknowledged(100);
    let ledger = load.stop();
    several.wait_equal(SWITCHES % 3);
    let tally = ledger.verify(several.nodes[SWITCHES % 3].address());
    assert!(tally.is_clean(), "{tally}: {tally:?}");
    assert!(ledger.switches().iter().all(|switch| switch.overlaps == 0), "{:?}", ledger.switches());
}
