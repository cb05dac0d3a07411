//! `GET /events`: what happens, as server-sent events (WHATWG HTML, section 9.2).
//!
//! A listener costs a connection and a place in the ring of events, so their number is limited. One that does
//! not keep up is let go, by the ring or by the deadline of writing; it can connect again and read the
//! history. The stream ends when the dictator stops, so that nobody who listens holds that up, and when it
//! loses the say: who has it then is in the answer to the next request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;
use futures_util::stream;
use service::http::query;
use service::problem::Problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::{Interval, interval};
use tokio_util::sync::CancellationToken;

use super::Face;
use super::problems::busy;
use crate::apply::{Event, Events, Handle, Standing};

/// Listeners at a time.
pub(super) const LISTENERS_MAX: usize = 16;
/// A comment is sent this often, so that a dead connection is noticed by both sides.
const BEAT: Duration = Duration::from_secs(5);

/// What every listener needs.
#[derive(Clone, Debug)]
pub(super) struct Source {
    events: Events,
    places: Arc<Semaphore>,
    ended: CancellationToken,
}

impl Source {
    /// A source that ends all its streams when `ended` is cancelled.
    pub(super) fn new(events: Events, ended: CancellationToken) -> Self {
        Self { events, places: Arc::new(Semaphore::new(LISTENERS_MAX)), ended }
    }
}

/// One listener.
struct Listening {
    received: broadcast::Receiver<Arc<Event>>,
    owner: Handle,
    ended: CancellationToken,
    beat: Interval,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn get_events(State(face): State<Face>, uri: Uri) -> Result<Response, Problem> {
    query(&uri, &[])?;
    if !matches!(face.owner.standing(), Standing::Holding(_)) {
        return Err(face.unable("no events"));
    }
    let Source { events, places, ended } = face.source.clone();
    let place = places
        .try_acquire_owned()
        .map_err(|_| busy(&format!("{LISTENERS_MAX} listeners are there, which is the most")))?;
    let received = events.listen();
    let listening = Listening { received, owner: face.owner, ended, beat: interval(BEAT), _place: place };
    let mut response = Response::new(Body::from_stream(stream::unfold(listening, next)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The next piece of the stream, or its end.
async fn next(mut listening: Listening) -> Option<(Result<String, Infallible>, Listening)> {
    let text = tokio::select! {
        () = listening.ended.cancelled() => return None,
        received = listening.received.recv() => {
            // An error means that the listener lags: better no story than one with holes.
            let event = received.ok()?;
            format!("event: {}\ndata: {}\n\n", event.kind, event.data)
        }
        _ = listening.beat.tick() => {
            if !matches!(listening.owner.standing(), Standing::Holding(_)) {
                return None;
            }
            ":\n\n".to_owned()
        }
    };
    Some((Ok(text), listening))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;
    use crate::apply::EVENTS_MAX;

    fn face() -> (Face, Events, CancellationToken) {
        let (events, ended) = (Events::default(), CancellationToken::new());
        let (owner, _asks) = Handle::new();
        let face = Face {
            owner,
            cluster: "redis-1".into(),
            nodes_max: 8,
            targets: std::sync::Arc::default(),
            reply_deadline: Duration::from_secs(5),
            source: Source::new(events.clone(), ended.clone()),
        };
        (face, events, ended)
    }

    async fn listen(face: &Face) -> Result<Body, Problem> {
        get_events(State(face.clone()), Uri::from_static("/events")).await.map(Response::into_body)
    }

    async fn piece(body: &mut Body) -> Option<String> {
        let frame = body.frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn events_are_sent_as_they_come_and_end_with_the_dictator() {
        let (face, events, ended) = face();
        let mut body = listen(&face).await.unwrap();
        assert_eq!(piece(&mut body).await.as_deref(), Some(":\n\n"), "the head is sent at once");
        events.tell("step", || json!({"node": "a"}));
        assert_eq!(piece(&mut body).await.as_deref(), Some("event: step\ndata: {\"node\":\"a\"}\n\n"));
        ended.cancel();
        assert_eq!(piece(&mut body).await, None);
    }

    #[tokio::test]
    async fn who_does_not_keep_up_is_let_go() {
        let (face, events, _ended) = face();
        let mut body = listen(&face).await.unwrap();
        piece(&mut body).await.unwrap();
        for number in 0..=EVENTS_MAX {
            events.tell("step", || json!(number));
        }
        assert_eq!(piece(&mut body).await, None);
    }

    #[tokio::test]
    async fn listeners_are_limited_and_make_room_when_they_go() {
        let (face, _events, _ended) = face();
        let mut bodies = Vec::new();
        for _ in 0..LISTENERS_MAX {
            bodies.push(listen(&face).await.unwrap());
        }
        assert_eq!(listen(&face).await.unwrap_err().status, 503);
        bodies.pop();
        assert!(listen(&face).await.is_ok());
    }
}
