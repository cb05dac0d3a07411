//! The roles by HTTP: who is what, who is told when it changes, and what is asked for in vain.
#![allow(missing_docs)]

#[path = "../../crates/resolve/tests/support/mod.rs"]
mod name_server;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use name_server::Script;
use support::{Dnsd, Reply, config, request, wait_until};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

const NOWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 9);
const BEFORE: &str = r#"{"master":{"address":"10.0.0.1","port":7001},
    "slaves":[{"address":"10.0.0.2","port":7002},{"address":"fd00::3","port":7003}]}"#;
const AFTER: &str = r#"{"master":{"address":"10.0.0.2","port":7002},
    "slaves":[{"address":"10.0.0.1","port":7001},{"address":"fd00::3","port":7003}]}"#;
const ALONE: &str = r#"{"master":{"address":"10.0.0.2","port":7002},"slaves":[]}"#;
/// Longer than any wait that is to be ended by news.
const LONG: Duration = Duration::from_secs(20);

async fn start(folder: &std::path::Path) -> Dnsd {
    Dnsd::start(config(folder, SocketAddr::from(NOWHERE), &[])).await
}

fn tag(reply: &Reply) -> String {
    reply.etag().trim_matches('"').to_owned()
}

/// A request that waits, under way: dnsd has it when this returns.
async fn waiting(dnsd: &Dnsd, path: String) -> JoinHandle<(Reply, Duration)> {
    let address = dnsd.http;
    let begun = Instant::now();
    let request =
        tokio::spawn(async move { (request(address, "GET", &path, &[], "").await, begun.elapsed()) });
    // Whatever is asked after it is answered after it was taken, unless it waits.
    for _ in 0..20 {
        dnsd.get("/healthz").await;
    }
    assert!(!request.is_finished(), "it does not wait: {:?}", request.await.map(|(reply, _)| reply.body));
    request
}

async fn told(request: JoinHandle<(Reply, Duration)>) -> Reply {
    timeout(LONG, request).await.expect("news").unwrap().0
}

#[tokio::test]
async fn roles_are_lines_of_text() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path()).await;
    for path in ["/master", "/slaves"] {
        let reply = dnsd.get(path).await;
        assert_eq!((reply.status, reply.slug().as_str()), (404, "not-published"), "{path}");
    }
    let reply = dnsd.get("/check/master?node=10.0.0.1:7001").await;
    assert_eq!((reply.status, reply.slug().as_str()), (503, "not-in-role"));

    assert_eq!(dnsd.put(BEFORE, &[("X-Topology-Revision", "42")]).await.status, 200);
    let master = dnsd.get("/master").await;
    assert_eq!((master.status, master.body.as_str()), (200, "10.0.0.1:7001\n"));
    assert!(master.headers["content-type"].starts_with("text/plain"), "{:?}", master.headers);
    assert_eq!(master.headers["x-topology-revision"], "42");
    assert!(master.etag().starts_with("\"42-"), "{}", master.etag());
    let slaves = dnsd.get("/slaves").await;
    assert_eq!((slaves.status, slaves.body.as_str()), (200, "10.0.0.2:7002\n[fd00::3]:7003\n"));

    let head = request(dnsd.http, "HEAD", "/master", &[], "").await;
    assert_eq!((head.status, head.body.as_str(), head.etag()), (200, "", master.etag()));
    let known = [("If-None-Match", master.etag())];
    let same = request(dnsd.http, "GET", "/master", &known, "").await;
    assert_eq!((same.status, same.body.as_str(), same.etag()), (304, "", master.etag()));
    let other = request(dnsd.http, "GET", "/slaves", &known, "").await;
    assert_eq!(other.status, 200, "each page has its own tags");

    assert_eq!(dnsd.put(ALONE, &[("X-Topology-Revision", "43")]).await.status, 200);
    let none = dnsd.get("/slaves").await;
    assert_eq!((none.status, none.body.as_str()), (200, ""));
    dnsd.stop().await;

    // A restart tells the same by the same name.
    let dnsd = start(folder.path()).await;
    let again = dnsd.get("/slaves").await;
    assert_eq!((again.body.as_str(), again.etag()), ("", none.etag()));
    dnsd.stop().await;
}

#[tokio::test]
async fn whoever_waits_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path()).await;
    let first = waiting(&dnsd, "/master?after=0&timeout=30s".to_owned()).await;
    dnsd.put(BEFORE, &[("X-Topology-Revision", "42")]).await;
    assert_eq!(told(first).await.body, "10.0.0.1:7001\n");

    // What is news already is not waited for.
    let reply = timeout(LONG, dnsd.get("/master?after=41&timeout=60s")).await.unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (200, "10.0.0.1:7001\n"));
    let seen = tag(&reply);

    let by_revision = waiting(&dnsd, "/master?after=42".to_owned()).await;
    let by_tag = waiting(&dnsd, format!("/master?after={seen}&timeout=1h")).await;
    let slaves = waiting(&dnsd, "/slaves?after=42".to_owned()).await;
    let sent = Instant::now();
    dnsd.put(AFTER, &[("X-Topology-Revision", "43")]).await;
    for request in [by_revision, by_tag] {
        let reply = told(request).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "10.0.0.2:7002\n"));
        assert_eq!(reply.headers["x-topology-revision"], "43");
    }
    assert_eq!(told(slaves).await.body, "10.0.0.1:7001\n[fd00::3]:7003\n");
    assert!(sent.elapsed() < Duration::from_secs(5), "told after {:?}", sent.elapsed());

    // By hand, without a revision: the revision stays, and it is news all the same.
    let tag_of_43 = tag(&dnsd.get("/master").await);
    let by_revision = waiting(&dnsd, "/master?after=43".to_owned()).await;
    dnsd.put(BEFORE, &[]).await;
    assert_eq!(told(by_revision).await.body, "10.0.0.1:7001\n");
    let missed = timeout(LONG, dnsd.get(&format!("/master?after={tag_of_43}&timeout=60s"))).await.unwrap();
    assert_eq!(missed.body, "10.0.0.1:7001\n", "what changed between two requests is not missed");
    dnsd.stop().await;
}

#[tokio::test]
async fn an_address_that_changes_is_news_at_the_same_revision() {
    let names = Script::default().address("core-01.docker.", &["10.0.0.1"]).serve().await;
    let folder = tempfile::tempdir().unwrap();
    let dnsd = Dnsd::start(config(folder.path(), names.address, &[])).await;
    let document = r#"{"master":{"address":"core-01.docker"},"slaves":[]}"#;
    assert_eq!(dnsd.put(document, &[("X-Topology-Revision", "7")]).await.status, 200);
    let request = waiting(&dnsd, "/master?after=7".to_owned()).await;
    names.replace(Script::default().address("core-01.docker.", &["10.0.0.9"]));
    let reply = told(request).await;
    assert_eq!(
        (reply.body.as_str(), reply.headers["x-topology-revision"].as_str()),
        ("10.0.0.9:6379\n", "7")
    );
    dnsd.stop().await;
}

#[tokio::test]
async fn a_wait_ends_with_its_time_and_with_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path()).await;
    dnsd.put(BEFORE, &[("X-Topology-Revision", "42")]).await;
    let seen = tag(&dnsd.get("/master").await);
    let reply = dnsd.get(&format!("/master?after={seen}&timeout=100ms")).await;
    assert_eq!((reply.status, reply.body.as_str()), (304, ""));
    assert_eq!(tag(&reply), seen);
    // Who has seen more than this dnsd knows gets what there is, when the time is over.
    let reply = dnsd.get("/master?after=50&timeout=0").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "10.0.0.1:7001\n"));

    let request = waiting(&dnsd, "/master?after=42&timeout=60s".to_owned()).await;
    dnsd.stop().await;
    assert_eq!(told(request).await.status, 304);
}

#[tokio::test]
async fn those_who_wait_do_not_keep_others_out() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path()).await;
    dnsd.put(BEFORE, &[("X-Topology-Revision", "42")]).await;
    let mut waiters = Vec::new();
    for _ in 0..128 {
        let mut stream = TcpStream::connect(dnsd.http).await.unwrap();
        let text = format!("GET /master?after=42 HTTP/1.1\r\nHost: {}\r\n\r\n", dnsd.http);
        stream.write_all(text.as_bytes()).await.unwrap();
        waiters.push(stream);
    }
    wait_until("all places are taken", async || dnsd.get("/master?after=42&timeout=1ms").await.status == 503)
        .await;
    let reply = dnsd.get("/master?after=42&timeout=1ms").await;
    assert_eq!((reply.slug().as_str(), reply.headers["retry-after"].as_str()), ("busy", "1"));
    assert_eq!(dnsd.get("/master").await.status, 200);
    assert_eq!(dnsd.put(AFTER, &[]).await.status, 200);
    // Who has hung up, or was told, leaves a place.
    drop(waiters);
    wait_until("there is a place again", async || {
        dnsd.get("/slaves?after=42&timeout=1ms").await.status == 304
    })
    .await;
    dnsd.stop().await;
}

#[tokio::test]
async fn load_balancers_get_200_or_503_for_each_node() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path()).await;
    dnsd.put(BEFORE, &[("X-Topology-Revision", "42")]).await;
    for (path, status) in [
        ("/check/master?node=10.0.0.1:7001", 200),
        ("/check/master?node=10.0.0.1", 200),
        ("/check/slave?node=10.0.0.1:7001", 503),
        ("/check/slave?node=10.0.0.2:7002", 200),
        ("/check/slave?node=[fd00::3]:7003", 200),
        ("/check/master?node=10.0.0.2:7002", 503),
        ("/check/master?node=10.0.0.1:7009", 503),
        ("/check/slave?node=10.9.9.9", 503),
    ] {
        let reply = dnsd.get(path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        if status == 503 {
            assert_eq!(reply.slug(), "not-in-role", "{path}");
        }
        assert_eq!(request(dnsd.http, "HEAD", path, &[], "").await.status, status, "HEAD {path}");
    }
    let reply = dnsd.get("/check/master?node=10.0.0.2:7002").await;
    assert_eq!(reply.json()["evidence"]["published"][0], "10.0.0.1:7001", "{}", reply.body);
    dnsd.put(AFTER, &[("X-Topology-Revision", "43")]).await;
    assert_eq!(dnsd.get("/check/master?node=10.0.0.2:7002").await.status, 200);
    assert_eq!(dnsd.get("/check/master?node=10.0.0.1:7001").await.status, 503);
    dnsd.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path()).await;
    dnsd.put(BEFORE, &[]).await;
    for path in [
        "/master?role=master",
        "/master?after=x",
        "/master?after=",
        "/master?after=-1",
        "/master?after=1&after=2",
        "/master?timeout=1s",
        "/slaves?after=0&timeout=soon",
        "/slaves?after=0&timeout=5",
        "/check/master",
        "/check/master?node=",
        "/check/master?node=a%20b",
        "/check/master?node=10.0.0.1:0",
        "/check/slave?node=10.0.0.1&port=6379",
    ] {
        let reply = dnsd.get(path).await;
        assert_eq!((reply.status, reply.slug().as_str()), (400, "unknown-parameter"), "{path}");
    }
    for (method, path, status) in [
        ("PUT", "/master", 405),
        ("POST", "/check/master", 405),
        ("GET", "/check", 404),
        ("GET", "/slave", 404),
    ] {
        assert_eq!(request(dnsd.http, method, path, &[], "").await.status, status, "{method} {path}");
    }
    let garbage = request(dnsd.http, "GET", "/master", &[("If-None-Match", "42")], "").await;
    assert_eq!(garbage.status, 400);
    dnsd.stop().await;
}
