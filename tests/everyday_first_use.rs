//! The first document a cluster ever gets, and the same one again.
#![allow(missing_docs)]

use harness::cluster::{Cluster, assert_settled, assert_takes_writes, quick, quick_without_enforcement};
use harness::redis::{RedisOptions, assert_only_reads, wire_by_hand};
use harness::{Redis, topology};

/// Everything a receipt must have, whatever was done.
const RECEIPT_MEMBERS: [&str; 15] = [
    "outcome",
    "revision",
    "generation",
    "provable",
    "master",
    "slaves",
    "pending",
    "warnings",
    "frozen_offset",
    "target_offset",
    "write_gap_us",
    "full_resyncs",
    "steps",
    "request_id",
    "slaves",
];

#[test]
fn three_empty_nodes_born_unassigned_become_a_cluster() {
    let cluster = Cluster::start(3, &RedisOptions::default(), &quick());
    let answer = cluster.put(0).expect(200);
    let receipt = answer.json();
    for member in RECEIPT_MEMBERS {
        assert!(receipt.get(member).is_some(), "no `{member}` in {receipt}");
    }
    assert_eq!(receipt["outcome"], "established", "{receipt}");
    assert_eq!((&receipt["generation"], &receipt["provable"]), (&1.into(), &true.into()), "{receipt}");
    assert_eq!(receipt["master"]["port"], cluster.nodes[0].address().port(), "{receipt}");
    assert_eq!(receipt["master"]["run_id"], cluster.nodes[0].run_id(), "{receipt}");
    assert_eq!(receipt["write_gap_us"], serde_json::Value::Null, "nothing was handed over: {receipt}");
    let slaves = receipt["slaves"].as_array().expect("slaves");
    assert_eq!(slaves.len(), 2, "{receipt}");
    assert!(slaves.iter().all(|slave| slave["link"] == "up"), "{receipt}");
    assert_eq!(receipt["pending"], serde_json::json!([]), "{receipt}");
    assert_eq!(answer.header("x-request-id"), receipt["request_id"].as_str(), "{receipt}");
    cluster.assert_settled(0);
    assert_takes_writes(&cluster.nodes[0]);
    cluster.assert_settled(0);
}

#[test]
fn three_empty_plain_nodes_become_a_cluster_and_the_receipt_says_what_is_missing() {
    let cluster = Cluster::start(3, &RedisOptions::plain(), &quick());
    let receipt = cluster.move_to(1);
    assert_eq!(receipt["outcome"], "established", "{receipt}");
    let warnings = receipt["warnings"].to_string();
    assert!(warnings.contains("replicaof 127.0.0.1 0"), "{warnings}");
    assert_takes_writes(&cluster.nodes[1]);
}

#[test]
fn one_node_alone_is_a_cluster() {
    let cluster = Cluster::start(1, &RedisOptions::default(), &quick());
    let receipt = cluster.move_to(0);
    assert_eq!(receipt["outcome"], "established", "{receipt}");
    assert_takes_writes(&cluster.nodes[0]);
}

#[test]
fn the_same_document_again_changes_nothing() {
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick_without_enforcement());
    let receipt =
        assert_only_reads(&cluster.all(), || cluster.dictator.put_master(&cluster.document(0)).expect(200));
    let receipt = receipt.json();
    assert_eq!(receipt["outcome"], "unchanged", "{receipt}");
    assert_eq!((&receipt["generation"], &receipt["steps"]), (&1.into(), &serde_json::json!([])), "{receipt}");
}

#[test]
fn the_master_moves_without_a_full_resync_and_the_receipt_proves_it() {
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick());
    cluster.nodes[0].command("SET a 1");
    for round in 1..=4 {
        let receipt = cluster.move_to(round % 3);
        assert_eq!(receipt["outcome"], "switched", "{receipt}");
        assert_eq!(receipt["generation"], 1 + round, "{receipt}");
        assert_eq!(receipt["full_resyncs"], 0, "{receipt}");
        assert_eq!(receipt["provable"], true, "{receipt}");
        let offset = |name: &str| receipt[name].as_u64().expect("an offset");
        assert!(offset("target_offset") >= offset("frozen_offset"), "{receipt}");
        assert!(receipt["write_gap_us"].as_u64().is_some_and(|gap| gap > 0), "{receipt}");
        let steps: Vec<&str> = receipt["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .filter_map(|step| step["step"].as_str())
            .collect();
        let place =
            |wanted| steps.iter().position(|step| *step == wanted).unwrap_or_else(|| panic!("{steps:?}"));
        assert!(place("pause") < place("demote") && place("demote") < place("promote"), "{steps:?}");
    }
    assert_eq!(cluster.nodes[1].command("GET a").text(), "1");
}

#[test]
fn a_cluster_wired_by_hand_is_taken_over_as_it_is() {
    let nodes = Redis::start_many(3, &RedisOptions::plain());
    wire_by_hand(&nodes[0], &[&nodes[1], &nodes[2]]);
    nodes[0].command("SET a 1");
    let dictator = harness::Daemon::dictator(&quick());
    let cluster = Cluster { dictator, nodes };
    let receipt = assert_only_reads(&cluster.all(), || cluster.put(0).expect(200).json());
    assert_eq!(receipt["outcome"], "established", "{receipt}");
    cluster.assert_settled(0);
    assert_eq!(cluster.nodes[2].command("GET a").text(), "1");
}

#[test]
fn the_first_document_may_name_a_slave_of_the_master_that_is_there() {
    let nodes = Redis::start_many(2, &RedisOptions::plain());
    wire_by_hand(&nodes[0], &[&nodes[1]]);
    nodes[0].command("SET a 1");
    let dictator = harness::Daemon::dictator(&quick());
    let cluster = Cluster { dictator, nodes };
    let receipt = cluster.put(1).expect(200).json();
    assert_eq!(receipt["provable"], true, "{receipt}");
    assert!(receipt["write_gap_us"].is_u64(), "it was handed over: {receipt}");
    cluster.assert_settled(1);
    assert_eq!(cluster.nodes[1].command("GET a").text(), "1");
}

#[test]
fn the_plain_curl_of_old_works() {
    let cluster = Cluster::start(2, &RedisOptions::default(), &quick());
    let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "text/plain")];
    let answer = cluster.dictator.http().put_with("/master", &headers, &cluster.document(0)).expect(200);
    assert_eq!(answer.text(), "OK\n");
    let answer = cluster.dictator.http().put_with("/clusters/redis-1/master", &headers, &cluster.document(1));
    assert_eq!(answer.expect(200).text(), "OK\n");
    cluster.assert_settled(1);
}

#[test]
fn a_dry_run_tells_the_plan_and_does_nothing() {
    let cluster = Cluster::start(2, &RedisOptions::default(), &quick());
    let plan = assert_only_reads(&cluster.all(), || {
        cluster.dictator.http().put("/master?dry_run=true", &cluster.document(0)).expect(200).json()
    });
    assert_eq!(plan["would"], "established", "{plan}");
    assert!(plan["plan"].as_array().is_some_and(|steps| !steps.is_empty()), "{plan}");
    assert_eq!(cluster.dictator.http().get("/master").status, 404, "no document is in force");
    cluster.move_to(0);
    let plan = assert_only_reads(&cluster.all(), || {
        cluster.dictator.http().put("/master?dry_run=true", &cluster.document(1)).expect(200).json()
    });
    assert_eq!(plan["would"], "switched", "{plan}");
    assert!(plan["plan"].to_string().contains("hand-over"), "{plan}");
    cluster.assert_settled(0);
}

#[test]
fn names_in_documents_lead_to_nodes() {
    let nodes = Redis::start_many(2, &RedisOptions::default());
    let mut document = topology(&nodes[0], &[&nodes[1]]);
    document["master"]["address"] = "localhost".into();
    let dictator = harness::Daemon::dictator(&quick());
    let receipt = dictator.http().put("/master?wait=links", &document).expect(200).json();
    assert_eq!(receipt["master"]["address"], "localhost", "{receipt}");
    assert_eq!(receipt["master"]["ip"], "127.0.0.1", "{receipt}");
    assert_settled(&nodes[0], &[&nodes[1]]);
    drop(dictator);
}
