//! The dictator: applies the wanted topology to live redis nodes, and keeps it true.
//!
//! ```text
//! http ──Ask──▶ apply (one owner task: record, change under way, enforcement)
//!                 │ drives topology::conduct (pure: every decision)
//!                 ├──Order──▶ node (RESP)
//!                 └──Record─▶ state directory
//! ```
//!
//! It is ready as soon as the record has been read and HTTP listens; whether any redis answers is in
//! `GET /status`, never in its readiness: a dictator that is restarted because a node is away comes
//! back no wiser, and is away itself just when it is needed.

pub mod apply;
pub mod config;
pub mod http;
pub mod lookup;
pub mod targets;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use node::{Credentials, Mandate, Nodes};
use resolve::Resolver;
use service::admin::{self, Readiness};
use service::config::Common;
use service::daemon::StartError;
use service::http::HttpLimits;
use service::metrics::Metrics;
use service::shutdown::Tasks;
use service::{clock, notify};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use topology::conduct::Limits;
use topology::plan::Policy;

use apply::{Events, Handle, Owner, Resolve, Settings, Store};
use config::Config;

/// Beyond `--apply-timeout`, from the signal until what still runs is left behind. It must end within
/// systemd's TimeoutStopSec=.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);

/// What is bound before anything runs, so that tests can choose and a taken port fails the start.
#[derive(Debug)]
pub struct Listeners {
    /// The HTTP face.
    pub http: TcpListener,
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// With the address, when it cannot be bound.
    pub async fn bind(common: &Common) -> Result<Self, StartError> {
        Ok(Self { http: service::http::bind(common.listen).await? })
    }
}

/// Runs the dictator until `shutdown`, and then until the change under way has ended.
///
/// # Errors
/// When it cannot start: the state directory, the record; or when its owner task ends by itself.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let mut metrics = Metrics::new(config::PROGRAM.name, config::PROGRAM.version);
    metrics.tell_certificate(&config.common.access);
    let counters = apply::Metrics::register(metrics.registry());
    let events = Events::default();
    let (handle, owning) = Box::pin(owning(&config, counters, events.clone(), shutdown.clone())).await?;
    let ended = CancellationToken::new();
    let guard = ended.clone().drop_guard();
    let tasks = Tasks::new();
    tasks.spawn("apply", async move {
        let _guard = guard;
        owning.await;
    });

    let drain = config.apply_timeout + DRAIN_MARGIN;
    let limits = HttpLimits { drain_timeout: drain, ..HttpLimits::of(&config.common) };
    let stop_serving = shutdown.child_token();
    let face = http::routes(http::Face::new(handle, &config, events, stop_serving.clone()));
    let router = face.merge(admin::routes(Readiness::new(), Arc::new(metrics)));
    let serving = service::http::serve(listeners.http, router, limits, stop_serving.clone());
    tracing::info!(cluster = config.cluster, "dictator is ready");
    notify::ready(&format!("keeping {}", config.cluster));
    // Without its owner the face would answer everything with 503; better to end and be started again.
    tokio::spawn(async move {
        ended.cancelled().await;
        stop_serving.cancel();
    });
    serving.await;
    if let Err(late) = tasks.drain(drain).await {
        tracing::warn!(?late, "tasks did not end in time and are left behind");
    }
    if shutdown.is_cancelled() { Ok(()) } else { Err("the task that owns the cluster's state ended".into()) }
}

/// The task that owns the cluster's state, or that campaigns for the right to.
type Owning = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn owning(
    config: &Config,
    metrics: apply::Metrics,
    events: Events,
    shutdown: CancellationToken,
) -> Result<(Handle, Owning), StartError> {
    let store = Store::open(&config.common.state_dir).await?;
    let resolve = resolver(config)?;
    let Some(election) = config.election.clone() else {
        let record = store.record().await?;
        let epoch = store.next_epoch().await?;
        let (mandate, held) = watch::channel(Some(Mandate::alone(epoch)));
        let nodes = Nodes::new(node_settings(config), held);
        let (handle, asks) = Handle::new();
        let owner =
            Owner::new(owner_settings(config, epoch, events), store, record, nodes, resolve, metrics, asks)
                .await;
        tracing::info!(epoch, "this dictator has no rivals");
        let owning = async move {
            owner.run(shutdown).await;
            drop(mandate);
        };
        return Ok((handle, Box::pin(owning)));
    };
    let parts = apply::Parts {
        settings: owner_settings(config, 0, events),
        store,
        node_settings: node_settings(config),
        resolve: Arc::new(resolve),
        metrics,
    };
    let (handle, standing) = Handle::elected();
    Ok((handle, Box::pin(apply::campaign(election, parts, standing, shutdown))))
}

fn owner_settings(config: &Config, epoch: u64, events: Events) -> Settings {
    let defaults = Limits::default();
    Settings {
        limits: Limits {
            write_pause: config.max_write_pause,
            apply_timeout: config.apply_timeout,
            // Who waits for links waits no longer than for anything else.
            verify_timeout: defaults.verify_timeout.min(config.apply_timeout),
            ..defaults
        },
        policy: Policy { ignore_sentinel: config.ignore_sentinel, epoch },
        enforce_interval: config.enforce_interval,
        nodes_max: config.nodes_max,
        events,
    }
}

fn node_settings(config: &Config) -> node::Settings {
    const MICROS_PER_MILLI: u64 = 1000;
    let clock = || i64::try_from(clock::unix_millis().saturating_mul(MICROS_PER_MILLI)).unwrap_or(i64::MAX);
    let credentials = config.redis_password.as_ref().map(|password| Credentials {
        username: config.redis_username.clone(),
        password: node::Secret::new(password.expose().to_owned()),
    });
    let secure = config.redis_tls.as_ref().map(config::RedisTls::secure);
    node::Settings { secure, credentials, ..node::Settings::new(Arc::new(clock)) }
}

fn resolver(config: &Config) -> Result<Resolve, StartError> {
    let resolver = Resolver::new(resolve::Settings {
        name_servers: config.nameservers.clone(),
        search: config.searchlist.clone(),
        ..resolve::Settings::default()
    })?;
    Ok(Box::new(lookup::ByDns::new(resolver, config.targets.clone(), config.nodes_max)))
}
