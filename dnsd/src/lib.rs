//! dnsd publishes the redis topology it is told by HTTP as a DNS zone.
//!
//! ```text
//! PUT /dns ─▶ http ─▶ publisher ─▶ resolve (names to addresses)
//!                        │   zone + publication (pure: document and addresses to encoded answers)
//!                        │   state (kept on disk before it is served)
//!                        ▼
//!                    directory ◀── answer (pure: packet to answer) ◀── face::udp, face::tcp
//!                        ▲
//!                        └──────── sentinel, roles, seeds (asked), skydns (tells etcd)
//! ```
//!
//! Invariants. One task, the publisher, decides what is served. A publication never changes; it is
//! replaced. An answer reads one publication and awaits nothing. No error clears what is served.

pub mod admission;
pub mod answer;
pub mod config;
pub mod directory;
pub mod face;
pub mod http;
pub mod labels;
pub mod metrics;
pub mod problems;
pub mod publication;
pub mod publisher;
pub mod register;
pub mod registered;
pub mod roles;
pub mod seeds;
pub mod sentinel;
pub mod skydns;
pub mod state;
pub mod timestamp;
pub mod view;
pub mod zone;

pub use service::network;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use resolve::Resolver;
use service::admin::{self, Latch, Readiness};
use service::http::HttpLimits;
use service::metrics::Metrics;
use service::shutdown::Tasks;
use service::{durable, notify};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::directory::{Directory, Slot};
use crate::face::limit::RateLimit;
use crate::metrics::Counters;
use crate::publisher::{INBOX_MAX, Publisher};
use crate::seeds::service::Found;
use crate::seeds::{Placement, Seeds, Source};
use crate::state::{Kept, StateError, Store};
use crate::zone::Registered;

/// How long tasks may take to end, in milliseconds: a publication that waits for name servers ends first.
const DRAIN_MS_MAX: u64 = 10_000;
/// How often a port is looked for that is free for UDP and TCP, when any port will do.
const PORT_ATTEMPTS_MAX: usize = 16;

/// Why dnsd did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// HTTP has no address.
    #[error(transparent)]
    Http(#[from] service::http::BindError),
    /// DNS has no address.
    #[error("DNS cannot listen on {address} (--dns-listen)")]
    Dns {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The Sentinel protocol has no address.
    #[error("the Sentinel protocol cannot be spoken on {address} (--sentinel-listen)")]
    Sentinel {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing can be kept, and nothing was.
    #[error(transparent)]
    Folder(#[from] durable::FolderError),
    /// Names cannot be looked up as configured.
    #[error("names cannot be looked up")]
    Resolver(#[from] resolve::SettingsError),
    /// The domain cannot be encoded.
    #[error("the domain cannot be served")]
    Domain(#[from] hickory_proto::ProtoError),
    /// A part of the daemon ended although nobody asked it to.
    #[error("the task `{name}` ended by itself")]
    Ended {
        /// Which.
        name: &'static str,
    },
}

/// The sockets, taken before anything else happens.
#[derive(Debug)]
pub struct Listeners {
    /// HTTP.
    pub http: TcpListener,
    /// DNS over UDP: one socket, and so one thread, per core.
    pub udp: Vec<UdpSocket>,
    /// DNS over TCP.
    pub tcp: TcpListener,
    /// The Sentinel protocol, if it is spoken.
    pub sentinel: Option<TcpListener>,
}

impl Listeners {
    /// Takes the addresses of a configuration; port 0 takes any port, the same for UDP and TCP.
    ///
    /// # Errors
    /// [`RunError::Http`] and [`RunError::Dns`], which name the address.
    pub async fn bind(config: &Config) -> Result<Self, RunError> {
        let http = service::http::bind(config.common.listen).await?;
        let sentinel = match config.sentinel_listen {
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.map_err(|source| RunError::Sentinel { address, source })?)
            }
            None => None,
        };
        let address = config.dns_listen;
        let mut attempts = if address.port() == 0 { PORT_ATTEMPTS_MAX } else { 1 };
        loop {
            attempts -= 1;
            match bind_dns(address, config.dns.threads).await {
                Ok((udp, tcp)) => return Ok(Self { http, udp, tcp, sentinel }),
                Err(source) if attempts == 0 => return Err(RunError::Dns { address, source }),
                Err(_) => {}
            }
        }
    }
}

/// TCP first: it does not share its port, so a second dnsd is noticed. UDP sockets would share in silence.
async fn bind_dns(address: SocketAddr, threads: usize) -> io::Result<(Vec<UdpSocket>, TcpListener)> {
    let tcp = TcpListener::bind(address).await?;
    let udp = face::udp::bind(tcp.local_addr()?, threads)?;
    Ok((udp, tcp))
}

/// Runs until shutdown.
///
/// # Errors
/// [`RunError`] if it cannot start, or if one of its tasks ends by itself.
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> Result<(), RunError> {
    let counters = Counters::default();
    let mut metrics = Metrics::new("dnsd", config::PROGRAM.version);
    counters.register(metrics.registry());
    let readiness = Readiness::new();
    let slot = Arc::new(Slot::new(config.zone.clone())?);
    let directory = Directory::new(vec![Arc::clone(&slot)]);
    let directory = Arc::new(directory.with_transfers_to(config.dns.transfer_to.clone()));
    let latch = readiness.latch("publication", "nothing was published yet");
    let tasks = Tasks::new();
    // The publisher and what follows it outlive the HTTP face: what has been accepted is finished.
    let publisher_stop = CancellationToken::new();
    let mut running = following(&config, &slot, &mut metrics, &tasks, &publisher_stop);
    let nodes = nodes(&config, &tasks, &mut running, &publisher_stop).await;
    let publisher = publisher(&config, &slot, &counters, latch, nodes).await?;
    let seeds = seeds(&config, &slot, &tasks, &mut running, &publisher_stop)?;
    let dns_stop = CancellationToken::new();
    if let Some(listener) = listeners.sentinel {
        let settings = face::sentinel::Settings {
            peers: config.peers.clone(),
            password: config.sentinel_password.clone(),
        };
        let stop = dns_stop.clone();
        let sentinel = face::sentinel::serve(listener, Arc::clone(&directory), settings, stop);
        running.push(("sentinel", tasks.spawn("sentinel", sentinel)));
    }
    let dns = Dns { udp: listeners.udp, tcp: listeners.tcp, directory, counters, stop: dns_stop.clone() };
    running.extend(dns.start(&config, &tasks));
    let (inbox, received) = mpsc::channel(INBOX_MAX);
    let publishing = publisher.run(received, config.refresh_interval, publisher_stop.clone());
    running.push(("publisher", tasks.spawn("publisher", publishing)));
    let router = http::roles::routes(Arc::clone(&slot), shutdown.clone())
        .merge(http::seeds::routes(seeds, config.discovery.seeds.at_root))
        .merge(http::routes(http::Face { slot, inbox }))
        .merge(admin::routes(readiness, Arc::new(metrics)));
    let limits = HttpLimits::of(&config.common);
    let serving = service::http::serve(listeners.http, router, limits, shutdown.clone());
    running.push(("http", tasks.spawn("http", serving)));
    notify::ready(&format!("publishing {}", config.zone.domain));
    tracing::info!(http = %config.common.listen, dns = %config.dns_listen, domain = %config.zone.domain, "ready");

    let ended = futures_util::future::select_all(running.into_iter().map(|(name, task)| {
        Box::pin(async move {
            let _ = task.await;
            name
        })
    }));
    let mut ended = std::pin::pin!(ended);
    let outcome = tokio::select! {
        // HTTP ends at shutdown, which is then the reason and not the end of a task.
        biased;
        () = shutdown.cancelled() => Ok(()),
        (name, ..) = &mut ended => Err(RunError::Ended { name }),
    };
    notify::stopping();
    shutdown.cancel();
    if outcome.is_ok() {
        // HTTP is the first to end.
        let _ = tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), ended).await;
    }
    publisher_stop.cancel();
    // DNS answers to the last.
    dns_stop.cancel();
    if let Err(late) = tasks.drain(Duration::from_millis(DRAIN_MS_MAX)).await {
        tracing::warn!(?late, "stopped before everything had ended");
    }
    outcome
}

/// A task by its name.
type Named = (&'static str, JoinHandle<()>);

/// What follows the publication without being asked.
fn following(
    config: &Config,
    slot: &Arc<Slot>,
    metrics: &mut Metrics,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Vec<Named> {
    let mut running = Vec::new();
    if let Some(etcd) = config.discovery.skydns_etcd.clone() {
        let in_force = skydns::gauge(metrics.registry());
        let following = skydns::follow(Arc::clone(slot), etcd, in_force, stop.clone());
        running.push(("skydns", tasks.spawn("skydns", following)));
    }
    running
}

/// The list for Dynomite. If a service names its peers, they are looked for from now on.
fn seeds(
    config: &Config,
    slot: &Arc<Slot>,
    tasks: &Tasks,
    running: &mut Vec<Named>,
    stop: &CancellationToken,
) -> Result<Arc<Seeds>, RunError> {
    let config::Seeds { rack, dc, token_prefix, own_host, service, .. } = config.discovery.seeds.clone();
    let own_host = own_host.unwrap_or_else(seeds::host_name);
    let placement = Placement { rack, dc, token_prefix, own_host };
    let source = match service {
        None => Source::Publication(Arc::clone(slot)),
        Some(name) => {
            let (sender, found) = watch::channel(Found::default());
            let resolver = Resolver::new(config.resolver.clone())?;
            let following = seeds::service::follow(name, placement.clone(), resolver, sender, stop.clone());
            running.push(("seeds", tasks.spawn("seeds", following)));
            Source::Service(found)
        }
    };
    Ok(Arc::new(Seeds::new(placement, source)))
}

/// What answers DNS, before it does.
struct Dns {
    udp: Vec<UdpSocket>,
    tcp: TcpListener,
    directory: Arc<Directory>,
    counters: Counters,
    stop: CancellationToken,
}

impl Dns {
    fn start(self, config: &Config, tasks: &Tasks) -> Vec<(&'static str, JoinHandle<()>)> {
        let Self { udp, tcp, directory, counters, stop } = self;
        let settings = &config.dns;
        let mut running = Vec::new();
        let rate_limit = RateLimit::new(settings.rate_limit).map(Arc::new);
        for socket in udp {
            let (directory, limit) = (Arc::clone(&directory), rate_limit.clone());
            let serving = face::udp::serve(socket, directory, limit, counters.clone(), stop.clone());
            running.push(("dns over udp", tasks.spawn("dns over udp", serving)));
        }
        if !settings.secondaries.is_empty() {
            let (secondaries, own) = (settings.secondaries.clone(), config.dns_listen.ip());
            let telling = face::notify::serve(Arc::clone(&directory), secondaries, own, stop.clone());
            running.push(("notify", tasks.spawn("notify", telling)));
        }
        let limits = face::tcp::Limits { connections_max: settings.connections_max, idle: settings.idle };
        let serving = face::tcp::serve(tcp, directory, limits, counters, stop);
        running.push(("dns over tcp", tasks.spawn("dns over tcp", serving)));
        running
    }
}

/// The nodes that are registered in etcd. Waits for the first list, so that a restart misses nobody.
async fn nodes(
    config: &Config,
    tasks: &Tasks,
    running: &mut Vec<Named>,
    stop: &CancellationToken,
) -> watch::Receiver<Registered> {
    let (sender, mut nodes) = watch::channel(Registered::new());
    if let Some(etcd) = config.discovery.nodes_etcd.clone() {
        let following = registered::follow(config.zone.domain.clone(), etcd, sender, stop.clone());
        running.push(("nodes", tasks.spawn("nodes", following)));
        // Late or never: then the names come when they do.
        let _ = tokio::time::timeout(Duration::from_millis(registered::FIRST_MS_MAX), nodes.changed()).await;
    }
    nodes
}

/// The publisher, already serving what an earlier process kept.
async fn publisher(
    config: &Config,
    slot: &Arc<Slot>,
    counters: &Counters,
    latch: Latch,
    nodes: watch::Receiver<Registered>,
) -> Result<Publisher, RunError> {
    let store = Store::new(&config.common.state_dir, &config.zone.cluster);
    let kept = load(config, &store).await?;
    let resolver = Resolver::new(config.resolver.clone())?;
    let mut publisher = Publisher::new(Arc::clone(slot), resolver, store, counters.clone(), latch, nodes);
    if let Some(kept) = kept
        && let Err(error) = publisher.restore(kept)
    {
        tracing::error!(%error, "the last publication cannot be served; waiting for a new one");
    }
    Ok(publisher)
}

/// What an earlier process kept. A state folder that cannot be written to ends the start only if there is
/// nothing in it that could be served; a file that cannot be read ends it never.
async fn load(config: &Config, store: &Store) -> Result<Option<Kept>, RunError> {
    let prepared = durable::prepare_folder(&config.common.state_dir).await;
    let kept = match store.load().await {
        Ok(kept) => kept,
        Err(error @ (StateError::Malformed { .. } | StateError::Unreadable { .. })) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, cause, "the last publication is lost; waiting for a new one");
            None
        }
    };
    match (prepared, &kept) {
        (Ok(()), _) => {}
        (Err(error), Some(_)) => {
            tracing::warn!(%error, "the last publication is served, a new one will be refused");
        }
        (Err(error), None) => return Err(error.into()),
    }
    Ok(kept)
}
