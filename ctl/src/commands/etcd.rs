//! The topology in etcd: define it, pull the trigger, see what becomes of it.
//!
//! An observer reads the document as it was when the trigger was written, so defining changes nothing and
//! the trigger's revision names exactly one document. What became of it is asked of the dictator, whose
//! status tells that revision when it is in force, and whose history tells a refusal.

use std::time::Duration;

use coordination::{Etcd, EtcdError};
use service::clock;
use tokio::time::{Instant, sleep};
use topology::Document;
use topology::document::DocumentError;

use super::{Context, change, parsed};
use crate::answer::{Entry, Place, Problem};
use crate::client::{Ask, Reply};
use crate::exit::{Code, Failure};
use crate::progress;
use crate::render;

/// Deadline of one question to etcd.
const ETCD_DEADLINE: Duration = Duration::from_secs(5);
/// Between two looks at what became of a trigger.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The etcd of the settings.
fn etcd(context: Context<'_>) -> Result<Etcd, Failure> {
    let endpoints = context.settings.etcd.clone();
    endpoints
        .map(Etcd::new)
        .ok_or_else(|| Failure::usage("it is not known where etcd is: give --etcd, or set DICTATORCTL_ETCD"))
}

pub(super) async fn define(context: Context<'_>) -> Result<Code, Failure> {
    let etcd = etcd(context)?;
    let bytes = change::read(context.text("file").unwrap_or("-"))?;
    check(&bytes, context)?;
    let key = &context.settings.topology_key;
    let revision = etcd.put(key, &bytes, ETCD_DEADLINE).await.map_err(failure)?;
    context.output.print(&format!(
        "defined: {key} at revision {revision}; nothing moves until `dictatorctl trigger`\n"
    ))?;
    Ok(Code::Done)
}

/// Nobody looks at a document in etcd before it is triggered, so it is looked at here.
fn check(bytes: &[u8], context: Context<'_>) -> Result<(), Failure> {
    match Document::parse(bytes, usize::MAX) {
        Ok(_) => Ok(()),
        Err(error) => Err(render::refusal(&malformed(&error), context.output.talk_style)),
    }
}

/// A document's mistakes as the problem that the dictator would make of them.
fn malformed(error: &DocumentError) -> Problem {
    let place = |mistake: &topology::document::Mistake| Place {
        pointer: mistake.pointer.clone(),
        detail: mistake.detail.clone(),
    };
    Problem {
        kind: format!("urn:redis-dictator:{}", error.kind.slug()),
        title: "This Is No Topology".to_owned(),
        status: 400,
        detail: error.detail.clone(),
        errors: error.mistakes.iter().map(place).collect(),
        advice: Some("correct the document; nothing was written".to_owned()),
        ..Problem::default()
    }
}

pub(super) async fn trigger(context: Context<'_>) -> Result<Code, Failure> {
    let etcd = etcd(context)?;
    let before = if context.matches.get_flag("wait") { Some(newest(context).await?) } else { None };
    let revision = pull(context, &etcd).await?;
    match before {
        Some(before) => follow(context, revision, &before).await,
        None => Ok(Code::Done),
    }
}

/// Writes the trigger; the value only helps whoever looks at the key later.
async fn pull(context: Context<'_>, etcd: &Etcd) -> Result<u64, Failure> {
    let key = &context.settings.trigger_key;
    let value = render::utc(clock::unix_millis());
    let revision = etcd.put(key, value.as_bytes(), ETCD_DEADLINE).await.map_err(failure)?;
    context.output.print(&format!("triggered: {key} at revision {revision}\n"))?;
    Ok(revision)
}

/// The newest entry of the history; what comes after it came after the trigger.
async fn newest(context: Context<'_>) -> Result<Option<Entry>, Failure> {
    let answer = context.get("/history").await?;
    Ok(parsed::<Vec<Entry>>(&answer)?.into_iter().next())
}

/// Waits until the revision is in force, or was refused.
async fn follow(context: Context<'_>, revision: u64, before: &Option<Entry>) -> Result<Code, Failure> {
    let client = context.client();
    progress::during(&client, context.output, async {
        let ends_at = Instant::now() + context.settings.timeout;
        loop {
            if let Some(ended) = look(context, revision, before).await? {
                return Ok(ended);
            }
            if Instant::now() >= ends_at {
                let text = format!(
                    "revision {revision} is neither in force nor refused after {} s; is an observer running? \
                     Its GET /status says what it is at",
                    context.settings.timeout.as_secs()
                );
                return Err(Failure::new(Code::Unfinished, text));
            }
            sleep(LOOK_INTERVAL).await;
        }
    })
    .await
}

async fn look(context: Context<'_>, revision: u64, before: &Option<Entry>) -> Result<Option<Code>, Failure> {
    // A dictator that is away for a moment is waited for like one that has not been told yet.
    let Ok(Reply::Good(answer)) = context.client().ask(&Ask::get("/history")).await else { return Ok(None) };
    let entries: Vec<Entry> = parsed(&answer)?;
    let known = |entry: &&Entry| Some(*entry) == before.as_ref();
    let since: Vec<&Entry> = entries.iter().take_while(|entry| !known(entry)).collect();
    let put: Vec<&Entry> = since.into_iter().filter(|entry| entry.cause == "put").collect();
    let done = put.iter().find(|entry| {
        entry.receipt.as_ref().and_then(|receipt| receipt.revision).is_some_and(|at| at >= revision)
    });
    if let Some(receipt) = done.and_then(|entry| entry.receipt.as_ref()) {
        let value = serde_json::to_value(receipt).unwrap_or_default();
        context.output.answer(&value, |style| render::receipt(receipt, false, style))?;
        return Ok(Some(Code::Done));
    }
    if let Some(refused) = put.iter().find(|entry| entry.receipt.is_none()) {
        let text = format!(
            "refused: {} [{}]; request {}. The observer goes on trying: see its GET /status for what to do",
            render::printable(refused.detail.as_deref().unwrap_or("no detail")),
            refused.outcome,
            refused.request_id
        );
        return Err(Failure::new(Code::Refused, text));
    }
    Ok(None)
}

/// Whether etcd has a document, so that a change has to go there.
pub(super) async fn holds_document(context: Context<'_>, in_force: &Document) -> Result<bool, Failure> {
    if context.settings.etcd.is_none() {
        return Ok(false);
    }
    let key = &context.settings.topology_key;
    let state = etcd(context)?.get(key, ETCD_DEADLINE).await.map_err(failure)?;
    let Some(version) = state.present() else { return Ok(false) };
    let defined = Document::parse(&version.value, usize::MAX).map(|parsed| parsed.document);
    let without_discard = |document: &Document| Document { discard: Vec::new(), ..document.as_written() };
    if defined.as_ref().is_ok_and(|defined| without_discard(defined) == without_discard(in_force)) {
        return Ok(true);
    }
    Err(Failure::new(
        Code::Refused,
        format!(
            "the document in etcd ({key}) is not the one in force, so somebody defined another one, or changed \
             the nodes past it. Look at both, then `dictatorctl define` and `trigger` the one that is right"
        ),
    ))
}

/// Defines a document and triggers it, and tells what became of it.
pub(super) async fn put_in_force(context: Context<'_>, document: &Document) -> Result<Code, Failure> {
    let etcd = etcd(context)?;
    let before = newest(context).await?;
    // Who is in its groups is for the dictator to find.
    let text = document.as_written().to_json().to_string();
    let key = &context.settings.topology_key;
    etcd.put(key, text.as_bytes(), ETCD_DEADLINE).await.map_err(failure)?;
    let revision = pull(context, &etcd).await?;
    follow(context, revision, &before).await
}

fn failure(error: EtcdError) -> Failure {
    let code = match error {
        _ if error.is_permission() => Code::NotPermitted,
        EtcdError::Unreachable { .. } => Code::Unavailable,
        EtcdError::Refused { .. } => Code::Refused,
        EtcdError::OutcomeUnknown { .. } => Code::Unfinished,
    };
    Failure::new(code, render::printable(&error.to_string()))
}
