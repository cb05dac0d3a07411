//! Several dictators: whichever has the say is found, and what was told to one that is gone is not kept
//! up by another.
#![allow(missing_docs)]

mod support;

use std::io::{BufRead, BufReader};
use std::time::Duration;

use harness::several::options;
use harness::wait::ensure;
use harness::{Several, wait_until};
use serde_json::Value;
use support::Ctl;

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn the_one_that_has_the_say_is_found_and_a_pause_ends_with_it() {
    let mut several = Several::established(2, &options("2s"));
    several.wait_following(1, 0);
    let follower = Ctl::of(several.dictators[1].url(""));
    let leader = several.dictators[0].url("");
    for command in [&["status"][..], &["watch"], &["pause", "--for", "1h"], &["resume"]] {
        follower.run(command).ended(69).complains(&["not-leader", &format!("ask {leader}")]);
    }

    // The follower is named first, so every question goes past it.
    let ctl = Ctl::of(format!("{} {leader}", several.dictators[1].url("")));
    let mut watch = ctl.command(&["watch", "-o", "json"]).spawn().expect("it starts");
    let mut talk = BufReader::new(watch.stderr.take().expect("standard error")).lines();
    let mut heard = || talk.next().expect("the watch goes on").expect("UTF-8");
    assert_eq!(heard(), format!("listening to {leader}"));
    ctl.run(&["pause", "--for", "1h"]).ended(0);
    let status = ctl.run(&["status", "-o", "json"]).json();
    assert_ne!(status["enforcement"]["paused"], Value::Null, "{status}");

    several.dictators[0].kill();
    assert_eq!(heard(), "the stream ended; listening again");
    assert_eq!(heard(), format!("listening to {}", several.dictators[1].url("")));
    watch.kill().expect("it can be ended");
    watch.wait().expect("it ends");
    let status = ctl.run(&["status", "-o", "json"]).json();
    assert_eq!(status["enforcement"]["paused"], Value::Null, "{status}");
    assert!(!several.nodes[1].command("REPLICAOF 127.0.0.1 0").is_error());
    wait_until("the slave to be attached again", DEADLINE, || {
        let link = several.nodes[1].info_field("master_link_status");
        ensure(link == "up", format!("link {link}"))
    });
}
