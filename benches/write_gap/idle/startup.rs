//! From exec to ready, and the memory afterwards.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::binaries::binary;
use harness::daemon::{DOMAIN, TOPOLOGY_KEY, TRIGGER_KEY};
use harness::process::{Process, Recipe};
use harness::{Etcd, logs, ports};

use super::{REST, STARTS};

/// Longest wait for a daemon to say that it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of one notification to systemd, at most.
const NOTIFICATION_BYTES_MAX: usize = 4_096;

/// What the starts of one daemon showed.
pub(super) struct Started {
    /// From exec to ready, of each start.
    pub(super) ready: Vec<Duration>,
    /// Resident memory of the last one after some rest.
    pub(super) resident_bytes: u64,
}

/// Starts a daemon a few times on its own.
pub(super) fn measure(program: &str) -> Started {
    let etcd = (program == "observer").then(Etcd::start);
    let url = etcd.as_ref().map(Etcd::url);
    let mut started = Started { ready: Vec::new(), resident_bytes: 0 };
    for start in 1..=STARTS {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (process, ready) = start_once(program, url.as_deref(), folder.path());
        started.ready.push(ready);
        if start == STARTS {
            std::thread::sleep(REST);
            started.resident_bytes = resident_bytes(process.pid());
        }
    }
    started
}

fn start_once(program: &str, etcd_url: Option<&str>, folder: &Path) -> (Process, Duration) {
    let path = folder.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket for notifications");
    socket.set_read_timeout(Some(READY_DEADLINE)).expect("a deadline can be set");
    let mut process = Process::new(Recipe {
        name: program.to_owned(),
        program: binary(program),
        arguments: arguments(program, etcd_url, folder),
        environment: vec![("NOTIFY_SOCKET".to_owned(), path.display().to_string())],
        folder: folder.into(),
        log: folder.join("log"),
    });
    let start = Instant::now();
    process.start();
    let mut bytes = [0; NOTIFICATION_BYTES_MAX];
    loop {
        let length = socket.recv(&mut bytes).unwrap_or_else(|error| {
            panic!("{program} never said that it is ready ({error}):\n{}", logs::tail(&folder.join("log")))
        });
        if String::from_utf8_lossy(&bytes[..length]).lines().any(|line| line == "READY=1") {
            return (process, start.elapsed());
        }
    }
}

fn arguments(program: &str, etcd_url: Option<&str>, folder: &Path) -> Vec<String> {
    let http = ports::free_address().to_string();
    let state = folder.display().to_string();
    let mut pairs = vec![("--listen", http), ("--state-dir", state)];
    if program == "dnsd" {
        pairs.push(("--dns-listen", ports::free_address().to_string()));
        pairs.push(("--domain", DOMAIN.to_owned()));
    }
    if let Some(url) = etcd_url {
        pairs.push(("--etcd", url.to_owned()));
        pairs.push(("--trigger", TRIGGER_KEY.to_owned()));
        pairs.push(("--read", TOPOLOGY_KEY.to_owned()));
        pairs.push(("--notify", format!("http://{}/master", ports::free_address())));
    }
    pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

/// `VmRSS` of a process.
pub(super) fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kibibytes * 1024
}
