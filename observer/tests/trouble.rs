//! What goes wrong, and that it is reported, never forwarded, and mended by itself or by the next trigger.
#![allow(missing_docs)]

mod support;

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::wait::ensure;
use harness::{DaemonOptions, Etcd, wait_until};
use support::{
    Answer, Receiver, SOON, TOPOLOGY, TRIGGER, document, observer, observer_with, wait_delivered, wait_ready,
    wait_state, wait_status,
};

fn expecting(part: &str) -> DaemonOptions {
    DaemonOptions::new().allow_log(part, "the test provokes it")
}

#[test]
fn the_first_no_ends_the_chain_and_a_newer_trigger_ends_the_wait() {
    let etcd = Etcd::start();
    let (dictator, dnsd) = (Receiver::start(), Receiver::start());
    // The default wait after a no is 30 s: longer than this test has patience.
    let daemon = observer_with(&etcd, &[&dictator, &dnsd], expecting("not-accepted"));
    etcd.put(TOPOLOGY, &document("core-01"));
    dictator.answer_next(Answer::problem(
        "409 Conflict",
        "would-lose-data",
        "core-02 has its own data",
        "discard it",
    ));
    let first = etcd.put(TRIGGER, "1");
    let status = wait_state(&daemon, "waiting");
    let last = &status["notify"][0]["last"];
    assert_eq!(last["status"], 409, "{status}");
    assert_eq!(last["problem"], "would-lose-data");
    assert_eq!(last["detail"], "core-02 has its own data");
    assert_eq!(last["do"], "discard it");
    assert_eq!(status["problems"][0]["do"], "discard it");
    assert!(status["notify"][1]["last"].is_null(), "{status}");
    assert!(status["next_retry_at_unix_ms"].as_u64() > status["trigger"]["seen_at_unix_ms"].as_u64());
    assert!(status["delivered"].is_null());

    let second = etcd.put(TRIGGER, "2");
    wait_delivered(&daemon, second);
    assert_eq!(dictator.revisions(), [first, second]);
    assert_eq!(dnsd.revisions(), [second], "DNS stays where it was until the nodes have moved");
}

#[test]
fn a_no_is_asked_again_slowly_and_logged_once() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    let options = expecting("not-accepted").flag("--slow-retry", "400ms");
    let daemon = observer_with(&etcd, &[&dictator], options);
    etcd.put(TOPOLOGY, &document("core-01"));
    for status in ["400 Bad Request", "404 Not Found", "409 Conflict", "409 Conflict"] {
        dictator.answer_next(Answer::problem(status, "slug", "the same sentence", "do"));
    }
    let revision = etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, revision);
    let received = dictator.received();
    assert_eq!(received.len(), 5);
    for pair in received.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(390), "{:?}", pair[1].at - pair[0].at);
    }
    let ids: std::collections::BTreeSet<_> =
        received.iter().map(|request| request.header("x-request-id").map(str::to_owned)).collect();
    assert_eq!(ids.len(), 5, "each attempt has its own id");
    let log = harness::logs::read(daemon.log());
    assert_eq!(log.matches("answered 409").count(), 1, "{log}");
}

#[test]
fn a_receiver_that_fails_or_is_away_is_asked_again_soon() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    let reserved = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let dnsd_address = reserved.local_addr().expect("an address");
    drop(reserved);
    let urls = [dictator.url("/master"), format!("http://{dnsd_address}/dns")];
    let options = expecting("not-accepted").allow_log("not-answered", "the test starts it late");
    let daemon = harness::Daemon::observer(&etcd.url(), &urls, &options);
    etcd.put(TOPOLOGY, &document("core-01"));
    for status in ["500 Internal Server Error", "503 Service Unavailable", "504 Gateway Timeout"] {
        dictator.answer_next(Answer::status(status));
    }
    let revision = etcd.put(TRIGGER, "1");
    let status = wait_status(&daemon, "dnsd unanswered", |status| status["notify"][1]["last"].is_object());
    let last = &status["notify"][1]["last"];
    assert!(last["status"].is_null(), "{last}");
    assert!(last["detail"].as_str().expect("a reason").contains("refused"), "{last}");
    assert_eq!(last["instance"], dnsd_address.to_string());

    let dnsd = Receiver::listen(TcpListener::bind(dnsd_address).expect("the port is still free"));
    wait_delivered(&daemon, revision);
    assert_eq!(dnsd.wait_for(1).text(), document("core-01"));
}

#[test]
fn a_receiver_that_hangs_costs_its_deadline_and_no_more() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    let options = expecting("not-answered").flag("--notify-timeout", "300ms");
    let daemon = observer_with(&etcd, &[&dictator], options);
    etcd.put(TOPOLOGY, &document("core-01"));
    dictator.hold();
    let revision = etcd.put(TRIGGER, "1");
    let status =
        wait_status(&daemon, "an answer that did not come", |status| status["notify"][0]["last"].is_object());
    assert_eq!(status["notify"][0]["last"]["detail"], "no answer within 300 ms");
    dictator.release();
    wait_delivered(&daemon, revision);
}

#[test]
fn a_redirect_is_a_no_and_is_not_followed() {
    let etcd = Etcd::start();
    let (dictator, elsewhere) = (Receiver::start(), Receiver::start());
    let daemon = observer_with(&etcd, &[&dictator], expecting("not-accepted"));
    etcd.put(TOPOLOGY, &document("core-01"));
    for status in ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = elsewhere.url("/master");
        dictator.answer_next(Answer::with(status, &[("Location", &location)], ""));
        let revision = etcd.put(TRIGGER, status);
        let page = wait_status(&daemon, status, |page| page["notify"][0]["last"]["revision"] == revision);
        assert_eq!(page["notify"][0]["last"]["verdict"], "retry_slowly");
    }
    let revision = etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, revision);
    assert_eq!(elsewhere.received().len(), 0);
}

#[test]
fn a_proxy_in_the_environment_is_not_used() {
    let etcd = Etcd::start();
    let (dictator, proxy) = (Receiver::start(), Receiver::start());
    let options = DaemonOptions::new()
        .variable("http_proxy", &proxy.url(""))
        .variable("HTTP_PROXY", &proxy.url(""))
        .variable("ALL_PROXY", &proxy.url(""));
    let daemon = observer_with(&etcd, &[&dictator], options);
    etcd.put(TOPOLOGY, &document("core-01"));
    let revision = etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, revision);
    assert_eq!(proxy.received().len(), 0);
}

#[test]
fn a_huge_answer_is_read_only_at_its_beginning() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    let daemon = observer_with(&etcd, &[&dictator], expecting("not-accepted"));
    etcd.put(TOPOLOGY, &document("core-01"));
    let huge = "x".repeat(10 * 1024 * 1024);
    dictator.answer_next(Answer::with("409 Conflict", &[], &huge));
    etcd.put(TRIGGER, "1");
    let status = wait_state(&daemon, "waiting");
    let detail = status["notify"][0]["last"]["detail"].as_str().expect("a detail");
    assert!(detail.starts_with("xxx") && detail.len() < 4096, "{} bytes", detail.len());
    dictator.answer_next(Answer::with("200 OK", &[], &huge));
    let revision = etcd.put(TRIGGER, "2");
    wait_delivered(&daemon, revision);
    let metrics = daemon.http().get("/metrics").text();
    let memory = metrics.lines().find_map(|line| line.strip_prefix("observer_resident_memory_bytes "));
    let memory: u64 = memory.and_then(|text| text.parse().ok()).expect("a number");
    assert!(memory < 40 * 1024 * 1024, "{memory} bytes");
}

#[test]
fn what_is_no_document_is_reported_once_and_never_forwarded() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    let options = expecting("malformed-json")
        .allow_log("malformed-topology", "the test writes one")
        .allow_log("invalid-address", "the test writes one")
        .allow_log("duplicate-node", "the test writes one")
        .allow_log("document-missing", "the test deletes it");
    let daemon = observer_with(&etcd, &[&dictator], options);
    let missing = etcd.put(TRIGGER, "before there was a document");
    let status = wait_state(&daemon, "unfit");
    assert_eq!(status["problems"][0]["problem"], "document-missing");
    assert_eq!(status["trigger"]["revision"], missing);

    let large = vec![b'['; 1_400_000];
    for (value, problem) in [
        (&b"\xff\x00\xfe"[..], "malformed-json"),
        (b"", "malformed-json"),
        (b"{\"master\": {\"address\": \"core-01\"}, \"slaves\": []", "malformed-json"),
        (&large, "malformed-json"),
        (b"[\"core-01\"]", "malformed-topology"),
        (b"{\"master\": {\"address\": \"core-01\"}, \"slavs\": []}", "malformed-topology"),
        (b"{\"master\": {\"address\": \"a b\"}, \"slaves\": []}", "invalid-address"),
        (b"{\"master\": {\"address\": \"a\"}, \"slaves\": [{\"address\": \"a\"}]}", "duplicate-node"),
    ] {
        match value {
            // An empty standard input is no value to etcdctl.
            b"" => etcd.put(TOPOLOGY, ""),
            value => etcd.put_bytes(TOPOLOGY, value),
        };
        let revision = etcd.put(TRIGGER, "1");
        let status = wait_status(&daemon, problem, |status| {
            status["state"] == "unfit" && status["trigger"]["revision"] == revision
        });
        assert_eq!(status["problems"][0]["problem"], problem, "{status}");
    }
    etcd.delete(TOPOLOGY);
    let deleted = etcd.put(TRIGGER, "1");
    let status = wait_status(&daemon, "a missing document", |status| {
        status["trigger"]["revision"] == deleted && status["state"] == "unfit"
    });
    assert_eq!(status["problems"][0]["problem"], "document-missing");
    assert_eq!(dictator.received().len(), 0);
    let log = harness::logs::read(daemon.log());
    assert_eq!(log.matches(&format!("did not exist at revision {deleted}")).count(), 1, "{log}");

    etcd.put(TOPOLOGY, &document("core-01"));
    let revision = etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, revision);
    assert_eq!(dictator.wait_for(1).text(), document("core-01"));
    assert!(daemon.http().get("/metrics").text().contains("observer_unfit_documents_total 10"));
}

#[test]
fn a_large_document_is_forwarded_whole() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    let daemon = observer(&etcd, &[&dictator]);
    let slaves: Vec<String> =
        (0..30_000).map(|index| format!(r#"{{"address": "slave-{index:05}.docker"}}"#)).collect();
    let large = format!(r#"{{"master": {{"address": "core-01"}}, "slaves": [{}]}}"#, slaves.join(","));
    assert!(large.len() > 1_000_000);
    etcd.put_bytes(TOPOLOGY, large.as_bytes());
    let revision = etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, revision);
    assert!(dictator.wait_for(1).text() == large, "not byte by byte");
}

#[test]
fn etcd_may_go_away_and_come_back() {
    let mut etcd = Etcd::start();
    let dictator = Receiver::start();
    let daemon = observer_with(&etcd, &[&dictator], expecting("is not being watched"));
    etcd.put(TOPOLOGY, &document("core-01"));
    let first = etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, first);
    etcd.kill();
    wait_until("the observer to be unready", SOON, || {
        let answer = daemon.http().get("/readyz");
        ensure(answer.status == 503, answer.text())
    });
    assert_eq!(daemon.http().get("/healthz").status, 200);
    assert_eq!(daemon.status()["source"]["watching"], false);
    etcd.start_again();
    let second = etcd.put(TRIGGER, "2");
    wait_delivered(&daemon, second);
    wait_ready(&daemon);
    assert_eq!(dictator.revisions(), [first, second], "what was delivered is not delivered again");
    assert!(daemon.http().get("/metrics").text().contains("observer_watch_reconnects_total 1"));
}

#[test]
fn an_observer_without_etcd_runs_and_waits() {
    let mut etcd = Etcd::start();
    etcd.put(TOPOLOGY, &document("core-01"));
    let revision = etcd.put(TRIGGER, "1");
    etcd.kill();
    let dictator = Receiver::start();
    let options = expecting("is not being watched");
    let daemon = harness::Daemon::observer(&etcd.url(), &[dictator.url("/master")], &options);
    assert_eq!(daemon.http().get("/readyz").status, 503);
    assert_eq!(daemon.status()["state"], "await_source");
    etcd.start_again();
    wait_delivered(&daemon, revision);
}

#[test]
fn a_compacted_revision_is_replaced_by_what_is_there_and_said_so() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    etcd.put(TOPOLOGY, &document("one"));
    let first = etcd.put(TRIGGER, "1");
    let newest = etcd.put("/other", "x");
    etcd.compact(newest);
    // The document has not been written since: it is what it was, and nothing needs to be said.
    let mut daemon = observer(&etcd, &[&dictator]);
    wait_delivered(&daemon, first);
    assert_eq!(dictator.wait_for(1).text(), document("one"));

    daemon.kill();
    let second = etcd.put(TRIGGER, "2");
    etcd.put(TOPOLOGY, &document("two"));
    let newest = etcd.put("/other", "y");
    etcd.compact(newest);
    daemon.allow_log("has compacted revision", "the test compacts it");
    daemon.start_again();
    wait_delivered(&daemon, second);
    assert_eq!(dictator.wait_for(2).text(), document("two"));
    let log = harness::logs::read(daemon.log());
    assert_eq!(log.matches("has compacted revision").count(), 1, "{log}");

    // And the watch goes on.
    let third = etcd.put(TRIGGER, "3");
    wait_delivered(&daemon, third);
}

#[test]
fn an_etcd_restored_from_an_older_backup_is_held_until_accepted() {
    let mut etcd = Etcd::start();
    let dictator = Receiver::start();
    for turn in 0..20 {
        etcd.put("/other", &turn.to_string());
    }
    etcd.put(TOPOLOGY, &document("new"));
    let delivered = etcd.put(TRIGGER, "1");
    let mut daemon = observer_with(&etcd, &[&dictator], expecting("is not being watched"));
    wait_delivered(&daemon, delivered);

    daemon.allow_log("trigger-deleted", "the restored etcd may be seen before its trigger");
    daemon.allow_log("revision-went-back", "the test restores an older etcd");
    etcd.start_empty();
    etcd.put(TOPOLOGY, &document("old"));
    let restored = etcd.put(TRIGGER, "1");
    assert!(restored < delivered);
    let status = wait_state(&daemon, "held");
    let problem = &status["problems"][0];
    assert_eq!(problem["problem"], "revision-went-back");
    let what_to_do = problem["do"].as_str().expect("a way out");
    assert!(what_to_do.contains(&format!("--accept-revision {restored}")), "{what_to_do}");
    assert_eq!(dictator.revisions(), [delivered]);

    daemon.kill();
    let accept = ["--accept-revision".to_owned(), restored.to_string()];
    daemon.process().recipe_mut().arguments.extend(accept);
    dictator.answer_next(Answer::with("200 OK", &[("ETag", "\"7\"")], ""));
    daemon.start_again();
    wait_delivered(&daemon, restored);
    let received = dictator.received();
    assert_eq!(received[1].line, "GET /master HTTP/1.1");
    assert_eq!(received[2].line, "PUT /master HTTP/1.1");
    assert_eq!(received[2].header("if-match"), Some("\"7\""), "the receiver may know a later revision");
    assert_eq!((received[2].revision(), received[2].text()), (restored, document("old")));
    let next = etcd.put(TRIGGER, "2");
    wait_delivered(&daemon, next);
    assert_eq!(dictator.received().len(), 4, "the next one is an ordinary one");
}

#[test]
fn a_lost_or_damaged_memory_costs_one_delivery() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    etcd.put(TOPOLOGY, &document("core-01"));
    let revision = etcd.put(TRIGGER, "1");
    let mut daemon = observer_with(&etcd, &[&dictator], expecting("is damaged"));
    wait_delivered(&daemon, revision);
    daemon.kill();
    let memory = daemon.state_folder().join("delivered.json");
    #[allow(clippy::disallowed_methods, reason = "the test damages the file")]
    std::fs::write(&memory, b"{").expect("damage the file");
    daemon.start_again();
    wait_delivered(&daemon, revision);
    daemon.kill();
    std::fs::remove_file(&memory).expect("lose the file");
    daemon.start_again();
    wait_delivered(&daemon, revision);
    assert_eq!(dictator.revisions(), [revision; 3]);
}

#[test]
fn wrong_settings_end_the_start_with_64_and_a_bad_state_folder_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let run = |arguments: &[&str], state: &std::path::Path| {
        Command::new(harness::binaries::binary("observer"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--etcd",
                "http://127.0.0.1:1",
                "--trigger",
                "/t",
                "--state-dir",
            ])
            .arg(state)
            .args(arguments)
            .output()
            .expect("run the observer")
    };
    for (arguments, expected) in [
        (&["--notify", "http://127.0.0.1:1/", "--retrigger", "/t"][..], "loop for ever"),
        (&["--notify", "ftp://127.0.0.1/"], "only http://"),
        (&["--notify", "http:///master"], "no host"),
        (&["--notify", "http://a:b@127.0.0.1/"], "user name or password"),
        (&[], "nobody to notify"),
    ] {
        let output = run(arguments, &state);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {told}");
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
    assert!(!state.exists(), "nothing was started");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let started = Instant::now();
    let output = run(&["--notify", "http://127.0.0.1:1/"], file.path());
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("--state-dir"), "{told}");
    assert!(started.elapsed() < SOON);
}
