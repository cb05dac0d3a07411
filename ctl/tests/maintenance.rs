//! Work on a node: enforcement is held, seen, and goes on by itself; and what is seen live meanwhile.
#![allow(missing_docs)]

mod support;

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use harness::cluster::{Cluster, quick};
use harness::redis::RedisOptions;
use harness::wait::ensure;
use harness::wait_until;
use serde_json::Value;
use support::Ctl;

const DEADLINE: Duration = Duration::from_secs(20);

fn established() -> (Cluster, Ctl) {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick());
    cluster.wait_no_drift();
    let ctl = Ctl::of(cluster.dictator.url(""));
    (cluster, ctl)
}

/// Takes the slave away from its master, as somebody who works on it might.
fn stray(cluster: &Cluster) {
    let reply = cluster.nodes[1].command("REPLICAOF 127.0.0.1 0");
    assert!(!reply.is_error(), "{reply}");
}

fn wait_brought_back(cluster: &Cluster) {
    wait_until("the slave to be attached again", DEADLINE, || {
        let link = cluster.nodes[1].info_field("master_link_status");
        ensure(link == "up", format!("link {link}"))
    });
}

#[test]
fn a_pause_holds_enforcement_and_ends_by_itself() {
    const PAUSE: Duration = Duration::from_secs(5);
    let (cluster, ctl) = established();
    let begun = Instant::now();
    let paused = ctl.run(&["pause", "--for", "5s", "--reason", "new memory"]).ended(0);
    paused.says(&["enforcement is paused until ", ": new memory"]);
    stray(&cluster);
    ctl.run(&["status"]).ended(2).says(&["enforcement is paused until ", "parked"]);
    let metrics = cluster.dictator.http().get("/metrics").text();
    assert!(metrics.contains("\ndictator_enforcement_paused 1\n"), "{metrics}");
    wait_brought_back(&cluster);
    assert!(begun.elapsed() >= PAUSE, "brought back after {:?}", begun.elapsed());
    // The link is up a moment before the change that brought it back has ended.
    let history = wait_until("the repair to be in the history", DEADLINE, || {
        let told = ctl.run(&["history"]).ended(0);
        if told.stdout.contains("repaired") { Ok(told) } else { Err(told.stdout) }
    });
    history.says(&["enforcement-resumed", "enforcement-paused"]);
}

#[test]
fn a_pause_is_ended_by_a_word_and_holds_no_change_that_is_asked_for() {
    let (cluster, ctl) = established();
    ctl.run(&["pause", "--for", "1h"]).ended(0);
    ctl.run(&["switch", &cluster.nodes[1].address().to_string(), "--wait-links"])
        .ended(0)
        .says(&["switched"]);
    ctl.run(&["switch", &cluster.nodes[0].address().to_string(), "--wait-links"])
        .ended(0)
        .says(&["switched"]);
    stray(&cluster);
    let status = ctl.run(&["status", "-o", "json"]).ended(2).json();
    assert!(status["enforcement"]["paused"]["until_unix_ms"].is_u64(), "{status}");
    ctl.run(&["resume"]).ended(0).says(&["enforcement goes on"]);
    wait_brought_back(&cluster);
    ctl.run(&["resume"]).ended(0).says(&["enforcement goes on"]);
}

#[test]
fn a_pause_does_not_outlive_the_dictator_and_its_end_is_written_down() {
    let (mut cluster, ctl) = established();
    ctl.run(&["pause", "--for", "1h", "--reason", "disk"]).ended(0);
    wait_until("the pause to be in the history's file", DEADLINE, || {
        let text = std::fs::read_to_string(cluster.dictator.state_folder().join("history.json"));
        ensure(text.is_ok_and(|text| text.contains("enforcement-paused")), "not there yet")
    });
    stray(&cluster);
    cluster.dictator.kill();
    cluster.dictator.start_again();
    wait_brought_back(&cluster);
    let status = ctl.run(&["status", "-o", "json"]).json();
    assert_eq!(status["enforcement"]["paused"], Value::Null, "{status}");
    let history = ctl.run(&["history", "-o", "json"]).ended(0).json();
    let entries = history.as_array().expect("a list");
    let resumed = entries.iter().find(|entry| entry["outcome"] == "enforcement-resumed").expect("an entry");
    assert_eq!(resumed["detail"], "the dictator was started anew");
    assert_eq!(entries.iter().filter(|entry| entry["outcome"] == "enforcement-resumed").count(), 1);
}

#[test]
fn a_pause_that_cannot_be_is_refused() {
    let (_cluster, ctl) = established();
    let too_long = ctl.run(&["pause", "--for", "25h"]).ended(3);
    too_long.complains(&["malformed-enforcement", "86400 is the most"]);
    let reason = "x".repeat(201);
    ctl.run(&["pause", "--for", "1h", "--reason", &reason]).ended(3).complains(&["at most 200 characters"]);
}

#[test]
fn a_change_is_seen_while_it_happens() {
    let (cluster, ctl) = established();
    let mut watch = ctl.command(&["watch", "-o", "json"]).spawn().expect("it starts");
    let mut talk = BufReader::new(watch.stderr.take().expect("standard error")).lines();
    let listening = talk.next().expect("a line").expect("UTF-8");
    assert!(listening.starts_with("listening to "), "{listening}");
    ctl.run(&["switch", &cluster.nodes[1].address().to_string()]).ended(0);
    let mut lines = BufReader::new(watch.stdout.take().expect("standard output")).lines();
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "entry") {
        let line = lines.next().expect("the stream goes on").expect("UTF-8");
        let event: Value = serde_json::from_str(&line).expect("one event a line");
        if event["event"] == "entry" {
            assert_eq!(event["data"]["outcome"], "switched", "{line}");
        }
        kinds.push(event["event"].as_str().expect("a kind").to_owned());
    }
    assert_eq!(kinds.first().map(String::as_str), Some("begun"), "{kinds:?}");
    assert!(kinds.contains(&"step".to_owned()) && kinds.contains(&"answered".to_owned()), "{kinds:?}");
    watch.kill().expect("it can be ended");
    watch.wait().expect("it ends");
}

#[test]
fn who_listens_does_not_hold_up_the_dictators_end() {
    let (mut cluster, ctl) = established();
    let mut watch = ctl.command(&["watch"]).spawn().expect("it starts");
    let mut talk = BufReader::new(watch.stderr.take().expect("standard error")).lines();
    assert!(talk.next().expect("a line").expect("UTF-8").starts_with("listening to "));
    assert!(cluster.dictator.stop().success(), "within ten seconds");
    assert_eq!(talk.next().expect("a line").expect("UTF-8"), "the stream ended; listening again");
    cluster.dictator.start_again();
    assert!(talk.next().expect("a line").expect("UTF-8").starts_with("listening to "));
    watch.kill().expect("it can be ended");
    watch.wait().expect("it ends");
}

#[test]
fn redis_cli_runs_at_the_master() {
    let (cluster, ctl) = established();
    let port = cluster.nodes[0].address().port().to_string();
    let ran = ctl.run(&["redis-cli", "--", "CONFIG", "GET", "port"]).ended(0);
    ran.says(&[&port]);
    let without_path = ctl.command(&["redis-cli"]).env("PATH", "").output().expect("it runs");
    assert_eq!(without_path.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&without_path.stderr).contains("redis-cli cannot be started"));
}
