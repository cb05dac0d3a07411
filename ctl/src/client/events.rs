//! Server-sent events, as far as our daemons send them (WHATWG HTML, section 9.2).

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use serde_json::Value;
use tokio::time::timeout;

use super::{Ask, Client, NoAnswer, Reply, judge, lost, nobody, read_answer};
use crate::exit::Failure;

/// The dictator sends at least a comment every five seconds; after this the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Largest event; the largest is a receipt with all its steps.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A stream of events that is being read.
#[derive(Debug)]
pub struct EventStream {
    /// Who sends it.
    pub from: String,
    body: Incoming,
    buffer: Vec<u8>,
}

impl Client {
    /// Listens at the first endpoint that lets us. The inner error is a refusal.
    ///
    /// # Errors
    /// When none answers, or what answers is not one of our daemons.
    pub async fn listen(&self, path: &str) -> Result<Result<EventStream, Reply>, Failure> {
        let ask = Ask::get(path);
        let (mut silent, mut last) = (Vec::new(), None);
        for endpoint in &self.endpoints {
            let response = match self.send(endpoint, &ask).await {
                Ok(response) => response,
                Err(NoAnswer::NotConnected(reason)) => {
                    silent.push(format!("{endpoint}: {reason}"));
                    continue;
                }
                Err(NoAnswer::Lost(reason)) => return Err(lost(endpoint, &ask, &reason)),
            };
            let kind = response.headers().get(CONTENT_TYPE).map(|value| value.as_bytes().to_vec());
            if response.status().is_success()
                && kind.is_some_and(|kind| kind.starts_with(b"text/event-stream"))
            {
                let from = endpoint.to_string();
                return Ok(Ok(EventStream { from, body: response.into_body(), buffer: Vec::new() }));
            }
            let answer =
                read_answer(response, endpoint).await.map_err(|reason| lost(endpoint, &ask, &reason))?;
            let (reply, elsewhere) = judge(answer)?;
            if !elsewhere {
                return Ok(Err(reply));
            }
            last = Some(reply);
        }
        last.map(Err).ok_or_else(|| nobody(&silent))
    }
}

impl EventStream {
    /// The next event, its kind and its data; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(event) = take(&mut self.buffer) {
                return Some(event);
            }
            let frame = timeout(SILENCE_MAX, self.body.frame()).await.ok()??.ok()?;
            if let Some(bytes) = frame.data_ref() {
                self.buffer.extend_from_slice(bytes);
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return None;
            }
        }
    }
}

/// Takes the first whole event out of the buffer, and comments with it.
fn take(buffer: &mut Vec<u8>) -> Option<(String, Value)> {
    loop {
        let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = buffer.drain(..end + 2).collect();
        let block = String::from_utf8_lossy(&block).into_owned();
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let (Some(kind), Some(data)) = (field("event:"), field("data:")) {
            return Some((kind.to_owned(), serde_json::from_str(data).unwrap_or(Value::Null)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_whole_and_comments_are_passed_over() {
        let mut buffer = b":\n\nevent: step\ndata: {\"node\":\"a\"}\n\n:\n\nevent: begun\ndata: {".to_vec();
        let (kind, data) = take(&mut buffer).unwrap();
        assert_eq!((kind.as_str(), &data["node"]), ("step", &"a".into()));
        assert_eq!(take(&mut buffer), None, "half an event is not one");
        buffer.extend_from_slice(b"}\n\n");
        assert_eq!(take(&mut buffer).unwrap().0, "begun");
    }
}
