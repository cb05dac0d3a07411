//! One HTTP request at a time to a daemon, by a deadline.
//!
//! hyper's connection is used as it is: no pool, no redirects, no proxy from the environment. A tool that
//! moves masters must not be led elsewhere by an answer or by a variable. Of several endpoints the next one
//! is asked only where it is certain that the one before has done nothing: no connection was made, or it
//! said that another dictator has the say. An answer that did not come is never sent again: the change may
//! be under way.

mod events;
mod metrics;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use service::config::Secret;
use service::stream::Stream;
use service::tls::{ClientTls, handshake_reason};
use tokio::time::{Instant, timeout, timeout_at};

use crate::answer::Problem;
use crate::exit::{Code, Failure};
use crate::settings::Settings;
pub use events::EventStream;

/// Deadline of the name lookup and of each connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Deadline of a read: the dictator gives its own up after 15 s.
const READ_DEADLINE: Duration = Duration::from_secs(20);
/// Most bytes taken of an answer; the longest is a full history.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How much of an answer that is not JSON is repeated.
const FIRST_LINE_BYTES_MAX: usize = 200;
/// Most addresses tried behind one name.
const ADDRESSES_MAX: usize = 4;
/// The port of `http` (RFC 9110 section 4.2.1).
const HTTP_PORT: u16 = 80;

/// The port of `https` (RFC 9110 section 4.2.2).
const HTTPS_PORT: u16 = 443;

/// Where a daemon is: `http://host[:port][/path]`, or `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    tls: bool,
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is expected, as a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected a URL such as http://10.0.0.2:8080";
        let uri: Uri = text.parse().map_err(|_| EXPECTED)?;
        let authority = uri.authority().ok_or(EXPECTED)?;
        let tls = uri.scheme_str() == Some("https");
        if !(tls || uri.scheme_str() == Some("http")) || uri.query().is_some() || authority.host().is_empty()
        {
            return Err(EXPECTED);
        }
        if authority.as_str().contains('@') {
            return Err("a URL must not hold a user or password; use --token-file");
        }
        let port = match &authority.as_str()[authority.host().len()..] {
            "" if tls => HTTPS_PORT,
            "" => HTTP_PORT,
            rest => rest.trim_start_matches(':').parse().ok().filter(|port| *port != 0).ok_or(EXPECTED)?,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { tls, authority: authority.to_string(), host, port, path })
    }
}

impl Endpoint {
    /// Whether it is `https`.
    pub fn is_private(&self) -> bool {
        self.tls
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    deadline: Duration,
}

impl Ask {
    /// `GET path`.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            deadline: READ_DEADLINE,
        }
    }

    /// `PUT path` with a body, answered within `deadline`.
    pub fn put(path: impl Into<String>, body: impl Into<Bytes>, deadline: Duration) -> Self {
        Self { method: Method::PUT, body: body.into(), deadline, ..Self::get(path) }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: Option<impl fmt::Display>) -> Self {
        // Values are made by this program, or have been looked at by the command that takes them.
        let value = value.and_then(|value| HeaderValue::from_bytes(value.to_string().as_bytes()).ok());
        self.headers.extend(value.map(|value| (HeaderName::from_static(name), value)));
        self
    }
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who answered.
    pub from: String,
    /// HTTP status.
    pub status: u16,
    /// The entity tag, if there is one.
    pub etag: Option<String>,
    /// The document's revision, if the answer has one.
    pub revision: Option<u64>,
    /// The body; `Null` if it is not JSON.
    pub value: Value,
    /// The body's first line, for answers that are not JSON.
    first_line: String,
}

impl Answer {
    /// The problem, if it is one.
    pub fn problem(&self) -> Option<Problem> {
        let problem: Option<Problem> = serde_json::from_value(self.value.clone()).ok();
        problem.filter(|problem| !problem.kind.is_empty())
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status) && !self.value.is_null()
    }

    /// What to say of an answer that is no problem of ours and no success either.
    fn odd(&self) -> Failure {
        let Self { from, status, first_line, .. } = self;
        let text = format!("{from} answered {status} {first_line:?}; is that a daemon of redis-dictator?");
        Failure::new(Code::Failed, text)
    }
}

/// Why there is no answer.
enum NoAnswer {
    /// Nothing was sent.
    NotConnected(String),
    /// The request was sent, or may have been.
    Lost(String),
}

/// What came of a request that was answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// 2xx with JSON.
    Good(Answer),
    /// A problem; the answer holds it as it came.
    Bad(Answer, Box<Problem>),
}

/// Asks the daemons behind a list of endpoints.
#[derive(Clone, Debug)]
pub struct Client {
    endpoints: Vec<Endpoint>,
    token: Option<Secret>,
    /// How to connect to endpoints of `https`.
    tls: Option<ClientTls>,
    /// The longest wait that the operator accepts; reads have a deadline of their own as well.
    patience: Duration,
}

impl Client {
    /// A client of the dictators.
    pub fn new(settings: &Settings) -> Self {
        let endpoints = settings.endpoints.clone();
        Self {
            endpoints,
            token: settings.token.clone(),
            tls: settings.tls.clone(),
            patience: settings.timeout,
        }
    }

    /// A client of one other daemon.
    pub fn of(endpoint: &Endpoint, settings: &Settings) -> Self {
        Self { endpoints: vec![endpoint.clone()], ..Self::new(settings) }
    }

    /// Asks the endpoints in turn until one answers that can act.
    ///
    /// # Errors
    /// When none answers, or what answers is not one of our daemons.
    pub async fn ask(&self, ask: &Ask) -> Result<Reply, Failure> {
        let (mut silent, mut last) = (Vec::new(), None);
        for endpoint in &self.endpoints {
            match self.ask_one(endpoint, ask).await {
                Ok(answer) => {
                    let (reply, elsewhere) = judge(answer)?;
                    if !elsewhere {
                        return Ok(reply);
                    }
                    last = Some(reply);
                }
                Err(NoAnswer::NotConnected(reason)) => silent.push(format!("{endpoint}: {reason}")),
                Err(NoAnswer::Lost(reason)) => return Err(lost(endpoint, ask, &reason)),
            }
        }
        last.ok_or_else(|| nobody(&silent))
    }

    async fn ask_one(&self, endpoint: &Endpoint, ask: &Ask) -> Result<Answer, NoAnswer> {
        let deadline = ask.deadline.min(self.patience);
        let ends_at = Instant::now() + deadline;
        let response = self.send(endpoint, ask).await?;
        match timeout_at(ends_at, read_answer(response, endpoint)).await {
            Ok(read) => read.map_err(NoAnswer::Lost),
            Err(_) => Err(NoAnswer::Lost(late(deadline))),
        }
    }

    /// Sends a request and waits for the head of its answer.
    async fn send(&self, endpoint: &Endpoint, ask: &Ask) -> Result<Response<Incoming>, NoAnswer> {
        let request = self.request(endpoint, ask).map_err(NoAnswer::NotConnected)?;
        let stream = connect(endpoint, self.tls.as_ref()).await.map_err(NoAnswer::NotConnected)?;
        let exchange = async {
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| innermost(&error))?;
            // Ends by itself when the sender is dropped and the answer has been read.
            tokio::spawn(connection);
            sender.send_request(request).await.map_err(|error| innermost(&error))
        };
        let deadline = ask.deadline.min(self.patience);
        match timeout(deadline, exchange).await {
            Ok(answered) => answered.map_err(NoAnswer::Lost),
            Err(_) => Err(NoAnswer::Lost(late(deadline))),
        }
    }

    fn request(&self, endpoint: &Endpoint, ask: &Ask) -> Result<Request<Full<Bytes>>, String> {
        let target = format!("{}{}", endpoint.path, ask.path);
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(if target.is_empty() { "/".to_owned() } else { target })
            .header(HOST, &endpoint.authority)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("dictatorctl/", env!("CARGO_PKG_VERSION")));
        if !ask.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| "the token cannot be sent in a header".to_owned())?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::new(ask.body.clone())).map_err(|error| error.to_string())
    }
}

/// A request whose answer did not come: harmless for a read, open for a change.
fn lost(endpoint: &Endpoint, ask: &Ask, reason: &str) -> Failure {
    if ask.method == Method::GET {
        return Failure::new(Code::Unavailable, format!("{endpoint} did not answer: {reason}"));
    }
    let text = format!(
        "{endpoint} did not answer: {reason}. What was asked may still be under way: \
         look at `dictatorctl status` and `dictatorctl history` before trying again"
    );
    Failure::new(Code::Unfinished, text)
}

async fn connect(endpoint: &Endpoint, tls: Option<&ClientTls>) -> Result<Stream, String> {
    let looked_up = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port));
    let addresses: Vec<SocketAddr> = match timeout(CONNECT_DEADLINE, looked_up).await {
        Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX).collect(),
        Ok(Err(error)) => return Err(format!("the name cannot be resolved: {error}")),
        Err(_) => return Err("the name cannot be resolved in time".to_owned()),
    };
    let mut reason = "the name has no address".to_owned();
    for address in addresses {
        let tls = tls.filter(|_| endpoint.tls).map(|tls| (tls, endpoint.host.as_str()));
        match timeout(CONNECT_DEADLINE, service::client::connect(address, tls)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(told)) => reason = told,
            Err(_) => reason = format!("no connection within {} s", CONNECT_DEADLINE.as_secs()),
        }
    }
    Err(reason)
}

async fn read_answer(response: Response<Incoming>, endpoint: &Endpoint) -> Result<Answer, String> {
    let status = response.status().as_u16();
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let (etag, revision) = (header("etag"), header("x-topology-revision"));
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
    let beginning = String::from_utf8_lossy(&body[..body.len().min(FIRST_LINE_BYTES_MAX)]);
    Ok(Answer {
        from: endpoint.to_string(),
        status,
        etag,
        revision: revision.and_then(|text| text.parse().ok()),
        value: serde_json::from_slice(&body).unwrap_or(Value::Null),
        first_line: beginning.lines().next().unwrap_or_default().to_owned(),
    })
}

/// What an answer is, and whether another endpoint should be asked instead.
fn judge(answer: Answer) -> Result<(Reply, bool), Failure> {
    if answer.is_success() {
        return Ok((Reply::Good(answer), false));
    }
    let Some(problem) = answer.problem() else { return Err(answer.odd()) };
    let elsewhere = problem.slug() == "not-leader";
    Ok((Reply::Bad(answer, Box::new(problem)), elsewhere))
}

fn nobody(silent: &[String]) -> Failure {
    let text = format!("nobody answers at {}; is the daemon running there?", silent.join(", nor at "));
    Failure::new(Code::Unavailable, text)
}

fn late(deadline: Duration) -> String {
    format!("no answer within {} ms", deadline.as_millis())
}

/// The innermost cause: "connection reset" says more than "error sending request". In TLS 1.3 the other side judges
/// our certificate when we believe to be connected, so its no may come here.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<std::io::Error>() {
        Some(error) if error.get_ref().is_some() => handshake_reason(error, "its host"),
        _ => error.source().map_or_else(|| error.to_string(), innermost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_taken_as_urls() {
        for (text, host, port, path) in [
            ("http://127.0.0.1:8080", "127.0.0.1", 8080, ""),
            ("http://dictator.example", "dictator.example", 80, ""),
            ("http://[::1]:8080/", "::1", 8080, ""),
            ("http://a:1/base/", "a", 1, "/base"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            let found = (endpoint.host.as_str(), endpoint.port, endpoint.path.as_str());
            assert_eq!(found, (host, port, path), "{text}");
        }
        for text in [
            "",
            "a",
            "a:8080",
            "ftp://a",
            "http://",
            "http://a:0",
            "http://a:70000",
            "http://a?b",
            "http://a:",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
        let private = Endpoint::parse("https://a").unwrap();
        assert_eq!((private.port, private.to_string().as_str()), (443, "https://a"));
        assert!(Endpoint::parse("http://u:p@a").unwrap_err().contains("password"));
    }
}
