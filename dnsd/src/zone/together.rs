//! Registered nodes in a zone: each by its name, and all of them together by the names above theirs.
//!
//! The latter is what a group of a topology is: `"slaves": [{"srv": "redis-1.docker"}]` means whoever is
//! registered below that name. SkyDNS, from which nodes were found before, answers the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hickory_proto::rr::{Name, RecordType};

use super::{Builder, Zone, ZoneSettings, address, below, srv};

/// Most registered nodes that are told by one name; the answer must fit into a DNS message.
const TOGETHER_MAX: usize = 256;

/// Nodes by their names, as something outside of the document registers them.
pub type Registered = BTreeMap<Name, SocketAddr>;

impl Zone {
    /// The same with the names of registered nodes. They are told by the nodes themselves, so they win over
    /// what the names of the document led to; the zone's own names they do not touch.
    #[must_use]
    pub fn with_nodes(self, settings: &ZoneSettings, nodes: &Registered) -> Self {
        if nodes.is_empty() {
            return self;
        }
        let mut builder = Builder { settings, records: self.records, warnings: self.warnings };
        let domain = &settings.domain;
        let own = ["master", "slaves", "ns"].map(|label| below(label, domain));
        let is_own = |name: &Name| *name == *domain || own.iter().any(|own| own.zone_of(name));
        let served = nodes.iter().filter(|(name, _)| domain.zone_of(name) && !is_own(name));
        let served: Registered = served.map(|(name, at)| (name.clone(), *at)).collect();
        for (name, at) in &served {
            builder.node(name, *at);
        }
        builder.everybody(&served);
        builder.empty_non_terminals();
        Zone { records: builder.records, warnings: builder.warnings }
    }
}

impl Builder<'_> {
    /// Every registered node below a name is behind that name, as it was with SkyDNS: at the domain all are.
    /// A name that is a node's own, or that the document uses, stays what it is; the name of a service, with
    /// its underscores, is no node.
    fn everybody(&mut self, nodes: &Registered) {
        let mut groups = BTreeMap::<Name, Vec<&Name>>::new();
        for name in nodes.keys().filter(|name| !name.iter().any(|label| label.starts_with(b"_"))) {
            let mut above = name.base_name();
            while self.settings.domain.zone_of(&above) {
                groups.entry(above.clone()).or_default().push(name);
                above = above.base_name();
            }
        }
        for (owner, members) in groups {
            let taken = |types: &BTreeMap<_, _>| types.contains_key(&RecordType::SRV);
            if self.records.get(&owner).is_some_and(taken) {
                continue;
            }
            if members.len() > TOGETHER_MAX {
                self.warnings.push(format!(
                    "{} nodes are registered below {owner}; more than {TOGETHER_MAX} are not told together",
                    members.len()
                ));
                continue;
            }
            for name in &members {
                if let Some(at) = nodes.get(*name) {
                    self.add(&owner, srv(members.len(), at.port(), name));
                }
            }
        }
    }

    fn node(&mut self, owner: &Name, at: SocketAddr) {
        self.records.remove(owner);
        self.add(owner, srv(1, at.port(), owner));
        self.add(owner, address(at.ip()));
    }
}
