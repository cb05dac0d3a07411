//! What is served and what is asked for.

use std::net::Ipv4Addr;

use harness::daemon::DOMAIN;
use serde_json::{Value, json};

/// Largest answer that the client says it takes over UDP, in bytes.
const PAYLOAD_BYTES: u16 = 1232;
/// Nodes have port 6379 and addresses from here on.
const FIRST_NODE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

const TYPE_A: u16 = 1;
const TYPE_SRV: u16 = 33;

/// A master and some slaves; `turn` moves the master to another address.
pub(crate) fn document(slaves: u32, turn: u32) -> Value {
    let node = |index: u32| json!({"address": Ipv4Addr::from_bits(FIRST_NODE.to_bits() + index)});
    let others: Vec<Value> = (1..=slaves).map(node).collect();
    json!({"master": node(1_000 + turn % 2), "slaves": others})
}

/// SRV of the master and of the slaves, an address, a name that does not exist.
pub(crate) fn mix() -> Vec<Vec<u8>> {
    vec![
        query("master", TYPE_SRV),
        query("slaves", TYPE_SRV),
        query("master", TYPE_A),
        query("core-99.slaves", TYPE_A),
    ]
}

/// SRV of the slaves alone.
pub(crate) fn slaves() -> Vec<Vec<u8>> {
    vec![query("slaves", TYPE_SRV)]
}

/// A query with an OPT record; its id is written before it is sent.
fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in format!("{name}.{DOMAIN}").split('.') {
        packet.push(u8::try_from(label.len()).expect("a label"));
        packet.extend(label.as_bytes());
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend([0, 0, 41]);
    packet.extend(PAYLOAD_BYTES.to_be_bytes());
    packet.extend([0; 6]);
    packet
}
