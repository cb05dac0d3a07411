//! From the reply of `etcdctl put` on the trigger to the new answer of DNS, twenty times over: every move
//! arrives, and its receipt is in the history.
//!
//! What the loop adds to the dictator's own work is printed and not judged here: a machine that is busy
//! with other tests says nothing about it. `cargo bench --bench write_gap -- --idle` measures it.

use std::time::{Duration, Instant};

use harness::load::percentile;
use harness::{Whole, WholeOptions, dns, wait_until};

/// Moves measured.
const MOVES: usize = 20;

#[test]
fn every_trigger_reaches_dns_and_the_history() {
    let whole = Whole::start(&WholeOptions::default());
    whole.move_to(0);
    let mut added = Vec::new();
    for round in 1..=MOVES {
        let master = round % whole.nodes.len();
        whole.define(&whole.document(master));
        let revision = whole.trigger();
        let start = Instant::now();
        let wanted = whole.nodes[master].address();
        while dns::find_master(whole.dnsd.dns_address(), harness::daemon::DOMAIN).ok() != Some(wanted) {
            assert!(start.elapsed() < Duration::from_secs(30), "DNS does not name {wanted}");
        }
        added.push(start.elapsed().saturating_sub(receipt_total(&whole, revision)));
    }
    assert_eq!(added.len(), MOVES);
    #[allow(clippy::print_stderr, reason = "a figure for those who run this test by hand")]
    {
        eprintln!("the loop added {:?} in the median of {MOVES}", percentile(&added, 0.5));
    }
}

/// How long the dictator worked on this revision: to the end of the last step of its receipt.
fn receipt_total(whole: &Whole, revision: u64) -> Duration {
    // The receipt is sent first and put into the history then.
    wait_until("the receipt to be in the history", Duration::from_secs(5), || {
        let history = whole.dictator.http().get("/history").expect(200).json();
        let receipt = find_receipt(&history, revision).ok_or_else(|| history.to_string())?;
        let ends = receipt["steps"].as_array().expect("steps").iter().map(|step| {
            step["at_us"].as_u64().unwrap_or_default() + step["took_us"].as_u64().unwrap_or_default()
        });
        Ok::<_, String>(Duration::from_micros(ends.max().unwrap_or_default()))
    })
}

/// The receipt of a revision, wherever in the history it lies.
fn find_receipt(value: &serde_json::Value, revision: u64) -> Option<&serde_json::Value> {
    match value {
        serde_json::Value::Object(fields) if fields.contains_key("steps") => {
            (value["revision"] == revision).then_some(value)
        }
        serde_json::Value::Object(fields) => fields.values().find_map(|field| find_receipt(field, revision)),
        serde_json::Value::Array(items) => items.iter().find_map(|item| find_receipt(item, revision)),
        _ => None,
    }
}
