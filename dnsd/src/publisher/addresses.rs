//! From the nodes of a document to their addresses. Only names are ever looked up.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use resolve::{ResolveError, Resolved, Resolver};
use topology::address::DEFAULT_REDIS_PORT;
use topology::{Address, NodeName};

/// Addresses of nodes. Without a name among them nobody is asked and no file is read.
pub(super) async fn look_up(resolver: &Resolver, nodes: impl IntoIterator<Item = NodeName>) -> Resolved {
    let (mut resolved, mut names) = (Resolved::new(), Vec::new());
    for node in nodes {
        match literal(&node) {
            Some(at) => drop(resolved.insert(node, Ok(vec![at]))),
            None => names.push(node),
        }
    }
    if !names.is_empty() {
        resolved.extend(resolver.resolve_all(names).await);
    }
    resolved
}

/// Where a node is that is named by its IP address.
pub(super) fn literal(node: &NodeName) -> Option<SocketAddr> {
    let Address::Ip(ip) = node.address else { return None };
    Some(SocketAddr::new(ip, node.port.unwrap_or(DEFAULT_REDIS_PORT).get()))
}

/// What speaks against using what a name led to.
pub(super) fn problem_of(name: &NodeName, found: &Result<Vec<SocketAddr>, ResolveError>) -> Option<String> {
    match found {
        Err(error) => Some(error.to_string()),
        Ok(candidates) if candidates.windows(2).any(|pair| pair[0].port() != pair[1].port()) => {
            Some(format!("{name} leads to several ports"))
        }
        Ok(_) => None,
    }
}

pub(super) fn good(resolved: &Resolved) -> BTreeMap<NodeName, Vec<SocketAddr>> {
    resolved.iter().filter_map(|(name, found)| Some((name.clone(), found.as_ref().ok()?.clone()))).collect()
}

/// Addresses of names, and with them those of the nodes that are named by theirs: all that is kept on disk.
pub(super) fn with_literals<'a>(
    nodes: impl Iterator<Item = &'a NodeName>,
    addresses: &BTreeMap<NodeName, Vec<SocketAddr>>,
) -> BTreeMap<NodeName, Vec<SocketAddr>> {
    let literals = nodes.filter_map(|node| Some((node.clone(), vec![literal(node)?])));
    literals.chain(addresses.clone()).collect()
}
