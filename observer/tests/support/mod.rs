//! A receiver that records every request and answers as told, and an observer that notifies receivers.
//!
//! The receiver speaks HTTP by its own few lines, in threads, so that it shares nothing with the client it
//! judges and can answer badly.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use harness::wait::ensure;
use harness::{Daemon, DaemonOptions, wait_until};
use serde_json::Value;

/// Deadline of every condition.
pub const SOON: Duration = Duration::from_secs(20);
/// The watched key.
pub const TRIGGER: &str = "/config/redis-1/topology-trigger";
/// The key of the document.
pub const TOPOLOGY: &str = "/config/redis-1/topology";

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: Instant,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn revision(&self) -> u64 {
        self.header("x-topology-revision").and_then(|text| text.parse().ok()).expect("a revision")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What is answered: the bytes after `HTTP/1.1 `.
#[derive(Clone, Debug)]
pub struct Answer(Vec<u8>);

impl Answer {
    pub fn status(status: &str) -> Self {
        Self::with(status, &[], "")
    }

    pub fn with(status: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let mut text = format!("{status}\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        Self(format!("{text}\r\n{body}").into_bytes())
    }

    pub fn problem(status: &str, slug: &str, detail: &str, do_next: &str) -> Self {
        let body = serde_json::json!({
            "type": format!("urn:redis-dictator:{slug}"), "detail": detail, "do": do_next
        });
        Self::with(status, &[("Content-Type", "application/problem+json")], &body.to_string())
    }
}

struct State {
    received: Vec<Received>,
    next: VecDeque<Answer>,
    otherwise: Answer,
    held: bool,
}

/// A recording HTTP server on loopback; it serves until the test ends.
#[derive(Clone)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Receiver {
    pub fn start() -> Self {
        Self::listen(TcpListener::bind(("127.0.0.1", 0)).expect("a free port"))
    }

    pub fn listen(listener: TcpListener) -> Self {
        let state = State {
            received: Vec::new(),
            next: VecDeque::new(),
            otherwise: Answer::status("200 OK"),
            held: false,
        };
        let receiver = Self {
            address: listener.local_addr().expect("an address"),
            shared: Arc::new((Mutex::new(state), Condvar::new())),
        };
        let serving = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        receiver
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What is answered from now on, after the answers of [`Receiver::answer_next`].
    pub fn answer(&self, answer: Answer) {
        self.state().otherwise = answer;
    }

    /// What is answered once.
    pub fn answer_next(&self, answer: Answer) {
        self.state().next.push_back(answer);
    }

    /// Requests are recorded and not answered until [`Receiver::release`].
    pub fn hold(&self) {
        self.state().held = true;
    }

    pub fn release(&self) {
        self.state().held = false;
        self.shared.1.notify_all();
    }

    pub fn received(&self) -> Vec<Received> {
        self.state().received.clone()
    }

    /// The revisions of all PUTs in their order.
    pub fn revisions(&self) -> Vec<u64> {
        let puts = |request: &&Received| request.line.starts_with("PUT ");
        self.received().iter().filter(puts).map(Received::revision).collect()
    }

    /// Waits until `count` requests have arrived and returns the last of them.
    pub fn wait_for(&self, count: usize) -> Received {
        wait_until(&format!("{count} requests at {}", self.address), SOON, || {
            let received = self.received();
            let seen: Vec<&str> = received.iter().map(|request| request.line.as_str()).collect();
            received.get(count - 1).cloned().ok_or(format!("{seen:?}"))
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).expect("no delay");
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        while let Some(request) = read_request(&mut reader) {
            let answer = {
                let mut state = self.state();
                state.received.push(request);
                while state.held {
                    state = self.shared.1.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.next.pop_front().unwrap_or_else(|| state.otherwise.clone())
            };
            if stream.write_all(b"HTTP/1.1 ").and_then(|()| stream.write_all(&answer.0)).is_err() {
                return;
            }
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let at = Instant::now();
    let headers: Vec<(String, String)> = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().expect("a length"))];
    reader.read_exact(&mut body).ok()?;
    Some(Received { line: lines.first()?.clone(), headers, body, at })
}

/// An observer of [`TRIGGER`] and [`TOPOLOGY`] that notifies these receivers, quick to retry a no.
pub fn observer(etcd: &harness::Etcd, receivers: &[&Receiver]) -> Daemon {
    observer_with(etcd, receivers, DaemonOptions::new())
}

pub fn observer_with(etcd: &harness::Etcd, receivers: &[&Receiver], options: DaemonOptions) -> Daemon {
    let paths = ["/master", "/dns", "/third"];
    let urls: Vec<String> = receivers.iter().zip(paths).map(|(receiver, path)| receiver.url(path)).collect();
    let daemon = Daemon::observer(&etcd.url(), &urls, &options);
    wait_ready(&daemon);
    daemon
}

/// Waits until the source is being watched.
pub fn wait_ready(daemon: &Daemon) {
    wait_until("the observer to be ready", SOON, || {
        let answer = daemon.http().get("/readyz");
        ensure(answer.status == 200, answer.text())
    });
}

/// Waits until `GET /status` shows what `condition` wants, and returns the page.
pub fn wait_status(daemon: &Daemon, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    wait_until(&format!("a status with {what}"), SOON, || {
        let status = daemon.status();
        if condition(&status) { Ok(status) } else { Err(status.to_string()) }
    })
}

pub fn wait_state(daemon: &Daemon, state: &str) -> Value {
    wait_status(daemon, state, |status| status["state"] == state)
}

/// Waits until everybody got the trigger at `revision`.
pub fn wait_delivered(daemon: &Daemon, revision: u64) {
    wait_status(daemon, &format!("revision {revision} delivered"), |status| {
        status["delivered"]["revision"] == revision && status["state"] == "up_to_date"
    });
}

/// A document that names its master.
pub fn document(master: &str) -> String {
    format!(r#"{{"master": {{"address": "{master}"}}, "slaves": []}}"#)
}
