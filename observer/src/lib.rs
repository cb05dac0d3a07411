//! The observer: when the trigger is written, it PUTs the document to each URL in order.
//!
//! ```text
//! source (etcd, file) ──▶ owner ──▶ deliver ──▶ http://dictator/master, then http://dnsd/dns
//!                          │  ▲
//!                          ▼  │
//!                   trigger (pure: what is to be done now)
//! ```
//!
//! DNS has to follow the nodes and never precede them, so the URLs form a chain: the first that does not
//! answer 2xx ends it, and the whole chain is tried again until it succeeds or a newer trigger replaces it.
//! Every delivery carries the trigger's revision, which lets receivers refuse what is older than what they
//! have; so delivering twice is harmless, and "was it delivered?" is answered with "do it again".
//!
//! It is ready (systemd's READY) as soon as its own parts work. Whether etcd answers is `/readyz` and the
//! status line: an observer that is restarted because etcd is away comes back no wiser.

pub mod answer;
pub mod deliver;
pub mod delivered;
mod exchange;
pub mod metrics;
pub mod notify_url;
pub mod owner;
pub mod settings;
pub mod source;
pub mod status;
pub mod trigger;

use std::sync::Arc;
use std::time::Duration;

use service::admin::{self, Latch, Readiness};
use service::config::Common;
use service::daemon::StartError;
use service::http::{self, HttpLimits};
use service::metrics::Metrics;
use service::shutdown::Tasks;
use service::{durable, notify};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use deliver::Courier;
use delivered::DeliveredFile;
use metrics::ObserverMetrics;
use owner::Owner;
use settings::Config;
use source::{Source, SourceHealth};
use status::Status;
use trigger::Progress;

/// From the signal until whatever still runs is left behind. A delivery under way is not waited for: the
/// receiver goes on with it, and the next start delivers it again.
const DRAIN_DEADLINE: Duration = Duration::from_secs(6);

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
        let http = TcpListener::bind(common.listen)
            .await
            .map_err(|error| format!("cannot listen on {} (--listen): {error}", common.listen))?;
        Ok(Self { http })
    }
}

/// Runs the observer until `shutdown`.
///
/// # Errors
/// When it cannot start: the state folder, the HTTP client; or when its owner task ends by itself.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let state_dir = &config.common.state_dir;
    durable::prepare_folder(state_dir).await?;
    let file = DeliveredFile::new(state_dir, &config.source, &config.notify);
    let remembered = file.read().await.map_err(|error| format!("read the delivered revision: {error}"))?;
    let progress = Progress::new(remembered.revision, remembered.sure, config.accept_revision);

    let mut metrics = Metrics::new(settings::PROGRAM.name, settings::PROGRAM.version);
    metrics.tell_certificate(&config.common.access);
    let counters = ObserverMetrics::register(metrics.registry(), config.notify.len());
    let courier =
        Courier::new(config.notify.clone(), config.dns, config.notify_timeout, config.proof.clone())?;
    let source = Source::start(&config.source, state_dir, shutdown.clone());
    let health = source.health();
    let (status_sender, status) = watch::channel(Status::default());
    let owner = Owner::new(
        (source, courier),
        (progress, file),
        remembered.has_groups,
        config.slow_retry,
        counters.clone(),
        status_sender,
    );

    let readiness = Readiness::new();
    let latch = readiness.latch("source", "the source is not being watched yet");
    let routes = admin::routes(readiness, Arc::new(metrics)).merge(status::routes(status, health.clone()));
    let limits = HttpLimits::of(&config.common);

    let tasks = Tasks::new();
    tasks.spawn("http", http::serve(listeners.http, routes, limits, shutdown.clone()));
    tasks.spawn("health", shutdown.clone().run_until_cancelled_owned(follow_health(health, latch, counters)));
    let mut owning = tokio::spawn(shutdown.clone().run_until_cancelled_owned(Box::pin(owner.run())));
    notify::ready("waiting for the source");
    tracing::info!(listen = %config.common.listen, "observing");

    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = &mut owning => if shutdown.is_cancelled() { Ok(()) } else {
            Err(StartError::from(format!("the task that delivers has ended: {ended:?}")))
        },
    };
    notify::stopping();
    shutdown.cancel();
    if let Err(late) = tasks.drain(DRAIN_DEADLINE).await {
        tracing::warn!(?late, "stopped without waiting any longer");
    }
    ended
}

/// Keeps readiness, metrics and systemd's status line true to the source's health.
async fn follow_health(mut health: watch::Receiver<SourceHealth>, latch: Latch, metrics: ObserverMetrics) {
    let mut reconnects = 0;
    loop {
        let now = health.borrow_and_update().clone();
        metrics.watch_up.set(i64::from(now.watching));
        metrics.watch_reconnects.inc_by(now.reconnects.saturating_sub(reconnects));
        reconnects = now.reconnects;
        if now.watching {
            latch.release();
            notify::status(&format!("watching at {}", now.place));
        } else {
            let reason = now.failure.unwrap_or_else(|| now.phase.clone());
            latch.hold(format!("not watching at {}: {reason}", now.place));
            notify::status(&format!("not watching at {}: {reason}", now.place));
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}
