//! etcd in trouble, seen from the whole loop: its leader dies, it loses its quorum, it is restored from
//! an older backup. The nodes and DNS stay as they are meanwhile, and what was triggered arrives.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use harness::daemon::{DOMAIN, TOPOLOGY_KEY, TRIGGER_KEY};
use harness::ports::free_address;
use harness::process::{Process, Recipe};
use harness::wait::ensure;
use harness::whole::document;
use harness::{Daemon, DaemonOptions, Http, Redis, RedisOptions, Whole, WholeOptions, dns, wait_until};
use serde_json::Value;

/// Deadline of everything that is waited for.
const SOON: Duration = Duration::from_secs(40);
/// How many members.
const MEMBERS: usize = 3;

/// An etcd of three members.
struct Members {
    members: Vec<(Process, SocketAddr)>,
    _folder: tempfile::TempDir,
}

impl Members {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let addresses: Vec<_> = (0..MEMBERS).map(|_| (free_address(), free_address())).collect();
        let peers = addresses.iter().enumerate().map(|(index, (_, peer))| format!("m{index}=http://{peer}"));
        let peers = peers.collect::<Vec<_>>().join(",");
        let member = |index: usize| {
            let (client, peer) =
                (format!("http://{}", addresses[index].0), format!("http://{}", addresses[index].1));
            let data = folder.path().join(format!("data-{index}")).display().to_string();
            let name = format!("m{index}");
            let arguments = [
                ["--name", &name],
                ["--data-dir", &data],
                ["--listen-client-urls", &client],
                ["--advertise-client-urls", &client],
                ["--listen-peer-urls", &peer],
                ["--initial-advertise-peer-urls", &peer],
                ["--initial-cluster", &peers],
                ["--heartbeat-interval", "50"],
                ["--election-timeout", "500"],
                ["--logger", "zap"],
                ["--log-level", "error"],
            ];
            Recipe {
                name: format!("etcd {name}"),
                program: "etcd".into(),
                arguments: arguments.concat().into_iter().map(str::to_owned).collect(),
                environment: Vec::new(),
                folder: folder.path().into(),
                log: folder.path().join(format!("{name}.log")),
            }
        };
        let members = (0..MEMBERS).map(|index| (Process::new(member(index)), addresses[index].0)).collect();
        let mut cluster = Self { members, _folder: folder };
        for index in 0..MEMBERS {
            cluster.members[index].0.start();
        }
        for index in 0..MEMBERS {
            cluster.wait_healthy(index);
        }
        cluster
    }

    fn urls(&self) -> String {
        let urls = self.members.iter().map(|(_, client)| format!("http://{client}"));
        urls.collect::<Vec<_>>().join(",")
    }

    fn wait_healthy(&self, index: usize) {
        let http = Http::new(self.members[index].1);
        wait_until("a member to be healthy", SOON, || match http.try_request("GET", "/health", &[], b"") {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.text()),
            Err(error) => Err(error.to_string()),
        });
    }

    /// The member that leads.
    fn leader(&self) -> usize {
        wait_until("a leader", SOON, || {
            let leads = |index: usize| {
                let url = format!("http://{}", self.members[index].1);
                let answer = etcdctl(&url, &["endpoint", "status"])?;
                let status = &answer[0]["Status"];
                Ok::<_, String>(
                    status["leader"].is_u64() && status["leader"] == status["header"]["member_id"],
                )
            };
            let found = (0..MEMBERS).find(|index| leads(*index) == Ok(true));
            found.ok_or("no member leads")
        })
    }

    /// Writes a key as soon as that is possible, and returns the revision.
    fn put(&self, key: &str, value: &str) -> u64 {
        wait_until("etcd to take a write", SOON, || {
            let answer = etcdctl(&self.urls(), &["put", key, value])?;
            answer["header"]["revision"].as_u64().ok_or(answer.to_string())
        })
    }

    fn trigger(&self, document: &Value) -> u64 {
        self.put(TOPOLOGY_KEY, &document.to_string());
        self.put(TRIGGER_KEY, "1")
    }
}

fn etcdctl(urls: &str, arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", urls, "--command-timeout", "2s", "-w", "json"])
        .args(arguments)
        .output()
        .expect("etcdctl can be started; is it installed?");
    serde_json::from_slice(&output.stdout)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn wait_published(dnsd: &Daemon, wanted: &Redis) {
    wait_until("DNS to name the new master", SOON, || match dns::find_master(dnsd.dns_address(), DOMAIN) {
        Ok(found) => ensure(found == wanted.address(), format!("{found}, not {}", wanted.address())),
        Err(error) => Err(error.to_string()),
    });
}

fn revision_in_force(dictator: &Daemon) -> u64 {
    dictator.status()["revision"].as_u64().expect("a revision in force")
}

#[test]
fn the_leader_dies_and_then_the_quorum() {
    let mut etcd = Members::start();
    let nodes = Redis::start_many(2, &RedisOptions::default());
    let dictator = Daemon::dictator(&DaemonOptions::new());
    let dnsd = Daemon::dnsd(&DaemonOptions::new());
    let options = DaemonOptions::new().allow_log("is not being watched", "the test takes etcd's quorum away");
    let notify = [dictator.url("/master"), dnsd.url("/dns")];
    let observer = Daemon::observer(&etcd.urls(), &notify, &options);
    etcd.trigger(&document(&nodes, 0));
    wait_published(&dnsd, &nodes[0]);

    // The leader goes, whoever the observer was connected to: the next trigger arrives.
    let leader = etcd.leader();
    etcd.members[leader].0.kill();
    etcd.trigger(&document(&nodes, 1));
    wait_published(&dnsd, &nodes[1]);

    // So does the quorum: nothing moves, what is published stays, and the observer says that it is blind.
    let second = (0..MEMBERS).find(|index| *index != leader).expect("another member");
    etcd.members[second].0.kill();
    wait_until("the observer to be unready", SOON, || {
        let answer = observer.http().get("/readyz");
        ensure(answer.status == 503, answer.text())
    });
    assert_eq!(observer.http().get("/healthz").status, 200);
    assert_eq!(dnsd.published_master(), Some(nodes[1].address()));
    let generation = dictator.status()["generation"].clone();
    // The dictator alone needs no etcd; whoever must move the master in this state can.
    assert_eq!(dictator.put_master(&document(&nodes, 1)).expect(200).json()["outcome"], "unchanged");

    etcd.members[second].0.start();
    etcd.wait_healthy(second);
    wait_until("the observer to watch again", SOON, || {
        let answer = observer.http().get("/readyz");
        ensure(answer.status == 200, answer.text())
    });
    assert_eq!(dictator.status()["generation"], generation, "what was delivered is not delivered anew");
    let revision = etcd.trigger(&document(&nodes, 0));
    wait_published(&dnsd, &nodes[0]);
    assert_eq!(revision_in_force(&dictator), revision);
}

#[test]
fn a_restored_older_etcd_moves_nothing_before_somebody_accepts_it() {
    let mut whole = Whole::start(&WholeOptions {
        nodes: 2,
        observer: DaemonOptions::new()
            .allow_log("is not being watched", "etcd is away while it is restored")
            .allow_log("trigger-deleted", "the restored etcd may be seen before its trigger")
            .allow_log("revision-went-back", "that is what a human has to look at"),
        ..WholeOptions::default()
    });
    for turn in 0..20 {
        whole.etcd.put("/other", &turn.to_string());
    }
    whole.move_to(0);
    let newest = whole.trigger();
    wait_until("the newest revision", SOON, || {
        let revision = revision_in_force(&whole.dictator);
        ensure(revision == newest, revision.to_string())
    });

    whole.etcd.start_empty();
    whole.define(&whole.document(1));
    let restored = whole.trigger();
    assert!(restored < newest);
    wait_until("the observer to hold it", SOON, || {
        let status = whole.observer.status();
        ensure(status["state"] == "held", status.to_string())
    });
    assert_eq!(revision_in_force(&whole.dictator), newest);
    assert_eq!(whole.dnsd.published_master(), Some(whole.nodes[0].address()));
    // Who goes past the observer is refused as well.
    let given = restored.to_string();
    let header = [("X-Topology-Revision", given.as_str())];
    for (daemon, path) in [(&whole.dictator, "/master"), (&whole.dnsd, "/dns")] {
        let answer = daemon.http().put_with(path, &header, &whole.document(1));
        assert_eq!((answer.status, answer.slug().as_str()), (409, "stale-revision"), "{}", answer.text());
    }
    assert_eq!(whole.nodes[0].role(), "master");

    whole.observer.kill();
    let accept = ["--accept-revision".to_owned(), restored.to_string()];
    whole.observer.process().recipe_mut().arguments.extend(accept);
    whole.observer.start_again();
    whole.wait_published(1);
    assert_eq!(revision_in_force(&whole.dictator), restored);
    // From here everything is as usual, with the small numbers.
    whole.move_to(0);
    assert!(revision_in_force(&whole.dictator) < newest);
}
