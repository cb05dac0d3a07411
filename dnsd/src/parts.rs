//! The parts of the daemon, each started as the settings want it.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use resolve::Resolver;
use service::durable;
use service::metrics::Metrics;
use service::shutdown::Tasks;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clusters::{Below, Clusters, ORDERS_MAX};
use crate::config::{self, Config, Zones};
use crate::directory::{Directory, Slot};
use crate::face::limit::RateLimit;
use crate::http::Inbox;
use crate::metrics::{self, Counters};
use crate::publisher::{INBOX_MAX, Means, Publisher};
use crate::seeds::service::Found;
use crate::seeds::{Placement, Seeds, Source};
use crate::state::{Kept, StateError, Store};
use crate::zone::{Registered, ZoneSettings};
use crate::{RunError, face, registered, seeds, skydns};

/// A task by its name.
pub(crate) type Named = (&'static str, JoinHandle<()>);

/// What parts are started with, and those that run.
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) tasks: &'a Tasks,
    pub(crate) running: Vec<Named>,
    /// Ends publishing, and what follows it.
    pub(crate) stop: CancellationToken,
}

/// Who decides what is served, already serving what an earlier process kept.
pub(crate) enum Publishing {
    One(Box<Publisher>),
    Many(Box<Clusters>),
}

/// The zones of the settings.
pub(crate) fn directory(config: &Config) -> Result<Directory, RunError> {
    Ok(match &config.zones {
        Zones::One(zone) => Directory::of(Arc::new(Slot::new(zone.clone())?)),
        Zones::Many(below) => Directory::below(&below.suffix)?,
    })
}

impl Parts<'_> {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.running.push((name, self.tasks.spawn(name, task)));
    }

    /// Makes the publisher of the only zone, or those of many.
    pub(crate) async fn publishing(
        &mut self,
        means: Arc<Means>,
        metrics: &mut Metrics,
    ) -> Result<Publishing, RunError> {
        let zones = match self.config.zones {
            Zones::One(_) => metrics::Zones::One,
            Zones::Many(_) => metrics::Zones::Many,
        };
        means.counters.register(metrics.registry(), zones);
        match (&self.config.zones, means.directory.only()) {
            (Zones::One(zone), Some(slot)) => {
                let zone = zone.clone();
                self.follow(&slot, metrics);
                let nodes = self.nodes(&zone).await;
                let publisher = publisher(self.config, slot, means, nodes).await?;
                Ok(Publishing::One(Box::new(publisher)))
            }
            (Zones::One(_), None) => unreachable!("a directory of one zone has one"),
            (Zones::Many(below), _) => {
                Ok(Publishing::Many(Box::new(clusters(self.config, below.clone(), means).await?)))
            }
        }
    }

    /// Starts to publish, and gives the place where documents go.
    pub(crate) fn publish(&mut self, publishing: Publishing) -> Inbox {
        let stop = self.stop.clone();
        match publishing {
            Publishing::One(publisher) => {
                let (inbox, received) = mpsc::channel(INBOX_MAX);
                self.spawn("publisher", publisher.run(received, self.config.refresh_interval, stop));
                Inbox::One(inbox)
            }
            Publishing::Many(clusters) => {
                let (inbox, received) = mpsc::channel(ORDERS_MAX);
                self.spawn("clusters", clusters.run(received, stop));
                Inbox::Many(inbox)
            }
        }
    }

    /// What follows the publication without being asked.
    fn follow(&mut self, slot: &Arc<Slot>, metrics: &mut Metrics) {
        if let Some(etcd) = self.config.discovery.skydns_etcd.clone() {
            let in_force = skydns::gauge(metrics.registry());
            let following = skydns::follow(Arc::clone(slot), etcd, in_force, self.stop.clone());
            self.spawn("skydns", following);
        }
    }

    /// The nodes that are registered in etcd. Waits for the first list, so that a restart misses nobody.
    async fn nodes(&mut self, zone: &ZoneSettings) -> watch::Receiver<Registered> {
        let (sender, mut nodes) = watch::channel(Registered::new());
        if let Some(etcd) = self.config.discovery.nodes_etcd.clone() {
            let following = registered::follow(zone.domain.clone(), etcd, sender, self.stop.clone());
            self.spawn("nodes", following);
            // Late or never: then the names come when they do.
            let first = Duration::from_millis(registered::FIRST_MS_MAX);
            let _ = tokio::time::timeout(first, nodes.changed()).await;
        }
        nodes
    }

    /// The list for Dynomite. If a service names its peers, they are looked for from now on.
    pub(crate) fn seeds(&mut self, directory: &Directory) -> Result<Arc<Seeds>, RunError> {
        let config::Seeds { rack, dc, token_prefix, own_host, service, .. } =
            self.config.discovery.seeds.clone();
        let own_host = own_host.unwrap_or_else(seeds::host_name);
        let placement = Placement { rack, dc, token_prefix, own_host };
        let source = match service {
            None if directory.is_of_many() => Source::Nowhere,
            None => directory.only().map_or(Source::Nowhere, Source::Publication),
            Some(name) => {
                let (sender, found) = watch::channel(Found::default());
                let resolver = Resolver::new(self.config.resolver.clone())?;
                let stop = self.stop.clone();
                let following = seeds::service::follow(name, placement.clone(), resolver, sender, stop);
                self.spawn("seeds", following);
                Source::Service(found)
            }
        };
        Ok(Arc::new(Seeds::new(placement, source)))
    }

    pub(crate) fn sentinel(
        &mut self,
        listener: TcpListener,
        directory: &Arc<Directory>,
        stop: &CancellationToken,
    ) {
        let settings = face::sentinel::Settings {
            peers: self.config.peers.clone(),
            password: self.config.sentinel_password.clone(),
        };
        let serving = face::sentinel::serve(listener, Arc::clone(directory), settings, stop.clone());
        self.spawn("sentinel", serving);
    }

    pub(crate) fn dns(&mut self, dns: Dns) {
        let Dns { udp, tcp, directory, counters, stop } = dns;
        let settings = &self.config.dns;
        let rate_limit = RateLimit::new(settings.rate_limit).map(Arc::new);
        for socket in udp {
            let (directory, limit) = (Arc::clone(&directory), rate_limit.clone());
            let serving = face::udp::serve(socket, directory, limit, counters.clone(), stop.clone());
            self.spawn("dns over udp", serving);
        }
        if !settings.secondaries.is_empty() {
            let (secondaries, own) = (settings.secondaries.clone(), self.config.dns_listen.ip());
            let telling = face::notify::serve(Arc::clone(&directory), secondaries, own, stop.clone());
            self.spawn("notify", telling);
        }
        let limits = face::tcp::Limits {
            connections_max: settings.connections_max,
            connections_of_one_max: settings.connections_per_client,
            idle: settings.idle,
        };
        self.spawn("dns over tcp", face::tcp::serve(tcp, directory, limits, counters, stop));
    }
}

/// What answers DNS, before it does.
pub(crate) struct Dns {
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) tcp: TcpListener,
    pub(crate) directory: Arc<Directory>,
    pub(crate) counters: Counters,
    pub(crate) stop: CancellationToken,
}

async fn publisher(
    config: &Config,
    slot: Arc<Slot>,
    means: Arc<Means>,
    nodes: watch::Receiver<Registered>,
) -> Result<Publisher, RunError> {
    let store = Store::new(&config.common.state_dir, &slot.settings.cluster);
    let kept = load(config, &store).await?;
    let mut publisher = Publisher::new(slot, means, store, nodes);
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
    judge(prepared, kept.is_some())?;
    Ok(kept)
}

fn judge(prepared: Result<(), durable::FolderError>, has_kept: bool) -> Result<(), RunError> {
    match prepared {
        Err(error) if has_kept => {
            tracing::warn!(%error, "the last publication is served, a new one will be refused");
            Ok(())
        }
        prepared => Ok(prepared?),
    }
}

/// The same for many.
async fn clusters(config: &Config, below: Below, means: Arc<Means>) -> Result<Clusters, RunError> {
    let folder = &config.common.state_dir;
    let prepared = durable::prepare_folder(folder).await;
    let clusters = Clusters::load(Arc::clone(&means), below, folder.clone(), config.refresh_interval).await?;
    judge(prepared, means.directory.count() > 0)?;
    tracing::info!(clusters = means.directory.count(), "clusters of earlier processes are served");
    Ok(clusters)
}
