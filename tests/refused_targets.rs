//! Targets that would lose data, or serve other data than was written: each is refused before any pause,
//! with evidence, and nothing is touched.
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::cluster::{
    Cluster, assert_never_paused, assert_problem, assert_settled, assert_takes_writes, assert_untouched,
    quick, quick_without_enforcement,
};
use harness::proxy::{PAUSE, Proxy, clock_ahead, info_field};
use harness::redis::{CommandCounts, Persistence, RedisOptions};
use harness::wait::ensure;
use harness::{Daemon, HttpAnswer, Redis, topology, wait_until};
use serde_json::{Value, json};

/// Asserts that the document is refused so, that nothing was touched, and that writes go on.
#[track_caller]
fn refused(cluster: &Cluster, document: &Value, status: u16, slug: &str) -> Value {
    let answer = assert_untouched(&cluster.all(), || cluster.dictator.put_master(document));
    let problem = assert_problem(&answer, status, slug);
    assert_never_paused(&cluster.all());
    assert_takes_writes(&cluster.nodes[0]);
    problem
}

/// Two nodes, the second one known to the dictator by a proxy that changes what it says of itself.
fn disguised(
    disguise: impl Fn(harness::resp::Reply) -> harness::resp::Reply + Send + Sync + 'static,
) -> Disguised {
    let nodes = Redis::start_many(2, &RedisOptions::default());
    let proxy = Proxy::before(&nodes[1]);
    proxy.rewrite(disguise);
    let dictator = Daemon::dictator(&quick_without_enforcement());
    let first = json!({"master": nodes[0].json(), "slaves": [proxy.json()]});
    dictator.http().put("/master?wait=links", &first).expect(200);
    nodes[0].command("SET a 1");
    assert_settled(&nodes[0], &[&nodes[1]]);
    let moved = json!({"master": proxy.json(), "slaves": [nodes[0].json()]});
    Disguised { cluster: Cluster { dictator, nodes }, moved, _proxy: proxy }
}

struct Disguised {
    cluster: Cluster,
    moved: Value,
    _proxy: Proxy,
}

#[test]
fn an_older_target() {
    let set_up = disguised(info_field("redis_version", "6.2.14"));
    let problem = refused(&set_up.cluster, &set_up.moved, 409, "target-unfit");
    assert_eq!(problem["evidence"]["version"], "6.2.14", "{problem}");
    assert!(problem["evidence"]["acting_version"].is_string(), "{problem}");
}

#[test]
fn a_target_too_old_for_any_of_this() {
    let nodes = Redis::start_many(2, &RedisOptions::default());
    let proxy = Proxy::before(&nodes[1]);
    proxy.rewrite(info_field("redis_version", "5.0.14"));
    let cluster = Cluster { dictator: Daemon::dictator(&quick_without_enforcement()), nodes };
    cluster.put_document(&topology(&cluster.nodes[0], &[])).expect(200);
    let document = json!({"master": cluster.nodes[0].json(), "slaves": [proxy.json()]});
    let problem = refused(&cluster, &document, 422, "unsupported-node");
    assert_eq!(problem["evidence"]["version"], "5.0.14", "{problem}");
}

#[test]
fn a_target_whose_clock_is_wrong() {
    let set_up = disguised(clock_ahead(Duration::from_secs(30)));
    let problem = refused(&set_up.cluster, &set_up.moved, 409, "target-unfit");
    let skew_ms = problem["evidence"]["clock_skew_ms"].as_i64().expect("milliseconds");
    assert!((28_000..=32_000).contains(&skew_ms), "{problem}");
}

#[test]
fn a_target_on_which_commands_of_the_stream_failed() {
    let set_up = disguised(info_field("unexpected_error_replies", "3"));
    let problem = refused(&set_up.cluster, &set_up.moved, 409, "target-unfit");
    assert_eq!(problem["evidence"]["unexpected_error_replies"], 3, "{problem}");
}

#[test]
fn a_target_that_evicted_keys_on_its_own() {
    let set_up = disguised(info_field("evicted_keys", "7"));
    set_up.cluster.nodes[1].command("CONFIG SET replica-ignore-maxmemory no");
    let problem = refused(&set_up.cluster, &set_up.moved, 409, "target-unfit");
    assert_eq!(problem["evidence"]["evicted_keys"], 7, "{problem}");
}

#[test]
fn a_failover_of_redis_itself_is_running() {
    // Not yet while the cluster is set up.
    let running = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&running);
    let failover = info_field("master_failover_state", "waiting-for-sync");
    let disguise = move |reply| if told.load(Ordering::SeqCst) { failover(reply) } else { reply };
    let set_up = disguised(disguise);
    running.store(true, Ordering::SeqCst);
    let problem = refused(&set_up.cluster, &set_up.moved, 409, "target-unfit");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("FAILOVER")), "{problem}");
}

#[test]
fn a_target_on_which_a_pause_is_in_force() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    cluster.nodes[1].command("CLIENT PAUSE 60000 WRITE");
    let before: Vec<CommandCounts> = cluster.nodes.iter().map(Redis::command_counts).collect();
    let answer = cluster.dictator.put_master(&cluster.document(1));
    let problem = assert_problem(&answer, 409, "target-unfit");
    assert_eq!(problem["evidence"]["paused"], true, "{problem}");
    for (node, before) in cluster.nodes.iter().zip(&before) {
        let mut beyond = node.command_counts().since(before).beyond_reads();
        // A pause is felt with a PUBLISH on a connection of its own, which is ended afterwards.
        beyond.remove("client|kill");
        assert!(beyond.is_empty(), "{} was sent {beyond:?}", node.address());
    }
    assert_takes_writes(&cluster.nodes[0]);
    cluster.nodes[1].command("CLIENT UNPAUSE");
    cluster.move_to(1);
}

#[test]
fn a_writable_replica_anywhere() {
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick_without_enforcement());
    for index in 0..3 {
        cluster.nodes[index].command("CONFIG SET replica-read-only no");
        let problem = refused(&cluster, &cluster.document(1), 409, "target-unfit");
        assert_eq!(problem["evidence"]["replica_read_only"], false, "{problem}");
        let port = cluster.nodes[index].address().port().to_string();
        assert!(problem["node"].as_str().is_some_and(|node| node.ends_with(&port)), "{problem}");
        cluster.nodes[index].command("CONFIG SET replica-read-only yes");
    }
    cluster.move_to(1);
}

#[test]
fn a_target_that_is_loading_its_data() {
    const KEYS: u64 = 3000;
    let slow = RedisOptions::default()
        .persistence(Persistence::Rdb)
        .line("key-load-delay 1000")
        .line("loading-process-events-interval-bytes 1024");
    let mut nodes = [Redis::start(), Redis::start_with(&slow)];
    let dictator = Daemon::dictator(&quick_without_enforcement());
    dictator.http().put("/master?wait=links", &topology(&nodes[0], &[&nodes[1]])).expect(200);
    nodes[0].fill(0..KEYS);
    assert_settled(&nodes[0], &[&nodes[1]]);
    nodes[1].stop();
    nodes[1].start_again();
    assert_eq!(nodes[1].info_field("loading"), "1", "the test is in time");
    let answer = dictator.put_master(&topology(&nodes[1], &[&nodes[0]]));
    let problem = assert_problem(&answer, 409, "target-loading");
    assert_eq!(problem["evidence"]["loading"], true, "{problem}");
    assert_never_paused(&nodes.iter().collect::<Vec<_>>());
    assert_takes_writes(&nodes[0]);
    wait_until("the target to have loaded", Duration::from_secs(20), || {
        ensure(nodes[1].info_field("loading") == "0", "loading")
    });
    dictator.http().put("/master?wait=links", &topology(&nodes[1], &[&nodes[0]])).expect(200);
    assert_settled(&nodes[1], &[&nodes[0]]);
    drop(dictator);
}

/// A cluster of two whose slave follows through a proxy that can hold replication back.
fn slow_replication() -> (Cluster, Proxy, Value) {
    let nodes = Redis::start_many(2, &RedisOptions::default());
    let proxy = Proxy::before(&nodes[0]);
    let cluster = Cluster { dictator: Daemon::dictator(&quick_without_enforcement()), nodes };
    let first = json!({"master": proxy.json(), "slaves": [cluster.nodes[1].json()]});
    cluster.put_document(&first).expect(200);
    // The stream flows once the first write has arrived.
    cluster.nodes[0].command("SET a 1");
    wait_until("the first write to arrive", Duration::from_secs(5), || {
        ensure(cluster.nodes[1].keys() == 1, "not there")
    });
    let moved = json!({"master": cluster.nodes[1].json(), "slaves": [proxy.json()]});
    (cluster, proxy, moved)
}

#[test]
fn a_target_that_is_linked_and_does_not_come_closer() {
    let (cluster, proxy, moved) = slow_replication();
    proxy.stall_replication(true);
    cluster.nodes[0].command("SET b 1");
    let problem = refused(&cluster, &moved, 504, "sync-timeout");
    let offset = |name: &str| problem["evidence"][name].as_u64().expect("an offset");
    assert!(offset("target_offset") < offset("acting_offset"), "{problem}");
    proxy.stall_replication(false);
    cluster.put_document(&moved).expect(200);
    assert_eq!(cluster.nodes[1].command("GET b").text(), "1");
}

#[test]
fn a_target_that_stops_coming_closer_during_the_pause_changes_nothing() {
    let (cluster, proxy, moved) = slow_replication();
    proxy.hold_at(PAUSE);
    let answer: HttpAnswer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| cluster.dictator.put_master(&moved));
        proxy.wait_held();
        proxy.stall_replication(true);
        cluster.nodes[0].command("SET b 1");
        proxy.release();
        answer.join().expect("answered")
    });
    let problem = assert_problem(&answer, 504, "drain-timeout");
    let offset = |name: &str| problem["evidence"][name].as_u64().expect("an offset");
    assert!(offset("target_offset") < offset("frozen_offset"), "{problem}");
    assert_eq!((cluster.nodes[0].role().as_str(), cluster.nodes[1].role().as_str()), ("master", "slave"));
    assert_takes_writes(&cluster.nodes[0]);
    proxy.stall_replication(false);
    cluster.put_document(&moved).expect(200);
    assert_eq!(cluster.nodes[1].command("GET b").text(), "1");
}

#[test]
fn a_target_that_does_not_answer() {
    let mut cluster = Cluster::established(3, &RedisOptions::default(), &quick_without_enforcement());
    cluster.nodes[1].process().freeze();
    let others = [&cluster.nodes[0], &cluster.nodes[2]];
    let answer = assert_untouched(&others, || cluster.dictator.put_master(&cluster.document(1)));
    assert_problem(&answer, 502, "node-unreachable");
    cluster.nodes[1].process().thaw();
    assert_never_paused(&cluster.all());
    cluster.assert_settled(0);
    cluster.nodes[1].stop();
    let others = [&cluster.nodes[0], &cluster.nodes[2]];
    let answer = assert_untouched(&others, || cluster.dictator.put_master(&cluster.document(1)));
    assert_problem(&answer, 502, "node-unreachable");
    assert_never_paused(&others);
    assert_takes_writes(&cluster.nodes[0]);
}

#[test]
fn foreign_data_on_a_slave_or_target_is_not_erased() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick());
    cluster.nodes[0].command("SET a 1");
    let mut foreign = Redis::start_with(&RedisOptions::plain());
    foreign.command("SET b 2");

    // While it shows that it took writes it is a second master.
    let as_slave = |foreign: &Redis| topology(&cluster.nodes[0], &[&cluster.nodes[1], foreign]);
    let as_target = |foreign: &Redis| topology(foreign, &[&cluster.nodes[0], &cluster.nodes[1]]);
    for document in [as_slave(&foreign), as_target(&foreign)] {
        let problem = assert_untouched(&[&foreign], || refused(&cluster, &document, 409, "split-brain"));
        assert_eq!(problem["evidence"]["keys"], 1, "{problem}");
    }
    // After a restart it only has data that nobody else has.
    foreign.stop();
    foreign.start_again();
    for document in [as_slave(&foreign), as_target(&foreign)] {
        let problem = assert_untouched(&[&foreign], || refused(&cluster, &document, 409, "would-lose-data"));
        assert_eq!(problem["evidence"]["run_id"], foreign.run_id(), "{problem}");
        assert_eq!(foreign.command("GET b").text(), "2");
    }
    // Unless its operator says so of this very life, with the entry from the evidence.
    let mut document = as_slave(&foreign);
    let problem = refused(&cluster, &document, 409, "would-lose-data");
    document["discard"] = json!([problem["evidence"]["discard"]]);
    cluster.put_document(&document).expect(200);
    assert_settled(&cluster.nodes[0], &[&cluster.nodes[1], &foreign]);
    cluster.put(0).expect(200);
}

#[test]
fn two_lineages_and_no_record_are_for_a_human() {
    let nodes = Redis::start_many(2, &RedisOptions::plain());
    nodes[0].command("SET a 1");
    nodes[1].command("SET b 1");
    let cluster = Cluster { dictator: Daemon::dictator(&quick()), nodes };
    let problem = refused(&cluster, &cluster.document(0), 409, "split-brain");
    assert!(problem["node"].is_string(), "{problem}");
    assert_eq!(cluster.dictator.http().get("/master").status, 404, "nothing is in force");
}
