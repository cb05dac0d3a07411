//! What a node says of itself: INFO, and the dictators in its client list.

use topology::command::Reading;
use topology::observation::{DictatorConnection, Following, Role, SessionId, Version, Vitals};

use crate::redis::{Node, NodeIndex, Part, Persistence, Upstream, replid};
use crate::session::ConnectionIndex;
use crate::world::World;

/// Most keys shown where key counts say little.
const FEW_KEYS: u64 = 3;

impl World {
    /// The dictators' connections a node has, other than one.
    pub(crate) fn dictators_at(&self, connection: ConnectionIndex) -> Vec<DictatorConnection> {
        let asking = &self.connections[connection];
        let own = asking.dictator.map(|(index, life, _)| (index, life));
        self.connections
            .iter()
            .enumerate()
            .filter(|(at, other)| {
                *at != connection
                    && other.node == asking.node
                    && other.open_at_node
                    && other.life == asking.life
            })
            .filter_map(|(_, other)| {
                let (index, life, epoch) = other.dictator?;
                Some(DictatorConnection {
                    id: SessionId(other.id),
                    epoch,
                    peer: format!("10.0.1.{index}:{}", other.id),
                    ours: own == Some((index, life)),
                })
            })
            .collect()
    }

    /// As INFO keyspace counts.
    pub(crate) fn visible_keys(&self, node: &Node) -> u64 {
        let keys = node.data.count();
        if self.settings.few_keys { keys.min(FEW_KEYS) } else { keys }
    }

    /// INFO.
    pub(crate) fn vitals(&self, node: NodeIndex, reading: Reading) -> Vitals {
        let state = &self.nodes[node];
        let role = match state.part {
            Part::Master => Role::Master,
            Part::Slave(of) => Role::Slave(Following {
                host: match of {
                    Some(master) => self.nodes[master].endpoint.ip().to_string(),
                    None => "127.0.0.1".to_owned(),
                },
                port: of.map_or(0, |master| self.nodes[master].endpoint.port()),
                link_up: state.upstream == Upstream::Connected,
                syncing: state.upstream == Upstream::Transfer,
                applied: if state.cached { state.offset } else { 1 },
                read_only: true,
            }),
        };
        let keys = self.visible_keys(state);
        Vitals {
            run_id: state.run_id.clone(),
            role,
            replid: replid(state.replid),
            replid2: state.replid2.map(replid),
            second_offset: state.replid2.map(|_| state.second_offset),
            offset: state.offset,
            keys,
            loading: state.loading,
            failover_running: false,
            version: Version { major: if state.cuts_slaves { 6 } else { 7 }, minor: 2, patch: 0 },
            valkey: None,
            cluster: false,
            sentinel: false,
            unexpected_errors: 0,
            evicted_keys: 0,
            full_syncs: state.full_syncs,
            fed: state.fed,
            write_calls: (reading == Reading::Full).then_some(state.write_calls),
            stats_reset: false,
            memory_max: 0,
            append_only: state.persistence == Persistence::AppendOnly,
            backlog_bytes: self.settings.backlog_bytes,
        }
    }
}
