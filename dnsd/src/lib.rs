//! dnsd publishes the redis topology it is told by HTTP as a DNS zone.
//!
//! ```text
//! PUT /dns ─▶ http ─▶ publisher ─▶ resolve (names to addresses); of many clusters: clusters ─▶ publisher
//!                        │   zone + publication (pure: document and addresses to encoded answers)
//!                        │   state (kept on disk before it is served)
//!                        ▼
//!                    directory ◀── answer (pure: packet to answer) ◀── face::udp, face::tcp
//!                        ▲
//!                        └──────── sentinel, roles, seeds (asked), skydns (tells etcd)
//! ```
//!
//! Invariants. One publisher decides what is served in a zone. A publication never changes; it is
//! replaced. An answer reads one publication and awaits nothing. No error clears what is served.

pub mod admission;
pub mod answer;
pub mod clusters;
pub mod config;
pub mod directory;
pub mod face;
pub mod http;
pub mod keys;
pub mod labels;
pub mod metrics;
mod parts;
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
use service::admin::{self, Readiness};
use service::http::HttpLimits;
use service::metrics::Metrics;
use service::shutdown::Tasks;
use service::{durable, notify};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::keys::Transfers;
use crate::metrics::Counters;
use crate::parts::{Dns, Parts};
use crate::publisher::Means;

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
    /// What was kept cannot be found.
    #[error(transparent)]
    Clusters(#[from] clusters::LoadError),
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
    metrics.tell_certificate(&config.common.access);
    let readiness = Readiness::new();
    let latch = readiness.latch("publication", "nothing was published yet");
    let resolver = Resolver::new(config.resolver.clone())?;
    let transfers = Transfers::new(config.dns.transfer_to.clone(), config.tsig_keys.clone());
    let directory = Arc::new(parts::directory(&config)?.with_transfers(transfers));
    let means =
        Means { directory: Arc::clone(&directory), resolver, counters: counters.clone(), readiness: latch };
    // The publisher and what follows it outlive the HTTP face: what has been accepted is finished.
    let publisher_stop = CancellationToken::new();
    let tasks = Tasks::new();
    let mut parts =
        Parts { config: &config, tasks: &tasks, running: Vec::new(), stop: publisher_stop.clone() };
    let publishing = parts.publishing(Arc::new(means), &mut metrics).await?;
    let seeds = parts.seeds(&directory)?;
    let dns_stop = CancellationToken::new();
    if let Some(listener) = listeners.sentinel {
        parts.sentinel(listener, &directory, &dns_stop);
    }
    let dns = Dns {
        udp: listeners.udp,
        tcp: listeners.tcp,
        directory: Arc::clone(&directory),
        counters,
        stop: dns_stop.clone(),
    };
    parts.dns(dns);
    let inbox = parts.publish(publishing);
    let mut running = parts.running;
    let router = http::roles::routes(Arc::clone(&directory), shutdown.clone())
        .merge(http::seeds::routes(seeds, config.discovery.seeds.at_root))
        .merge(http::routes(http::Face { directory, inbox }))
        .merge(admin::routes(readiness, Arc::new(metrics)));
    let limits = HttpLimits::of(&config.common);
    let serving = service::http::serve(listeners.http, router, limits, shutdown.clone());
    running.push(("http", tasks.spawn("http", serving)));
    notify::ready(&format!("publishing {}", config.zones));
    tracing::info!(http = %config.common.listen, dns = %config.dns_listen, domain = %config.zones, "ready");

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
