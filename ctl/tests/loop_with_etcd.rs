//! The topology in etcd: defined, triggered, switched, with the whole loop behind it.
#![allow(missing_docs)]

mod support;

use harness::cluster::{assert_untouched, quick};
use harness::daemon::{TOPOLOGY_KEY, TRIGGER_KEY};
use harness::ports::free_address;
use harness::{Whole, WholeOptions};
use serde_json::json;
use support::Ctl;

fn whole() -> (Whole, Ctl) {
    let whole = Whole::start(&WholeOptions { dictator: quick(), ..WholeOptions::default() });
    let ctl = Ctl::of(whole.dictator.url("")).with("DICTATORCTL_ETCD", &whole.etcd.url());
    (whole, ctl)
}

#[test]
fn define_changes_nothing_trigger_puts_in_force_and_switch_moves_dns_too() {
    let (whole, ctl) = whole();
    let document = whole.document(0).to_string();
    let all: Vec<_> = whole.nodes.iter().collect();
    assert_untouched(&all, || {
        ctl.run_with_input(&["define", "-"], &document).ended(0).says(&[
            "defined: ",
            TOPOLOGY_KEY,
            "nothing moves",
        ]);
    });
    assert_eq!(whole.etcd.get(TOPOLOGY_KEY), Some(document));
    assert_eq!(whole.etcd.get(TRIGGER_KEY), None);
    ctl.run(&["trigger", "--wait"]).ended(0).says(&["triggered: ", "established: "]);
    whole.wait_published(0);

    let second = whole.nodes[1].address().to_string();
    ctl.run(&["switch", &second]).ended(0).says(&["switched: ", &second]);
    whole.wait_published(1);
    let kept: serde_json::Value =
        serde_json::from_str(&whole.etcd.get(TOPOLOGY_KEY).expect("a document")).expect("JSON");
    assert_eq!(kept["master"], whole.nodes[1].json(), "the next trigger does not move the master back");

    // Somebody defined another document and has not triggered it.
    whole.define(&whole.document(2));
    ctl.run(&["switch", &whole.nodes[0].address().to_string()])
        .ended(3)
        .complains(&["is not the one in force"]);
    ctl.run(&["trigger"]).ended(0).says(&["triggered: "]);
    whole.wait_published(2);
}

#[test]
fn what_is_refused_is_said_and_what_would_be_is_not_written() {
    let (mut whole, ctl) = whole();
    whole.move_to(0);
    let before = whole.etcd.get(TOPOLOGY_KEY);
    for (document, slug) in [
        ("{", "malformed-json"),
        (r#"{"master": {"address": "a"}, "slavs": []}"#, "did you mean `slaves`?"),
        (r#"{"master": {"address": "a b"}, "slaves": []}"#, "invalid-address"),
    ] {
        ctl.run_with_input(&["define", "-"], document).ended(3).complains(&[slug, "nothing was written"]);
    }
    whole.nodes[2].kill();
    let gone = whole.nodes[2].address().to_string();
    ctl.run(&["switch", &gone]).ended(3).complains(&["node-unreachable", "do  "]);
    assert_eq!(whole.etcd.get(TOPOLOGY_KEY), before);
    whole.observer.allow_log("", "it is told to deliver what is refused");
    ctl.run_with_input(&["define", "-"], &whole.document(2).to_string()).ended(0);
    ctl.run(&["trigger", "--wait"]).ended(3).complains(&["refused: ", "[node-unreachable]"]);
}

#[test]
fn an_etcd_that_is_not_there_is_said_in_one_sentence() {
    let nowhere = format!("http://{}", free_address());
    let ctl = Ctl::of("http://127.0.0.1:1");
    let document = json!({"master": {"address": "10.0.0.1"}, "slaves": []}).to_string();
    for command in [&["define", "-"][..], &["trigger"]] {
        let without = ctl.run_with_input(command, &document).ended(64);
        without.complains(&["it is not known where etcd is: give --etcd"]);
        let arguments = [command, &["--etcd", nowhere.as_str()]].concat();
        let ran = ctl.run_with_input(&arguments, &document).ended(69);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        ran.complains(&["etcd could not be asked to write a key"]);
    }
}
