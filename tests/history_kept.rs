//! The history: who asked for what and why, over restarts of every kind, and never more than its cap.

use std::time::Duration;

use harness::cluster::quick_without_enforcement;
use harness::wait::ensure;
use harness::{Cluster, RedisOptions, wait_until};
use serde_json::Value;

/// How many entries there may be.
const HISTORY_MAX: usize = 200;
/// How long it may take until the history is in its file.
const KEPT_DEADLINE: Duration = Duration::from_secs(10);

fn history(cluster: &Cluster) -> Vec<Value> {
    cluster.dictator.http().get("/history").json().as_array().expect("a list").clone()
}

fn wait_kept(cluster: &Cluster, request_id: &str) {
    let file = cluster.dictator.state_folder().join("history.json");
    wait_until("the history to be kept", KEPT_DEADLINE, || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        ensure(text.contains(request_id), format!("{} bytes", text.len()))
    });
}

#[test]
fn it_says_who_asked_and_why_and_outlives_restarts() {
    let mut cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let body = cluster.document(1).to_string();
    let put = |reason: &str, id: &str, body: &str, extra: &[(&str, &str)]| {
        let mut headers = vec![("X-Reason", reason), ("X-Request-Id", id)];
        headers.extend(extra);
        cluster.dictator.http().request("PUT", "/master", &headers, body.as_bytes())
    };
    put("new disk for the first", "ticket-1", &body, &[]).expect(200);
    let wrong = body.replace(&cluster.nodes[1].address().port().to_string(), "1");
    assert!(put("a mistake", "ticket-2", &wrong, &[]).status >= 400);
    let before = history(&cluster);
    let fields = |entry: &Value| {
        ["cause", "request_id", "reason"].map(|name| entry[name].as_str().unwrap_or("").to_owned())
    };
    assert_eq!(fields(&before[0]), ["put", "ticket-2", "a mistake"], "{before:?}");
    assert_eq!(fields(&before[1]), ["put", "ticket-1", "new disk for the first"]);
    assert_eq!(before[1]["receipt"]["outcome"], "switched");
    assert!(before[0]["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    cluster.dictator.stop();
    cluster.dictator.start_again();
    assert_eq!(history(&cluster)[..], before[..], "after a stop");
    cluster.move_to(0);
    let before = history(&cluster);
    wait_kept(&cluster, before[0]["request_id"].as_str().expect("an id"));
    cluster.dictator.kill();
    cluster.dictator.start_again();
    assert_eq!(history(&cluster)[..], before[..], "after a kill");
}

#[test]
fn it_has_a_cap() {
    let mut cluster = Cluster::established(1, &RedisOptions::default(), &quick_without_enforcement());
    let body = cluster.document(0).to_string();
    for number in 0..HISTORY_MAX + 3 {
        let id = format!("request-{number}");
        let headers = [("X-Request-Id", id.as_str())];
        cluster.dictator.http().request("PUT", "/master", &headers, body.as_bytes()).expect(200);
    }
    let ids = |entries: &[Value]| {
        assert_eq!(entries.len(), HISTORY_MAX);
        (entries[0]["request_id"].clone(), entries[HISTORY_MAX - 1]["request_id"].clone())
    };
    let newest = format!("request-{}", HISTORY_MAX + 2);
    assert_eq!(ids(&history(&cluster)), (newest.clone().into(), "request-3".into()));
    wait_kept(&cluster, &newest);
    cluster.dictator.kill();
    cluster.dictator.start_again();
    assert_eq!(ids(&history(&cluster)), (newest.into(), "request-3".into()));
}
