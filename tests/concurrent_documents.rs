//! Several documents at once, clients that hang up, and what revisions and entity tags decide.
#![allow(missing_docs)]

use std::io::Write;
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::Duration;

use harness::cluster::{Cluster, assert_problem, assert_untouched, quick, quick_without_enforcement};
use harness::proxy::PAUSE;
use harness::redis::{RedisOptions, wait_equal_data};
use harness::wait::ensure;
use harness::{Daemon, HttpAnswer, Load, LoadOptions, Proxy, Redis, wait_until};
use serde_json::{Value, json};

/// Three nodes; the dictator knows the first one, the acting master, by a proxy that can hold its pause.
struct Held {
    dictator: Daemon,
    proxy: Proxy,
    nodes: Vec<Redis>,
}

impl Held {
    fn established() -> Self {
        let nodes = Redis::start_many(3, &RedisOptions::default());
        let proxy = Proxy::before(&nodes[0]);
        let held = Self { dictator: Daemon::dictator(&quick_without_enforcement()), proxy, nodes };
        held.dictator.http().put("/master?wait=links", &held.document(0)).expect(200);
        held
    }

    fn document(&self, master: usize) -> Value {
        let name = |index: usize| if index == 0 { self.proxy.json() } else { self.nodes[index].json() };
        let slaves: Vec<Value> = (0..3).filter(|index| *index != master).map(name).collect();
        json!({"master": name(master), "slaves": slaves})
    }

    fn put(&self, master: usize, request_id: &'static str) -> JoinHandle<HttpAnswer> {
        let (http, document) = (self.dictator.http(), self.document(master));
        std::thread::spawn(move || http.put_with("/master", &[("X-Request-Id", request_id)], &document))
    }

    fn wait_master(&self, master: usize) {
        wait_until("the master's role", Duration::from_secs(10), || {
            let roles: Vec<String> = self.nodes.iter().map(Redis::role).collect();
            let right = roles.iter().enumerate().all(|(index, role)| (role == "master") == (index == master));
            ensure(right, format!("{roles:?}"))
        });
    }
}

#[test]
fn the_same_document_joins_the_change_that_runs() {
    let held = Held::established();
    held.proxy.hold_at(PAUSE);
    let first = held.put(1, "first");
    held.proxy.wait_held();
    let second = held.put(1, "second");
    // What does not ask the nodes answers at once. By then the second document has long arrived.
    assert_eq!(held.dictator.http().get("/healthz").status, 200);
    held.proxy.release();
    let (first, second) =
        (first.join().expect("answered").expect(200), second.join().expect("answered").expect(200));
    let (first, second) = (first.json(), second.json());
    assert_eq!((&first["outcome"], &first["generation"]), (&"switched".into(), &2.into()), "{first}");
    assert_eq!(second["generation"], 2, "{second}");
    assert_eq!((&first["request_id"], &second["request_id"]), (&"first".into(), &"second".into()));
    held.wait_master(1);
}

#[test]
fn of_three_different_documents_the_middle_one_is_superseded() {
    let held = Held::established();
    held.proxy.hold_at(PAUSE);
    let first = held.put(1, "first");
    held.proxy.wait_held();
    let middle = held.put(2, "middle");
    let last = held.put(0, "last");
    wait_until("an answer to the middle or the last one", Duration::from_secs(5), || {
        ensure(middle.is_finished() || last.is_finished(), "both wait")
    });
    held.proxy.release();
    let first = first.join().expect("answered").expect(200).json();
    assert_eq!(first["outcome"], "switched", "{first}");
    let (middle, last) = (middle.join().expect("answered"), last.join().expect("answered"));
    // Which of the two came first to the dictator is not in the test's hands.
    let (displaced, by, answered, master) =
        if middle.status == 409 { (middle, "last", last, 0) } else { (last, "middle", middle, 2) };
    let problem = assert_problem(&displaced, 409, "superseded");
    assert_eq!(problem["evidence"]["by_request_id"], by, "{problem}");
    assert_eq!(answered.expect(200).json()["outcome"], "switched");
    held.wait_master(master);
    assert_eq!(held.dictator.http().get("/master").json(), held.document(master));
}

#[test]
fn a_client_that_hangs_up_cancels_nothing() {
    let held = Held::established();
    held.proxy.hold_at(PAUSE);
    let body = held.document(1).to_string();
    let mut client = TcpStream::connect(held.dictator.http().address()).expect("connected");
    let request = format!(
        "PUT /master HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: gone\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).expect("sent");
    held.proxy.wait_held();
    drop(client);
    held.proxy.release();
    held.wait_master(1);
    wait_until("the change to be in the history", Duration::from_secs(10), || {
        let history = held.dictator.http().get("/history").json();
        let entries = history.as_array().cloned().unwrap_or_default();
        let found =
            entries.iter().any(|entry| entry["request_id"] == "gone" && entry["outcome"] == "switched");
        ensure(found, history.to_string())
    });
}

#[test]
fn two_documents_at_once_are_never_interleaved() {
    const ROUNDS: usize = 6;
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick());
    let mut options = LoadOptions::on(&cluster.all());
    options.writers = 4;
    options.interval = Duration::from_millis(2);
    let load = Load::start(options);
    load.wait_acknowledged(200);
    for round in 0..ROUNDS {
        let answers: Vec<JoinHandle<HttpAnswer>> = [(round + 1) % 3, (round + 2) % 3]
            .map(|master| {
                let (http, document) = (cluster.dictator.http(), cluster.document(master));
                std::thread::spawn(move || http.put("/master", &document))
            })
            .into();
        // Usually one runs and the other waits. If a pass of enforcement runs just then, both would wait,
        // and only the newer one does.
        let answers = answers.into_iter().map(|answer| answer.join().expect("answered"));
        let (applied, displaced): (Vec<_>, Vec<_>) = answers.partition(|answer| answer.status == 200);
        assert!(!applied.is_empty(), "round {round}: {displaced:?}");
        for answer in displaced {
            assert_problem(&answer, 409, "superseded");
        }
        let in_force = cluster.dictator.http().get("/master").json();
        let master = (0..3).find(|master| cluster.document(*master) == in_force).expect("one of ours");
        cluster.assert_settled_under_load(master);
        load.wait_acknowledged(300);
    }
    let history = cluster.dictator.http().get("/history").json();
    let mut generations: Vec<u64> = history
        .as_array()
        .expect("entries")
        .iter()
        .filter(|entry| entry["outcome"] == "switched")
        .filter_map(|entry| entry["receipt"]["generation"].as_u64())
        .collect();
    let count = generations.len();
    generations.sort_unstable();
    generations.dedup();
    assert_eq!(generations.len(), count, "each switch has a generation of its own: {history}");
    let ledger = load.stop();
    wait_equal_data(&cluster.all());
    let in_force = cluster.dictator.http().get("/master").json();
    let master = (0..3).find(|master| cluster.document(*master) == in_force).expect("one of ours");
    let tally = ledger.verify(cluster.nodes[master].address());
    assert!(tally.is_clean(), "{tally}: {:?} {:?}", tally.missing, tally.phantom);
}

#[test]
fn revisions_only_grow() {
    let cluster = Cluster::start(2, &RedisOptions::default(), &quick_without_enforcement());
    let http = cluster.dictator.http();
    let put = |revision: &str, master: usize| {
        http.put_with("/master?wait=links", &[("X-Topology-Revision", revision)], &cluster.document(master))
    };
    let receipt = put("10", 0).expect(200).json();
    assert_eq!(receipt["revision"], 10, "{receipt}");

    let answer = assert_untouched(&cluster.all(), || put("9", 1));
    let problem = assert_problem(&answer, 409, "stale-revision");
    assert_eq!((&problem["evidence"]["given"], &problem["evidence"]["in_force"]), (&9.into(), &10.into()));

    let receipt = assert_untouched(&cluster.all(), || put("10", 0)).expect(200).json();
    assert_eq!(receipt["outcome"], "unchanged", "the trigger of a node that restarted: {receipt}");

    let answer = assert_untouched(&cluster.all(), || put("10", 1));
    assert_problem(&answer, 409, "revision-conflict");

    // Without a revision it is accepted and keeps the one in force.
    let receipt = cluster.put(1).expect(200).json();
    assert_eq!((&receipt["outcome"], &receipt["revision"]), (&"switched".into(), &10.into()), "{receipt}");
    let answer = http.get("/master").expect(200);
    assert_eq!(answer.header("x-topology-revision"), Some("10"));

    // To go back on purpose: a lower revision, and proof of having seen the present state.
    let tag = answer.header("etag").expect("an entity tag").to_owned();
    let headers = [("X-Topology-Revision", "5"), ("If-Match", tag.as_str())];
    let receipt = http.put_with("/master?wait=links", &headers, &cluster.document(0)).expect(200).json();
    assert_eq!((&receipt["outcome"], &receipt["revision"]), (&"switched".into(), &5.into()), "{receipt}");
    assert_eq!(put("6", 1).expect(200).json()["revision"], 6);
}

#[test]
fn entity_tags_guard_against_the_change_in_between() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let http = cluster.dictator.http();
    let tag = http.get("/master").expect(200).header("etag").expect("an entity tag").to_owned();
    let with = |tag: &str, master: usize| {
        http.put_with("/master?wait=links", &[("If-Match", tag)], &cluster.document(master))
    };
    let answer = with(&tag, 1).expect(200);
    let newer = answer.header("etag").expect("the new entity tag").to_owned();
    assert_ne!(tag, newer);
    assert_eq!(http.get("/master").header("etag"), Some(newer.as_str()));
    let answer = assert_untouched(&cluster.all(), || with(&tag, 0));
    assert_problem(&answer, 412, "precondition-failed");
    assert_eq!(answer.header("etag"), Some(newer.as_str()), "the present one");
    let head = http.request("HEAD", "/master", &[], b"").expect(200);
    assert_eq!((head.header("etag"), head.body.len()), (Some(newer.as_str()), 0));
    with(&newer, 0).expect(200);
}

#[test]
fn a_restarted_dictator_keeps_the_document_in_force() {
    let mut cluster = Cluster::start(3, &RedisOptions::default(), &quick());
    let headers = [("X-Topology-Revision", "7")];
    cluster.dictator.http().put_with("/master?wait=links", &headers, &cluster.document(1)).expect(200);
    let before = cluster.dictator.http().get("/master").expect(200);
    for graceful in [true, false] {
        if graceful {
            assert!(cluster.dictator.stop().success());
        } else {
            cluster.dictator.kill();
        }
        // A stray that nobody PUTs a document about.
        cluster.nodes[2].command("REPLICAOF 127.0.0.1 0");
        cluster.dictator.start_again();
        let after = cluster.dictator.http().get("/master").expect(200);
        assert_eq!(after.json(), before.json());
        for header in ["etag", "x-topology-revision"] {
            assert_eq!(after.header(header), before.header(header), "{header}");
        }
        cluster.assert_settled(1);
    }
    let history = cluster.dictator.http().get("/history").json();
    assert!(history.to_string().contains("established"), "the history is kept: {history}");
}
