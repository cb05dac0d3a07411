//! What becomes of the change under way: its steps, its answer, its end, and who is told.

use serde_json::{Value, json};
use service::clock;
use topology::conduct::{Finish, Outcome};
use topology::document::Note;
use topology::receipt::Receipt;
use topology::record::Record;
use topology::refusal::Refusal;

use super::super::drive::Progress;
use super::super::groups;
use super::super::history::{Entry, Origin};
use super::super::status::{Change, nodes};
use super::super::{Answered, Rejection, Wait};
use super::failing::{Failing, Tell};
use super::{Owner, Running, answer};

/// What to do about a slave that enforcement tries to put in its place in vain.
const PENDING_ADVICE: &str = "mend what the reason names; it is tried again with every pass";

impl Owner {
    pub(super) async fn on_progress(&mut self, progress: Progress) {
        match progress {
            Progress::Noted(notes) => self.noted(notes),
            Progress::Began { step, node } => {
                if let Some(running) = &mut self.running {
                    let cause = running.cause;
                    if cause == "enforcement" && self.failing.is_told() {
                        tracing::debug!(step, node, "step begins again");
                    } else {
                        tracing::info!(step, node, "step begins");
                        let told = || json!({ "cause": cause, "step": step, "node": node });
                        self.settings.events.tell("step", told);
                    }
                    running.change = Change { step: step.to_owned(), since: clock::unix_millis() };
                }
            }
            Progress::Announced(receipt, record) => self.announced(&receipt, *record),
            Progress::Finished(finish) => self.finished(*finish).await,
        }
    }

    /// Each thing about a group is logged once, and once more when it is over.
    fn noted(&mut self, notes: Vec<Note>) {
        let same = |one: &Note, other: &Note| (&one.srv, &one.node) == (&other.srv, &other.node);
        for note in notes.iter().filter(|note| !self.notes.iter().any(|known| same(known, note))) {
            tracing::warn!(srv = %note.srv, "{}", groups::sentence(note));
        }
        for over in self.notes.iter().filter(|known| !notes.iter().any(|note| same(known, note))) {
            tracing::info!(srv = %over.srv, "the group {} is as it should be again", over.srv);
        }
        self.notes = notes;
    }

    /// What was answered is in force for whoever reads next, although links are still looked at.
    fn announced(&mut self, receipt: &Receipt, record: Record) {
        self.record = record;
        self.gauge();
        let sequence = self.record.sequence;
        let Some(running) = &mut self.running else { return };
        running.announced = true;
        "verify".clone_into(&mut running.change.step);
        let may_act = self.nodes.may_act();
        let is_told = self.failing.is_told() || self.failing.did_before(receipt);
        let is_told = running.cause == "enforcement" && is_told;
        running.answered = Some(Box::new(receipt.clone()));
        if running.cause == "put" || (receipt.outcome != "unchanged" && !is_told) {
            running.told = true;
            log_receipt(running.cause, receipt);
            let cause = running.cause;
            self.settings.events.tell("answered", || json!({ "cause": cause, "receipt": receipt }));
        }
        for asker in running.askers.iter_mut().filter(|asker| asker.wait == Wait::Promoted) {
            if let Some(reply) = asker.reply.take() {
                let receipt = Receipt { request_id: asker.origin.request_id.clone(), ..receipt.clone() };
                let answer = Answered::Receipt(Box::new(receipt), sequence);
                let _ = reply.send(if may_act { Ok(answer) } else { Err(Rejection::ReignEnded) });
            }
        }
        if self.waiting.is_some() {
            self.hurry.notify_one();
        }
    }

    async fn finished(&mut self, finish: Finish) {
        let Finish { result, record, record_unsaved, observation } = finish;
        self.record = record;
        self.observation = observation;
        if let Some(why) = record_unsaved.as_ref().filter(|_| record_unsaved != self.unsaved) {
            tracing::error!(why, "the record is not durable; mend what is named before a restart");
        }
        self.unsaved = record_unsaved;
        let Some(running) = self.running.take() else { return };
        let origin = running.askers.first().map(|asker| asker.origin.clone()).unwrap_or_default();
        match result {
            Ok(Outcome::Done(receipt)) => {
                self.succeeded(running, &origin, *receipt).await;
            }
            Ok(Outcome::Planned(_)) => {}
            Err(refusal) => self.refused(running, &origin, refusal).await,
        }
        self.gauge();
        let endpoints: Vec<_> = self.observation.nodes.values().filter_map(|node| node.endpoint).collect();
        self.nodes.retain(&endpoints);
        self.start_waiting().await;
    }

    async fn succeeded(&mut self, running: Running, origin: &Origin, receipt: Receipt) {
        let tell = match running.cause {
            "enforcement" => self.failing.carried_out(&receipt),
            _ => {
                self.failing = Failing::default();
                Tell::Everything
            }
        };
        self.metrics.drift.set(i64::from(!receipt.pending.is_empty()));
        self.metrics.last_success.set(seconds_now());
        self.metrics.ended(running.cause, &receipt.outcome, Some(&receipt));
        let idle = running.cause == "enforcement" && receipt.outcome == "unchanged";
        match tell {
            Tell::Everything if !idle => {
                if !running.told {
                    log_receipt(running.cause, &receipt);
                }
                self.remember(running.cause, origin, &receipt.outcome, None, Some(receipt.clone()));
            }
            Tell::CannotKeep { node, reason } => {
                self.cannot_keep("pending", &node, &json!({}), &reason, PENDING_ADVICE);
            }
            Tell::Everything | Tell::Nothing => {}
        }
        let sequence = self.record.sequence;
        for asker in running.askers {
            let receipt = Box::new(Receipt { request_id: asker.origin.request_id, ..receipt.clone() });
            let late = asker.wait == Wait::Links && !receipt.pending.is_empty();
            let answer = if late {
                Err(Rejection::LinksLate(receipt))
            } else {
                Ok(Answered::Receipt(receipt, sequence))
            };
            if let Some(reply) = asker.reply {
                let _ = reply.send(self.current(answer));
            }
        }
    }

    async fn refused(&mut self, running: Running, origin: &Origin, refusal: Refusal) {
        let slug = refusal.slug.as_str();
        self.metrics.drift.set(1);
        self.metrics.ended(running.cause, slug, None);
        let node = refusal.node.as_ref().map(ToString::to_string).unwrap_or_default();
        let evidence = Value::Object(refusal.evidence.clone());
        if running.cause == "put" {
            tracing::info!(slug, node, %evidence, r#do = refusal.advice, "refused: {}", refusal.detail);
        } else if self.failing.is_news(&refusal, running.answered.as_deref()) {
            self.cannot_keep(slug, &node, &evidence, &refusal.detail, &refusal.advice);
        }
        if running.cause == "put" {
            self.remember(running.cause, origin, slug, Some(refusal.detail.clone()), None);
        } else if let Some(receipt) = running.answered.filter(|_| running.told) {
            // One slave was refused, and the others were put right before.
            let outcome = receipt.outcome.clone();
            self.remember(running.cause, origin, &outcome, None, Some(*receipt));
        }
        answer(running.askers, || self.current(Err(Rejection::Refused(Box::new(refusal.clone())))));
    }

    /// Enforcement cannot do what it is there for: somebody should look.
    fn cannot_keep(&self, slug: &str, node: &str, evidence: &Value, detail: &str, advice: &str) {
        tracing::warn!(slug, node, %evidence, r#do = advice, "the topology cannot be kept: {detail}");
        let told = || json!({ "type": slug, "node": node, "detail": detail, "do": advice });
        self.settings.events.tell("stuck", told);
    }

    pub(super) fn remember(
        &mut self,
        cause: &str,
        origin: &Origin,
        outcome: &str,
        detail: Option<String>,
        receipt: Option<Receipt>,
    ) {
        let entry = Entry {
            at_unix_ms: clock::unix_millis(),
            cause: cause.to_owned(),
            request_id: origin.request_id.clone(),
            asked_by: origin.asked_by.clone(),
            reason: origin.reason.clone(),
            outcome: outcome.to_owned(),
            detail,
            receipt,
        };
        self.settings.events.tell("entry", || json!(entry));
        self.history.add(entry);
    }

    pub(super) fn gauge(&self) {
        let revision = self.record.wanted.as_ref().and_then(|wanted| wanted.revision).unwrap_or(0);
        self.metrics.revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
        self.metrics.generation.set(i64::try_from(self.record.generation).unwrap_or(i64::MAX));
        self.metrics.enforcement_paused.set(i64::from(self.pause.is_some()));
        self.metrics.open_handover.set(i64::from(self.record.intent.is_some()));
        let names = self.observation.nodes.keys().map(ToString::to_string);
        self.metrics.nodes.observed(names.zip(nodes(&self.record, &self.observation)));
        let master = self
            .record
            .granted
            .as_ref()
            .map_or_else(|| "none yet".to_owned(), |granted| granted.node.to_string());
        service::notify::status(&format!(
            "master {master}, generation {}, revision {revision}{}",
            self.record.generation,
            if self.pause.is_some() { ", enforcement paused" } else { "" }
        ));
    }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^52")]
fn seconds_now() -> f64 {
    clock::unix_millis() as f64 / 1e3
}

fn log_receipt(cause: &str, receipt: &Receipt) {
    let master =
        receipt.master.as_ref().map(|master| format!("{}:{}", master.name.address, master.name.port));
    tracing::info!(
        cause,
        revision = receipt.revision,
        generation = receipt.generation,
        master,
        write_gap_us = receipt.write_gap_us,
        frozen_offset = receipt.frozen_offset,
        pending = receipt.pending.len(),
        "{}",
        receipt.outcome
    );
    for warning in &receipt.warnings {
        tracing::info!(generation = receipt.generation, "note: {warning}");
    }
}
