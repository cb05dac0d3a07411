//! Clocks that jump by an hour, forwards and backwards, under every daemon. Deadlines, leases and retries
//! are measured by a clock that does not jump; serials of DNS only grow; a master moves as ever.
//!
//! The daemons run with libfaketime, which reads the offset from a file, so that the clock of a running
//! process can be set. The monotonic clock is left alone, as a real step of the clock leaves it.

#![allow(clippy::disallowed_methods, reason = "the offset is no state of ours, it need not be durable")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::dns::{Data, RecordType};
use harness::wait::ensure;
use harness::{DaemonOptions, Load, LoadOptions, Whole, WholeOptions, wait_until};

/// Where distributions put the library; `.ci/tools.sh` installs it.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];
/// Deadline of everything that is waited for.
const SOON: Duration = Duration::from_secs(30);

/// The clock of those who look at it.
struct Clock {
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Clock {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Self { file: folder.path().join("offset"), _folder: folder };
        clock.set("+0");
        clock
    }

    /// Sets it ahead or back, as faketime(1) writes it: `+3600`.
    fn set(&self, offset: &str) {
        // In one step: a file that is empty for a moment would be another time.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{offset}\n")).expect("the offset can be written");
        std::fs::rename(&new, &self.file).expect("the offset can be put in place");
    }

    fn options(&self, library: &Path) -> DaemonOptions {
        DaemonOptions::new()
            .variable("LD_PRELOAD", &library.display().to_string())
            .variable("FAKETIME_TIMESTAMP_FILE", &self.file.display().to_string())
            .variable("FAKETIME_NO_CACHE", "1")
            .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .variable("DONT_FAKE_MONOTONIC", "1")
    }
}

fn library() -> PathBuf {
    let found = LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("libfaketime is installed (Debian: apt-get install faketime)")
}

fn serial(whole: &Whole) -> u32 {
    let answer = harness::dns::query(whole.dnsd.dns_address(), harness::daemon::DOMAIN, RecordType::Soa);
    match answer.expect("an answer").data().as_slice() {
        [Data::Soa { serial, .. }] => *serial,
        other => panic!("no SOA: {other:?}"),
    }
}

/// Seconds since 1970 as the dictator sees them: when it last kept the topology.
fn dictators_time(whole: &Whole) -> f64 {
    wait_until("the dictator to have kept the topology once", SOON, || {
        let metrics = whole.dictator.http().get("/metrics").text();
        let line = metrics.lines().find(|line| line.starts_with("dictator_last_success_timestamp_seconds"));
        let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|text| text.parse().ok());
        // Zero until then: the first change may still be verifying its links.
        value.filter(|seconds| *seconds > 0.0).ok_or(metrics)
    })
}

#[test]
fn clocks_jump_by_an_hour_and_the_master_moves_as_ever() {
    let (clock, library) = (Clock::new(), library());
    let whole = Whole::start(&WholeOptions {
        dictator: clock.options(&library).flag("--enforce-interval", "200ms"),
        dnsd: clock.options(&library),
        observer: clock.options(&library),
        ..WholeOptions::default()
    });
    whole.move_to(0);
    let nodes: Vec<_> = whole.nodes.iter().collect();
    let load = Load::start(LoadOptions { interval: Duration::from_millis(5), ..LoadOptions::on(&nodes) });
    let mut last_serial = serial(&whole);
    for (turn, (offset, apart_s)) in
        [("+3600", 3600.0), ("-3600", -7200.0), ("+0", 3600.0)].into_iter().enumerate()
    {
        load.wait_acknowledged(50);
        let before = dictators_time(&whole);
        clock.set(offset);
        wait_until("the clock to jump under the dictator", SOON, || {
            let apart = dictators_time(&whole) - before;
            ensure((apart - apart_s).abs() < 60.0, format!("it is {apart} s apart"))
        });
        let master = (turn + 1) % nodes.len();
        whole.move_to(master);
        let now = serial(&whole);
        assert!(now > last_serial, "{offset}: the serial goes from {last_serial} to {now}");
        last_serial = now;
        load.wait_acknowledged(50);
    }
    let ledger = load.stop();
    let tally = ledger.verify(nodes[3 % nodes.len()].address());
    assert!(tally.is_clean() && tally.acknowledged > 0, "{tally}");
}
