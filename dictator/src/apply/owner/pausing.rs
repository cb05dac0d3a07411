//! Pauses of enforcement, as the owner carries them out.

use tokio::time::Instant;

use super::super::history::Origin;
use super::super::pause::{CAUSE, Enforcement, Pause, PauseRequest, RESUMED, left_open};
use super::Owner;

impl Owner {
    /// A pause that the last life left open ended with it; the history shall say so.
    pub(super) fn close_left_pause(&mut self) {
        if left_open(&self.history.entries()) {
            tracing::info!("a pause of enforcement was left; it ended with the dictator that was told of it");
            let detail = "the dictator was started anew".to_owned();
            self.remember(CAUSE, &Origin::default(), RESUMED, Some(detail), None);
        }
    }

    pub(super) fn set_pause(&mut self, request: PauseRequest) {
        let PauseRequest { duration, reason, request_id, asked_by, reply } = request;
        let origin = Origin { request_id: request_id.clone(), asked_by, reason: None };
        if duration.is_zero() {
            self.end_pause("somebody asked for it", &origin);
        } else {
            let (outcome, detail) = Pause::entry(duration, &reason);
            tracing::info!(request_id, reason, seconds = duration.as_secs(), "enforcement is paused");
            self.remember(CAUSE, &origin, outcome, Some(detail), None);
            self.pause = Some(Pause::begin(duration, reason, request_id));
        }
        self.gauge();
        let _ = reply.send(self.enforcement());
    }

    /// Whether enforcement is held now. An open hand-over is resolved all the same.
    pub(super) fn is_paused(&mut self) -> bool {
        self.end_pause_in_time();
        self.pause.is_some() && self.record.intent.is_none()
    }

    /// Ends a pause whose time is over. Called with every pass and every ask, for there may be no passes.
    pub(super) fn end_pause_in_time(&mut self) {
        if self.pause.as_ref().is_some_and(|pause| pause.ends <= Instant::now()) {
            self.end_pause("its time is over", &Origin::default());
        }
    }

    pub(super) fn end_pause(&mut self, why: &str, origin: &Origin) {
        if self.pause.take().is_some() {
            tracing::info!(request_id = origin.request_id, why, "the pause of enforcement is over");
            self.remember(CAUSE, origin, RESUMED, Some(why.to_owned()), None);
            self.gauge();
        }
    }

    pub(super) fn enforcement(&self) -> Enforcement {
        let live = self.pause.as_ref().filter(|pause| pause.ends > Instant::now());
        let interval_ms = u64::try_from(self.settings.enforce_interval.as_millis()).unwrap_or(u64::MAX);
        Enforcement { interval_ms, paused: live.map(|pause| pause.shown.clone()) }
    }
}
