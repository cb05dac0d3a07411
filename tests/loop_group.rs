//! The loop with a group: the document names the master and the name that everybody registers below. Scaling
//! out is starting a node, and nobody writes a document for it.

mod registered;

use std::time::{Duration, Instant};

use harness::daemon::{DOMAIN, TOPOLOGY_KEY, TRIGGER_KEY};
use harness::redis::wait_links_up;
use harness::wait::ensure;
use harness::{Daemon, DaemonOptions, Etcd, Redis, RedisOptions, dns, wait_until};
use registered::{TOLD_DEADLINE, name, register, register_all, start_dnsd, wait_master, wait_named};
use serde_json::{Value, json};

/// Some passes of enforcement, in which nothing may happen.
const PASSES: Duration = Duration::from_millis(800);

fn document(master: usize) -> Value {
    json!({"master": {"address": name(master)}, "slaves": [{"srv": DOMAIN}]})
}

/// Waits until exactly these are told as slaves, by HTTP and by DNS.
fn wait_slaves(dnsd: &Daemon, slaves: &[&Redis]) {
    let mut expected: Vec<String> = slaves.iter().map(|slave| slave.address().to_string()).collect();
    expected.sort();
    wait_until("the slaves to be told", TOLD_DEADLINE, || {
        let text = dnsd.http().get("/slaves").text();
        let mut told: Vec<String> = text.lines().map(str::to_owned).collect();
        told.sort();
        ensure(told == expected, format!("{told:?}, not {expected:?}"))?;
        let answer = dns::query(dnsd.dns_address(), &format!("slaves.{DOMAIN}"), dns::RecordType::Srv);
        let count = answer.map_err(|error| error.to_string())?.services().len();
        ensure(count == expected.len(), format!("{count} SRV records"))
    });
}

#[test]
fn a_node_that_is_started_becomes_a_slave_and_is_told() {
    let etcd = Etcd::start();
    let mut nodes = Redis::start_many(2, &RedisOptions::default());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut registers = register_all(&etcd, &nodes, folder.path());
    let away = "the name server is away in this test";
    let mut dnsd = start_dnsd(&etcd, away);
    let dictator = DaemonOptions::new()
        .flag("--nameservers", &dnsd.dns_address().to_string())
        .flag("--enforce-interval", "200ms")
        .allow_log("the members last known stay", away)
        .allow_log("the name does not resolve", away)
        .allow_log("the topology cannot be kept", away);
    let dictator = Daemon::dictator(&dictator);
    let notify = [dictator.url("/master"), dnsd.url("/dns")];
    let early = "the first document may come before every name is known";
    let options = DaemonOptions::new().allow_log("cannot be reached", early).allow_log("answered", early);
    let _observer = Daemon::observer(&etcd.url(), &notify, &options);
    wait_named(&dnsd, &nodes);

    etcd.put(TOPOLOGY_KEY, &document(0).to_string());
    etcd.put(TRIGGER_KEY, "1");
    wait_master(&dnsd, &nodes[0]);
    wait_slaves(&dnsd, &[&nodes[1]]);

    // Scaling out: a node and its announcer, no document and no trigger.
    nodes.push(Redis::start());
    registers.push(register(&etcd, &nodes[2], 2, folder.path()));
    wait_slaves(&dnsd, &[&nodes[1], &nodes[2]]);
    wait_links_up(&nodes[0], &[&nodes[1], &nodes[2]]);

    // The master moves to it, and the old one is a member like the others.
    etcd.put(TOPOLOGY_KEY, &document(2).to_string());
    etcd.put(TRIGGER_KEY, "2");
    wait_master(&dnsd, &nodes[2]);
    wait_slaves(&dnsd, &[&nodes[0], &nodes[1]]);
    wait_links_up(&nodes[2], &[&nodes[0], &nodes[1]]);

    // Without a name server nobody leaves.
    dnsd.kill();
    let members = || {
        let document = dictator.http().get("/master").json();
        let members = document["slaves"][0]["members"].as_array().cloned().unwrap_or_default();
        members.iter().filter_map(|node| Some(node["address"].as_str()?.to_owned())).collect::<Vec<_>>()
    };
    let all = [name(0), name(1), name(2)];
    wait_until("the dictator to miss it", TOLD_DEADLINE, || {
        let problems = dictator.http().get("/status").json()["groups"][0]["problems"].clone();
        ensure(problems.to_string().contains("the members last known stay"), problems.to_string())
    });
    let since = Instant::now();
    wait_until("some passes of enforcement to be over", TOLD_DEADLINE, || {
        assert_eq!(members(), all);
        ensure(since.elapsed() > PASSES, "not yet")
    });
    dnsd.start_again();
    wait_slaves(&dnsd, &[&nodes[0], &nodes[1]]);

    // Who takes his name away is gone, and its redis goes on.
    registers[1].terminate(TOLD_DEADLINE);
    wait_slaves(&dnsd, &[&nodes[0]]);
    assert_eq!(members(), [name(0), name(2)]);
    wait_links_up(&nodes[2], &[&nodes[0]]);
}
