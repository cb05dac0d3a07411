//! Observations of healthy nodes.

use std::net::SocketAddr;

use topology::observation::{NodeSettings, NodeState, Observed, SessionId, View, Vitals};

/// Everything that is read from a healthy node, on the session `session`.
pub(crate) fn state(session: u64, vitals: Vitals) -> NodeState {
    NodeState {
        session: SessionId(session),
        vitals,
        settings: NodeSettings {
            read_only: Some(true),
            ignore_memory_max: Some(true),
            min_replicas: Some(0),
            has_master_auth: Some(false),
            requires_password: Some(false),
            saves: Some(true),
        },
        clock_skew_ms: 0,
        paused: Some(false),
        sentinels: Vec::new(),
        dictators: Vec::new(),
    }
}

/// A node that answered.
pub(crate) fn known(endpoint: SocketAddr, state: NodeState) -> Observed {
    Observed { endpoint: Some(endpoint), view: View::Known(Box::new(state)) }
}
