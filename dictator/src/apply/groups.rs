//! Members of groups, before a change or a pass of enforcement begins.
//!
//! Decisions know no groups. So the names are looked up here, the document gets its members, and the conductor
//! works on a plain list of nodes that is frozen like the addresses are. What was found is in the record, durably,
//! before anybody is attached because of it.
//!
//! A change takes what the names give now, and is refused like any other document if one of those nodes must
//! not be attached. Enforcement is more careful, for nobody reads its refusals: a new instance that would make
//! the topology impossible to keep stays out, is told, and is tried again at the next pass; the others are
//! kept all the same. It finds out by a dry run, which costs one more look at the nodes, and only when
//! the members differ from those known.
//!
//! Nobody is removed while the granted master is not seen taking writes in the life it was granted to. When
//! everything restarts, names come back one after the other, and each node that is away is needed: what it
//! holds is compared before the master is trusted.
//!
//! Nothing is cached. Each pass asks again, as it does for every other name; a TTL longer than the interval
//! of enforcement would only make new nodes wait.

use std::time::Duration;

use node::Nodes;
use tokio::time::timeout;
use topology::NodeName;
use topology::conduct::{Finish, Job, Limits, Names, Outcome, Purpose};
use topology::document::{Answers, Choice, Document, Expanded, Mistake, Note, expand, names_of};
use topology::observation::Observation;
use topology::record::{Record, Wanted};
use topology::refusal::{Refusal, Slug};

use super::drive::{self, World};
use super::{Resolve, Store, names};

/// Deadline of looking up all instances of all groups, once their names are known.
const INSTANCES_DEADLINE: Duration = Duration::from_secs(6);
/// Most instances that one pass finds unfit; the others wait for the next.
const TRIALS_MAX: usize = 8;

/// What the preparation works with.
pub(super) struct Means<'a> {
    pub(super) resolve: &'a Resolve,
    pub(super) nodes: &'a Nodes,
    /// Where new members are kept; `None` where nothing may be kept.
    pub(super) store: Option<&'a Store>,
    pub(super) limits: Limits,
    pub(super) nodes_max: usize,
}

/// What the conductor begins with.
pub(super) struct Prepared {
    pub(super) job: Job,
    pub(super) record: Record,
    pub(super) names: Names,
    /// What an operator should know about groups; `None` if none was looked up.
    pub(super) notes: Option<Vec<Note>>,
}

/// Looks up what a job needs. A refusal comes with the record as it was.
pub(super) async fn prepare(
    means: &Means<'_>,
    job: Job,
    record: Record,
) -> Result<Prepared, (Box<Refusal>, Box<Record>)> {
    let document = match &job.purpose {
        Purpose::Apply(wanted) | Purpose::DryRun(wanted) => Some(wanted.document.clone()),
        Purpose::Enforce => None,
    };
    // What an open hand-over carries out was settled when it began.
    let settled = record.intent.is_some() && document.is_none();
    let in_force = record.wanted.as_ref().map(|wanted| wanted.document.clone());
    let of_groups = document.clone().or(in_force).filter(|document| !document.groups.is_empty());
    let Some(of_groups) = of_groups.filter(|_| !settled) else {
        let names = names::freeze(means.resolve, &record, document.as_ref()).await;
        return Ok(Prepared { job, record, names, notes: None });
    };
    let look = look_up(means, &record, of_groups).await;
    if document.is_none() {
        return Ok(Box::pin(enforced(means, job, record, look)).await);
    }
    match Box::pin(applied(means, job, &record, look)).await {
        Ok((job, names, notes)) => Ok(Prepared { job, record, names, notes: Some(notes) }),
        Err(refusal) => Err((refusal, Box::new(record))),
    }
}

/// Only the names of a job whose document is to be taken as it is.
pub(super) async fn as_it_is(means: &Means<'_>, job: Job, record: Record) -> Prepared {
    let names = match &job.purpose {
        Purpose::Apply(wanted) | Purpose::DryRun(wanted) => {
            names::freeze(means.resolve, &record, Some(&wanted.document)).await
        }
        Purpose::Enforce => names::freeze(means.resolve, &record, None).await,
    };
    Prepared { job, record, names, notes: None }
}

/// What was looked up for a document with groups.
struct Look {
    document: Document,
    answers: Answers,
    names: Names,
}

async fn look_up(means: &Means<'_>, record: &Record, document: Document) -> Look {
    let services = document.groups.iter().map(|group| group.srv.clone()).collect();
    let nodes = names::freeze(means.resolve, record, Some(&document));
    let (mut names, mut answers) = tokio::join!(nodes, means.resolve.groups(services));
    let targets = answers.values().flatten().flat_map(|targets| names_of(targets));
    let mut missing: Vec<NodeName> = targets.filter(|node| !names.contains_key(node)).collect();
    missing.sort();
    missing.dedup();
    if !missing.is_empty() {
        match timeout(INSTANCES_DEADLINE, means.resolve.names(missing)).await {
            Ok(found) => names.extend(found),
            Err(_) => {
                let why = format!("its instances were not found within {} s", INSTANCES_DEADLINE.as_secs());
                answers.values_mut().for_each(|answer| *answer = Err(why.clone()));
            }
        }
    }
    Look { document, answers, names }
}

impl Look {
    fn expand(&self, record: &Record, keep: bool, barred: &[(NodeName, String)]) -> Expanded {
        let known = record.wanted.as_ref().map(|wanted| &wanted.document);
        expand(&self.document, &self.answers, &self.names, Choice { known, keep, barred })
    }

    /// The names that a change of this document needs, and no others: whoever is not in it is not asked.
    fn frozen(&self, record: &Record, document: &Document) -> Names {
        let of_record = record.nodes();
        let needed = |node: &NodeName| of_record.contains(node) || document.nodes().any(|own| own == node);
        self.names
            .iter()
            .filter(|(node, _)| needed(node))
            .map(|(node, at)| (node.clone(), at.clone()))
            .collect()
    }
}

/// A document that somebody sent, with its members; or why it cannot be applied.
async fn applied(
    means: &Means<'_>,
    mut job: Job,
    record: &Record,
    look: Look,
) -> Result<(Job, Names, Vec<Note>), Box<Refusal>> {
    let (Purpose::Apply(asked) | Purpose::DryRun(asked)) = &job.purpose else {
        return Ok((job, look.names, Vec::new()));
    };
    let revision = asked.revision;
    let mut expanded = look.expand(record, false, &[]);
    if let Some(unknown) = expanded.unknown.first() {
        return Err(Box::new(nobody_known(unknown, &expanded.unknown)));
    }
    if removes(record, &expanded.document) {
        let (_, observation) = dry_run(means, &job, record, &look, &expanded.document).await;
        if record.granted_master(&observation).is_none() {
            expanded = look.expand(record, true, &[]);
        }
    }
    let count = expanded.document.nodes().count();
    if count > means.nodes_max {
        let detail = format!("{count} nodes, members of groups included; the limit is {}", means.nodes_max);
        let advice =
            "start the dictator with a higher --nodes-max, or let fewer instances be behind the name";
        return Err(Box::new(Refusal::new(Slug::TooManyNodes, detail.clone(), advice).at("/slaves", detail)));
    }
    job.warnings.extend(expanded.notes.iter().map(sentence));
    let names = look.frozen(record, &expanded.document);
    let wanted = Wanted { document: expanded.document, revision };
    job.purpose = match job.purpose {
        Purpose::DryRun(_) => Purpose::DryRun(wanted),
        _ => Purpose::Apply(wanted),
    };
    Ok((job, names, expanded.notes))
}

/// The document in force, with the members that it can have now.
async fn enforced(means: &Means<'_>, job: Job, mut record: Record, look: Look) -> Prepared {
    let (document, notes) = settle(means, &job, &record, &look).await;
    let mut notes = notes;
    if let Some(document) = document
        && let Some(store) = means.store
    {
        let revision = record.wanted.as_ref().and_then(|wanted| wanted.revision);
        let mut next = record.clone();
        next.put_in_force(&Wanted { document, revision });
        match store.save(&next).await {
            Ok(()) => {
                tell(&record, &next);
                record = next;
            }
            Err(why) => notes.extend(look.document.groups.first().map(|group| Note {
                pointer: group.pointer(),
                srv: group.srv.clone(),
                node: None,
                detail: format!("its members have changed and cannot be recorded, so they stay: {why}"),
            })),
        }
    }
    let frozen = record.wanted.as_ref().map(|wanted| look.frozen(&record, &wanted.document));
    Prepared { job, names: frozen.unwrap_or(look.names), record, notes: Some(notes) }
}

/// The document to put in force, if another than the one that is.
async fn settle(means: &Means<'_>, job: &Job, record: &Record, look: &Look) -> (Option<Document>, Vec<Note>) {
    let mut barred: Vec<(NodeName, String)> = Vec::new();
    let mut aside: Vec<NodeName> = Vec::new();
    loop {
        let Expanded { document, notes, unknown } = look.expand(record, false, &barred);
        if document == look.document || !unknown.is_empty() {
            return (None, [notes, unknown].concat());
        }
        let count = document.nodes().count();
        if count > means.nodes_max {
            let detail = format!("{count} nodes with its members; the limit is {}", means.nodes_max);
            let told = document.groups.iter().map(|group| Note {
                pointer: group.pointer(),
                srv: group.srv.clone(),
                node: None,
                detail: format!("{detail}; the members last known stay"),
            });
            return (None, told.collect());
        }
        let mut trial = document.clone();
        trial.slaves.retain(|slave| !aside.contains(slave));
        let (result, observation) = dry_run(means, job, record, look, &trial).await;
        if record.granted_master(&observation).is_none() {
            return (None, notes);
        }
        let Err(refusal) = result else { return (Some(document), notes) };
        if let Some(unfit) = newcomer(&refusal, &look.document, &document) {
            barred.push((unfit, format!("{}. To do: {}", refusal.detail, refusal.advice)));
        } else if let Some(known) = left_as_it_is(&refusal, &trial) {
            // Enforcement leaves it as it is and says so; the others are judged without it.
            aside.push(known);
        } else {
            return (None, notes);
        }
        if barred.len() + aside.len() > TRIALS_MAX {
            return (None, notes);
        }
    }
}

/// The new member that a refusal is about.
fn newcomer(refusal: &Refusal, before: &Document, document: &Document) -> Option<NodeName> {
    let is_new = |node: &&NodeName| !before.nodes().any(|known| known == *node);
    let names = refusal.evidence.get("names").and_then(|names| names.as_array());
    let is_named = |node: &NodeName| {
        let text = node.to_string();
        refusal.node.as_ref() == Some(node)
            || names.is_some_and(|names| names.iter().any(|name| *name == *text))
    };
    document.nodes().filter(is_new).find(|node| is_named(node)).cloned()
}

/// The slave, known for long, that a pass of enforcement would leave as it is.
fn left_as_it_is(refusal: &Refusal, trial: &Document) -> Option<NodeName> {
    let own = matches!(refusal.slug, Slug::WouldLoseData | Slug::SplitBrain);
    refusal.node.clone().filter(|node| own && trial.slaves.contains(node))
}

async fn dry_run(
    means: &Means<'_>,
    job: &Job,
    record: &Record,
    look: &Look,
    document: &Document,
) -> (Result<(), Refusal>, Observation) {
    let revision = record.wanted.as_ref().and_then(|wanted| wanted.revision);
    let wanted = Wanted { document: document.clone(), revision };
    let trial = Job { purpose: Purpose::DryRun(wanted), warnings: Vec::new(), ..job.clone() };
    let world = World { nodes: means.nodes, store: None, progress: None, hurry: None };
    let names = look.frozen(record, document);
    let finish = Box::pin(drive::run(trial, record.clone(), names, means.limits, world)).await;
    let result = match finish.result {
        Ok(Outcome::Planned(_) | Outcome::Done(_)) => Ok(()),
        Err(refusal) => Err(refusal),
    };
    (result, finish.observation)
}

/// Whether somebody who is a member would be none any more.
fn removes(record: &Record, next: &Document) -> bool {
    let before = record.wanted.iter().flat_map(|wanted| &wanted.document.groups);
    let mut members =
        before.filter(|group| next.group(&group.srv).is_some()).flat_map(|group| &group.members);
    members.any(|member| !next.nodes().any(|node| node == member))
}

fn nobody_known(first: &Note, all: &[Note]) -> Refusal {
    let detail = format!("the group {} has no known members: {}", first.srv, first.detail);
    let advice =
        "let the name have SRV records, or write its instances out as `address`; nothing was changed";
    let places =
        all.iter().map(|note| Mistake { pointer: note.pointer.clone(), detail: note.detail.clone() });
    let refusal = Refusal::new(Slug::Unresolvable, detail, advice).with("srv", first.srv.to_string());
    places.fold(refusal, |refusal, place| refusal.at(place.pointer, place.detail))
}

/// The end of a change that did not begin.
pub(super) fn not_begun(refusal: Refusal, record: Record, observation: Observation) -> Finish {
    Finish { result: Err(refusal), record, record_unsaved: None, observation }
}

/// A note as a warning in a receipt.
pub(super) fn sentence(note: &Note) -> String {
    format!("the group {} at {}: {}", note.srv, note.pointer, note.detail)
}

fn tell(before: &Record, after: &Record) {
    let document = |record: &Record| record.wanted.as_ref().map(|wanted| wanted.document.clone());
    let (Some(before), Some(after)) = (document(before), document(after)) else { return };
    for group in &after.groups {
        let (joined, left) = group.since(before.group(&group.srv));
        for node in joined {
            tracing::info!(%node, srv = %group.srv, "the node has joined the group");
        }
        for node in left {
            tracing::info!(%node, srv = %group.srv, "the node has left the group");
        }
    }
}
