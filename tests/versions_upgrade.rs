//! Rolling upgrades under load: the slaves first, then a switch, the old master last. Nothing is lost, and
//! a switch back to a server that is still old is refused.
//!
//! Each test prints a row of the second table in docs/versions.md.

#![allow(clippy::print_stdout, reason = "the rows of the table in docs/versions.md")]

use std::time::Duration;

use harness::cluster::{Cluster, assert_problem, quick};
use harness::servers::Server;
use harness::wait::ensure;
use harness::{Load, LoadOptions, wait_until};

/// How long a node may take to be attached and to sync after its restart.
const ATTACHED_DEADLINE: Duration = Duration::from_secs(30);

fn upgrade(from: &str, to: &str) {
    let (Some(old), Some(new)) = (Server::find(from), Server::find(to)) else { return };
    let dictator = quick().allow_log("the topology cannot be kept", "nodes are down while they are upgraded");
    let mut cluster = Cluster::established(3, &old.options(), &dictator);
    let nodes: Vec<_> = cluster.nodes.iter().collect();
    let load = Load::start(LoadOptions {
        writers: 4,
        interval: Duration::from_millis(2),
        ..LoadOptions::on(&nodes)
    });
    load.wait_acknowledged(100);
    for slave in [1, 2] {
        restart_as(&mut cluster, slave, &new);
        load.wait_acknowledged(100);
    }
    let receipt = cluster.dictator.put_master(&cluster.document(1)).expect(200).json();
    assert_eq!(receipt["outcome"], "switched", "{receipt}");
    load.wait_acknowledged(100);

    let back = cluster.dictator.put_master(&cluster.document(0));
    let problem = assert_problem(&back, 409, "target-unfit");
    assert!(problem["detail"].as_str().unwrap_or_default().contains("older than"), "{problem}");
    load.wait_acknowledged(100);

    restart_as(&mut cluster, 0, &new);
    let receipt = cluster.put(0).expect(200).json();
    assert_eq!(receipt["outcome"], "switched", "{receipt}");
    load.wait_acknowledged(100);
    let ledger = load.stop();
    cluster.assert_settled(0);
    let tally = ledger.verify(cluster.nodes[0].address());
    assert!(tally.is_clean(), "{from} to {to}: {tally}: {tally:?}");
    println!(
        "| {} → {} | {} | {} | {} | refused |",
        old.version,
        new.version,
        tally.acknowledged,
        tally.missing.len(),
        tally.phantom.len()
    );
}

/// Stops a slave, starts it as the new server with its data, and waits until it follows again.
fn restart_as(cluster: &mut Cluster, slave: usize, server: &Server) {
    cluster.nodes[slave].stop();
    cluster.nodes[slave].reconfigure(&server.options());
    cluster.nodes[slave].start_again();
    wait_until("the upgraded slave to follow", ATTACHED_DEADLINE, || {
        let link = cluster.nodes[slave].info_field("master_link_status");
        ensure(link == "up", format!("link {link:?}, {}", cluster.dictator.status()))
    });
}

#[test]
fn redis_6_2_to_7_0() {
    upgrade("redis-6.2", "redis-7.0");
}

#[test]
fn redis_7_0_to_8_0() {
    upgrade("redis-7.0", "redis-8.0");
}

#[test]
fn redis_7_0_to_valkey_8_0() {
    upgrade("redis-7.0", "valkey-8.0");
}

#[test]
fn valkey_8_0_to_8_1() {
    upgrade("valkey-8.0", "valkey-8.1");
}

#[test]
fn valkey_8_1_to_9_1() {
    upgrade("valkey-8.1", "valkey-9.1");
}

#[test]
fn redis_6_2_to_valkey_9_1() {
    upgrade("redis-6.2", "valkey-9.1");
}
