//! Settings and orders that somebody else left behind on a node.
#![allow(missing_docs, reason = "a test")]

use std::time::Duration;

use harness::cluster::{
    Cluster, assert_problem, assert_takes_writes, assert_untouched, quick, quick_without_enforcement,
};
use harness::redis::RedisOptions;
use harness::wait::ensure;
use harness::{Daemon, HttpAnswer, Load, LoadOptions, Redis, topology, wait_until};
use serde_json::{Value, json};

const NOTICED_DEADLINE: Duration = Duration::from_secs(10);
/// Writes that show that the load goes on.
const WRITES_MIN: u64 = 50;

fn dry_run(cluster: &Cluster, master: usize) -> HttpAnswer {
    cluster.dictator.http().put("/master?dry_run=true", &cluster.document(master))
}

#[test]
fn min_replicas_on_the_target_is_warned_of_in_plan_and_receipt() {
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick_without_enforcement());
    cluster.nodes[1].command("CONFIG SET min-replicas-to-write 2");
    let warned = |answer: &Value| {
        let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
        let found =
            warnings.iter().filter_map(Value::as_str).find(|text| text.contains("min-replicas-to-write 2"));
        let text = found.unwrap_or_else(|| panic!("no warning in {answer}"));
        assert!(text.contains(&cluster.nodes[1].address().to_string()), "{text}");
    };
    warned(&dry_run(&cluster, 1).expect(200).json());
    let receipt = cluster.put(1).expect(200).json();
    warned(&receipt);
    cluster.assert_settled(1);
    // It is the operator's setting: warned of, and neither changed nor in the way once the slaves follow.
    let setting = cluster.nodes[1].command("CONFIG GET min-replicas-to-write").elements();
    assert_eq!(setting[1].text(), "2");
    wait_until("the slaves to be counted", NOTICED_DEADLINE, || {
        let reply = cluster.nodes[1].command("SET a 1").text();
        ensure(reply == "OK", reply)
    });
}

#[test]
fn a_pause_that_somebody_left_on_the_target_is_refused_before_anything() {
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick_without_enforcement());
    cluster.nodes[1].command("CLIENT PAUSE 60000 WRITE");
    let problem = assert_problem(&cluster.put(1), 409, "target-unfit");
    assert_eq!(problem["evidence"]["paused"], true, "{problem}");
    cluster.assert_settled(0);
    assert_takes_writes(&cluster.nodes[0]);
    cluster.nodes[1].command("CLIENT UNPAUSE");
    cluster.move_to(1);
    assert_takes_writes(&cluster.nodes[1]);
}

#[test]
fn a_pause_that_somebody_left_on_the_acting_master_ends_with_the_hand_over() {
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick_without_enforcement());
    let load = Load::start(LoadOptions { writers: 4, ..LoadOptions::on(&cluster.all()) });
    load.wait_acknowledged(WRITES_MIN);
    cluster.nodes[0].command("CLIENT PAUSE 60000 WRITE");
    let receipt = cluster.put(1).expect(200).json();
    assert_eq!(receipt["outcome"], "switched", "{receipt}");
    // The writers that were held back were told where they are, and went to the new master.
    load.wait_acknowledged(WRITES_MIN);
    let ledger = load.stop();
    cluster.assert_settled(1);
    let tally = ledger.verify(cluster.nodes[1].address());
    assert!(tally.is_clean(), "{tally}");
    // And it does not hang over the old master when it becomes the master again.
    cluster.move_to(0);
    assert_takes_writes(&cluster.nodes[0]);
}

#[test]
fn a_slave_without_masterauth_is_pending_and_the_reason_says_so() {
    let secured = RedisOptions::default().line("requirepass secret");
    let nodes = [
        Redis::start_with(&secured.clone().line("masterauth secret")),
        Redis::start_with(&secured.clone().line("masterauth secret")),
        Redis::start_with(&secured),
    ];
    let dictator = Daemon::dictator(&quick().variable("DICTATOR_REDIS_PASSWORD", "secret"));
    let document = topology(&nodes[0], &[&nodes[1], &nodes[2]]);
    dictator.put_master(&document).expect(200);
    let late = wait_until("only the slave without masterauth to be late", NOTICED_DEADLINE, || {
        let answer = dictator.put_master(&document);
        let pending = answer.json()["pending"].as_array().cloned().unwrap_or_default();
        if pending.len() == 1 { Ok(pending[0].clone()) } else { Err(answer.text()) }
    });
    assert_eq!(late["port"], nodes[2].address().port(), "{late}");
    let reason = late["reason"].as_str().expect("a reason");
    assert!(reason.contains("masterauth"), "{reason}");
    // Who asks to wait for links waits for this one too, though there is nothing to be changed.
    let (http, body) = (dictator.http(), document.to_string());
    let waiting =
        std::thread::spawn(move || http.try_request("PUT", "/master?wait=links", &[], body.as_bytes()));
    wait_until("the change to look at the links", NOTICED_DEADLINE, || {
        let status = dictator.status();
        ensure(status["change"]["step"] == "verify" || waiting.is_finished(), status.to_string())
    });
    // Mended, it needs nobody's help.
    let mut connection = nodes[2].connect();
    connection.command(&["AUTH", "secret"]).expect("an answer");
    connection.command(&["CONFIG", "SET", "masterauth", "secret"]).expect("an answer");
    let receipt = waiting.join().expect("the request does not panic").expect("an answer").expect(200).json();
    assert_eq!((&receipt["outcome"], &receipt["pending"]), (&"unchanged".into(), &json!([])), "{receipt}");
    wait_until("the slave's link", NOTICED_DEADLINE, || {
        let status = dictator.status();
        ensure(status["drift"] == false, status.to_string())
    });
}

#[test]
fn a_refusal_over_a_setting_touches_no_node() {
    let cluster = Cluster::established(3, &RedisOptions::default(), &quick_without_enforcement());
    cluster.nodes[2].command("CONFIG SET replica-read-only no");
    let answer = assert_untouched(&cluster.all(), || cluster.put(1));
    let problem = assert_problem(&answer, 409, "target-unfit");
    assert_eq!(problem["node"], cluster.nodes[2].address().to_string(), "{problem}");
}
