//! Resolving names once per change, to a frozen map.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use topology::address::{Address, DEFAULT_REDIS_PORT, NodeName};
use topology::conduct::Names;
use topology::document::{Answers, Document};
use topology::record::Record;

/// Looks names up, within a deadline of its own.
pub trait Lookup: Send + Sync {
    /// Where many names lead.
    fn names(&self, nodes: Vec<NodeName>) -> Pin<Box<dyn Future<Output = Names> + Send + '_>>;

    /// Who is behind the names of groups, each instance by host and port.
    fn groups(&self, services: Vec<Address>) -> Pin<Box<dyn Future<Output = Answers> + Send + '_>>;
}

/// The look-up in use.
pub type Resolve = Box<dyn Lookup>;

/// The map for a change: the nodes of the document and of the record. Literals need no resolver.
pub(super) async fn freeze(resolve: &Resolve, record: &Record, document: Option<&Document>) -> Names {
    let mut nodes = record.nodes();
    nodes.extend(document.into_iter().flat_map(|document| document.nodes().cloned()));
    nodes.sort();
    nodes.dedup();
    let (literals, names): (Vec<_>, Vec<_>) =
        nodes.into_iter().partition(|node| matches!(node.address, Address::Ip(_)));
    let mut frozen: Names = literals
        .into_iter()
        .filter_map(|node| literal(&node).map(|endpoint| (node, Ok(vec![endpoint]))))
        .collect();
    if !names.is_empty() {
        frozen.extend(resolve.names(names).await);
    }
    // A name that stopped resolving still leads somewhere if the record knows where it last did: the
    // granted master must be found even while DNS is down.
    for (node, endpoints) in &mut frozen {
        if endpoints.is_err()
            && let Some(endpoint) = record.last_endpoint(node)
        {
            tracing::warn!(%node, %endpoint, "the name does not resolve; using the address it had");
            *endpoints = Ok(vec![endpoint]);
        }
    }
    frozen
}

fn literal(node: &NodeName) -> Option<SocketAddr> {
    let Address::Ip(ip) = node.address else { return None };
    let port = node.port.unwrap_or(DEFAULT_REDIS_PORT).get();
    Some(SocketAddr::new(IpAddr::to_canonical(&ip), port))
}
