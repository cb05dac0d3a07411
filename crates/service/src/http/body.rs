//! Reading what a client sends: the body by its bytes, the query strictly.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::Uri;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;

use super::HttpLimits;
use super::connection::Watch;
use crate::problem::Problem;

/// The body of a request as an extractor: `async fn put(Document(bytes): Document)`.
#[derive(Debug, Clone)]
pub struct Document(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        read_body(request).await.map(Document)
    }
}

/// Reads the whole body within the limits of the server it came through. The content type is not
/// looked at: it is no evidence, and `curl -d` sends that of a form. The bytes are parsed.
///
/// # Errors
/// 413 for too many bytes, 408 for too little haste.
pub async fn read_body(request: Request) -> Result<Bytes, Problem> {
    let limits = request.extensions().get::<Arc<HttpLimits>>().cloned().unwrap_or_default();
    let watch = request.extensions().get::<Arc<Watch>>().cloned();
    // What is announced to be too large is refused before `100 Continue` invites the client to send it.
    if request.body().size_hint().lower() > limits.body_bytes_max as u64 {
        return Err(Problem::body_too_large(limits.body_bytes_max));
    }
    let body = Limited::new(request.into_body(), limits.body_bytes_max);
    match tokio::time::timeout(limits.body_read_timeout, body.collect()).await {
        Ok(Ok(body)) => {
            if let Some(watch) = watch {
                watch.body_read();
            }
            Ok(body.to_bytes())
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::body_too_large(limits.body_bytes_max))
        }
        Ok(Err(error)) => Err(Problem::bad_request(format!("the body broke off: {error}"))),
        Err(_) => Err(Problem::request_timeout(format!(
            "the body did not arrive within {} ms",
            limits.body_read_timeout.as_millis()
        ))),
    }
}

/// The query's parameters; every name must be in `known`, and none may come twice.
///
/// # Errors
/// 400 `unknown-parameter`.
pub fn query(uri: &Uri, known: &[&str]) -> Result<BTreeMap<String, String>, Problem> {
    let axum::extract::Query(pairs) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| Problem::unknown_parameter(format!("the query cannot be read: {error}")))?;
    let mut parameters = BTreeMap::new();
    for (name, value) in pairs {
        if !known.contains(&name.as_str()) {
            let expected = if known.is_empty() {
                "none is known here".to_owned()
            } else {
                format!("known: {}", known.join(", "))
            };
            return Err(Problem::unknown_parameter(format!(
                "query parameter {name:?} is unknown; {expected}"
            )));
        }
        if parameters.insert(name.clone(), value).is_some() {
            return Err(Problem::unknown_parameter(format!("query parameter {name:?} is given twice")));
        }
    }
    Ok(parameters)
}
