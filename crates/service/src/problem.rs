//! Every error answer, as RFC 9457 `application/problem+json`.
//!
//! Domain errors know no HTTP: each daemon has one function that turns its errors into a [`Problem`], and
//! a handler simply returns it. The request id, and `Accept: text/plain` (the detail as one line), are
//! added by the chassis in [`crate::http`], because a handler should not have to carry them. Nothing here
//! logs: whoever handles an error decides whether it is worth a line.

use std::ops::{Deref, DerefMut};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::auth::Role;

/// What stands before the slug in `type`.
pub const TYPE_PREFIX: &str = "urn:redis-dictator:";

/// The content type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// One place in the request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PointerError {
    /// JSON pointer (RFC 6901) into the body, `""` for the whole.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// An error answer. Build it with [`Problem::new`] and the `with_…` methods; its [`Members`] can be read and
/// set as fields. It is one pointer wide, so that a `Result` with it costs nothing on the good path.
#[derive(Debug, Clone)]
pub struct Problem(Box<Members>);

/// The members of a problem.
#[derive(Debug, Clone)]
pub struct Members {
    /// The machine's word for it: `would-lose-data`. Serialised as `type` behind [`TYPE_PREFIX`].
    pub slug: &'static str,
    /// The same for every problem of this slug.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// What happened this time: one sentence for an operator.
    pub detail: String,
    /// The node it is about, as the document writes it.
    pub node: Option<String>,
    /// The step of a change at which it happened.
    pub step: Option<String>,
    /// What was seen, so that nobody has to take the refusal on trust.
    pub evidence: Map<String, Value>,
    /// What to do next. Serialised as `do`.
    pub do_next: Option<String>,
    /// Filled in by the chassis.
    pub request_id: Option<String>,
    /// Places in the body, where there are such.
    pub errors: Vec<PointerError>,
    /// Seconds for `Retry-After`.
    pub retry_after_s: Option<u32>,
    /// Further headers, such as `Allow` or `ETag`.
    pub headers: HeaderMap,
}

impl Deref for Problem {
    type Target = Members;

    fn deref(&self) -> &Members {
        &self.0
    }
}

impl DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut Members {
        &mut self.0
    }
}

impl Problem {
    /// A problem with only the obligatory members.
    pub fn new(slug: &'static str, title: &'static str, status: u16, detail: impl Into<String>) -> Self {
        Problem(Box::new(Members {
            slug,
            title,
            status,
            detail: detail.into(),
            node: None,
            step: None,
            evidence: Map::new(),
            do_next: None,
            request_id: None,
            errors: Vec::new(),
            retry_after_s: None,
            headers: HeaderMap::new(),
        }))
    }

    /// Names the node.
    #[must_use]
    pub fn with_node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Names the step.
    #[must_use]
    pub fn with_step(mut self, step: impl Into<String>) -> Self {
        self.step = Some(step.into());
        self
    }

    /// Adds one piece of evidence.
    #[must_use]
    pub fn with_evidence(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.evidence.insert(name.into(), value.into());
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_do(mut self, do_next: impl Into<String>) -> Self {
        self.do_next = Some(do_next.into());
        self
    }

    /// Adds a place in the body.
    #[must_use]
    pub fn with_error(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(PointerError { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// Asks the client to come again after so many seconds.
    #[must_use]
    pub fn with_retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Adds a response header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The response, as JSON or (`text/plain`) as the detail on one line.
    pub fn render(&self, as_text: bool) -> Response {
        let (content_type, body) = if as_text {
            ("text/plain; charset=utf-8", one_line(&self.detail))
        } else {
            let mut body = serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned());
            body.push('\n');
            (CONTENT_TYPE, body)
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.extend(self.headers.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Line breaks and other control characters become blanks, so that one problem is one line.
fn one_line(detail: &str) -> String {
    let mut line: String = detail.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.push('\n');
    line
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format!("{TYPE_PREFIX}{}", self.slug))?;
        map.serialize_entry("title", self.title)?;
        map.serialize_entry("status", &self.status)?;
        map.serialize_entry("detail", &self.detail)?;
        map.serialize_entry("node", &self.node)?;
        map.serialize_entry("step", &self.step)?;
        map.serialize_entry("evidence", &self.evidence)?;
        map.serialize_entry("do", &self.do_next)?;
        map.serialize_entry("request_id", &self.request_id)?;
        map.serialize_entry("errors", &self.errors)?;
        map.end()
    }
}

/// Marks a response that is a problem, so that the chassis can write it anew with the request id.
#[derive(Clone)]
pub(crate) struct Carried(pub(crate) Problem);

/// Marks a response with an error status that is complete as it is, such as `/readyz`.
#[derive(Clone)]
pub(crate) struct Intended;

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.render(false);
        response.extensions_mut().insert(Carried(self));
        response
    }
}

/// The problems every daemon has.
impl Problem {
    /// 404: nothing is served under this path.
    pub fn not_found(path: &str) -> Self {
        Problem::new("not-found", "Object Not Found", 404, format!("nothing is served at {path}"))
            .with_do("see the daemon's page in docs/ for the paths it serves; they are case-sensitive")
    }

    /// 405: the path exists, the method does not. `allow` is the value of `Allow`.
    pub fn method_not_allowed(method: &str, path: &str, allow: &str) -> Self {
        let problem = Problem::new(
            "method-not-allowed",
            "Method Not Allowed",
            405,
            format!("{path} does not answer {method}; it answers {allow}"),
        )
        .with_do("use one of the methods in the Allow header");
        match HeaderValue::from_str(allow) {
            Ok(value) => problem.with_header(header::ALLOW, value),
            Err(_) => problem,
        }
    }

    /// 408: the request did not arrive in time.
    pub fn request_timeout(detail: impl Into<String>) -> Self {
        Problem::new("request-timeout", "Request Timeout", 408, detail)
            .with_do("send the request again, in one go")
            .closing()
    }

    /// 413: the body is larger than the limit.
    pub fn body_too_large(limit_bytes: usize) -> Self {
        Problem::new(
            "body-too-large",
            "Content Too Large",
            413,
            format!("the body is larger than {limit_bytes} bytes"),
        )
        .with_do("send the document alone, with nothing around it")
        .closing()
    }

    /// 421: the request names a host that is not ours.
    pub fn misdirected(host: &str) -> Self {
        Problem::new(
            "misdirected-request",
            "Misdirected Request",
            421,
            format!("this server does not answer for the host {host:?}"),
        )
        .with_do("use the IP address or localhost, or start the daemon with --allow-host and that name")
    }

    /// 431: the request's header is too large.
    pub fn headers_too_large(detail: impl Into<String>) -> Self {
        Problem::new("headers-too-large", "Request Header Fields Too Large", 431, detail)
            .with_do("send fewer and shorter headers")
            .closing()
    }

    /// 400: a query parameter that does not exist, or has a value it cannot have.
    pub fn unknown_parameter(detail: impl Into<String>) -> Self {
        Problem::new("unknown-parameter", "Unknown Parameter", 400, detail)
            .with_do("correct the query of the URL; nothing was changed")
    }

    /// 400: the request breaks HTTP's own rules.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Problem::new("bad-request", "Bad Request", 400, detail)
            .with_do("correct the request; nothing was changed")
            .closing()
    }

    /// 401: nobody we know is asking. `shown` says that something was shown which is not good.
    pub fn unauthorized(detail: &str, shown: bool) -> Self {
        // RFC 6750 section 3: the error is named only if a token was shown.
        let challenge = if shown {
            HeaderValue::from_static(r#"Bearer realm="redis-dictator", error="invalid_token""#)
        } else {
            HeaderValue::from_static(r#"Bearer realm="redis-dictator""#)
        };
        Problem::new("unauthorized", "Unauthorized", 401, detail)
            .with_do("send `Authorization: Bearer <token>` with a token whose line is in the daemon's --tokens-file; `dictatorctl token new` makes one")
            .with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// 403: somebody we know asks for more than their role permits; `what` is what that would be.
    pub fn role_too_low(name: &str, role: Role, needed: Role, what: &str) -> Self {
        let detail = format!("{name} is {role} here; to {what} takes the role {needed}");
        Problem::new("forbidden", "Forbidden", 403, detail)
            .with_evidence("caller", name)
            .with_evidence("role", role.to_string())
            .with_evidence("needed", needed.to_string())
            .with_do("ask with another token, or have the role in the daemon's --tokens-file changed; nothing was changed")
    }

    /// 403: a web page of another origin is asking.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Problem::new("forbidden", "Forbidden", 403, detail)
            .with_do("ask from a program and not from a page in a browser")
    }

    /// 500: a fault of ours. The detail goes to the client, the cause to the log.
    pub fn internal(detail: impl Into<String>) -> Self {
        Problem::new("internal", "Internal Server Error", 500, detail)
            .with_do("look for this request_id in the daemon's log")
    }

    /// The connection ends after this answer: what the client still sends will not be read.
    fn closing(self) -> Self {
        self.with_header(header::CONNECTION, HeaderValue::from_static("close"))
    }
}
