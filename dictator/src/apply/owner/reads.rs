//! Looks at the nodes beside the change under way: dry runs and the status.
//!
//! They have a copy of the record and save nothing. Their number is limited; they open no connections of
//! their own.

use tokio::sync::oneshot;
use topology::conduct::{Finish, Limits, Outcome, Purpose};
use topology::record::Wanted;

use super::super::drive::{self, World};
use super::super::groups::{self, Means, Prepared};
use super::super::status::status;
use super::super::{Answered, ApplyRequest, Rejection, Status};
use super::{Owner, STATUS_DEADLINE, Waiting};

impl Owner {
    pub(super) fn read(
        &self,
        purpose: Purpose,
        limits: Limits,
        warnings: Vec<String>,
        looks_groups_up: bool,
    ) -> Option<oneshot::Receiver<Finish>> {
        let permit = self.readers.clone().try_acquire_owned().ok()?;
        let job = self.job(purpose, warnings);
        let (record, nodes, resolve) = (self.record.clone(), self.nodes.clone(), self.resolve.clone());
        let (before, nodes_max) = (self.observation.clone(), self.settings.nodes_max);
        let (done, finished) = oneshot::channel();
        tokio::spawn(async move {
            let means = Means { resolve: &resolve, nodes: &nodes, store: None, limits, nodes_max };
            let prepared = if looks_groups_up {
                groups::prepare(&means, job, record).await
            } else {
                Ok(groups::as_it_is(&means, job, record).await)
            };
            let world = World { nodes: &nodes, store: None, progress: None, hurry: None };
            let finish = match prepared {
                Ok(Prepared { job, record, names, .. }) => {
                    drive::run(job, record, names, limits, world).await
                }
                Err((refusal, record)) => groups::not_begun(*refusal, *record, before),
            };
            drop(permit);
            let _ = done.send(finish);
        });
        Some(finished)
    }

    pub(super) fn dry_run(&self, request: ApplyRequest) {
        let waiting = Waiting {
            document: request.parsed.document.clone(),
            warnings: Vec::new(),
            revision: request.revision,
            if_match: request.if_match,
            askers: Vec::new(),
        };
        if let Err(rejection) = self.precondition(&waiting) {
            let _ = request.reply.send(Err(rejection));
            return;
        }
        let wanted = Wanted { document: request.parsed.document, revision: request.revision };
        let Some(finished) =
            self.read(Purpose::DryRun(wanted), self.settings.limits, request.parsed.warnings, true)
        else {
            let _ = request.reply.send(Err(Rejection::Busy));
            return;
        };
        tokio::spawn(async move {
            let answer = match finished.await.map(|finish| finish.result) {
                Ok(Ok(Outcome::Planned(plan))) => Ok(Answered::Plan(plan)),
                Ok(Ok(Outcome::Done(receipt))) => Ok(Answered::Receipt(receipt, 0)),
                Ok(Err(refusal)) => Err(Rejection::Refused(Box::new(refusal))),
                Err(_) => Err(Rejection::Busy),
            };
            let _ = request.reply.send(answer);
        });
    }

    pub(super) fn look(&self, reply: oneshot::Sender<Status>) {
        let change = self
            .running
            .as_ref()
            .filter(|running| running.cause == "put")
            .map(|running| running.change.clone());
        let present = (change, self.enforcement());
        let record = self.record.clone();
        let (cached, notes) = (self.observation.clone(), self.notes.clone());
        let Some(wanted) = record.wanted.clone() else {
            let _ = reply.send(status(&record, &cached, Ok(false), present, &notes));
            return;
        };
        let limits = Limits { observe_deadline: STATUS_DEADLINE, ..self.settings.limits };
        let Some(finished) = self.read(Purpose::DryRun(wanted), limits, Vec::new(), false) else {
            let _ = reply.send(status(&record, &cached, Ok(false), present, &notes));
            return;
        };
        let failing = self.failing.clone();
        tokio::spawn(async move {
            let Ok(finish) = finished.await else { return };
            let outcome = match &finish.result {
                Ok(Outcome::Planned(plan)) => Ok(!plan.steps.is_empty() || !plan.pending.is_empty()),
                Ok(Outcome::Done(_)) => Ok(false),
                Err(refusal) => Err(refusal),
            };
            let mut status = status(&record, &finish.observation, outcome, present, &notes);
            failing.explain(&mut status.nodes);
            let _ = reply.send(status);
        });
    }
}
