//! Many clusters in one dnsd: side by side, over restarts, and what one of them must not do to another.
#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "files are spoilt by hand")]

#[path = "../../crates/resolve/tests/support/mod.rs"]
mod name_server;
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use dnsd::{Listeners, RunError, run};
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::RecordType;
use name_server::{Reply as Answer, Script};
use support::{Dnsd, Reply, config, data, query, request, transfer, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

const NOWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 9);
const DEADLINE: Duration = Duration::from_secs(10);

async fn start(folder: &Path, name_server: SocketAddr, more: &[&str]) -> Dnsd {
    let arguments = [&["--domain-suffix", "redis.docker"], more].concat();
    Dnsd::start(config(folder, name_server, &arguments)).await
}

/// A master and a slave, told apart by a number.
fn document(number: u8) -> String {
    format!(r#"{{"master": {{"address": "10.0.{number}.1"}}, "slaves": [{{"address": "10.0.{number}.2"}}]}}"#)
}

async fn put(dnsd: &Dnsd, cluster: &str, document: &str) -> Reply {
    request(dnsd.http, "PUT", &format!("/clusters/{cluster}/dns"), &[], document).await
}

async fn master(dnsd: &Dnsd, cluster: &str) -> (ResponseCode, Vec<String>) {
    let answer = dnsd.ask(&format!("master.{cluster}.redis.docker."), RecordType::A).await;
    (answer.metadata.response_code, data(&answer))
}

fn found(address: &str) -> (ResponseCode, Vec<String>) {
    (ResponseCode::NoError, vec![address.to_owned()])
}

const REFUSED: (ResponseCode, Vec<String>) = (ResponseCode::Refused, Vec::new());
const SERVFAIL: (ResponseCode, Vec<String>) = (ResponseCode::ServFail, Vec::new());

#[tokio::test]
async fn two_clusters_side_by_side_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), NOWHERE.into(), &["--transfer-to", "127.0.0.1"]).await;
    assert_eq!(dnsd.get("/readyz").await.status, 503);
    assert_eq!(master(&dnsd, "a").await, REFUSED, "nobody has spoken of it");
    for (cluster, number) in [("a", 1), ("b", 2)] {
        let reply = put(&dnsd, cluster, &document(number)).await;
        assert_eq!((reply.status, reply.json()["outcome"].as_str()), (200, Some("published")));
        assert_eq!(reply.json()["domain"], format!("{cluster}.redis.docker"));
    }
    assert_eq!(dnsd.get("/readyz").await.status, 200);
    assert_eq!(put(&dnsd, "b", &document(3)).await.status, 200);
    let listed = dnsd.get("/clusters").await.json();

    dnsd.stop().await;
    let dnsd = start(folder.path(), NOWHERE.into(), &["--transfer-to", "127.0.0.1"]).await;
    assert_eq!(dnsd.get("/readyz").await.status, 200, "what was kept is served");
    assert_eq!(master(&dnsd, "a").await, found("10.0.1.1"));
    assert_eq!(master(&dnsd, "B").await, found("10.0.3.1"), "letters are alike in DNS");
    let over_tcp = dnsd.ask_tcp("_redis._tcp.slaves.b.redis.docker.", RecordType::SRV).await;
    assert_eq!(data(&over_tcp), ["10 100 6379 ip-10-0-3-2.slaves.b.redis.docker."]);
    let missing = dnsd.ask("nobody.a.redis.docker.", RecordType::A).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(missing.authorities[0].name.to_ascii(), "a.redis.docker.");
    // The suffix is no zone of ours: whoever has other clusters below it may be asked.
    for name in ["redis.docker.", "master.c.redis.docker.", "docker.", "xa.redis.docker."] {
        let answer = dnsd.ask(name, RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{name}");
    }
    let zone = transfer(dnsd.dns, &query("b.redis.docker.", RecordType::AXFR)).await;
    let owners = zone.iter().flat_map(|message| &message.answers).map(|record| record.name.to_ascii());
    assert!(owners.collect::<Vec<_>>().iter().all(|owner| owner.ends_with("b.redis.docker.")));
    for name in ["redis.docker.", "c.redis.docker."] {
        let refused = transfer(dnsd.dns, &query(name, RecordType::AXFR)).await;
        assert_eq!(refused[0].metadata.response_code, ResponseCode::NotAuth, "{name}");
    }
    let again = dnsd.get("/clusters").await.json();
    assert_eq!(again, listed, "serials and revisions are as they were");
    assert_eq!(again["clusters"][1]["master"], "10.0.3.1:6379");
    let text = request(dnsd.http, "GET", "/clusters", &[("Accept", "text/plain")], "").await.body;
    assert_eq!(text, "a\nb\n");
    dnsd.stop().await;
}

#[tokio::test]
async fn every_path_of_one_cluster_is_there_for_each() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), NOWHERE.into(), &[]).await;
    put(&dnsd, "a", &document(1)).await;
    put(&dnsd, "b", &document(2)).await;
    assert_eq!(dnsd.get("/clusters/a/master").await.body, "10.0.1.1:6379\n");
    assert_eq!(dnsd.get("/clusters/b/slaves").await.body, "10.0.2.2:6379\n");
    for (path, status) in [
        ("/clusters/a/check/master?node=10.0.1.1:6379", 200),
        ("/clusters/b/check/master?node=10.0.1.1:6379", 503),
        ("/clusters/b/check/slave?node=10.0.2.2:6379", 200),
        ("/clusters/b/dns", 200),
        ("/clusters/c/dns", 404),
        ("/clusters/c/master", 404),
        ("/clusters/c/check/master?node=10.0.1.1:6379", 404),
        ("/dns", 404),
        ("/master", 404),
        ("/check/slave?node=10.0.2.2:6379", 404),
        ("/seeds", 503),
    ] {
        let reply = dnsd.get(path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        if status == 404 {
            assert!(reply.json()["do"].as_str().unwrap().contains("/clusters"), "{path}: {}", reply.body);
        }
    }
    let nameless = dnsd.put(&document(9), &[]).await;
    assert_eq!(nameless.status, 404, "it would mean any of them: {}", nameless.body);

    // Who waits for one is not told of the other.
    let seen = dnsd.get("/clusters/a/master").await.etag().trim_matches('"').to_owned();
    let http = dnsd.http;
    let waiting = tokio::spawn(async move {
        request(http, "GET", &format!("/clusters/a/master?after={seen}&timeout=9s"), &[], "").await
    });
    put(&dnsd, "b", &document(5)).await;
    put(&dnsd, "a", &document(4)).await;
    assert_eq!(waiting.await.unwrap().body, "10.0.4.1:6379\n");

    let metrics = dnsd.get("/metrics").await.body;
    assert!(metrics.contains("\ndnsd_clusters 2\n"), "{metrics}");
    assert!(!metrics.contains("zone_serial"), "a serial of which of them?\n{metrics}");
    dnsd.stop().await;
}

#[tokio::test]
async fn names_that_no_cluster_can_have_are_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), NOWHERE.into(), &["--clusters-max", "2"]).await;
    let long = "a".repeat(64);
    for name in ["A", "a.b", "a_b", "-a", "a-", "%C3%A4", "a%20b", "a%2Fb", "%2E%2E", &long] {
        for method in ["PUT", "DELETE"] {
            let reply = request(dnsd.http, method, &format!("/clusters/{name}/dns"), &[], &document(1)).await;
            assert_eq!((reply.status, reply.slug().as_str()), (400, "invalid-cluster"), "{method} {name}");
        }
        assert_eq!(dnsd.get(&format!("/clusters/{name}/dns")).await.status, 404, "{name}");
    }
    let kept: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(kept.is_empty(), "{kept:?}");

    // What was refused is not there, and takes no place.
    let nowhere = r#"{"master": {"address": "nobody.example"}, "slaves": []}"#;
    for name in ["x", "y", "z"] {
        assert_eq!(put(&dnsd, name, nowhere).await.slug(), "unresolvable");
        assert_eq!(put(&dnsd, name, "{}").await.slug(), "malformed-topology");
        assert_eq!(master(&dnsd, name).await, REFUSED);
    }
    assert_eq!(put(&dnsd, "a", &document(1)).await.status, 200);
    assert_eq!(put(&dnsd, "b", &document(2)).await.status, 200);
    let third = put(&dnsd, "c", &document(3)).await;
    assert_eq!((third.status, third.slug().as_str()), (422, "too-many-clusters"));
    assert_eq!(third.json()["evidence"]["clusters_max"], 2);
    assert_eq!(put(&dnsd, "b", &document(3)).await.status, 200, "those that are there go on");
    dnsd.stop().await;
}

#[tokio::test]
async fn a_cluster_goes_when_it_is_told_to_and_may_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), NOWHERE.into(), &["--clusters-max", "2"]).await;
    let delete = async |cluster: &str, headers: &[(&str, &str)]| {
        request(dnsd.http, "DELETE", &format!("/clusters/{cluster}/dns"), headers, "").await
    };
    let tag = put(&dnsd, "a", &document(1)).await.etag().to_owned();
    put(&dnsd, "b", &document(2)).await;
    assert_eq!(delete("c", &[]).await.status, 404);
    assert_eq!(delete("a", &[("If-Match", "\"1\"")]).await.slug(), "precondition-failed");
    assert_eq!(master(&dnsd, "a").await, found("10.0.1.1"));
    let waiting = tokio::spawn({
        let (http, seen) =
            (dnsd.http, dnsd.get("/clusters/a/master").await.etag().trim_matches('"').to_owned());
        async move { request(http, "GET", &format!("/clusters/a/master?after={seen}&timeout=60s"), &[], "").await }
    });
    let removed = delete("a", &[("If-Match", &tag)]).await;
    assert_eq!((removed.status, removed.json()["outcome"].as_str()), (200, Some("removed")));
    assert_eq!(waiting.await.unwrap().status, 404, "nobody waits for what is gone");
    assert_eq!(master(&dnsd, "a").await, REFUSED);
    assert_eq!(dnsd.get("/clusters/a/dns").await.status, 404);
    assert_eq!(master(&dnsd, "b").await, found("10.0.2.1"));
    assert_eq!(delete("a", &[]).await.status, 404);
    // There is a place again.
    assert_eq!(put(&dnsd, "c", &document(3)).await.status, 200);
    dnsd.stop().await;

    let dnsd = start(folder.path(), NOWHERE.into(), &[]).await;
    assert_eq!(master(&dnsd, "a").await, REFUSED, "it does not come back by itself");
    assert_eq!(master(&dnsd, "c").await, found("10.0.3.1"));
    assert_eq!(put(&dnsd, "a", &document(7)).await.status, 200);
    assert_eq!(master(&dnsd, "a").await, found("10.0.7.1"));
    dnsd.stop().await;
}

/// A file that is torn, of another version, of another cluster or of none: its cluster alone suffers.
#[tokio::test]
async fn a_broken_file_hides_no_other_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), NOWHERE.into(), &[]).await;
    for (cluster, number) in [("a", 1), ("torn", 2), ("newer", 3), ("unreadable", 4)] {
        put(&dnsd, cluster, &document(number)).await;
    }
    dnsd.stop().await;
    let path = |cluster: &str| folder.path().join(format!("publication-{cluster}.json"));
    let text = std::fs::read_to_string(path("torn")).unwrap();
    std::fs::write(path("torn"), &text[..text.len() / 2]).unwrap();
    let text = std::fs::read_to_string(path("newer")).unwrap();
    std::fs::write(path("newer"), text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    std::fs::remove_file(path("unreadable")).unwrap();
    std::fs::create_dir(path("unreadable")).unwrap();
    std::fs::copy(path("a"), path("copied")).unwrap();
    std::fs::copy(path("a"), path("No Label")).unwrap();
    std::fs::write(folder.path().join("publication-a.json.new"), "{").unwrap();
    std::fs::write(folder.path().join("something-else"), "").unwrap();

    let dnsd = start(folder.path(), NOWHERE.into(), &[]).await;
    assert_eq!(master(&dnsd, "a").await, found("10.0.1.1"));
    for cluster in ["torn", "newer", "unreadable"] {
        assert_eq!(master(&dnsd, cluster).await, SERVFAIL, "{cluster}: resolvers ask another server");
    }
    assert_eq!(master(&dnsd, "copied").await, REFUSED, "it is a's record");
    assert_eq!(put(&dnsd, "torn", &document(8)).await.status, 200, "a new document mends it");
    assert_eq!(master(&dnsd, "torn").await, found("10.0.8.1"));
    assert_eq!(put(&dnsd, "unreadable", &document(9)).await.slug(), "record-not-writable");
    dnsd.stop().await;
}

/// With nothing to serve, a state folder that cannot be used ends the start, as with one cluster.
#[tokio::test]
async fn a_folder_that_cannot_be_used_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let settings = config(&file, NOWHERE.into(), &["--domain-suffix", "docker"]);
    let listeners = Listeners::bind(&settings).await.unwrap();
    let ended = timeout(DEADLINE, run(settings, listeners, CancellationToken::new())).await.unwrap();
    assert!(matches!(ended, Err(RunError::Clusters(_) | RunError::Folder(_))), "{ended:?}");
}

/// The names of one cluster are looked up again, those of a dead name server hold nobody up, and an IP
/// address is never looked up.
#[tokio::test]
async fn names_are_looked_up_cluster_by_cluster() {
    let script = Script::default().address("moves.docker.", &["10.0.0.7"]).reply(
        "silent.docker.",
        RecordType::SRV,
        Answer::Silence,
    );
    let names = script.serve().await;
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), names.address, &[]).await;
    let by_name =
        |name: &str| format!(r#"{{"master": {{"address": "{name}", "port": 6379}}, "slaves": []}}"#);
    assert_eq!(put(&dnsd, "named", &by_name("moves.docker")).await.status, 200);
    assert_eq!(master(&dnsd, "named").await, found("10.0.0.7"));
    assert_eq!(put(&dnsd, "literal", &document(1)).await.status, 200);
    // One waits for its name servers, the other is published meanwhile.
    let begin = Instant::now();
    let slow = r#"{"master": {"address": "silent.docker"}, "slaves": []}"#;
    let (slow, quick) = tokio::join!(put(&dnsd, "slow", slow), async {
        let reply = put(&dnsd, "literal", &document(2)).await;
        (reply.status, begin.elapsed())
    });
    assert_eq!(slow.slug(), "unresolvable");
    assert!(quick.0 == 200 && quick.1 < begin.elapsed(), "{quick:?} of {:?}", begin.elapsed());
    names.replace(Script::default().address("moves.docker.", &["10.0.0.8"]));
    wait_until("the new address is served", async || master(&dnsd, "named").await == found("10.0.0.8")).await;
    assert_eq!(master(&dnsd, "literal").await, found("10.0.2.1"));
    let asked = names.asked();
    assert!(asked.iter().all(|question| !question.contains("10.0.")), "{asked:?}");
    dnsd.stop().await;
}

#[tokio::test]
async fn sentinel_clients_ask_for_their_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), NOWHERE.into(), &["--sentinel-listen", "127.0.0.1:0"]).await;
    let mut client = TcpStream::connect(dnsd.sentinel.unwrap()).await.unwrap();
    let mut ask = async |line: &str, end: &str| {
        client.write_all(line.as_bytes()).await.unwrap();
        let mut text = String::new();
        while !text.ends_with(end) {
            let byte = timeout(DEADLINE, client.read_u8()).await;
            text.push(byte.unwrap_or_else(|_| panic!("{end:?} did not come, only {text:?}")).unwrap() as char);
        }
        text
    };
    let whose = |name: &str| format!("SENTINEL get-master-addr-by-name {name}\r\n");
    put(&dnsd, "a", &document(1)).await;
    assert!(ask(&whose("mymaster"), "6379\r\n").await.contains("10.0.1.1"), "it is the only one");
    put(&dnsd, "b", &document(2)).await;
    assert_eq!(ask(&whose("mymaster"), "\r\n").await, "*-1\r\n", "which of the two?");
    assert!(ask(&whose("a"), "6379\r\n").await.contains("10.0.1.1"));
    assert!(ask(&whose("b"), "6379\r\n").await.contains("10.0.2.1"));
    assert_eq!(ask(&whose("c"), "\r\n").await, "*-1\r\n");
    let info = ask("INFO\r\n", "sentinels=1\r\n").await;
    assert!(info.contains("sentinel_masters:2\r\n") && info.contains("master0:name=a,"), "{info}");
    ask("SUBSCRIBE +switch-master\r\n", ":1\r\n").await;
    put(&dnsd, "a", &document(3)).await;
    put(&dnsd, "b", &document(4)).await;
    let told = ask("", "b 10.0.2.1 6379 10.0.4.1 6379\r\n").await;
    assert!(told.contains("\r\na 10.0.1.1 6379 10.0.3.1 6379\r\n") && !told.contains("mymaster"), "{told}");
    dnsd.stop().await;
}

/// However many lists are asked for at once, each comes, in its turn, and others are answered meanwhile.
#[tokio::test]
async fn long_lists_are_sent_one_by_one() {
    const CLUSTERS: usize = 110;
    const LISTS: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), NOWHERE.into(), &["--sentinel-listen", "127.0.0.1:0"]).await;
    for cluster in 0..CLUSTERS {
        assert_eq!(put(&dnsd, &format!("c{cluster}"), &document(1)).await.status, 200);
    }
    let at = dnsd.sentinel.unwrap();
    let mut greedy = Vec::new();
    for _ in 0..6 {
        let mut stream = TcpStream::connect(at).await.unwrap();
        // Asked for and not read: what is not sent yet must not be made yet.
        stream.write_all("SENTINEL MASTERS\r\nPING\r\n".repeat(LISTS).as_bytes()).await.unwrap();
        stream.write_all(b"QUIT\r\n").await.unwrap();
        greedy.push(stream);
    }
    let mut quick = TcpStream::connect(at).await.unwrap();
    quick.write_all(b"SENTINEL get-master-addr-by-name c7\r\n").await.unwrap();
    let mut answer = [0; 28];
    timeout(DEADLINE, quick.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(&answer, b"*2\r\n$8\r\n10.0.1.1\r\n$4\r\n6379\r\n");
    for mut stream in greedy {
        let mut text = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut text)).await.expect("all of it").unwrap();
        assert_eq!(text.matches(&format!("*{CLUSTERS}\r\n")).count(), LISTS);
        assert_eq!(text.matches("\r\n+PONG\r\n").count(), LISTS);
        assert!(text.ends_with("+PONG\r\n+OK\r\n"), "{}", &text[text.len() - 40..]);
    }
    dnsd.stop().await;
}

/// A secondary is told of each zone, of those that were kept from the start on.
#[tokio::test]
async fn secondaries_are_told_of_each_zone() {
    let secondary = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = secondary.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let first = start(folder.path(), NOWHERE.into(), &[]).await;
    put(&first, "kept", &document(1)).await;
    first.stop().await;
    let dnsd = start(folder.path(), NOWHERE.into(), &["--secondaries", &to]).await;
    put(&dnsd, "a", &document(1)).await;
    put(&dnsd, "b", &document(2)).await;
    let mut missing = vec!["a.redis.docker.", "b.redis.docker.", "kept.redis.docker."];
    let telling = timeout(DEADLINE, async {
        let mut buffer = [0; 512];
        while !missing.is_empty() {
            let (length, from) = secondary.recv_from(&mut buffer).await.unwrap();
            let message = Message::from_vec(&buffer[..length]).unwrap();
            assert_eq!(message.metadata.op_code, OpCode::Notify);
            missing.retain(|zone| message.queries[0].name().to_ascii() != *zone);
            buffer[2] |= 0x80;
            secondary.send_to(&buffer[..length], from).await.unwrap();
        }
    });
    telling.await.expect("all zones are told of");
    dnsd.stop().await;
}
