//! Names by DNS, for the task that owns the cluster's state.
//!
//! Every address that a name leads to is judged by `--allow-targets` here, whoever wrote the name: a document
//! or the SRV records of a group. An answer with one record that cannot be a node is not used at all, for the
//! rest of it is worth no more than that record.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::pin::Pin;

use futures_util::future::join_all;
use resolve::Resolver;
use topology::conduct::Names;
use topology::document::Answers;
use topology::{Address, NodeName};

use crate::apply::Lookup;
use crate::targets::Targets;

/// The look-up of a running dictator.
pub struct ByDns {
    resolver: Resolver,
    targets: Targets,
    nodes_max: usize,
}

impl ByDns {
    /// Looks up by `resolver` what `targets` allow; a group may have `nodes_max` instances.
    pub fn new(resolver: Resolver, targets: Targets, nodes_max: usize) -> Self {
        Self { resolver, targets, nodes_max }
    }

    async fn group(&self, srv: Address) -> (Address, Result<Vec<NodeName>, String>) {
        let records = self.resolver.instances(&srv).await.map_err(|error| error.to_string());
        let found = records.and_then(|records| {
            let count = records.len();
            if count > self.nodes_max {
                return Err(format!("it names {count} instances; at most {} are used", self.nodes_max));
            }
            records.into_iter().map(|record| instance(&record.host, record.port)).collect()
        });
        (srv, found)
    }
}

impl Lookup for ByDns {
    fn names(&self, nodes: Vec<NodeName>) -> Pin<Box<dyn Future<Output = Names> + Send + '_>> {
        Box::pin(async move {
            let resolved = self.resolver.resolve_all(nodes).await;
            let allowed = |found: Vec<_>| self.targets.check_all(&found).map(|()| found);
            resolved
                .into_iter()
                .map(|(name, found)| (name, found.map_err(|error| error.to_string()).and_then(allowed)))
                .collect()
        })
    }

    fn groups(&self, services: Vec<Address>) -> Pin<Box<dyn Future<Output = Answers> + Send + '_>> {
        Box::pin(async move {
            let found = join_all(services.into_iter().map(|srv| self.group(srv))).await;
            found.into_iter().collect::<BTreeMap<_, _>>()
        })
    }
}

/// The host and the port of an SRV record as the name of a node.
fn instance(host: &str, port: u16) -> Result<NodeName, String> {
    let wrong = |why: String| format!("its records name {host:?} with port {port}, which is no node: {why}");
    let port = NonZeroU16::new(port).ok_or_else(|| wrong("port 0".to_owned()))?;
    match host.parse() {
        Ok(address @ Address::Name(_)) => Ok(NodeName { address, port: Some(port) }),
        Ok(Address::Ip(_)) => {
            Err(wrong("the target of an SRV record is a host name, not an address (RFC 2782)".to_owned()))
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_host_names() {
        assert_eq!(instance("core-01.docker", 7001).unwrap().to_string(), "core-01.docker:7001");
        for (host, port, words) in [
            ("10.0.0.1", 1, "RFC 2782"),
            ("core-01", 0, "port 0"),
            ("", 1, "empty"),
            ("a b", 1, "U+0020"),
            ("127.1", 1, "number"),
        ] {
            let why = instance(host, port).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}
