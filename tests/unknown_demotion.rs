//! The demotion (or the pause before it) was sent, and no reply came.
#![allow(missing_docs, dead_code, reason = "a part of the common set-up is for the other files")]

mod proxied;

use harness::cluster::{assert_problem, assert_takes_writes};
use harness::proxy::{DEMOTION, PAUSE};
use proxied::{Proxied, hasty, patient};

/// Sends the document that moves the master to node 1 and does `during` while `pattern` is held before
/// the acting master.
fn move_while(
    set_up: &mut Proxied,
    pattern: &'static [u8],
    during: impl FnOnce(&mut Proxied),
) -> harness::HttpAnswer {
    set_up.proxies[0].hold_at(pattern);
    let (http, document) = (set_up.dictator.http(), set_up.document(1));
    let answer = std::thread::spawn(move || http.put("/master", &document));
    set_up.proxies[0].wait_held();
    during(set_up);
    answer.join().expect("answered")
}

#[test]
fn the_acting_master_sleeps_longer_than_every_deadline_and_then_runs_it() {
    let mut set_up = Proxied::under_load(&hasty());
    let answer = move_while(&mut set_up, DEMOTION, |set_up| {
        set_up.nodes[0].process().freeze();
        set_up.proxies[0].release();
    });
    assert_problem(&answer, 504, "outcome-unknown");
    // It may wake as a master, so nobody else may be one.
    assert_eq!(set_up.nodes[1].role(), "slave");
    set_up.nodes[0].process().thaw();
    let master = set_up.wait_resolved();
    set_up.assert_nothing_lost(master);
}

#[test]
fn its_reply_is_lost_and_the_outcome_is_learnt_at_once() {
    let mut set_up = Proxied::under_load(&patient());
    let answer = move_while(&mut set_up, DEMOTION, |set_up| set_up.proxies[0].release_and_lose_the_reply());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(set_up.wait_resolved(), 1);
    set_up.assert_nothing_lost(1);
}

#[test]
fn it_is_stuck_in_the_network_and_arrives_when_it_is_no_longer_meant() {
    let mut set_up = Proxied::under_load(&patient());
    let answer = move_while(&mut set_up, DEMOTION, |_| {});
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(set_up.wait_resolved(), 1);
    // The ledger tells reigns apart that last longer than its stragglers.
    set_up.load_ref().wait_acknowledged(1000);
    set_up.dictator.http().put("/master?wait=links", &set_up.document(0)).expect(200);
    assert_eq!(set_up.wait_resolved(), 0);
    set_up.proxies[0].release();
    assert_eq!(set_up.nodes[0].command("PING").text(), "PONG");
    set_up.load_ref().wait_acknowledged(500);
    assert_eq!(set_up.wait_resolved(), 0);
    set_up.assert_nothing_lost(0);
}

#[test]
fn the_reply_to_the_pause_is_lost_and_nothing_changes() {
    let mut set_up = Proxied::under_load(&hasty());
    let answer = move_while(&mut set_up, PAUSE, |set_up| set_up.proxies[0].release_and_lose_the_reply());
    // It ends by itself, and until then writers only wait. Sent again, the document is applied.
    if answer.status != 200 {
        assert_eq!(set_up.nodes[1].role(), "slave", "{}", answer.text());
        assert!(
            answer.slug() == "node-unreachable" || answer.slug() == "outcome-unknown",
            "{}",
            answer.text()
        );
        set_up.load_ref().wait_acknowledged(200);
        assert_takes_writes(&set_up.nodes[0]);
    }
    set_up.dictator.http().put("/master?wait=links", &set_up.document(1)).expect(200);
    assert_eq!(set_up.wait_resolved(), 1);
    set_up.assert_nothing_lost(1);
}

#[test]
fn the_dictator_is_killed_while_the_acting_master_sleeps_on_it() {
    let mut set_up = Proxied::under_load(&hasty());
    set_up.proxies[0].hold_at(DEMOTION);
    let (http, document) = (set_up.dictator.http(), set_up.document(1));
    // No answer will come: the dictator dies.
    let put = std::thread::spawn(move || {
        drop(http.try_request("PUT", "/master", &[], document.to_string().as_bytes()));
    });
    set_up.proxies[0].wait_held();
    set_up.nodes[0].process().freeze();
    set_up.proxies[0].release();
    set_up.dictator.kill();
    put.join().expect("ended");
    set_up.dictator.start_again();
    set_up.dictator.status();
    assert_eq!(set_up.nodes[1].role(), "slave");
    set_up.nodes[0].process().thaw();
    let master = set_up.wait_resolved();
    set_up.assert_nothing_lost(master);
}
