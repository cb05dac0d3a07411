//! Nodes with sensible defaults, for every test of this crate.
//!
//! A test says only what matters to it; everything else is a healthy redis 7.0.15 that holds a few keys
//! of the lineage `R1` at offset 100.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use topology::NodeName;
use topology::observation::{Following, ReplId, Role, RunId, Version, Vitals};

/// Ports of nodes that are named by one letter: `a` is the first.
const PORT_FIRST: u16 = 7001;

/// A name as in documents: `a`, `a:7001`, `10.0.0.4:6379`.
pub(crate) fn name(text: &str) -> NodeName {
    let (address, port) = match text.split_once(':') {
        Some((address, port)) => (address, Some(port.parse().expect("a port"))),
        None => (text, None),
    };
    NodeName { address: address.parse().expect("an address"), port }
}

/// Where a node of this name is: a letter has a port of its own on the loopback address.
pub(crate) fn endpoint(text: &str) -> SocketAddr {
    if let Ok(endpoint) = text.parse() {
        return endpoint;
    }
    let letter = text.bytes().next().expect("a name that is not empty");
    assert!(letter.is_ascii_lowercase(), "{text}: give `at=IP:PORT` where the name is not a letter");
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT_FIRST + u16::from(letter - b'a'))
}

/// The run id of a node's first life.
pub(crate) fn run_id(node: &str) -> RunId {
    RunId(format!("run-{node}"))
}

/// A lineage.
pub(crate) fn replid(text: &str) -> ReplId {
    ReplId(text.to_owned())
}

/// A slave of another node that has applied this much.
pub(crate) fn following(leader: SocketAddr, applied: u64) -> Following {
    Following {
        host: leader.ip().to_string(),
        port: leader.port(),
        link_up: true,
        syncing: false,
        applied,
        read_only: true,
    }
}

/// A node that follows nobody and takes no writes.
pub(crate) fn parked(applied: u64) -> Following {
    let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    Following { link_up: false, ..following(nobody, applied) }
}

/// What INFO says of a healthy node in its first life.
pub(crate) fn vitals(node: &str, role: Role) -> Vitals {
    let offset = match &role {
        Role::Master => 100,
        Role::Slave(following) => following.applied,
    };
    let fed = matches!(&role, Role::Slave(following) if !following.is_parked());
    Vitals {
        run_id: run_id(node),
        role,
        replid: replid("R1"),
        replid2: None,
        second_offset: None,
        offset,
        keys: 5,
        loading: false,
        failover_running: false,
        version: Version { major: 7, minor: 0, patch: 15 },
        valkey: None,
        cluster: false,
        sentinel: false,
        unexpected_errors: 0,
        evicted_keys: 0,
        full_syncs: 0,
        fed,
        write_calls: Some(7),
        stats_reset: false,
        memory_max: 0,
        append_only: true,
        backlog_bytes: 64 << 20,
    }
}
