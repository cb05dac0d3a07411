//! Telling secondaries that the zone has changed (RFC 1996), so that they fetch it now and not some time.
//!
//! One task per secondary and zone, because one that is dead must not make the others wait. The standard
//! thinks in minutes between attempts; a secondary of ours answers clients that look for a new master, so the
//! first repetition comes after half a second. When a secondary has been asked often enough it is left alone
//! until the next change: it also looks by itself, every 30 seconds, as the SOA record tells it.
//!
//! The message has the new SOA record, which lets a secondary that knows it already do nothing, and no OPT
//! record, which some secondaries cannot bear in a NOTIFY.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::UDP_BYTES_MAX;
use crate::directory::{Directory, Slot};
use crate::publication::Publication;

/// Waits for an answer, in milliseconds; as many attempts as there are waits.
const WAITS_MS: [u64; 6] = [500, 1_000, 2_000, 4_000, 8_000, 16_000];
/// Shortest time between two changes that a secondary is told of, in milliseconds; it would not follow
/// faster anyway.
const PAUSE_MS: u64 = 100;

/// Tells each of `secondaries` of every change until shutdown. `own` is where we answer DNS: a secondary
/// knows us by that address.
pub async fn serve(
    directory: Arc<Directory>,
    secondaries: Vec<SocketAddr>,
    own: IpAddr,
    shutdown: CancellationToken,
) {
    let tasks = TaskTracker::new();
    for slot in directory.slots() {
        for &secondary in &secondaries {
            let herald = Herald { slot: Arc::clone(slot), secondary, own, silent: false };
            let stop = shutdown.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = herald.run() => {}
                }
            });
        }
    }
    tasks.close();
    shutdown.cancelled().await;
    tasks.wait().await;
}

/// Tells one secondary of one zone.
struct Herald {
    slot: Arc<Slot>,
    secondary: SocketAddr,
    own: IpAddr,
    /// Whether it did not confirm the last change; it was warned about.
    silent: bool,
}

/// How telling ended.
enum Told {
    /// It knows.
    Confirmed,
    /// It does not want to.
    Declined(ResponseCode),
    /// It does not answer.
    Unanswered(Option<io::Error>),
    /// There is something newer to tell.
    Outdated,
}

impl Herald {
    async fn run(mut self) {
        let mut changes = self.slot.changes();
        loop {
            changes.borrow_and_update();
            // Cloned, so that nothing of the old publication is held up while we wait.
            let publication = self.slot.publication().clone();
            if let Some(publication) = publication {
                let told = self.tell(&publication, &mut changes).await;
                self.report(&told);
                sleep(Duration::from_millis(PAUSE_MS)).await;
            }
            // The slot is ours too, so its sender lives as long as we do.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn tell(&self, publication: &Publication, changes: &mut watch::Receiver<u64>) -> Told {
        let mut last_error = None;
        for wait_ms in WAITS_MS {
            let until = Instant::now() + Duration::from_millis(wait_ms);
            let round = async {
                let outcome = timeout_at(until, self.attempt(publication)).await;
                if !matches!(outcome, Ok(Ok(_))) {
                    // Also after an error that came at once, such as that nobody listens there.
                    sleep_until(until).await;
                }
                outcome
            };
            tokio::select! {
                outcome = round => match outcome {
                    Ok(Ok(ResponseCode::NoError)) => return Told::Confirmed,
                    Ok(Ok(code)) => return Told::Declined(code),
                    Ok(Err(error)) => last_error = Some(error),
                    Err(_) => {}
                },
                changed = changes.changed() => if changed.is_ok() {
                    // To be seen again by the caller.
                    changes.mark_changed();
                    return Told::Outdated;
                },
            }
        }
        Told::Unanswered(last_error)
    }

    /// One message, and the code of the answer to it.
    async fn attempt(&self, publication: &Publication) -> io::Result<ResponseCode> {
        let socket = UdpSocket::bind(SocketAddr::new(source(self.own, self.secondary), 0)).await?;
        socket.connect(self.secondary).await?;
        let notify = message(publication);
        socket.send(&notify.to_vec().map_err(io::Error::other)?).await?;
        let mut buffer = [0; UDP_BYTES_MAX as usize];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if let Some(code) = answer_to(&notify, &buffer[..length]) {
                return Ok(code);
            }
        }
    }

    fn report(&mut self, told: &Told) {
        let (secondary, domain) = (self.secondary, &self.slot.settings.domain);
        let was_silent = self.silent;
        match told {
            Told::Outdated => {}
            Told::Confirmed => {
                self.silent = false;
                if was_silent {
                    tracing::info!(%secondary, %domain, "the secondary confirms changes again");
                }
            }
            Told::Declined(code) => {
                self.silent = true;
                if !was_silent {
                    tracing::warn!(%secondary, %domain, %code, "the secondary does not take NOTIFY; permit our address there");
                }
            }
            Told::Unanswered(error) => {
                self.silent = true;
                if !was_silent {
                    let cause = error.as_ref().map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(%secondary, %domain, cause, "the secondary does not confirm a change; it follows when it looks by itself");
                }
            }
        }
    }
}

/// The address to send from: where we answer, unless that is any address or of the other family.
fn source(own: IpAddr, secondary: SocketAddr) -> IpAddr {
    let any = if secondary.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    if own.is_ipv4() == secondary.is_ipv4() { own } else { any }
}

fn message(publication: &Publication) -> Message {
    // `query` draws a random id.
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Notify;
    message.metadata.authoritative = true;
    message.add_query(Query::query(publication.settings.domain.clone(), RecordType::SOA));
    message.add_answers([publication.soa.clone()]);
    message
}

/// The code of the answer, if it is one to this message.
fn answer_to(notify: &Message, packet: &[u8]) -> Option<ResponseCode> {
    const QR: u8 = 0x80;
    let header = packet.get(..4)?;
    let is_answer = header[..2] == notify.metadata.id.to_be_bytes()
        && header[2] & QR != 0
        && header[2] >> 3 & 0x0f == u8::from(OpCode::Notify);
    is_answer.then(|| ResponseCode::from(0, header[3] & 0x0f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_this_message_counts() {
        let mut notify = Message::query();
        notify.metadata.id = 0x1234;
        assert_eq!(answer_to(&notify, &[0x12, 0x34, 0xa4, 0]), Some(ResponseCode::NoError));
        assert_eq!(answer_to(&notify, &[0x12, 0x34, 0xa0, 5]), Some(ResponseCode::Refused));
        for other in [&[0x12, 0x35, 0xa4, 0][..], &[0x12, 0x34, 0x24, 0], &[0x12, 0x34, 0x84, 0], &[0x12]] {
            assert_eq!(answer_to(&notify, other), None, "{other:?}");
        }
    }

    #[test]
    fn we_send_from_where_we_answer() {
        let (v4, v6): (SocketAddr, SocketAddr) =
            ("10.0.0.2:53".parse().unwrap(), "[fd00::2]:53".parse().unwrap());
        let own: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(source(own, v4), own);
        assert_eq!(source(own, v6), IpAddr::from(Ipv6Addr::UNSPECIFIED));
    }
}
