//! TCP: messages behind their length, several per connection, one after the other (RFC 7766).
//!
//! The accept loop is ours and not that of hickory's `Server`: it has no limit on connections (and spins
//! when descriptors run out, taking them from the HTTP face too), ends for good when a client gives up
//! during the handshake, logs two lines per query, and cuts answers when it stops. Everything else of
//! hickory stays in use behind `answer`.
//!
//! A connection may be idle for some seconds, because opening one costs more than a query. When all places
//! are taken, a newcomer is closed at once: it knows sooner than by waiting, and asks again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{Transport, answer};
use crate::directory::Directory;
use crate::metrics::Counters;

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 256;
/// Longest wait for the next message, or the rest of one, in milliseconds.
const IDLE_MS_MAX: u64 = 10_000;
/// Longest wait for a client that does not read, in milliseconds.
const WRITE_MS_MAX: u64 = 5_000;
/// Wait after accepting failed for want of something (descriptors, memory), in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;
/// Length of the length in front of a message, in bytes.
const LENGTH_BYTES: usize = 2;
/// Bytes read ahead per connection: a few pipelined queries.
const READ_AHEAD_BYTES: usize = 1024;

/// Accepts until shutdown, then waits for the connections to end.
pub async fn serve(
    listener: TcpListener,
    directory: Arc<Directory>,
    counters: Counters,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let mut accepting = true;
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, client) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                // A client that gave up is no reason to wait; anything else does not pass by itself.
                if !is_of_one_client(&error) {
                    if accepting {
                        tracing::warn!(%error, "DNS over TCP cannot accept connections; trying again");
                    }
                    accepting = false;
                    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
                continue;
            }
        };
        if !accepting {
            tracing::info!("DNS over TCP accepts connections again");
            accepting = true;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            counters.connections_refused.inc();
            continue;
        };
        let (directory, counters, shutdown) = (Arc::clone(&directory), counters.clone(), shutdown.clone());
        connections.spawn(async move {
            counters.connections.inc();
            if let Err(error) = converse(stream, client, &directory, &counters, &shutdown).await {
                tracing::debug!(%error, %client, "a DNS connection ended early");
            }
            counters.connections.dec();
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Answers the messages of one connection until the client has enough.
async fn converse(
    stream: TcpStream,
    client: SocketAddr,
    directory: &Directory,
    counters: &Counters,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(READ_AHEAD_BYTES, stream);
    let (mut query, mut out, mut framed) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let idle = Duration::from_millis(IDLE_MS_MAX);
        let length = tokio::select! {
            // What has been asked is answered before we go.
            biased;
            length = timeout(idle, stream.read_u16()) => length,
            () = shutdown.cancelled() => return Ok(()),
        };
        // Gone or silent between two messages: the usual end.
        let Ok(Ok(length)) = length else { return Ok(()) };
        let length = usize::from(length);
        query.resize(length, 0);
        timeout(idle, stream.read_exact(&mut query)).await??;
        let Some(outcome) = answer(directory, &query, client, Transport::Tcp, &mut out) else {
            // Not a query: whoever sends this has lost the thread, and so has the framing.
            counters.dropped.inc();
            return Ok(());
        };
        framed.clear();
        framed.reserve(LENGTH_BYTES + out.len());
        // Answers are at most 65535 bytes by construction.
        framed.extend_from_slice(&(out.len() as u16).to_be_bytes());
        framed.extend_from_slice(&out);
        timeout(Duration::from_millis(WRITE_MS_MAX), stream.write_all(&framed)).await??;
        counters.queries.count(outcome, Transport::Tcp);
    }
}
