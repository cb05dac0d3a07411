//! The HTTP server under the daemons' routers.
//!
//! (essay follows with the full version)

mod body;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, header};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use body::{Document, query, read_body};

/// Every limit of the HTTP face, and the names under which it may be asked.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// From the connection's begin, or the previous answer, to the end of the request's header.
    pub header_read_timeout: Duration,
    /// From the end of the header to the end of the body.
    pub body_read_timeout: Duration,
    /// Largest body.
    pub body_bytes_max: usize,
    /// Largest header block.
    pub header_bytes_max: usize,
    /// Most header fields.
    pub headers_max: usize,
    /// Most connections at a time.
    pub connections_max: usize,
    /// From shutdown until connections that are still busy are cut.
    pub drain_timeout: Duration,
    /// Host names allowed in `Host`, besides IP literals and localhost.
    pub allow_hosts: Vec<String>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            header_read_timeout: Duration::from_secs(5),
            body_read_timeout: Duration::from_secs(10),
            body_bytes_max: 64 * 1024,
            header_bytes_max: 16 * 1024,
            headers_max: 64,
            connections_max: 256,
            drain_timeout: Duration::from_secs(5),
            allow_hosts: Vec::new(),
        }
    }
}

/// The request's id: the client's `X-Request-Id` if it is sane, else made here. An extension of every
/// request, also to be had as `axum::Extension<RequestId>`.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

/// Serves the router until shutdown, then drains within `drain_timeout`.
pub async fn serve(listener: TcpListener, router: Router, limits: HttpLimits, shutdown: CancellationToken) {
    let router = chassis(router, &limits);
    let done = shutdown.clone();
    if let Err(error) =
        axum::serve(listener, router).with_graceful_shutdown(async move { done.cancelled().await }).await
    {
        tracing::error!(%error, "http");
    }
}

/// Puts the layers that every answer goes through around a router. [`serve`] does it by itself.
pub fn chassis(router: Router, limits: &HttpLimits) -> Router {
    router.layer(axum::Extension(Arc::new(limits.clone())))
}

/// Whether the client asked for plain text (`Accept: text/plain`).
pub fn prefers_text(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value
            .split(',')
            .any(|range| range.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("text/plain"))
    })
}
