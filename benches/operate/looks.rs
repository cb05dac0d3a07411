//! Looks at a large cluster, which change nothing.

use std::process::Command;
use std::time::{Duration, Instant};

use harness::binaries::binary;
use harness::whole::document;
use harness::{Daemon, Redis, RedisOptions, Whole, WholeOptions};

use super::row;

/// The longest a cluster of many may take until it is whole, first syncs included.
const ESTABLISHED_DEADLINE: &str = "120s";

/// Starts the whole loop around many nodes and looks at it in every way.
pub(super) fn measure(slaves: usize, looks: usize) -> Vec<Vec<String>> {
    eprintln!("starting a master with {slaves} slaves …");
    let nodes = slaves + 1;
    let mut options = WholeOptions { nodes, redis: RedisOptions::default(), ..WholeOptions::default() };
    options.dictator = options.dictator.flag("--apply-timeout", ESTABLISHED_DEADLINE);
    let whole = Whole::start(&options);
    whole.move_to(0);
    whole.dictator.http().put("/master?wait=links", &document(&whole.nodes, 0)).expect(200);
    eprintln!("looking at it {looks} times …");
    let mut rows = vec![
        row(&format!("`dictatorctl status`, {nodes} nodes"), &times(looks, || status(&whole))),
        row(&format!("`GET /status`, {nodes} nodes"), &times(looks, || get(&whole.dictator, "/status"))),
    ];
    for (name, daemon) in
        [("dictator", &whole.dictator), ("dnsd", &whole.dnsd), ("observer", &whole.observer)]
    {
        let text = daemon.http().get("/metrics").expect(200).text();
        let what = format!("`GET /metrics` of the {name}, {} lines", text.lines().count());
        rows.push(row(&what, &times(looks, || get(daemon, "/metrics"))));
    }
    rows
}

fn times(count: usize, mut look: impl FnMut()) -> Vec<Duration> {
    (0..count)
        .map(|_| {
            let start = Instant::now();
            look();
            start.elapsed()
        })
        .collect()
}

/// What an operator types. Every node has a line, and none is missed.
fn status(whole: &Whole) {
    let mut command = Command::new(binary("dictatorctl"));
    let ran =
        command.args(["status", "--endpoint", &whole.dictator.url("")]).output().expect("dictatorctl runs");
    let table = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{table}{}", String::from_utf8_lossy(&ran.stderr));
    let named = |node: &Redis| table.contains(&node.address().port().to_string());
    assert!(whole.nodes.iter().all(named), "{table}");
}

fn get(daemon: &Daemon, path: &str) {
    daemon.http().get(path).expect(200);
}
