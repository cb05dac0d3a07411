//! dnsd in this process on free ports, and the clients that ask it.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::print_stderr, reason = "whoever runs the tests is told what is skipped")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use dnsd::config::{Config, read};
use dnsd::{Listeners, RunError, run};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Longest wait of a test for anything.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Dnsd {
    pub(crate) http: SocketAddr,
    pub(crate) dns: SocketAddr,
    pub(crate) sentinel: Option<SocketAddr>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), RunError>>,
}

/// Settings for a test: any port, names asked of `name_server`, refreshed five times a second.
pub(crate) fn config(state_dir: &Path, name_server: SocketAddr, more: &[&str]) -> Config {
    let state_dir = state_dir.display().to_string();
    let name_server = name_server.to_string();
    let mut arguments = vec!["dnsd", "--listen", "127.0.0.1:0", "--dns-listen", "127.0.0.1:0"];
    arguments.extend(["--state-dir", &state_dir, "--nameservers", &name_server]);
    arguments.extend(["--ttl-refresh", "200ms"]);
    arguments.extend(more);
    let mut config = read(arguments, &BTreeMap::new()).unwrap().config;
    config.resolver.hosts = "/nonexistent/hosts".into();
    config.resolver.deadline = Duration::from_millis(700);
    config
}

impl Dnsd {
    pub(crate) async fn start(config: Config) -> Self {
        let listeners = Listeners::bind(&config).await.unwrap();
        let http = listeners.http.local_addr().unwrap();
        let dns = listeners.tcp.local_addr().unwrap();
        let sentinel = listeners.sentinel.as_ref().map(|listener| listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run(config, listeners, shutdown.clone()));
        let daemon = Self { http, dns, sentinel, shutdown, running };
        wait_until("HTTP answers", async || daemon.get("/healthz").await.status == 200).await;
        daemon
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.running).await.expect("it stops in time").unwrap().unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        request(self.http, "GET", path, &[], "").await
    }

    pub(crate) async fn put(&self, document: &str, headers: &[(&str, &str)]) -> Reply {
        request(self.http, "PUT", "/dns", headers, document).await
    }

    pub(crate) async fn ask(&self, name: &str, record_type: RecordType) -> Message {
        let packet = query(name, record_type);
        let answer = self.send_udp(&packet).await.expect("an answer");
        Message::from_vec(&answer).unwrap()
    }

    /// One datagram and its answer, if one comes before that of a query sent after it.
    pub(crate) async fn send_udp(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.dns).await.unwrap();
        socket.send(packet).await.unwrap();
        let mut marker = query("marker.example.", RecordType::A);
        marker[..2].copy_from_slice(&[0xee, 0xee]);
        socket.send(&marker).await.unwrap();
        let mut buffer = vec![0; 65_536];
        let length = timeout(DEADLINE, socket.recv(&mut buffer)).await.expect("a marker").unwrap();
        buffer.truncate(length);
        (buffer[..2] != [0xee, 0xee]).then_some(buffer)
    }

    pub(crate) async fn ask_tcp(&self, name: &str, record_type: RecordType) -> Message {
        let mut stream = TcpStream::connect(self.dns).await.unwrap();
        let packet = query(name, record_type);
        stream.write_u16(u16::try_from(packet.len()).unwrap()).await.unwrap();
        stream.write_all(&packet).await.unwrap();
        Message::from_vec(&read_framed(&mut stream).await).unwrap()
    }
}

pub(crate) async fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    timeout(DEADLINE, async {
        let length = stream.read_u16().await.unwrap();
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    })
    .await
    .expect("an answer over TCP")
}

/// A query over TCP and all messages of its answer: one, or those of a zone transfer.
pub(crate) async fn transfer(server: SocketAddr, packet: &[u8]) -> Vec<Message> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_u16(u16::try_from(packet.len()).unwrap()).await.unwrap();
    stream.write_all(packet).await.unwrap();
    let mut messages = Vec::new();
    loop {
        messages.push(Message::from_vec(&read_framed(&mut stream).await).unwrap());
        let mut records = messages.iter().flat_map(|message| &message.answers);
        // The SOA record ends what it began.
        let (first, last) = (records.next(), records.last());
        if last.is_none() || first == last {
            return messages;
        }
    }
}

/// A program that may be installed, on the PATH or where servers live, or that `.ci/servers` has fetched.
pub(crate) fn program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/servers/dns/bin");
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into(), fetched.into()]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: {name} is not there; .ci/servers fetches it");
    }
    found
}

pub(crate) fn query(name: &str, record_type: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message.to_vec().unwrap()
}

/// The data of the answers, sorted.
pub(crate) fn data(message: &Message) -> Vec<String> {
    let mut lines: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
    lines.sort();
    lines
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The slug of a problem.
    pub(crate) fn slug(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.body);
        self.json()["type"].as_str().unwrap().trim_start_matches("urn:redis-dictator:").to_owned()
    }

    pub(crate) fn etag(&self) -> &str {
        &self.headers["etag"]
    }
}

pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    let answer = timeout(DEADLINE, async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    })
    .await
    .expect("an HTTP answer in time");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Reply { status, headers, body: body.to_owned() }
}

/// Waits on a condition, not on a clock.
pub(crate) async fn wait_until<F, Fut>(what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
