//! The HTTP server as clients meet it: over real sockets, with timeouts cut to fractions of a second.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, put};
use service::http::{Document, HttpLimits, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// No answer takes longer, whatever the machine does besides.
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(limits: HttpLimits) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "slow\n"
        };
        let router = Router::new()
            .route(
                "/master",
                put(|Document(bytes): Document| async move { format!("{} bytes\n", bytes.len()) }),
            )
            .route("/get", get(|| async { "got\n" }))
            .route("/slow", get(slow))
            .route("/forever", get(std::future::pending::<&'static str>))
            .route("/large", get(|| async { vec![b'x'; 32 * 1024 * 1024] }))
            .route("/panic", get(|| async { if true { panic!("on purpose") } else { "" } }));
        let served = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
        Server { address, shutdown, served }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read_to_end(&mut stream).await
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read =
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    read.expect("the connection is closed, not reset");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn short() -> HttpLimits {
    HttpLimits {
        header_read_timeout: Duration::from_millis(300),
        body_read_timeout: Duration::from_millis(300),
        write_stall_timeout: Duration::from_millis(300),
        drain_timeout: Duration::from_millis(600),
        ..HttpLimits::default()
    }
}

fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

fn assert_status(response: &str, status: u16) {
    assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "expected {status}: {response}");
}

#[tokio::test]
async fn a_header_that_trickles_in_is_cut_off_within_its_limit() {
    let server = Server::start(short()).await;
    for first in ["", "G", "GET /get HTTP/1.1\r\n", "GET /get HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(first.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let (mut reader, mut writer) = stream.split();
        let trickle = async {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if !first.is_empty() && writer.write_all(b"x").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            () = trickle => unreachable!(),
            read = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut answer)) => { let _ = read.expect("closed"); }
        }
        assert!(begun.elapsed() >= Duration::from_millis(250), "{first:?} was cut off too early");
        assert!(begun.elapsed() < Duration::from_millis(1_300), "{first:?} took {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_body_that_trickles_in_is_a_408() {
    let server = Server::start(short()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"PUT /master HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        .await
        .unwrap();
    let begun = Instant::now();
    let response = read_to_end(&mut stream).await;
    assert_status(&response, 408);
    assert!(response.contains("urn:redis-dictator:request-timeout"), "{response}");
    assert!(begun.elapsed() < Duration::from_millis(1_300));
}

#[tokio::test]
async fn bodies_that_are_too_large_are_a_413_that_arrives() {
    let server = Server::start(short()).await;
    let mut large = b"PUT /master HTTP/1.1\r\nHost: localhost\r\nContent-Length: 66560\r\n\r\n".to_vec();
    large.extend_from_slice(&[b' '; 66_560]);
    assert_status(&server.exchange(&large).await, 413);
    let lie = b"PUT /master HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nx";
    assert_status(&server.exchange(lie).await, 413);
    let expecting = b"PUT /master HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
    assert_status(&server.exchange(expecting).await, 413);

    let mut stream = server.connect().await;
    stream
        .write_all(b"PUT /master HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let (mut reader, mut writer) = stream.split();
    let endless = async {
        let chunk = [b"1000\r\n".as_slice(), &[b' '; 4096], b"\r\n"].concat();
        while writer.write_all(&chunk).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = vec![0; 4096];
    let read = async { reader.read(&mut answer).await.unwrap() };
    let bytes = tokio::select! {
        () = endless => unreachable!(),
        bytes = tokio::time::timeout(PATIENCE, read) => bytes.expect("an answer"),
    };
    assert_status(&String::from_utf8_lossy(&answer[..bytes]), 413);
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_taken() {
    let server = Server::start(short()).await;
    let mut request =
        b"PUT /master HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 65536\r\n\r\n"
            .to_vec();
    request.extend_from_slice(&[b' '; 65_536]);
    let response = server.exchange(&request).await;
    assert_status(&response, 200);
    assert!(response.ends_with("65536 bytes\n"), "{response}");
}

#[tokio::test]
async fn who_asks_before_sending_is_invited() {
    let server = Server::start(short()).await;
    let mut stream = server.connect().await;
    let header = "PUT /master HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    stream.write_all(header.as_bytes()).await.unwrap();
    let mut invitation = [0; 25];
    stream.read_exact(&mut invitation).await.unwrap();
    assert_eq!(&invitation, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").await.unwrap();
    assert_status(&read_to_end(&mut stream).await, 200);
}

#[tokio::test]
async fn headers_that_are_too_large_or_too_many_are_a_431() {
    let server = Server::start(short()).await;
    let large = format!("GET /get HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100 * 1024));
    assert_status(&server.exchange(large.as_bytes()).await, 431);
    let many = format!("GET /get HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert_status(&server.exchange(many.as_bytes()).await, 431);
}

#[tokio::test]
async fn idle_connections_do_not_shut_others_out() {
    let limits = HttpLimits {
        header_read_timeout: Duration::from_secs(30),
        body_read_timeout: Duration::from_secs(30),
        ..short()
    };
    let server = Server::start(limits).await;
    let mut idle = Vec::new();
    for number in 0..300 {
        let mut stream = server.connect().await;
        if number % 3 == 0 {
            stream
                .write_all(b"PUT /master HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
                .await
                .unwrap();
        }
        idle.push(stream);
    }
    let begun = Instant::now();
    assert_status(&server.exchange(get_request("/get").as_bytes()).await, 200);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn requests_under_way_keep_their_places_and_the_newcomer_is_told() {
    let server = Server::start(HttpLimits { connections_max: 2, ..short() }).await;
    let (first, second) = (get_request("/slow"), get_request("/slow"));
    let working =
        async { tokio::join!(server.exchange(first.as_bytes()), server.exchange(second.as_bytes())) };
    let late = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        read_to_end(&mut server.connect().await).await
    };
    let ((first, second), late) = tokio::join!(working, late);
    assert_status(&first, 200);
    assert_status(&second, 200);
    assert_status(&late, 503);
    assert!(late.contains("urn:redis-dictator:busy"), "{late}");
    assert_status(&server.exchange(get_request("/get").as_bytes()).await, 200);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let server = Server::start(HttpLimits { connections_max: 1, ..short() }).await;
    let mut stream = server.connect().await;
    stream.write_all(get_request("/large").as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 12]).await.unwrap();
    let begun = Instant::now();
    loop {
        let response = server.exchange(get_request("/get").as_bytes()).await;
        if response.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the place was never given back: {response}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn two_lengths_are_a_400_and_the_end_of_the_connection() {
    let server = Server::start(short()).await;
    let smuggling =
        b"PUT /master HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                      0\r\n\r\nGET /get HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let response = server.exchange(smuggling).await;
    assert_status(&response, 400);
    assert_eq!(response.matches("HTTP/1.1").count(), 1, "{response}");
    let chunked =
        b"PUT /master HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let response = server.exchange(chunked).await;
    assert_status(&response, 200);
    assert!(response.ends_with("2 bytes\n"), "{response}");
}

#[tokio::test]
async fn old_and_foreign_protocols() {
    let server = Server::start(short()).await;
    let old = server.exchange(b"PUT /master HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}").await;
    assert!(old.starts_with("HTTP/1.0 200") && old.ends_with("2 bytes\n"), "{old}");
    assert_status(&server.exchange(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n").await, 400);
    let preface = server.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(!preface.contains(" 200 "), "{preface}");
    assert_status(&server.exchange(b"GET /get HTTP/1.1\r\n\r\n").await, 400);
}

#[tokio::test]
async fn a_foreign_host_is_misdirected_and_a_panic_ends_only_its_request() {
    let server = Server::start(short()).await;
    let foreign =
        server.exchange(b"GET /get HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
    assert_status(&foreign, 421);
    let panicked = server.exchange(get_request("/panic").as_bytes()).await;
    assert_status(&panicked, 500);
    assert_status(&server.exchange(get_request("/get").as_bytes()).await, 200);
}

#[tokio::test]
async fn head_options_and_several_requests_on_one_connection() {
    let server = Server::start(short()).await;
    let requests = "HEAD /get HTTP/1.1\r\nHost: localhost\r\n\r\nOPTIONS /get HTTP/1.1\r\nHost: localhost\r\n\r\n\
                    HEAD /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\nDELETE /get HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let response = server.exchange(requests.as_bytes()).await;
    let statuses: Vec<_> =
        response.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).map(|line| &line[..3]).collect();
    assert_eq!(statuses, ["200", "204", "404", "405"], "{response}");
    assert!(!response.contains("got"), "HEAD has no body: {response}");
    assert!(response.contains("allow: GET, HEAD, OPTIONS"), "{response}");
}

#[tokio::test]
async fn shutdown_lets_requests_finish_and_closes_idle_connections() {
    let server = Server::start(HttpLimits { header_read_timeout: Duration::from_secs(30), ..short() }).await;
    let mut fresh = server.connect().await;
    let mut used = server.connect().await;
    used.write_all(b"GET /get HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    used.read_exact(&mut [0; 12]).await.unwrap();
    let mut working = server.connect().await;
    working.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.shutdown.cancel();
    assert!(read_to_end(&mut working).await.ends_with("slow\n"));
    assert_eq!(read_to_end(&mut fresh).await, "");
    read_to_end(&mut used).await;
    tokio::time::timeout(Duration::from_millis(500), server.served)
        .await
        .expect("drained before its deadline")
        .unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn shutdown_cuts_what_does_not_end_by_its_deadline() {
    let server = Server::start(short()).await;
    let mut stuck = server.connect().await;
    stuck.write_all(get_request("/forever").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    server.shutdown.cancel();
    tokio::time::timeout(PATIENCE, server.served).await.expect("the server ends").unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(stuck.read(&mut [0; 16]).await.unwrap_or(0), 0);
}
