//! The conductor: carries out one change, or one pass of enforcement, without doing any I/O.
//!
//! It observes, plans, has the plan audited, and takes the steps in order; where a plan says so it
//! observes and plans again. What it wants done are [`Effect`]s, what came of them are [`Event`]s. The
//! dictator turns effects into RESP and files, the simulation into messages of a modelled world; both
//! run this very code, with every decision in it.
//!
//! A change is answered ([`Effect::Announce`]) as soon as the new master takes writes and the reachable
//! slaves have been told; the conductor then goes on until all links are up ([`Effect::Finished`]).
//!
//! After any uncertain step it does not improvise: it observes again, and the plan that follows is made
//! from what is then known. Passes and time are bounded.

mod answers;
mod contract;
mod handing_over;
mod observe;
mod recording;
mod report;
mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::address::NodeName;
use crate::audit;
use crate::handover::HandOverLimits;
use crate::mutant;
use crate::observation::{Observation, Vitals};
use crate::plan::{Pending, Plan, Right, Step, Would, plan, plan_enforcement};
use crate::receipt::ReceiptStep;
use crate::record::{Record, Wanted};
use crate::refusal::{Refusal, Slug};

pub use contract::{Effect, Event, Finish, Job, Limits, Names, Outcome, Purpose};
use observe::Observing;
use steps::Running;

/// Most times one change observes and plans.
const PASSES_MAX: u32 = 400;
/// Wait before observing again while an outcome is not known.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Waits between looks at links that are not up yet: the first, the growth in percent, the last.
const VERIFY_INTERVAL_FIRST: Duration = Duration::from_millis(5);
const VERIFY_GROWTH_PERCENT: u32 = 160;
const VERIFY_INTERVAL_MAX: Duration = Duration::from_millis(250);

#[derive(Debug)]
enum Phase {
    Observing(Observing),
    /// Steps are being taken.
    Stepping,
    /// Waiting before observing again.
    Resting,
    Over,
}

/// What is gathered for the receipt.
#[derive(Debug)]
struct Tally {
    would: Would,
    provable: bool,
    warnings: Vec<String>,
    pending: Vec<Pending>,
    frozen: Option<u64>,
    applied: Option<u64>,
    write_gap: Option<Duration>,
    steps: Vec<ReceiptStep>,
    /// Slaves that were told to follow, in order.
    told: Vec<NodeName>,
    /// `sync_full` of the leader when the change began.
    full_syncs_before: Option<u64>,
}

/// The machine.
#[derive(Debug)]
pub struct Conduct {
    job: Job,
    limits: Limits,
    names: Names,
    record: Record,
    /// The record as it was last made durable, at first as it was at the start.
    durable: Record,
    /// Something was made durable in the course of this change, so nodes may have got orders.
    saved: bool,
    /// The record differs from what was last made durable.
    dirty: bool,
    record_unsaved: Option<String>,
    /// A node was seen taking writes without the right to, and the durable record does not say so yet.
    strays_noted: bool,
    now: Duration,
    started: Duration,
    observation: Observation,
    effects: Vec<Effect>,
    tickets: u64,
    phase: Phase,
    queue: VecDeque<Step>,
    again: bool,
    running: BTreeMap<u64, Running>,
    passes: u32,
    uncertain: Option<Refusal>,
    /// Why a slave was left out that answers; what a pass of enforcement ends with.
    aside: Option<Refusal>,
    /// The vitals of the node that takes writes, newer than the observation after a promotion.
    leader: Option<Vitals>,
    /// The old master of a hand-over this conductor completed.
    demoted: Option<NodeName>,
    tally: Tally,
    announced: bool,
    verify_interval: Duration,
    verify_until: Duration,
}

impl Conduct {
    /// Begins; ask for [`Conduct::effects`] next.
    pub fn new(job: Job, record: Record, names: Names, limits: Limits, now: Duration) -> Self {
        let tally = Tally {
            would: Would::Unchanged,
            provable: true,
            warnings: job.warnings.clone(),
            pending: Vec::new(),
            frozen: None,
            applied: None,
            write_gap: None,
            steps: Vec::new(),
            told: Vec::new(),
            full_syncs_before: None,
        };
        let mut conduct = Self {
            job,
            limits,
            names,
            durable: record.clone(),
            saved: false,
            record,
            dirty: false,
            record_unsaved: None,
            strays_noted: false,
            now,
            started: now,
            observation: Observation::default(),
            effects: Vec::new(),
            tickets: 0,
            phase: Phase::Over,
            queue: VecDeque::new(),
            again: false,
            running: BTreeMap::new(),
            passes: 0,
            uncertain: None,
            aside: None,
            leader: None,
            demoted: None,
            tally,
            announced: false,
            verify_interval: VERIFY_INTERVAL_FIRST,
            verify_until: Duration::ZERO,
        };
        conduct.observe();
        conduct
    }

    /// The record as it is now.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What is to be done now; each effect is given out once.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Takes note of what came of an effect.
    pub fn on(&mut self, event: Event, now: Duration) {
        self.now = now.max(self.now);
        match event {
            Event::Answer { ticket, answer } => match &mut self.phase {
                Phase::Observing(_) => self.on_observed(ticket, answer),
                Phase::Stepping => self.on_step_answered(ticket, answer),
                Phase::Resting | Phase::Over => {}
            },
            Event::Saved { ticket, result } => self.on_saved(ticket, result),
            Event::Woken => match self.phase {
                Phase::Resting if self.announced => self.look_at_links(),
                Phase::Resting => self.observe(),
                Phase::Stepping => self.on_step_woken(),
                Phase::Observing(_) | Phase::Over => {}
            },
        }
    }

    /// Ends the look at late links: somebody is waiting for the next change. No effect before the
    /// change was answered.
    pub fn hurry(&mut self, now: Duration) {
        self.now = now.max(self.now);
        self.verify_until = self.now;
        if self.announced && matches!(self.phase, Phase::Resting) {
            self.conclude();
        }
    }

    /// The document this pass works towards.
    fn wanted(&self) -> Option<Wanted> {
        match &self.job.purpose {
            Purpose::Apply(wanted) | Purpose::DryRun(wanted) => Some(wanted.clone()),
            Purpose::Enforce => {
                let open = self.record.intent.as_ref().map(|intent| intent.wanted.clone());
                open.or_else(|| self.record.wanted.clone())
            }
        }
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn rest(&mut self, interval: Duration) {
        self.phase = Phase::Resting;
        self.effects.push(Effect::Wake { at: self.now + interval });
    }

    fn out_of_time(&self) -> bool {
        self.now.saturating_sub(self.started) >= self.limits.apply_timeout || self.passes >= PASSES_MAX
    }

    /// Everything is observed: decide.
    fn decide(&mut self) {
        if self.announced {
            return self.verify();
        }
        self.passes += 1;
        self.queue.clear();
        let Some(wanted) = self.wanted() else {
            let advice = "define a topology and trigger it, or PUT one";
            return self.fail(Refusal::new(Slug::Unresolvable, "no topology is in force", advice));
        };
        self.dirty |= self.record.follow_lineage(&self.observation);
        self.strays_noted |= self.record.note_strays(&self.observation);
        let granted = self.record.granted_master(&self.observation);
        if let Some(granted) = granted.filter(|vitals| !vitals.loading) {
            self.strays_noted |= self.record.doubt_all(&self.observation, granted);
        }
        self.dirty |= self.strays_noted;
        let plan = if matches!(self.job.purpose, Purpose::Enforce) { plan_enforcement } else { plan };
        let planned = plan(&wanted, &self.observation, &self.record, &self.job.policy);
        let planned = planned.and_then(|plan| {
            let sound = audit::audit(&plan, &wanted, &self.observation, &self.record, &self.job.policy);
            match sound {
                Err(fault) if !mutant::any() => Err(audit::refusal(&plan, &fault)),
                _ => Ok(plan),
            }
        });
        match planned {
            Err(refusal) => self.refused(refusal),
            Ok(plan) => self.accept(plan, &wanted),
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        let may_clear = matches!(refusal.slug, Slug::OutcomeUnknown)
            || (self.uncertain.is_some()
                && matches!(refusal.slug, Slug::NodeUnreachable | Slug::ActingMasterUnreachable));
        if may_clear && !self.out_of_time() && matches!(self.job.purpose, Purpose::Apply(_)) {
            self.uncertain.get_or_insert(refusal);
            return self.rest(RETRY_INTERVAL);
        }
        self.strays_noted |= self.doubt(&refusal);
        if self.strays_noted && !matches!(self.job.purpose, Purpose::DryRun(_)) {
            // Nobody is attached, but what was seen must not be forgotten: the next life of a stray would
            // pass for that of a healthy slave.
            return self.save(steps::AfterSave::Refuse(Box::new(refusal)));
        }
        self.fail(refusal);
    }

    /// What a node holds of its own it brings along into its next life. Returns whether the record changed.
    fn doubt(&mut self, refusal: &Refusal) -> bool {
        let own = matches!(refusal.slug, Slug::WouldLoseData | Slug::SplitBrain);
        refusal.node.as_ref().filter(|_| own).is_some_and(|node| self.record.doubt(node))
    }

    fn accept(&mut self, plan: Plan, wanted: &Wanted) {
        if matches!(self.job.purpose, Purpose::DryRun(_)) {
            let planned = Outcome::Planned(Box::new(plan));
            return self.finish(Ok(planned));
        }
        if self.out_of_time() && !plan.steps.is_empty() {
            let late = Refusal::new(
                Slug::SyncTimeout,
                "the change was not finished within --apply-timeout",
                "see GET /status; enforcement goes on with what is safe, or send the document again",
            );
            let why = self.uncertain.take().unwrap_or(late);
            return self.fail(why);
        }
        self.note(&plan);
        if let Some(refusal) = &plan.refused {
            self.dirty |= self.doubt(refusal);
        }
        self.aside = plan.refused.clone();
        let leads_to_target = plan.steps.iter().any(|step| {
            matches!(step, Step::Promote { node, .. } if *node == wanted.document.master)
                || matches!(step, Step::Adopt { node, .. } if *node == wanted.document.master)
        });
        let target = &wanted.document.master;
        let stays = plan
            .acting
            .as_ref()
            .is_some_and(|acting| crate::plan::same_node(&self.observation, acting, target));
        if self.record.intent.is_none() && (leads_to_target || stays) && self.record.put_in_force(wanted) {
            self.dirty = true;
        }
        let applies = matches!(self.job.purpose, Purpose::Apply(_));
        if applies && self.record.wanted.as_ref().is_some_and(|now| now.document == wanted.document) {
            self.dirty |= self.record.settle_joining(&wanted.document);
        }
        self.note_parked_leavers();
        for step in &plan.steps {
            if let Step::Attach { node, .. } = step {
                self.dirty |= self.record.join(node);
            }
        }
        self.again = plan.again;
        self.queue = plan.steps.into();
        self.phase = Phase::Stepping;
        if self.dirty && !self.queue.is_empty() {
            return self.save(steps::AfterSave::Steps);
        }
        self.next_steps();
    }

    fn note(&mut self, plan: &Plan) {
        self.tally.would = stronger(self.tally.would, plan.would);
        self.tally.pending = plan.pending.clone();
        for warning in &plan.warnings {
            if !self.tally.warnings.contains(warning) {
                self.tally.warnings.push(warning.clone());
            }
        }
        if self.tally.full_syncs_before.is_none()
            && let Some(wanted) = self.wanted()
        {
            let leader = self.observation.vitals(&wanted.document.master);
            self.tally.full_syncs_before = leader.map(|vitals| vitals.full_syncs);
        }
    }

    fn note_right(&mut self, right: Right) {
        if matches!(right, Right::Resumed { provable: false } | Right::Replacement | Right::Successor) {
            self.tally.provable = false;
        }
    }

    fn note_parked_leavers(&mut self) {
        let before = self.record.leaving.len();
        let observation = &self.observation;
        self.record.leaving.retain(|node| !observation.vitals(node).is_some_and(Vitals::is_parked));
        self.dirty |= self.record.leaving.len() != before;
    }

    fn save(&mut self, after: steps::AfterSave) {
        let ticket = self.ticket();
        self.running.insert(ticket, Running::Save(after));
        self.effects.push(Effect::Save { ticket, record: Box::new(self.record.clone()) });
    }

    fn fail(&mut self, refusal: Refusal) {
        self.finish(Err(refusal));
    }

    fn finish(&mut self, result: Result<Outcome, Refusal>) {
        self.phase = Phase::Over;
        self.running.clear();
        self.effects.push(Effect::Finished(Box::new(Finish {
            result,
            record: self.record.clone(),
            record_unsaved: self.record_unsaved.clone(),
            observation: self.observation.clone(),
        })));
    }

    fn unix_ms(&self) -> u64 {
        let elapsed = self.now.saturating_sub(self.started).as_millis();
        self.job.started_unix_ms.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    fn hand_over_limits(&self) -> HandOverLimits {
        let approach_until = self.started + self.limits.apply_timeout;
        HandOverLimits { write_pause: self.limits.write_pause, approach_until }
    }
}

/// Which of two outcomes says more about what happened.
fn stronger(left: Would, right: Would) -> Would {
    let rank = |would| match would {
        Would::Unchanged => 0,
        Would::Repaired => 1,
        Would::Resumed => 2,
        Would::Switched => 3,
        Would::Established => 4,
    };
    if rank(right) > rank(left) { right } else { left }
}
