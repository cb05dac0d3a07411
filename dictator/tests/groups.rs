//! Groups of slaves against real redis nodes, with a name server that says what the test wants.

mod running;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dictator::apply::{Answered, Ask, Lookup, Rejection, Status, Wait};
use harness::redis::wait_equal_data;
use harness::{Redis, RedisOptions, wait_until};
use running::Dictator;
use tokio::sync::oneshot;
use topology::conduct::Names;
use topology::document::Answers;
use topology::receipt::Receipt;
use topology::refusal::{Refusal, Slug};
use topology::{Address, NodeName};

/// The name of the group.
const GROUP: &str = "all.test";
/// From one pass of enforcement to the next.
const ENFORCE_INTERVAL: Duration = Duration::from_millis(100);
/// Passes of enforcement in which nothing may happen.
const PASSES: u64 = 3;
/// From one look at what is waited for to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long enforcement may take to do what it should.
const ENFORCED_DEADLINE: Duration = Duration::from_secs(20);

/// What the name server knows: hosts with their places, and whether it answers.
#[derive(Clone, Debug, Default)]
struct Zone {
    hosts: BTreeMap<String, SocketAddr>,
    /// Those who are behind the group's name.
    behind: Vec<String>,
    is_silent: bool,
    /// How often it was asked who is behind the group's name: once a pass of enforcement.
    questions: u64,
}

#[derive(Clone, Default)]
struct Dns(Arc<Mutex<Zone>>);

impl Dns {
    fn edit(&self, edit: impl FnOnce(&mut Zone)) {
        edit(&mut self.0.lock().unwrap());
    }

    fn add(&self, name: &str, node: &Redis) {
        self.edit(|zone| {
            zone.hosts.insert(name.to_owned(), node.address());
            zone.behind.push(name.to_owned());
        });
    }

    fn remove(&self, name: &str) {
        self.edit(|zone| zone.behind.retain(|behind| behind != name));
    }

    /// Waits until enforcement has asked anew and made something of the answer, several times.
    async fn await_passes(&self) {
        let asked = || self.0.lock().unwrap().questions;
        // The last question may still be open when it is counted.
        let enough = asked() + PASSES + 1;
        let ends_at = tokio::time::Instant::now() + ENFORCED_DEADLINE;
        while asked() < enough {
            assert!(tokio::time::Instant::now() < ends_at, "{} questions, not {enough}", asked());
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

impl Lookup for Dns {
    fn names(&self, nodes: Vec<NodeName>) -> Pin<Box<dyn Future<Output = Names> + Send + '_>> {
        let zone = self.0.lock().unwrap().clone();
        let find = |node: &NodeName| {
            let place = zone.hosts.get(&node.address.to_string()).filter(|_| !zone.is_silent);
            place.map(|place| vec![*place]).ok_or_else(|| "no answer".to_owned())
        };
        let names = nodes.into_iter().map(|node| (node.clone(), find(&node))).collect();
        Box::pin(async move { names })
    }

    fn groups(&self, services: Vec<Address>) -> Pin<Box<dyn Future<Output = Answers> + Send + '_>> {
        self.edit(|zone| zone.questions += 1);
        let zone = self.0.lock().unwrap().clone();
        let targets = |host: &String| NodeName {
            address: host.parse().unwrap(),
            port: zone.hosts[host].port().try_into().ok(),
        };
        let answer = || match zone.is_silent {
            true => Err("no answer".to_owned()),
            false => Ok(zone.behind.iter().map(targets).collect()),
        };
        let answers = services.into_iter().map(|srv| (srv, answer())).collect();
        Box::pin(async move { answers })
    }
}

async fn start(folder: &Path, dns: &Dns, nodes_max: usize) -> Dictator {
    Dictator::start(folder, Box::new(dns.clone()), ENFORCE_INTERVAL, nodes_max).await
}

impl Dictator {
    async fn receipt(&self, text: &str) -> Box<Receipt> {
        match self.put(text, Wait::Links, false).await {
            Ok(Answered::Receipt(receipt, _)) => receipt,
            other => panic!("{other:#?}"),
        }
    }

    async fn refusal(&self, text: &str) -> Box<Refusal> {
        match self.put(text, Wait::Links, false).await {
            Err(Rejection::Refused(refusal)) => refusal,
            other => panic!("{other:#?}"),
        }
    }

    async fn slaves(&self) -> Vec<String> {
        let (reply, answer) = oneshot::channel();
        self.handle.ask(Ask::Master(reply)).unwrap();
        let in_force = answer.await.unwrap();
        let slaves = in_force.map(|in_force| in_force.wanted.document.slaves).unwrap_or_default();
        slaves.iter().map(ToString::to_string).collect()
    }

    async fn status(&self) -> Status {
        let (reply, answer) = oneshot::channel();
        self.handle.ask(Ask::Status(reply)).unwrap();
        answer.await.unwrap()
    }

    /// Waits until enforcement has made these the slaves.
    async fn await_slaves(&self, expected: &[&str]) {
        let ends_at = tokio::time::Instant::now() + ENFORCED_DEADLINE;
        loop {
            let slaves = self.slaves().await;
            if slaves == expected {
                return;
            }
            assert!(tokio::time::Instant::now() < ends_at, "{slaves:?}, {:#?}", self.status().await.groups);
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

fn document(master: &str) -> String {
    format!(r#"{{"master": {{"address": "{master}"}}, "slaves": [{{"srv": "{GROUP}"}}]}}"#)
}

fn three(dns: &Dns) -> Vec<Redis> {
    let nodes = Redis::start_many(3, &RedisOptions::default());
    for (name, node) in ["a", "b", "c"].iter().zip(&nodes) {
        dns.add(name, node);
    }
    nodes
}

/// Three nodes behind the name, and a dictator that has made `a` their master; there is something in it.
async fn established(folder: &Path) -> (Dns, Vec<Redis>, Dictator) {
    let dns = Dns::default();
    let nodes = three(&dns);
    let dictator = start(folder, &dns, 64).await;
    assert_eq!(dictator.receipt(&document("a")).await.outcome, "established");
    assert_eq!(dictator.slaves().await, ["b", "c"]);
    nodes[0].command("SET a 1");
    // A link that is up may not have brought it yet.
    tokio::task::block_in_place(|| wait_equal_data(&nodes.iter().collect::<Vec<_>>()));
    (dns, nodes, dictator)
}

async fn follows(slave: &Redis, master: &Redis) {
    let port = master.address().port().to_string();
    tokio::task::block_in_place(|| {
        wait_until("the node to follow", ENFORCED_DEADLINE, || {
            let info = slave.info();
            let told = |name: &str| info.get(name).map(String::as_str).unwrap_or_default().to_owned();
            let up = told("master_port") == port && told("master_link_status") == "up";
            if up { Ok(()) } else { Err(format!("{info:?}")) }
        });
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_grows_moves_its_master_outlives_dns_and_shrinks() {
    let folder = tempfile::tempdir().unwrap();
    let (dns, nodes, dictator) = established(folder.path()).await;

    // Scaling out is starting a node.
    let new = Redis::start_many(1, &RedisOptions::default()).remove(0);
    dns.add("d", &new);
    dictator.await_slaves(&["b", "c", "d"]).await;
    follows(&new, &nodes[0]).await;

    // The old master stays in the cluster, and nobody hears of it from the document.
    let receipt = dictator.receipt(&document("c")).await;
    assert_eq!((receipt.outcome.as_str(), receipt.slaves.len()), ("switched", 3));
    assert_eq!(dictator.slaves().await, ["a", "b", "d"]);
    follows(&nodes[0], &nodes[2]).await;

    // Without DNS nobody is removed, not by a change either, and not by a restart of the dictator.
    dns.edit(|zone| zone.behind.clear());
    let receipt = dictator.receipt(&document("c")).await;
    assert_eq!((receipt.outcome.as_str(), receipt.slaves.len()), ("unchanged", 3));
    assert!(receipt.warnings[0].contains("/slaves/0/srv: there are no SRV records"), "{receipt:?}");
    dictator.end().await;
    dns.edit(|zone| zone.is_silent = true);
    let dictator = start(folder.path(), &dns, 64).await;
    assert_eq!(dictator.slaves().await, ["a", "b", "d"]);
    dns.await_passes().await;
    assert_eq!(dictator.slaves().await, ["a", "b", "d"]);

    // Who is not behind the name any more is let go.
    dns.edit(|zone| {
        zone.is_silent = false;
        zone.behind = ["a", "b", "c"].map(str::to_owned).to_vec();
    });
    dictator.await_slaves(&["a", "b"]).await;
    tokio::task::block_in_place(|| {
        wait_until("the node to be parked", ENFORCED_DEADLINE, || {
            let port = new.info().get("master_port").cloned();
            if port.as_deref() == Some("0") { Ok(()) } else { Err(format!("{port:?}")) }
        });
    });
    dictator.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_would_lose_data_stays_out_and_the_others_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (dns, nodes, dictator) = established(folder.path()).await;

    let mut new = Redis::start_many(2, &RedisOptions::default());
    let (good, foreign) = (new.remove(0), new.remove(0));
    foreign.command("REPLICAOF NO ONE");
    foreign.command("SET mine 1");
    dns.add("e", &foreign);
    dns.add("f", &good);
    dictator.await_slaves(&["b", "c", "f"]).await;
    follows(&good, &nodes[0]).await;
    let status = dictator.status().await;
    let problems = status.groups[0].problems.join(" ");
    assert!(
        problems.contains("e ") && problems.contains("holds") | problems.contains("takes writes"),
        "{problems}"
    );
    assert_eq!(foreign.command("GET mine"), nodes[0].command("GET a"));

    // A slave of old that is left as it is keeps nobody out, and nobody in.
    nodes[1].command("REPLICAOF NO ONE");
    nodes[1].command("SET own 1");
    dns.remove("c");
    dictator.await_slaves(&["b", "f"]).await;
    dns.edit(|zone| zone.behind.push("c".to_owned()));
    dictator.await_slaves(&["b", "c", "f"]).await;
    follows(&nodes[2], &nodes[0]).await;
    nodes[1].command("FLUSHALL");
    follows(&nodes[1], &nodes[0]).await;

    // A change is refused like that of any document with this node, and what to do works.
    let refusal = dictator.refusal(&document("b")).await;
    assert!(matches!(refusal.slug, Slug::SplitBrain | Slug::WouldLoseData), "{refusal:?}");
    assert_eq!(refusal.node.as_ref().map(ToString::to_string).as_deref(), Some("e"));
    dns.remove("e");
    assert_eq!(dictator.receipt(&document("b")).await.outcome, "switched");
    assert_eq!(dictator.slaves().await, ["a", "c", "f"]);
    dictator.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_changed_when_nobody_is_known_or_too_many_are() {
    let dns = Dns::default();
    let nodes = three(&dns);
    let folder = tempfile::tempdir().unwrap();
    let dictator = start(folder.path(), &dns, 2).await;
    let refusal = dictator.refusal(&document("a")).await;
    assert_eq!(refusal.slug, Slug::TooManyNodes);
    assert_eq!(refusal.places[0].pointer, "/slaves");

    dns.edit(|zone| zone.behind.clear());
    let text = r#"{"master": {"address": "a"}, "slaves": [{"address": "b"}, {"srv": "all.test"}]}"#;
    for dry_run in [true, false] {
        let Err(Rejection::Refused(refusal)) = dictator.put(text, Wait::Links, dry_run).await else {
            panic!("not refused")
        };
        assert_eq!(refusal.slug, Slug::Unresolvable);
        assert_eq!(refusal.places[0].pointer, "/slaves/1/srv");
        assert!(
            refusal.detail.contains("all.test") && refusal.detail.contains("no SRV records"),
            "{refusal:?}"
        );
    }
    assert!(dictator.slaves().await.is_empty());
    assert!(nodes.iter().all(|node| node.role() == "slave"), "nobody was promoted");

    // Once somebody is known, the document can be applied.
    dns.edit(|zone| zone.behind = ["a", "b"].map(str::to_owned).to_vec());
    assert_eq!(dictator.receipt(text).await.outcome, "established");
    assert_eq!(dictator.slaves().await, ["b"]);
    dictator.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_removed_while_the_master_is_not_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (dns, mut nodes, dictator) = established(folder.path()).await;

    let run_id = nodes[0].run_id();
    nodes[0].kill();
    dns.remove("b");
    dns.await_passes().await;
    assert_eq!(dictator.slaves().await, ["b", "c"]);
    // A change is refused for the master, and leaves them as well.
    let refusal = dictator.refusal(&document("c")).await;
    assert_eq!(refusal.slug, Slug::ActingMasterUnreachable);
    assert_eq!(dictator.slaves().await, ["b", "c"]);

    // Given up for good, it is replaced, and whoever may hold what the new one does not is still there to be asked.
    let discard = format!(r#""discard": [{{"address": "a", "run_id": "{run_id}"}}], "slaves""#);
    let replaced =
        dictator.put(&document("c").replacen(r#""slaves""#, &discard, 1), Wait::Links, false).await;
    // The dead one cannot follow.
    let Err(Rejection::LinksLate(receipt)) = replaced else { panic!("{replaced:#?}") };
    assert_eq!(receipt.outcome, "switched");
    assert!(receipt.slaves.iter().any(|slave| slave.name.address.to_string() == "b"), "{receipt:?}");
    // Once the new master stands, the answer counts again.
    dictator.await_slaves(&["a"]).await;
    dictator.end().await;
}
