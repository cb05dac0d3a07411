//! The clients of the cookbook (docs/clients.md) through ten switches under load, with dnsd in the place of
//! their Sentinel: each finds the master again by itself, and nothing it was promised is lost.
//!
//! The libraries are the real ones, as `.ci/clients` fetches them; what is not there is said to be skipped.
//! Each client is a small program in `tests/cookbook/` that pushes numbers onto a list and says after each
//! whether it was acknowledged. The list of the final master is the judge.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the rows of the table in docs/clients.md, and what is skipped"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::binaries::workspace;
use harness::load::percentile;
use harness::ports::free_address;
use harness::wait::ensure;
use harness::{DaemonOptions, Redis, Whole, WholeOptions, wait_until};

/// Switches under load.
const SWITCHES: usize = 10;
/// Acknowledged writes between two of them.
const WRITES_BETWEEN: usize = 40;
/// How long a client may take to find the master, first or again.
const FOUND_DEADLINE: Duration = Duration::from_secs(20);
/// The list that is pushed to.
const KEY: &str = "cookbook";

/// A client program that is running; killed when dropped.
struct Client {
    child: Child,
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
    reader: Option<JoinHandle<()>>,
}

impl Client {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .env("NODE_PATH", workspace().join("target/clients/node/node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                told.lock().expect("no panic").push((Instant::now(), line));
            }
        });
        Self { child, lines, reader: Some(reader) }
    }

    fn acknowledged(&self) -> usize {
        self.lines.lock().expect("no panic").iter().filter(|(_, line)| line.starts_with("ack ")).count()
    }

    fn wait_acknowledged(&self, more: usize) {
        let wanted = self.acknowledged() + more;
        wait_until("the client to go on writing", FOUND_DEADLINE, || {
            let lines = self.lines.lock().expect("no panic");
            let acknowledged = lines.iter().filter(|(_, line)| line.starts_with("ack ")).count();
            ensure(acknowledged >= wanted, format!("{acknowledged} of {wanted}, last {:?}", lines.last()))
        });
    }

    /// Lets it finish the write it is at, and returns all it said and when.
    fn stop(mut self) -> Vec<(Instant, String)> {
        drop(self.child.stdin.take());
        wait_until("the client to end", FOUND_DEADLINE, || {
            ensure(self.child.try_wait().is_ok_and(|ended| ended.is_some()), "it runs".to_owned())
        });
        if let Some(reader) = self.reader.take() {
            reader.join().expect("all was read");
        }
        std::mem::take(&mut *self.lines.lock().expect("no panic"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How often each number stands in the list.
fn pushed(master: &Redis) -> BTreeMap<String, usize> {
    let list = master.connect().command(&["LRANGE", KEY, "0", "-1"]).expect("the list");
    let mut counts = BTreeMap::new();
    for number in list.elements() {
        *counts.entry(number.text()).or_insert(0) += 1;
    }
    counts
}

fn judge(title: &str, program: &Path, script: &str, library: &str) {
    let address = free_address();
    let dnsd = DaemonOptions::new().flag("--sentinel-listen", &address.to_string());
    let whole = Whole::start(&WholeOptions { dnsd, ..WholeOptions::default() });
    whole.move_to(0);
    let script = workspace().join("tests/cookbook").join(script);
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let arguments = [script.to_str().expect("UTF-8"), library, &host, &port, "mymaster", KEY];
    let client = Client::start(program, &arguments);
    client.wait_acknowledged(WRITES_BETWEEN);
    let mut begins = Vec::new();
    for round in 1..=SWITCHES {
        begins.push(Instant::now());
        whole.move_to(round % whole.nodes.len());
        client.wait_acknowledged(WRITES_BETWEEN);
    }
    let lines = client.stop();
    let gaps = gaps(&lines, &begins);
    let list = pushed(&whole.nodes[SWITCHES % whole.nodes.len()]);
    let (mut acknowledged, mut failed, mut missing) = (0, 0, Vec::new());
    for (_, line) in &lines {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["ack", number] => {
                acknowledged += 1;
                if list.get(number) != Some(&1) {
                    missing.push(format!("{number}: {:?}", list.get(number)));
                }
            }
            ["err", ..] => failed += 1,
            _ => panic!("{title} said {line:?}"),
        }
    }
    assert!(missing.is_empty(), "{title}: acknowledged, but not once in the list: {missing:?}");
    assert!(acknowledged >= SWITCHES * WRITES_BETWEEN, "{title}: {acknowledged}");
    let gap = |share: f64| percentile(&gaps, share).as_millis();
    println!("| {title} | {acknowledged} | {failed} | 0 | {} ms | {} ms |", gap(0.5), gap(1.0));
}

/// For each switch, the longest time between two acknowledged writes from its begin to the next.
fn gaps(lines: &[(Instant, String)], begins: &[Instant]) -> Vec<Duration> {
    let acknowledged: Vec<Instant> =
        lines.iter().filter(|(_, line)| line.starts_with("ack ")).map(|(at, _)| *at).collect();
    let ends = begins.iter().skip(1).copied().chain(acknowledged.last().copied());
    begins
        .iter()
        .zip(ends)
        .filter_map(|(begin, end)| {
            let pairs = acknowledged.windows(2).filter(|pair| pair[1] > *begin && pair[1] <= end);
            pairs.map(|pair| pair[1] - pair[0]).max()
        })
        .collect()
}

fn python(library: &str) {
    let program = workspace().join("target/clients/python/bin/python");
    let version = format!("import {library}; print({library}.__version__)");
    let Some(version) = output(&program, &["-c", &version]) else {
        eprintln!("skipped: {library}-py is not there; .ci/clients fetches it");
        return;
    };
    judge(&format!("{library}-py {version}"), &program, "redis_py.py", library);
}

fn node(title: &str, script: &str, library: &str) {
    let package = workspace().join("target/clients/node/node_modules").join(library).join("package.json");
    let version = format!("require({:?}).version", package.display().to_string());
    let Some(version) = output(&PathBuf::from("node"), &["-p", &version]) else {
        eprintln!("skipped: {library} for node is not there; .ci/clients fetches it");
        return;
    };
    judge(&format!("{title} {version}"), &PathBuf::from("node"), script, library);
}

/// A language that was unpacked together with its client.
fn unpacked(title: &str, language: &str, version: &[&str], script: &str) {
    let program = workspace().join("target/clients").join(language).join(language);
    let Some(version) = output(&program, version) else {
        eprintln!("skipped: {title} is not there; .ci/clients fetches it");
        return;
    };
    judge(&format!("{title} {version}"), &program, script, "redis");
}

/// A program of ours around a library that is compiled in.
fn rust() {
    let program = workspace().join("target/clients/redis-rs/debug/redis-rs-client");
    let Some(version) = output(&program, &[]) else {
        eprintln!("skipped: redis-rs is not there; .ci/clients builds it");
        return;
    };
    judge(&format!("redis-rs {version}"), &program, "redis_rs", "redis");
}

/// What a program prints, if it is there and content.
fn output(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn redis_rs() {
    rust();
}

#[test]
fn predis() {
    let version =
        "require 'Predis/Autoloader.php'; Predis\\Autoloader::register(); echo Predis\\Client::VERSION;";
    unpacked("Predis", "predis", &["-d", "error_reporting=0", "-r", version], "predis.php");
}

#[test]
fn redis_py() {
    python("redis");
}

#[test]
fn valkey_py() {
    python("valkey");
}

#[test]
fn ioredis() {
    node("ioredis", "ioredis.js", "ioredis");
}

#[test]
fn iovalkey() {
    node("iovalkey", "ioredis.js", "iovalkey");
}

#[test]
fn node_redis() {
    node("node-redis", "node_redis.js", "redis");
}

#[test]
fn redis_rb() {
    unpacked("redis-rb", "ruby", &["-e", "require 'redis'; puts Redis::VERSION"], "redis_rb.rb");
}

#[test]
fn phpredis() {
    unpacked("phpredis", "php", &["-r", "echo phpversion('redis');"], "phpredis.php");
}
