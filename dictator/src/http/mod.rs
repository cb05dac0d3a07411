//! The HTTP face: requests to asks, answers to JSON.
//!
//! Nothing is decided here. A request is judged as far as it can be without knowing the cluster (query,
//! headers, the document's form), put to the owner task, and its answer written down. The client may
//! hang up at any time: that ends the waiting here and nothing else.
//!
//! `/clusters/<name>/master` is the same as `/master` for the one cluster this dictator has; a client
//! that addresses several dictators can so be sure that it speaks to the right one.

mod conditions;
mod enforcement;
mod events;
mod problems;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use serde_json::{Value, json};
use service::auth::{Asker, Role};
use service::http::{Document as Body, RequestId, json, json_or_ok, prefers_text, query};
use service::problem::Problem;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use topology::Document;
use topology::plan::Plan;
use topology::receipt::Receipt;

use crate::apply::{Answered, ApplyRequest, Ask, Events, Handle, InForce, Standing, Wait};
use crate::config::Config;
use crate::targets::Targets;
use conditions::{if_match, reason, revision};
use enforcement::{get_enforcement, put_enforcement};
use events::get_events;
use problems::{
    busy, check_targets, document_problem, not_leader, nothing_in_force, other_cluster, rejection_problem,
};

/// The header that carries a document's revision.
const REVISION: HeaderName = HeaderName::from_static("x-topology-revision");
/// The header that says why a document is sent.
const REASON: HeaderName = HeaderName::from_static("x-reason");
/// Beyond twice the time of a change (the one under way and the one that waits for it), how long an
/// answer is waited for: the links of both are waited for as well.
const REPLY_MARGIN: Duration = Duration::from_secs(60);
/// How long a read may take: it asks nodes that may be silent.
const READ_DEADLINE: Duration = Duration::from_secs(15);

/// What every handler needs.
#[derive(Clone, Debug)]
pub struct Face {
    owner: Handle,
    cluster: Arc<str>,
    nodes_max: usize,
    targets: Arc<Targets>,
    reply_deadline: Duration,
    source: events::Source,
}

impl Face {
    /// A face for the owner behind `owner`, which tells what happens by `events`. Whoever listens is let go
    /// when `ended` is cancelled.
    pub fn new(owner: Handle, config: &Config, events: Events, ended: CancellationToken) -> Self {
        Self {
            owner,
            cluster: config.cluster.as_str().into(),
            nodes_max: config.nodes_max,
            targets: Arc::new(config.targets.clone()),
            reply_deadline: config.apply_timeout * 2 + REPLY_MARGIN,
            source: events::Source::new(events, ended),
        }
    }

    fn check_cluster(&self, cluster: Option<Path<String>>) -> Result<(), Problem> {
        match cluster {
            Some(Path(name)) if *name != *self.cluster => Err(other_cluster(&name, &self.cluster)),
            _ => Ok(()),
        }
    }

    /// Puts something to the owner and waits for its reply.
    async fn ask<T>(
        &self,
        deadline: Duration,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        self.owner.ask(ask(reply)).map_err(|_| self.unable("too many requests wait"))?;
        match timeout(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.unable("the dictator is stopping, or has too much to do")),
            Err(_) => Err(busy("no answer in time; what was asked may still be under way, see GET /status")),
        }
    }

    /// Why nobody here answers.
    fn unable(&self, detail: &str) -> Problem {
        match self.owner.standing() {
            Standing::Holding(_) => busy(detail),
            Standing::Following(leader) => not_leader(Some(&leader)),
            Standing::Contending => not_leader(None),
        }
    }
}

/// All routes but those of every daemon.
pub fn routes(face: Face) -> Router {
    Router::new()
        .route("/master", get(get_master).put(put_master))
        .route("/clusters/{cluster}/master", get(get_master).put(put_master))
        .route("/status", get(get_status))
        .route("/history", get(get_history))
        .route("/enforcement", get(get_enforcement).put(put_enforcement))
        .route("/events", get(get_events))
        .with_state(face)
}

async fn put_master(
    State(face): State<Face>,
    cluster: Option<Path<String>>,
    uri: Uri,
    headers: HeaderMap,
    (Extension(request_id), Extension(asker)): (Extension<RequestId>, Extension<Asker>),
    Body(bytes): Body,
) -> Result<Response, Problem> {
    face.check_cluster(cluster)?;
    let parameters = query(&uri, &["wait", "dry_run"])?;
    let (wait, dry_run) = (wait(&parameters)?, dry_run(&parameters)?);
    let (revision, if_match) = (revision(&headers)?, if_match(&headers)?);
    let reason = reason(&headers)?;
    let parsed = Document::parse(&bytes, face.nodes_max).map_err(|error| document_problem(&error))?;
    check_targets(&parsed.document, &face.targets)?;
    if !parsed.document.discard.is_empty() && !dry_run {
        asker.require(Role::Admin, "permit losing data (`discard`)")?;
    }
    let answer = face
        .ask(face.reply_deadline, |reply| {
            Ask::Apply(Box::new(ApplyRequest {
                parsed,
                revision,
                if_match,
                wait,
                dry_run,
                request_id: request_id.as_str().to_owned(),
                reason,
                asked_by: asker.name().map(str::to_owned),
                reply,
            }))
        })
        .await?;
    match answer.map_err(|rejection| rejection_problem(&rejection))? {
        Answered::Plan(plan) => Ok(planned(&headers, &plan)),
        Answered::Receipt(receipt, _) if dry_run => Ok(nothing_planned(&headers, &receipt)),
        Answered::Receipt(mut receipt, sequence) => {
            // One change may answer several requests; each is told its own id.
            request_id.as_str().clone_into(&mut receipt.request_id);
            let response = json_or_ok(&headers, StatusCode::OK, &*receipt);
            Ok(versioned(response, sequence, receipt.revision))
        }
    }
}

async fn get_master(
    State(face): State<Face>,
    cluster: Option<Path<String>>,
    uri: Uri,
) -> Result<Response, Problem> {
    face.check_cluster(cluster)?;
    query(&uri, &[])?;
    let in_force = face.ask(READ_DEADLINE, Ask::Master).await?;
    let InForce { wanted, sequence } = in_force.ok_or_else(nothing_in_force)?;
    Ok(versioned(json(StatusCode::OK, &wanted.document.to_json()), sequence, wanted.revision))
}

async fn get_status(State(face): State<Face>, uri: Uri) -> Result<Response, Problem> {
    query(&uri, &[])?;
    let status = face.ask(READ_DEADLINE, Ask::Status).await?;
    Ok(json(StatusCode::OK, &status))
}

async fn get_history(State(face): State<Face>, uri: Uri) -> Result<Response, Problem> {
    query(&uri, &[])?;
    let history = face.ask(READ_DEADLINE, Ask::History).await?;
    Ok(json(StatusCode::OK, &history))
}

fn wait(parameters: &BTreeMap<String, String>) -> Result<Wait, Problem> {
    match parameters.get("wait").map(String::as_str) {
        None | Some("promoted") => Ok(Wait::Promoted),
        Some("links") => Ok(Wait::Links),
        Some(other) => Err(Problem::unknown_parameter(format!("wait={other:?}; known: promoted, links"))),
    }
}

fn dry_run(parameters: &BTreeMap<String, String>) -> Result<bool, Problem> {
    match parameters.get("dry_run").map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Problem::unknown_parameter(format!("dry_run={other:?}; known: true, false"))),
    }
}

fn planned(headers: &HeaderMap, plan: &Plan) -> Response {
    if prefers_text(headers) {
        let mut text = format!("would be {}\n", plan.would.as_str());
        for step in &plan.steps {
            let node = step.node().map(|node| format!(" {node}")).unwrap_or_default();
            text.push_str(&format!("{}{node}: {}\n", step.name(), step.why()));
        }
        return text.into_response();
    }
    let pending: Vec<Value> = plan
        .pending
        .iter()
        .map(|pending| {
            json!({ "address": pending.node.address, "port": pending.node.port, "reason": pending.reason })
        })
        .collect();
    let steps: Vec<Value> = plan.steps.iter().map(topology::plan::Step::to_json).collect();
    let body = json!({
        "plan": steps, "warnings": plan.warnings, "would": plan.would.as_str(), "pending": pending,
    });
    json(StatusCode::OK, &body)
}

fn nothing_planned(headers: &HeaderMap, receipt: &Receipt) -> Response {
    if prefers_text(headers) {
        return format!("would be {}\n", receipt.outcome).into_response();
    }
    let body = json!({
        "plan": [], "warnings": receipt.warnings, "would": receipt.outcome, "pending": receipt.pending,
    });
    json(StatusCode::OK, &body)
}

/// Adds the entity tag, and the revision if the document has one.
fn versioned(mut response: Response, sequence: u64, revision: Option<u64>) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ETAG, entity_tag(sequence));
    if let Some(revision) = revision {
        headers.insert(REVISION, HeaderValue::from(revision));
    }
    response
}

/// The record's sequence as a strong entity tag (RFC 9110 section 8.8.3).
fn entity_tag(sequence: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{sequence}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

#[cfg(test)]
mod tests;
