//! From the trigger to the URLs: which document, in which order, how often.
#![allow(missing_docs)]

mod support;

use harness::{DaemonOptions, Etcd};
use support::{
    Answer, Receiver, TOPOLOGY, TRIGGER, document, observer, observer_with, wait_delivered, wait_state,
    wait_status,
};

#[test]
fn a_trigger_takes_the_document_to_each_url_in_order() {
    let etcd = Etcd::start();
    let (dictator, dnsd) = (Receiver::start(), Receiver::start());
    let daemon = observer(&etcd, &[&dictator, &dnsd]);
    etcd.put(TOPOLOGY, &document("core-01"));
    let revision = etcd.put(TRIGGER, "1");

    let first = dictator.wait_for(1);
    let second = dnsd.wait_for(1);
    assert_eq!(first.line, "PUT /master HTTP/1.1");
    assert_eq!(second.line, "PUT /dns HTTP/1.1");
    assert!(first.at < second.at, "DNS follows the nodes");
    for request in [&first, &second] {
        assert_eq!(request.text(), document("core-01"), "byte by byte as it was written");
        assert_eq!(request.revision(), revision);
        assert_eq!(request.header("content-type"), Some("application/json"));
    }
    assert_eq!(first.header("host"), Some(dictator.address().to_string().as_str()));
    let request_id = first.header("x-request-id").expect("a request id");
    assert_eq!(second.header("x-request-id"), Some(request_id), "one id along the chain");
    wait_delivered(&daemon, revision);

    let metrics = daemon.http().get("/metrics").text();
    for line in [
        r#"observer_forward_total{target="0",result="accepted"} 1"#.to_owned(),
        r#"observer_forward_total{target="1",result="accepted"} 1"#.to_owned(),
        r#"observer_forward_total{target="1",result="refused"} 0"#.to_owned(),
        format!("observer_watch_revision {revision}"),
        format!("observer_delivered_revision {revision}"),
        "observer_watch_reconnects_total 0".to_owned(),
        "observer_watch_up 1".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
}

#[test]
fn the_generation_of_the_receipt_goes_along_the_chain() {
    let etcd = Etcd::start();
    let (dictator, dnsd, third) = (Receiver::start(), Receiver::start(), Receiver::start());
    let daemon = observer(&etcd, &[&dictator, &dnsd, &third]);
    etcd.put(TOPOLOGY, &document("core-01"));
    dictator.answer(Answer::with("200 OK", &[], r#"{"outcome": "switched", "generation": 7}"#));
    let revision = etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, revision);
    assert_eq!(dictator.wait_for(1).header("x-topology-generation"), None);
    assert_eq!(dnsd.wait_for(1).header("x-topology-generation"), Some("7"));
    assert_eq!(third.wait_for(1).header("x-topology-generation"), Some("7"));
    assert_eq!(daemon.status()["notify"][0]["last"]["generation"], 7);
}

#[test]
fn defining_without_triggering_changes_nothing_even_over_restarts() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    etcd.put(TOPOLOGY, &document("core-01"));
    let first = etcd.put(TRIGGER, "1");
    let mut daemon = observer(&etcd, &[&dictator]);
    wait_delivered(&daemon, first);
    etcd.put(TOPOLOGY, &document("core-02"));
    daemon.kill();
    daemon.start_again();
    wait_delivered(&daemon, first);
    // Another URL makes it unsure that everybody got it, so it is delivered again: the same document.
    daemon.kill();
    let other = Receiver::start();
    daemon.process().recipe_mut().arguments.extend(["--notify".to_owned(), other.url("/dns")]);
    daemon.start_again();
    assert_eq!(other.wait_for(1).text(), document("core-01"));
    wait_delivered(&daemon, first);
    assert_eq!(dictator.revisions(), [first, first]);

    let second = etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, second);
    assert_eq!(dictator.wait_for(3).text(), document("core-02"));
}

#[test]
fn the_document_is_the_one_that_the_trigger_put_in_force() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    etcd.put(TOPOLOGY, &document("before"));
    let revision = etcd.put(TRIGGER, "1");
    etcd.put(TOPOLOGY, &document("after"));
    let daemon = observer(&etcd, &[&dictator]);
    wait_delivered(&daemon, revision);
    assert_eq!(dictator.wait_for(1).text(), document("before"));
    assert_eq!(dictator.revisions(), [revision]);
}

#[test]
fn the_trigger_may_hold_the_document_itself() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    let options = DaemonOptions::new()
        .variable("ETCD_MACHINES", &etcd.url())
        .variable("TRIGGER", TOPOLOGY)
        .variable("NOTIFIES", &dictator.url("/master"));
    let daemon = harness::Daemon::start("observer", &options, &|_| Vec::new());
    for master in ["core-01", "core-02"] {
        let revision = etcd.put(TOPOLOGY, &document(master));
        wait_delivered(&daemon, revision);
        assert_eq!(dictator.received().last().expect("a request").text(), document(master));
    }
}

#[test]
fn nothing_that_is_written_while_it_is_busy_is_missed() {
    let etcd = Etcd::start();
    let (dictator, dnsd) = (Receiver::start(), Receiver::start());
    let daemon = observer(&etcd, &[&dictator, &dnsd]);
    etcd.put(TOPOLOGY, &document("one"));
    dictator.hold();
    let first = etcd.put(TRIGGER, "1");
    dictator.wait_for(1);
    etcd.put(TOPOLOGY, &document("two"));
    etcd.put(TRIGGER, "2");
    etcd.put(TOPOLOGY, &document("three"));
    let last = etcd.put(TRIGGER, "3");
    dictator.release();
    wait_delivered(&daemon, last);
    // The chain under way is finished, for clients have to find the master that it moved; then only the
    // newest trigger counts.
    assert_eq!(dictator.revisions(), [first, last]);
    assert_eq!(dnsd.revisions(), [first, last]);
    assert_eq!(dnsd.wait_for(1).text(), document("one"));
    assert_eq!(dnsd.wait_for(2).text(), document("three"));
}

#[test]
fn what_was_triggered_while_it_was_stopped_arrives_once() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    let mut daemon = observer(&etcd, &[&dictator]);
    assert!(daemon.stop().success());
    etcd.put(TOPOLOGY, &document("core-01"));
    let revision = etcd.put(TRIGGER, "1");
    daemon.start_again();
    wait_delivered(&daemon, revision);
    daemon.kill();
    daemon.start_again();
    wait_delivered(&daemon, revision);
    assert_eq!(dictator.revisions(), [revision]);
}

#[test]
fn a_delivery_that_was_cut_off_is_done_again() {
    let etcd = Etcd::start();
    let (dictator, dnsd) = (Receiver::start(), Receiver::start());
    let mut daemon = observer(&etcd, &[&dictator, &dnsd]);
    etcd.put(TOPOLOGY, &document("core-01"));
    dnsd.hold();
    let revision = etcd.put(TRIGGER, "1");
    dnsd.wait_for(1);
    daemon.kill();
    dnsd.release();
    daemon.start_again();
    wait_delivered(&daemon, revision);
    assert_eq!(dictator.revisions(), [revision, revision]);
    assert_eq!(dnsd.revisions(), [revision, revision]);
}

#[test]
fn a_stop_does_not_wait_for_a_receiver_that_hangs() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    let mut daemon = observer(&etcd, &[&dictator]);
    dictator.hold();
    etcd.put(TOPOLOGY, &document("core-01"));
    etcd.put(TRIGGER, "1");
    dictator.wait_for(1);
    assert!(daemon.stop().success());
}

#[test]
fn the_trigger_is_passed_on_after_success_only() {
    let etcd = Etcd::start();
    let (dictator, dnsd) = (Receiver::start(), Receiver::start());
    let options = DaemonOptions::new()
        .flag("--retrigger", "/next/trigger")
        .flag("--slow-retry", "100ms")
        .allow_log("not-accepted", "the test lets dnsd refuse");
    let daemon = observer_with(&etcd, &[&dictator, &dnsd], options);
    etcd.put(TOPOLOGY, &document("core-01"));
    dnsd.answer(Answer::status("409 Conflict"));
    let revision = etcd.put(TRIGGER, "the value");
    dnsd.wait_for(2);
    assert_eq!(etcd.get("/next/trigger"), None, "not before success");
    dnsd.answer(Answer::status("204 No Content"));
    wait_delivered(&daemon, revision);
    assert_eq!(etcd.get("/next/trigger").as_deref(), Some("the value"));
}

#[test]
fn a_deleted_trigger_changes_nothing_and_the_next_one_is_delivered() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    let options = DaemonOptions::new().allow_log("trigger-deleted", "the test deletes it");
    let daemon = observer_with(&etcd, &[&dictator], options);
    wait_state(&daemon, "no_trigger");
    etcd.put(TOPOLOGY, &document("core-01"));
    let first = etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, first);
    etcd.delete(TRIGGER);
    let status = wait_status(&daemon, "a deleted trigger", |status| !status["problems"][0].is_null());
    assert_eq!(status["state"], "no_trigger");
    assert_eq!(status["problems"][0]["problem"], "trigger-deleted");
    let second = etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, second);
    assert_eq!(dictator.revisions(), [first, second]);
}
