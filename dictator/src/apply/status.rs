//! Wanted beside observed, for `GET /status`.

use serde::Serialize;
use serde_json::Value;
use topology::address::{Address, NodeName};
use topology::document::{Group, Note};
use topology::observation::{Observation, Role, Vitals};
use topology::record::Record;
use topology::refusal::Refusal;

use super::pause::Enforcement;

/// Wanted beside observed.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Revision of the document in force.
    pub revision: Option<u64>,
    /// Generation of the granted master.
    pub generation: u64,
    /// The document in force.
    pub wanted: Option<Value>,
    /// The node that was granted the right to take writes.
    pub acting_master: Option<String>,
    /// Every node of document and record, and every master found that nobody named.
    pub nodes: Vec<NodeStatus>,
    /// Whether enforcement would change anything, or cannot.
    pub drift: bool,
    /// Why enforcement cannot, if so.
    pub problem: Option<Value>,
    /// The change that is under way.
    pub change: Option<Change>,
    /// Whether the topology is being kept true.
    pub enforcement: Enforcement,
    /// The groups of the document in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupStatus>,
}

/// One group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupStatus {
    /// Its name.
    pub srv: Address,
    /// Who was behind it when it was last looked up, the master included.
    pub members: Vec<NodeName>,
    /// What an operator should see: who was left out and why, or why it cannot be looked up.
    pub problems: Vec<String>,
}

impl GroupStatus {
    fn all_of(record: &Record, notes: &[Note]) -> Vec<Self> {
        let groups = record.wanted.iter().flat_map(|wanted| &wanted.document.groups);
        let of_group = |group: &Group| {
            let own = notes.iter().filter(|note| note.srv == group.srv);
            own.map(|note| note.detail.clone()).collect()
        };
        groups
            .map(|group| Self {
                srv: group.srv.clone(),
                members: group.members.clone(),
                problems: of_group(group),
            })
            .collect()
    }
}

/// One node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// As written.
    pub address: Address,
    /// As resolved.
    pub ip: Option<String>,
    /// In use.
    pub port: Option<u16>,
    /// `master`, `slave`, or `none` for a node that is not in the document.
    pub wanted: &'static str,
    /// `master`, `slave`, `parked` or `unknown`.
    pub role: &'static str,
    /// `up`, `down`, `syncing`, or nothing for a master.
    pub link: Option<&'static str>,
    /// Its position, in bytes of its lineage.
    pub offset: Option<u64>,
    /// Bytes behind the master, where that can be said.
    pub lag_bytes: Option<u64>,
    /// Its life.
    pub run_id: Option<String>,
    /// Its lineage.
    pub replid: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What an operator should see.
    pub problems: Vec<String>,
}

/// A change under way.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// The step it is at.
    pub step: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: u64,
}

/// Puts a status together.
pub(super) fn status(
    record: &Record,
    observation: &Observation,
    outcome: Result<bool, &Refusal>,
    (change, enforcement): (Option<Change>, Enforcement),
    notes: &[Note],
) -> Status {
    let problem = outcome.err().map(|refusal| {
        serde_json::json!({ "type": refusal.slug.as_str(), "detail": refusal.detail, "do": refusal.advice })
    });
    Status {
        revision: record.wanted.as_ref().and_then(|wanted| wanted.revision),
        generation: record.generation,
        wanted: record.wanted.as_ref().map(|wanted| wanted.document.to_json()),
        acting_master: record.granted.as_ref().map(|granted| granted.node.to_string()),
        nodes: nodes(record, observation),
        drift: outcome.unwrap_or(true),
        problem,
        change,
        enforcement,
        groups: GroupStatus::all_of(record, notes),
    }
}

/// Every node as it was observed.
pub(super) fn nodes(record: &Record, observation: &Observation) -> Vec<NodeStatus> {
    let master = record.granted.as_ref().and_then(|granted| observation.vitals(&granted.node));
    observation.nodes.keys().map(|name| node(name, record, observation, master)).collect()
}

fn node(name: &NodeName, record: &Record, observation: &Observation, master: Option<&Vitals>) -> NodeStatus {
    let observed = observation.nodes.get(name);
    let vitals = observation.vitals(name);
    let endpoint = observed.and_then(|observed| observed.endpoint);
    let document = record.wanted.as_ref().map(|wanted| &wanted.document);
    let wanted = match document {
        Some(document) if document.master == *name => "master",
        Some(document) if document.slaves.contains(name) => "slave",
        _ => "none",
    };
    let unknown = observed.and_then(|observed| observed.unknown());
    let mut problems: Vec<String> = unknown.map(|unknown| format!("it {unknown}")).into_iter().collect();
    let role = match vitals.map(|vitals| &vitals.role) {
        None => "unknown",
        Some(Role::Master) => "master",
        Some(Role::Slave(following)) if following.is_parked() => "parked",
        Some(Role::Slave(_)) => "slave",
    };
    if vitals.is_some() && wanted != "none" && role != wanted {
        problems.push(format!("it is {role} and should be {wanted}"));
    }
    let link =
        vitals.and_then(Vitals::following).map(|following| match (following.link_up, following.syncing) {
            (true, _) => "up",
            (false, true) => "syncing",
            (false, false) => "down",
        });
    if wanted == "slave" && role == "slave" && link != Some("up") {
        problems.push(format!("its link to the master is {}", link.unwrap_or("down")));
    }
    let lag_bytes = vitals
        .zip(master)
        .filter(|(vitals, master)| !vitals.is_master() && vitals.replid == master.replid)
        .map(|(vitals, master)| master.position().saturating_sub(vitals.position()));
    NodeStatus {
        address: name.address.clone(),
        ip: endpoint.map(|endpoint| endpoint.ip().to_string()),
        port: endpoint.map(|endpoint| endpoint.port()),
        wanted,
        role,
        link,
        offset: vitals.map(Vitals::position),
        lag_bytes,
        run_id: vitals.map(|vitals| vitals.run_id.0.clone()),
        replid: vitals.map(|vitals| vitals.replid.0.clone()),
        version: vitals.map(|vitals| vitals.version.to_string()),
        problems,
    }
}
