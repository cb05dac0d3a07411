//! Everything goes wrong at random, and the promises hold: no document but the one that its trigger put in
//! force, never an older one after a newer, DNS never before the nodes, and the last one arrives.
#![allow(missing_docs, clippy::print_stdout, reason = "a failed run shows its seed")]

mod support;

use std::collections::BTreeMap;

use harness::{DaemonOptions, Etcd};
use support::{Answer, Received, Receiver, TOPOLOGY, TRIGGER, document, observer_with, wait_delivered};

/// Random steps of one run.
const STEPS: usize = 40;

#[test]
fn the_promises_hold_whatever_happens() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut etcd = Etcd::start();
    let (dictator, dnsd) = (Receiver::start(), Receiver::start());
    let options =
        DaemonOptions::new().flag("--slow-retry", "50ms").allow_log("", "this test provokes everything");
    let mut daemon = observer_with(&etcd, &[&dictator, &dnsd], options);

    let mut defined = document("core-0");
    etcd.put(TOPOLOGY, &defined);
    // What each trigger put in force.
    let mut in_force = BTreeMap::new();
    for step in 1..=STEPS {
        match random.u32(0..100) {
            0..30 => {
                defined = document(&format!("core-{step}"));
                etcd.put(TOPOLOGY, &defined);
            }
            30..70 => {
                in_force.insert(etcd.put(TRIGGER, &step.to_string()), defined.clone());
            }
            70..80 => {
                daemon.kill();
                if random.bool() {
                    in_force.insert(etcd.put(TRIGGER, &step.to_string()), defined.clone());
                }
                daemon.start_again();
            }
            80..84 => {
                etcd.kill();
                etcd.start_again();
            }
            turn => {
                let receiver = if turn % 2 == 0 { &dictator } else { &dnsd };
                let status = ["500 Oops", "503 Service Unavailable", "409 Conflict", "302 Found"];
                receiver.answer_next(Answer::status(status[random.usize(0..status.len())]));
            }
        }
    }
    let last = etcd.put(TRIGGER, "last");
    in_force.insert(last, defined);
    wait_delivered(&daemon, last);

    for receiver in [&dictator, &dnsd] {
        let received = receiver.received();
        let mut newest = 0;
        for request in &received {
            let revision = request.revision();
            assert_eq!(Some(&request.text()), in_force.get(&revision), "at revision {revision}");
            assert!(revision >= newest, "{revision} after {newest}");
            newest = revision;
        }
        assert_eq!(newest, last);
    }
    dns_follows(&dictator.received(), &dnsd.received());
}

/// Whatever reached dnsd had reached the dictator before.
fn dns_follows(dictator: &[Received], dnsd: &[Received]) {
    for published in dnsd {
        let moved = |request: &&Received| {
            request.at < published.at && request.header("x-request-id") == published.header("x-request-id")
        };
        assert!(dictator.iter().any(|request| moved(&request)), "revision {}", published.revision());
    }
}
