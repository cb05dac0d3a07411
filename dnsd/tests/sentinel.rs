//! The Sentinel face by the front door: what clients send, and what must not hurt.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::{Dnsd, config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const NOWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 9);
const BEFORE: &str =
    r#"{"master":{"address":"10.0.0.1","port":7001},"slaves":[{"address":"10.0.0.2","port":7002}]}"#;
const AFTER: &str =
    r#"{"master":{"address":"10.0.0.2","port":7002},"slaves":[{"address":"10.0.0.1","port":7001}]}"#;

struct Client(TcpStream);

impl Client {
    async fn open(dnsd: &Dnsd) -> Self {
        Self(TcpStream::connect(dnsd.sentinel.unwrap()).await.unwrap())
    }

    async fn send(&mut self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.write_all(request.as_bytes()).await.unwrap();
    }

    /// What comes until `end` has been seen; the rest stays unread.
    async fn until(&mut self, end: &str) -> String {
        let mut text = String::new();
        let reading = async {
            while !text.ends_with(end) {
                let byte = self.0.read_u8().await.unwrap_or_else(|error| panic!("{error} after {text:?}"));
                text.push(byte as char);
            }
        };
        if timeout(Duration::from_secs(5), reading).await.is_err() {
            panic!("{end:?} did not come, only {text:?}");
        }
        text
    }

    async fn ask(&mut self, words: &str, end: &str) -> String {
        self.send(words).await;
        self.until(end).await
    }

    async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        timeout(Duration::from_secs(5), self.0.read_to_end(&mut rest)).await.is_ok()
    }
}

async fn start(folder: &std::path::Path, more: &[&str]) -> Dnsd {
    let mut arguments = vec!["--sentinel-listen", "127.0.0.1:0"];
    arguments.extend(more);
    Dnsd::start(config(folder, SocketAddr::from(NOWHERE), &arguments)).await
}

#[tokio::test]
async fn clients_find_the_master_and_are_told_when_it_moves() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), &["--peers", "10.9.9.9:26379"]).await;
    let mut client = Client::open(&dnsd).await;
    assert_eq!(client.ask("SENTINEL get-master-addr-by-name mymaster", "\r\n").await, "*-1\r\n");
    assert_eq!(dnsd.put(BEFORE, &[]).await.status, 200);
    for name in ["mymaster", "redis-1"] {
        let reply = client.ask(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {name}"), "7001\r\n").await;
        assert_eq!(reply, "*2\r\n$8\r\n10.0.0.1\r\n$4\r\n7001\r\n");
    }
    assert_eq!(client.ask("SENTINEL GET-MASTER-ADDR-BY-NAME other", "\r\n").await, "*-1\r\n");
    let masters = client.ask("SENTINEL MASTERS", "parallel-syncs\r\n$1\r\n1\r\n").await;
    assert!(masters.contains("\r\nflags\r\n$6\r\nmaster\r\n"), "{masters}");
    let replicas = client.ask("SENTINEL replicas mymaster", "replica-announced\r\n$1\r\n1\r\n").await;
    assert!(
        replicas.contains("10.0.0.2:7002") && replicas.contains("master-link-status\r\n$2\r\nok"),
        "{replicas}"
    );
    let peers = client.ask("SENTINEL SENTINELS redis-1", "voted-leader-epoch\r\n$1\r\n0\r\n").await;
    assert!(peers.contains("10.9.9.9"), "{peers}");

    let mut listener = Client::open(&dnsd).await;
    listener.ask("SUBSCRIBE +switch-master", ":1\r\n").await;
    let mut all = Client::open(&dnsd).await;
    all.ask("HELLO 3 SETNAME lettuce", "modules\r\n*0\r\n").await;
    assert!(all.ask("PSUBSCRIBE *", ":1\r\n").await.starts_with(">3\r\n"));
    assert_eq!(dnsd.put(AFTER, &[]).await.status, 200);
    let told = listener.until("10.0.0.1 7001 10.0.0.2 7002\r\n").await;
    assert!(told.starts_with("*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n"), "{told}");
    let told = all.until("10.0.0.1 7001 10.0.0.2 7002\r\n").await;
    assert!(told.starts_with(">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n"), "{told}");
    let reply = client.ask("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster", "7002\r\n").await;
    assert!(reply.contains("10.0.0.2"), "{reply}");
    dnsd.stop().await;
}

#[tokio::test]
async fn it_takes_no_orders_and_says_where_they_belong() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), &[]).await;
    dnsd.put(BEFORE, &[]).await;
    let mut client = Client::open(&dnsd).await;
    for order in [
        "SENTINEL SET mymaster quorum 1",
        "SENTINEL FAILOVER mymaster",
        "SENTINEL REMOVE mymaster",
        "SENTINEL RESET *",
        "SENTINEL MONITOR x 10.0.0.9 6379 1",
    ] {
        let reply = client.ask(order, "\r\n").await;
        assert!(reply.starts_with("-ERR not permitted: the topology is set through the dictator"), "{reply}");
    }
    assert!(client.ask("SET a b", "\r\n").await.starts_with("-ERR unknown command 'SET'"));
    assert!(client.ask("SENTINEL MASTER other", "\r\n").await.starts_with("-ERR No such master"));
    assert!(client.ask("HELLO 4", "\r\n").await.starts_with("-NOPROTO"));
    assert_eq!(client.ask("ROLE", "redis-1\r\n").await, "*2\r\n$8\r\nsentinel\r\n*1\r\n$7\r\nredis-1\r\n");
    assert_eq!(client.ask("PING", "\r\n").await, "+PONG\r\n");
    assert_eq!(client.ask("QUIT", "\r\n").await, "+OK\r\n");
    assert!(client.is_closed().await);
    dnsd.stop().await;
}

#[tokio::test]
async fn broken_requests_end_their_connection_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let dnsd = start(folder.path(), &[]).await;
    let mut other = Client::open(&dnsd).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"*1000000000\r\n",
        b"*1\r\n$-5\r\n",
        b"*1\r\n$999999999\r\n",
        &[b'x'; 70_000],
    ] {
        let mut client = Client::open(&dnsd).await;
        // The other side may close before all is written; that is an answer, too.
        let _ = client.0.write_all(bytes).await;
        assert!(client.is_closed().await);
    }
    let mut half = Client::open(&dnsd).await;
    half.0.write_all(b"*2\r\n$4\r\nPI").await.unwrap();
    let mut greedy = Client::open(&dnsd).await;
    for channel in 0..64 {
        greedy.ask(&format!("SUBSCRIBE c{channel}"), &format!(":{}\r\n", channel + 1)).await;
    }
    assert!(greedy.ask("SUBSCRIBE more", "\r\n").await.starts_with("-ERR too many"));
    other.0.write_all(b"*-1\r\nPING\r\n").await.unwrap();
    assert_eq!(other.until("\r\n").await, "+PONG\r\n");
    dnsd.stop().await;
}

#[tokio::test]
async fn a_password_is_asked_for_if_one_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("password");
    #[allow(clippy::disallowed_methods, reason = "a test's file need not be durable")]
    std::fs::write(&secret, "open sesame\n").unwrap();
    let state = tempfile::tempdir().unwrap();
    let dnsd = start(state.path(), &["--sentinel-password-file", secret.to_str().unwrap()]).await;
    let mut client = Client::open(&dnsd).await;
    assert!(client.ask("SENTINEL MASTERS", "\r\n").await.starts_with("-NOAUTH"));
    assert!(client.ask("AUTH wrong", "\r\n").await.starts_with("-WRONGPASS"));
    client.0.write_all(b"*2\r\n$4\r\nAUTH\r\n$11\r\nopen sesame\r\n").await.unwrap();
    assert_eq!(client.until("\r\n").await, "+OK\r\n");
    assert_eq!(client.ask("SENTINEL MASTERS", "\r\n").await, "*0\r\n");
    dnsd.stop().await;
}
