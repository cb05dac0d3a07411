//! How long nobody's write is acknowledged while a master moves: by our dictator, by redis's own
//! FAILOVER, and by the algorithm of the tool this project descends from. One run, the same nodes,
//! the same load.
//!
//! ```text
//! cargo bench --bench write_gap -- [--switches N] [--peer-switches N] [--populate-mb N]
//! ```
//!
//! Numbers of one machine on one day mean little alone; beside each other they do. The peers are
//! slow by design (both wait for an acknowledgement that slaves send once a second), so they are
//! measured over fewer switches. The gap is seen by the clients: from the last acknowledgement of
//! the old master to the first of the new one, with eight writers that know the nodes, keep their
//! connections, and try the next node 1 ms after an error. Exit code 1 if our switch lost or
//! invented a write.

#![allow(clippy::print_stdout, reason = "a table is what this program makes")]
#![allow(clippy::disallowed_methods, reason = "it waits between switches")]

use std::process::ExitCode;
use std::time::Duration;

use harness::load::{Ledger, Switch, Tally, percentile};
use harness::redis::{masters, wait_equal_data, wait_links_up};
use harness::whole::document;
use harness::{Daemon, DaemonOptions, Load, LoadOptions, Redis, RedisOptions, wait_until};

/// Writes go on undisturbed for this long between two switches.
const BETWEEN_SWITCHES: Duration = Duration::from_millis(150);
/// Longest time one switch may take before the run is given up.
const SWITCH_DEADLINE: Duration = Duration::from_secs(30);
/// How often the original looks at the offsets (its README: every tenth of a second).
const ORIGINAL_POLL: Duration = Duration::from_millis(100);
/// What the original sets `min-slaves-to-write` to, so that the master refuses writes.
const ORIGINAL_DENY: &str = "1000000";
/// Gaps above this are told one by one.
const LONG_GAP: Duration = Duration::from_millis(50);
/// Bytes of each value that DEBUG POPULATE makes.
const POPULATE_VALUE_BYTES: u64 = 1_000;

struct Settings {
    switches: usize,
    peer_switches: usize,
    populate_mb: u64,
}

fn main() -> ExitCode {
    let settings = Settings::read();
    let nodes = Redis::start_many(3, &RedisOptions::default());
    populate(&nodes[0], settings.populate_mb);
    let dictator = Daemon::dictator(&DaemonOptions::new().flag("--apply-timeout", "300s"));
    let first = dictator.http().put("/master?wait=links", &document(&nodes, 0));
    first.expect(200);

    heading(&settings);
    let ours = measure("redis-dictator", &nodes, settings.switches, |_, to| {
        dictator.put_master(&document(&nodes, to)).expect(200);
    });
    // The peers move the master behind the dictator's back; it must not put it back meanwhile.
    drop(dictator);
    let failover = measure("redis FAILOVER", &nodes, settings.peer_switches, |from, to| {
        by_failover(&nodes, from, to);
    });
    measure("the original", &nodes, settings.peer_switches, |from, to| by_original(&nodes, from, to));

    let times = median(&failover).as_secs_f64() / median(&ours).as_secs_f64();
    println!("\nThe median gap of FAILOVER is {times:.0} times as long as ours.");
    for (number, switch) in ours.switches.iter().enumerate().filter(|(_, switch)| switch.gap > LONG_GAP) {
        let at = switch.at.as_secs_f64();
        println!("Our switch {number}, {at:.3} s after the start, had a gap of {:?}.", switch.gap);
    }
    if ours.tally.is_clean() && ours.switches.iter().all(|switch| switch.overlaps == 0) {
        ExitCode::SUCCESS
    } else {
        println!("Our switch lost or invented writes: {:?}", ours.tally);
        ExitCode::FAILURE
    }
}

struct Measured {
    switches: Vec<Switch>,
    tally: Tally,
}

fn median(measured: &Measured) -> Duration {
    percentile(&gaps(measured), 0.5)
}

fn gaps(measured: &Measured) -> Vec<Duration> {
    measured.switches.iter().map(|switch| switch.gap).collect()
}

/// Moves the master around the nodes `count` times under load and prints a row of the table.
fn measure(name: &str, nodes: &[Redis], count: usize, mut change: impl FnMut(usize, usize)) -> Measured {
    let all: Vec<&Redis> = nodes.iter().collect();
    let mut current = index_of_master(nodes);
    let resyncs = full_resyncs(nodes);
    let load = Load::start(LoadOptions::on(&all));
    load.wait_acknowledged(1_000);
    for _ in 0..count {
        let next = (current + 1) % nodes.len();
        change(current, next);
        current = next;
        std::thread::sleep(BETWEEN_SWITCHES);
    }
    let ledger = load.stop();
    let master = &nodes[current];
    let others: Vec<&Redis> = all.iter().copied().filter(|node| node.address() != master.address()).collect();
    wait_links_up(master, &others);
    wait_equal_data(&all);
    let measured = Measured { switches: ledger.switches(), tally: ledger.verify(master.address()) };
    row(name, count, &ledger, &measured, full_resyncs(nodes) - resyncs);
    measured
}

fn heading(settings: &Settings) {
    println!("Three redis nodes with AOF, {} MB of data, 8 writers; gaps in ms.\n", settings.populate_mb);
    println!(
        "| | switches | median | p95 | p99 | longest | rejected per switch | by the old master, most per \
         connection | acked/s | missing | phantom | full resyncs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
}

fn row(name: &str, count: usize, ledger: &Ledger, measured: &Measured, resyncs: u64) {
    let gaps = gaps(measured);
    let ms = |share| format!("{:.1}", percentile(&gaps, share).as_secs_f64() * 1_000.0);
    let rejected: usize = ledger.rejected().values().sum();
    let by_old =
        measured.switches.iter().map(|switch| switch.rejections_by_old_max).max().unwrap_or_default();
    println!(
        "| {name} | {} of {count} | {} | {} | {} | {} | {:.1} | {by_old} | {:.0} | {} | {} | {resyncs} |",
        measured.switches.len(),
        ms(0.5),
        ms(0.95),
        ms(0.99),
        ms(1.0),
        rejected as f64 / count as f64,
        ledger.acknowledged_per_second(),
        measured.tally.missing.len(),
        measured.tally.phantom.len(),
    );
}

/// Redis's own coordinated failover; the third node has to be attached by hand afterwards.
fn by_failover(nodes: &[Redis], from: usize, to: usize) {
    let (old, new) = (&nodes[from], &nodes[to]);
    let address = new.address();
    let reply = old.command(&format!("FAILOVER TO {} {} TIMEOUT 10000", address.ip(), address.port()));
    assert!(!reply.is_error(), "FAILOVER: {reply}");
    wait_until("FAILOVER to end", SWITCH_DEADLINE, || match (new.role().as_str(), old.role().as_str()) {
        ("master", "slave") => Ok(()),
        roles => Err(format!("{roles:?}")),
    });
    for (index, node) in nodes.iter().enumerate() {
        if index != from && index != to {
            node.command(&format!("REPLICAOF {} {}", address.ip(), address.port()));
        }
    }
    wait_links_up_only(nodes, to);
}

/// The original: deny writes by min-slaves-to-write, wait until every slave has acknowledged the
/// master's offset, promote, attach, allow writes again.
fn by_original(nodes: &[Redis], from: usize, to: usize) {
    let (old, new) = (&nodes[from], &nodes[to]);
    let address = new.address();
    old.command(&format!("CONFIG SET min-slaves-to-write {ORIGINAL_DENY}"));
    wait_until("all slaves to acknowledge the offset", SWITCH_DEADLINE, || {
        let info = old.info();
        let offset = format!("offset={},", info["master_repl_offset"]);
        let lagging = ["slave0", "slave1"].iter().any(|slave| !info[*slave].contains(&offset));
        if lagging {
            std::thread::sleep(ORIGINAL_POLL);
            return Err(offset);
        }
        Ok(())
    });
    new.command("SLAVEOF NO ONE");
    for (index, node) in nodes.iter().enumerate() {
        if index != to {
            node.command(&format!("SLAVEOF {} {}", address.ip(), address.port()));
        }
    }
    wait_links_up_only(nodes, to);
    old.command("CONFIG SET min-slaves-to-write 0");
}

/// Waits for the links only: under load nobody has caught up for longer than a moment.
fn wait_links_up_only(nodes: &[Redis], master: usize) {
    for (_, node) in nodes.iter().enumerate().filter(|(index, _)| *index != master) {
        wait_until("the links to come up", SWITCH_DEADLINE, || {
            let status = node.info_field("master_link_status");
            if status == "up" { Ok(()) } else { Err(status) }
        });
    }
}

/// Fills a node that has no slaves yet: DEBUG POPULATE is not replicated.
fn populate(node: &Redis, megabytes: u64) {
    if megabytes == 0 {
        return;
    }
    let keys = (megabytes * 1_000_000 / POPULATE_VALUE_BYTES).to_string();
    let mut connection = node.connect();
    connection.set_reply_deadline(SWITCH_DEADLINE).expect("a deadline can be set");
    let command = ["DEBUG", "POPULATE", &keys, "filler", &POPULATE_VALUE_BYTES.to_string()];
    let reply = connection.command(&command).expect("a reply");
    assert!(!reply.is_error(), "DEBUG POPULATE: {reply}");
}

fn index_of_master(nodes: &[Redis]) -> usize {
    let all: Vec<&Redis> = nodes.iter().collect();
    let masters = masters(&all);
    assert_eq!(masters.len(), 1, "exactly one master");
    nodes.iter().position(|node| node.address() == masters[0].address()).expect("one of the nodes")
}

fn full_resyncs(nodes: &[Redis]) -> u64 {
    nodes.iter().map(Redis::full_resyncs).sum()
}

impl Settings {
    fn read() -> Self {
        let arguments: Vec<String> = std::env::args().collect();
        let value = |flag: &str, default: u64| {
            let at = arguments.iter().position(|argument| argument == flag);
            let given = |at: usize| arguments.get(at + 1).and_then(|text| text.parse().ok());
            at.map_or(default, |at| given(at).unwrap_or_else(|| panic!("{flag} needs a number")))
        };
        Self {
            switches: value("--switches", 300) as usize,
            peer_switches: value("--peer-switches", 20) as usize,
            populate_mb: value("--populate-mb", 0),
        }
    }
}
