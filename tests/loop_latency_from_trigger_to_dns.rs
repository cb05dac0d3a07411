//! From the reply of `etcdctl put` on the trigger to the new answer of DNS: what the loop adds to the
//! dictator's own work, as its receipt tells it.

use std::time::{Duration, Instant};

use harness::load::percentile;
use harness::{Whole, WholeOptions, dns, wait_until};

/// Moves measured.
const MOVES: usize = 20;
/// What watching, two deliveries and publishing may add to the dictator's work, in the median.
const ADDED_MAX: Duration = Duration::from_millis(20);

#[test]
fn the_loop_adds_little_to_the_receipt() {
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
    let median = percentile(&added, 0.5);
    assert!(median <= ADDED_MAX, "the loop added {median:?} in the median of {added:?}");
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
