//! Nodes that are registered in etcd, answered for by their names, with no other name server anywhere.
#![allow(missing_docs)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use dnsd::answer::{Transport, answer_fast, answer_slow};
use dnsd::config::Config;
use dnsd::directory::{Directory, Slot};
use dnsd::publication::Answers;
use dnsd::zone::{ZoneSettings, bare};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use support::{Dnsd, config, data, query, wait_until};

const NOWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 9);
const DOCUMENT: &str = r#"{"master":{"address":"core-01.redis-1.docker"},
    "slaves":[{"address":"core-02.redis-1.docker"}]}"#;

fn register(etcd: &harness::Etcd, node: &str, host: &str, port: u16) {
    etcd.put(&format!("/skydns/docker/redis-1/{node}"), &format!(r#"{{"host":"{host}","port":{port}}}"#));
}

/// A dnsd whose one name server is itself.
fn settings(folder: &std::path::Path, etcd: &harness::Etcd) -> Config {
    let url = etcd.url();
    let mut settings = config(folder, SocketAddr::from(NOWHERE), &["--nodes-etcd", &url]);
    settings.dns_listen = harness::ports::free_address();
    settings.resolver.name_servers = vec![settings.dns_listen];
    settings
}

async fn service(dnsd: &Dnsd, name: &str) -> Vec<String> {
    data(&dnsd.ask(name, RecordType::SRV).await)
}

fn serial(message: &hickory_proto::op::Message) -> u64 {
    let text = data(message).first().cloned().unwrap_or_default();
    text.split(' ').nth(2).and_then(|serial| serial.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_nodes_have_names_before_anything_is_published() {
    let etcd = harness::Etcd::start();
    register(&etcd, "core-01", "10.0.0.1", 49153);
    let folder = tempfile::tempdir().unwrap();
    let dnsd = Dnsd::start(settings(folder.path(), &etcd)).await;
    // There from the start on, by both protocols and in any letters.
    let name = "core-01.redis-1.docker.";
    assert_eq!(service(&dnsd, name).await, ["10 100 49153 core-01.redis-1.docker."]);
    assert_eq!(data(&dnsd.ask_tcp(name, RecordType::A).await), ["10.0.0.1"]);
    let none = dnsd.ask(name, RecordType::AAAA).await;
    assert_eq!((none.metadata.response_code, none.answers.len()), (ResponseCode::NoError, 0));
    // Everybody is behind the domain itself, with the addresses beside.
    let all = dnsd.ask("redis-1.docker.", RecordType::SRV).await;
    assert_eq!(data(&all), ["10 100 49153 core-01.redis-1.docker."]);
    assert_eq!(
        all.additionals.iter().map(|record| record.data.to_string()).collect::<Vec<_>>(),
        ["10.0.0.1"]
    );
    // Of all else nothing is known yet, and that is no "no such name".
    for name in ["master.redis-1.docker.", "slaves.redis-1.docker.", "core-02.redis-1.docker."] {
        let unknown = dnsd.ask(name, RecordType::SRV).await;
        assert_eq!(unknown.metadata.response_code, ResponseCode::ServFail, "{name}");
    }
    assert_eq!(dnsd.get("/readyz").await.status, 503);
    let before = serial(&dnsd.ask("redis-1.docker.", RecordType::SOA).await);
    assert!(before > 0);

    register(&etcd, "core-02", "10.0.0.2", 49154);
    wait_until("a node that starts is seen", async || {
        !service(&dnsd, "core-02.redis-1.docker.").await.is_empty()
    })
    .await;
    // The document's names are looked up at dnsd itself.
    let reply = dnsd.put(DOCUMENT, &[("X-Topology-Revision", "1")]).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(dnsd.get("/master").await.body, "10.0.0.1:49153\n");
    assert_eq!(dnsd.get("/slaves").await.body, "10.0.0.2:49154\n");
    assert_eq!(service(&dnsd, "master.redis-1.docker.").await, ["10 100 49153 master.redis-1.docker."]);
    assert!(serial(&dnsd.ask("redis-1.docker.", RecordType::SOA).await) > before, "the serial has grown");
    let missing = dnsd.ask("core-03.redis-1.docker.", RecordType::SRV).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    dnsd.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_come_move_and_go() {
    let mut etcd = harness::Etcd::start();
    for (node, host) in [("core-01", "10.0.0.1"), ("core-02", "10.0.0.2")] {
        register(&etcd, node, host, 6379);
    }
    // Keys that must not become names: our own, and what no node would write.
    register(&etcd, "master", "10.9.9.9", 1);
    register(&etcd, "slaves/evil", "10.9.9.9", 1);
    register(&etcd, "_tcp/_redis", "10.9.9.9", 1);
    etcd.put("/skydns/docker/redis-1/broken", "{");
    etcd.put("/skydns/docker/redis-10/core-09", r#"{"host":"10.9.9.9","port":1}"#);
    let folder = tempfile::tempdir().unwrap();
    let dnsd = Dnsd::start(settings(folder.path(), &etcd)).await;
    assert_eq!(dnsd.put(DOCUMENT, &[("X-Topology-Revision", "1")]).await.status, 200);
    assert_eq!(service(&dnsd, "master.redis-1.docker.").await, ["10 100 6379 master.redis-1.docker."]);
    assert_eq!(data(&dnsd.ask("master.redis-1.docker.", RecordType::A).await), ["10.0.0.1"]);
    assert_eq!(service(&dnsd, "evil.slaves.redis-1.docker.").await, Vec::<String>::new());
    let all = ["10 50 6379 core-01.redis-1.docker.", "10 50 6379 core-02.redis-1.docker."];
    assert_eq!(service(&dnsd, "redis-1.docker.").await, all, "what is published is no instance");

    // The master's container was started anew, with another port: its name first, then its role.
    let before = serial(&dnsd.ask("redis-1.docker.", RecordType::SOA).await);
    register(&etcd, "core-01", "10.0.0.1", 49999);
    wait_until("the role follows", async || dnsd.get("/master").await.body == "10.0.0.1:49999\n").await;
    assert_eq!(service(&dnsd, "core-01.redis-1.docker.").await, ["10 100 49999 core-01.redis-1.docker."]);
    assert!(serial(&dnsd.ask("redis-1.docker.", RecordType::SOA).await) > before);

    register(&etcd, "core-03", "10.0.0.3", 6379);
    let spare = "core-03.redis-1.docker.";
    wait_until("a spare node is seen", async || !service(&dnsd, spare).await.is_empty()).await;
    assert_eq!(dnsd.get("/slaves").await.body, "10.0.0.2:6379\n", "a name is no role");
    etcd.delete("/skydns/docker/redis-1/core-03");
    wait_until("it has gone", async || {
        dnsd.ask(spare, RecordType::SRV).await.metadata.response_code == ResponseCode::NXDomain
    })
    .await;

    // Without etcd everything stays; after a restart the publication, and the names with etcd.
    etcd.kill();
    assert_eq!(service(&dnsd, "core-02.redis-1.docker.").await, ["10 100 6379 core-02.redis-1.docker."]);
    dnsd.stop().await;
    let dnsd = Dnsd::start(settings(folder.path(), &etcd)).await;
    assert_eq!(dnsd.get("/master").await.body, "10.0.0.1:49999\n");
    register_again(&mut etcd);
    wait_until("the names are back", async || !service(&dnsd, "core-04.redis-1.docker.").await.is_empty())
        .await;
    dnsd.stop().await;
}

/// The document of a group as it is written, and as the dictator has it.
fn group(members: &[&str]) -> String {
    let members: Vec<String> =
        members.iter().map(|label| format!(r#"{{"address":"{label}.redis-1.docker"}}"#)).collect();
    let members =
        if members.is_empty() { String::new() } else { format!(r#","members":[{}]"#, members.join(",")) };
    format!(
        r#"{{"master":{{"address":"core-01.redis-1.docker"}},"slaves":[{{"srv":"redis-1.docker"{members}}}]}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_group_are_published_as_the_dictator_tells_them() {
    let etcd = harness::Etcd::start();
    for (node, host) in [("core-01", "10.0.0.1"), ("core-02", "10.0.0.2"), ("core-03", "10.0.0.3")] {
        register(&etcd, node, host, 6379);
    }
    let folder = tempfile::tempdir().unwrap();
    let dnsd = Dnsd::start(settings(folder.path(), &etcd)).await;
    // Who is behind the name is not taken from DNS: the dictator may not have attached them, or may not want to.
    let reply = dnsd.put(&group(&[]), &[("X-Topology-Revision", "1")]).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(reply.body.contains("nobody is known behind the group redis-1.docker"), "{}", reply.body);
    assert_eq!(dnsd.get("/slaves").await.body, "");

    // The same revision, and other members each time.
    for (members, slaves) in [
        (&["core-01", "core-02"][..], "10.0.0.2:6379\n"),
        (&["core-01", "core-02", "core-03"], "10.0.0.2:6379\n10.0.0.3:6379\n"),
        // Who sends the document as it is written does not take anybody away.
        (&[], "10.0.0.2:6379\n10.0.0.3:6379\n"),
        (&["core-01", "core-03"], "10.0.0.3:6379\n"),
    ] {
        let reply = dnsd.put(&group(members), &[("X-Topology-Revision", "1")]).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(dnsd.get("/slaves").await.body, slaves);
    }
    dnsd.stop().await;
    let dnsd = Dnsd::start(settings(folder.path(), &etcd)).await;
    assert_eq!(dnsd.get("/slaves").await.body, "10.0.0.3:6379\n", "a restart keeps them");
    let other = r#"{"master":{"address":"core-01.redis-1.docker"},"slaves":[{"srv":"other"}]}"#;
    assert_eq!(dnsd.put(other, &[("X-Topology-Revision", "1")]).await.status, 409);
    for (slave, place) in [(r#"{"srv":5}"#, "/slaves/0/srv"), (r#"{"srv":"x","y":1}"#, "/slaves/0/y")] {
        let text = format!(r#"{{"master":{{"address":"core-01.redis-1.docker"}},"slaves":[{slave}]}}"#);
        let reply = dnsd.put(&text, &[]).await;
        assert_eq!(reply.status, 400);
        assert!(reply.body.contains(place), "{}", reply.body);
    }
    dnsd.stop().await;
}

/// What is answered from prepared bytes and what is put together from records are the same here too.
#[test]
fn both_paths_agree_before_the_first_publication() {
    let settings = ZoneSettings {
        cluster: "redis-1".to_owned(),
        domain: Name::from_ascii("redis-1.docker.").unwrap(),
        ttl_s: 5,
        server_ips: vec!["127.0.0.1".parse().unwrap()],
    };
    let nodes =
        [("core-01", "10.0.0.1:49153"), ("a.deep.core-02", "[fd00::2]:6379"), ("master", "10.9.9.9:1")];
    let nodes = nodes.map(|(label, at)| {
        (Name::from_ascii(format!("{label}.redis-1.docker.")).unwrap(), at.parse().unwrap())
    });
    let zone = bare(&settings).with_nodes(&settings, &nodes.into());
    let slot = Arc::new(Slot::new(settings).unwrap());
    slot.answer_for_nodes(Answers::new(&slot.settings, 7, zone.records, false).unwrap());
    let directory = Directory::of(slot);
    let labels = [
        "core-01.",
        "CORE-01.",
        "a.deep.core-02.",
        "deep.core-02.",
        "core-02.",
        "master.",
        "x.core-01.",
        "",
        "ns.",
    ];
    let mut codes = Vec::new();
    for label in labels {
        for kind in [
            RecordType::SRV,
            RecordType::A,
            RecordType::AAAA,
            RecordType::TXT,
            RecordType::SOA,
            RecordType::NS,
        ] {
            let packet = query(&format!("{label}redis-1.docker."), kind);
            let (mut fast, mut slow) = (Vec::new(), Vec::new());
            let outcome = answer_fast(&directory, &packet, Transport::Udp, &mut fast).expect("a plain query");
            let client = SocketAddr::from(NOWHERE);
            answer_slow(&directory, &packet, client, Transport::Udp, &mut slow).expect("an answer");
            assert_eq!(fast, slow, "{label} {kind}");
            codes.push(outcome.rcode);
        }
    }
    assert_eq!(codes.iter().filter(|code| **code == 2).count(), 12, "two names are not known: {codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 0 | 2)), "{codes:?}");
}

fn register_again(etcd: &mut harness::Etcd) {
    etcd.start_again();
    register(etcd, "core-04", "10.0.0.4", 6379);
}
