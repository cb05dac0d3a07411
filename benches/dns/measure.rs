//! The cases, and the table of what they showed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::Http;

use crate::client::{self, Client, Seen};
use crate::servers::{Kind, Server, pin};
use crate::settings::{Case, Settings};
use crate::{table, zone};

/// The server's core and the client's.
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// Ports of the client where there are many; every batch of the server then has answers for as many clients.
const PORTS: usize = 64;
/// Part of its capacity at which a server must not lose anything.
const PACED_PART: f64 = 0.8;
/// Publications per second while that is measured.
const SWAPS_PER_SECOND: u32 = 100;
/// Longest rest of a server before it is measured.
const SETTLE: Duration = Duration::from_millis(200);

/// One measurement of one server.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    us_per_query: f64,
    per_second: f64,
    lost_percent: f64,
    bytes: f64,
    sent: u64,
    answered: u64,
}

/// Measures every case and prints its table.
pub(crate) fn run(settings: &Settings) {
    pin(0, CLIENT_CORE);
    let kinds: Vec<Kind> = settings.servers.iter().copied().filter(|kind| kind.is_installed()).collect();
    for &case in &settings.cases {
        if case == Case::Swap {
            swap(settings, &kinds);
        } else {
            compare(settings, case, &kinds);
        }
    }
}

fn compare(settings: &Settings, case: Case, kinds: &[Kind]) {
    let (slaves, queries) = match case {
        Case::Mix | Case::MixPorts | Case::Swap => (2, zone::mix()),
        Case::Slaves20 => (20, zone::slaves()),
        Case::Slaves50 | Case::Slaves50Ports | Case::Tcp50 => (50, zone::slaves()),
    };
    let ports = if matches!(case, Case::MixPorts | Case::Slaves50Ports) { PORTS } else { 1 };
    let mut servers = start(kinds, slaves);
    let mut rows = vec![Vec::new(); servers.len()];
    for round in 1..=settings.runs {
        eprintln!("{}: round {round} of {}", case.flag(), settings.runs);
        for (server, rows) in servers.iter_mut().zip(&mut rows) {
            rows.push(measure(server, |address| match case {
                Case::Tcp50 => client::tcp(address, &queries[0], settings.length).expect("answers over TCP"),
                _ => Client::new(address, &queries, ports).closed_loop(settings.length),
            }));
        }
    }
    let medians: Vec<Row> = rows.iter().map(|rows| median(rows)).collect();
    let own = servers.iter().position(|server| server.kind == Kind::Dnsd).map(|index| medians[index]);
    let cells = servers.iter().zip(&medians).map(|(server, row)| {
        let ratio = own.map_or_else(String::new, |own| format!("{:.2}", own.us_per_query / row.us_per_query));
        let mut cells = vec![server.kind.name().to_owned()];
        cells.extend([format!("{:.2}", row.us_per_query), ratio, format!("{:.0}", row.per_second)]);
        cells.extend([format!("{:.2}", row.lost_percent), format!("{:.0}", row.bytes)]);
        cells
    });
    println!("\n{}\n", title(case));
    let heads = ["server", "µs per query", "dnsd / it", "answers per second", "lost %", "bytes per answer"];
    table::print(settings.markdown, &heads, &cells.collect::<Vec<_>>());
}

fn title(case: Case) -> &'static str {
    match case {
        Case::Mix => "UDP: SRV of the master, SRV of two slaves, an address, a name that does not exist",
        Case::MixPorts => {
            "UDP from 64 ports: SRV of the master, of two slaves, an address, a name that does not exist"
        }
        Case::Slaves20 => "UDP: SRV of 20 slaves, which fits into 1232 bytes",
        Case::Slaves50 => "UDP: SRV of 50 slaves, which does not fit",
        Case::Slaves50Ports => "UDP from 64 ports: SRV of 50 slaves, which does not fit",
        Case::Tcp50 => "TCP: SRV of 50 slaves, 8 connections",
        Case::Swap => "UDP at four fifths of what it can do",
    }
}

/// Starts all servers with one zone: ours makes it, the others read it.
fn start(kinds: &[Kind], slaves: u32) -> Vec<Server> {
    let own = Server::dnsd();
    own.daemon().put_dns(&zone::document(slaves, 0)).expect(200);
    let text =
        own.daemon().http().request("GET", "/dns", &[("Accept", "text/plain")], b"").expect(200).text();
    let mut own = Some(own);
    let start = |kind: &Kind| match kind {
        Kind::Dnsd => own.take().expect("one dnsd"),
        other => Server::other(*other, &text),
    };
    let mut servers: Vec<Server> = kinds.iter().map(start).collect();
    for server in &mut servers {
        server.pin(SERVER_CORE);
    }
    thread::sleep(SETTLE);
    servers
}

fn measure(server: &mut Server, ask: impl FnOnce(std::net::SocketAddr) -> Seen) -> Row {
    let before = server.used_ns();
    let seen = ask(server.address);
    let used_ns = server.used_ns() - before;
    let (answered, sent) = (seen.answered.max(1) as f64, seen.sent.max(1) as f64);
    Row {
        us_per_query: used_ns as f64 / 1_000.0 / answered,
        per_second: seen.answered as f64 / seen.seconds,
        lost_percent: (1.0 - seen.answered as f64 / sent).max(0.0) * 100.0,
        bytes: seen.bytes as f64 / answered,
        sent: seen.sent,
        answered: seen.answered,
    }
}

fn median(rows: &[Row]) -> Row {
    let of = |field: fn(&Row) -> f64| {
        let mut values: Vec<f64> = rows.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Row {
        us_per_query: of(|row| row.us_per_query),
        per_second: of(|row| row.per_second),
        // What was ever lost is lost.
        lost_percent: rows.iter().map(|row| row.lost_percent).fold(0.0, f64::max),
        bytes: of(|row| row.bytes),
        sent: rows.iter().map(|row| row.sent).sum(),
        answered: rows.iter().map(|row| row.answered).sum(),
    }
}

/// What a server did at a pace below its capacity, in all rounds together.
#[derive(Clone, Default)]
struct Paced {
    rows: Vec<Row>,
    sent: u64,
    answered: u64,
    seconds: f64,
    publications: f64,
}

impl Paced {
    fn add(&mut self, row: Row, publications: f64) {
        self.rows.push(row);
        self.sent += row.sent;
        self.answered += row.answered;
        self.seconds += row.answered as f64 / row.per_second.max(1.0);
        self.publications += publications;
    }

    fn us_per_query(&self) -> f64 {
        median(&self.rows).us_per_query
    }
}

/// Losses at four fifths of capacity: every server at rest, and ours while its publication changes.
fn swap(settings: &Settings, kinds: &[Kind]) {
    let mut servers = start(kinds, 2);
    let (length, runs) = (settings.length, settings.runs);
    let full = |address| Client::new(address, &zone::mix(), 1).closed_loop(length);
    let mut paces = Vec::new();
    for server in &mut servers {
        eprintln!("swap: what {} can do", server.kind.name());
        let rows: Vec<Row> = (0..runs).map(|_| measure(server, full)).collect();
        paces.push(median(&rows).per_second * PACED_PART);
    }
    let mut at_rest = vec![Paced::default(); servers.len()];
    let mut changing = Paced::default();
    for round in 1..=runs {
        eprintln!("swap: round {round} of {runs}");
        for ((server, at_rest), &pace) in servers.iter_mut().zip(&mut at_rest).zip(&paces) {
            let paced = |address| Client::new(address, &zone::mix(), 1).open_loop(length, pace);
            at_rest.add(measure(server, paced), 0.0);
            if server.kind == Kind::Dnsd {
                let http = server.daemon().http();
                publishing(http, |count| {
                    let before = count();
                    let row = measure(server, paced);
                    changing.add(row, (count() - before) as f64);
                });
            }
        }
    }
    let mut cells = Vec::new();
    for ((server, at_rest), pace) in servers.iter().zip(&at_rest).zip(&paces) {
        cells.push(paced_cells(server.kind.name(), *pace, at_rest));
        if server.kind == Kind::Dnsd {
            cells.push(paced_cells("dnsd, changing", *pace, &changing));
        }
    }
    println!("\n{}\n", title(Case::Swap));
    let heads = [
        "server",
        "asked per second",
        "answered per second",
        "sent",
        "lost",
        "lost %",
        "µs per query",
        "publications per second",
    ];
    table::print(settings.markdown, &heads, &cells);
}

fn paced_cells(name: &str, pace: f64, seen: &Paced) -> Vec<String> {
    let lost = seen.sent - seen.answered;
    vec![
        name.to_owned(),
        format!("{pace:.0}"),
        format!("{:.0}", seen.answered as f64 / seen.seconds),
        seen.sent.to_string(),
        lost.to_string(),
        format!("{:.4}", 100.0 * lost as f64 / seen.sent.max(1) as f64),
        format!("{:.2}", seen.us_per_query()),
        format!("{:.0}", seen.publications / seen.seconds),
    ]
}

/// Publishes two documents in turn while `work` runs, which may ask how many were put in force.
fn publishing(http: Http, work: impl FnOnce(&dyn Fn() -> u64)) {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            for turn in 1.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                http.put("/dns", &zone::document(2, turn)).expect(200);
                count.fetch_add(1, Ordering::Relaxed);
                let due = start + Duration::from_secs(1) / SWAPS_PER_SECOND * turn;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        work(&|| count.load(Ordering::Relaxed));
        stop.store(true, Ordering::Relaxed);
    });
}
