//! One PUT of one document to one URL, by one deadline.
//!
//! The URL's host is resolved anew each time and the request goes to a numeric address, so what is asked
//! and who answered can be reported, and every instance behind a name gets its turn: the one that answered
//! last is asked first, the next one if nobody answers there or it says 503.
//!
//! No redirect is followed, no proxy is taken from the environment, and at most [`ANSWER_BYTES_MAX`] of an
//! answer are read. Every request has a connection of its own: our daemons close idle ones after seconds, and
//! opening one costs a round trip.
//!
//! [`ANSWER_BYTES_MAX`]: crate::exchange::ANSWER_BYTES_MAX

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderValue, IF_MATCH, RETRY_AFTER, USER_AGENT,
};
use hyper::http::request::Builder;
use hyper::{Method, Request};
use resolve::{ResolveError, Resolver};
use serde::Serialize;
use service::clock;
use service::config::SecretSource;
use service::files::FromFiles;
use service::tls::ClientTls;
use tokio::time::{Instant, timeout, timeout_at};
use topology::{Address, Document, NodeName};

use crate::answer::{self, Told, Verdict};
use crate::exchange::exchange;
use crate::notify_url::NotifyUrl;

/// Deadline of asking for the version a receiver has.
const ETAG_DEADLINE: Duration = Duration::from_secs(5);
/// Deadline of asking which document a receiver has in force.
const ASK_DEADLINE: Duration = Duration::from_secs(5);
/// The header with the revision.
const REVISION_HEADER: &str = "X-Topology-Revision";
/// The header with the id that is the same along a chain.
const REQUEST_ID_HEADER: &str = "X-Request-Id";

/// The header with the generation of the grant, which receivers after the dictator may publish.
const GENERATION_HEADER: &str = "X-Topology-Generation";

/// What is delivered along a chain.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The trigger's revision.
    pub revision: u64,
    /// The document, byte by byte as it was written.
    pub body: Bytes,
    /// The same at every URL of one attempt.
    pub request_id: String,
    /// The generation that a receiver before this one has told.
    pub generation: Option<u64>,
    /// Sent with `If-Match` on what the receiver has: it may know a later revision, and that is meant.
    pub accepted: bool,
}

/// How one URL took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The letter's revision.
    pub revision: u64,
    /// The id under which the receiver logged it.
    pub request_id: String,
    /// When it was over, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// How long it took.
    pub took_ms: u64,
    /// Who answered, or was asked last.
    pub instance: Option<SocketAddr>,
    /// The status; `None` if no answer came.
    pub status: Option<u16>,
    /// What follows.
    pub verdict: Verdict,
    /// The generation, if the answer is a receipt with one.
    pub generation: Option<u64>,
    /// The problem's slug.
    pub problem: Option<String>,
    /// The problem's detail, or what happened instead of an answer.
    pub detail: Option<String>,
    /// What the problem says to do next.
    #[serde(rename = "do")]
    pub do_next: Option<String>,
    /// How long the receiver asked to be left alone.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// Delivers letters.
pub struct Courier {
    urls: Vec<NotifyUrl>,
    /// For each URL, which of its instances is asked first.
    first: Vec<usize>,
    /// Looks up names with a port, by the system's servers.
    system: Resolver,
    /// Looks up services without a port, by the configured server.
    services: Option<Resolver>,
    deadline: Duration,
    proof: Proof,
}

/// How receivers know us, and we them.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// Shown to every receiver.
    pub token: Option<SecretSource>,
    /// How to connect to those of `https`.
    pub tls: Option<Arc<FromFiles<ClientTls>>>,
}

/// The document that a receiver has in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The document, with the members of its groups.
    pub document: Document,
    /// The same as text.
    pub body: Bytes,
    /// Its revision, if it has one.
    pub revision: Option<u64>,
    /// Changes whenever the document does, members included.
    pub etag: Option<HeaderValue>,
}

impl InForce {
    /// What an answer tells, if it is a document and nothing else.
    fn read(headers: &HeaderMap, body: Vec<u8>) -> Option<Self> {
        let document = Document::parse(&body, usize::MAX).ok()?.document;
        let revision = headers.get(REVISION_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        Some(Self { document, body: body.into(), revision, etag: headers.get(ETAG).cloned() })
    }
}

/// A courier that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// The resolver.
    #[error("names cannot be resolved")]
    Resolver(#[from] resolve::SettingsError),
}

/// What became of one request to one instance.
enum Outcome {
    Answer { status: u16, told: Told, generation: Option<u64>, retry_after: Option<Duration> },
    NoAnswer(String),
}

impl Courier {
    /// Sets everything up; sends nothing. `dns` is the server for URLs without a port.
    ///
    /// # Errors
    /// [`CourierError`].
    pub fn new(
        urls: Vec<NotifyUrl>,
        dns: Option<SocketAddr>,
        deadline: Duration,
        proof: Proof,
    ) -> Result<Self, CourierError> {
        let services = match dns {
            Some(server) => Some(Resolver::new(resolve::Settings {
                name_servers: vec![server],
                ..resolve::Settings::default()
            })?),
            None => None,
        };
        let system = Resolver::new(resolve::Settings::default())?;
        let first = vec![0; urls.len()];
        Ok(Self { urls, first, system, services, deadline, proof })
    }

    /// The URLs, in their order.
    pub fn urls(&self) -> &[NotifyUrl] {
        &self.urls
    }

    /// Delivers to the URL at `index` and tells how it went, no later than the deadline.
    pub async fn deliver(&mut self, index: usize, letter: &Letter) -> Report {
        let begun = Instant::now();
        let mut instance = None;
        let ends_at = begun + self.deadline;
        let outcome = timeout_at(ends_at, self.try_instances(index, letter, &mut instance)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            self.first[index] = self.first[index].wrapping_add(1);
            Outcome::NoAnswer(format!("no answer within {} ms", self.deadline.as_millis()))
        });
        let (status, told, generation, retry_after) = match outcome {
            Outcome::Answer { status, told, generation, retry_after } => {
                (Some(status), told, generation, retry_after)
            }
            Outcome::NoAnswer(reason) => (None, Told { detail: Some(reason), ..Told::default() }, None, None),
        };
        Report {
            revision: letter.revision,
            request_id: letter.request_id.clone(),
            at_unix_ms: clock::unix_millis(),
            took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            instance,
            status,
            verdict: status.map_or(Verdict::RetrySoon, answer::verdict),
            generation,
            problem: told.slug,
            detail: told.detail,
            do_next: told.do_next,
            retry_after,
        }
    }

    async fn try_instances(
        &mut self,
        index: usize,
        letter: &Letter,
        asked: &mut Option<SocketAddr>,
    ) -> Outcome {
        let url = &self.urls[index];
        let instances = match self.resolve(url).await {
            Ok(instances) => instances,
            Err(error) => return Outcome::NoAnswer(error.to_string()),
        };
        let mut last = Outcome::NoAnswer("its name leads to no address".to_owned());
        for turn in 0..instances.len() {
            let position = self.first[index].wrapping_add(turn) % instances.len();
            let instance = instances[position];
            *asked = Some(instance);
            last = self.put(url, instance, letter).await;
            if let Outcome::Answer { status, .. } = &last
                && !answer::try_next_instance(*status)
            {
                self.first[index] = position;
                return last;
            }
        }
        self.first[index] = self.first[index].wrapping_add(1);
        last
    }

    async fn resolve(&self, url: &NotifyUrl) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Address::Ip(ip) = url.host {
            // The resolver would say the same after reading the files of the system.
            return Ok(vec![SocketAddr::new(ip, url.port.unwrap_or(url.port_default()).get())]);
        }
        match (&self.services, url.port) {
            (Some(services), None) => services.resolve_service(&url.host, url.port_default()).await,
            (_, port) => {
                let port = Some(port.unwrap_or(url.port_default()));
                self.system.resolve(&NodeName { address: url.host.clone(), port }).await
            }
        }
    }

    async fn put(&self, url: &NotifyUrl, instance: SocketAddr, letter: &Letter) -> Outcome {
        let mut request = self
            .request(Method::PUT, url)
            .header(CONTENT_TYPE, "application/json")
            .header(REVISION_HEADER, letter.revision)
            .header(REQUEST_ID_HEADER, &letter.request_id);
        if let Some(generation) = letter.generation {
            request = request.header(GENERATION_HEADER, generation);
        }
        if letter.accepted
            && let Some(etag) = self.etag(url, instance).await
        {
            request = request.header(IF_MATCH, etag);
        }
        let request = match request.body(Full::new(letter.body.clone())) {
            Ok(request) => request,
            Err(error) => return Outcome::NoAnswer(format!("the request cannot be written: {error}")),
        };
        match exchange(instance, self.tls_of(url), request).await {
            Ok(answer) => {
                let status = answer.status;
                let header = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let retry_after = answer::retry_after(header);
                let accepted = answer::verdict(status) == Verdict::Accepted;
                let generation = accepted.then(|| answer::generation(&answer.body)).flatten();
                Outcome::Answer { status, told: answer::told(&answer.body), generation, retry_after }
            }
            Err(reason) => Outcome::NoAnswer(reason),
        }
    }

    /// The document that the receiver at `index` has in force; `None` if it shows none there. It is asked within
    /// [`ASK_DEADLINE`].
    ///
    /// # Errors
    /// Why it is not known, as a sentence.
    pub async fn in_force(&self, index: usize) -> Result<Option<InForce>, String> {
        let url = &self.urls[index];
        let asking = async {
            let instances = self.resolve(url).await.map_err(|error| error.to_string())?;
            let mut last = Err("its name leads to no address".to_owned());
            for turn in 0..instances.len() {
                let instance = instances[self.first[index].wrapping_add(turn) % instances.len()];
                let request = self.request(Method::GET, url).body(Full::default());
                let request = request.map_err(|error| format!("the request cannot be written: {error}"))?;
                last = exchange(instance, self.tls_of(url), request).await;
                if last.as_ref().is_ok_and(|answer| !answer::try_next_instance(answer.status)) {
                    break;
                }
            }
            last
        };
        let asked = timeout(ASK_DEADLINE, asking).await;
        let asked = asked.unwrap_or_else(|_| Err(format!("no answer within {} s", ASK_DEADLINE.as_secs())));
        let answer = asked.map_err(|why| format!("{url} does not tell its document: {why}"))?;
        match answer::verdict(answer.status) {
            Verdict::Accepted => Ok(InForce::read(&answer.headers, answer.body)),
            Verdict::RetrySlowly => Ok(None),
            Verdict::RetrySoon => {
                Err(format!("{url} does not tell its document: it answered {}", answer.status))
            }
        }
    }

    /// How to connect to a URL: the name that the certificate must be for, and whom to believe.
    fn tls_of(&self, url: &NotifyUrl) -> Option<(Arc<ClientTls>, String)> {
        let tls = self.proof.tls.as_ref().filter(|_| url.tls)?;
        Some((tls.get(), url.server_name()))
    }

    /// What every request to a URL begins with.
    fn request(&self, method: Method, url: &NotifyUrl) -> Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(&url.path)
            .header(HOST, url.authority())
            .header(USER_AGENT, concat!("redis-dictator-observer/", env!("CARGO_PKG_VERSION")));
        // A token with other characters than a header takes does not pass the settings.
        let token = self.proof.token.as_ref().map(|token| format!("Bearer {}", token.get().expose()));
        if let Some(Ok(mut value)) = token.map(|token| HeaderValue::from_str(&token)) {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request
    }

    /// The version the receiver has, if it says.
    async fn etag(&self, url: &NotifyUrl, instance: SocketAddr) -> Option<HeaderValue> {
        let request = self.request(Method::GET, url).body(Full::default()).ok()?;
        let answer =
            timeout(ETAG_DEADLINE, exchange(instance, self.tls_of(url), request)).await.ok()?.ok()?;
        answer.headers.get(ETAG).cloned()
    }
}
