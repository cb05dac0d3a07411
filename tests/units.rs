//! The systemd units as systemd itself reads them, and what they start, started for real.
//!
//! `systemd-analyze verify` only warns of unknown keys, so anything that it prints counts as a fault. It
//! wants the programs to exist, so the units are copied with a stand-in where ours would be installed.

#![allow(clippy::disallowed_methods, reason = "files of a test need not be durable")]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use harness::Etcd;

const DAEMONS: [&str; 3] = ["dictator", "dnsd", "observer"];
const UNITS: [&str; 4] = ["dictator.service", "dnsd.service", "observer.service", "redis-node@.service"];
/// The highest exposure by systemd's own count, in tenths.
const EXPOSURE_TENTHS_MAX: u32 = 20;
/// How long a program may take until it is up.
const START_DEADLINE: Duration = Duration::from_secs(10);

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("units")
}

fn unit(name: &str) -> String {
    fs::read_to_string(units().join(name)).expect("a unit")
}

/// The values that a unit gives to a key, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// The units in a folder of their own, with programs that exist.
fn installed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in UNITS {
        let mut text = unit(name);
        for program in DAEMONS {
            text = text.replace(&format!("=/usr/bin/{program}\n"), "=/bin/true\n");
        }
        for program in ["redis-server", "etcdctl"] {
            text = text.replace(&format!("/usr/bin/{program} "), "/bin/true ");
        }
        fs::write(folder.path().join(name), text).expect("a written unit");
    }
    folder
}

fn analyze(arguments: &[&str], unit: &Path) -> String {
    let ran = Command::new("systemd-analyze").args(arguments).arg(unit).output();
    let Output { stdout, stderr, .. } = ran.expect("systemd-analyze runs; it is in the package systemd");
    format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
}

#[test]
fn systemd_finds_nothing_to_say_about_the_units() {
    let folder = installed();
    for name in UNITS {
        let path = folder.path().join(name.replace("@.", "@redis-1."));
        if path != folder.path().join(name) {
            fs::copy(folder.path().join(name), &path).expect("an instance of the template");
        }
        assert_eq!(analyze(&["verify"], &path), "", "{name}");
    }
    // It changes a setting of the host, for which systemd must let it.
    assert_eq!(analyze(&["verify"], &units().join("redis-no-thp.service")), "");
    let broken = folder.path().join("broken.service");
    fs::write(&broken, unit("dnsd.service").replace("=/usr/bin/dnsd\n", "=/bin/true\nResatrt=no\n"))
        .expect("written");
    assert!(analyze(&["verify"], &broken).contains("Resatrt"), "a misspelt key would be found");
}

#[test]
fn the_units_are_as_closed_as_systemd_can_make_them() {
    let folder = installed();
    for name in UNITS {
        assert!(exposure_tenths(&folder.path().join(name)) <= EXPOSURE_TENTHS_MAX, "{name}");
    }
    let without = exposure_tenths(&folder.path().join("dnsd.service"));
    for drop_in in [
        "dnsd.service.d/port-53.conf",
        "redis-node@.service.d/users.conf",
        "redis-node@.service.d/cluster.conf",
    ] {
        let place = folder.path().join(drop_in);
        fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
        let text = unit(drop_in).replace("/usr/bin/redis-server ", "/bin/true ");
        fs::write(&place, text).expect("a copy");
        let unit = drop_in.split(".d/").next().expect("a unit");
        let instance = folder.path().join(unit.replace("@.", "@redis-1."));
        if unit.contains('@') {
            fs::copy(folder.path().join(unit), &instance).expect("an instance of the template");
        }
        assert_eq!(analyze(&["verify"], &instance), "", "{drop_in}");
        assert!(exposure_tenths(&instance) <= EXPOSURE_TENTHS_MAX, "{drop_in}");
        if unit.contains('@') {
            fs::remove_file(place).expect("a drop-in that was there");
        }
    }
    assert!(without < exposure_tenths(&folder.path().join("dnsd.service")), "the drop-in is seen");
}

fn exposure_tenths(unit: &Path) -> u32 {
    let said = analyze(&["security", "--offline=true", "--no-pager"], unit);
    let line = said.lines().find(|line| line.contains("Overall exposure level")).expect("a verdict");
    let number = line.rsplit(": ").next().and_then(|rest| rest.split(' ').next()).expect("a number");
    let (whole, tenths) = number.split_once('.').expect("one decimal");
    whole.parse::<u32>().expect("a number") * 10 + tenths.parse::<u32>().expect("a number")
}

#[test]
fn every_unit_says_how_it_lives() {
    for name in UNITS {
        let text = unit(name);
        assert_eq!(values(&text, "Restart"), ["always"], "{name}");
        assert_eq!(values(&text, "Type"), ["notify"], "{name}");
        assert_eq!(values(&text, "MachineMetadata"), ["hosts=redis-1"], "{name}");
        assert!(text.contains("\n[X-Fleet]\n"), "{name}");
    }
    for daemon in DAEMONS {
        let text = unit(&format!("{daemon}.service"));
        assert_eq!(values(&text, "StateDirectory"), [format!("redis-{daemon}")]);
        assert_eq!(values(&text, "EnvironmentFile"), [format!("-/etc/redis-dictator/{daemon}.env")]);
        assert_eq!(values(&text, "RestartPreventExitStatus"), ["64"]);
        assert_eq!(values(&text, "WatchdogSec").len(), 1);
    }
    assert_eq!(values(&unit("redis-node@.service"), "Global"), ["true"]);
}

/// A process that does not outlive the test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command line of a unit as systemd would run it.
fn command_line(line: &str, replaced: &[(&str, &str)]) -> Command {
    let mut line = line.trim_start_matches('-').to_owned();
    for (from, to) in replaced {
        assert!(line.contains(from), "{from} is not in {line}");
        line = line.replace(from, to);
    }
    assert!(!line.contains(['%', '$']), "not everything is replaced in {line}");
    let mut words = line.split_whitespace();
    let program = Path::new(words.next().expect("a program")).file_name().expect("a name");
    let mut command = Command::new(program);
    command.args(words);
    command
}

#[test]
fn a_node_is_born_unassigned_and_says_that_it_is_ready() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let notify = UnixDatagram::bind(place("notify")).expect("a socket");
    notify.set_read_timeout(Some(START_DEADLINE)).expect("a deadline");
    let text = unit("redis-node@.service");
    let mut command = command_line(
        values(&text, "ExecStart")[0],
        &[
            ("/etc/redis-dictator/redis.conf", units().join("redis.conf").to_str().expect("UTF-8")),
            ("${REDIS_PORT}", "0"),
            ("%S/redis-node/%i", folder.path().to_str().expect("UTF-8")),
            ("$REDIS_ARGS", &format!("--unixsocket {}", place("redis"))),
        ],
    );
    let quiet = std::process::Stdio::null;
    let _redis = Reaped(
        command.env("NOTIFY_SOCKET", place("notify")).stdout(quiet()).spawn().expect("redis-server runs"),
    );
    let mut heard = String::new();
    while !heard.contains("READY=1") {
        let mut buffer = [0; 1024];
        let bytes = notify.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}; heard: {heard}"));
        heard.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
    }
    let ask = |words: &[&str]| {
        let output = Command::new("redis-cli")
            .args(["-s", &place("redis")])
            .args(words)
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let replication = ask(&["INFO", "replication"]);
    for line in [
        "role:slave",
        "master_host:127.0.0.1",
        "master_port:0",
        "master_link_status:down",
        "slave_read_only:1",
    ] {
        assert!(replication.contains(line), "{line} is missing in\n{replication}");
    }
    assert!(ask(&["SET", "a", "1"]).contains("READONLY"));
    for (setting, value) in [
        ("appendonly", "yes"),
        ("repl-backlog-size", "67108864"),
        ("repl-diskless-sync-delay", "0"),
        ("repl-backlog-ttl", "0"),
    ] {
        assert_eq!(ask(&["CONFIG", "GET", setting]), format!("{setting}\n{value}\n"));
    }
}

#[test]
fn a_started_node_writes_the_trigger_of_its_cluster() {
    let etcd = Etcd::start();
    let text = unit("redis-node@.service");
    let line = values(&text, "ExecStartPost")[0];
    assert!(line.starts_with('-'), "a node without etcd is kept");
    let mut command = command_line(line, &[("%i", "redis-1"), ("%H", "core-01")]);
    let version =
        values(&text, "Environment").into_iter().find_map(|value| value.strip_prefix("ETCDCTL_API="));
    command
        .env("ETCDCTL_API", version.expect("the version of the protocol"))
        .env("ETCDCTL_ENDPOINTS", etcd.url());
    assert!(command.status().expect("etcdctl runs").success());
    assert_eq!(etcd.get("/config/redis-1/topology-trigger").as_deref(), Some("core-01"));
}
