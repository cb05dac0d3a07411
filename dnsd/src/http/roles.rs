//! `GET /master`, `GET /slaves`, `GET /check/…`: the roles for those who have HTTP and nothing else.
//!
//! A request with `?after=` waits for news, so that a script or a proxy follows a switch without asking
//! again and again. Such a request holds a connection for long, so their number is bounded well below that
//! of all connections: whoever waits for the master to move must not keep out the one who moves it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use service::config::parse_duration;
use service::http::query;
use service::problem::Problem;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::admission::IfMatch;
use crate::directory::{Directory, Slot};
use crate::problems;
use crate::roles::{Asked, Role, Seen, Tag, Told, tell};

use super::{Cluster, REVISION, text, zone};

/// Requests that may wait for news at a time: half of the connections of the HTTP face.
const WAITERS_MAX: usize = 128;
/// How long a request waits that does not say, in seconds.
const WAIT_S_DEFAULT: u64 = 30;
/// How long a request waits at most, in seconds, whatever it says: proxies between us and the client give
/// up after a minute.
const WAIT_S_MAX: u64 = 60;

/// What the handlers need.
#[derive(Clone)]
pub struct Roles {
    directory: Arc<Directory>,
    waiters: Arc<Semaphore>,
    /// Nobody waits any longer when the daemon stops.
    stop: CancellationToken,
}

/// The routes: of the only cluster, and of each by its name.
pub fn routes(directory: Arc<Directory>, stop: CancellationToken) -> Router {
    let roles = Roles { directory, waiters: Arc::new(Semaphore::new(WAITERS_MAX)), stop };
    let paths = ["", "/clusters/{cluster}"];
    let add = |router: Router<Roles>, path: &str| {
        router
            .route(&format!("{path}/master"), get(master))
            .route(&format!("{path}/slaves"), get(slaves))
            .route(&format!("{path}/check/master"), get(check_master))
            .route(&format!("{path}/check/slave"), get(check_slave))
    };
    paths.into_iter().fold(Router::new(), add).with_state(roles)
}

async fn master(
    State(roles): State<Roles>,
    cluster: Cluster,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    show(&roles, Role::Master, &cluster, &uri, &headers).await
}

async fn slaves(
    State(roles): State<Roles>,
    cluster: Cluster,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    show(&roles, Role::Slave, &cluster, &uri, &headers).await
}

async fn show(
    roles: &Roles,
    role: Role,
    cluster: &Cluster,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let slot = zone(&roles.directory, cluster, uri)?;
    let wait = Wait::parse(uri)?;
    let known = text(headers, &header::IF_NONE_MATCH)?
        .map(|value| IfMatch::parse(&value))
        .transpose()
        .map_err(|error| Problem::unknown_parameter(error.to_string()))?;
    let (told, has_seen) = match wait {
        None => (now(&slot, role), false),
        Some(wait) => roles.after(&slot, role, wait).await?,
    };
    let Some(told) = told else { return Err(problems::not_published()) };
    let tag = format!("\"{}\"", told.tag);
    let mut response = if has_seen || known.is_some_and(|known| names(&known, &tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        told.text.into_response()
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(REVISION, HeaderValue::from(told.tag.revision));
    // What is kept by a cache between us and a client is a master of yesterday.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Whether `If-None-Match` names a tag; weakly, as RFC 9110 section 13.1.2 has it.
fn names(known: &IfMatch, tag: &str) -> bool {
    match known {
        IfMatch::Any => true,
        IfMatch::Tags(tags) => tags.iter().any(|known| known.strip_prefix("W/").unwrap_or(known) == tag),
    }
}

/// A wish to be answered when there is news.
#[derive(Clone, Copy, Debug)]
struct Wait {
    seen: Seen,
    timeout: Duration,
}

impl Wait {
    fn parse(uri: &Uri) -> Result<Option<Self>, Problem> {
        let parameters = query(uri, &["after", "timeout"])?;
        let timeout = parameters.get("timeout").map(|text| {
            parse_duration(text)
                .map_err(|error| Problem::unknown_parameter(format!("timeout={text:?}: {error}")))
        });
        let timeout = timeout.transpose()?;
        let Some(after) = parameters.get("after") else {
            return match timeout {
                None => Ok(None),
                Some(_) => Err(Problem::unknown_parameter(
                    "timeout is for waiting: say with after=<revision> what you have seen",
                )),
            };
        };
        let seen =
            after.parse().map_err(|error| Problem::unknown_parameter(format!("after={after:?}: {error}")))?;
        let timeout = timeout.unwrap_or(Duration::from_secs(WAIT_S_DEFAULT));
        Ok(Some(Self { seen, timeout: timeout.min(Duration::from_secs(WAIT_S_MAX)) }))
    }
}

fn now(slot: &Slot, role: Role) -> Option<Told> {
    slot.publication().as_ref().map(|publication| tell(publication, role))
}

impl Roles {
    /// What is told as soon as it is news, else what is told when the time is over, and whether the client
    /// has seen just that.
    async fn after(&self, slot: &Slot, role: Role, wait: Wait) -> Result<(Option<Told>, bool), Problem> {
        // Subscribed before the first look, so that nothing happens unseen in between.
        let mut changes = slot.changes();
        let ends_at = Instant::now() + wait.timeout;
        let mut told = now(slot, role);
        let seen = wait.seen.or_now(told.as_ref().map(|told| told.tag));
        let is_news = |tag: Tag| seen.is_outdone_by(tag);
        let mut place = None;
        while !told.as_ref().is_some_and(|told| is_news(told.tag)) {
            if place.is_none() {
                place = Some(self.place()?);
            }
            let changed = tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                () = sleep_until(ends_at) => false,
                () = self.stop.cancelled() => false,
            };
            let had_any = told.is_some();
            told = now(slot, role);
            let is_gone = had_any && told.is_none();
            if !changed || is_gone {
                break;
            }
        }
        let has_seen = told.as_ref().is_some_and(|told| seen.is(told.tag));
        Ok((told, has_seen))
    }

    fn place(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.waiters.try_acquire().map_err(|_| problems::too_many_waiters(WAITERS_MAX))
    }
}

async fn check_master(State(roles): State<Roles>, cluster: Cluster, uri: Uri) -> Result<Response, Problem> {
    check(&*zone(&roles.directory, &cluster, &uri)?, Role::Master, &uri)
}

async fn check_slave(State(roles): State<Roles>, cluster: Cluster, uri: Uri) -> Result<Response, Problem> {
    check(&*zone(&roles.directory, &cluster, &uri)?, Role::Slave, &uri)
}

/// 200 or 503, as load balancers ask for each node of theirs.
fn check(slot: &Slot, role: Role, uri: &Uri) -> Result<Response, Problem> {
    let parameters = query(uri, &["node"])?;
    let Some(node) = parameters.get("node") else {
        return Err(Problem::unknown_parameter("node is missing: say which, as in ?node=10.0.0.1:6379"));
    };
    let asked: Asked =
        node.parse().map_err(|error| Problem::unknown_parameter(format!("node={node:?}: {error}")))?;
    let publication = slot.publication();
    let Some(publication) = publication.as_ref() else {
        return Err(problems::not_in_role(&asked, role, None));
    };
    let revision = publication.stamp.revision;
    if !role.members(publication).iter().any(|member| asked.is(member)) {
        return Err(problems::not_in_role(&asked, role, Some(&tell(publication, role))));
    }
    let mut response = format!("{asked} is a {role} at revision {revision}\n").into_response();
    response.headers_mut().insert(REVISION, HeaderValue::from(revision));
    Ok(response)
}
