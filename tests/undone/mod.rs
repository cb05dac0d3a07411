//! A hand-over that cannot end: the demotion comes so late that the pause is over, and what was written since
//! does not reach the target. The old master has to get its role back, and nobody's write is lost.

use harness::cluster::assert_problem;
use harness::proxy::DEMOTION;
use harness::{Daemon, DaemonOptions, Load, LoadOptions, Proxy, Redis};
use serde_json::{Value, json};

/// Writes that have to be acknowledged before, while and after it happens.
const WRITES: u64 = 100;

/// The dictator goes first, the proxies after it.
pub(crate) struct Undone {
    pub(crate) dictator: Daemon,
    proxies: Vec<Proxy>,
}

/// Makes node 0 master of node 1 and begins to move it to node 1, in vain.
pub(crate) fn undone(server: &str, nodes: &[Redis], options: &DaemonOptions, load: LoadOptions) -> Undone {
    let proxies: Vec<Proxy> = nodes.iter().map(Proxy::before).collect();
    let undone = Undone { dictator: Daemon::dictator(options), proxies };
    undone.dictator.http().put("/master?wait=links", &undone.document(0)).expect(200);
    let load = Load::start(load);
    load.wait_acknowledged(WRITES);
    let told_before = nodes[0].command_counts().of("replicaof");
    let old = &undone.proxies[0];
    old.hold_at(DEMOTION);
    let (http, body) = (undone.dictator.http(), undone.document(1).to_string());
    let asked = std::thread::spawn(move || http.try_request("PUT", "/master", &[], body.as_bytes()));
    old.wait_held();
    old.stall_replication(true);
    load.wait_acknowledged(WRITES);
    old.release();
    let answer = asked.join().expect("the asking thread does not panic").expect("an answer");
    assert_problem(&answer, 504, "drain-timeout");
    let told = nodes[0].command_counts().of("replicaof") - told_before;
    assert_eq!(told, 2, "{server}: demoted and taken back");
    assert_eq!(nodes[0].role(), "master", "{server}");
    old.stall_replication(false);
    load.wait_acknowledged(WRITES);
    let tally = load.stop().verify(nodes[0].address());
    assert!(tally.is_clean(), "{server}: {tally}: {tally:?}");
    undone
}

impl Undone {
    /// The document that names the proxy of this node as master.
    pub(crate) fn document(&self, master: usize) -> Value {
        json!({"master": self.proxies[master].json(), "slaves": [self.proxies[1 - master].json()]})
    }
}
