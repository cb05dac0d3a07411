//! The end of a certificate is in the metrics of every daemon that has one, and in those of no other.

use harness::certificates::Authority;
use harness::{Daemon, DaemonOptions, Etcd};

/// When the certificates of tests end, in seconds since 1970: with the year 2048.
const END_UNIX_S: u64 = 2_493_072_000;

fn end_unix_s(daemon: &Daemon, name: &str) -> Option<u64> {
    let text = daemon.http().get("/metrics").expect(200).text();
    let start = format!("{name}_certificate_expiry_timestamp_seconds ");
    text.lines().find_map(|line| line.strip_prefix(start.as_str())?.parse().ok())
}

#[test]
fn every_daemon_tells_when_its_certificate_ends() {
    let authority = Authority::new();
    let pair = authority.issue("all", "all", &["127.0.0.1"]);
    let options = DaemonOptions::new().private(&authority, &pair);
    let etcd = Etcd::start();
    for (name, daemon) in [
        ("dictator", Daemon::dictator(&options)),
        ("dnsd", Daemon::dnsd(&options)),
        ("observer", Daemon::observer(&etcd.url(), &["http://127.0.0.1:1/master".to_owned()], &options)),
    ] {
        assert_eq!(end_unix_s(&daemon, name), Some(END_UNIX_S), "{name}");
    }
}

#[test]
fn a_daemon_without_a_certificate_tells_of_none() {
    assert_eq!(end_unix_s(&Daemon::dictator(&DaemonOptions::new()), "dictator"), None);
}
