//! The loop with nodes that are known by name only: `dnsd register` beside each redis, and one dnsd that
//! answers for their names and tells the master. There is no other name server, and no address in a document.

use std::time::Duration;

use harness::binaries::binary;
use harness::daemon::{DOMAIN, TOPOLOGY_KEY, TRIGGER_KEY};
use harness::ports::free_address;
use harness::process::{Process, Recipe};
use harness::redis::wait_links_up;
use harness::wait::ensure;
use harness::{Daemon, DaemonOptions, Etcd, Redis, RedisOptions, dns, wait_until};
use serde_json::{Value, json};

/// How long a name or a role may take to be told.
const TOLD_DEADLINE: Duration = Duration::from_secs(20);

fn name(index: usize) -> String {
    format!("core-{index:02}.{DOMAIN}")
}

/// `dnsd register` beside a node.
fn register(etcd: &Etcd, node: &Redis, index: usize, folder: &std::path::Path) -> Process {
    let arguments = [
        "register",
        "--etcd",
        &etcd.url(),
        "--name",
        &name(index),
        "--node",
        &node.address().to_string(),
        "--lease",
        "5s",
        "--listen",
        &free_address().to_string(),
    ];
    let mut process = Process::new(Recipe {
        name: format!("dnsd register for {}", name(index)),
        program: binary("dnsd"),
        arguments: arguments.map(str::to_owned).to_vec(),
        environment: Vec::new(),
        folder: folder.to_path_buf(),
        log: folder.join(format!("register-{index}.log")),
    });
    process.start();
    process
}

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
    let mut registers: Vec<Process> =
        nodes.iter().enumerate().map(|(index, node)| register(&etcd, node, index, folder.path())).collect();
    let options = DaemonOptions::new().flag("--nodes-etcd", &etcd.url()).flag("--ttl-refresh", "200ms");
    let options = options.allow_log("keeps its last addresses", "a node ends in this test");
    let dnsd = Daemon::start("dnsd", &options, &|dns| {
        let dns = dns.to_string();
        ["--dns-listen", &dns, "--domain", DOMAIN, "--nameservers", &dns].map(str::to_owned).to_vec()
    });
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
        // dnsd lists them once a second; a master without a name would be refused, and asked for slowly.
        wait_until("dnsd to answer for it", TOLD_DEADLINE, || {
            let answer = dns::query(dnsd.dns_address(), &name(index), dns::RecordType::Srv);
            let answer = answer.map_err(|error| error.to_string())?;
            ensure(answer.service() == Some(node.address()), format!("{answer:?}"))
        });
    }

    for master in [0, 2, 1] {
        etcd.put(TOPOLOGY_KEY, &document(master).to_string());
        etcd.put(TRIGGER_KEY, "1");
        wait_until("DNS to name the master", TOLD_DEADLINE, || {
            match dns::find_master(dnsd.dns_address(), DOMAIN) {
                Ok(found) => ensure(found == nodes[master].address(), format!("{found}")),
                Err(error) => Err(error.to_string()),
            }
        });
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
