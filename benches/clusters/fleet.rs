//! One dnsd and its many clusters.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use harness::binaries::binary;
use harness::dns::{self, Data, RecordType};
use harness::http::Http;
use harness::process::{Process, Recipe};
use harness::{logs, ports};
use serde_json::{Value, json};
use tempfile::TempDir;

const SUFFIX: &str = "redis.test";
/// Longest wait for dnsd to be ready or to end.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of a cluster's file, about.
const FILE_BYTES: usize = 800;
/// Bytes of one notification to systemd, at most.
const NOTIFICATION_BYTES_MAX: usize = 4_096;

/// A dnsd of many clusters.
pub(crate) struct Fleet {
    pub(crate) http: Http,
    pub(crate) sentinel: SocketAddr,
    dns: SocketAddr,
    clusters: usize,
    process: RefCell<Process>,
    notifications: UnixDatagram,
    folder: TempDir,
}

/// The master of a cluster after so many changes.
pub(crate) fn master(cluster: usize, generation: usize) -> String {
    format!("10.{}.{}.{}", cluster / 250, cluster % 250, 1 + generation % 2)
}

/// A document of a cluster: one of two nodes is the master, the other and a third are slaves.
pub(crate) fn document(cluster: usize, generation: usize) -> Value {
    let (master, slave) = (master(cluster, generation), master(cluster, generation + 1));
    let third = format!("10.{}.{}.3", cluster / 250, cluster % 250);
    json!({"master": {"address": master}, "slaves": [{"address": slave}, {"address": third}]})
}

pub(crate) fn name(cluster: usize) -> String {
    format!("redis-{cluster}")
}

impl Fleet {
    /// A dnsd that knows no cluster yet.
    pub(crate) fn start(clusters: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("notify");
        let notifications = UnixDatagram::bind(&socket).expect("a socket for notifications");
        notifications.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
        let [http, dns, sentinel] = [(); 3].map(|()| ports::free_address());
        let flags = [
            ("--listen", http.to_string()),
            ("--dns-listen", dns.to_string()),
            ("--sentinel-listen", sentinel.to_string()),
            ("--state-dir", folder.path().join("state").display().to_string()),
            ("--domain-suffix", SUFFIX.to_owned()),
            ("--clusters-max", clusters.to_string()),
        ];
        let process = Process::new(Recipe {
            name: "dnsd".to_owned(),
            program: binary("dnsd"),
            arguments: flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect(),
            environment: vec![("NOTIFY_SOCKET".to_owned(), socket.display().to_string())],
            folder: folder.path().into(),
            log: folder.path().join("log"),
        });
        let http = Http::new(http);
        let fleet =
            Self { http, sentinel, dns, clusters, process: RefCell::new(process), notifications, folder };
        fleet.until_ready();
        fleet
    }

    /// Starts it, and tells how long it took until it said that it was ready.
    fn until_ready(&self) -> Duration {
        let begin = Instant::now();
        self.process.borrow_mut().start();
        let mut bytes = [0; NOTIFICATION_BYTES_MAX];
        loop {
            let length = self.notifications.recv(&mut bytes).unwrap_or_else(|error| {
                let log = logs::tail(&self.folder.path().join("log"));
                panic!("dnsd never said that it is ready ({error}):\n{log}")
            });
            if String::from_utf8_lossy(&bytes[..length]).lines().any(|line| line == "READY=1") {
                return begin.elapsed();
            }
        }
    }

    /// Stops and starts it. All clusters must be there again.
    pub(crate) fn restart(&self) -> Duration {
        self.process.borrow_mut().terminate(DEADLINE);
        let took = self.until_ready();
        let listed = self.http.request("GET", "/clusters", &[("Accept", "text/plain")], b"").text();
        assert_eq!(listed.lines().count(), self.clusters, "all clusters are served");
        for cluster in [0, self.clusters / 2, self.clusters - 1] {
            assert!(!self.ask(cluster).is_empty(), "{} is served", name(cluster));
        }
        took
    }

    /// `PUT`s a document.
    pub(crate) fn put(&self, cluster: usize, generation: usize) {
        let path = format!("/clusters/{}/dns", name(cluster));
        let answer = self.http.put(&path, &document(cluster, generation));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn ask(&self, cluster: usize) -> Vec<Data> {
        let owner = format!("master.{}.{SUFFIX}", name(cluster));
        dns::query(self.dns, &owner, RecordType::A).expect("an answer").data()
    }

    /// Makes all clusters.
    pub(crate) fn fill(&self) -> Vec<Duration> {
        (0..self.clusters).map(|cluster| self.timed(cluster, 0)).collect()
    }

    /// Changes clusters all over.
    pub(crate) fn change(&self, changes: usize) -> Vec<Duration> {
        (0..changes)
            .map(|change| {
                // A prime: every cluster has its turn, in no order.
                let cluster = change * 7_919 % self.clusters;
                let begin = Instant::now();
                self.put(cluster, 1 + change / self.clusters);
                let expected = master(cluster, 1 + change / self.clusters);
                assert_eq!(self.ask(cluster), [Data::Address(expected.parse().expect("an address"))]);
                begin.elapsed()
            })
            .collect()
    }

    /// What the disk alone takes for what dnsd writes at each change: a file and its folder, synced.
    pub(crate) fn sync(&self, times: usize) -> Vec<Duration> {
        let folder = self.folder.path().join("state");
        let (temporary, path) = (folder.join("probe.new"), folder.join("probe"));
        let sync = |_| -> std::io::Result<Duration> {
            let begin = Instant::now();
            let mut file = fs::File::create(&temporary)?;
            file.write_all(&[b'x'; FILE_BYTES])?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            fs::File::open(&folder)?.sync_all()?;
            Ok(begin.elapsed())
        };
        let took = (0..times).map(sync).collect::<Result<_, _>>().expect("a disk that can be written to");
        fs::remove_file(&path).expect("it was there");
        took
    }

    fn timed(&self, cluster: usize, generation: usize) -> Duration {
        let begin = Instant::now();
        self.put(cluster, generation);
        begin.elapsed()
    }

    /// `VmRSS` of dnsd.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.borrow().pid());
        let status = fs::read_to_string(path).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kibibytes * 1024
    }
}
