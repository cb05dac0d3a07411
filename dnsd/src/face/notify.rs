//! Telling secondaries that the zone has changed (RFC 1996), so that they fetch it now and not some time.
//!
//! One task per secondary, because one that is dead must not make the others wait, and within it as many
//! zones at a time as is sensible; a zone that changes again while it waits waits only once. The standard
//! thinks in minutes between attempts; a secondary of ours answers clients that look for a new master, so the
//! first repetition comes after half a second. When a secondary has been asked often enough it is left alone
//! until the next change: it also looks by itself, every 30 seconds, as the SOA record tells it.
//!
//! The message has the new SOA record, which lets a secondary that knows it already do nothing, and no OPT
//! record, which some secondaries cannot bear in a NOTIFY. With a key it is signed, and so must be a "yes": a
//! forged one would leave the secondary with the old zone. A "no" is believed as it is, because who does not
//! know the key cannot sign it; it says only what a human has to mend.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{RecordType, TSigVerifier};
use service::clock;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::UDP_BYTES_MAX;
use crate::directory::{Directory, Slot};
use crate::keys::{Choice, WithKey};
use crate::publication::Publication;

/// Waits for an answer, in milliseconds; as many attempts as there are waits.
const WAITS_MS: [u64; 6] = [500, 1_000, 2_000, 4_000, 8_000, 16_000];
/// Zones that one secondary is told of at a time.
const ZONES_AT_A_TIME_MAX: usize = 256;
/// Shortest time between two changes that a secondary is told of, in milliseconds; it would not follow
/// faster anyway.
const PAUSE_MS: u64 = 100;

/// Tells each of `secondaries` of every change until shutdown. `own` is where we answer DNS: a secondary
/// knows us by that address.
pub async fn serve(
    directory: Arc<Directory>,
    secondaries: Vec<WithKey<SocketAddr>>,
    own: IpAddr,
    shutdown: CancellationToken,
) {
    let tasks = TaskTracker::new();
    for secondary in secondaries {
        let waiting = Arc::new(Waiting::default());
        let to_tell = Arc::clone(&waiting);
        directory.listen(move |change| to_tell.add(Arc::clone(change.slot)));
        // Those that were published before anybody listened.
        directory.slots().into_iter().for_each(|slot| waiting.add(slot));
        let WithKey { what: secondary, key } = secondary;
        let correspondent =
            Arc::new(Correspondent { directory: Arc::clone(&directory), secondary, own, key });
        let messenger = Messenger { correspondent, waiting, silent: BTreeSet::new() };
        let stop = shutdown.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = messenger.run() => {}
            }
        });
    }
    tasks.close();
    shutdown.cancelled().await;
    tasks.wait().await;
}

/// A secondary and how it is spoken to.
struct Correspondent {
    directory: Arc<Directory>,
    secondary: SocketAddr,
    own: IpAddr,
    key: Choice,
}

/// Zones that a secondary is to be told of, by cluster: as many as there are at most.
#[derive(Default)]
struct Waiting {
    zones: Mutex<BTreeMap<String, Arc<Slot>>>,
    more: Notify,
}

impl Waiting {
    fn add(&self, slot: Arc<Slot>) {
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        zones.insert(slot.settings.cluster.clone(), slot);
        drop(zones);
        self.more.notify_one();
    }

    /// One that is not being told of already.
    fn take(&self, under_way: &BTreeSet<String>) -> Option<Arc<Slot>> {
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        let next = zones.keys().find(|cluster| !under_way.contains(*cluster))?.clone();
        zones.remove(&next)
    }
}

/// Tells one secondary of all zones.
struct Messenger {
    correspondent: Arc<Correspondent>,
    waiting: Arc<Waiting>,
    /// Clusters of which it did not confirm the last change. It was warned about the first of them.
    silent: BTreeSet<String>,
}

impl Messenger {
    async fn run(mut self) {
        let mut telling = JoinSet::new();
        let mut under_way = BTreeSet::new();
        loop {
            while telling.len() < ZONES_AT_A_TIME_MAX
                && let Some(slot) = self.waiting.take(&under_way)
            {
                under_way.insert(slot.settings.cluster.clone());
                telling.spawn(Herald { slot, to: Arc::clone(&self.correspondent) }.run());
            }
            tokio::select! {
                () = self.waiting.more.notified() => {}
                Some(ended) = telling.join_next() => {
                    // A herald does nothing that could end otherwise.
                    let Ok((slot, told)) = ended else { return };
                    under_way.remove(&slot.settings.cluster);
                    match told {
                        Some(told) => self.report(&slot, &told),
                        None => drop(self.silent.remove(&slot.settings.cluster)),
                    }
                }
            }
        }
    }

    fn report(&mut self, slot: &Slot, told: &Told) {
        let (secondary, settings) = (self.correspondent.secondary, &slot.settings);
        let (cluster, domain) = (settings.cluster.clone(), &settings.domain);
        let was_silent = !self.silent.is_empty();
        match told {
            Told::Outdated => {}
            Told::Confirmed => {
                self.silent.remove(&cluster);
                if was_silent && self.silent.is_empty() {
                    tracing::info!(%secondary, %domain, "the secondary confirms changes again");
                }
            }
            Told::Declined(code) => {
                self.silent.insert(cluster);
                if !was_silent {
                    tracing::warn!(%secondary, %domain, %code, "the secondary does not take NOTIFY; permit our address there, and our key if there is one; the clocks must agree");
                }
            }
            Told::Unanswered(error) => {
                self.silent.insert(cluster);
                if !was_silent {
                    let cause = error.as_ref().map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(%secondary, %domain, cause, "the secondary does not confirm a change; it follows when it looks by itself");
                }
            }
        }
    }
}

/// Tells one secondary of one change of one zone.
struct Herald {
    slot: Arc<Slot>,
    to: Arc<Correspondent>,
}

/// How telling ended.
enum Told {
    /// It knows.
    Confirmed,
    /// It does not want to.
    Declined(ResponseCode),
    /// It does not answer.
    Unanswered(Option<io::Error>),
    /// There is something newer to tell, and the zone waits for it already.
    Outdated,
}

impl Herald {
    /// How telling ended; `None` if there is nothing to tell of (any more).
    async fn run(self) -> (Arc<Slot>, Option<Told>) {
        let mut changes = self.slot.changes();
        changes.borrow_and_update();
        // Cloned, so that nothing of the old publication is held up while we wait.
        let publication = self.slot.publication().clone();
        let mut told = None;
        if let Some(publication) = publication {
            told = Some(self.tell(&publication, &mut changes).await);
            sleep(Duration::from_millis(PAUSE_MS)).await;
        }
        (self.slot, told)
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
                    return Told::Outdated;
                },
            }
        }
        Told::Unanswered(last_error)
    }

    /// One message, and the code of the answer to it.
    async fn attempt(&self, publication: &Publication) -> io::Result<ResponseCode> {
        let Correspondent { directory, secondary, own, key } = &*self.to;
        let socket = UdpSocket::bind(SocketAddr::new(source(*own, *secondary), 0)).await?;
        socket.connect(secondary).await?;
        let mut notify = message(publication);
        let keys = directory.transfers().keys();
        let mut verifier = match keys.as_ref().and_then(|keys| keys.chosen(key)) {
            Some(key) => notify.finalize(key, clock::unix_seconds()).map_err(io::Error::other)?,
            None => None,
        };
        socket.send(&notify.to_vec().map_err(io::Error::other)?).await?;
        let mut buffer = [0; UDP_BYTES_MAX as usize];
        loop {
            let length = socket.recv(&mut buffer).await?;
            let answer = &buffer[..length];
            if let Some(code) = answer_to(&notify, answer) {
                judge(code, answer, verifier.as_mut())?;
                return Ok(code);
            }
        }
    }
}

/// Whether a "yes" may be believed.
fn judge(code: ResponseCode, answer: &[u8], verifier: Option<&mut TSigVerifier>) -> io::Result<()> {
    match verifier {
        Some(verifier) if code == ResponseCode::NoError => match verifier.verify(answer) {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::other(format!("its answer is not signed as it should be: {error}"))),
        },
        _ => Ok(()),
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
    message.add_answers([publication.soa()]);
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
