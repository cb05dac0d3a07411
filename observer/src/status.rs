//! `GET /status`: what the observer wants, what it did, and what is in its way.
//!
//! One value, published by the owner task whenever it changes and read by the HTTP face without asking
//! anybody. Times are milliseconds since 1970, so that they can be compared with the log's.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;

use crate::deliver::Report;
use crate::source::SourceHealth;

/// Everything `GET /status` shows beside the source's health.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// What is being done: `await_source`, `no_trigger`, `up_to_date`, `delivering`, `waiting`, `unfit`, `held`.
    pub state: &'static str,
    /// The trigger as last seen.
    pub trigger: Option<Seen>,
    /// The last trigger that every URL took.
    pub delivered: Option<Delivered>,
    /// The URLs in their order, each with its last answer.
    pub notify: Vec<Notified>,
    /// When the next attempt is due, unless a newer trigger comes first.
    pub next_retry_at_unix_ms: Option<u64>,
    /// What a person should know.
    pub problems: Vec<Trouble>,
}

/// A trigger that was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Its revision.
    pub revision: u64,
    /// When it was seen.
    pub seen_at_unix_ms: u64,
}

/// A trigger that was delivered.
#[derive(Clone, Debug, Serialize)]
pub struct Delivered {
    /// Its revision.
    pub revision: u64,
    /// When; `None` if an earlier life did it.
    pub at_unix_ms: Option<u64>,
}

/// A URL and its last answer.
#[derive(Clone, Debug, Serialize)]
pub struct Notified {
    /// The URL.
    pub url: String,
    /// Its last answer; `None` before the first.
    pub last: Option<Report>,
}

/// Something a person should know, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// A word for machines.
    pub problem: &'static str,
    /// What is wrong.
    pub detail: String,
    /// What to do next.
    #[serde(rename = "do")]
    pub do_next: Option<String>,
    /// What makes it the same trouble as before although its numbers differ, so that it is logged once.
    #[serde(skip)]
    pub identity: String,
}

impl Trouble {
    /// A trouble that is the same as another only if it says the same.
    pub fn new(problem: &'static str, detail: impl Into<String>, do_next: Option<String>) -> Self {
        let detail = detail.into();
        Self { problem, identity: detail.clone(), detail, do_next }
    }

    /// Whether a person has been told of this already when told of `other`.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.problem == other.problem && self.identity == other.identity
    }
}

#[derive(Serialize)]
struct Page<'a> {
    source: &'a SourcePage,
    #[serde(flatten)]
    status: &'a Status,
}

#[derive(Serialize)]
struct SourcePage {
    watching: bool,
    phase: String,
    place: String,
    reconnects: u64,
    failure: Option<String>,
}

/// The route.
pub fn routes(status: watch::Receiver<Status>, health: watch::Receiver<SourceHealth>) -> Router {
    let both = Arc::new((status, health));
    Router::new().route("/status", get(move || std::future::ready(page(&both))))
}

fn page(
    (status, health): &(watch::Receiver<Status>, watch::Receiver<SourceHealth>),
) -> impl IntoResponse + use<> {
    let health = health.borrow().clone();
    let source = SourcePage {
        watching: health.watching,
        phase: health.phase,
        place: health.place,
        reconnects: health.reconnects,
        failure: health.failure,
    };
    let status = status.borrow();
    let page = Page { source: &source, status: &status };
    let mut body = serde_json::to_string(&page).unwrap_or_else(|_| "{}".to_owned());
    body.push('\n');
    ([(header::CONTENT_TYPE, "application/json")], body)
}
