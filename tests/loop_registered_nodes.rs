//! The loop with nodes that are known by name only: `dnsd register` beside each redis, and one dnsd that
//! answers for their names and tells the master. There is no other name server, and no address in a document.

mod registered;

use harness::daemon::{DOMAIN, TOPOLOGY_KEY, TRIGGER_KEY};
use harness::redis::wait_links_up;
use harness::wait::ensure;
use harness::{Daemon, DaemonOptions, Etcd, Redis, RedisOptions, dns, wait_until};
use registered::{TOLD_DEADLINE, name, register_all, start_dnsd, wait_master, wait_named};
use serde_json::{Value, json};

fn document(master: usize) -> Value {
    let slaves: Vec<Value> =
        (0..3).filter(|index| *index != master).map(|index| json!({"address": name(index)})).collect();
    json!({"master": {"address": name(master)}, "slaves": slaves})
}

#[test]
fn nodes_are_found_by_the_names_they_announce() {
    let etcd = Etcd::start();
    let nodes = Redis::start_many(3, &RedisOptions::default());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut registers = register_all(&etcd, &nodes, folder.path());
    let dnsd = start_dnsd(&etcd, "a node ends in this test");
    let name_server = dnsd.dns_address().to_string();
    let dictator = DaemonOptions::new()
        .flag("--nameservers", &name_server)
        .allow_log("the topology cannot be kept", "a node ends in this test");
    let dictator = Daemon::dictator(&dictator);
    let notify = [dictator.url("/master"), dnsd.url("/dns")];
    let early = "the first document may come before every name is known";
    let options = DaemonOptions::new().allow_log("cannot be reached", early);
    let _observer = Daemon::observer(&etcd.url(), &notify, &options);
    for (index, node) in nodes.iter().enumerate() {
        wait_until("the node's name", TOLD_DEADLINE, || {
            let found = etcd.get(&format!("/skydns/test/redis-1/core-{index:02}"));
            let port = format!("\"port\":{}", node.address().port());
            ensure(found.as_deref().is_some_and(|value| value.contains(&port)), format!("{found:?}"))
        });
    }
    wait_named(&dnsd, &nodes);

    for master in [0, 2, 1] {
        etcd.put(TOPOLOGY_KEY, &document(master).to_string());
        etcd.put(TRIGGER_KEY, "1");
        wait_master(&dnsd, &nodes[master]);
        let slaves: Vec<&Redis> =
            nodes.iter().enumerate().filter(|(index, _)| *index != master).map(|(_, node)| node).collect();
        wait_links_up(&nodes[master], &slaves);
    }

    // A slave ends, and its announcer with it: the name goes, the publication stays.
    let mut nodes = nodes;
    nodes[0].kill();
    wait_until("the announcer to end", TOLD_DEADLINE, || ensure(!registers[0].is_running(), "it runs"));
    assert_eq!(etcd.get("/skydns/test/redis-1/core-00"), None);
    let master = dns::find_master(dnsd.dns_address(), DOMAIN).expect("an answer");
    assert_eq!(master, nodes[1].address());
}
