//! UDP: one thread and one socket per core, sharing the port.
//!
//! The kernel spreads clients over the sockets (SO_REUSEPORT), so no core waits for another, and the threads
//! share nothing that is written to but the answers' publication. A thread blocks in one system call until
//! there is a packet, takes what else has arrived, answers all of it and sends that in another: under load
//! two system calls for up to 64 answers, and no allocation for a plain query. Many queries of one client are even
//! [let gather](super::gather) for less than a tenth of a millisecond, because their answers can leave as one packet
//! (a system call and a small allocation for each of those).
//!
//! These are threads and not tasks of the runtime, because a task must not block: it would need a third call
//! to learn that there is something to read and a fourth to learn that there is nothing more. For the same
//! reason a thread is told to stop by a flag that it looks at a few times a second; sending it a packet
//! would not do, the kernel chooses which socket gets it.
//!
//! Nothing is queued here beyond one batch. Queries wait in the kernel; what the kernel has no room for is
//! lost, and the client asks again, as it must anyway.
//!
//! Rejected: hickory's UDP loop, which spawns a task per packet without limit.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::batch::Inbox;
use super::gather::{self, Gather};
use super::limit::RateLimit;
use super::outbox::Outbox;
use crate::answer::{Outcome, Transport, answer};
use crate::directory::Directory;
use crate::metrics::{Counters, Tally};

/// Most threads; more cores than this answer more than a network brings.
pub const THREADS_MAX: usize = 64;
/// Wish for the kernel's queues of unread and unsent packets, in bytes: some milliseconds of what a core can answer,
/// for the time in which the machine lets others run. The kernel may give less (`net.core.rmem_max`).
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Longest wait for a packet before a look at whether to stop, in milliseconds.
const LOOK_UP_MS: u64 = 250;
/// Longest wait for room to send, in milliseconds.
const SEND_MS_MAX: u64 = 100;
/// Wait after an error of the socket that is not about one packet.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// As many threads as this process has cores.
pub fn threads_default() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS_MAX)
}

/// Takes the address `threads` times.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr, threads: usize) -> io::Result<Vec<UdpSocket>> {
    (0..threads).map(|_| bind_one(address)).collect()
}

fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    // Best effort: smaller queues only drop earlier.
    let _ = socket.set_recv_buffer_size(QUEUE_BYTES);
    let _ = socket.set_send_buffer_size(QUEUE_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Answers at one socket, in a thread of its own, until shutdown or until this future is dropped.
pub async fn serve(
    socket: UdpSocket,
    directory: Arc<Directory>,
    limit: Option<Arc<RateLimit>>,
    counters: Counters,
    shutdown: CancellationToken,
) {
    let stop = shutdown.child_token();
    let _stop_if_dropped = stop.clone().drop_guard();
    // Dropped by the thread when it ends, whatever the reason.
    let (alive, ended) = oneshot::channel::<()>();
    let worker = Worker { socket, directory, limit, tally: counters.queries.tally(), counters, stop };
    let spawned = std::thread::Builder::new().name("dns-udp".to_owned()).spawn(move || {
        let _alive = alive;
        worker.run();
    });
    match spawned {
        Ok(_) => drop(ended.await),
        Err(error) => tracing::error!(%error, "no thread can be started to answer DNS over UDP"),
    }
}

struct Worker {
    socket: UdpSocket,
    directory: Arc<Directory>,
    limit: Option<Arc<RateLimit>>,
    tally: Tally,
    counters: Counters,
    stop: CancellationToken,
}

impl Worker {
    fn run(self) {
        if let Err(error) = self.prepare() {
            tracing::error!(%error, "a UDP socket cannot be set up for answering DNS");
            return;
        }
        let (mut inbox, mut outbox) = (Inbox::new(), Outbox::new());
        let mut gather = Gather::new(Instant::now());
        while !self.stop.is_cancelled() {
            let (mut queries, mut dropped, mut second) = (0, 0, None);
            let received = inbox.receive(&self.socket, |packet, client| {
                let answered = outbox.add(client, |out| self.answer(packet, client, &mut second, out));
                queries += 1;
                dropped += usize::from(!answered);
            });
            let sent = outbox.send(&self.socket, |outcome| self.tally.count(*outcome, Transport::Udp));
            dropped += sent.dropped;
            if dropped > 0 {
                self.counters.dropped.inc_by(dropped as u64);
            }
            if let Err(error) = received {
                tracing::debug!(%error, "a UDP socket reported an error");
                pause(ERROR_PAUSE);
            }
            if gather.after(queries, sent.joined, Instant::now()) {
                pause(gather::WAIT);
            }
        }
    }

    /// One answer, if there is to be one. `second` is what the rate limit took the time for, once per batch.
    fn answer(
        &self,
        packet: &[u8],
        client: SocketAddr,
        second: &mut Option<u32>,
        out: &mut Vec<u8>,
    ) -> Option<Outcome> {
        // Nobody can be answered at port 0.
        if client.port() == 0 {
            return None;
        }
        let transport = match &self.limit {
            None => Transport::Udp,
            Some(limit) => {
                let second = *second.get_or_insert_with(|| limit.second());
                let admitted = limit.admit(client.ip(), second);
                if admitted != Some(Transport::Udp) {
                    self.counters.rate_limited.inc();
                }
                admitted?
            }
        };
        answer(&self.directory, packet, client, transport, out)
    }

    /// Makes the socket wait, whoever opened it, but never for long.
    fn prepare(&self) -> io::Result<()> {
        self.socket.set_nonblocking(false)?;
        self.socket.set_read_timeout(Some(Duration::from_millis(LOOK_UP_MS)))?;
        self.socket.set_write_timeout(Some(Duration::from_millis(SEND_MS_MAX)))
    }
}

#[allow(clippy::disallowed_methods, reason = "a thread of its own, not a worker of the runtime")]
fn pause(length: Duration) {
    std::thread::sleep(length);
}
