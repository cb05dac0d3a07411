//! The Sentinel face with as many clients as a large installation has: how soon all are told, and how
//! long one question takes. Prints what it measures; docs/sentinel.md has the figures.
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "what was measured")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::{Dnsd, config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const NOWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 9);
const BEFORE: &str =
    r#"{"master":{"address":"10.0.0.1","port":7001},"slaves":[{"address":"10.0.0.2","port":7002}]}"#;
const AFTER: &str =
    r#"{"master":{"address":"10.0.0.2","port":7002},"slaves":[{"address":"10.0.0.1","port":7001}]}"#;
const SUBSCRIBE: &[u8] = b"*2\r\n$9\r\nSUBSCRIBE\r\n$14\r\n+switch-master\r\n";
const QUESTION: &[u8] = b"*3\r\n$8\r\nSENTINEL\r\n$23\r\nget-master-addr-by-name\r\n$8\r\nmymaster\r\n";
const ANSWER: &[u8] = b"*2\r\n$8\r\n10.0.0.2\r\n$4\r\n7002\r\n";
/// Subscribers; their sockets and dnsd's are all in this process.
const SUBSCRIBERS: usize = 1_000;
const QUESTIONS: usize = 2_000;
/// Far more than it takes, for a machine that is doing something else.
const TOLD_MAX: Duration = Duration::from_secs(5);

async fn until(stream: &mut TcpStream, end: &[u8]) {
    let (mut text, mut chunk) = (Vec::new(), [0; 512]);
    while !text.ends_with(end) {
        let bytes = stream.read(&mut chunk).await.unwrap();
        assert!(bytes > 0, "closed after {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&chunk[..bytes]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_subscribers_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let settings = config(folder.path(), SocketAddr::from(NOWHERE), &["--sentinel-listen", "127.0.0.1:0"]);
    let dnsd = Dnsd::start(settings).await;
    assert_eq!(dnsd.put(BEFORE, &[]).await.status, 200);
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut stream = TcpStream::connect(dnsd.sentinel.unwrap()).await.unwrap();
        stream.write_all(SUBSCRIBE).await.unwrap();
        until(&mut stream, b":1\r\n").await;
        subscribers.push(stream);
    }
    let mut waiting = JoinSet::new();
    for mut stream in subscribers {
        waiting.spawn(async move {
            until(&mut stream, b"mymaster 10.0.0.1 7001 10.0.0.2 7002\r\n").await;
            (Instant::now(), stream)
        });
    }
    let sent = Instant::now();
    assert_eq!(dnsd.put(AFTER, &[]).await.status, 200);
    let answered = Instant::now();
    let told = timeout(TOLD_MAX, waiting.join_all()).await.expect("all are told");
    let last = told.iter().map(|(at, _)| *at).max().unwrap();
    println!(
        "{SUBSCRIBERS} subscribers told {:?} after the PUT was sent, {:?} after it was answered",
        last - sent,
        last.saturating_duration_since(answered)
    );

    let mut client = TcpStream::connect(dnsd.sentinel.unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    let mut took = Vec::new();
    for _ in 0..QUESTIONS {
        let begin = Instant::now();
        client.write_all(QUESTION).await.unwrap();
        until(&mut client, ANSWER).await;
        took.push(begin.elapsed());
    }
    took.sort();
    println!(
        "a question takes {:?} in the median, {:?} for 99 %",
        took[QUESTIONS / 2],
        took[QUESTIONS * 99 / 100]
    );
    drop(told);
    dnsd.stop().await;
}
