//! TCP: messages behind their length, several per connection, one after the other (RFC 7766).
//!
//! The accept loop is ours and not that of hickory's `Server`: it has no limit on connections (and spins
//! when descriptors run out, taking them from the HTTP face too), ends for good when a client gives up
//! during the handshake, logs two lines per query, and cuts answers when it stops. Everything else of
//! hickory stays in use behind `answer`.
//!
//! Answers to queries that arrived together leave together: a system call costs more than an answer.
//!
//! A connection may be idle for some seconds, because opening one costs more than a query. When all places
//! are taken, or all that one client may have, a newcomer is closed at once: it knows sooner than by waiting,
//! and asks again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{Transfer, Transport, answer, answer_fast};
use crate::directory::Directory;
use crate::face::places::Places;
use crate::metrics::{Counters, Tally};

/// Longest wait for a client that does not read, in milliseconds.
const WRITE_MS_MAX: u64 = 5_000;
/// Wait after accepting failed for want of something (descriptors, memory), in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;
/// Length of the length in front of a message, in bytes.
const LENGTH_BYTES: usize = 2;
/// Bytes read ahead per connection: some pipelined queries.
const READ_AHEAD_BYTES: usize = 4096;
/// Answers are sent from this many bytes on, although more queries have arrived.
const WRITE_BYTES: usize = 32 * 1024;

/// What clients may take up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at a time.
    pub connections_max: usize,
    /// Most of them of one client.
    pub connections_of_one_max: usize,
    /// Longest wait for the next message, or for the rest of one.
    pub idle: Duration,
}

/// Where connections come from: a listener, or in tests one that fails.
trait Accept {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)>;
}

impl Accept for TcpListener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

/// What all connections share.
struct Face {
    directory: Arc<Directory>,
    limits: Limits,
    counters: Counters,
    tally: Tally,
    shutdown: CancellationToken,
}

/// Accepts until shutdown, then waits for the connections to end.
pub async fn serve(
    listener: TcpListener,
    directory: Arc<Directory>,
    limits: Limits,
    counters: Counters,
    shutdown: CancellationToken,
) {
    let tally = counters.queries.tally();
    accept(listener, Arc::new(Face { directory, limits, counters, tally, shutdown })).await;
}

async fn accept(mut listener: impl Accept, face: Arc<Face>) {
    let places = Places::new(face.limits.connections_max, face.limits.connections_of_one_max);
    let connections = TaskTracker::new();
    let mut accepting = true;
    loop {
        let accepted = tokio::select! {
            () = face.shutdown.cancelled() => break,
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
        let Some(place) = places.take(client.ip()) else {
            face.counters.connections_refused.inc();
            continue;
        };
        let face = Arc::clone(&face);
        connections.spawn(async move {
            face.counters.connections.inc();
            if let Err(error) = face.converse(stream, client).await {
                tracing::debug!(%error, %client, "a DNS connection ended early");
            }
            face.counters.connections.dec();
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

impl Face {
    /// Answers the messages of one connection until the client has enough.
    async fn converse(&self, stream: TcpStream, client: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::with_capacity(READ_AHEAD_BYTES, stream);
        let idle = self.limits.idle;
        let (mut query, mut out, mut framed) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            if framed.len() >= WRITE_BYTES || !holds_message(stream.buffer()) {
                flush(&mut stream, &mut framed).await?;
            }
            let length = tokio::select! {
                // What has been asked is answered before we go.
                biased;
                length = timeout(idle, stream.read_u16()) => length,
                () = self.shutdown.cancelled() => return Ok(()),
            };
            // Gone or silent between two messages: the usual end.
            let Ok(Ok(length)) = length else { return Ok(()) };
            query.resize(usize::from(length), 0);
            timeout(idle, stream.read_exact(&mut query)).await??;
            if let Some(outcome) = answer_fast(&self.directory, &query, Transport::Tcp, &mut out) {
                frame(&out, &mut framed)?;
                self.tally.count(outcome, Transport::Tcp);
            } else if let Some(transfer) = Transfer::new(&self.directory, &query, client.ip()) {
                for message in transfer.messages() {
                    frame(&message.map_err(io::Error::other)?, &mut framed)?;
                    flush(&mut stream, &mut framed).await?;
                }
                self.tally.count(transfer.outcome(), Transport::Tcp);
            } else if let Some(outcome) = answer(&self.directory, &query, client, Transport::Tcp, &mut out) {
                frame(&out, &mut framed)?;
                self.tally.count(outcome, Transport::Tcp);
            } else {
                // Not a query: whoever sends this has lost the thread, and so has the framing.
                self.counters.dropped.inc();
                return flush(&mut stream, &mut framed).await;
            }
        }
    }
}

/// Whether a whole message has been read ahead.
fn holds_message(ahead: &[u8]) -> bool {
    match ahead {
        [high, low, rest @ ..] => rest.len() >= usize::from(u16::from_be_bytes([*high, *low])),
        _ => false,
    }
}

/// Adds a message behind its length.
fn frame(message: &[u8], framed: &mut Vec<u8>) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    framed.reserve(LENGTH_BYTES + message.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    Ok(())
}

/// Sends what waits, in one write (RFC 7766 section 8).
async fn flush(stream: &mut BufReader<TcpStream>, framed: &mut Vec<u8>) -> io::Result<()> {
    if !framed.is_empty() {
        timeout(Duration::from_millis(WRITE_MS_MAX), stream.write_all(framed)).await??;
        framed.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno::{ECONNABORTED, ECONNRESET, EINTR, EMFILE};

    use super::*;

    /// Fails a few times before it accepts.
    struct Failing {
        errors: Vec<io::Error>,
        listener: TcpListener,
    }

    impl Accept for Failing {
        async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
            match self.errors.pop() {
                Some(error) => Err(error),
                None => self.listener.accept().await,
            }
        }
    }

    /// What accept(2) says when a client has gone before it was accepted, and when there are no more
    /// descriptors: neither ends the listener.
    #[tokio::test]
    async fn errors_of_accept_end_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let number = |error: nix::errno::Errno| io::Error::from_raw_os_error(error as i32);
        let errors = [ECONNABORTED, EMFILE, ECONNRESET, ECONNABORTED, EINTR].map(number);
        assert!(is_of_one_client(&errors[0]) && !is_of_one_client(&errors[1]));
        let counters = Counters::default();
        let shutdown = CancellationToken::new();
        let face = Face {
            directory: Arc::new(Directory::below(&hickory_proto::rr::Name::root()).unwrap()),
            limits: Limits { connections_max: 2, connections_of_one_max: 2, idle: Duration::from_secs(10) },
            tally: counters.queries.tally(),
            counters,
            shutdown: shutdown.clone(),
        };
        let serving = tokio::spawn(accept(Failing { errors: errors.into(), listener }, Arc::new(face)));
        let answered = timeout(Duration::from_secs(10), async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // A query for the root's address, which is none of ours: REFUSED.
            let query = [0, 17, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];
            stream.write_all(&query).await.unwrap();
            let mut answer = [0; 19];
            stream.read_exact(&mut answer).await.unwrap();
            answer
        });
        let answer = answered.await.expect("the listener accepts in spite of errors");
        assert_eq!(answer[..6], [0, 17, 1, 2, 0x80, 5]);
        shutdown.cancel();
        timeout(Duration::from_secs(10), serving).await.expect("it ends").unwrap();
    }
}
