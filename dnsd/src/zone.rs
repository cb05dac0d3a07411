//! From a document and its addresses to the records of a zone. Pure.
//!
//! The records are those that users of the original lived with: priority 10, weight floor(100/n), targets
//! that are names of our own, so that an SRV answer and the addresses it needs come from one place and
//! change in one step. What is in the zone does not depend on the order of slaves in the document.
//!
//! Names that the document uses and that lie in the zone are served too, because nothing else can:
//! whoever is told to ask us for the domain asks nobody else. They never override our own names.

mod together;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::rdata::{A, AAAA, NS, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use resolve::{Reason, ResolveError, Resolved};
use topology::{Address, Document, NodeName};

use crate::labels::short_labels;
use crate::timestamp::rfc3339;

pub use together::Registered;

/// SRV priority of every record; the original's.
const PRIORITY: u16 = 10;
/// The weights of one name add up to about this; the original's.
const WEIGHT_SUM: usize = 100;
/// Longest time anything negative may be kept, in seconds: a node that returns must not stay hidden.
const NEGATIVE_TTL_S_MAX: u32 = 5;
/// SOA refresh, retry and expire, in seconds. Secondaries should follow quickly, and go on serving for a
/// week without us, as we serve the last publication whatever happens.
const SOA_REFRESH_S: i32 = 30;
const SOA_RETRY_S: i32 = 5;
const SOA_EXPIRE_S: i32 = 604_800;

/// What is the same for every publication of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneSettings {
    /// The cluster the zone speaks of.
    pub cluster: String,
    /// The domain, complete and in lower case.
    pub domain: Name,
    /// How long answers may be kept, in seconds.
    pub ttl_s: u32,
    /// Addresses of `ns.D`; empty if we listen everywhere and do not know.
    pub server_ips: Vec<IpAddr>,
}

/// One node as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As the document names it.
    pub name: NodeName,
    /// Where it listens.
    pub port: u16,
    /// Its addresses: sorted, at least one.
    pub ips: Vec<IpAddr>,
}

impl Member {
    /// The one address that is told where only one can be, the same for everybody: clients compare
    /// addresses as text.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        let first_of = |wanted: fn(&&IpAddr) -> bool| self.ips.iter().find(wanted);
        let ip = first_of(|ip| ip.is_ipv4()).or_else(|| first_of(|ip| ip.is_ipv6()))?;
        Some(SocketAddr::new(*ip, self.port))
    }
}

/// A slave that is not published, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// As the document names it.
    pub name: NodeName,
    /// The sentence for the operator.
    pub reason: String,
}

/// Who is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The master.
    pub master: Member,
    /// The slaves, sorted by name.
    pub slaves: Vec<Member>,
    /// The slaves that have no address, sorted by name.
    pub left_out: Vec<LeftOut>,
}

/// Why there is nothing to publish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// The master's name leads nowhere.
    #[error("the master cannot be resolved")]
    Unresolvable(#[source] ResolveError),
    /// The master's name leads to several ports, which cannot all be the master.
    #[error("{name} leads to several ports: {}", candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// The master.
        name: NodeName,
        /// What the name leads to.
        candidates: Vec<SocketAddr>,
    },
}

impl Members {
    /// Pairs the nodes of a document with what their names led to. A name that `resolved` does not hold
    /// counts as one that does not exist.
    ///
    /// # Errors
    /// [`MembersError`] if the master cannot be published.
    pub fn new(document: &Document, resolved: &Resolved) -> Result<Self, MembersError> {
        let candidates = lookup(resolved, &document.master).map_err(MembersError::Unresolvable)?;
        let master = member(&document.master, &candidates)
            .map_err(|()| MembersError::Ambiguous { name: document.master.clone(), candidates })?;
        let mut names: Vec<&NodeName> = document.slaves.iter().collect();
        names.sort_unstable();
        names.dedup();
        let (mut slaves, mut left_out) = (Vec::new(), Vec::new());
        for name in names {
            let reason = match lookup(resolved, name).map(|candidates| member(name, &candidates)) {
                Ok(Ok(slave)) => {
                    slaves.push(slave);
                    continue;
                }
                Ok(Err(())) => format!("{name} leads to several ports; give `port` in the document"),
                Err(error) => error.to_string(),
            };
            left_out.push(LeftOut { name: name.clone(), reason });
        }
        let unknown = document.groups.iter().filter(|group| group.members.is_empty());
        left_out.extend(unknown.map(|group| LeftOut {
            name: NodeName { address: group.srv.clone(), port: None },
            reason: format!(
                "nobody is known behind the group {}; who is, the dictator's GET /master tells",
                group.srv
            ),
        }));
        Ok(Self { master, slaves, left_out })
    }

    /// Everybody who is published, the master first.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        std::iter::once(&self.master).chain(&self.slaves)
    }
}

fn lookup(resolved: &Resolved, name: &NodeName) -> Result<Vec<SocketAddr>, ResolveError> {
    resolved.get(name).cloned().unwrap_or_else(|| {
        let (asked, servers) = (Vec::new(), Vec::new());
        Err(ResolveError { name: name.clone(), reason: Reason::NotFound, asked, servers })
    })
}

/// Several addresses with one port are one node with several addresses; several ports are a riddle.
fn member(name: &NodeName, candidates: &[SocketAddr]) -> Result<Member, ()> {
    let port = candidates.first().ok_or(())?.port();
    if candidates.iter().any(|candidate| candidate.port() != port) {
        return Err(());
    }
    let mut ips: Vec<IpAddr> = candidates.iter().map(SocketAddr::ip).collect();
    ips.sort_unstable();
    ips.dedup();
    Ok(Member { name: name.clone(), port, ips })
}

/// What the TXT record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The revision of the document; 0 if it never had one.
    pub revision: u64,
    /// The generation of the master.
    pub generation: u64,
    /// Since when, in seconds since 1970.
    pub since: u64,
}

/// The data of one name and type, all with one TTL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RrSet {
    /// Time to live, in seconds.
    pub ttl_s: u32,
    /// The data: sorted as inserted, no duplicates.
    pub data: Vec<RData>,
}

/// Records by owner and type. An owner without records is an empty non-terminal: it exists (NODATA).
pub type Records = BTreeMap<Name, BTreeMap<RecordType, RrSet>>;

/// A zone without its SOA, which carries the serial and so is added last, and the warnings it caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The records.
    pub records: Records,
    /// Names of the document that could not be served under themselves.
    pub warnings: Vec<String>,
}

/// Builds the records of one publication.
pub fn build(settings: &ZoneSettings, members: &Members, stamp: Stamp) -> Zone {
    let mut builder = Builder { settings, records: Records::new(), warnings: Vec::new() };
    builder.apex();
    builder.master(&members.master, stamp);
    builder.slaves(&members.slaves);
    builder.own_names(members);
    builder.empty_non_terminals();
    Zone { records: builder.records, warnings: builder.warnings }
}

/// The records of a zone of which nothing was published yet.
pub fn bare(settings: &ZoneSettings) -> Zone {
    let mut builder = Builder { settings, records: Records::new(), warnings: Vec::new() };
    builder.apex();
    Zone { records: builder.records, warnings: builder.warnings }
}

/// The SOA record's data and TTL for a serial.
pub fn soa(settings: &ZoneSettings, serial: u32) -> RrSet {
    let negative_ttl_s = settings.ttl_s.min(NEGATIVE_TTL_S_MAX);
    let data = SOA::new(
        below("ns", &settings.domain),
        below("hostmaster", &settings.domain),
        serial,
        SOA_REFRESH_S,
        SOA_RETRY_S,
        SOA_EXPIRE_S,
        negative_ttl_s,
    );
    RrSet { ttl_s: negative_ttl_s, data: vec![RData::SOA(data)] }
}

/// `label` in front of a domain. Settings and labels are bounded so that it fits (see `config`); a name
/// that would not fit becomes the domain itself rather than a panic.
pub fn below(label: &str, domain: &Name) -> Name {
    Name::from_ascii(label).and_then(|label| label.append_domain(domain)).unwrap_or_else(|_| domain.clone())
}

struct Builder<'a> {
    settings: &'a ZoneSettings,
    records: Records,
    warnings: Vec<String>,
}

impl Builder<'_> {
    fn apex(&mut self) {
        let domain = self.settings.domain.clone();
        let server = below("ns", &domain);
        self.add(&domain, RData::NS(NS(server.clone())));
        self.records.entry(server.clone()).or_default();
        for ip in self.settings.server_ips.clone() {
            self.add(&server, address(ip));
        }
    }

    fn master(&mut self, master: &Member, stamp: Stamp) {
        let owner = below("master", &self.settings.domain);
        let service = srv(1, master.port, &owner);
        self.add(&owner, service.clone());
        self.add(&alias(&owner), service);
        for &ip in &master.ips {
            self.add(&owner, address(ip));
        }
        let text = vec![
            format!("revision={}", stamp.revision),
            format!("generation={}", stamp.generation),
            format!("since={}", rfc3339(stamp.since)),
        ];
        self.add(&owner, RData::TXT(TXT::new(text)));
    }

    fn slaves(&mut self, slaves: &[Member]) {
        let owner = below("slaves", &self.settings.domain);
        let alias = alias(&owner);
        self.records.entry(owner.clone()).or_default();
        self.records.entry(alias.clone()).or_default();
        let nodes: Vec<(&NodeName, u16)> = slaves.iter().map(|slave| (&slave.name, slave.port)).collect();
        for (slave, label) in slaves.iter().zip(short_labels(&nodes)) {
            let target = below(&label, &owner);
            let service = srv(slaves.len(), slave.port, &target);
            self.add(&owner, service.clone());
            self.add(&alias, service);
            self.add(&target, srv(1, slave.port, &target));
            for &ip in &slave.ips {
                self.add(&owner, address(ip));
                self.add(&target, address(ip));
            }
        }
    }

    /// Names of the document that lie in the zone. One host may carry several nodes, on several ports.
    fn own_names(&mut self, members: &Members) {
        let mut hosts = BTreeMap::<Name, Vec<&Member>>::new();
        for member in members.iter() {
            if let Some(owner) = self.name_in_zone(&member.name) {
                hosts.entry(owner).or_default().push(member);
            }
        }
        for (owner, members) in hosts {
            if self.records.contains_key(&owner) {
                if !self.same_addresses(&owner, &members) {
                    let text = owner.to_ascii();
                    self.warnings.push(format!(
                        "the document's name {} is one of the zone's own; it is served as the zone means it",
                        text.trim_end_matches('.')
                    ));
                }
                continue;
            }
            let mut ports: Vec<u16> = members.iter().map(|member| member.port).collect();
            ports.sort_unstable();
            ports.dedup();
            for &port in &ports {
                self.add(&owner, srv(ports.len(), port, &owner));
            }
            for member in members {
                for &ip in &member.ips {
                    self.add(&owner, address(ip));
                }
            }
        }
    }

    fn same_addresses(&self, owner: &Name, members: &[&Member]) -> bool {
        let served = self.records.get(owner);
        let has = |ip: IpAddr| {
            let data = address(ip);
            served
                .and_then(|types| types.get(&data.record_type()))
                .is_some_and(|set| set.data.contains(&data))
        };
        members.iter().flat_map(|member| &member.ips).all(|&ip| has(ip))
    }

    fn name_in_zone(&self, node: &NodeName) -> Option<Name> {
        let Address::Name(text) = &node.address else { return None };
        let mut name = Name::from_ascii(text).ok()?.to_lowercase();
        name.set_fqdn(true);
        self.settings.domain.zone_of(&name).then_some(name)
    }

    /// Names that have something below them exist, with nothing at them (RFC 8020).
    fn empty_non_terminals(&mut self) {
        let domain = &self.settings.domain;
        let mut missing = Vec::new();
        for owner in self.records.keys() {
            let mut parent = owner.base_name();
            // What is above a name that is there is looked after with that name.
            while !self.records.contains_key(&parent) && domain.zone_of(&parent) {
                missing.push(parent.clone());
                parent = parent.base_name();
            }
        }
        for name in missing {
            self.records.entry(name).or_default();
        }
    }

    fn add(&mut self, owner: &Name, data: RData) {
        let types = self.records.entry(owner.clone()).or_default();
        let ttl_s = self.settings.ttl_s;
        let set = types.entry(data.record_type()).or_insert_with(|| RrSet { ttl_s, data: Vec::new() });
        if !set.data.contains(&data) {
            set.data.push(data);
        }
    }
}

fn alias(owner: &Name) -> Name {
    below("_redis", &below("_tcp", owner))
}

fn srv(count: usize, port: u16, target: &Name) -> RData {
    let weight = u16::try_from(WEIGHT_SUM / count.max(1)).unwrap_or(1).max(1);
    RData::SRV(SRV::new(PRIORITY, weight, port, target.clone()))
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}
