//! The publication as keys of SkyDNS in a real etcd.
#![allow(missing_docs)]

mod support;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::{Dnsd, config, wait_until};

const NOWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 9);
const BEFORE: &str = r#"{"master":{"address":"10.0.0.1","port":7001},
    "slaves":[{"address":"10.0.0.2","port":7002},{"address":"fd00::3","port":7003}]}"#;
const AFTER: &str = r#"{"master":{"address":"10.0.0.2","port":7002},
    "slaves":[{"address":"10.0.0.1","port":7001}]}"#;

async fn start(folder: &std::path::Path, etcd: &harness::Etcd, more: &[&str]) -> Dnsd {
    let url = etcd.url();
    let arguments = [&["--skydns-etcd", url.as_str()][..], more].concat();
    Dnsd::start(config(folder, SocketAddr::from(NOWHERE), &arguments)).await
}

/// The keys below the domain, with their values.
fn keys(etcd: &harness::Etcd) -> Vec<(String, Value)> {
    let output = etcd.etcdctl(&["get", "--prefix", "/skydns/docker/redis-1/"]).stdout;
    let text = String::from_utf8(output).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let of = |pair: &[&str]| {
        let key = pair[0].trim_start_matches("/skydns/docker/redis-1/").to_owned();
        (key, serde_json::from_str(pair[1]).unwrap_or_else(|error| panic!("{error}: {pair:?}")))
    };
    lines.chunks_exact(2).map(of).collect()
}

fn record(host: &str, port: u16, ttl: u32) -> Value {
    json!({"host": host, "port": port, "priority": 10, "ttl": ttl})
}

async fn wait_for_keys(etcd: &harness::Etcd, wanted: &[(&str, Value)]) {
    let wanted: Vec<(String, Value)> =
        wanted.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    wait_until(&format!("{wanted:?}"), async || keys(etcd) == wanted).await;
}

fn before() -> [(&'static str, Value); 3] {
    [
        ("master", record("10.0.0.1", 7001, 5)),
        ("slaves/ip-10-0-0-2", record("10.0.0.2", 7002, 5)),
        ("slaves/ip-fd00-0-0-0-0-0-0-3", record("fd00::3", 7003, 5)),
    ]
}

fn after() -> [(&'static str, Value); 2] {
    [("master", record("10.0.0.2", 7002, 5)), ("slaves/ip-10-0-0-1", record("10.0.0.1", 7001, 5))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_replaces_the_keys_and_touches_no_others() {
    let etcd = harness::Etcd::start();
    // Registered by somebody else, and left over from a publication long ago.
    etcd.put("/skydns/docker/redis-1/core-01", r#"{"host":"10.0.0.1","port":7001}"#);
    etcd.put("/skydns/docker/redis-1/slaves/gone", r#"{"host":"10.0.0.9","port":7001}"#);
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), &etcd, &[]).await;
    assert!(dnsd.get("/metrics").await.body.contains("dnsd_skydns_in_force 0"));
    assert_eq!(keys(&etcd).len(), 2, "nothing is touched before the first publication");

    assert_eq!(dnsd.put(BEFORE, &[]).await.status, 200);
    let registered = ("core-01", json!({"host": "10.0.0.1", "port": 7001}));
    wait_for_keys(&etcd, &[&[registered.clone()][..], &before()].concat()).await;
    wait_until("the gauge", async || dnsd.get("/metrics").await.body.contains("dnsd_skydns_in_force 1"))
        .await;

    assert_eq!(dnsd.put(AFTER, &[]).await.status, 200);
    wait_for_keys(&etcd, &[&[registered][..], &after()].concat()).await;
    dnsd.stop().await;
    assert_eq!(keys(&etcd).len(), 3, "a daemon that stops takes nothing away");

    // The next one serves the same, so there is nothing to see but another lease.
    let dnsd = start(folder.path(), &etcd, &["--ttl", "0"]).await;
    let (master, slave) = (record("10.0.0.2", 7002, 1), record("10.0.0.1", 7001, 1));
    let registered = ("core-01", json!({"host": "10.0.0.1", "port": 7001}));
    wait_for_keys(&etcd, &[registered, ("master", master), ("slaves/ip-10-0-0-1", slave)]).await;
    dnsd.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_may_go_and_come_back() {
    let mut etcd = harness::Etcd::start();
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), &etcd, &[]).await;
    assert_eq!(dnsd.put(BEFORE, &[]).await.status, 200);
    wait_for_keys(&etcd, &before()).await;
    etcd.kill();
    // Without etcd a publication is as quick and as good as ever.
    assert_eq!(dnsd.put(AFTER, &[]).await.status, 200);
    assert_eq!(dnsd.get("/master").await.body, "10.0.0.2:7002\n");
    wait_until("the gauge", async || dnsd.get("/metrics").await.body.contains("dnsd_skydns_in_force 0"))
        .await;
    etcd.start_again();
    wait_for_keys(&etcd, &after()).await;
    // An etcd without a memory gets all of it with the next change, not only what differs from the last.
    etcd.start_empty();
    assert_eq!(dnsd.put(BEFORE, &[]).await.status, 200);
    wait_for_keys(&etcd, &before()).await;
    dnsd.stop().await;
}
