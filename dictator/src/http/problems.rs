//! From what the cluster says to what HTTP says: one status and one title per slug.
//!
//! The table is a `match` without a catch-all: a new reason does not compile until somebody has decided
//! its status. 409 is for a cluster in a state that somebody has to resolve, 422 for a document that
//! can never be right, 502 for a node that is not as it must be, 503 for the dictator itself, 504 for
//! time that ran out.

use axum::http::header;
use serde_json::{Value, json};
use service::problem::Problem;
use topology::document::{Document, DocumentError, DocumentErrorKind};
use topology::receipt::Receipt;
use topology::refusal::{Refusal, Slug};

use super::entity_tag;
use crate::apply::Rejection;
use crate::targets::Targets;

/// When a client should come again that was turned away for lack of room, in seconds.
const RETRY_BUSY_S: u32 = 1;
/// When a client should come again that met a dictator who cannot act, in seconds.
const RETRY_UNABLE_S: u32 = 5;

/// Status and title of a reason.
pub(super) fn status_and_title(slug: Slug) -> (u16, &'static str) {
    match slug {
        Slug::WouldLoseData => (409, "Would Lose Data"),
        Slug::SplitBrain => (409, "Two Nodes Take Writes"),
        Slug::ActingMasterUnreachable => (409, "Acting Master Unreachable"),
        Slug::TargetBehind => (409, "Target Behind Another Node"),
        Slug::TargetLoading => (409, "Target Is Loading"),
        Slug::TargetUnfit => (409, "A Node Is Unfit"),
        Slug::MasterLostData => (409, "Master Lost Data"),
        Slug::SameInstance => (409, "Two Names For One Instance"),
        Slug::AmbiguousName => (409, "Ambiguous Name"),
        Slug::ManagedBySentinel => (409, "Managed By Sentinel"),
        Slug::UnresolvedHandover => (409, "Unresolved Hand-Over"),
        Slug::Unresolvable => (422, "Unresolvable Name"),
        Slug::TooManyNodes => (422, "Too Many Nodes"),
        Slug::UnsupportedNode => (422, "Unsupported Node"),
        Slug::NodeUnreachable => (502, "Node Unreachable"),
        Slug::NodeRefused => (502, "Node Refused"),
        Slug::NotRedis => (502, "Not Redis"),
        Slug::NotLeader => (503, "Not The Leader"),
        Slug::RecordNotWritable => (503, "Record Not Writable"),
        Slug::DrainTimeout => (504, "Target Did Not Catch Up"),
        Slug::SyncTimeout => (504, "Target Did Not Sync"),
        Slug::OutcomeUnknown => (504, "Outcome Unknown"),
        Slug::Internal => (500, "Internal Server Error"),
    }
}

/// The problem a refusal is.
pub(super) fn refusal_problem(refusal: &Refusal) -> Problem {
    let (status, title) = status_and_title(refusal.slug);
    let mut problem = Problem::new(refusal.slug.as_str(), title, status, refusal.detail.clone())
        .with_do(refusal.advice.clone());
    if let Some(node) = &refusal.node {
        problem = problem.with_node(node.to_string());
    }
    if let Some(step) = refusal.step {
        problem = problem.with_step(step);
    }
    problem.evidence = refusal.evidence.clone();
    for place in &refusal.places {
        problem = problem.with_error(place.pointer.clone(), place.detail.clone());
    }
    if status == 503 { problem.with_retry_after_s(RETRY_UNABLE_S) } else { problem }
}

/// The problem that a document which was not applied is.
pub(super) fn rejection_problem(rejection: &Rejection) -> Problem {
    match rejection {
        Rejection::Refused(refusal) => refusal_problem(refusal),
        Rejection::StaleRevision { given, in_force } => Problem::new(
            "stale-revision",
            "Stale Revision",
            409,
            format!("revision {given} is older than revision {in_force}, which is in force or about to be"),
        )
        .with_evidence("given", *given)
        .with_evidence("in_force", *in_force)
        .with_do(
            "send the newest document; to go back on purpose, add If-Match with the ETag of GET /master",
        ),
        Rejection::RevisionConflict { revision } => Problem::new(
            "revision-conflict",
            "Revision Conflict",
            409,
            format!("revision {revision} is in force with another document"),
        )
        .with_evidence("revision", *revision)
        .with_do("give the changed document a higher revision; in etcd, write the trigger again"),
        Rejection::PreconditionFailed { current } => precondition_failed(*current),
        Rejection::Superseded { by } => Problem::new(
            "superseded",
            "Superseded",
            409,
            format!("while it waited, a newer document (request {by}) took its place"),
        )
        .with_evidence("by_request_id", by.clone())
        .with_do("nothing, if the newer document is the right one; else send this one again"),
        Rejection::LinksLate(receipt) => links_late(receipt),
        Rejection::Busy => busy("the dictator is stopping, or has too much to do"),
        Rejection::ReignEnded => reign_ended(),
    }
}

fn precondition_failed(current: Option<u64>) -> Problem {
    let detail = match current {
        Some(current) => format!("If-Match does not name the present state, which is \"{current}\""),
        None => "If-Match names a state, but no document is in force".to_owned(),
    };
    let problem = Problem::new("precondition-failed", "Precondition Failed", 412, detail)
        .with_do("read GET /master, decide anew, and send its ETag as If-Match");
    match current {
        Some(current) => problem.with_header(header::ETAG, entity_tag(current)),
        None => problem,
    }
}

/// The master has moved, but not every slave follows yet.
fn links_late(receipt: &Receipt) -> Problem {
    let late = receipt.slaves.iter().filter(|slave| slave.link.as_deref() != Some("up")).map(|slave| {
        let link = slave.link.as_deref().unwrap_or("unknown");
        json!({ "address": slave.name.address, "port": slave.name.port, "reason": format!("its link is {link}") })
    });
    let pending = receipt.pending.iter().map(|pending| json!(pending));
    let late: Vec<Value> = late.chain(pending).collect();
    let detail = format!("the change stands, but {} slaves do not follow the master yet", late.len());
    Problem::new("links-late", "Links Are Late", 504, detail)
        .with_evidence("late", late)
        .with_evidence("receipt", json!(receipt))
        .with_do("nothing: the dictator goes on attaching them; watch GET /status")
}

/// The problem of a text that is not a document.
pub(super) fn document_problem(error: &DocumentError) -> Problem {
    let (status, title) = match error.kind {
        DocumentErrorKind::MalformedJson => (400, "Malformed JSON"),
        DocumentErrorKind::MalformedTopology => (400, "Malformed Topology"),
        DocumentErrorKind::InvalidAddress => (400, "Invalid Address"),
        DocumentErrorKind::DuplicateNode => (422, "Duplicate Node"),
        DocumentErrorKind::TooManyNodes => (422, "Too Many Nodes"),
    };
    let problem = Problem::new(error.kind.slug(), title, status, error.detail.clone())
        .with_do("correct the document; nothing was changed");
    error
        .mistakes
        .iter()
        .fold(problem, |problem, mistake| problem.with_error(mistake.pointer.clone(), mistake.detail.clone()))
}

/// The literals of a document must lead where documents may lead. Names are judged when they are resolved.
pub(super) fn check_targets(document: &Document, targets: &Targets) -> Result<(), Problem> {
    let refused = targets.refused_in(document);
    let Some((first, _)) = refused.first() else { return Ok(()) };
    let sentences: Vec<String> = refused.iter().map(|(_, refused)| refused.to_string()).collect();
    let nodes: Vec<String> = refused.iter().map(|(node, _)| node.to_string()).collect();
    Err(Problem::new("target-not-allowed", "Target Not Allowed", 403, sentences.join("; "))
        .with_node(first.to_string())
        .with_evidence("nodes", nodes)
        .with_evidence("allow_targets", targets.list())
        .with_do(
            "correct the address, or start the dictator with it in --allow-targets; nothing was changed",
        ))
}

/// There is no room or no time for the request.
pub(super) fn busy(detail: &str) -> Problem {
    Problem::new("busy", "Busy", 503, detail)
        .with_do("send it again in a moment")
        .with_retry_after_s(RETRY_BUSY_S)
}

/// Another of several dictators has the say, or nobody has at this moment.
pub(super) fn not_leader(leader: Option<&str>) -> Problem {
    let (status, title) = status_and_title(Slug::NotLeader);
    let problem = |detail: String| {
        Problem::new(Slug::NotLeader.as_str(), title, status, detail).with_retry_after_s(RETRY_UNABLE_S)
    };
    match leader {
        Some(leader) => problem(format!("the dictator at {leader} has the say over this cluster"))
            .with_evidence("leader", leader)
            .with_do(format!("ask {leader}")),
        None => problem("no dictator is known to hold this cluster's lock at this moment".to_owned())
            .with_do(
                "send it again in a moment; if this stays, look at etcd and at the other dictators' logs",
            ),
    }
}

/// The lock was lost while the change was under way.
fn reign_ended() -> Problem {
    let (status, title) = status_and_title(Slug::NotLeader);
    let detail = "this dictator lost the cluster's lock while the change was under way; \
                  the one that holds it now finishes or undoes what was begun";
    Problem::new(Slug::NotLeader.as_str(), title, status, detail)
        .with_do("send it again: the answer will name the dictator that has the say")
        .with_retry_after_s(RETRY_UNABLE_S)
}

/// `GET /master` before the first document.
pub(super) fn nothing_in_force() -> Problem {
    Problem::new("not-found", "Object Not Found", 404, "no document is in force yet")
        .with_do("PUT a document to /master")
}

/// A path that names another dictator's cluster.
pub(super) fn other_cluster(named: &str, ours: &str) -> Problem {
    let detail = format!("this dictator keeps the cluster {ours:?}, not {named:?}");
    Problem::new("not-found", "Object Not Found", 404, detail)
        .with_evidence("cluster", ours)
        .with_do("ask the dictator of that cluster, or correct --cluster")
}
