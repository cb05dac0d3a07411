//! The steps from a node name to candidates: SRV, `_redis._tcp.` SRV, addresses; search list around.
//!
//! Several addresses are several candidates, all of which are returned, sorted: whether they lead to
//! one redis can only be seen by asking it for its run id, which is not the business of DNS.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::Instant;
use topology::address::DEFAULT_REDIS_PORT;
use topology::{Address, NodeName};

use crate::client::Client;
use crate::error::{Reason, ResolveError};
use crate::hosts::{HOSTS_BYTES_MAX, Hosts, is_localhost};
use crate::settings::{Effective, Settings, SettingsError};

/// Names that are looked up at the same time.
const LOOKUPS_MAX: usize = 32;
/// SRV records of one name that are used; a node is one instance, a list this long is a mistake.
const SRV_RECORDS_MAX: usize = 16;
/// SRV records of one service that are told as they are; a Kubernetes service has one for each pod.
const TARGETS_MAX: usize = 256;
/// The label pair in front of a service name (RFC 2782).
const SERVICE_PREFIX: &str = "_redis._tcp.";

/// What many names led to; nothing in it changes any more.
pub type Resolved = BTreeMap<NodeName, Result<Vec<SocketAddr>, ResolveError>>;

/// Looks node names up. Cheap to share behind an [`Arc`]; keeps sockets, caches no answer.
pub struct Resolver {
    settings: Settings,
    /// The servers in force, replaced when resolv.conf names others.
    session: Mutex<Arc<Session>>,
}

/// What an SRV record says, its target not looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The host, in lower case, without trailing dot.
    pub host: String,
    /// The port.
    pub port: u16,
}

struct Session {
    effective: Effective,
    client: Client,
}

impl Session {
    fn new(effective: Effective) -> Arc<Self> {
        let client = Client::new(&effective.servers);
        Arc::new(Self { effective, client })
    }
}

impl Resolver {
    /// Checks the settings; nothing is asked yet. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`SettingsError`] if the search list or the list of servers cannot be used.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let effective = Effective::new(&settings, &read_or_empty(&settings.resolv_conf))?;
        Ok(Self { settings, session: Mutex::new(Session::new(effective)) })
    }

    /// The addresses a node name leads to: sorted, without duplicates, never empty.
    ///
    /// # Errors
    /// [`ResolveError`] within the deadline of the settings.
    pub async fn resolve(&self, node: &NodeName) -> Result<Vec<SocketAddr>, ResolveError> {
        let (session, hosts) = self.begin().await;
        self.resolve_in(&session, &hosts, node).await
    }

    /// The addresses of a service that is not redis: the SRV records at the name itself, else its addresses
    /// with `port`. Sorted, without duplicates, never empty.
    ///
    /// # Errors
    /// [`ResolveError`] within the deadline of the settings.
    pub async fn resolve_service(
        &self,
        name: &Address,
        port: NonZeroU16,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let with_port = NodeName { address: name.clone(), port: Some(port) };
        let Address::Name(text) = name else { return self.resolve(&with_port).await };
        let (session, hosts) = self.begin().await;
        let deadline = Instant::now() + self.settings.deadline;
        let mut lookup = Lookup { session: &session, hosts: &hosts, deadline, asked: Vec::new() };
        match lookup.services_at(text).await {
            Ok(mut candidates) => {
                candidates.sort_unstable();
                candidates.dedup();
                Ok(candidates)
            }
            Err(Reason::NotFound) => self.resolve_in(&session, &hosts, &with_port).await,
            Err(reason) => Err(ResolveError {
                name: NodeName { address: name.clone(), port: None },
                reason,
                asked: lookup.asked,
                servers: session.effective.servers.clone(),
            }),
        }
    }

    /// The SRV records at the name itself, as they are: for those who want names and no addresses. Sorted,
    /// without duplicates, never empty.
    ///
    /// # Errors
    /// [`ResolveError`] within the deadline of the settings.
    pub async fn targets(&self, name: &Address) -> Result<Vec<Target>, ResolveError> {
        let (session, hosts) = self.begin().await;
        let deadline = Instant::now() + self.settings.deadline;
        let mut lookup = Lookup { session: &session, hosts: &hosts, deadline, asked: Vec::new() };
        match lookup.records_at(&name.to_string(), TARGETS_MAX).await {
            Ok(records) => {
                let mut targets: Vec<Target> = records
                    .into_iter()
                    .map(|(target, port)| Target { host: text_of(&target), port })
                    .collect();
                targets.sort_unstable();
                targets.dedup();
                Ok(targets)
            }
            Err(reason) => Err(ResolveError {
                name: NodeName { address: name.clone(), port: None },
                reason,
                asked: lookup.asked,
                servers: session.effective.servers.clone(),
            }),
        }
    }

    /// The instances of redis behind a name: the SRV records at the name itself, then those at `_redis._tcp.`
    /// and the name, as they are. Sorted, without duplicates, never empty.
    ///
    /// # Errors
    /// [`ResolveError`] within twice the deadline of the settings.
    pub async fn instances(&self, name: &Address) -> Result<Vec<Target>, ResolveError> {
        match self.targets(name).await {
            Err(ResolveError { reason: Reason::NotFound, asked, .. }) => {
                let service = Address::Name(format!("{SERVICE_PREFIX}{name}"));
                let found = self.targets(&service).await;
                found.map_err(|error| ResolveError {
                    name: NodeName { address: name.clone(), port: None },
                    asked: [asked, error.asked].concat(),
                    ..error
                })
            }
            found => found,
        }
    }

    /// Looks many names up at once, with one reading of the system's files.
    pub async fn resolve_all(&self, nodes: impl IntoIterator<Item = NodeName>) -> Resolved {
        let (session, hosts) = self.begin().await;
        let (session, hosts) = (&session, &hosts);
        futures_util::stream::iter(nodes)
            .map(|node| async move {
                let result = self.resolve_in(session, hosts, &node).await;
                (node, result)
            })
            .buffer_unordered(LOOKUPS_MAX)
            .collect()
            .await
    }

    /// Reads the system's files, as they are now, off the runtime's own threads.
    async fn begin(&self) -> (Arc<Session>, Hosts) {
        let settings = self.settings.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut hosts = read_or_empty(&settings.hosts);
            hosts.truncate(HOSTS_BYTES_MAX);
            let hosts = Hosts::parse(&String::from_utf8_lossy(&hosts));
            (hosts, Effective::new(&settings, &read_or_empty(&settings.resolv_conf)))
        })
        .await;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok((hosts, effective)) = read else { return (session.clone(), Hosts::default()) };
        if let Ok(effective) = effective
            && effective != session.effective
        {
            tracing::info!(servers = ?effective.servers, "name servers have changed");
            *session = Session::new(effective);
        }
        (session.clone(), hosts)
    }

    async fn resolve_in(
        &self,
        session: &Session,
        hosts: &Hosts,
        node: &NodeName,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let name = match &node.address {
            Address::Ip(ip) => {
                let port = node.port.unwrap_or(DEFAULT_REDIS_PORT);
                return Ok(vec![SocketAddr::new(*ip, port.get())]);
            }
            Address::Name(name) => name,
        };
        let deadline = Instant::now() + self.settings.deadline;
        let mut lookup = Lookup { session, hosts, deadline, asked: Vec::new() };
        let result = match node.port {
            Some(port) => lookup.addresses(name).await.map(|ips| with_port(ips, port.get())),
            None => lookup.service(name).await,
        };
        match result {
            Ok(mut candidates) => {
                candidates.sort_unstable();
                candidates.dedup();
                Ok(candidates)
            }
            Err(reason) => Err(ResolveError {
                name: node.clone(),
                reason,
                asked: lookup.asked,
                servers: session.effective.servers.clone(),
            }),
        }
    }
}

/// One name on its way to addresses, remembering what was asked.
struct Lookup<'a> {
    session: &'a Session,
    hosts: &'a Hosts,
    deadline: Instant,
    asked: Vec<String>,
}

impl Lookup<'_> {
    /// A name without port: SRV records first, then addresses with the port of redis.
    async fn service(&mut self, name: &str) -> Result<Vec<SocketAddr>, Reason> {
        if !is_localhost(name) && !self.session.effective.servers.is_empty() {
            for owner in [name.to_owned(), format!("{SERVICE_PREFIX}{name}")] {
                match self.services_at(&owner).await {
                    Err(Reason::NotFound) => {}
                    known => return known,
                }
            }
        }
        let ips = self.addresses(name).await?;
        Ok(with_port(ips, DEFAULT_REDIS_PORT.get()))
    }

    async fn services_at(&mut self, owner: &str) -> Result<Vec<SocketAddr>, Reason> {
        let services = self.records_at(owner, SRV_RECORDS_MAX).await?;
        for (target, _) in &services {
            self.asked.push(format!("A/AAAA {target}"));
        }
        let this = &*self;
        let found =
            try_join_all(services.iter().map(|(target, port)| this.target(target, *port))).await?.concat();
        if found.is_empty() {
            let detail = format!("no target of the SRV records at {owner} has an address");
            return Err(Reason::BadAnswer { detail });
        }
        Ok(found)
    }

    /// The targets and ports at a name, or at the first of the search list that has any.
    async fn records_at(&mut self, owner: &str, records_max: usize) -> Result<Vec<(Name, u16)>, Reason> {
        for candidate in self.candidates(owner)? {
            self.asked.push(format!("SRV {candidate}"));
            match self.session.client.lookup(&candidate, RecordType::SRV, self.deadline).await {
                Err(Reason::NotFound) => {}
                other => return check_services(&candidate, other?, records_max),
            }
        }
        Err(Reason::NotFound)
    }

    /// Addresses of an SRV target, which is a complete name; none if it does not exist.
    async fn target(&self, target: &Name, port: u16) -> Result<Vec<SocketAddr>, Reason> {
        if let Some(ips) = self.hosts.get(&text_of(target)) {
            return Ok(with_port(ips, port));
        }
        match self.addresses_at(target).await {
            Err(Reason::NotFound) => Ok(Vec::new()),
            other => other.map(|ips| with_port(ips, port)),
        }
    }

    async fn addresses(&mut self, name: &str) -> Result<Vec<IpAddr>, Reason> {
        if let Some(ips) = self.hosts.get(name) {
            return Ok(ips);
        }
        for candidate in self.candidates(name)? {
            self.asked.push(format!("A/AAAA {candidate}"));
            match self.addresses_at(&candidate).await {
                Err(Reason::NotFound) => {}
                known => return known,
            }
        }
        Err(Reason::NotFound)
    }

    /// Both families at once. One that fails does not hide what the other gave: many a server is
    /// broken for AAAA alone.
    async fn addresses_at(&self, name: &Name) -> Result<Vec<IpAddr>, Reason> {
        let client = &self.session.client;
        let (four, six) = tokio::join!(
            client.lookup(name, RecordType::A, self.deadline),
            client.lookup(name, RecordType::AAAA, self.deadline),
        );
        let records = match (four, six) {
            (Ok(four), Ok(six)) => [four, six].concat(),
            (Ok(records), Err(_)) | (Err(_), Ok(records)) => records,
            (Err(Reason::NotFound), Err(reason)) | (Err(reason), Err(_)) => return Err(reason),
        };
        Ok(records.iter().filter_map(RData::ip_addr).collect())
    }

    /// The complete names to try for a name as written, in the order of a stub resolver.
    fn candidates(&self, name: &str) -> Result<Vec<Name>, Reason> {
        let Effective { search, ndots, .. } = &self.session.effective;
        let relative = Name::from_ascii(name)
            .map_err(|error| Reason::BadAnswer { detail: format!("`{name}` cannot be asked: {error}") })?;
        let mut complete = relative.clone();
        complete.set_fqdn(true);
        let dots = name.strip_prefix(SERVICE_PREFIX).unwrap_or(name).matches('.').count();
        let mut candidates: Vec<Name> =
            search.iter().filter_map(|domain| relative.clone().append_domain(domain).ok()).collect();
        if dots >= *ndots {
            candidates.insert(0, complete);
        } else {
            candidates.push(complete);
        }
        Ok(candidates)
    }
}

/// The targets and ports of SRV records that can be used.
fn check_services(owner: &Name, records: Vec<RData>, records_max: usize) -> Result<Vec<(Name, u16)>, Reason> {
    let services: Vec<(Name, u16)> = records
        .into_iter()
        .filter_map(|record| match record {
            RData::SRV(service) => Some((service.target, service.port)),
            _ => None,
        })
        .collect();
    if services.iter().all(|(target, _)| target.is_root()) {
        return Err(Reason::NotAvailable);
    }
    if services.len() > records_max {
        let count = services.len();
        let detail = format!("{count} SRV records at {owner}; at most {records_max} are used");
        return Err(Reason::BadAnswer { detail });
    }
    for (target, port) in &services {
        if *port == 0 {
            return Err(Reason::BadAnswer { detail: format!("SRV record at {owner} with port 0") });
        }
        if target.is_root() {
            let detail = format!("SRV records at {owner} with the target `.` beside others");
            return Err(Reason::BadAnswer { detail });
        }
    }
    Ok(services)
}

/// A name as people write it.
fn text_of(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn with_port(ips: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

/// A missing or unreadable file of the system means that it says nothing.
fn read_or_empty(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}
