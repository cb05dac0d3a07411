//! It does not matter what is there first: the nodes, the daemons, or the topology and its trigger.
//! Whatever comes last completes the loop.

use harness::daemon::{TOPOLOGY_KEY, TRIGGER_KEY};
use harness::ports::free_address;
use harness::redis::{RedisOptions, wait_links_up};
use harness::whole::document;
use harness::{DaemonOptions, Etcd, Redis, Whole, WholeOptions};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Nodes,
    Daemons,
    Trigger,
}

fn check(order: [Part; 3]) {
    let nodes: Vec<Redis> =
        (0..3).map(|_| Redis::prepare(free_address(), &RedisOptions::default())).collect();
    let etcd = Etcd::start();
    let mut options = WholeOptions::default();
    if order.iter().position(|part| *part == Part::Nodes) == Some(2) {
        let absent = "the nodes are not there yet, and the operator has to know";
        options.observer = DaemonOptions::new().allow_log("cannot be reached", absent);
    }
    let trigger = |etcd: &Etcd, nodes: &[Redis]| {
        etcd.put(TOPOLOGY_KEY, &document(nodes, 0).to_string());
        etcd.put(TRIGGER_KEY, "1");
    };

    // The daemons are what ties the rest together; what comes before them is done to the loose parts.
    let daemons = order.iter().position(|part| *part == Part::Daemons).expect("the daemons");
    let (mut nodes, etcd) = (nodes, etcd);
    for part in &order[..daemons] {
        match part {
            Part::Nodes => nodes.iter_mut().for_each(Redis::start_again),
            _ => trigger(&etcd, &nodes),
        }
    }
    let mut whole = Whole::start_around(nodes, etcd, &options);
    for part in &order[daemons + 1..] {
        match part {
            Part::Nodes => whole.nodes.iter_mut().for_each(Redis::start_again),
            _ => trigger(&whole.etcd, &whole.nodes),
        }
    }
    whole.wait_published(0);
    wait_links_up(&whole.nodes[0], &[&whole.nodes[1], &whole.nodes[2]]);
}

#[test]
fn nodes_daemons_trigger() {
    check([Part::Nodes, Part::Daemons, Part::Trigger]);
}

#[test]
fn nodes_trigger_daemons() {
    check([Part::Nodes, Part::Trigger, Part::Daemons]);
}

#[test]
fn daemons_nodes_trigger() {
    check([Part::Daemons, Part::Nodes, Part::Trigger]);
}

#[test]
fn daemons_trigger_nodes() {
    check([Part::Daemons, Part::Trigger, Part::Nodes]);
}

#[test]
fn trigger_nodes_daemons() {
    check([Part::Trigger, Part::Nodes, Part::Daemons]);
}

#[test]
fn trigger_daemons_nodes() {
    check([Part::Trigger, Part::Daemons, Part::Nodes]);
}
