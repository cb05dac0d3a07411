//! What the dictator's answers hold, as far as it is shown.
//!
//! Every member may be missing: an older or newer dictator must still be readable at night. What is not
//! named here is not lost, `-o json` prints the answer as it came.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::exit::Code;

/// `GET /status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Revision of the document in force.
    pub revision: Option<u64>,
    /// Generation of the granted master.
    pub generation: u64,
    /// The document in force.
    pub wanted: Option<Value>,
    /// The node that was granted the right to take writes, by its name.
    pub acting_master: Option<String>,
    /// Every node.
    pub nodes: Vec<Node>,
    /// Whether something is not as wanted.
    pub drift: bool,
    /// Why the topology cannot be kept.
    pub problem: Option<Trouble>,
    /// The change under way.
    pub change: Option<Change>,
    /// Whether the topology is being kept true.
    pub enforcement: Enforcement,
    /// The groups of the document.
    pub groups: Vec<Group>,
}

/// A group of slaves, as `GET /status` shows it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Group {
    /// The name of its SRV records.
    pub srv: String,
    /// Who was behind it when it was last looked up.
    pub members: Vec<Value>,
    /// Who was left out, or why it cannot be looked up.
    pub problems: Vec<String>,
}

/// Whether the topology is being kept true: a part of `GET /status`, and the answer to a pause.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Enforcement {
    /// Between two passes, in milliseconds; 0: never.
    pub interval_ms: Option<u64>,
    /// The pause, if there is one.
    pub paused: Option<Paused>,
}

/// A pause of enforcement.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Paused {
    /// When it ends, in milliseconds since 1970.
    pub until_unix_ms: u64,
    /// Why.
    pub reason: String,
}

/// One node of `GET /status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// As written in the document.
    pub address: String,
    /// As resolved.
    pub ip: Option<String>,
    /// In use.
    pub port: Option<u16>,
    /// `master`, `slave` or `none`.
    pub wanted: String,
    /// `master`, `slave`, `parked` or `unknown`.
    pub role: String,
    /// `up`, `down`, `syncing`.
    pub link: Option<String>,
    /// Its position, in bytes.
    pub offset: Option<u64>,
    /// Bytes behind the master.
    pub lag_bytes: Option<u64>,
    /// Version of the server.
    pub version: Option<String>,
    /// What an operator should see.
    pub problems: Vec<String>,
}

impl Node {
    /// Where it is: `ip:port`, if that is known.
    pub fn endpoint(&self) -> Option<String> {
        let (ip, port) = (self.ip.as_ref()?, self.port?);
        Some(if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") })
    }

    /// What to call it: the name as written; a bare IP address with its port, for several nodes may share it.
    pub fn label(&self) -> String {
        let literal = self.address.parse::<std::net::IpAddr>().is_ok();
        self.endpoint().filter(|_| literal).unwrap_or_else(|| self.address.clone())
    }

    /// Whether the dictator's name for a node means this one: the address, with or without its port.
    pub fn is_named(&self, name: &str) -> bool {
        let bracketed = |port: u16| name == format!("[{}]:{port}", self.address);
        let with = |port: u16| name == format!("{}:{port}", self.address) || bracketed(port);
        name == self.address || self.port.is_some_and(with)
    }
}

/// Why the topology cannot be kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// The slug.
    #[serde(rename = "type")]
    pub slug: String,
    /// One sentence.
    pub detail: String,
    /// What to do.
    #[serde(rename = "do")]
    pub advice: String,
}

/// A change under way.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Change {
    /// The step.
    pub step: String,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
}

/// The answer to a dry run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// The steps in their order.
    pub plan: Vec<PlanStep>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// `unchanged` and so on.
    pub would: String,
    /// Slaves that could not be attached now.
    pub pending: Vec<Pending>,
}

impl Plan {
    /// Whether carrying it out would change anything.
    pub fn changes(&self) -> bool {
        !self.plan.is_empty() || !self.pending.is_empty() || self.would != "unchanged"
    }

    /// Whether writes would have to wait.
    pub fn pauses(&self) -> bool {
        self.plan.iter().any(|step| step.step == "hand-over")
    }
}

/// One step of a plan.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PlanStep {
    /// Its name.
    pub step: String,
    /// The node it acts on.
    pub node: Option<String>,
    /// Why it is done.
    pub why: String,
}

/// A slave that is not attached.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pending {
    /// As written.
    pub address: String,
    /// The port, if one is written.
    pub port: Option<u16>,
    /// Why.
    pub reason: String,
}

/// One entry of `GET /history`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// When it ended, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// `put`, `enforcement`, or `operator` for pauses.
    pub cause: String,
    /// The request that asked for it.
    pub request_id: String,
    /// Who asked, where callers are known.
    pub asked_by: Option<String>,
    /// Why, in the words of who asked.
    pub reason: Option<String>,
    /// `switched` and so on, or the slug of the refusal.
    pub outcome: String,
    /// One sentence, for refusals.
    pub detail: Option<String>,
    /// What was done.
    pub receipt: Option<topology::receipt::Receipt>,
}

/// An error answer (RFC 9457).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// `urn:redis-dictator:<slug>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of this kind.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The node it is about.
    pub node: Option<String>,
    /// The step at which it happened.
    pub step: Option<String>,
    /// What was seen.
    pub evidence: Map<String, Value>,
    /// What to do next.
    #[serde(rename = "do")]
    pub advice: Option<String>,
    /// The id under which the daemon logged it.
    pub request_id: Option<String>,
    /// Places in the document.
    pub errors: Vec<Place>,
}

/// A place in a document that is wrong.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Place {
    /// JSON pointer.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

impl Problem {
    /// The last part of its type.
    pub fn slug(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or_default()
    }

    /// The exit code it leads to.
    pub fn code(&self) -> Code {
        match (self.status, self.slug()) {
            (401 | 403, _) => Code::NotPermitted,
            (_, "outcome-unknown" | "links-late" | "busy") => Code::Unfinished,
            (_, "not-leader") => Code::Unavailable,
            (500, _) => Code::Failed,
            _ => Code::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_its_code() {
        for (status, slug, code) in [
            (409, "target-behind", Code::Refused),
            (400, "malformed-json", Code::Refused),
            (504, "drain-timeout", Code::Refused),
            (504, "outcome-unknown", Code::Unfinished),
            (504, "links-late", Code::Unfinished),
            (503, "busy", Code::Unfinished),
            (503, "not-leader", Code::Unavailable),
            (503, "record-not-writable", Code::Refused),
            (401, "unauthorized", Code::NotPermitted),
            (500, "internal", Code::Failed),
        ] {
            let kind = format!("urn:redis-dictator:{slug}");
            assert_eq!(Problem { kind, status, ..Problem::default() }.code(), code, "{slug}");
        }
    }

    #[test]
    fn a_node_is_found_by_every_way_its_name_is_written() {
        let node = |address: &str| Node { address: address.into(), port: Some(6379), ..Node::default() };
        assert!(node("core-01").is_named("core-01") && node("core-01").is_named("core-01:6379"));
        assert!(node("fd00::1").is_named("[fd00::1]:6379"));
        assert!(!node("core-01").is_named("core-01:6380") && !node("core-01").is_named("core-011"));
    }

    #[test]
    fn a_literal_is_called_by_its_port_too() {
        let node = |address: &str| Node {
            address: address.into(),
            ip: Some("10.0.0.1".into()),
            port: Some(6379),
            ..Node::default()
        };
        assert_eq!(
            (node("core-01").label(), node("10.0.0.1").label()),
            ("core-01".into(), "10.0.0.1:6379".into())
        );
    }

    #[test]
    fn what_is_missing_or_unknown_does_not_spoil_the_rest() {
        let status: Status = serde_json::from_str(r#"{"generation": 3, "weather": "fine"}"#).unwrap();
        assert_eq!((status.generation, status.nodes.len()), (3, 0));
    }
}
