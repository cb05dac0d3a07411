//! The HTTP face: `PUT /dns` puts a document in force, `GET /dns` shows what is published.
//!
//! Both also stand at `/clusters/{cluster}/dns`, and a daemon of many clusters has them only there: a
//! request that names none would mean any of them. The handlers know HTTP and nothing else: what may be published is decided by the publisher, what it looks
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
use crate::clusters::{Order, Removal, What, check_name};
use crate::directory::{Directory, Slot};
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
#[derive(Clone)]
pub struct Face {
    /// The zones.
    pub directory: Arc<Directory>,
    /// Where documents go.
    pub inbox: Inbox,
}

/// Who decides what is published.
#[derive(Clone, Debug)]
pub enum Inbox {
    /// The publisher of the only zone.
    One(mpsc::Sender<Put>),
    /// The owner of the publishers of many.
    Many(mpsc::Sender<Order>),
}

/// The cluster in the path, if there is one.
pub(crate) type Cluster = Option<Path<String>>;

/// The routes of dnsd's own.
pub fn routes(face: Face) -> Router {
    let of_cluster = match face.inbox {
        Inbox::One(_) => get(show).put(publish),
        Inbox::Many(_) => get(show).put(publish).delete(remove),
    };
    Router::new()
        .route("/dns", get(show).put(publish))
        .route("/clusters", get(list))
        .route("/clusters/{cluster}/dns", of_cluster)
        .with_state(face)
}

/// The zone that a request means.
pub(crate) fn zone(directory: &Directory, cluster: &Cluster, uri: &Uri) -> Result<Arc<Slot>, Problem> {
    let path = uri.path();
    match cluster {
        None if directory.is_of_many() => Err(problems::which_cluster(path)),
        None => directory.only().ok_or_else(|| problems::which_cluster(path)),
        Some(Path(cluster)) => directory.of_cluster(cluster).ok_or_else(|| match directory.only() {
            Some(own) if !directory.is_of_many() => problems::other_cluster(path, &own.settings.cluster),
            _ => problems::unknown_cluster(path),
        }),
    }
}

async fn list(State(face): State<Face>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    query(&uri, &[])?;
    let slots = face.directory.slots();
    if prefers_text(&headers) {
        let lines = slots.iter().map(|slot| format!("{}\n", slot.settings.cluster));
        return Ok(lines.collect::<String>().into_response());
    }
    Ok(json(StatusCode::OK, &view::clusters(&slots)))
}

async fn publish(
    State(face): State<Face>,
    cluster: Cluster,
    uri: Uri,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    service::http::Document(body): service::http::Document,
) -> Result<Response, Problem> {
    query(&uri, &[])?;
    let inbox = inbox(&face, &cluster, &uri)?;
    let (published, mut warnings) = put(&inbox, &headers, &body, &id).await?;
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

/// Where the documents of one cluster go.
enum Door<'a> {
    One(&'a mpsc::Sender<Put>),
    Many(&'a mpsc::Sender<Order>, String),
}

fn inbox<'a>(face: &'a Face, cluster: &Cluster, uri: &Uri) -> Result<Door<'a>, Problem> {
    match (&face.inbox, cluster) {
        (Inbox::One(inbox), _) => zone(&face.directory, cluster, uri).map(|_| Door::One(inbox)),
        (Inbox::Many(_), None) => Err(problems::which_cluster(uri.path())),
        (Inbox::Many(inbox), Some(Path(cluster))) => {
            check_name(cluster).map_err(|reason| problems::invalid_cluster(cluster, &reason))?;
            Ok(Door::Many(inbox, cluster.clone()))
        }
    }
}

async fn put(
    door: &Door<'_>,
    headers: &HeaderMap,
    body: &Bytes,
    id: &RequestId,
) -> Result<(Published, Vec<String>), Problem> {
    let revision = number(headers, &REVISION)?;
    let generation = number(headers, &GENERATION)?;
    let if_match = if_match(headers)?;
    let parsed = Document::parse(body, NODES_MAX).map_err(|error| problems::of_document(&error))?;
    let (reply, outcome) = oneshot::channel();
    let request_id = Arc::clone(&id.0);
    let put = Put { document: parsed.document, revision, generation, if_match, request_id, reply };
    match door {
        Door::One(inbox) => inbox.try_send(put).map_err(|_| problems::busy())?,
        Door::Many(inbox, cluster) => {
            let order = Order { cluster: cluster.clone(), what: What::Put(put) };
            inbox.try_send(order).map_err(|_| problems::busy())?;
        }
    }
    match outcome.await {
        Ok(Ok(published)) => Ok((published, parsed.warnings)),
        Ok(Err(error)) => Err(problems::of_put(&error)),
        Err(_) => Err(problems::stopping()),
    }
}

fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>, Problem> {
    text(headers, &header::IF_MATCH)?
        .map(|value| IfMatch::parse(&value))
        .transpose()
        .map_err(|error| Problem::unknown_parameter(error.to_string()))
}

async fn remove(
    State(face): State<Face>,
    cluster: Cluster,
    uri: Uri,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query(&uri, &[])?;
    let if_match = if_match(&headers)?;
    let Door::Many(inbox, cluster) = inbox(&face, &cluster, &uri)? else {
        return Err(Problem::not_found(uri.path()));
    };
    let (reply, outcome) = oneshot::channel();
    let what = What::Remove(Removal { if_match, reply });
    inbox.try_send(Order { cluster: cluster.clone(), what }).map_err(|_| problems::busy())?;
    match outcome.await {
        Ok(Ok(())) if prefers_text(&headers) => Ok("OK\n".into_response()),
        Ok(Ok(())) => Ok(json(StatusCode::OK, &view::removed(&cluster, id.as_str()))),
        Ok(Err(error)) => Err(problems::of_removal(&error, uri.path())),
        Err(_) => Err(problems::stopping()),
    }
}

async fn show(
    State(face): State<Face>,
    cluster: Cluster,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query(&uri, &[])?;
    let slot = zone(&face.directory, &cluster, &uri)?;
    let publication = slot.publication();
    let Some(publication) = publication.as_ref() else { return Err(problems::not_published()) };
    let mut response = if prefers_text(&headers) {
        view::zone_file(publication).into_response()
    } else {
        json(StatusCode::OK, &view::publication(publication))
    };
    stamp(&mut response, publication);
    Ok(response)
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
