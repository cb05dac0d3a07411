//! One connection: serving it, knowing what it is waiting for, and ending it so that the answer arrives.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::watched::Watched;
use super::{HttpLimits, accept};
use crate::access::PeerName;

/// After our side has ended, how long what the client still sends is read away.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// After our side has ended, how much of it is read away.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Nothing was asked yet.
const FRESH: u8 = 0;
/// A header has come, its body has not.
const READING: u8 = 1;
/// A request is worked on, or its answer is being sent.
const WORKING: u8 = 2;
/// Everything that was asked is answered.
const IDLE: u8 = 3;

/// What is known about a connection from outside of it. An extension of its requests.
#[derive(Debug, Default)]
pub(super) struct Watch {
    activity: AtomicU8,
    two_lengths: AtomicBool,
}

impl Watch {
    /// Whether only the client's side is waited for, so that nothing is lost by closing it.
    pub(super) fn waits_for_client(&self) -> bool {
        self.activity.load(Ordering::Relaxed) != WORKING
    }

    /// The body has arrived.
    pub(super) fn body_read(&self) {
        self.activity.store(WORKING, Ordering::Relaxed);
    }

    /// A chunked request that also had Content-Length was seen. It is the last one on its connection.
    pub(super) fn has_two_lengths(&self) -> bool {
        self.two_lengths.load(Ordering::Relaxed)
    }

    /// See [`Watch::has_two_lengths`].
    pub(super) fn saw_two_lengths(&self) {
        self.two_lengths.store(true, Ordering::Relaxed);
    }
}

/// Serves one connection to its end. `shutdown` lets the request under way finish; `cut` does not.
pub(super) async fn serve(
    stream: TcpStream,
    router: Router,
    limits: Arc<HttpLimits>,
    watch: Arc<Watch>,
    shutdown: CancellationToken,
    cut: CancellationToken,
) {
    let opened = tokio::select! {
        biased;
        () = cut.cancelled() => return,
        () = shutdown.cancelled() => return,
        opened = accept::open(stream, &limits.access, limits.header_read_timeout) => opened,
    };
    let Some((stream, peer)) = opened else { return };
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&watch), limits.write_stall_timeout));
    let asked = Arc::clone(&watch);
    let service = service_fn(move |request| {
        Box::pin(answer(router.clone(), Arc::clone(&asked), peer.clone(), request))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_headers(limits.headers_max)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(HYPER_BUFFER_BYTES_MIN))
        .serve_connection(io, service);
    let mut draining = false;
    let ended = loop {
        tokio::select! {
            biased;
            () = cut.cancelled() => return,
            () = shutdown.cancelled(), if !draining => {
                draining = true;
                Pin::new(&mut connection).graceful_shutdown();
                if watch.activity.load(Ordering::Relaxed) == FRESH {
                    // hyper would wait for a first request until its header is due.
                    return;
                }
            }
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
    watch.activity.store(IDLE, Ordering::Relaxed);
    let stream = connection.into_parts().io.into_inner().into_inner();
    tokio::select! {
        () = cut.cancelled() => {}
        () = linger(stream) => {}
    }
}

/// hyper does not take a smaller buffer.
const HYPER_BUFFER_BYTES_MIN: usize = 8192;

/// Ends our side and reads the client's rest away for a moment, so that the kernel has no reason to reset
/// the connection before the client has read the answer.
pub(super) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let read_away = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut total_bytes = 0;
        while let Ok(bytes) = stream.read(&mut buffer).await {
            total_bytes += bytes;
            if bytes == 0 || total_bytes > LINGER_BYTES_MAX {
                break;
            }
        }
    };
    // A client that goes on sending after this gets the reset it has earned.
    let _ = tokio::time::timeout(LINGER_TIMEOUT, read_away).await;
}

async fn answer(
    router: Router,
    watch: Arc<Watch>,
    peer: Option<PeerName>,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let activity = if request.body().is_end_stream() { WORKING } else { READING };
    watch.activity.store(activity, Ordering::Relaxed);
    request.extensions_mut().insert(Arc::clone(&watch));
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    let response = router.oneshot(request.map(Body::new)).await?;
    watch.activity.store(WORKING, Ordering::Relaxed);
    Ok(response.map(|body| Body::new(Answering { body, watch })))
}

/// The answer's body; the connection is idle again when it has been handed over.
struct Answering {
    body: Body,
    watch: Arc<Watch>,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.watch.activity.store(IDLE, Ordering::Relaxed);
    }
}
