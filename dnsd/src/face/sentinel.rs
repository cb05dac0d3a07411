//! The sockets of the Sentinel face.
//!
//! Each connection is a task with one buffer of limited size in and one out. Events are made and encoded
//! once, in the moment of the change, and come through a broadcast of limited length; a subscriber that does
//! not read fast enough loses its connection rather than making anyone wait, and finds the present state
//! when it comes back.
//!
//! A reply that lists all clusters can be megabytes long, and a client may ask for many of them at once. So
//! what was answered is sent before more is answered, and only few connections make such a list at a time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use service::config::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, broadcast};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::directory::Directory;
use crate::sentinel::command::{Outcome, Session, is_list};
use crate::sentinel::events::{Message, between};
use crate::sentinel::resp::{Parsed, REQUEST_BYTES_MAX, Reply, parse};
use crate::sentinel::view::View;

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 4096;
/// Longest silence of a client that is not subscribed, in seconds; pools keep connections for long.
const IDLE_S_MAX: u64 = 3_600;
/// Longest wait for a client that does not read, in milliseconds.
const WRITE_MS_MAX: u64 = 5_000;
/// Wait after accepting failed for want of something (descriptors, memory), in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;
/// Changes that a subscriber may be behind.
const EVENTS_BEHIND_MAX: usize = 1_024;
/// Bytes of replies from which on they are sent before the next request is looked at.
const REPLIES_BYTES: usize = 64 * 1024;
/// Clusters from which on a list of all of them is long.
const CLUSTERS_LONG: usize = 100;
/// Connections that are sent long lists at a time. The others wait; a list of ten thousand takes 7 MB.
const LONG_LISTS_MAX: usize = 4;
/// Longest wait for a place among them, in milliseconds.
const LONG_LIST_MS_MAX: u64 = 10_000;
/// Bytes read at once.
const READ_BYTES: usize = 4096;

/// What the face needs to know.
#[derive(Clone)]
pub struct Settings {
    /// The other dnsds that answer as Sentinels.
    pub peers: Vec<SocketAddr>,
    /// Asked of clients, if set.
    pub password: Option<Secret>,
}

/// Shared by all connections.
struct Face {
    directory: Arc<Directory>,
    settings: Settings,
    own: SocketAddr,
    events: broadcast::Sender<Arc<Vec<Message>>>,
    ids: AtomicI64,
    long_lists: Semaphore,
}

/// Why answering paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// What is left is no whole request.
    Read,
    /// Enough was answered to be sent.
    Send,
    /// The next request is for a long list.
    LongList,
    /// The connection ends.
    Close,
}

impl Face {
    fn view(&self) -> View<'_> {
        View { directory: &self.directory, peers: &self.settings.peers, own: self.own }
    }
}

/// Accepts until shutdown, then waits for the connections to end.
pub async fn serve(
    listener: TcpListener,
    directory: Arc<Directory>,
    settings: Settings,
    shutdown: CancellationToken,
) {
    let own = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let (events, _) = broadcast::channel(EVENTS_BEHIND_MAX);
    let told = events.clone();
    directory.listen(move |change| {
        let messages = between(change);
        if !messages.is_empty() {
            // Nobody listening is no failure.
            let _ = told.send(Arc::new(messages));
        }
    });
    let face = Arc::new(Face {
        directory,
        settings,
        own,
        events,
        ids: AtomicI64::new(1),
        long_lists: Semaphore::new(LONG_LISTS_MAX),
    });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, client) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%error, "a Sentinel connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        // With all places taken a newcomer is closed at once and asks another.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (face, stop) = (Arc::clone(&face), shutdown.clone());
        connections.spawn(async move {
            let ended = tokio::select! {
                ended = converse(stream, &face) => ended,
                () = stop.cancelled() => Ok(()),
            };
            if let Err(error) = ended {
                tracing::debug!(%error, %client, "a Sentinel connection ended early");
            }
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

/// Answers the requests of one connection, and tells it what it subscribed to.
async fn converse(mut stream: TcpStream, face: &Face) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let password = face.settings.password.as_ref().map(Secret::expose);
    let mut session = Session::new(face.ids.fetch_add(1, Ordering::Relaxed), password.is_none());
    let mut events = face.events.subscribe();
    let (mut received, mut out) = (Vec::with_capacity(READ_BYTES), Vec::new());
    let mut chunk = [0; READ_BYTES];
    loop {
        let read = tokio::select! {
            read = stream.read(&mut chunk) => read?,
            () = tokio::time::sleep(Duration::from_secs(IDLE_S_MAX)), if !session.is_subscribed() => return Ok(()),
            event = events.recv() => {
                match event {
                    Ok(event) => hear(&session, &event, &mut out),
                    // Too slow: what was missed cannot be told any more, so let it ask anew.
                    Err(broadcast::error::RecvError::Lagged(_)) if session.is_subscribed() => return Ok(()),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                }
                send(&mut stream, &mut out).await?;
                continue;
            }
        };
        if read == 0 {
            return Ok(());
        }
        received.extend_from_slice(&chunk[..read]);
        if !answer_all(face, &mut session, &mut stream, &mut received, &mut out, password).await? {
            return Ok(());
        }
    }
}

/// Answers all complete requests, and sends the replies; false if the connection is to be closed.
async fn answer_all(
    face: &Face,
    session: &mut Session,
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    out: &mut Vec<u8>,
    password: Option<&str>,
) -> io::Result<bool> {
    let mut next = Next::Send;
    while matches!(next, Next::Send | Next::LongList) {
        let place = match next {
            Next::LongList => {
                let wait = Duration::from_millis(LONG_LIST_MS_MAX);
                timeout(wait, face.long_lists.acquire()).await?.ok()
            }
            _ => None,
        };
        next = requests(face, session, received, out, password, place.is_some());
        send(stream, out).await?;
        if place.is_some() {
            // It was long once; kept, it would be so for every connection.
            *out = Vec::new();
        }
    }
    Ok(next != Next::Close && received.len() <= REQUEST_BYTES_MAX)
}

/// Answers requests until there is a reason to pause. With a place for a long list, one such is answered.
fn requests(
    face: &Face,
    session: &mut Session,
    received: &mut Vec<u8>,
    out: &mut Vec<u8>,
    password: Option<&str>,
    has_place: bool,
) -> Next {
    let view = face.view();
    let are_long = face.directory.count() >= CLUSTERS_LONG;
    let mut taken = 0;
    let next = loop {
        if out.len() >= REPLIES_BYTES {
            break Next::Send;
        }
        match parse(&received[taken..]) {
            Parsed::Incomplete => break Next::Read,
            Parsed::Broken(why) => {
                Reply::Error(why.to_owned()).encode(session.version, out);
                break Next::Close;
            }
            Parsed::Request(words, length) => {
                let is_long = are_long && is_list(&words);
                if is_long && !has_place {
                    break Next::LongList;
                }
                taken += length;
                match session.answer(&view, &words, password) {
                    Outcome::Replies(replies) => {
                        for reply in replies {
                            reply.encode(session.version, out);
                        }
                    }
                    Outcome::Close(reply) => {
                        reply.encode(session.version, out);
                        break Next::Close;
                    }
                }
                if is_long {
                    break Next::Send;
                }
            }
        }
    };
    received.drain(..taken);
    next
}

fn hear(session: &Session, messages: &[Message], out: &mut Vec<u8>) {
    for message in messages {
        if session.channels.contains(message.channel) {
            out.extend_from_slice(message.encoded(session.version));
        }
        for reply in session.hears_by_pattern(message.channel, &message.payload) {
            reply.encode(session.version, out);
        }
    }
}

async fn send(stream: &mut TcpStream, out: &mut Vec<u8>) -> io::Result<()> {
    if !out.is_empty() {
        timeout(Duration::from_millis(WRITE_MS_MAX), stream.write_all(out)).await??;
        out.clear();
    }
    Ok(())
}
