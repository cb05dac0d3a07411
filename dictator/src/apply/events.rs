//! What happens, told to whoever listens while it happens.
//!
//! Nobody who acts waits for anybody who listens. Events go into one bounded ring; a listener that has fallen
//! behind by a whole ring is let go by the HTTP face instead of being given a story with holes, and can read
//! `GET /history` for what it missed. Nothing is written down here: the history is the record, this is the
//! live view of it.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::broadcast;

/// Events that a listener may lag behind.
pub const EVENTS_MAX: usize = 256;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `begun`, `step`, `answered`, `stuck` or `entry`.
    pub kind: &'static str,
    /// A JSON object on one line.
    pub data: String,
}

/// The ring. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Arc<Event>>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(EVENTS_MAX).0)
    }
}

impl Events {
    /// What is told from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.subscribe()
    }

    /// Tells it to those who listen, if anybody does.
    pub(crate) fn tell(&self, kind: &'static str, data: impl FnOnce() -> Value) {
        if self.0.receiver_count() > 0 {
            // The last listener may have gone just now.
            let _ = self.0.send(Arc::new(Event { kind, data: data().to_string() }));
        }
    }
}
