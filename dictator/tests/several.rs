//! Several dictators for one cluster: one has the say, another takes over, and one that was stopped
//! and wakes after its reign does nothing more.

use std::time::Duration;

use harness::wait::{ensure, wait_until};
use harness::{Daemon, DaemonOptions, Etcd, Redis, RedisOptions, topology};
use serde_json::json;

/// From the death of one dictator to the first change by another: its lease, and a busy machine.
const TAKEOVER_DEADLINE: Duration = Duration::from_secs(20);

fn options(etcd: &Etcd) -> DaemonOptions {
    DaemonOptions::new().flag("--etcd", &etcd.url()).flag("--lease", "2s").flag("--enforce-interval", "200ms")
}

/// PUTs until this dictator is the one that answers.
fn put_when_it_has_the_say(dictator: &Daemon, document: &serde_json::Value) -> serde_json::Value {
    wait_until("this dictator has the say", TAKEOVER_DEADLINE, || {
        let answer = dictator.put_master(document);
        ensure(answer.status == 200, format!("{} {}", answer.status, answer.text()))?;
        Ok::<_, String>(answer.json())
    })
}

#[test]
fn the_second_refuses_until_the_first_is_dead() {
    let etcd = Etcd::start();
    let nodes = Redis::start_many(3, &RedisOptions::default());
    let mut first = Daemon::dictator(&options(&etcd));
    let document = topology(&nodes[0], &[&nodes[1], &nodes[2]]);
    assert_eq!(put_when_it_has_the_say(&first, &document)["outcome"], "established");
    let second = Daemon::dictator(&options(&etcd));
    wait_until("the second knows who has the say", TAKEOVER_DEADLINE, || {
        let answer = second.put_master(&document);
        let leader = answer.json()["evidence"]["leader"].clone();
        ensure(answer.status == 503 && leader == first.url("").as_str(), answer.text())
    });
    first.kill();
    let moved = topology(&nodes[1], &[&nodes[0], &nodes[2]]);
    let receipt = put_when_it_has_the_say(&second, &moved);
    assert_eq!(receipt["outcome"], "switched", "the record came along: {receipt}");
    assert_eq!(receipt["generation"], 2);
    assert_eq!(nodes[1].role(), "master");
}

#[test]
fn one_that_wakes_after_its_reign_sends_nothing() {
    let etcd = Etcd::start();
    let nodes = Redis::start_many(2, &RedisOptions::default());
    let mut first = Daemon::dictator(
        &options(&etcd)
            .allow_log("the lock is lost", "its reign ended while it was stopped")
            .allow_log("etcd", "its leases and streams ended while it was stopped")
            .allow_log("lock", "its leases and streams ended while it was stopped"),
    );
    put_when_it_has_the_say(&first, &topology(&nodes[0], &[&nodes[1]]));
    let second = Daemon::dictator(&options(&etcd));
    first.process().freeze();
    let moved = topology(&nodes[1], &[&nodes[0]]);
    assert_eq!(put_when_it_has_the_say(&second, &moved)["outcome"], "switched");
    let before: Vec<_> = nodes.iter().map(Redis::command_counts).collect();
    first.process().thaw();
    wait_until("the first knows that its reign is over", TAKEOVER_DEADLINE, || {
        let answer = first.put_master(&json!({"master": {"address": "127.0.0.1"}, "slaves": []}));
        let leader = answer.json()["evidence"]["leader"].clone();
        ensure(answer.status == 503 && leader == second.url("").as_str(), answer.text())
    });
    for (node, before) in nodes.iter().zip(&before) {
        let sent = node.command_counts().since(before);
        assert_eq!((sent.of("replicaof"), sent.of("client|pause")), (0, 0), "{sent:?}");
    }
    assert_eq!((nodes[0].role(), nodes[1].role()), ("slave".to_owned(), "master".to_owned()));
}
