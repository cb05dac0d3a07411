//! The one task that owns what was delivered and what is to be delivered next.
//!
//! It asks [`Progress`] what to do, does it, tells [`Progress`] how it went, and asks again. It never holds
//! anything back for later: whatever happened meanwhile is in the source's present state when it looks.

mod members;

use std::time::Duration;

use bytes::Bytes;
use coordination::Backoff;
use service::clock;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use topology::Document;

use crate::answer::Verdict;
use crate::deliver::{Courier, Letter, Report};
use crate::delivered::DeliveredFile;
use crate::metrics::{ObserverMetrics, as_gauge};
use crate::source::{Found, NotFound, Source};
use crate::status::{Delivered, Notified, Seen, Status, Trouble};
use members::Members;

use crate::trigger::{Decision, Level, Progress, Trigger};

/// First wait after a failure that may pass by itself.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// Longest such wait.
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// Limit on the number of nodes: none here. How many are too many is the dictator's to say.
const NODES_MAX: usize = usize::MAX;

/// The one trouble that outlives a success.
const STATE_NOT_WRITABLE: &str = "state-not-writable";

/// What the owner is made of.
pub struct Owner {
    source: Source,
    courier: Courier,
    progress: Progress,
    file: DeliveredFile,
    slow_retry: Duration,
    backoff: Backoff,
    metrics: ObserverMetrics,
    status: watch::Sender<Status>,
    /// The trouble that was logged last, so that each is logged once.
    logged: Option<Trouble>,
    members: Members,
}

/// How an attempt ended, short of success.
enum Setback {
    /// Tried again after this long.
    Retry { wait: Duration, trouble: Trouble },
    /// Never tried again.
    Unfit(Trouble),
}

impl Owner {
    /// Puts the owner together; `status` is where it reports. `has_groups`: the document delivered last does.
    pub fn new(
        (source, courier): (Source, Courier),
        (progress, file): (Progress, DeliveredFile),
        has_groups: bool,
        slow_retry: Duration,
        metrics: ObserverMetrics,
        status: watch::Sender<Status>,
    ) -> Self {
        let backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        status.send_modify(|status| {
            status.state = "await_source";
            status.delivered =
                progress.last_delivered().map(|revision| Delivered { revision, at_unix_ms: None });
            let unasked = |url: &crate::notify_url::NotifyUrl| Notified { url: url.to_string(), last: None };
            status.notify = courier.urls().iter().map(unasked).collect();
        });
        if let Some(revision) = progress.last_delivered() {
            metrics.delivered_revision.set(as_gauge(revision));
        }
        let members = Members::new(courier.urls().len(), has_groups);
        Self { source, courier, progress, file, slow_retry, backoff, metrics, status, logged: None, members }
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        loop {
            self.look();
            let until = match self.progress.decide(Instant::now()) {
                Decision::Deliver { trigger, accepted } => {
                    self.attempt(&trigger, accepted).await;
                    continue;
                }
                Decision::Wait { until, .. } => Some(until),
                idle => {
                    self.show_idle(&idle);
                    None
                }
            };
            let members = self.members.due();
            tokio::select! {
                () = self.source.changed() => {}
                () = at(until) => {}
                () = at(members) => self.follow_members().await,
            }
        }
    }

    /// Takes in the source's present state.
    fn look(&mut self) {
        let Some(level) = self.source.level() else { return };
        if let Level::Present(trigger) = &level
            && self.progress.trigger().map(|known| known.revision) != Some(trigger.revision)
        {
            let revision = trigger.revision;
            tracing::info!(revision, "the trigger was written");
            self.backoff.reset();
            self.metrics.watch_revision.set(as_gauge(revision));
            let seen_at_unix_ms = clock::unix_millis();
            self.status.send_modify(|status| status.trigger = Some(Seen { revision, seen_at_unix_ms }));
        }
        self.progress.saw(level);
    }

    /// Shows a state in which nothing is to be done, and reports it if a person should know.
    fn show_idle(&mut self, decision: &Decision) {
        let (state, trouble) = match decision {
            Decision::AwaitSource => ("await_source", None),
            Decision::NoTrigger => ("no_trigger", self.deleted()),
            // What was delivered may not have been kept.
            Decision::UpToDate => {
                ("up_to_date", self.logged.clone().filter(|logged| logged.problem == STATE_NOT_WRITABLE))
            }
            // Shown by the attempt that found it.
            Decision::Unfit { .. } => ("unfit", self.logged.clone()),
            Decision::Hold { revision, delivered } => ("held", Some(went_back(*revision, *delivered))),
            Decision::Deliver { .. } | Decision::Wait { .. } => return,
        };
        if matches!(decision, Decision::NoTrigger) {
            self.status.send_modify(|status| status.trigger = None);
        }
        self.show(state, trouble, None);
    }

    /// A trigger that is away although one was delivered or seen before.
    fn deleted(&self) -> Option<Trouble> {
        let known = self.progress.last_delivered().is_some() || self.status.borrow().trigger.is_some();
        let again = self.logged.clone().filter(|logged| logged.problem == "trigger-deleted");
        again.or_else(|| {
            let detail = "the trigger was deleted; what was delivered stays in force, nothing is forwarded";
            let do_next = "write the trigger to put a document in force".to_owned();
            known.then(|| Trouble::new("trigger-deleted", detail, Some(do_next)))
        })
    }

    async fn attempt(&mut self, trigger: &Trigger, accepted: bool) {
        let revision = trigger.revision;
        self.status.send_modify(|status| {
            status.state = "delivering";
            status.next_retry_at_unix_ms = None;
        });
        let begun = Instant::now();
        match self.deliver(trigger, accepted).await {
            Ok(()) => {
                let took_ms = begun.elapsed().as_millis();
                tracing::info!(revision, took_ms, "every URL took the document");
                self.remember(revision).await;
            }
            Err(Setback::Retry { wait, trouble }) => {
                self.progress.failed(revision, Instant::now() + wait);
                self.show("waiting", Some(trouble), Some(wait));
            }
            Err(Setback::Unfit(trouble)) => {
                self.progress.unfit(revision);
                self.metrics.unfit.inc();
                self.show("unfit", Some(trouble), None);
            }
        }
    }

    async fn deliver(&mut self, trigger: &Trigger, accepted: bool) -> Result<(), Setback> {
        let found = match self.source.document_of(trigger).await {
            Ok(found) => found,
            Err(error @ NotFound::Missing { .. }) => return Err(Setback::Unfit(missing(&error))),
            Err(NotFound::Unreadable(cause)) => {
                let wait = self.backoff.next_wait();
                return Err(Setback::Retry { wait, trouble: unreadable(&cause) });
            }
        };
        let document = match Document::parse(&found.bytes, NODES_MAX) {
            Ok(parsed) => parsed.document,
            Err(error) => return Err(Setback::Unfit(malformed(trigger.revision, &error))),
        };
        if let Some(warning) = &found.warning {
            tracing::warn!(revision = trigger.revision, "{warning}");
        }
        self.chain(trigger, &found, &document, accepted).await?;
        self.source.retrigger(trigger).await.map_err(|cause| {
            let detail = format!("every URL took the document, but the trigger was not passed on: {cause}");
            Setback::Retry {
                wait: self.backoff.next_wait(),
                trouble: Trouble::new("retrigger-failed", detail, None),
            }
        })
    }

    /// PUTs to one URL after the other, up to the first that does not accept.
    async fn chain(
        &mut self,
        trigger: &Trigger,
        found: &Found,
        document: &Document,
        accepted: bool,
    ) -> Result<(), Setback> {
        let mut letter = Letter {
            revision: trigger.revision,
            body: Bytes::copy_from_slice(&found.bytes),
            request_id: format!("observer-{}-{:08x}", trigger.revision, fastrand::u32(..)),
            generation: None,
            accepted,
        };
        for index in 0..self.courier.urls().len() {
            self.forward(index, &mut letter).await?;
            if index == 0 {
                self.take_members(document, &mut letter).await?;
            }
        }
        self.members.passed_on();
        Ok(())
    }

    /// PUTs to one URL.
    async fn forward(&mut self, index: usize, letter: &mut Letter) -> Result<(), Setback> {
        let report = self.courier.deliver(index, letter).await;
        self.metrics.forwarded(index, &report);
        tracing::debug!(
            revision = report.revision,
            request_id = report.request_id,
            target = index,
            status = report.status,
            took_ms = report.took_ms,
            "forwarded"
        );
        letter.generation = letter.generation.or(report.generation);
        let setback = self.setback_of(index, &report);
        self.status.send_modify(|status| status.notify[index].last = Some(report));
        setback.map_or(Ok(()), Err)
    }

    fn setback_of(&mut self, index: usize, report: &Report) -> Option<Setback> {
        let wait = match report.verdict {
            Verdict::Accepted => return None,
            Verdict::RetrySlowly => self.slow_retry,
            Verdict::RetrySoon => {
                let asked_for = report.retry_after.unwrap_or_default().min(self.slow_retry);
                self.backoff.next_wait().max(asked_for)
            }
        };
        let url = &self.courier.urls()[index];
        let said = match (report.status, report.detail.as_deref()) {
            (Some(status), Some(detail)) => format!("answered {status}: {detail}"),
            (Some(status), None) => format!("answered {status}"),
            (None, detail) => format!("did not answer: {}", detail.unwrap_or("no reason known")),
        };
        let trouble = Trouble {
            problem: if report.status.is_some() { "not-accepted" } else { "not-answered" },
            detail: format!("{url} {said}"),
            do_next: report.do_next.clone(),
            identity: format!("{url} {:?} {:?}", report.status, report.problem),
        };
        Some(Setback::Retry { wait, trouble })
    }

    async fn remember(&mut self, revision: u64) {
        self.progress.delivered(revision);
        self.backoff.reset();
        self.metrics.delivered_revision.set(as_gauge(revision));
        let trouble = self.file.write(revision, self.members.has_groups()).await.err().map(|error| {
            let do_next = "make room in, or give rights to, the folder of --state-dir; until then a restart \
                           delivers again";
            let detail = format!("the delivered revision could not be kept: {error}");
            Trouble::new(STATE_NOT_WRITABLE, detail, Some(do_next.to_owned()))
        });
        let at_unix_ms = Some(clock::unix_millis());
        self.status.send_modify(|status| status.delivered = Some(Delivered { revision, at_unix_ms }));
        self.show("up_to_date", trouble, None);
    }

    /// Publishes the state; logs the trouble if it is another than the last.
    fn show(&mut self, state: &'static str, trouble: Option<Trouble>, wait: Option<Duration>) {
        if let Some(trouble) = &trouble
            && !self.logged.as_ref().is_some_and(|logged| logged.is_same_as(trouble))
        {
            let revision = self.progress.trigger().map(|trigger| trigger.revision);
            tracing::warn!(
                revision,
                problem = trouble.problem,
                do_next = trouble.do_next,
                "{}",
                trouble.detail
            );
        }
        let of_members = self.members.trouble.clone();
        let in_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self.status.send_modify(|status| {
            status.state = state;
            status.next_retry_at_unix_ms = in_ms.map(|wait_ms| clock::unix_millis().saturating_add(wait_ms));
            status.problems = trouble.clone().into_iter().chain(of_members).collect();
        });
        self.logged = trouble;
    }
}

/// Waits until then, or for ever.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn missing(error: &NotFound) -> Trouble {
    let do_next = "write the document, then write the trigger again".to_owned();
    Trouble::new("document-missing", format!("{error}; nothing is forwarded"), Some(do_next))
}

fn malformed(revision: u64, error: &topology::DocumentError) -> Trouble {
    let detail = format!("the document at revision {revision} is not forwarded: {}", error.detail);
    let do_next = "correct the document, then write the trigger again".to_owned();
    Trouble::new(error.kind.slug(), detail, Some(do_next))
}

fn unreadable(cause: &coordination::EtcdError) -> Trouble {
    Trouble::new("document-unreadable", cause.to_string(), None)
}

fn went_back(revision: u64, delivered: u64) -> Trouble {
    let detail = format!(
        "the trigger is at revision {revision}, but revision {delivered} was delivered before: etcd was restored \
         from an older backup or replaced, so nothing is forwarded"
    );
    let do_next =
        format!("look at the document; if it is meant, start the observer with --accept-revision {revision}");
    Trouble::new("revision-went-back", detail, Some(do_next))
}
