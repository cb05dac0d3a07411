//! Members of groups: what is passed on after the first URL is the document as that one has it.
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use harness::{DaemonOptions, Etcd, wait_until};
use support::{Answer, Receiver, TOPOLOGY, TRIGGER, document, observer_with, wait_delivered, wait_status};

const WRITTEN: &str = r#"{"master": {"address": "a"}, "slaves": [{"srv": "all"}]}"#;

/// The document of the group with these members.
fn with_members(members: &[&str]) -> String {
    let members: Vec<String> = members.iter().map(|name| format!(r#"{{"address":"{name}"}}"#)).collect();
    format!(r#"{{"master":{{"address":"a"}},"slaves":[{{"srv":"all","members":[{}]}}]}}"#, members.join(","))
}

/// What a dictator says to PUT and GET alike; the receiver knows no difference.
fn in_force(revision: u64, tag: &str, members: &[&str]) -> Answer {
    let (revision, tag) = (revision.to_string(), format!("\"{tag}\""));
    let headers = [("ETag", tag.as_str()), ("X-Topology-Revision", revision.as_str())];
    Answer::with("200 OK", &headers, &with_members(members))
}

/// The bodies of all PUTs.
fn puts(receiver: &Receiver) -> Vec<String> {
    let received = receiver.received();
    received.iter().filter(|request| request.line.starts_with("PUT ")).map(support::Received::text).collect()
}

fn wait_puts(receiver: &Receiver, expected: &[String]) {
    wait_until("the documents to arrive", support::SOON, || {
        let puts = puts(receiver);
        if puts == expected { Ok(()) } else { Err(format!("{puts:?}")) }
    });
}

#[test]
fn members_are_passed_on_with_the_document_and_whenever_they_change() {
    let etcd = Etcd::start();
    let (dictator, dnsd) = (Receiver::start(), Receiver::start());
    let options = DaemonOptions::new().allow_log("are not passed on", "dnsd says no once in this test");
    let mut daemon = observer_with(&etcd, &[&dictator, &dnsd], options);
    let revision = etcd.put(TOPOLOGY, WRITTEN) + 1;
    dictator.answer(in_force(revision, "1", &["a", "b"]));
    assert_eq!(etcd.put(TRIGGER, "1"), revision);
    wait_delivered(&daemon, revision);
    assert_eq!(puts(&dictator), [WRITTEN], "the first decides who is in it");
    let mut expected = vec![with_members(&["a", "b"])];
    wait_puts(&dnsd, &expected);

    // Somebody joins; nobody wrote a trigger. A no is tried again.
    dnsd.answer_next(Answer::status("503 Service Unavailable"));
    dictator.answer(in_force(revision, "2", &["a", "b", "c"]));
    expected.extend([with_members(&["a", "b", "c"]), with_members(&["a", "b", "c"])]);
    wait_puts(&dnsd, &expected);
    assert_eq!(dnsd.revisions(), [revision, revision, revision]);
    wait_status(&daemon, "no problem", |status| status["problems"].as_array().is_some_and(Vec::is_empty));

    // What the dictator has from somebody else is not ours to tell.
    dictator.answer(in_force(revision + 7, "3", &["a"]));
    let asked = dictator.received().len();
    dictator.wait_for(asked + 2);
    assert_eq!(puts(&dnsd), expected);

    // A restart tells them what it may have missed.
    daemon.kill();
    dictator.answer(in_force(revision, "4", &["a", "c"]));
    daemon.start_again();
    expected.push(with_members(&["a", "c"]));
    wait_puts(&dnsd, &expected);
    assert_eq!(puts(&dictator), [WRITTEN]);

    // Without a group nobody is asked any more.
    dictator.answer(Answer::status("200 OK"));
    etcd.put(TOPOLOGY, &document("core-01"));
    let next = etcd.put(TRIGGER, "2");
    wait_delivered(&daemon, next);
    expected.push(document("core-01"));
    wait_puts(&dnsd, &expected);
    let asked = dictator.received().len();
    let since = Instant::now();
    wait_until("more than a second without a question", support::SOON, || {
        assert_eq!(dictator.received().len(), asked);
        if since.elapsed() > Duration::from_millis(1500) { Ok(()) } else { Err(String::new()) }
    });
}

#[test]
fn a_first_url_that_shows_no_document_is_no_dictator() {
    let etcd = Etcd::start();
    let (first, second) = (Receiver::start(), Receiver::start());
    let daemon = observer_with(&etcd, &[&first, &second], DaemonOptions::new());
    etcd.put(TOPOLOGY, WRITTEN);
    let revision = etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, revision);
    assert_eq!(puts(&second), [WRITTEN]);
}

#[test]
fn while_the_members_cannot_be_asked_for_nobody_is_told() {
    let etcd = Etcd::start();
    let (dictator, dnsd) = (Receiver::start(), Receiver::start());
    let options = DaemonOptions::new().allow_log("does not tell its document", "that is the test");
    let daemon = observer_with(&etcd, &[&dictator, &dnsd], options);
    let revision = etcd.put(TOPOLOGY, WRITTEN) + 1;
    for _ in 0..2 {
        dictator.answer_next(Answer::status("200 OK"));
        dictator.answer_next(Answer::status("503 Service Unavailable"));
    }
    dictator.answer(in_force(revision, "1", &["a", "b"]));
    etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, revision);
    assert_eq!(puts(&dictator).len(), 3, "a delivery that is done again changes nothing");
    wait_puts(&dnsd, &[with_members(&["a", "b"])]);
}
