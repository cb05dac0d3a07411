//! What it costs to be asked who one is.

use std::process::Command;
use std::time::{Duration, Instant};

use harness::binaries::binary;
use harness::certificates::Authority;
use harness::http::Http;
use harness::whole::document;
use harness::{Daemon, DaemonOptions, Redis, RedisOptions};
use serde_json::Value;
use tempfile::TempDir;

use super::row;

/// Tokens in the file beside the one that is shown; that one is the last.
const OTHER_TOKENS: usize = 99;

/// One way to prove who one is, with a cluster for it.
struct Caller {
    what: &'static str,
    nodes: Vec<Redis>,
    /// Kept running.
    _dictator: Daemon,
    http: Http,
    bearer: Option<String>,
    puts: Vec<Duration>,
    gaps: Vec<Duration>,
}

impl Caller {
    fn new(what: &'static str, options: &DaemonOptions, bearer: Option<String>) -> Self {
        let nodes = Redis::start_many(3, &RedisOptions::default());
        let dictator = Daemon::dictator(options);
        let http = dictator.http();
        let (puts, gaps) = (Vec::new(), Vec::new());
        Self { what, nodes, _dictator: dictator, http, bearer, puts, gaps }
    }

    fn put(&self, path: &str, document: &Value) -> Value {
        let bearer = self.bearer.as_deref().map(|bearer| ("authorization", bearer));
        let headers: Vec<_> = bearer.into_iter().collect();
        self.http.put_with(path, &headers, document).expect(200).json()
    }

    /// Puts the document in force that is in force.
    fn put_again(&mut self) {
        let document = document(&self.nodes, 0);
        let start = Instant::now();
        let receipt = self.put("/master", &document);
        self.puts.push(start.elapsed());
        assert_eq!(receipt["outcome"], "unchanged", "{receipt}");
    }

    /// Moves the master and notes the gap.
    fn switch(&mut self, number: usize) {
        let receipt = self.put("/master?wait=links", &document(&self.nodes, number % 2));
        assert_eq!(receipt["outcome"], "switched", "{receipt}");
        let gap_us = receipt["write_gap_us"].as_u64().expect("a gap");
        self.gaps.push(Duration::from_micros(gap_us));
    }
}

/// Measures all callers in turn: PUTs first, then switches.
pub(super) fn measure(puts: usize, switches: usize) -> Vec<Vec<String>> {
    eprintln!("starting a cluster for each kind of caller …");
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a temporary folder"));
    let mut callers = callers(&authority, &folder);
    for caller in &callers {
        caller.put("/master?wait=links", &document(&caller.nodes, 0));
    }
    eprintln!("{puts} PUTs of each …");
    for _ in 0..puts {
        callers.iter_mut().for_each(Caller::put_again);
    }
    eprintln!("{switches} switches of each …");
    for number in 1..=switches {
        callers.iter_mut().for_each(|caller| caller.switch(number));
    }
    let of_puts = callers.iter().map(|caller| row(&format!("PUT, {}", caller.what), &caller.puts));
    let of_gaps = callers.iter().map(|caller| row(&format!("write gap, {}", caller.what), &caller.gaps));
    of_puts.chain(of_gaps).collect()
}

fn callers(authority: &Authority, folder: &TempDir) -> [Caller; 4] {
    let server = authority.issue("dictator", "dictator", &["127.0.0.1"]);
    let client = authority.issue("client", "client.example", &["client.example"]);
    let (token, line) = issue();
    let mut lines: Vec<String> = (0..OTHER_TOKENS).map(|_| issue().1).collect();
    lines.push(line);
    lines.push("client operator certificate:client.example".to_owned());
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, lines.join("\n") + "\n").expect("a written file");
    // Nothing of enforcement shall fall into what is measured.
    let open = DaemonOptions::new().flag("--enforce-interval", "0");
    let asking = open.clone().flag("--tokens-file", tokens.to_str().expect("UTF-8"));
    let private = asking.clone().private(authority, &server);
    let mutual = private.clone().flag("--tls-client-ca", &authority.path());
    let bearer = Some(format!("Bearer {token}"));
    let mut by_certificate = Caller::new("a client certificate", &mutual, None);
    by_certificate.http = Http::private(by_certificate.http.address(), authority.trust_as(&client));
    [
        Caller::new("nobody is asked", &open, None),
        Caller::new("a token", &asking, bearer.clone()),
        Caller::new("a token, by TLS", &private, bearer),
        by_certificate,
    ]
}

/// A token with its line, as an operator makes them.
fn issue() -> (String, String) {
    let made = Command::new(binary("dictatorctl"))
        .args(["token", "new", "--name", "bench", "--role", "operator", "-o", "json"])
        .output()
        .expect("dictatorctl runs");
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    (text("token"), text("line"))
}
