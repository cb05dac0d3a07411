//! Changes: what is applied or enforced next, how the conductor is driven, and how it ends.

use std::net::SocketAddr;
use std::time::Duration;

use topology::NodeName;
use topology::address::{Address, DEFAULT_REDIS_PORT};
use topology::conduct::{Conduct, Effect, Event as Happened, Finish, Job, Limits, Names, Outcome, Purpose};
use topology::plan::Policy;
use topology::receipt::Receipt;
use topology::record::{Record, Wanted};

use super::{ENFORCE_INTERVAL, Ended};
use crate::event::Timer;
use crate::redis::Part;
use crate::world::{MILLISECOND, Time, World};

impl World {
    /// Sets the time of the next pass; an earlier setting is void.
    pub(super) fn enforce_after(&mut self, d: usize, delay: Time) {
        self.dictators[d].enforce += 1;
        let timer = Timer::Enforce(self.dictators[d].enforce);
        self.dictator_after(d, delay, timer);
    }

    pub(super) fn next_job(&mut self, d: usize) {
        if self.dictators[d].conduct.is_some() {
            return;
        }
        if !self.has_mandate(d) {
            self.dictators[d].waiting = None;
            return;
        }
        let state = &mut self.dictators[d];
        let purpose = match state.waiting.take() {
            Some(wanted) => Purpose::Apply(wanted),
            None if state.record.wanted.is_some() || state.record.intent.is_some() => Purpose::Enforce,
            None => return,
        };
        state.applying = matches!(purpose, Purpose::Apply(_));
        state.announced = false;
        let names = names(&purpose, &state.record);
        let policy = Policy { ignore_sentinel: false, epoch: state.epoch };
        let job = Job { purpose, policy, warnings: Vec::new(), started_unix_ms: self.now / MILLISECOND };
        let now = Duration::from_micros(self.now);
        state.latest = state.record.clone();
        let conduct = Conduct::new(job, state.record.clone(), names, Limits::default(), now);
        state.conduct = Some(Box::new(conduct));
        state.disturbances = self.disturbances;
        state.before = self.nodes.iter().map(|node| (node.part, node.life)).collect();
        let sound = self.is_sound(d);
        self.dictators[d].sound_before = sound;
        if self.dictators[d].applying {
            self.moments.push(self.steps);
        }
        let what = if self.dictators[d].applying { "a document" } else { "enforcement" };
        self.note(|_| format!("dictator {d}: begins {what}"));
        self.drive(d);
    }

    /// The granted master is up in the life it was granted to, is the only one, and nothing is open.
    fn is_sound(&self, d: usize) -> bool {
        let record = &self.dictators[d].record;
        let Some(granted) = &record.granted else { return false };
        record.intent.is_none()
            && self.nodes.iter().any(|node| node.run_id == granted.run_id)
            && self.nodes.iter().all(|node| node.is_up() && !node.loading)
            && self.nodes.iter().all(|node| (node.part == Part::Master) == (node.run_id == granted.run_id))
    }

    /// An operator's document reaches whoever believes to be in charge.
    pub(crate) fn put(&mut self, wanted: Wanted) -> bool {
        let able: Vec<usize> = (0..self.dictators.len())
            .filter(|d| self.dictators[*d].up && !self.dictators[*d].stopped && self.has_mandate(*d))
            .filter(|d| !self.locked() || self.dictators[*d].epoch > 0)
            .collect();
        if able.is_empty() {
            return false;
        }
        let d = able[self.chance.index(able.len())];
        self.dictators[d].waiting = Some(wanted);
        let now = Duration::from_micros(self.now);
        let state = &mut self.dictators[d];
        if let (true, Some(conduct)) = (state.announced, &mut state.conduct) {
            // Late links are not waited for while somebody waits for the next change.
            conduct.hurry(now);
            self.drive(d);
        }
        // Something may have befallen it meanwhile.
        if self.dictators[d].up && !self.dictators[d].stopped {
            self.next_job(d);
        }
        true
    }

    pub(super) fn tell(&mut self, d: usize, happened: Happened) {
        let now = Duration::from_micros(self.now);
        if let Some(conduct) = &mut self.dictators[d].conduct {
            conduct.on(happened, now);
            self.drive(d);
        }
    }

    /// Carries out what the conductor wants, one effect at a time; before each, anything may happen.
    pub(super) fn drive(&mut self, d: usize) {
        let life = self.dictators[d].life;
        loop {
            let Some(effect) = self.dictators[d].held.pop_front() else {
                let Some(conduct) = &mut self.dictators[d].conduct else { return };
                let effects = conduct.effects();
                if effects.is_empty() {
                    return;
                }
                self.dictators[d].held.extend(effects);
                continue;
            };
            if !matches!(effect, Effect::Wake { .. } | Effect::Began { .. }) {
                self.moment();
            }
            let state = &mut self.dictators[d];
            if !state.up || state.life != life {
                return;
            }
            if state.stopped {
                state.held.push_front(effect);
                return;
            }
            self.perform(d, effect);
        }
    }

    pub(super) fn perform(&mut self, d: usize, effect: Effect) {
        match effect {
            Effect::Order { ticket, order } => self.send_order(d, ticket, order),
            Effect::Save { ticket, record } => {
                let before = std::mem::replace(&mut self.dictators[d].latest, (*record).clone());
                self.ledger_granted(d, &before, &record);
                self.begin_save(d, ticket, record);
            }
            Effect::Wake { at } => {
                let state = &mut self.dictators[d];
                state.wake += 1;
                let timer = Timer::Wake(state.wake);
                let delay = (at.as_micros() as Time).saturating_sub(self.now);
                self.dictator_after(d, delay, timer);
            }
            Effect::Began { step, node } => self.note(|_| format!("dictator {d}: {step} {node}")),
            Effect::Announce(receipt) => {
                self.dictators[d].announced = true;
                self.publish(d, &receipt);
            }
            Effect::Finished(finish) => self.finished(d, *finish),
        }
    }

    /// Who has lost the say gives no answer: another may have moved the master since.
    pub(super) fn publish(&mut self, d: usize, receipt: &Receipt) {
        if !self.has_mandate(d) {
            return;
        }
        let Some(master) = &receipt.master else { return };
        let found = self.nodes.iter().position(|node| node.endpoint.ip() == master.ip);
        let Some(node) = found else { return };
        if let Some(life) = crate::redis::life_of(&master.run_id) {
            self.ledger_published(node, life, receipt);
        }
    }

    pub(super) fn finished(&mut self, d: usize, finish: Finish) {
        let state = &mut self.dictators[d];
        state.conduct = None;
        state.held.clear();
        state.record = finish.record.clone();
        for ticket in &mut state.tickets {
            ticket.ticket = None;
        }
        state.instant.clear();
        let announced = state.announced;
        self.told_of(&finish.record);
        let ended = match &finish.result {
            Ok(Outcome::Done(receipt)) => {
                if !announced {
                    self.publish(d, receipt);
                }
                Ended::Done(word(&receipt.outcome), receipt.pending.len())
            }
            Ok(Outcome::Planned(_)) => Ended::Done("planned", 0),
            Err(refusal) => {
                self.note(|_| {
                    format!("dictator {d}: refuses: {}: {}", refusal.slug.as_str(), refusal.detail)
                });
                self.check_refusal(d, refusal.slug.as_str());
                if refusal.slug.as_str() == "master-lost-data" {
                    self.ledger_warned(&finish.observation);
                }
                Ended::Refused(refusal.slug.as_str())
            }
        };
        self.note(|_| format!("dictator {d}: ends with {ended:?}"));
        if self.dictators[d].applying {
            self.moments.push(self.steps);
        }
        self.endings.push((self.dictators[d].applying, ended));
        self.dictators[d].last = Some(ended);
        let delay = if self.dictators[d].waiting.is_some() { 0 } else { ENFORCE_INTERVAL };
        self.enforce_after(d, delay);
    }

    /// Whose names a dictator will remember.
    pub(super) fn told_of(&mut self, record: &Record) {
        if let Some(wanted) = &record.wanted {
            self.members = (0..self.nodes.len())
                .filter(|at| wanted.document.nodes().any(|name| *name == self.nodes[*at].name))
                .fold(0, |bits, at| bits | 1 << at);
        }
        let named = record.nodes();
        self.known |= (0..self.nodes.len())
            .filter(|at| named.contains(&self.nodes[*at].name))
            .fold(0, |bits, at| bits | 1 << at);
    }

    /// A change that was refused in a sound world that nobody disturbed has left every role as it was.
    pub(super) fn check_refusal(&mut self, d: usize, slug: &str) {
        let state = &self.dictators[d];
        // These two may leave a slave attached that was not before; they say so.
        if matches!(slug, "sync-timeout" | "outcome-unknown") || !state.sound_before {
            return;
        }
        // Enforcement says what it did, and leaves out who is refused.
        if state.announced && !state.applying {
            return;
        }
        if state.disturbances != self.disturbances || self.locked() {
            return;
        }
        // Past a master that was given up the others may move on while the target is promoted.
        if !self.ledger.permissions.is_empty() {
            return;
        }
        let changed = self.nodes.iter().zip(&state.before).position(|(node, before)| {
            let master_before = before.0 == Part::Master;
            (node.part == Part::Master) != master_before || node.life != before.1
        });
        if let Some(node) = changed {
            self.violated(
                "refusal-changed",
                format!("{slug} was answered, but node {node} changed its role"),
            );
        }
    }
}

fn word(outcome: &str) -> &'static str {
    const WORDS: [&str; 5] = ["unchanged", "established", "switched", "repaired", "resumed"];
    WORDS.into_iter().find(|word| *word == outcome).unwrap_or("other")
}

/// Every name the document or the record knows, with the address it is.
fn names(purpose: &Purpose, record: &Record) -> Names {
    let mut names = Names::new();
    let mut add = |node: &NodeName| {
        names.insert(node.clone(), endpoint(node).map(|endpoint| vec![endpoint]));
    };
    if let Purpose::Apply(wanted) | Purpose::DryRun(wanted) = purpose {
        wanted.document.nodes().for_each(&mut add);
    }
    record.nodes().iter().for_each(&mut add);
    names
}

fn endpoint(node: &NodeName) -> Result<SocketAddr, String> {
    match &node.address {
        Address::Ip(ip) => Ok(SocketAddr::new(*ip, node.port.unwrap_or(DEFAULT_REDIS_PORT).get())),
        Address::Name(name) => Err(format!("{name} is not known here")),
    }
}
