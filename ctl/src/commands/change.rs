//! Commands that change something, and the plan that shows it before.
//!
//! On a terminal the plan is shown and a word is asked for; elsewhere the command itself is the word.
//! After the dictator has taken a document it is passed on to `--notify`, in order and only then, as the
//! observer does: DNS moves after the nodes.

use std::io::{BufRead, Read};

use topology::document::Entry as Listed;
use topology::receipt::Receipt;
use topology::{Document, NodeName};

use super::{Context, etcd, parsed};
use crate::answer::{Entry, Plan};
use crate::client::{Ask, Client, Reply};
use crate::exit::{Code, Failure};
use crate::progress;
use crate::render;

/// Longest document that is read; the dictator takes 64 KiB.
const DOCUMENT_BYTES_MAX: u64 = 1024 * 1024;

/// A document with the conditions under which it is sent.
struct Letter {
    body: Vec<u8>,
    revision: Option<u64>,
    if_match: Option<String>,
    reason: Option<String>,
}

pub(super) async fn plan(context: Context<'_>) -> Result<Code, Failure> {
    let letter = Letter::from_arguments(context)?;
    let answer = context.good(dry_run(context, &letter).await?)?;
    let plan: Plan = parsed(&answer)?;
    let pause = if plan.pauses() { expected_pause(context).await } else { String::new() };
    context.output.answer(&answer.value, |style| render::plan(&plan, &pause, style))?;
    Ok(if plan.changes() { Code::Differs } else { Code::Done })
}

pub(super) async fn apply(context: Context<'_>) -> Result<Code, Failure> {
    let letter = Letter::from_arguments(context)?;
    change(context, &letter).await?;
    Ok(Code::Done)
}

pub(super) async fn switch(context: Context<'_>) -> Result<Code, Failure> {
    let present = context.good(context.client().ask(&Ask::get(context.master_path())).await?)?;
    let document = Document::parse(present.value.to_string().as_bytes(), usize::MAX)
        .map_err(|error| Failure::new(Code::Failed, format!("{}: {error}", present.from)))?
        .document;
    let next = with_master(&document, context.text("node").unwrap_or_default())?;
    let body = next.to_json().to_string().into_bytes();
    // Nobody else's change is overwritten, should one come between.
    let letter = Letter { body, revision: None, if_match: present.etag.clone(), reason: reason(context)? };
    if etcd::holds_document(context, &document).await? {
        // What would be refused is not written down.
        context.good(dry_run(context, &letter).await?)?;
        confirm(context, &letter).await?;
        return etcd::put_in_force(context, &next).await;
    }
    change(context, &letter).await?;
    Ok(Code::Done)
}

impl Letter {
    fn from_arguments(context: Context<'_>) -> Result<Self, Failure> {
        Ok(Self {
            reason: reason(context)?,
            body: read(context.text("file").unwrap_or("-"))?,
            revision: context.matches.get_one::<u64>("revision").copied(),
            if_match: context.text("if-match").map(str::to_owned),
        })
    }

    /// The PUT that sends it.
    fn ask(&self, context: Context<'_>, query: &str) -> Ask {
        let path = format!("{}{query}", context.master_path());
        Ask::put(path, self.body.clone(), context.settings.timeout)
            .header("x-topology-revision", self.revision)
            .header("if-match", self.if_match.as_ref())
            .header("x-reason", self.reason.as_ref())
    }
}

/// What `--reason` says. The dictator judges its length; what cannot be sent at all is refused here.
fn reason(context: Context<'_>) -> Result<Option<String>, Failure> {
    let reason = context.matches.try_get_one::<String>("reason").ok().flatten();
    if reason.is_some_and(|text| text.chars().any(char::is_control)) {
        return Err(Failure::usage("--reason: one line of text"));
    }
    Ok(reason.cloned())
}

/// Reads a file, or standard input.
pub(super) fn read(path: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let opened: std::io::Result<Box<dyn Read>> = match path {
        "-" => Ok(Box::new(std::io::stdin().lock())),
        path => std::fs::File::open(path).map(|file| Box::new(file) as Box<dyn Read>),
    };
    opened
        .and_then(|source| source.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::usage(format!("the document {path} cannot be read: {error}")))?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Failure::usage(format!("{path} is larger than any document; is it the right file?")));
    }
    Ok(bytes)
}

async fn dry_run(context: Context<'_>, letter: &Letter) -> Result<Reply, Failure> {
    context.client().ask(&letter.ask(context, "?dry_run=true")).await
}

/// How long writes are likely to wait. Without a history the plan is still worth showing.
async fn expected_pause(context: Context<'_>) -> String {
    let history = match context.client().ask(&Ask::get("/history")).await {
        Ok(Reply::Good(answer)) => parsed::<Vec<Entry>>(&answer).unwrap_or_default(),
        _ => Vec::new(),
    };
    render::expected_pause(&history)
}

/// Shows the plan and asks, where somebody can be asked.
async fn confirm(context: Context<'_>, letter: &Letter) -> Result<(), Failure> {
    if context.settings.yes || !context.output.can_ask {
        return Ok(());
    }
    let answer = context.good(dry_run(context, letter).await?)?;
    let plan: Plan = parsed(&answer)?;
    if !plan.changes() {
        return Ok(());
    }
    let pause = if plan.pauses() { expected_pause(context).await } else { String::new() };
    context.output.talk(&render::plan(&plan, &pause, context.output.talk_style));
    context.output.talk("Do it? [y/N] ");
    let mut word = String::new();
    std::io::stdin().lock().read_line(&mut word)?;
    if matches!(word.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Code::Failed, "nothing was sent"))
}

/// Sends a document, prints the receipt, and passes the document on.
async fn change(context: Context<'_>, letter: &Letter) -> Result<(), Failure> {
    confirm(context, letter).await?;
    let client = context.client();
    let query = if context.matches.get_flag("wait-links") { "?wait=links" } else { "" };
    let ask = letter.ask(context, query);
    let reply = progress::during(&client, context.output, client.ask(&ask)).await?;
    let answer = context.good(reply)?;
    let receipt: Receipt = parsed(&answer)?;
    context.output.answer(&answer.value, |style| render::receipt(&receipt, false, style))?;
    pass_on(context, letter, &receipt).await?;
    if let Some(revision) = receipt.revision.filter(|_| letter.revision.is_none())
        && receipt.outcome != "unchanged"
    {
        context.output.talk(&past_the_observer(revision, context.settings.notify.is_empty()));
    }
    Ok(())
}

/// What is left to do when a document went to the dictator alone although an observer delivers the others.
fn past_the_observer(revision: u64, nobody_notified: bool) -> String {
    let dns = if nobody_notified { "DNS was not told (see --notify), and " } else { "" };
    format!(
        "note: the document before came from an observer, as revision {revision}, and that one knows nothing of this \
         change: {dns}the next trigger puts back what stands in etcd or in its file. Define this document there, too.\n"
    )
}

async fn pass_on(context: Context<'_>, letter: &Letter, receipt: &Receipt) -> Result<(), Failure> {
    if context.settings.notify.is_empty() {
        return Ok(());
    }
    let body = with_members(context, &letter.body).await.map_err(|failure| {
        let text = format!("the change stands, but nobody was told: {}", failure.text);
        Failure::new(Code::Unfinished, text)
    })?;
    for endpoint in &context.settings.notify {
        let ask = Ask::put("", body.clone(), context.settings.timeout)
            .header("x-topology-revision", letter.revision)
            .header("x-topology-generation", Some(receipt.generation))
            .header("x-request-id", Some(&receipt.request_id).filter(|id| !id.is_empty()));
        let failure = match Client::of(endpoint, context.settings).ask(&ask).await {
            Ok(Reply::Good(_)) => {
                context.output.talk(&format!("told {endpoint}\n"));
                continue;
            }
            Ok(Reply::Bad(_, problem)) => render::refusal(&problem, context.output.talk_style),
            Err(failure) => failure,
        };
        let text = format!(
            "the change stands, but {endpoint} was not told, nor were those after it: {}",
            failure.text
        );
        return Err(Failure::new(Code::Unfinished, text));
    }
    Ok(())
}

/// The document as the dictator has it, if it has groups: who publishes them learns from it who is in them.
async fn with_members(context: Context<'_>, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let has_groups = |parsed: topology::document::Parsed| !parsed.document.groups.is_empty();
    if !Document::parse(body, usize::MAX).is_ok_and(has_groups) {
        return Ok(body.to_vec());
    }
    let present = context.good(context.client().ask(&Ask::get(context.master_path())).await?)?;
    Ok(present.value.to_string().into_bytes())
}

/// The document with another of its nodes as master. Entries of `discard` do not come along: they were
/// meant for another change.
fn with_master(document: &Document, name: &str) -> Result<Document, Failure> {
    let is_named = |node: &&NodeName| {
        // Where the document leaves the port open, `status` shows the one that was found.
        let without_port = name.rsplit_once(':').map(|(address, _)| address.trim_matches(['[', ']']));
        let address = node.address.to_string();
        node.to_string() == name
            || address == name
            || (node.port.is_none() && without_port == Some(address.as_str()))
    };
    let named: Vec<&NodeName> = document.nodes().filter(is_named).collect();
    let [master] = named.as_slice() else {
        let nodes: Vec<String> = document.nodes().map(ToString::to_string).collect();
        let why = if named.is_empty() { "is no node" } else { "is the address of several nodes" };
        return Err(Failure::usage(format!(
            "{name:?} {why} of the document in force; its nodes are {}",
            nodes.join(", ")
        )));
    };
    let master = (*master).clone();
    let mut entries = document.entries();
    entries.retain(|entry| *entry != Listed::Node(master.clone()));
    // An old master that is behind the name of a group becomes a slave by that; any other is named.
    let is_member = document.groups.iter().any(|group| group.members.contains(&document.master));
    if document.master != master && !is_member {
        entries.insert(0, Listed::Node(document.master.clone()));
    }
    Ok(Document::assemble(master, entries, Vec::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(value: &serde_json::Value) -> Document {
        Document::parse(value.to_string().as_bytes(), usize::MAX).unwrap().document
    }

    #[test]
    fn another_node_becomes_master_and_the_master_a_slave() {
        let present = document(&json!({
            "master": {"address": "core-01"},
            "slaves": [{"address": "core-02"}, {"address": "10.0.0.4", "port": 6380}],
        }));
        let next = with_master(&present, "10.0.0.4:6380").unwrap();
        assert_eq!(next.master.to_string(), "10.0.0.4:6380");
        let slaves: Vec<String> = next.slaves.iter().map(ToString::to_string).collect();
        assert_eq!(slaves, ["core-01", "core-02"]);
        assert_eq!(with_master(&present, "core-01").unwrap(), present);
        assert_eq!(with_master(&present, "core-02:6379").unwrap().master.to_string(), "core-02");
    }

    #[test]
    fn members_of_a_group_change_places_without_being_named() {
        let present = document(&json!({
            "master": {"address": "core-01"},
            "slaves": [
                {"srv": "all", "members": [{"address": "core-01"}, {"address": "core-02"}]},
                {"address": "core-09"},
            ],
        }));
        let next = with_master(&present, "core-02").unwrap();
        let group = json!({"srv": "all"});
        let written = json!({"master": {"address": "core-02"}, "slaves": [group, {"address": "core-09"}]});
        assert_eq!(next.as_written().to_json(), written);
        assert_eq!(next.slaves.iter().map(ToString::to_string).collect::<Vec<_>>(), ["core-01", "core-09"]);
        // A named one takes its place, and goes back to it from outside of the group.
        let next = with_master(&present, "core-09").unwrap();
        let written = json!({"master": {"address": "core-09"}, "slaves": [group]});
        assert_eq!(next.as_written().to_json(), written);
        let back = with_master(&next, "core-01").unwrap().as_written();
        let written = json!({"master": {"address": "core-01"}, "slaves": [{"address": "core-09"}, group]});
        assert_eq!(back.to_json(), written);
        assert_eq!(with_master(&present, "core-01").unwrap(), present);
    }

    #[test]
    fn a_node_must_be_named_exactly() {
        let present = document(&json!({
            "master": {"address": "10.0.0.1", "port": 1},
            "slaves": [{"address": "10.0.0.1", "port": 2}],
        }));
        for (name, part) in [("core-09", "is no node"), ("10.0.0.1", "several nodes"), ("", "is no node")] {
            let failure = with_master(&present, name).unwrap_err();
            assert_eq!(failure.code, Code::Usage);
            assert!(failure.text.contains(part) && failure.text.contains("10.0.0.1:2"), "{}", failure.text);
        }
    }
}
