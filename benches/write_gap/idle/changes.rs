//! Times of changes: a document that is in force, a trigger's way to DNS, many slaves.

use std::time::{Duration, Instant};

use harness::daemon::DOMAIN;
use harness::whole::document;
use harness::{Daemon, DaemonOptions, Redis, RedisOptions, Whole, dns, wait_until};
use serde_json::Value;

use super::row;

/// PUTs of the document in force.
const PUTS: usize = 200;
/// Triggers measured.
const TRIGGERS: usize = 20;
/// Switches of each kind in a cluster of many slaves.
const SWITCHES: usize = 7;
/// Pause between two questions to DNS.
const ASK_INTERVAL: Duration = Duration::from_micros(500);
/// Longest wait for DNS to name the new master.
const PUBLISHED_DEADLINE: Duration = Duration::from_secs(10);

/// `PUT /master` of what is in force. By redis's own count of commands it sends nothing but reads.
pub(super) fn document_in_force(whole: &Whole) -> Vec<Vec<String>> {
    let document = whole.document(0);
    whole.dictator.http().put("/master?wait=links", &document).expect(200);
    let counts = |node: &Redis| node.command_counts();
    let before: Vec<_> = whole.nodes.iter().map(counts).collect();
    let times: Vec<Duration> = (0..PUTS)
        .map(|_| {
            let start = Instant::now();
            let answer = whole.dictator.put_master(&document).expect(200).json();
            let took = start.elapsed();
            assert_eq!(answer["outcome"], "unchanged", "{answer}");
            took
        })
        .collect();
    let mut beyond = String::new();
    for (node, before) in whole.nodes.iter().zip(&before) {
        let more = node.command_counts().since(before).beyond_reads();
        if !more.is_empty() {
            beyond.push_str(&format!("{}: {more:?} ", node.address()));
        }
    }
    let remark =
        if beyond.is_empty() { "no node was sent more than reads, nothing was paused" } else { &beyond };
    vec![row("PUT of the document in force", &times, remark)]
}

/// From the answer of `etcdctl put` on the trigger to the new answer of DNS.
pub(super) fn trigger_to_dns(whole: &Whole) -> Vec<Vec<String>> {
    let (mut whole_way, mut beyond_receipt) = (Vec::new(), Vec::new());
    for number in 1..=TRIGGERS {
        let master = number % whole.nodes.len();
        whole.define(&whole.document(master));
        let revision = whole.trigger();
        let took = wait_published(whole, master);
        let receipt = receipt_of(&whole.dictator, revision);
        whole_way.push(took);
        beyond_receipt.push(took.saturating_sub(total(&receipt)));
        // The links of the last change are up before the next begins.
        whole.dictator.http().put("/master?wait=links", &whole.document(master)).expect(200);
    }
    vec![
        row("etcdctl put on the trigger to the DNS answer", &whole_way, ""),
        row("the same without the receipt's total", &beyond_receipt, ""),
    ]
}

fn wait_published(whole: &Whole, master: usize) -> Duration {
    let (start, wanted) = (Instant::now(), whole.nodes[master].address());
    while dns::find_master(whole.dnsd.dns_address(), DOMAIN).ok() != Some(wanted) {
        assert!(start.elapsed() < PUBLISHED_DEADLINE, "DNS does not name {wanted}");
        std::thread::sleep(ASK_INTERVAL);
    }
    start.elapsed()
}

/// The receipt of this revision, from the dictator's history, where it is once all links are up.
fn receipt_of(dictator: &Daemon, revision: u64) -> Value {
    wait_until("the receipt to be in the history", PUBLISHED_DEADLINE, || {
        let history = dictator.http().get("/history").expect(200).json();
        find(&history, revision).ok_or_else(|| format!("no receipt of revision {revision} in {history}"))
    })
}

fn find(history: &Value, revision: u64) -> Option<Value> {
    match history {
        Value::Array(entries) => entries.iter().find_map(|entry| find(entry, revision)),
        Value::Object(fields) if history["revision"] == revision && fields.contains_key("steps") => {
            Some(history.clone())
        }
        Value::Object(fields) => fields.values().find_map(|value| find(value, revision)),
        _ => None,
    }
}

/// From the beginning of a change to its last step's end.
fn total(receipt: &Value) -> Duration {
    let steps = receipt["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let end = |step: &Value| Some(step["at_us"].as_u64()? + step["took_us"].as_u64()?);
    Duration::from_micros(steps.iter().filter_map(end).max().unwrap_or_default())
}

/// Moves the master of a cluster with this many slaves back and forth, both ways of waiting.
pub(super) fn many_slaves(slaves: usize) -> Vec<Vec<String>> {
    let nodes = Redis::start_many(slaves + 1, &RedisOptions::default());
    let dictator = Daemon::dictator(&DaemonOptions::new());
    dictator.http().put("/master?wait=links", &document(&nodes, 0)).expect(200);
    let (mut gaps, mut promoted) = (Vec::new(), Vec::new());
    let (mut answered, mut linked) = (Vec::new(), Vec::new());
    for number in 1..=2 * SWITCHES {
        let document = document(&nodes, number % 2);
        let wait_links = number % 2 == 0;
        let path = if wait_links { "/master?wait=links" } else { "/master" };
        let start = Instant::now();
        let receipt = dictator.http().put(path, &document).expect(200).json();
        let took = start.elapsed();
        gaps.extend(receipt["write_gap_us"].as_u64().map(Duration::from_micros));
        promoted.extend(promoted_at(&receipt));
        if wait_links {
            linked.push(took);
        } else {
            answered.push(took);
            dictator.http().put("/master?wait=links", &document).expect(200);
        }
    }
    vec![
        row(&format!("{slaves} slaves: pause to promotion"), &gaps, "by the receipt"),
        row(&format!("{slaves} slaves: change begun to promotion"), &promoted, "by the receipt"),
        row(&format!("{slaves} slaves: PUT ?wait=promoted"), &answered, ""),
        row(&format!("{slaves} slaves: PUT ?wait=links"), &linked, ""),
    ]
}

/// When the promotion was acknowledged, since the change began.
fn promoted_at(receipt: &Value) -> Option<Duration> {
    let steps = receipt["steps"].as_array()?;
    let promotion = steps.iter().find(|step| step["step"] == "promote")?;
    Some(Duration::from_micros(promotion["at_us"].as_u64()? + promotion["took_us"].as_u64()?))
}
