//! The promotion was sent, and no reply came: it may have run, or may run at any time.
#![allow(missing_docs, dead_code, reason = "a part of the common set-up is for the other files")]

mod proxied;

use std::time::Duration;

use harness::cluster::assert_problem;
use harness::proxy::PROMOTION;
use harness::wait::ensure;
use harness::wait_until;
use proxied::{Proxied, hasty, patient};

/// Sends the document that moves the master to node 1 and does `during` while the promotion is held.
fn move_while(set_up: &mut Proxied, during: impl FnOnce(&mut Proxied)) -> harness::HttpAnswer {
    set_up.proxies[1].hold_at(PROMOTION);
    let (http, document) = (set_up.dictator.http(), set_up.document(1));
    let answer = std::thread::spawn(move || http.put("/master", &document));
    set_up.proxies[1].wait_held();
    during(set_up);
    answer.join().expect("answered")
}

#[test]
fn the_target_sleeps_longer_than_every_deadline_and_then_runs_it() {
    let mut set_up = Proxied::under_load(&hasty());
    let answer = move_while(&mut set_up, |set_up| {
        set_up.nodes[1].process().freeze();
        set_up.proxies[1].release();
    });
    let problem = assert_problem(&answer, 504, "outcome-unknown");
    assert_eq!(problem["evidence"]["from"], set_up.proxies[0].address().to_string(), "{problem}");
    // Nobody knows, so nobody takes writes; the old master keeps all its data.
    assert_eq!(set_up.nodes[0].follows().as_deref(), Some("127.0.0.1:0"));
    let status = set_up.dictator.status();
    assert_eq!(status["drift"], true, "{status}");
    set_up.nodes[1].process().thaw();
    let master = set_up.wait_resolved();
    assert_eq!(master, 1, "forwards first");
    set_up.assert_nothing_lost(master);
}

#[test]
fn its_reply_is_lost_and_the_outcome_is_learnt_at_once() {
    let mut set_up = Proxied::under_load(&patient());
    let answer = move_while(&mut set_up, |set_up| set_up.proxies[1].release_and_lose_the_reply());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let master = set_up.wait_resolved();
    assert_eq!(master, 1);
    set_up.assert_nothing_lost(master);
}

#[test]
fn it_is_stuck_in_the_network_and_arrives_when_it_is_no_longer_meant() {
    let mut set_up = Proxied::under_load(&patient());
    let answer = move_while(&mut set_up, |_| {});
    // The connection that carries it was ended at the node before anything else was sent.
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(set_up.wait_resolved(), 1);
    // The ledger tells reigns apart that last longer than its stragglers.
    set_up.load_ref().wait_acknowledged(1000);
    set_up.dictator.http().put("/master?wait=links", &set_up.document(0)).expect(200);
    assert_eq!(set_up.wait_resolved(), 0);
    set_up.proxies[1].release();
    // Everything that was sent before this reply has been executed or never will be.
    assert_eq!(set_up.nodes[1].command("PING").text(), "PONG");
    set_up.load_ref().wait_acknowledged(500);
    assert_eq!(set_up.wait_resolved(), 0);
    set_up.assert_nothing_lost(0);
}

#[test]
fn the_dictator_is_killed_while_the_target_sleeps_on_it() {
    let mut set_up = Proxied::under_load(&hasty());
    set_up.proxies[1].hold_at(PROMOTION);
    let (http, document) = (set_up.dictator.http(), set_up.document(1));
    // No answer will come: the dictator dies.
    let put = std::thread::spawn(move || {
        drop(http.try_request("PUT", "/master", &[], document.to_string().as_bytes()));
    });
    set_up.proxies[1].wait_held();
    set_up.nodes[1].process().freeze();
    set_up.proxies[1].release();
    set_up.dictator.kill();
    put.join().expect("ended");
    set_up.dictator.start_again();
    wait_until("the dictator to say what it waits for", Duration::from_secs(10), || {
        let status = set_up.dictator.status();
        ensure(status["drift"] == true, status.to_string())
    });
    assert_eq!(set_up.nodes[0].role(), "slave");
    set_up.nodes[1].process().thaw();
    let master = set_up.wait_resolved();
    set_up.assert_nothing_lost(master);
}

#[test]
fn the_life_that_knew_is_over_and_a_human_decides() {
    let mut set_up = Proxied::under_load(&hasty());
    let answer = move_while(&mut set_up, |set_up| {
        set_up.nodes[1].process().freeze();
        set_up.proxies[1].release();
    });
    assert_problem(&answer, 504, "outcome-unknown");
    set_up.nodes[1].kill();
    set_up.nodes[1].start_again();
    let answer = set_up.dictator.put_master(&set_up.document(1));
    let problem = assert_problem(&answer, 409, "unresolved-handover");
    assert!(problem["evidence"]["target_run_id"].is_string(), "{problem}");
    assert_eq!(set_up.nodes[0].follows().as_deref(), Some("127.0.0.1:0"), "read-only and whole");
    // The old master has everything, whatever the target did in the life that is over.
    let mut document = set_up.document(0);
    let mut entry = set_up.proxies[1].json();
    entry["run_id"] = set_up.nodes[1].run_id().into();
    document["discard"] = serde_json::json!([entry]);
    set_up.dictator.http().put("/master?wait=links", &document).expect(200);
    assert_eq!(set_up.wait_resolved(), 0);
    set_up.assert_nothing_lost(0);
}
