//! What every request and answer goes through: id and span, host, who asks, panics, the form of errors.

use std::any::Any;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tower::Layer;
use tracing::Instrument;
use tracing::field::Empty;

use super::connection::Watch;
use super::{HttpLimits, RequestId, hosts, prefers_text};
use crate::auth::Asker;
use crate::problem::{Carried, Intended, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ids are replaced by our own: they go into every log line of the request.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// How much of a path is repeated in an error.
const PATH_CHARS_MAX: usize = 200;

/// The router inside the chassis. It becomes the only route, the fallback, of an outer router.
pub(super) fn around(router: Router, limits: Arc<HttpLimits>) -> Router {
    Router::new().fallback_service(from_fn_with_state(limits, pass).layer(router))
}

/// What has to be remembered of a request to write its answer.
struct Asked {
    method: Method,
    uri: Uri,
    as_text: bool,
    id: RequestId,
}

async fn pass(State(limits): State<Arc<HttpLimits>>, mut request: Request, next: Next) -> Response {
    let asked = Asked {
        method: request.method().clone(),
        uri: request.uri().clone(),
        as_text: prefers_text(request.headers()),
        id: request_id(request.headers()),
    };
    let span = tracing::info_span!("request", request_id = asked.id.as_str(), method = %asked.method, path = asked.uri.path(), asked_by = Empty);
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let judged = judge(&request, &limits);
    request.extensions_mut().insert(asked.id.clone());
    request.extensions_mut().insert(limits);
    let judged = judged.inspect(|asker| {
        span.record("asked_by", asker.name());
        request.extensions_mut().insert(asker.clone());
    });
    let response = match judged {
        Ok(_) => match AssertUnwindSafe(next.run(request).instrument(span.clone())).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => {
                span.in_scope(|| tracing::error!(panic = panic_text(panic.as_ref()), "a handler panicked"));
                Problem::internal("the request met a fault of the program").into_response()
            }
        },
        Err(problem) => problem.into_response(),
    };
    let mut response = finish(response, &asked);
    if chunked {
        // RFC 9112 section 6.1: the end of a chunked request is where proxies and servers disagree. Ending
        // the connection leaves nothing behind it that could be taken for a second request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    response
}

fn judge(request: &Request, limits: &HttpLimits) -> Result<Asker, Problem> {
    let watch = request.extensions().get::<Arc<Watch>>();
    if request.headers().contains_key(header::TRANSFER_ENCODING)
        && watch.is_some_and(|watch| watch.has_two_lengths())
    {
        return Err(Problem::bad_request("the request has both Transfer-Encoding and Content-Length"));
    }
    hosts::check(request, &limits.allow_hosts)?;
    limits.access.judge(request)
}

/// Gives the answer its final form.
fn finish(response: Response, asked: &Asked) -> Response {
    let mut response = if let Some(Carried(problem)) = response.extensions().get::<Carried>().cloned() {
        rewrite(response, problem, asked)
    } else if asked.method == Method::OPTIONS && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        options(&response)
    } else if is_unformed_error(&response) {
        let problem = problem_of(&response, asked);
        rewrite(response, problem, asked)
    } else {
        response
    };
    if let Ok(id) = HeaderValue::from_str(asked.id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The body anew, with the request id and in the form asked for; headers set by the handler stay.
fn rewrite(response: Response, mut problem: Problem, asked: &Asked) -> Response {
    problem.request_id = Some(asked.id.as_str().to_owned());
    let rendered = problem.render(asked.as_text);
    let (mut parts, _) = response.into_parts();
    let (new_parts, body) = rendered.into_parts();
    parts.status = new_parts.status;
    parts.headers.remove(header::CONTENT_LENGTH);
    for (name, value) in &new_parts.headers {
        parts.headers.insert(name, value.clone());
    }
    Response::from_parts(parts, body)
}

/// An error made by axum or by a handler without a problem, and not meant to be so.
fn is_unformed_error(response: &Response) -> bool {
    let error = response.status().is_client_error() || response.status().is_server_error();
    error && response.extensions().get::<Intended>().is_none()
}

fn problem_of(response: &Response, asked: &Asked) -> Problem {
    let path: String = asked.uri.path().chars().take(PATH_CHARS_MAX).collect();
    match response.status() {
        StatusCode::NOT_FOUND => Problem::not_found(&path),
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::method_not_allowed(asked.method.as_str(), &path, &allow(response))
        }
        status if status.is_client_error() => {
            let detail = format!("{path} cannot be asked in this way");
            Problem::new("bad-request", "Bad Request", status.as_u16(), detail)
                .with_do("correct the request; nothing was changed")
        }
        _ => Problem::internal("the request met a fault of the program"),
    }
}

/// RFC 9110 section 9.3.7: what can be done with this path.
fn options(response: &Response) -> Response {
    let mut answer = StatusCode::NO_CONTENT.into_response();
    if let Ok(value) = HeaderValue::from_str(&allow(response)) {
        answer.headers_mut().insert(header::ALLOW, value);
    }
    answer
}

/// axum's `Allow`, as people write it, and with OPTIONS, which the chassis answers.
fn allow(response: &Response) -> String {
    let allowed = response.headers().get(header::ALLOW).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut methods: Vec<_> = allowed.split(',').map(str::trim).filter(|method| !method.is_empty()).collect();
    methods.push("OPTIONS");
    methods.join(", ")
}

fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers.get(REQUEST_ID).map(HeaderValue::as_bytes).unwrap_or_default();
    let sane =
        !given.is_empty() && given.len() <= REQUEST_ID_BYTES_MAX && given.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(given) {
        Ok(text) if sane => RequestId(Arc::from(text)),
        // A fresh RandomState is seeded anew, which is all the chance an id needs.
        _ => RequestId(Arc::from(format!("{:016x}", RandomState::new().build_hasher().finish()))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)")
}

#[cfg(test)]
mod tests;
