//! dnsd through its doors: documents in by HTTP, answers out by DNS, and everything that can go wrong.
#![allow(missing_docs)]

#[path = "../../crates/resolve/tests/support/mod.rs"]
mod name_server;
mod support;

use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use name_server::{Reply as Answer, Script, Server, cname};
use support::{Dnsd, config, data, query, read_framed, request, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DOCUMENT: &str = r#"{"master": {"address": "core-01.redis-1.docker"},
    "slaves": [{"address": "core-02.redis-1.docker"}, {"address": "10.0.0.3", "port": 6380}]}"#;
const OTHER: &str = r#"{"master": {"address": "core-02.redis-1.docker"},
    "slaves": [{"address": "core-01.redis-1.docker"}]}"#;

fn usual() -> Script {
    Script::default()
        .srv("core-01.redis-1.docker.", &[(7001, "host-a.docker.")])
        .address("host-a.docker.", &["10.0.0.1"])
        .address("core-02.redis-1.docker.", &["10.0.0.2"])
}

/// A daemon, the name server it asks, and its state folder; each ends when dropped.
async fn start(script: Script) -> (Dnsd, Server, tempfile::TempDir) {
    let names = script.serve().await;
    let folder = tempfile::tempdir().unwrap();
    let dnsd = Dnsd::start(config(folder.path(), names.address, &[])).await;
    (dnsd, names, folder)
}

#[tokio::test]
async fn a_document_becomes_a_zone() {
    let (dnsd, _names, _folder) = start(usual()).await;
    assert_eq!(dnsd.get("/readyz").await.status, 503);
    assert_eq!(dnsd.get("/dns").await.status, 404);
    let early = dnsd.ask("master.redis-1.docker.", RecordType::SRV).await;
    assert_eq!(early.metadata.response_code, ResponseCode::ServFail);

    let headers = [
        ("X-Topology-Revision", "12"),
        ("X-Topology-Generation", "3"),
        ("X-Request-Id", "night-shift-1"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let reply = dnsd.put(DOCUMENT, &headers).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.headers["x-request-id"], "night-shift-1");
    assert_eq!(reply.headers["x-topology-revision"], "12");
    let receipt = reply.json();
    assert_eq!(receipt["outcome"], "published");
    assert_eq!((&receipt["revision"], &receipt["generation"]), (&12.into(), &3.into()));
    assert_eq!(receipt["master"]["ips"][0], "10.0.0.1");
    assert_eq!(receipt["master"]["port"], 7001);
    assert_eq!(receipt["slaves"].as_array().unwrap().len(), 2);
    assert_eq!(receipt["request_id"], "night-shift-1");

    assert_eq!(dnsd.get("/readyz").await.status, 200);
    let answer = dnsd.ask("master.redis-1.docker.", RecordType::SRV).await;
    assert_eq!(data(&answer), ["10 100 7001 master.redis-1.docker."]);
    assert_eq!(answer.additionals[0].data.to_string(), "10.0.0.1");
    let answer = dnsd.ask_tcp("_redis._tcp.slaves.redis-1.docker.", RecordType::SRV).await;
    assert_eq!(
        data(&answer),
        ["10 50 6379 core-02.slaves.redis-1.docker.", "10 50 6380 ip-10-0-0-3.slaves.redis-1.docker."]
    );
    let answer = dnsd.ask("core-01.redis-1.docker.", RecordType::SRV).await;
    assert_eq!(data(&answer), ["10 100 7001 core-01.redis-1.docker."]);

    let shown = dnsd.get("/dns").await;
    assert_eq!(shown.etag(), reply.etag());
    let view = shown.json();
    assert_eq!(view["document"]["master"]["address"], "core-01.redis-1.docker");
    assert!(view["records"].as_array().unwrap().iter().any(|record| record["type"] == "SOA"));
    let text = request(dnsd.http, "GET", "/dns", &[("Accept", "text/plain")], "").await.body;
    assert!(text.contains("master.redis-1.docker. 5 IN SRV 10 100 7001 master.redis-1.docker."), "{text}");
    assert!(text.contains("\"revision=12\" \"generation=3\""), "{text}");

    let metrics = dnsd.get("/metrics").await.body;
    for part in [
        r#"dnsd_queries_total{qtype="SRV",rcode="NOERROR",proto="udp"} 2"#,
        r#"dnsd_queries_total{qtype="SRV",rcode="NOERROR",proto="tcp"} 1"#,
        r#"dnsd_queries_total{qtype="SRV",rcode="SERVFAIL",proto="udp"} 1"#,
        &format!("dnsd_zone_serial {}", view["serial"]),
        "dnsd_zone_revision 12",
    ] {
        assert!(metrics.contains(part), "{part} is missing:\n{metrics}");
    }
    dnsd.stop().await;
}

#[tokio::test]
async fn revisions_and_tags() {
    let (dnsd, _names, _folder) = start(usual()).await;
    let first = dnsd.put(DOCUMENT, &[("X-Topology-Revision", "42")]).await;
    assert_eq!(first.status, 200);
    // The same again: applied again, nothing changes.
    let again = dnsd.put(DOCUMENT, &[("X-Topology-Revision", "42")]).await;
    assert_eq!((again.status, again.etag()), (200, first.etag()));
    assert_eq!(again.json()["outcome"], "unchanged");

    let reply = dnsd.put(OTHER, &[("X-Topology-Revision", "41")]).await;
    assert_eq!((reply.status, reply.slug().as_str()), (409, "stale-revision"));
    assert_eq!(reply.json()["evidence"]["current"], 42);
    let reply = dnsd.put(OTHER, &[("X-Topology-Revision", "42")]).await;
    assert_eq!((reply.status, reply.slug().as_str()), (409, "revision-conflict"));
    let reply = dnsd.put(OTHER, &[("If-Match", "\"41\"")]).await;
    assert_eq!((reply.status, reply.slug().as_str()), (412, "precondition-failed"));
    assert_eq!(reply.etag(), first.etag());
    for garbage in ["41", "\"41", "\"a\" \"b\""] {
        let reply = dnsd.put(OTHER, &[("If-Match", garbage)]).await;
        assert_eq!(reply.status, 400, "{garbage}: {}", reply.body);
    }
    for garbage in ["x", "-1", "1.5", "18446744073709551616"] {
        let reply = dnsd.put(OTHER, &[("X-Topology-Revision", garbage)]).await;
        assert_eq!(reply.status, 400, "{garbage}: {}", reply.body);
    }
    assert_eq!(dnsd.get("/dns").await.etag(), first.etag(), "refusals change nothing");

    // Without revision: accepted, the revision stays.
    let by_hand = dnsd.put(OTHER, &[]).await;
    assert_eq!((by_hand.status, by_hand.headers["x-topology-revision"].as_str()), (200, "42"));
    assert_eq!(by_hand.json()["generation"], 2);
    assert_ne!(by_hand.etag(), first.etag());
    // Back to a lower one, by somebody who knows what is in force.
    let back = dnsd.put(DOCUMENT, &[("X-Topology-Revision", "7"), ("If-Match", by_hand.etag())]).await;
    assert_eq!((back.status, back.headers["x-topology-revision"].as_str()), (200, "7"));
}

#[tokio::test]
async fn what_is_no_document_and_what_is_no_path() {
    let (dnsd, _names, _folder) = start(usual()).await;
    for (body, status, slug) in [
        ("", 400, "malformed-json"),
        ("[]", 400, "malformed-topology"),
        (r#"{"master": {"address": "a b"}, "slaves": []}"#, 400, "invalid-address"),
        (r#"{"master": {"address": "a"}, "slaves": [{"address": "a"}]}"#, 422, "duplicate-node"),
    ] {
        let reply = dnsd.put(body, &[]).await;
        assert_eq!((reply.status, reply.slug().as_str()), (status, slug), "{body}");
        assert!(!reply.json()["errors"].as_array().unwrap().is_empty(), "{body}");
    }
    let slaves: Vec<String> =
        (0..300).map(|index| format!(r#"{{"address": "10.0.1.1", "port": {}}}"#, index + 1)).collect();
    let many = format!(r#"{{"master": {{"address": "a"}}, "slaves": [{}]}}"#, slaves.join(","));
    let reply = dnsd.put(&many, &[]).await;
    assert_eq!((reply.status, reply.slug().as_str()), (422, "too-many-nodes"));

    let reply =
        request(dnsd.http, "PUT", "/clusters/redis-1/dns", &[("Accept", "text/plain")], DOCUMENT).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "OK\n"));
    for (method, path, status) in [
        ("PUT", "/clusters/redis-2/dns", 404),
        ("GET", "/clusters/redis-2/dns", 404),
        ("GET", "/clusters/redis-1/dns", 200),
        ("HEAD", "/dns", 200),
        ("PUT", "/dns?wait=links", 400),
        ("GET", "/dns?verbose", 400),
        ("POST", "/dns", 405),
        ("PUT", "/master", 405),
    ] {
        let reply = request(dnsd.http, method, path, &[], DOCUMENT).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.body);
    }
}

/// Every way in which a name can fail, as master: refused with evidence, and nothing is published.
#[tokio::test]
async fn names_that_lead_nowhere() {
    let looped = |name: &str, target: &str| Answer::Records(vec![cname(name, target)]);
    let script = usual()
        .code("servfail.docker.", RecordType::SRV, ResponseCode::ServFail)
        .reply("silent.docker.", RecordType::SRV, Answer::Silence)
        .srv("dot.docker.", &[(0, ".")])
        .srv("zero.docker.", &[(0, "host-a.docker.")])
        .reply("loop.docker.", RecordType::SRV, looped("loop.docker.", "pool.docker."))
        .reply("pool.docker.", RecordType::SRV, looped("pool.docker.", "loop.docker."))
        .srv("ports.docker.", &[(7001, "host-a.docker."), (7002, "host-a.docker.")])
        .address("both.docker.", &["10.0.0.8", "10.0.0.9", "2001:db8::8"]);
    let (dnsd, _names, _folder) = start(script).await;
    let first = dnsd.put(DOCUMENT, &[]).await;
    for (name, status, slug, says) in [
        ("missing.docker", 422, "unresolvable", "no such name"),
        ("servfail.docker", 422, "unresolvable", "name servers failed"),
        ("silent.docker", 422, "unresolvable", "no answer within"),
        ("dot.docker", 422, "unresolvable", "RFC 2782"),
        ("zero.docker", 422, "unresolvable", "port 0"),
        ("loop.docker", 422, "unresolvable", "CNAME loop"),
        ("ports.docker", 409, "ambiguous-name", "several ports"),
    ] {
        let reply = dnsd.put(&format!(r#"{{"master": {{"address": "{name}"}}, "slaves": []}}"#), &[]).await;
        assert_eq!((reply.status, reply.slug().as_str()), (status, slug), "{name}: {}", reply.body);
        let problem = reply.json();
        assert!(problem["detail"].as_str().unwrap().contains(says), "{name}: {problem}");
        assert_eq!(problem["node"], name);
        assert!(!problem["evidence"].as_object().unwrap().is_empty(), "{name}: {problem}");

        // As slave it is left out and listed, and the rest is published.
        let document = format!(
            r#"{{"master": {{"address": "core-01.redis-1.docker"}},
                "slaves": [{{"address": "{name}"}}, {{"address": "core-02.redis-1.docker"}}]}}"#
        );
        let reply = dnsd.put(&document, &[]).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.body);
        let receipt = reply.json();
        assert_eq!(receipt["left_out"][0]["address"], name, "{receipt}");
        assert!(receipt["left_out"][0]["reason"].as_str().unwrap().contains(says), "{receipt}");
        assert_eq!(receipt["slaves"].as_array().unwrap().len(), 1, "{receipt}");
        assert_eq!(dnsd.put(DOCUMENT, &[]).await.status, 200);
    }
    let answer = dnsd.ask("master.redis-1.docker.", RecordType::A).await;
    assert_eq!(data(&answer), ["10.0.0.1"]);
    assert_ne!(dnsd.get("/dns").await.etag(), first.etag());

    // Several addresses with one port are one node with several addresses.
    let reply = dnsd.put(r#"{"master": {"address": "both.docker"}, "slaves": []}"#, &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let answer = dnsd.ask("master.redis-1.docker.", RecordType::A).await;
    assert_eq!(data(&answer), ["10.0.0.8", "10.0.0.9"]);
    let answer = dnsd.ask("master.redis-1.docker.", RecordType::AAAA).await;
    assert_eq!(data(&answer), ["2001:db8::8"]);
    let answer = dnsd.ask("slaves.redis-1.docker.", RecordType::SRV).await;
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
}

#[tokio::test]
async fn a_restart_serves_the_last_publication_at_once_even_without_name_servers() {
    let (dnsd, names, folder) = start(usual()).await;
    let published = dnsd.put(DOCUMENT, &[("X-Topology-Revision", "42")]).await;
    let before = dnsd.get("/dns").await.body;
    dnsd.stop().await;

    names.replace(Script::default().reply("core-01.redis-1.docker.", RecordType::SRV, Answer::Silence));
    let dnsd = Dnsd::start(config(folder.path(), names.address, &[])).await;
    assert_eq!(dnsd.get("/readyz").await.status, 200);
    let answer = dnsd.ask("master.redis-1.docker.", RecordType::SRV).await;
    assert_eq!(data(&answer), ["10 100 7001 master.redis-1.docker."]);
    let shown = dnsd.get("/dns").await;
    assert_eq!((shown.etag(), &shown.body), (published.etag(), &before));
    let reply = dnsd.put(OTHER, &[("X-Topology-Revision", "41")]).await;
    assert_eq!(reply.slug(), "stale-revision", "the revision is kept too");
    // A refresh that finds nothing changes nothing: waits until one has failed.
    wait_until("a refresh has failed", async || {
        dnsd.get("/metrics").await.body.contains("dnsd_unresolved_names 2")
    })
    .await;
    assert_eq!(dnsd.get("/dns").await.body, before);
    dnsd.stop().await;

    // Under another TTL the content is another, and so is the serial.
    let dnsd = Dnsd::start(config(folder.path(), names.address, &["--ttl", "7"])).await;
    assert_eq!(dnsd.ask("master.redis-1.docker.", RecordType::A).await.answers[0].ttl, 7);
    assert_ne!(dnsd.get("/dns").await.etag(), published.etag());
    dnsd.stop().await;

    // A file that is none: served is nothing, until the next document.
    let file = folder.path().join("publication-redis-1.json");
    service::durable::write(&file, "{").await.unwrap();
    let dnsd = Dnsd::start(config(folder.path(), names.address, &[])).await;
    assert_eq!(dnsd.get("/readyz").await.status, 503);
    names.replace(usual());
    assert_eq!(dnsd.put(DOCUMENT, &[]).await.status, 200);
    assert_eq!(dnsd.get("/readyz").await.status, 200);
    dnsd.stop().await;
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_served() {
    let (dnsd, names, folder) = start(usual()).await;
    let first = dnsd.put(DOCUMENT, &[]).await;
    // A folder in the way of the temporary file: permissions would not stop a test that runs as root.
    let obstacle = folder.path().join("publication-redis-1.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    let reply = dnsd.put(OTHER, &[]).await;
    assert_eq!((reply.status, reply.slug().as_str()), (503, "record-not-writable"));
    assert_eq!(reply.headers["retry-after"], "1");
    assert!(reply.json()["do"].as_str().unwrap().contains("--state-dir"));
    assert_eq!(dnsd.get("/dns").await.etag(), first.etag());
    assert_eq!(data(&dnsd.ask("master.redis-1.docker.", RecordType::A).await), ["10.0.0.1"]);

    // A restart on such a folder serves what there is; one without anything to serve fails.
    dnsd.stop().await;
    std::fs::create_dir(folder.path().join(".probe.new")).unwrap();
    let dnsd = Dnsd::start(config(folder.path(), names.address, &[])).await;
    assert_eq!(data(&dnsd.ask("master.redis-1.docker.", RecordType::A).await), ["10.0.0.1"]);
    assert_eq!(dnsd.put(OTHER, &[]).await.status, 503);

    std::fs::remove_dir(&obstacle).unwrap();
    assert_eq!(dnsd.put(OTHER, &[]).await.status, 200);
    assert_eq!(data(&dnsd.ask("master.redis-1.docker.", RecordType::A).await), ["10.0.0.2"]);
}

#[tokio::test]
async fn names_are_looked_up_again() {
    let (dnsd, names, _folder) = start(usual()).await;
    let document = r#"{"master": {"address": "core-01.redis-1.docker"},
        "slaves": [{"address": "core-02.redis-1.docker"}, {"address": "late.docker"}]}"#;
    let first = dnsd.put(document, &[]).await;
    assert_eq!(first.json()["left_out"][0]["address"], "late.docker");
    let rounds = async || names.asked().len();
    assert!(rounds().await > 0);

    // The master moved house, a slave appeared, another cannot be asked for at the moment.
    names.replace(
        Script::default()
            .srv("core-01.redis-1.docker.", &[(7001, "host-b.docker.")])
            .address("host-b.docker.", &["10.0.0.11"])
            .code("core-02.redis-1.docker.", RecordType::SRV, ResponseCode::ServFail)
            .address("late.docker.", &["10.0.0.5"]),
    );
    wait_until("the new addresses are served", async || {
        data(&dnsd.ask("master.redis-1.docker.", RecordType::A).await) == ["10.0.0.11"]
    })
    .await;
    let slaves = dnsd.ask("slaves.redis-1.docker.", RecordType::A).await;
    assert_eq!(data(&slaves), ["10.0.0.2", "10.0.0.5"], "the last good address is kept");
    let second = dnsd.get("/dns").await;
    assert_ne!(second.etag(), first.etag(), "other content, other serial");
    assert_eq!(second.json()["left_out"].as_array().unwrap().len(), 0);
    assert_eq!(second.json()["generation"], 1, "the topology did not change");

    // Everything fails: nothing changes.
    names.replace(Script::default().code("core-01.redis-1.docker.", RecordType::SRV, ResponseCode::Refused));
    wait_until("the failures are counted", async || {
        dnsd.get("/metrics").await.body.contains("dnsd_unresolved_names 3")
    })
    .await;
    assert_eq!(dnsd.get("/dns").await.body, second.body);
}

#[tokio::test]
async fn odd_packets_on_real_sockets() {
    let (dnsd, _names, _folder) = start(usual()).await;
    dnsd.put(DOCUMENT, &[]).await;
    let base = query("master.redis-1.docker.", RecordType::SRV);
    let mut response = base.clone();
    response[2] |= 0x80;
    let mut update = base.clone();
    update[2] = 5 << 3;
    for (name, packet, code) in [
        ("empty", vec![], None),
        ("11 bytes", base[..11].to_vec(), None),
        ("QR=1", response, None),
        ("UPDATE", update, Some(ResponseCode::NotImp)),
        ("half a question", base[..20].to_vec(), Some(ResponseCode::FormErr)),
        ("5000 bytes", [base.clone(), vec![0; 5000]].concat(), Some(ResponseCode::NoError)),
    ] {
        let answer = dnsd.send_udp(&packet).await;
        let answer = answer.map(|bytes| Message::from_vec(&bytes).unwrap().metadata.response_code);
        assert_eq!(answer, code, "{name}");
    }

    // Several queries in one write, answered in order on one connection.
    let mut stream = TcpStream::connect(dnsd.dns).await.unwrap();
    let mut pipelined = Vec::new();
    for id in 0..3_u8 {
        let mut packet = base.clone();
        packet[1] = id;
        pipelined.extend(u16::try_from(packet.len()).unwrap().to_be_bytes());
        pipelined.extend(packet);
    }
    stream.write_all(&pipelined).await.unwrap();
    for id in 0..3_u8 {
        assert_eq!(read_framed(&mut stream).await[1], id);
    }
    // What follows and cannot be answered takes nothing from what was asked before it.
    let mut stream = TcpStream::connect(dnsd.dns).await.unwrap();
    stream.write_all(&[&pipelined[..], &[0, 12], &[0x80; 12]].concat()).await.unwrap();
    for id in 0..3_u8 {
        assert_eq!(read_framed(&mut stream).await[1], id);
    }
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty(), "closed: {rest:?}");
    // Many at once, arriving in pieces: every one is answered, in order.
    let stream = TcpStream::connect(dnsd.dns).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let many = pipelined.repeat(1_000);
    let writing = tokio::spawn(async move {
        for piece in many.chunks(777) {
            writer.write_all(piece).await.unwrap();
        }
        writer
    });
    for index in 0..3_000_u32 {
        let length = timeout(Duration::from_secs(5), reader.read_u16()).await.unwrap().unwrap();
        let mut answer = vec![0; usize::from(length)];
        reader.read_exact(&mut answer).await.unwrap();
        assert_eq!(u32::from(answer[1]), index % 3);
    }
    drop(writing.await.unwrap());
    // A length that promises more than comes, a length of nothing, a response: closed without an answer.
    for bytes in [vec![0x01, 0x00, 1, 2, 3], vec![0, 0], [vec![0, 12], vec![0x80; 12]].concat()] {
        let mut stream = TcpStream::connect(dnsd.dns).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok() && rest.is_empty(), "{bytes:?}: {rest:?}");
    }
    assert_eq!(dnsd.ask_tcp("master.redis-1.docker.", RecordType::SRV).await.answers.len(), 1);
}

#[tokio::test]
async fn too_many_connections_are_closed_and_the_rest_goes_on() {
    let (names, folder) = (usual().serve().await, tempfile::tempdir().unwrap());
    let settings = ["--dns-connections-per-client", "256"];
    let dnsd = Dnsd::start(config(folder.path(), names.address, &settings)).await;
    dnsd.put(DOCUMENT, &[]).await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(dnsd.dns).await.unwrap());
    }
    wait_until("the surplus is refused", async || {
        dnsd.get("/metrics").await.body.contains("dnsd_tcp_connections_refused_total 44")
    })
    .await;
    assert_eq!(dnsd.ask("master.redis-1.docker.", RecordType::SRV).await.answers.len(), 1);
    drop(idle);
    wait_until("the places are free again", async || {
        dnsd.get("/metrics").await.body.contains("dnsd_tcp_connections 0")
    })
    .await;
    assert_eq!(dnsd.ask_tcp("master.redis-1.docker.", RecordType::SRV).await.answers.len(), 1);
}

/// Whoever opens connections and says nothing keeps nobody else out.
#[tokio::test]
async fn one_client_cannot_take_all_connections() {
    let (dnsd, _names, _folder) = start(usual()).await;
    dnsd.put(DOCUMENT, &[]).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(dnsd.dns).await.unwrap());
    }
    wait_until("half of the places are taken", async || {
        dnsd.get("/metrics").await.body.contains("dnsd_tcp_connections_refused_total 72")
    })
    .await;
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = other.connect(dnsd.dns).await.unwrap();
    let packet = query("master.redis-1.docker.", RecordType::SRV);
    stream.write_u16(u16::try_from(packet.len()).unwrap()).await.unwrap();
    stream.write_all(&packet).await.unwrap();
    let answer = Message::from_vec(&read_framed(&mut stream).await).unwrap();
    assert_eq!(answer.answers.len(), 1);
    drop(idle);
    dnsd.stop().await;
}

#[tokio::test]
async fn limits_are_settings() {
    let (names, folder) = (usual().serve().await, tempfile::tempdir().unwrap());
    let settings =
        ["--dns-connections", "2", "--dns-idle", "1s", "--dns-rate-limit", "3", "--dns-threads", "1"];
    let settings = [&settings[..], &["--dns-connections-per-client", "2"]].concat();
    let dnsd = Dnsd::start(config(folder.path(), names.address, &settings)).await;
    dnsd.put(DOCUMENT, &[]).await;
    // Two places, and whoever is silent loses his.
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(dnsd.dns).await.unwrap());
    }
    for mut stream in silent {
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok() && rest.is_empty(), "closed, with nothing said");
    }
    let metrics = dnsd.get("/metrics").await.body;
    assert!(metrics.contains("dnsd_tcp_connections_refused_total 1"), "{metrics}");
    // Three answers within a second, then "ask over TCP" and silence in turn.
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(dnsd.dns).await.unwrap();
    let (mut answer, mut cut) = ([0; 512], false);
    for _ in 0..20 {
        for _ in 0..8 {
            socket.send(&query("master.redis-1.docker.", RecordType::SRV)).await.unwrap();
        }
        while let Ok(Ok(length)) = timeout(Duration::from_millis(50), socket.recv(&mut answer)).await {
            let message = Message::from_vec(&answer[..length]).unwrap();
            assert_eq!(message.metadata.truncation, message.answers.is_empty());
            cut |= message.metadata.truncation;
        }
        if cut {
            break;
        }
    }
    assert!(cut, "nobody was sent to TCP");
    assert_eq!(dnsd.ask_tcp("master.redis-1.docker.", RecordType::SRV).await.answers.len(), 1);
    let metrics = dnsd.get("/metrics").await.body;
    assert!(metrics.contains("dnsd_rate_limited_total"), "{metrics}");
    dnsd.stop().await;
}

/// Clients that vanish before they are accepted, and right after, cost nobody else anything.
#[tokio::test]
async fn clients_that_reset_their_connections() {
    let (dnsd, _names, _folder) = start(usual()).await;
    dnsd.put(DOCUMENT, &[]).await;
    for _ in 0..200 {
        let stream = TcpStream::connect(dnsd.dns).await.unwrap();
        // Closed with a reset instead of a farewell.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(dnsd.ask_tcp("master.redis-1.docker.", RecordType::SRV).await.answers.len(), 1);
}

#[tokio::test]
async fn names_that_collide_and_names_that_are_ours() {
    let script = usual().address("master.redis-1.docker.", &["10.0.0.7"]);
    let (dnsd, _names, _folder) = start(script).await;
    let document = r#"{"master": {"address": "master.redis-1.docker", "port": 7000},
        "slaves": [{"address": "127.0.0.1", "port": 7002}, {"address": "127.0.0.1", "port": 7001}]}"#;
    let reply = dnsd.put(document, &[]).await;
    assert_eq!((reply.status, &reply.json()["warnings"]), (200, &serde_json::json!([])), "{}", reply.body);
    let answer = dnsd.ask("slaves.redis-1.docker.", RecordType::SRV).await;
    assert_eq!(
        data(&answer),
        [
            "10 50 7001 ip-127-0-0-1-7001.slaves.redis-1.docker.",
            "10 50 7002 ip-127-0-0-1-7002.slaves.redis-1.docker."
        ]
    );
    // A slave that is called like the master's name of ours would lead writers astray.
    let document = r#"{"master": {"address": "core-01.redis-1.docker"},
        "slaves": [{"address": "master.redis-1.docker", "port": 7000}]}"#;
    let reply = dnsd.put(document, &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(
        reply.json()["warnings"][0].as_str().unwrap().contains("master.redis-1.docker"),
        "{}",
        reply.body
    );
    assert_eq!(data(&dnsd.ask("master.redis-1.docker.", RecordType::A).await), ["10.0.0.1"]);
}

#[tokio::test]
async fn a_second_dnsd_at_the_same_address_is_noticed() {
    let (dnsd, names, _folder) = start(usual()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut taken = config(folder.path(), names.address, &[]);
    taken.dns_listen = dnsd.dns;
    let error = dnsd::Listeners::bind(&taken).await.unwrap_err();
    assert!(error.to_string().contains(&dnsd.dns.to_string()), "{error}");
}
