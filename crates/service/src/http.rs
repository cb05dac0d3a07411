//! The HTTP server under the daemons' routers.
//!
//! axum routes; the connections are ours. `axum::serve` sets no timer, so a client that sends one byte a
//! second holds a connection for ever, and it takes any number of connections. Whoever can reach the port
//! could so keep the operator out at the moment when a master has to move. Therefore:
//!
//! - [`serve`] runs its own accept loop over hyper's HTTP/1 connection, with deadlines for the header, the
//!   body and a client that does not read, and with limits on bytes, header fields and connections.
//! - When every place is taken, the oldest connection that is only waiting for its client is closed for
//!   the newcomer: idle clients cannot shut out one that asks something. A connection whose request is
//!   being worked on is never closed for another; if all are, the newcomer gets 503 `busy`.
//! - A connection that ends while the client still sends is closed in two steps (end of our side, then
//!   reading on for a moment): otherwise the kernel answers the unread bytes with a reset, and the client
//!   loses the answer that told it what it did wrong.
//!
//! [`chassis`] is what every answer goes through: request id, the span, `Host` and `Origin`, panics, and
//! the form of errors. It stands outside the router, not inside as an axum layer, because axum adds
//! `Allow` to its 405 after the layers have run.
//!
//! Left out: HTTP/2 (its prior knowledge preface is answered by closing). tower-http has layers for a part of this, but not for the
//! part below the request, and two places with limits are harder to reason about than one.

mod accept;
mod body;
mod connection;
mod door;
mod hosts;
mod layer;
mod watched;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use body::{Document, query, read_body};

use crate::access::Access;
use crate::config::Common;
use crate::problem::Problem;

/// Every limit of the HTTP face, and the names under which it may be asked.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// From the begin of the connection, or from the previous answer, to the end of the request's header.
    /// So it is also how long an idle connection is kept.
    pub header_read_timeout: Duration,
    /// From the end of the header to the end of the body.
    pub body_read_timeout: Duration,
    /// How long a client may leave our answer unread while we have more to send.
    pub write_stall_timeout: Duration,
    /// Largest body.
    pub body_bytes_max: usize,
    /// Largest header block. Not less than 8192 (hyper's own floor).
    pub header_bytes_max: usize,
    /// Most header fields.
    pub headers_max: usize,
    /// Most connections at a time.
    pub connections_max: usize,
    /// From shutdown until connections that are still busy are cut.
    pub drain_timeout: Duration,
    /// Host names allowed in `Host`, besides IP literals and localhost.
    pub allow_hosts: Vec<String>,
    /// Who is let in.
    pub access: Access,
}

impl HttpLimits {
    /// The defaults, with what the settings of every daemon say.
    pub fn of(common: &Common) -> Self {
        HttpLimits {
            allow_hosts: common.allow_hosts.clone(),
            access: common.access.clone(),
            ..HttpLimits::default()
        }
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            header_read_timeout: Duration::from_secs(5),
            body_read_timeout: Duration::from_secs(10),
            write_stall_timeout: Duration::from_secs(10),
            body_bytes_max: 64 * 1024,
            header_bytes_max: 16 * 1024,
            headers_max: 64,
            connections_max: 256,
            drain_timeout: Duration::from_secs(5),
            allow_hosts: Vec::new(),
            access: Access::default(),
        }
    }
}

/// The request's id: the client's `X-Request-Id` if it is sane, else made here. An extension of every
/// request: handlers take it as `axum::Extension<RequestId>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The HTTP face cannot listen where it was told to.
#[derive(Debug, thiserror::Error)]
#[error("HTTP cannot listen on {address} (--listen)")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    pub source: std::io::Error,
}

/// Takes the address for [`serve`].
///
/// # Errors
/// [`BindError`], which names the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Serves the router until shutdown, then drains within `drain_timeout`.
///
/// It adds [`chassis`] by itself. It returns when every connection has ended or was cut.
pub async fn serve(listener: TcpListener, router: Router, limits: HttpLimits, shutdown: CancellationToken) {
    let router = chassis(router, &limits);
    door::serve(listener, router, Arc::new(limits), shutdown).await;
}

/// Puts what every answer goes through around a router, for tests without sockets.
pub fn chassis(router: Router, limits: &HttpLimits) -> Router {
    layer::around(router, Arc::new(limits.clone()))
}

/// Whether the client asked for plain text (`Accept: text/plain`) rather than JSON.
pub fn prefers_text(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let essence = range.split(';').next().unwrap_or("").trim();
        if essence.eq_ignore_ascii_case("text/plain") {
            return true;
        }
        if essence.eq_ignore_ascii_case("application/json")
            || essence.eq_ignore_ascii_case("application/problem+json")
        {
            return false;
        }
    }
    false
}

/// A JSON answer, with a line break at its end for people with curl.
pub fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_string(value) {
        Ok(mut text) => {
            text.push('\n');
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            Problem::internal("the answer could not be written as JSON").into_response()
        }
    }
}

/// The answer to a request that changed something: JSON, or `OK` for `Accept: text/plain`.
pub fn json_or_ok<T: Serialize + ?Sized>(headers: &HeaderMap, status: StatusCode, value: &T) -> Response {
    if prefers_text(headers) { (status, "OK\n").into_response() } else { json(status, value) }
}
