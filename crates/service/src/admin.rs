//! `/healthz`, `/readyz` and `/metrics`, the same in every daemon.
//!
//! `/healthz` says only that the process answers: a supervisor that restarts on it must never restart us
//! because a redis or a name server is away. `/readyz` is a set of named latches: ready when none is
//! closed, and otherwise each says why. A latch can close again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};

use crate::http::{json, prefers_text};
use crate::metrics::{self, Metrics};
use crate::problem::Intended;

/// The latches of one daemon. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// Without latches: ready.
    pub fn new() -> Self {
        Readiness::default()
    }

    /// Adds a latch that is closed for `reason` until [`Latch::release`].
    pub fn latch(&self, name: &'static str, reason: impl Into<String>) -> Latch {
        let latch = Latch { name, readiness: self.clone() };
        latch.hold(reason);
        latch
    }

    /// What is still waited for, by latch; empty when ready.
    pub fn waiting(&self) -> BTreeMap<&'static str, String> {
        self.lock().clone()
    }

    /// Whether every latch is released.
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One condition of readiness. Dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Latch {
    name: &'static str,
    readiness: Readiness,
}

impl Latch {
    /// The condition holds.
    pub fn release(&self) {
        self.readiness.lock().remove(self.name);
    }

    /// The condition does not hold (any more), and why.
    pub fn hold(&self, reason: impl Into<String>) {
        self.readiness.lock().insert(self.name, reason.into());
    }
}

/// The three routes. Merge them into the daemon's own router.
pub fn routes(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move |headers: HeaderMap| std::future::ready(readyz(&readiness, &headers))))
        .route("/metrics", get(move || std::future::ready(metrics_page(&metrics))))
}

fn readyz(readiness: &Readiness, headers: &HeaderMap) -> Response {
    let waiting = readiness.waiting();
    let status = if waiting.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if prefers_text(headers) {
        let mut text = String::new();
        for (name, reason) in &waiting {
            text.push_str(&format!("{name}: {reason}\n"));
        }
        if text.is_empty() {
            text.push_str("ready\n");
        }
        return (status, Extension(Intended), text).into_response();
    }
    let mut response = json(status, &serde_json::json!({"ready": waiting.is_empty(), "waiting": waiting}));
    response.extensions_mut().insert(Intended);
    response
}

fn metrics_page(metrics: &Metrics) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.encode()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_latch_is_released_and_not_again_after_a_hold() {
        let readiness = Readiness::new();
        let first = readiness.latch("publication", "nothing was published yet");
        let second = readiness.latch("etcd", "not connected");
        first.release();
        assert!(!readiness.is_ready());
        second.release();
        assert!(readiness.is_ready());
        second.hold("the watch ended");
        assert_eq!(
            readiness.waiting().into_iter().collect::<Vec<_>>(),
            [("etcd", "the watch ended".to_owned())]
        );
    }
}
