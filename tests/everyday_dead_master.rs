//! A master that is dead, or seems to be: what replaces it, and what becomes of it when it returns.
#![allow(missing_docs)]

use std::time::Duration;

use harness::cluster::{
    Cluster, assert_problem, assert_settled, assert_takes_writes, assert_untouched, quick,
    quick_without_enforcement,
};
use harness::redis::RedisOptions;
use harness::wait::ensure;
use harness::{DaemonOptions, wait_until};
use serde_json::{Value, json};

fn announced(options: DaemonOptions) -> DaemonOptions {
    options.allow_log("the topology cannot be kept", "the acting master is down, somebody has to decide")
}

fn established(options: &DaemonOptions) -> Cluster {
    let cluster = Cluster::established(3, &RedisOptions::default(), options);
    cluster.nodes[0].command("SET a 1");
    cluster.assert_settled(0);
    cluster.put(0).expect(200);
    cluster
}

/// The document that gives node 0 up, with the entry just as the refusal prints it.
fn giving_up(cluster: &Cluster, problem: &Value) -> Value {
    let advice = problem["do"].as_str().expect("an advice");
    let (start, end) = (advice.find("\"discard\":[").expect("an entry to paste"), advice.rfind(']'));
    let entry = &advice[start..=end.expect("the entry's end")];
    let mut document = cluster.document(1);
    document["discard"] =
        serde_json::from_str::<Value>(&format!("{{{entry}}}")).expect("JSON")["discard"].take();
    document
}

#[test]
fn a_dead_master_is_replaced_by_naming_it_in_discard() {
    let mut cluster = established(&announced(quick()));
    let run_id = cluster.nodes[0].run_id();
    cluster.nodes[0].kill();

    let survivors = [&cluster.nodes[1], &cluster.nodes[2]];
    let answer = assert_untouched(&survivors, || cluster.dictator.put_master(&cluster.document(1)));
    let problem = assert_problem(&answer, 409, "acting-master-unreachable");
    assert_eq!(problem["evidence"]["run_id"], run_id, "{problem}");

    let document = giving_up(&cluster, &problem);
    assert_eq!(document["discard"][0]["run_id"], run_id, "{document}");
    let receipt = cluster.dictator.put_master(&document).expect(200).json();
    assert_eq!(receipt["provable"], false, "{receipt}");
    assert_eq!(receipt["generation"], 2, "{receipt}");
    assert_settled(&cluster.nodes[1], &[&cluster.nodes[2]]);
    assert_eq!(cluster.nodes[1].command("GET a").text(), "1");
    assert_takes_writes(&cluster.nodes[1]);

    cluster.nodes[0].start_again();
    cluster.assert_settled(1);
    assert_takes_writes(&cluster.nodes[1]);
}

#[test]
fn a_master_that_only_slept_is_parked_before_anything_else_when_it_wakes() {
    let mut cluster = established(&announced(quick()));
    let document = {
        let mut document = cluster.document(1);
        document["discard"] = json!([cluster.nodes[0].discard_json()]);
        document
    };
    cluster.nodes[0].process().freeze();
    let receipt = cluster.dictator.put_master(&document).expect(200).json();
    assert_eq!(receipt["master"]["port"], cluster.nodes[1].address().port(), "{receipt}");
    cluster.nodes[1].command("SET b 1");
    cluster.nodes[0].process().thaw();
    cluster.assert_settled(1);
    assert_eq!(cluster.nodes[0].command("GET b").text(), "1");
    cluster.wait_no_drift();

    // The permission is used up, although the document that gives it is still in force and the life it
    // names goes on: the next time that this node is away it must be given up anew.
    cluster.dictator.put_master(&document).expect(200);
    let mut back = cluster.document(0);
    back["discard"] = document["discard"].clone();
    cluster.put_document(&back).expect(200);
    cluster.assert_settled(0);
    cluster.nodes[0].process().freeze();
    let answer = cluster.dictator.put_master(&document);
    let problem = assert_problem(&answer, 409, "acting-master-unreachable");
    assert!(problem["do"].as_str().expect("advice").contains("given up once"), "{problem}");
    cluster.nodes[0].process().thaw();
    cluster.assert_settled(0);
}

#[test]
fn a_master_given_up_before_that_never_comes_back_is_replaced_by_starting_over() {
    let mut cluster = established(&announced(quick()));
    let discard = json!([cluster.nodes[0].discard_json()]);
    let mut document = cluster.document(1);
    document["discard"] = discard;
    cluster.nodes[0].process().freeze();
    cluster.dictator.put_master(&document).expect(200);
    cluster.nodes[0].process().thaw();
    cluster.assert_settled(1);
    cluster.move_to(0);
    cluster.nodes[0].command("SET b 1");
    cluster.assert_settled(0);
    cluster.nodes[0].kill();
    assert_problem(&cluster.dictator.put_master(&document), 409, "acting-master-unreachable");

    // As docs/losslessness.md says: without the record, and with the living nodes alone.
    cluster.dictator.stop();
    std::fs::remove_dir_all(cluster.dictator.state_folder()).expect("the state folder");
    cluster.dictator.start_again();
    cluster.nodes[1].command("REPLICAOF NO ONE");
    document["discard"] = json!([]);
    document["slaves"].as_array_mut().expect("slaves").retain(|slave| *slave != cluster.nodes[0].json());
    let receipt = cluster.dictator.put_master(&document).expect(200).json();
    assert_eq!(receipt["outcome"], "established", "{receipt}");
    assert_settled(&cluster.nodes[1], &[&cluster.nodes[2]]);
    assert_eq!(cluster.nodes[1].command("GET b").text(), "1");
    assert_takes_writes(&cluster.nodes[1]);
}

#[test]
fn a_discard_names_one_life_and_permits_nothing_for_another() {
    let mut cluster = established(&announced(quick_without_enforcement()));
    let mut document = cluster.document(1);
    document["discard"] = json!([cluster.nodes[0].discard_json()]);
    document["discard"][0]["run_id"] = "0123456789012345678901234567890123456789".into();
    cluster.nodes[0].kill();
    let survivors = [&cluster.nodes[1], &cluster.nodes[2]];
    let answer = assert_untouched(&survivors, || cluster.dictator.put_master(&document));
    assert_problem(&answer, 409, "acting-master-unreachable");
}

#[test]
fn only_the_most_advanced_slave_replaces_a_dead_master() {
    let mut cluster = established(&announced(quick_without_enforcement()));
    let discard = cluster.nodes[0].discard_json();
    // Somebody parks node 1, so it misses a write that node 2 has.
    cluster.nodes[1].command("REPLICAOF 127.0.0.1 0");
    cluster.nodes[0].command("SET b 1");
    wait_until("the write to arrive", Duration::from_secs(5), || {
        let text = cluster.nodes[2].command("GET b").text();
        ensure(text == "1", text)
    });
    cluster.nodes[0].kill();
    let with = |master: usize| {
        let mut document = cluster.document(master);
        document["discard"] = json!([discard]);
        document
    };
    let survivors = [&cluster.nodes[1], &cluster.nodes[2]];
    let answer = assert_untouched(&survivors, || cluster.dictator.put_master(&with(1)));
    let problem = assert_problem(&answer, 409, "target-behind");
    let better = cluster.nodes[2].address().to_string();
    assert_eq!(problem["evidence"]["better"], better, "{problem}");
    cluster.dictator.put_master(&with(2)).expect(200);
    assert_settled(&cluster.nodes[2], &[&cluster.nodes[1]]);
    assert_eq!(cluster.nodes[1].command("GET b").text(), "1");
}
