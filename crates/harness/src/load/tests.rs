use super::*;
use crate::redis::{Persistence, RedisOptions, wire_by_hand};
use crate::{Redis, wait_until};

fn acknowledged(node: &str, at_ms: u64) -> Attempt {
    let known = Duration::from_millis(at_ms);
    let sent = known.saturating_sub(Duration::from_millis(1));
    Attempt { node: Some(node.parse().expect("an address")), sent, known, outcome: Outcome::Acknowledged }
}

fn ledger(attempts: Vec<Vec<Attempt>>) -> Ledger {
    Ledger::new(LoadOptions::new(&[]), attempts, Duration::from_secs(1))
}

const OLD: &str = "127.0.0.1:1";
const NEW: &str = "127.0.0.1:2";

#[test]
fn a_gap_is_from_the_last_old_to_the_first_new_acknowledgement() {
    let old = (0..10).map(|at| acknowledged(OLD, at));
    let new = (14..200).map(|at| acknowledged(NEW, at));
    let switches = ledger(vec![old.chain(new).collect()]).switches();
    assert_eq!(switches.len(), 1);
    assert_eq!(switches[0].gap, Duration::from_millis(5));
    assert_eq!((switches[0].at, switches[0].overlaps), (Duration::from_millis(9), 0));
}

#[test]
fn acknowledgements_by_two_nodes_at_once_are_overlaps() {
    let old = (0..60).map(|at| acknowledged(OLD, at)).collect();
    let new = (30..300).map(|at| acknowledged(NEW, at)).collect();
    let switches = ledger(vec![old, new]).switches();
    assert!(switches[0].overlaps > 20, "{switches:?}");
}

#[test]
fn percentiles_are_by_nearest_rank() {
    let values: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
    assert_eq!(percentile(&values, 0.5), Duration::from_millis(50));
    assert_eq!(percentile(&values, 0.99), Duration::from_millis(99));
    assert_eq!(percentile(&[], 0.5), Duration::ZERO);
}

#[test]
fn a_clean_switch_loses_nothing_and_a_rough_one_is_found_out() {
    let options = RedisOptions::default().persistence(Persistence::None);
    let nodes = Redis::start_many(2, &options);
    let (first, second) = (&nodes[0], &nodes[1]);
    wire_by_hand(first, &[second]);
    let load = Load::start(LoadOptions::on(&[first, second]));
    load.wait_acknowledged(1_000);

    // By hand and in the right order: end writes, let the slave catch up, promote.
    first.command("REPLICAOF 127.0.0.1 0");
    let frozen = first.info_field("slave_repl_offset");
    wait_until("the slave to catch up", Duration::from_secs(5), || {
        let offset = second.info_field("slave_repl_offset");
        crate::wait::ensure(offset >= frozen, offset)
    });
    second.command("REPLICAOF NO ONE");
    load.wait_acknowledged(1_000);
    let ledger = load.stop();
    let tally = ledger.verify(second.address());
    assert!(tally.is_clean(), "{tally}: {tally:?}");
    let switches = ledger.switches();
    assert_eq!((switches.len(), switches[0].overlaps), (1, 0), "{switches:?}");
    assert_eq!(tally.acknowledged, ledger.acknowledged());
    assert!(ledger.rejected()["READONLY"] >= 8, "{:?}", ledger.rejected());

    // The same ids held against a node that lost one.
    second.command("FLUSHALL");
    let tally = ledger.verify(second.address());
    assert_eq!(tally.missing.len(), tally.acknowledged);
    assert!(!tally.is_clean());
}

#[test]
fn eight_writers_get_five_thousand_acknowledgements_a_second() {
    let node = Redis::start_with(&RedisOptions::plain().persistence(Persistence::None));
    let load = Load::start(LoadOptions::on(&[&node]));
    // The best of several windows: other tests share the cores.
    let (mut before, mut since) = (load.acknowledged(), Instant::now());
    wait_until("a window with 5 000 writes a second", Duration::from_secs(30), || {
        std::thread::sleep(Duration::from_millis(500));
        let rate = (load.acknowledged() - before) as f64 / since.elapsed().as_secs_f64();
        (before, since) = (load.acknowledged(), Instant::now());
        crate::wait::ensure(rate >= 5_000.0, format!("{rate:.0} per second"))
    });
    assert!(load.stop().verify(node.address()).is_clean());
}
