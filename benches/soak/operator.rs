//! Who asks for moves, in the two ways there are, and does what refusals advise.
//!
//! A move is asked for in a thread of its own: while its answer is awaited, things break and are healed.
//!
//! Advice is followed only where it loses nothing, and the operator finds that out as a careful human
//! would: all nodes are brought back first, and of the nodes in question the one is kept that holds
//! more. Writers only ever add, so of two nodes that share a history the fuller one holds all that the
//! other does. Were that not so, a write would be missing in the end, and the run would say so.

use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use harness::daemon::{TOPOLOGY_KEY, TRIGGER_KEY};
use harness::{Http, HttpAnswer};
use serde_json::{Value, json};

use crate::cast::{Cast, until};

/// How long a triggered document may take to be delivered to the dictator or refused by it.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(20);
/// How long etcdctl may take.
const ETCDCTL_TIMEOUT: &str = "3s";

/// How a document is brought to the dictator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `PUT /master` with this query.
    Put(&'static str),
    /// Written to etcd and triggered.
    Trigger,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The dictator answered.
    Http(HttpAnswer),
    /// The observer delivered it.
    Delivered,
    /// The observer was refused, for this reason.
    Refused(String),
    /// No answer.
    None(String),
}

/// Asks, in a thread.
pub(crate) fn ask(cast: &Cast, way: Way, document: Value) -> JoinHandle<Answer> {
    let http = cast.http();
    let (observer, etcd) = (cast.observer.http(), cast.etcd.url());
    std::thread::spawn(move || match way {
        Way::Put(query) => put(http, query, &[], &document),
        Way::Trigger => trigger(&etcd, observer, &document).unwrap_or_else(Answer::None),
    })
}

/// `PUT /master`.
pub(crate) fn put(http: Http, query: &str, headers: &[(&str, &str)], document: &Value) -> Answer {
    let body = document.to_string();
    match http.try_request("PUT", &format!("/master{query}"), headers, body.as_bytes()) {
        Ok(answer) => Answer::Http(answer),
        Err(error) => Answer::None(error.to_string()),
    }
}

fn trigger(etcd: &str, observer: Http, document: &Value) -> Result<Answer, String> {
    write(etcd, TOPOLOGY_KEY, &document.to_string())?;
    let revision = write(etcd, TRIGGER_KEY, "1")?;
    until(DELIVERY_DEADLINE, || {
        let answer = observer.try_request("GET", "/status", &[], b"").map_err(|error| error.to_string())?;
        let status = answer.json();
        if status["delivered"]["revision"].as_u64() >= Some(revision) {
            return Ok(Answer::Delivered);
        }
        let last = &status["notify"][0]["last"];
        match (last["revision"].as_u64(), last["problem"].as_str()) {
            (Some(of), Some(slug)) if of == revision => Ok(Answer::Refused(slug.to_owned())),
            _ => Err(format!("the observer is at {status}")),
        }
    })
}

/// Writes a key and returns the revision of the store after that.
fn write(etcd: &str, key: &str, value: &str) -> Result<u64, String> {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", etcd, "--command-timeout", ETCDCTL_TIMEOUT, "-w", "json", "put", key, value])
        .output()
        .map_err(|error| format!("etcdctl: {error}"))?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    answer["header"]["revision"]
        .as_u64()
        .ok_or_else(|| format!("etcdctl: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Whether a refusal with this slug waits for a human; all others end by themselves once all is healed.
pub(crate) fn needs_a_human(slug: &str) -> bool {
    ["would-lose-data", "split-brain", "master-lost-data", "unresolved-handover", "target-behind"]
        .contains(&slug)
}

/// The document that follows the advice of a problem, if that loses nothing. Every node must be up.
pub(crate) fn remedy(cast: &Cast, key: &str, problem: &Value) -> Option<Value> {
    let slug = problem["type"].as_str()?.rsplit(':').next()?;
    let evidence = &problem["evidence"];
    match slug {
        "would-lose-data" | "split-brain" => {
            let entry = evidence["discard"].as_object()?;
            let port = entry.get("port")?.as_u64()?;
            let given_up = cast.index_of(&format!(":{port}"))?;
            let keep = cast.master;
            (given_up != keep && cast.weight(keep, key)? >= cast.weight(given_up, key)?).then(|| {
                let mut document = cast.document(keep, None);
                document["discard"] = json!([evidence["discard"]]);
                document
            })
        }
        "target-behind" => Some(cast.document(cast.index_of(evidence["better"].as_str()?)?, None)),
        "unresolved-handover" => {
            let to = cast.index_of(problem["node"].as_str()?)?;
            let from = cast.index_of(evidence["from"].as_str()?)?;
            Some(keep_the_fuller(cast, key, from, to)?)
        }
        "master-lost-data" => {
            let better = cast.index_of(evidence["better"].as_str()?)?;
            let granted = cast.index_of(problem["node"].as_str()?)?;
            Some(keep_the_fuller(cast, key, granted, better)?)
        }
        _ => None,
    }
}

/// The document that makes the fuller of two nodes master and gives up the life of the other.
fn keep_the_fuller(cast: &Cast, key: &str, one: usize, other: usize) -> Option<Value> {
    let (keep, give_up) =
        if cast.weight(one, key)? >= cast.weight(other, key)? { (one, other) } else { (other, one) };
    let mut document = cast.document(keep, None);
    let mut entry = cast.nodes[give_up].proxy.json();
    entry["run_id"] = cast.nodes[give_up].redis.run_id().into();
    document["discard"] = json!([entry]);
    Some(document)
}
