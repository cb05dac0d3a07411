//! The accept loop: who gets a place, and who loses one.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::HttpLimits;
use super::connection::{self, Watch};

/// The first pause after a failed accept (no file descriptors, no memory).
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause after failed accepts.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a newcomer waits for the place of a connection that is just being closed for it.
const PLACE_TIMEOUT: Duration = Duration::from_millis(100);

/// The answer when every place is taken by a request that is being worked on. It is written before any
/// request was read, so it has no request id.
const BUSY: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n",
    "Connection: close\r\nContent-Length: 152\r\n\r\n",
    r#"{"type":"urn:redis-dictator:busy","title":"Busy","status":503,"detail":"every connection is taken by a request under way","do":"try again in a second"}"#,
    "\n"
);

/// A connection as the door sees it.
struct Guest {
    watch: Arc<Watch>,
    cut: CancellationToken,
}

/// Those inside, by order of arrival.
type Guests = Arc<Mutex<BTreeMap<u64, Guest>>>;

/// Accepts until shutdown, then waits for the connections, at most `drain_timeout`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Arc<HttpLimits>,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let guests = Guests::default();
    let tracker = TaskTracker::new();
    let cut_all = CancellationToken::new();
    let mut number = 0_u64;
    let mut pause = ACCEPT_PAUSE_MIN;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "HTTP listens");
    }
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                if pause == ACCEPT_PAUSE_MIN {
                    tracing::warn!(%error, "HTTP connections cannot be accepted; if files ran out, raise LimitNOFILE");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                continue;
            }
        };
        pause = ACCEPT_PAUSE_MIN;
        let Some(place) = place(&places, &guests).await else {
            turn_away(stream);
            continue;
        };
        number += 1;
        let guest = Guest { watch: Arc::default(), cut: cut_all.child_token() };
        let (watch, cut) = (Arc::clone(&guest.watch), guest.cut.clone());
        lock(&guests).insert(number, guest);
        let leaving = Leaving { number, guests: Arc::clone(&guests), _place: place };
        let served =
            connection::serve(stream, router.clone(), Arc::clone(&limits), watch, shutdown.clone(), cut);
        tracker.spawn(async move {
            let _leaving = leaving;
            Box::pin(served).await;
        });
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(limits.drain_timeout, tracker.wait()).await.is_err() {
        tracing::warn!(connections = tracker.len(), "HTTP requests did not end in time and were cut off");
        cut_all.cancel();
        tracker.wait().await;
    }
}

/// A place for a newcomer: a free one, or that of the oldest guest who is only being waited for.
async fn place(places: &Arc<Semaphore>, guests: &Guests) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(places).try_acquire_owned() {
        return Some(place);
    }
    let oldest = {
        let mut guests = lock(guests);
        let number =
            guests.iter().find(|(_, guest)| guest.watch.waits_for_client()).map(|(number, _)| *number)?;
        guests.remove(&number)?
    };
    oldest.cut.cancel();
    tokio::time::timeout(PLACE_TIMEOUT, Arc::clone(places).acquire_owned()).await.ok()?.ok()
}

/// Says that we are busy if the socket takes it at once; it is not waited for.
fn turn_away(stream: TcpStream) {
    let told = stream.into_std().and_then(|mut stream| stream.write(BUSY.as_bytes()));
    tracing::debug!(told = told.is_ok(), "an HTTP connection was turned away: every place is taken");
}

/// Errors that accept(2) reports for the connection, not for the listener.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Takes a guest off the list and gives the place back, however the connection ends.
struct Leaving {
    number: u64,
    guests: Guests,
    _place: OwnedSemaphorePermit,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        lock(&self.guests).remove(&self.number);
    }
}

fn lock(guests: &Guests) -> MutexGuard<'_, BTreeMap<u64, Guest>> {
    guests.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busy_answer_has_the_length_it_announces_and_is_json() {
        let (header, body) = BUSY.split_once("\r\n\r\n").unwrap();
        assert!(header.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["type"], "urn:redis-dictator:busy");
    }
}
