//! `dnsd register`: one redis announced in etcd under its own name, as registrator did it for containers.
//!
//! It runs beside the redis and ends with it. The name is announced when the node takes connections, and
//! taken away the moment that it does not any more; should this host die, it ends with its lease. The node
//! is not asked anything, because a node that is loading or wants a password is there all the same; what
//! is kept open is one idle connection, whose end tells of the node's end sooner than any asking would.
//!
//! The format is registrator's: `/skydns/docker/redis-1/core-01` holds `{"host": …, "port": …}` for
//! `core-01.redis-1.docker`. It is a mode of dnsd because it is the same names and the same etcd, and an
//! own program of two hundred lines would be one more to install on each host.

pub mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coordination::{Etcd, KeptKeys, Keys, Upkeep};
use serde_json::json;
use service::admin::{self, Latch, Readiness};
use service::http::HttpLimits;
use service::metrics::Metrics;
use service::notify;
use service::shutdown::Tasks;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::skydns;
use settings::{Config, PROGRAM};

/// Longest time a connection to the node may take, in milliseconds.
const CONNECT_MS_MAX: u64 = 2_000;
/// After this time the idle connection is made anew, in milliseconds: an end that nobody told of (a host
/// behind a broken network) is noticed then.
const HELD_MS_MAX: u64 = 5_000;
/// Pause between two attempts to connect, in milliseconds.
const RETRY_MS: u64 = 300;
/// After so many failed attempts in a row the node has gone: a restart of redis takes longer, and a lost
/// packet does not.
const ATTEMPTS_MAX: usize = 3;
/// How long the HTTP face may take to end, in milliseconds.
const DRAIN_MS_MAX: u64 = 5_000;

/// Runs until the node ends, or until shutdown. Either way the name is taken away.
///
/// # Errors
/// If HTTP has no address.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), service::http::BindError> {
    let listener = service::http::bind(config.common.listen).await?;
    serve(config, listener, shutdown).await;
    Ok(())
}

/// [`run`] on a socket that is there.
pub async fn serve(config: Config, listener: TcpListener, shutdown: CancellationToken) {
    let readiness = Readiness::new();
    let node_latch = readiness.latch("node", format!("{} takes no connections yet", config.probe));
    let etcd_latch = readiness.latch("etcd", "the name was not announced yet");
    let metrics = Metrics::new("dnsd_register", PROGRAM.version);
    let limits = HttpLimits::of(&config.common);
    let tasks = Tasks::new();
    let stop = CancellationToken::new();
    let router = admin::routes(readiness, Arc::new(metrics));
    tasks.spawn("http", service::http::serve(listener, router, limits, stop.clone()));
    notify::ready(&format!("announcing {} while it runs", config.node));

    let key = skydns::path(&config.name);
    let kept = KeptKeys::new(Etcd::new(config.etcd.clone()), vec![key.clone()], config.lease);
    tasks.spawn("etcd", watch_upkeep(kept.state(), etcd_latch));
    tracing::info!(node = %config.node, name = %config.name, "waiting for the node");
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = accompany(&config, &kept, &key, &node_latch) => {
            tracing::info!(node = %config.node, "the node has gone, and so has its name");
        }
    }
    notify::stopping();
    kept.withdraw().await;
    stop.cancel();
    if let Err(late) = tasks.drain(Duration::from_millis(DRAIN_MS_MAX)).await {
        tracing::warn!(?late, "stopped before everything had ended");
    }
}

/// Announces the node when it is there, and returns when it has gone.
async fn accompany(config: &Config, kept: &KeptKeys, key: &str, latch: &Latch) {
    let mut held = loop {
        match connect(config.probe).await {
            Some(stream) => break stream,
            None => sleep(Duration::from_millis(RETRY_MS)).await,
        }
    };
    let value = json!({"host": config.node.ip(), "port": config.node.port()}).to_string();
    kept.want(Keys::from([(key.to_owned(), value.into_bytes())]));
    latch.release();
    tracing::info!(node = %config.node, key, "the node is there");
    loop {
        // Nothing is asked, so nothing is answered: what comes is a greeting or the end.
        let mut greeting = [0; 64];
        let ended = async { while held.read(&mut greeting).await.is_ok_and(|bytes| bytes > 0) {} };
        let is_over = timeout(Duration::from_millis(HELD_MS_MAX), ended).await.is_ok();
        match again(config.probe, is_over).await {
            Some(stream) => held = stream,
            None => return,
        }
    }
}

/// The next connection; `None` if the node has gone.
async fn again(probe: SocketAddr, is_over: bool) -> Option<TcpStream> {
    for attempt in 0..ATTEMPTS_MAX {
        // A node that closes every connection at once is not asked without end.
        if is_over || attempt > 0 {
            sleep(Duration::from_millis(RETRY_MS)).await;
        }
        if let Some(stream) = connect(probe).await {
            return Some(stream);
        }
    }
    None
}

async fn connect(probe: SocketAddr) -> Option<TcpStream> {
    match timeout(Duration::from_millis(CONNECT_MS_MAX), TcpStream::connect(probe)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, node = %probe, "no connection");
            None
        }
        Err(_) => None,
    }
}

/// Readiness follows the key. Ends with the upkeep.
async fn watch_upkeep(mut state: tokio::sync::watch::Receiver<Upkeep>, latch: Latch) {
    loop {
        match &*state.borrow_and_update() {
            Upkeep::InForce { .. } => latch.release(),
            Upkeep::Idle => {}
            Upkeep::Failing { reason } => latch.hold(reason.clone()),
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}
