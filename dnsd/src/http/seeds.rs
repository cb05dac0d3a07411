//! `GET /seeds`, under every path by which a Dynomite node may ask for it.
//!
//! Its client is forty lines of C: it looks for `200 OK` in the status line, reads until the connection
//! ends, and takes the rest for the list. So the connection is closed after the answer, and what is no list
//! is never answered with 200.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use service::http::query;
use service::problem::Problem;

use crate::problems;
use crate::seeds::Seeds;

/// Our own path, and the one that Dynomite's example configurations have.
const PATHS: [&str; 2] = ["/seeds", "/REST/v1/admin/get_seeds"];

/// The routes; `/` is one of them only if wanted.
pub fn routes(seeds: Arc<Seeds>, at_root: bool) -> Router {
    let root = at_root.then_some("/");
    let paths = PATHS.into_iter().chain(root);
    paths.fold(Router::new(), |router, path| router.route(path, get(show))).with_state(seeds)
}

async fn show(State(seeds): State<Arc<Seeds>>, uri: Uri) -> Result<Response, Problem> {
    query(&uri, &[])?;
    let text = seeds.text().map_err(|reason| problems::no_seeds(&reason))?;
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}
