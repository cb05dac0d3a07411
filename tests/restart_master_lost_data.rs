//! A granted master that comes back with less than its slaves hold must not make them wipe themselves: the
//! slaves are parked first, then compared, and where offsets survive the most advanced node goes on.
#![allow(missing_docs, reason = "a test")]

use std::time::Duration;

use harness::cluster::{Cluster, assert_problem, assert_settled, assert_takes_writes, quick};
use harness::redis::{Persistence, RedisOptions};
use harness::wait::ensure;
use harness::{DaemonOptions, Redis, wait_until};
use serde_json::{Value, json};

const KEYS: u64 = 100;
const PARKED: &str = "127.0.0.1:0";
/// How long the slave has to be missed to hold nobody up, in milliseconds.
const AWAY_MIN_MS: u64 = 4_000;
/// How long enforcement may take to notice something.
const NOTICED_DEADLINE: Duration = Duration::from_secs(10);

fn told(options: DaemonOptions) -> DaemonOptions {
    options.allow_log("the topology cannot be kept", "a master that lost data is a human's business")
}

/// An established cluster of nodes whose data is worth something, seen in good health by the heartbeat.
fn filled(count: usize, redis: &RedisOptions, dictator: &DaemonOptions) -> Cluster {
    let cluster = Cluster::established(count, redis, dictator);
    cluster.nodes[0].fill(0..KEYS);
    cluster.assert_settled(0);
    cluster.wait_no_drift();
    cluster.nodes.iter().for_each(Redis::wait_on_disk);
    cluster
}

fn wait_parked(nodes: &[&Redis]) {
    for node in nodes {
        wait_until("a slave to be parked", NOTICED_DEADLINE, || {
            ensure(node.follows().as_deref() == Some(PARKED), format!("{:?}", node.follows()))
        });
    }
}

/// The document that the refusal's advice describes: the better node as master, the restarted life given up.
fn advised(cluster: &Cluster, problem: &Value, lost: usize) -> (usize, Value) {
    let better = problem["evidence"]["better"].as_str().expect("the better node");
    let better = cluster.nodes.iter().position(|node| node.address().to_string() == better).expect("a node");
    let mut document = cluster.document(better);
    let entry = cluster.nodes[lost].discard_json();
    let advice = problem["do"].as_str().expect("advice");
    assert!(advice.contains(&cluster.nodes[better].address().to_string()), "{advice}");
    assert!(advice.contains(&cluster.nodes[lost].run_id()), "{advice}");
    document["discard"] = json!([entry]);
    (better, document)
}

/// Asks for the restarted node 0 once more, is refused, and does as advised. Returns who was the better node.
fn follow_advice(cluster: &Cluster) -> usize {
    let problem = assert_problem(&cluster.put(0), 409, "master-lost-data");
    let (better, document) = advised(cluster, &problem, 0);
    cluster.put_document(&document).expect(200);
    better
}

/// Waits until what the slave that came back holds is told.
fn wait_compared(cluster: &Cluster) {
    let holds = format!("holds {KEYS}");
    wait_until("the slave to be compared", NOTICED_DEADLINE, || {
        let status = cluster.dictator.status();
        let told = status["problem"]["detail"].as_str().unwrap_or_default().contains(&holds);
        ensure(told, status.to_string())
    });
}

/// What the heartbeat has written down.
fn heartbeat(cluster: &Cluster) -> Value {
    let path = cluster.dictator.state_folder().join("record.json");
    let record: Value = serde_json::from_slice(&std::fs::read(path).expect("a record")).expect("JSON");
    record["heartbeat"].clone()
}

#[test]
fn a_master_that_lost_its_volume_is_refused_and_its_slaves_stay_whole() {
    for plain in [false, true] {
        let born = if plain { RedisOptions::plain() } else { RedisOptions::default() };
        let mut cluster = filled(3, &born, &told(quick()));
        // A plain node that comes up empty while its slaves try to reach it every second wipes them before
        // anyone can look; what is shown here is that the dictator does not add to that.
        if plain {
            cluster.nodes[1].command("REPLICAOF 127.0.0.1 0");
            cluster.nodes[2].command("REPLICAOF 127.0.0.1 0");
            cluster.dictator.kill();
        }
        cluster.nodes[0].kill();
        cluster.nodes[0].lose_data();
        cluster.nodes[0].start_again();
        if plain {
            cluster.dictator.start_again();
        }
        cluster.wait_stuck("master-lost-data");
        wait_parked(&[&cluster.nodes[1], &cluster.nodes[2]]);
        assert_eq!((cluster.nodes[1].keys(), cluster.nodes[2].keys()), (KEYS, KEYS));

        let problem = assert_problem(&cluster.put(0), 409, "master-lost-data");
        assert_eq!(problem["evidence"]["nodes"].as_array().map(Vec::len), Some(3), "{problem}");
        let (better, document) = advised(&cluster, &problem, 0);
        let receipt = cluster.put_document(&document).expect(200).json();
        assert_eq!((&receipt["outcome"], &receipt["provable"]), (&json!("switched"), &json!(false)));
        cluster.assert_settled(better);
        assert_eq!(cluster.nodes[0].keys(), KEYS, "the empty node was filled again");
        assert_takes_writes(&cluster.nodes[better]);
    }
}

#[test]
fn a_master_put_back_from_an_old_backup_is_refused() {
    let mut cluster = filled(3, &RedisOptions::default(), &told(quick()));
    cluster.nodes[0].back_up();
    cluster.assert_settled(0);
    cluster.wait_no_drift();
    cluster.nodes[0].fill(KEYS..2 * KEYS);
    cluster.assert_settled(0);
    cluster.nodes[0].put_back();

    cluster.wait_stuck("master-lost-data");
    wait_parked(&[&cluster.nodes[1], &cluster.nodes[2]]);
    assert_eq!(cluster.nodes[0].keys(), KEYS);
    let better = follow_advice(&cluster);
    cluster.assert_settled(better);
    assert_eq!(cluster.nodes[0].keys(), 2 * KEYS);
}

#[test]
fn of_nodes_with_comparable_offsets_the_most_advanced_goes_on_and_hands_over() {
    let options = RedisOptions::default().persistence(Persistence::Rdb);
    let mut cluster = filled(3, &options, &told(quick()));
    cluster.nodes[0].command("SAVE");
    cluster.nodes[0].fill(KEYS..2 * KEYS);
    cluster.assert_settled(0);
    // Killed, it comes back with what it saved before the second half was written.
    cluster.nodes[0].kill();
    cluster.nodes[0].start_again();
    cluster.assert_settled(0);
    for node in &cluster.nodes {
        assert_eq!(node.keys(), 2 * KEYS, "{}", node.address());
    }
    assert_takes_writes(&cluster.nodes[0]);
    // It was not simply resumed: somebody else was granted in between, and handed over with proof.
    wait_until("the hand-over to be told in the history", NOTICED_DEADLINE, || {
        let history = cluster.dictator.http().get("/history").json();
        let proven = history.as_array().into_iter().flatten().any(|entry| {
            let receipt = &entry["receipt"];
            entry["cause"] == "enforcement"
                && entry["outcome"] == "switched"
                && receipt["provable"] == true
                && receipt["frozen_offset"].is_u64()
        });
        ensure(proven, history.to_string())
    });
}

#[test]
fn a_slave_that_was_last_seen_with_more_is_waited_for() {
    let options = RedisOptions::default().persistence(Persistence::Rdb);
    let mut cluster = filled(2, &options, &told(quick()));
    cluster.nodes[0].command("SAVE");
    cluster.nodes[0].fill(KEYS..2 * KEYS);
    cluster.assert_settled(0);
    let offset = cluster.nodes[1].info_field("slave_repl_offset").parse::<u64>().expect("an offset");
    wait_until("the heartbeat to see the slave there", NOTICED_DEADLINE, || {
        let seen = heartbeat(&cluster);
        let nodes = seen["nodes"].as_array().cloned().unwrap_or_default();
        ensure(nodes.iter().all(|node| node["offset"].as_u64() >= Some(offset)), seen.to_string())
    });
    cluster.nodes[1].stop();
    cluster.nodes[0].kill();
    cluster.nodes[0].start_again();
    cluster.wait_stuck("master-lost-data");
    assert_eq!((cluster.nodes[0].role().as_str(), cluster.nodes[0].keys()), ("slave", KEYS));
    let problem = assert_problem(&cluster.put(0), 409, "master-lost-data");
    let said = problem["detail"].as_str().expect("a sentence");
    assert!(said.contains(&cluster.nodes[1].address().to_string()), "{said}");
    // It returns, is compared, is granted, and hands over to the master of the document.
    cluster.nodes[1].start_again();
    cluster.assert_settled(0);
    assert_eq!(cluster.nodes[0].keys(), 2 * KEYS);
}

#[test]
fn an_empty_master_whose_only_slave_is_away_is_not_resumed() {
    let mut cluster = filled(2, &RedisOptions::default(), &told(quick()));
    cluster.nodes[1].kill();
    cluster.nodes[0].kill();
    cluster.nodes[0].lose_data();
    cluster.nodes[0].start_again();
    cluster.wait_stuck("master-lost-data");
    assert_eq!(cluster.nodes[0].role(), "slave");
    cluster.nodes[1].start_again();
    wait_compared(&cluster);
    assert_eq!(follow_advice(&cluster), 1);
    assert_settled(&cluster.nodes[1], &[&cluster.nodes[0]]);
    assert_eq!(cluster.nodes[0].keys(), KEYS);
}

/// Takes the end of the append-only file away, as a power cut does.
fn lose_end(node: &Redis) {
    const LOST_BYTES: u64 = 200;
    let folder =
        std::fs::read_dir(node.folder().join("appendonlydir")).expect("a folder of append-only files");
    let paths = folder.map(|entry| entry.expect("a readable entry").path());
    let path = paths
        .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .max_by_key(|path| path.metadata().expect("a file").len())
        .expect("what was written since the base");
    let file = std::fs::File::options().write(true).open(&path).expect("a writable file");
    let length = file.metadata().expect("a file").len();
    file.set_len(length.checked_sub(LOST_BYTES).expect("more than that was written"))
        .expect("a shorter file");
}

#[test]
fn a_master_whose_file_lost_its_end_waits_for_the_slave_that_went_down_with_it() {
    let mut cluster = filled(3, &RedisOptions::default(), &told(quick()));
    for node in [1, 0] {
        cluster.nodes[node].kill();
    }
    lose_end(&cluster.nodes[0]);
    // It shall not take the missing writes from this one.
    cluster.nodes[2].kill();
    cluster.nodes[2].lose_data();
    cluster.nodes[0].start_again();
    cluster.nodes[2].start_again();
    cluster.wait_stuck("master-lost-data");
    assert_eq!(cluster.nodes[0].role(), "slave", "it is not given its role back");
    let kept = cluster.nodes[0].keys();
    assert!((1..KEYS).contains(&kept), "the end is lost and nothing else: {kept}");
    let problem = assert_problem(&cluster.put(0), 409, "master-lost-data");
    let said = problem["detail"].as_str().expect("a sentence");
    assert!(said.contains(&cluster.nodes[1].address().to_string()), "{said}");

    cluster.nodes[1].start_again();
    wait_compared(&cluster);
    assert_eq!(follow_advice(&cluster), 1);
    cluster.assert_settled(1);
    assert_eq!(cluster.nodes[0].keys(), KEYS, "nothing is missing");
}

#[test]
fn a_slave_that_was_switched_off_long_before_holds_no_restarted_master_up() {
    let mut cluster = filled(2, &RedisOptions::default(), &quick());
    cluster.nodes[1].kill();
    wait_until("the slave to be missed for long", NOTICED_DEADLINE, || {
        let seen = heartbeat(&cluster);
        let time = |name: &str| seen["away"][0][name].as_u64().unwrap_or_default();
        ensure(time("until_unix_ms") >= time("since_unix_ms") + AWAY_MIN_MS, seen.to_string())
    });
    cluster.nodes[0].kill();
    cluster.nodes[0].start_again();
    wait_until("the master to be given its role back", NOTICED_DEADLINE, || {
        ensure(cluster.nodes[0].role() == "master", cluster.dictator.status().to_string())
    });
    assert_eq!(cluster.nodes[0].keys(), KEYS);
    cluster.nodes[1].start_again();
    cluster.assert_settled(0);
}
