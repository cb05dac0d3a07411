//! UDP: one socket and one task per core, sharing the port.
//!
//! The kernel spreads clients over the sockets (SO_REUSEPORT), so no core waits for another. A task takes
//! what has arrived, packet by packet, until there is nothing more, and only then lets the runtime know
//! again: a wake-up costs more than an answer. Nothing is spawned and nothing is queued: an answer that
//! the kernel has no room for is dropped and counted, and the client asks again, as it must anyway.
//!
//! Rejected: hickory's UDP loop, which spawns a task per packet without limit. Left for later: recvmmsg,
//! which would save a third of the rest and needs a wrapper around unsafe code.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::answer::{Transport, answer};
use crate::directory::Directory;
use crate::metrics::Counters;

/// Longest query that is read, in bytes; longer ones are cut and thereby malformed.
const QUERY_BYTES_MAX: usize = 4096;
/// Packets taken in a row before other tasks of the core get a turn.
const BURST_PACKETS_MAX: usize = 256;
/// Wish for the kernel's queue of unread packets, in bytes. The kernel may give less.
const QUEUE_BYTES: usize = 1024 * 1024;
/// Wait after an error of the socket that is not about one packet, in milliseconds.
const ERROR_PAUSE_MS: u64 = 50;
/// Most sockets; more cores than this answer more than a network brings.
const SOCKETS_MAX: usize = 8;

/// Takes the address, once per core.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<Vec<UdpSocket>> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (0..cores.min(SOCKETS_MAX)).map(|_| bind_one(address)).collect()
}

fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Best effort: a smaller queue only drops earlier.
    let _ = socket.set_recv_buffer_size(QUEUE_BYTES);
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Answers until shutdown.
pub async fn serve(
    socket: UdpSocket,
    directory: Arc<Directory>,
    counters: Counters,
    shutdown: CancellationToken,
) {
    let mut query = [0; QUERY_BYTES_MAX];
    let mut out = Vec::with_capacity(QUERY_BYTES_MAX);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            ready = socket.readable() => {
                if let Err(error) = ready {
                    pause(&error).await;
                }
            }
        }
        for _ in 0..BURST_PACKETS_MAX {
            let (length, client) = match socket.try_recv_from(&mut query) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    pause(&error).await;
                    break;
                }
            };
            // Nobody can be answered at port 0.
            let outcome = (client.port() != 0)
                .then(|| answer(&directory, &query[..length], client, Transport::Udp, &mut out))
                .flatten();
            match outcome.map(|outcome| (outcome, socket.try_send_to(&out, client))) {
                Some((outcome, Ok(_))) => counters.queries.count(outcome, Transport::Udp),
                _ => {
                    counters.dropped.inc();
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn pause(error: &io::Error) {
    tracing::debug!(%error, "a UDP socket reported an error");
    tokio::time::sleep(Duration::from_millis(ERROR_PAUSE_MS)).await;
}
