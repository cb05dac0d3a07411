//! The HTTP face: `PUT /dns` puts a document in force, `GET /dns` shows what is published.
//!
//! Both also stand at `/clusters/{cluster}/dns`, where a daemon of several clusters will have them. The
//! handlers know HTTP and nothing else: what may be published is decided by the publisher, what it looks
//! like as JSON by `view`, and as lines of text by `roles`.

pub mod roles;
pub mod seeds;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use service::http::{RequestId, json, prefers_text, query};
use service::problem::Problem;
use tokio::sync::{mpsc, oneshot};
use topology::Document;

use crate::admission::{IfMatch, entity_tag};
use crate::directory::Slot;
use crate::problems;
use crate::publication::Publication;
use crate::publisher::{Published, Put};
use crate::view;

/// Most nodes of a document. The dictator before us has a lower limit; this one keeps answers below what
/// DNS can carry.
pub const NODES_MAX: usize = 256;

const REVISION: HeaderName = HeaderName::from_static("x-topology-revision");
const GENERATION: HeaderName = HeaderName::from_static("x-topology-generation");

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Face {
    /// The zone.
    pub slot: Arc<Slot>,
    /// The publisher's inbox.
    pub inbox: mpsc::Sender<Put>,
}

/// The routes of dnsd's own.
pub fn routes(face: Face) -> Router {
    let own = get(show).put(publish);
    let of_cluster = get(show_of_cluster).put(publish_of_cluster);
    Router::new().route("/dns", own).route("/clusters/{cluster}/dns", of_cluster).with_state(face)
}

async fn publish_of_cluster(
    State(face): State<Face>,
    Path(cluster): Path<String>,
    uri: Uri,
    id: Extension<RequestId>,
    headers: HeaderMap,
    body: service::http::Document,
) -> Result<Response, Problem> {
    check_cluster(&face, &cluster, &uri)?;
    publish(State(face), uri, id, headers, body).await
}

async fn publish(
    State(face): State<Face>,
    uri: Uri,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    service::http::Document(body): service::http::Document,
) -> Result<Response, Problem> {
    query(&uri, &[])?;
    let (published, mut warnings) = put(&face, &headers, &body, &id).await?;
    warnings.extend(published.warnings.iter().cloned());
    let publication = &published.publication;
    let mut response = if prefers_text(&headers) {
        "OK\n".into_response()
    } else {
        json(StatusCode::OK, &view::receipt(&published, &warnings, id.as_str()))
    };
    stamp(&mut response, publication);
    Ok(response)
}

async fn put(
    face: &Face,
    headers: &HeaderMap,
    body: &Bytes,
    id: &RequestId,
) -> Result<(Published, Vec<String>), Problem> {
    let revision = number(headers, &REVISION)?;
    let generation = number(headers, &GENERATION)?;
    let if_match = text(headers, &header::IF_MATCH)?
        .map(|value| IfMatch::parse(&value))
        .transpose()
        .map_err(|error| Problem::unknown_parameter(error.to_string()))?;
    let parsed = Document::parse(body, NODES_MAX).map_err(|error| problems::of_document(&error))?;
    let (reply, outcome) = oneshot::channel();
    let request_id = Arc::clone(&id.0);
    let put = Put { document: parsed.document, revision, generation, if_match, request_id, reply };
    face.inbox.try_send(put).map_err(|_| problems::busy())?;
    match outcome.await {
        Ok(Ok(published)) => Ok((published, parsed.warnings)),
        Ok(Err(error)) => Err(problems::of_put(&error)),
        Err(_) => Err(problems::stopping()),
    }
}

async fn show_of_cluster(
    State(face): State<Face>,
    Path(cluster): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_cluster(&face, &cluster, &uri)?;
    show(State(face), uri, headers).await
}

async fn show(State(face): State<Face>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    query(&uri, &[])?;
    let publication = face.slot.publication();
    let Some(publication) = publication.as_ref() else { return Err(problems::not_published()) };
    let mut response = if prefers_text(&headers) {
        view::zone_file(publication).into_response()
    } else {
        json(StatusCode::OK, &view::publication(publication))
    };
    stamp(&mut response, publication);
    Ok(response)
}

fn check_cluster(face: &Face, cluster: &str, uri: &Uri) -> Result<(), Problem> {
    let own = &face.slot.settings.cluster;
    if cluster == own {
        return Ok(());
    }
    Err(Problem::not_found(uri.path()).with_do(format!("this dnsd publishes the cluster {own} (--cluster)")))
}

/// What is in force, on every answer that speaks of it.
fn stamp(response: &mut Response, publication: &Publication) {
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&entity_tag(publication.serial)) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(REVISION, HeaderValue::from(publication.stamp.revision));
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Problem> {
    let Some(text) = text(headers, name)? else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| Problem::unknown_parameter(format!("{name} must be a number, found {text:?}")))
}

/// A header that may stand once; those of tags may repeat, their values are one list.
fn text(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let mut values = Vec::new();
    for value in headers.get_all(name) {
        let text = value
            .to_str()
            .map_err(|_| Problem::unknown_parameter(format!("{name} has characters that no value has")))?;
        values.push(text.trim());
    }
    let is_list = [header::IF_MATCH, header::IF_NONE_MATCH].contains(name);
    if values.len() > 1 && !is_list {
        return Err(Problem::unknown_parameter(format!("{name} is given {} times", values.len())));
    }
    Ok((!values.is_empty()).then(|| values.join(", ")))
}
