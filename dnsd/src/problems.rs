//! Errors of dnsd as problems of the HTTP contract: the one place where both are known.

use axum::http::{HeaderValue, header};
use service::problem::Problem;
use topology::document::{DocumentError, DocumentErrorKind};

use crate::admission::{Refusal, entity_tag};
use crate::clusters::RemovalError;
use crate::publisher::PutError;
use crate::roles::{Asked, Role, Told};
use crate::zone::MembersError;

/// How long a client should wait before it comes again, in seconds.
const RETRY_AFTER_S: u32 = 1;

/// The body is not a document.
pub fn of_document(error: &DocumentError) -> Problem {
    let (title, status) = match error.kind {
        DocumentErrorKind::MalformedJson => ("Malformed JSON", 400),
        DocumentErrorKind::MalformedTopology => ("Malformed Topology", 400),
        DocumentErrorKind::InvalidAddress => ("Invalid Address", 400),
        DocumentErrorKind::DuplicateNode => ("Duplicate Node", 422),
        DocumentErrorKind::TooManyNodes => ("Too Many Nodes", 422),
    };
    let mut problem = Problem::new(error.kind.slug(), title, status, error.to_string());
    for mistake in &error.mistakes {
        problem = problem.with_error(mistake.pointer.clone(), mistake.detail.clone());
    }
    problem
}

/// The document was not put in force.
pub fn of_put(error: &PutError) -> Problem {
    match error {
        PutError::Refused(refusal) => of_refusal(refusal),
        PutError::Members(MembersError::Unresolvable(error)) => {
            let servers: Vec<String> = error.servers.iter().map(ToString::to_string).collect();
            Problem::new("unresolvable", "Unresolvable Name", 422, error.to_string())
                .with_node(error.name.to_string())
                .with_step("resolve")
                .with_evidence("asked", error.asked.clone())
                .with_evidence("name_servers", servers)
                .with_evidence("reason", error.reason.to_string())
                .with_error("/master/address", error.reason.to_string())
                .with_do("correct the name, give `port` to skip SRV, or mend the name servers (--nameservers); what was published stays")
        }
        PutError::Members(error @ MembersError::Ambiguous { name, candidates }) => {
            let candidates: Vec<String> = candidates.iter().map(ToString::to_string).collect();
            Problem::new("ambiguous-name", "Ambiguous Name", 409, error.to_string())
                .with_node(name.to_string())
                .with_step("resolve")
                .with_evidence("candidates", candidates)
                .with_do("name one instance, or give its `port`")
        }
        PutError::TooLarge(cause) => Problem::new(
            "too-many-nodes",
            "Too Many Nodes",
            422,
            format!("the zone does not fit into DNS messages: {cause}"),
        ),
        PutError::NotKept { path, source } => Problem::new(
            "record-not-writable",
            "Record Not Writable",
            503,
            format!("{path} cannot be written ({source}); what was published before is still served"),
        )
        .with_step("record")
        .with_evidence("path", path.clone())
        .with_evidence("error", source.to_string())
        .with_do("make room, or give the state folder (--state-dir) to the daemon's user; then PUT again")
        .with_retry_after_s(RETRY_AFTER_S),
        PutError::TooManyClusters { clusters_max } => {
            Problem::new("too-many-clusters", "Too Many Clusters", 422, error.to_string())
                .with_evidence("clusters_max", *clusters_max)
                .with_do("DELETE /clusters/{cluster}/dns of one that is gone, or raise --clusters-max")
        }
        PutError::Busy => busy(),
    }
}

/// The cluster was not removed.
pub fn of_removal(error: &RemovalError, path: &str) -> Problem {
    match error {
        RemovalError::Unknown => unknown_cluster(path),
        RemovalError::Refused(error) => of_put(error),
    }
}

/// There is no such cluster.
pub fn unknown_cluster(path: &str) -> Problem {
    Problem::not_found(path)
        .with_do("GET /clusters lists those there are; the first PUT /clusters/{cluster}/dns makes one")
}

/// This dnsd is of another cluster.
pub fn other_cluster(path: &str, own: &str) -> Problem {
    Problem::not_found(path).with_do(format!("this dnsd publishes the cluster {own} (--cluster)"))
}

/// There are many clusters, and none was named.
pub fn which_cluster(path: &str) -> Problem {
    Problem::not_found(path).with_do(format!(
        "this dnsd publishes many clusters (--domain-suffix): say which, as in /clusters/redis-1{path}"
    ))
}

/// No cluster can have this name.
pub fn invalid_cluster(name: &str, reason: &str) -> Problem {
    let detail = format!("{name:?} cannot be the name of a cluster, which is a label of DNS: {reason}");
    Problem::new("invalid-cluster", "Invalid Cluster Name", 400, detail)
        .with_do("choose a name of lower-case letters, digits and hyphens, at most 63")
}

fn of_refusal(refusal: &Refusal) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        Refusal::PreconditionFailed { serial } => {
            let problem = Problem::new("precondition-failed", "Precondition Failed", 412, detail)
                .with_do("read GET /dns, decide again, and send its ETag");
            match serial.map(entity_tag).and_then(|tag| HeaderValue::from_str(&tag).ok()) {
                Some(tag) => {
                    let text = tag.to_str().unwrap_or_default().to_owned();
                    problem.with_header(header::ETAG, tag).with_evidence("etag", text)
                }
                None => problem.with_evidence("etag", serde_json::Value::Null),
            }
        }
        Refusal::StaleRevision { given, current } => {
            Problem::new("stale-revision", "Stale Revision", 409, detail)
                .with_evidence("given", *given)
                .with_evidence("current", *current)
                .with_do("nothing, a newer document is published; to go back all the same, send If-Match with the ETag of GET /dns")
        }
        Refusal::RevisionConflict { revision } => {
            Problem::new("revision-conflict", "Revision Conflict", 409, detail)
                .with_evidence("revision", *revision)
                .with_do("give the other document a revision of its own: trigger it again")
        }
    }
}

/// Too many documents wait.
pub fn busy() -> Problem {
    Problem::new("busy", "Busy", 503, "more documents are waiting to be published than is sensible")
        .with_retry_after_s(RETRY_AFTER_S)
}

/// The daemon is going away, and whether the document was published is not known here.
pub fn stopping() -> Problem {
    Problem::new("busy", "Busy", 503, "dnsd is stopping; ask GET /dns after its restart what is published")
        .with_retry_after_s(RETRY_AFTER_S)
}

/// There is nothing to show.
pub fn not_published() -> Problem {
    Problem::new("not-published", "Nothing Published", 404, "nothing was published yet")
        .with_do("PUT a topology to /dns, or look why the observer does not")
}

/// Too many requests wait for news.
pub fn too_many_waiters(most: usize) -> Problem {
    let detail = format!("{most} requests are waiting for news already, and more are not kept");
    Problem::new("busy", "Busy", 503, detail)
        .with_do("ask without `after`, or put one relay between the many and dnsd")
        .with_retry_after_s(RETRY_AFTER_S)
}

/// The node does not have the role, as far as is published.
pub fn not_in_role(node: &Asked, role: Role, told: Option<&Told>) -> Problem {
    let detail = match told {
        Some(told) => format!("{node} is no {role} at revision {}", told.tag.revision),
        None => format!("{node} is no {role}: nothing was published yet"),
    };
    let published: Vec<&str> = told.into_iter().flat_map(|told| told.text.lines()).collect();
    Problem::new("not-in-role", "Not in This Role", 503, detail)
        .with_node(node.to_string())
        .with_evidence("published", published)
        .with_do("send this role's connections to a node that has it; GET /dns shows who is what")
}

/// There is no list of seeds to give out, and there never was one.
pub fn no_seeds(reason: &str) -> Problem {
    Problem::new("no-seeds", "No Seeds", 503, reason)
        .with_do("nothing at a first start, Dynomite asks again; later see --seeds-service and --seeds-host")
        .with_retry_after_s(RETRY_AFTER_S)
}
