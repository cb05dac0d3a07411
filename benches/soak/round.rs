//! One round: a load, moves and faults around them, and at its end the verdict.

use std::time::{Duration, Instant};

use fastrand::Rng;
use harness::load::{Ledger, Load, LoadOptions, Outcome, Switch};
use serde_json::Value;

use crate::cast::{Cast, until};
use crate::fault::{self, Fault, Ill, Subject, Trouble};
use crate::operator::{self, Answer, Way};
use crate::settings::Settings;
use crate::tally::{Gap, Tally, count};

/// Moves of one round.
const MOVES: usize = 40;
/// The first of them meet no fault: they show what the others are compared with.
const CALM_MOVES: usize = 8;
/// A round ends after this time, too.
const ROUND_TIME_MAX: Duration = Duration::from_secs(60);
/// Between two writes of one of the eight writers.
const WRITE_INTERVAL: Duration = Duration::from_millis(3);
/// Shortest and longest rest between two moves, in milliseconds. A move back within the tenth of a second
/// that stragglers are given would look like two masters at once to the ledger.
const REST_MS: std::ops::Range<u64> = 150..500;
/// Most faults under way at once.
const TROUBLES_MAX: usize = 3;
/// Of a hundred moves, how many have a fault of their own.
const FAULTY_PERCENT: u32 = 60;
/// Of a hundred moves, how many go through etcd and observer.
const TRIGGER_PERCENT: u32 = 20;
/// A fault strikes up to this long after its move was asked for, in milliseconds.
const STRIKE_MS: std::ops::Range<u64> = 0..30;
/// A promotion that is held back waits this long for its target's end, in milliseconds.
const PROMOTION_MS: std::ops::Range<u64> = 15..80;
/// How often due healings are looked for.
const TICK: Duration = Duration::from_millis(3);
/// How long after the end of a fault a switch still counts as touched by it.
const AFTERMATH: Duration = Duration::from_millis(500);
/// How long the healed cluster may take to become what the last document says.
const CONVERGENCE_DEADLINE: Duration = Duration::from_secs(60);
/// How long writes may take to go on in the healed cluster.
const WRITES_DEADLINE: Duration = Duration::from_secs(20);
/// Writes that have to be acknowledged then.
const WRITES_MIN: u64 = 100;
/// How long a promoted stray may take to be parked.
const STRAY_DEADLINE: Duration = Duration::from_secs(20);
/// Most remedies in a row for one refusal.
const REMEDIES_MAX: usize = 5;
/// Missing or phantom ids that are told one by one.
const TOLD_MAX: usize = 5;

struct Round<'a> {
    cast: &'a mut Cast,
    tally: &'a mut Tally,
    chance: Rng,
    load: Load,
    /// Prefix of everything the load writes.
    key: String,
    troubles: Vec<Trouble>,
    /// Times of faults that are over, with their aftermath, since the start of the load.
    touched: Vec<(Duration, Duration)>,
    events: Vec<String>,
    /// The last move succeeded, so its target takes writes.
    sure: bool,
    calm: bool,
    tell: bool,
}

/// Plays one round.
pub(crate) fn play(settings: &Settings, number: u64, cast: &mut Cast, tally: &mut Tally) {
    let addresses: Vec<_> = cast.nodes.iter().map(|node| node.redis.address()).collect();
    let options = LoadOptions { interval: WRITE_INTERVAL, ..LoadOptions::new(&addresses) };
    let key = options.key.clone();
    let chance = Rng::with_seed(settings.seed.wrapping_add(number << 32));
    if number == 1 {
        establish(cast, tally);
    }
    let load = Load::start(options);
    let (troubles, touched, events) = (Vec::new(), Vec::new(), Vec::new());
    let before = tally.violations.len();
    let mut round = Round {
        cast,
        tally,
        chance,
        load,
        key,
        troubles,
        touched,
        events,
        sure: false,
        calm: settings.calm,
        tell: settings.tell,
    };
    round.play();
    let events = round.finish();
    tally.rounds += 1;
    if tally.violations.len() > before {
        eprintln!("--- round {number}, seed {}: what was done before", settings.seed);
        events.iter().for_each(|event| eprintln!("{event}"));
        tally.violations[before..].iter().for_each(|violation| eprintln!("!! {violation}"));
    }
    eprintln!(
        "round {number}: {} switches, {} acknowledged, {} missing, {} phantom so far",
        tally.switches, tally.acknowledged, tally.missing, tally.phantom
    );
}

/// The first document of all, by the trigger, so that there is a revision in force.
fn establish(cast: &mut Cast, tally: &mut Tally) {
    let outcome = until(CONVERGENCE_DEADLINE, || {
        match operator::ask(cast, Way::Trigger, cast.document(0, None)).join() {
            Ok(Answer::Delivered) => cast.settled(),
            other => Err(format!("{other:?}")),
        }
    });
    if let Err(why) = outcome {
        tally.violations.push(format!("the cluster was not established: {why}"));
    }
}

impl Round<'_> {
    fn play(&mut self) {
        for number in 0..MOVES {
            if self.load.elapsed() > ROUND_TIME_MAX {
                break;
            }
            let rest = Duration::from_millis(self.chance.u64(REST_MS));
            self.rest(rest);
            let fault = (!self.calm && number >= CALM_MOVES && self.chance.u32(0..100) < FAULTY_PERCENT)
                .then(|| Fault::draw(&mut self.chance));
            match fault {
                Some(fault) if fault.is_exclusive() => self.exclusively(fault),
                fault => self.move_with(fault),
            }
        }
    }

    // === moves and faults ===

    /// Moves the master, with a fault shortly before or during it.
    fn move_with(&mut self, fault: Option<Fault>) {
        self.look_for_the_master();
        let from = self.cast.master;
        let to = self.another_than(from);
        let left_out = (fault == Some(Fault::SlaveLeft)).then(|| self.another_than_both(from, to));
        if let Some(fault) = fault.filter(|fault| *fault == Fault::SlaveLeft) {
            count(&mut self.tally.faults, fault.name());
        }
        let early = self.chance.bool() && fault != Some(Fault::TargetLost);
        if early && let Some(fault) = fault {
            self.strike(fault, (from, to));
            let wait = Duration::from_millis(self.chance.u64(STRIKE_MS) * 10);
            self.rest(wait);
        }
        let way = if self.chance.u32(0..100) < TRIGGER_PERCENT {
            Way::Trigger
        } else if self.chance.u32(0..4) == 0 {
            Way::Put("?wait=links")
        } else {
            Way::Put("")
        };
        let document = self.cast.document(to, left_out);
        self.note(format!("{way:?} {from} -> {to}, without {left_out:?}"));
        let wire = Subject::Wire(to);
        let held = fault == Some(Fault::TargetLost) && !self.is_struck(wire);
        if held {
            fault::hold_promotion(self.cast, to);
        }
        let asked = operator::ask(self.cast, way, document);
        if held {
            // Long enough for a hand-over to come to its promotion.
            let wait = Duration::from_millis(self.chance.u64(PROMOTION_MS));
            self.rest(wait);
            if self.chance.bool() {
                // It is done, and nobody hears of it.
                self.cast.nodes[to].proxy.release_and_lose_the_reply();
            }
        }
        if !early && let Some(fault) = fault {
            let wait = Duration::from_millis(self.chance.u64(STRIKE_MS));
            self.rest(wait);
            self.strike(fault, (from, to));
        }
        while !asked.is_finished() {
            self.rest(TICK);
        }
        let answer = asked.join().unwrap_or_else(|_| Answer::None("the asking thread panicked".to_owned()));
        if held {
            self.cast.nodes[to].proxy.release();
        }
        self.sure = self.judge(&answer);
        if self.sure {
            self.cast.master = to;
            self.tally.switches += 1;
        } else {
            self.follow_advice(answer);
        }
    }

    fn strike(&mut self, fault: Fault, parts: (usize, usize)) {
        let Some((subject, ill, lasting)) = fault.strike(parts, self.cast, &mut self.chance) else { return };
        if self.is_struck(subject) || self.troubles.len() >= TROUBLES_MAX {
            return;
        }
        if let (Subject::Node(index), Ill::Dead) = (subject, ill) {
            self.count_full_resyncs(index);
        }
        let since = self.load.elapsed();
        self.note(format!("{}: {subject:?} {ill:?} for {lasting:?}", fault.name()));
        fault::begin(self.cast, subject, ill, &mut self.chance);
        count(&mut self.tally.faults, fault.name());
        self.troubles.push(Trouble { subject, ill, since, until: Instant::now() + lasting });
    }

    fn is_struck(&self, subject: Subject) -> bool {
        self.troubles.iter().any(|trouble| trouble.subject == subject)
    }

    /// Faults that must meet a healthy cluster: what they show is only sure there.
    fn exclusively(&mut self, fault: Fault) {
        self.heal_all();
        if let Err(why) = self.converge() {
            self.note(format!("not healthy enough for {}: {why}", fault.name()));
            return;
        }
        count(&mut self.tally.faults, fault.name());
        let since = self.load.elapsed();
        match fault {
            Fault::Stray => self.stray(),
            Fault::ForeignNode => self.foreign_node(),
            _ => self.stale_revision(),
        }
        self.sure = false;
        self.touched.push((since, self.load.elapsed() + AFTERMATH));
    }

    /// A human promotes a slave. No writer is there: writers leave a master only after an error.
    fn stray(&mut self) {
        let (from, stray) = (self.cast.master, self.another_than(self.cast.master));
        self.note(format!("REPLICAOF NO ONE at {stray}, while {from} is master"));
        let reply = self.cast.nodes[stray].redis.try_command("REPLICAOF NO ONE");
        self.note(format!("{reply:?}"));
        if self.chance.bool() {
            self.move_with(None);
        }
        let parked = until(STRAY_DEADLINE, || {
            self.linked().map_err(|why| format!("a stray master was not put back: {why}"))
        });
        if let Err(why) = parked {
            self.violation(why);
        }
    }

    fn foreign_node(&mut self) {
        let to = self.another_than(self.cast.master);
        let mut document = self.cast.document(to, None);
        if let Some(slaves) = document["slaves"].as_array_mut() {
            slaves.push(self.cast.foreign.json());
        }
        let query = if self.chance.bool() { "?dry_run=true" } else { "" };
        self.must_be_refused(query, &[], &document, &["would-lose-data", "split-brain"]);
        if self.cast.foreign.keys() != 1 {
            self.violation("a foreign node lost its data".to_owned());
        }
    }

    fn stale_revision(&mut self) {
        let to = self.another_than(self.cast.master);
        let document = self.cast.document(to, None);
        let headers = [("X-Topology-Revision", "1")];
        self.must_be_refused("", &headers, &document, &["stale-revision"]);
    }

    fn must_be_refused(&mut self, query: &str, headers: &[(&str, &str)], document: &Value, slugs: &[&str]) {
        let answer = operator::put(self.cast.http(), query, headers, document);
        let slug = match &answer {
            Answer::Http(answer) => answer.slug(),
            _ => String::new(),
        };
        self.note(format!("refused with {slug:?}"));
        if slugs.contains(&slug.as_str()) {
            count(&mut self.tally.refusals, slug);
        } else {
            self.violation(format!("{slugs:?} was expected, not {answer:?}"));
        }
    }

    // === answers ===

    /// Counts an answer; true if the change was made.
    fn judge(&mut self, answer: &Answer) -> bool {
        match answer {
            Answer::Delivered => count(&mut self.tally.outcomes, "delivered by the observer".to_owned()),
            Answer::Http(answer) if answer.status == 200 => {
                let receipt = answer.json();
                let outcome = receipt["outcome"].as_str().unwrap_or("?").to_owned();
                self.note(format!(
                    "{outcome}, generation {}, gap {} us",
                    receipt["generation"], receipt["write_gap_us"]
                ));
                count(&mut self.tally.outcomes, outcome);
            }
            Answer::Http(answer) => {
                let slug = answer.slug();
                self.note(format!("{} {}", answer.status, answer.text()));
                if slug == "internal" || slug.is_empty() {
                    self.violation(format!("answered {}: {}", answer.status, answer.text()));
                }
                // The master moved; a slave is late.
                let stands = slug == "links-late";
                count(&mut self.tally.refusals, slug);
                return stands;
            }
            Answer::Refused(slug) => {
                self.note(format!("the observer was refused: {slug}"));
                count(&mut self.tally.refusals, slug.clone());
                return false;
            }
            Answer::None(why) => {
                self.note(format!("no answer: {why}"));
                count(&mut self.tally.refusals, "(no answer)".to_owned());
                return false;
            }
        }
        true
    }

    /// Asks the one who has the say, and does what refusals advise where that loses nothing.
    fn follow_advice(&mut self, answer: Answer) {
        let mut answer = answer;
        // A refusal names one node at a time; what was permitted for the one before stays permitted.
        let mut permitted: Vec<Value> = Vec::new();
        for _ in 0..REMEDIES_MAX {
            let problem = match &answer {
                Answer::Http(http) => http.json(),
                _ => return,
            };
            let slug = match &answer {
                Answer::Http(http) => http.slug(),
                _ => return,
            };
            if slug == "not-leader" {
                self.turn_to_the_leader(&problem);
                return;
            }
            if !operator::needs_a_human(&slug) {
                return;
            }
            self.heal_all();
            self.look_for_the_master();
            let Some(mut document) = operator::remedy(self.cast, &self.key, &problem) else {
                self.note(format!("no safe advice in {problem}"));
                return;
            };
            let mut more = document["discard"].as_array().cloned().unwrap_or_default();
            more.iter_mut().filter(|entry| !permitted.contains(entry)).for_each(|entry| self.renew(entry));
            permitted.extend(more.into_iter().filter(|entry| !permitted.contains(entry)).collect::<Vec<_>>());
            if !permitted.is_empty() {
                document["discard"] = permitted.clone().into();
            }
            self.note(format!("following the advice: {document}"));
            count(&mut self.tally.remedies, slug);
            answer = operator::put(self.cast.http(), "", &[], &document);
            if self.judge(&answer) {
                return;
            }
        }
    }

    /// A life can be given up once. One that was named before is ended, and its node's next life is named.
    fn renew(&mut self, entry: &mut Value) {
        let named = |cast: &Cast, entry: &Value| cast.index_of(&format!(":{}", entry["port"]));
        let Some(index) = named(self.cast, entry) else { return };
        if self.cast.given_up.contains(entry["run_id"].as_str().unwrap_or_default()) {
            self.note(format!("node {index} is restarted: this life of it was given up once before"));
            self.count_full_resyncs(index);
            fault::begin(self.cast, Subject::Node(index), Ill::Dead, &mut self.chance);
            self.cast.nodes[index].redis.start_again();
            entry["run_id"] = self.cast.nodes[index].redis.run_id().into();
        }
        self.cast.given_up.insert(entry["run_id"].as_str().unwrap_or_default().to_owned());
    }

    fn turn_to_the_leader(&mut self, problem: &Value) {
        let dictators = &self.cast.dictators;
        let leader = problem["evidence"]["leader"].as_str().and_then(|url| {
            dictators
                .iter()
                .position(|dictator| dictator.url("").trim_end_matches('/') == url.trim_end_matches('/'))
        });
        self.cast.speaker = leader.unwrap_or((self.cast.speaker + 1) % dictators.len());
    }

    /// Learns who takes writes from the dictator's status, unless the last move told it: until all links
    /// are verified, the status shows what was before.
    fn look_for_the_master(&mut self) {
        if self.sure {
            return;
        }
        let speaker = Subject::Dictator(self.cast.speaker);
        if self.troubles.iter().any(|trouble| trouble.subject == speaker) {
            return;
        }
        let Ok(answer) = self.cast.http().try_request("GET", "/status", &[], b"") else { return };
        let status: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.slug() == "not-leader" {
            self.turn_to_the_leader(&status);
        } else if let Some(master) =
            status["acting_master"].as_str().and_then(|name| self.cast.index_of(name))
        {
            self.cast.master = master;
        }
    }

    fn another_than(&mut self, index: usize) -> usize {
        let count = self.cast.nodes.len();
        (index + self.chance.usize(1..count)) % count
    }

    fn another_than_both(&mut self, one: usize, other: usize) -> usize {
        loop {
            let index = self.another_than(one);
            if index != other {
                return index;
            }
        }
    }

    // === time ===

    /// Lets time pass and heals what is due.
    fn rest(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let now = Instant::now();
            while let Some(due) = self.troubles.iter().position(|trouble| trouble.until <= now) {
                let trouble = self.troubles.swap_remove(due);
                self.heal(&trouble);
            }
            if now >= end {
                return;
            }
            std::thread::sleep(TICK.min(end - now));
        }
    }

    fn heal_all(&mut self) {
        for trouble in std::mem::take(&mut self.troubles) {
            self.heal(&trouble);
        }
    }

    fn heal(&mut self, trouble: &Trouble) {
        fault::heal(self.cast, trouble);
        self.note(format!("{:?} is healed", trouble.subject));
        self.touched.push((trouble.since, self.load.elapsed() + AFTERMATH));
    }

    fn count_full_resyncs(&mut self, index: usize) {
        self.tally.full_resyncs += self.cast.take_full_resyncs(index);
    }

    fn note(&mut self, what: String) {
        let event = format!("{:10.3} s  {what}", self.load.elapsed().as_secs_f64());
        if self.tell {
            eprintln!("{event}");
        }
        self.events.push(event);
    }

    fn violation(&mut self, what: String) {
        self.note(format!("!! {what}"));
        self.tally.violations.push(what);
    }

    // === the end ===

    /// Brings the healed cluster to one document, with all links up and equal data.
    fn converge(&mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            self.rest(Duration::from_millis(REST_MS.start));
            self.look_for_the_master();
            let document = self.cast.document(self.cast.master, None);
            let answer = operator::put(self.cast.http(), "?wait=links", &[], &document);
            let late = match &answer {
                Answer::Http(http) if http.status == 200 => match until(WRITES_DEADLINE, || self.linked()) {
                    Ok(()) => return Ok(()),
                    Err(why) => why,
                },
                Answer::Http(http) => http.text(),
                other => format!("{other:?}"),
            };
            if start.elapsed() > CONVERGENCE_DEADLINE {
                return Err(late);
            }
            self.note(format!("not there yet: {late}"));
            self.sure = false;
            self.follow_advice(answer);
        }
    }

    /// One master and everybody else with it. The data is compared once the writers have stopped.
    fn linked(&self) -> Result<(), String> {
        match self.cast.settled() {
            Err(why) if !why.contains("data differs") => Err(why),
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.heal_all();
        if let Err(why) = self.converge() {
            self.violation(format!("no convergence: {why}"));
        }
        let (wanted, load) = (self.load.acknowledged() + WRITES_MIN, &self.load);
        let flow = until(WRITES_DEADLINE, || match load.acknowledged() {
            seen if seen >= wanted => Ok(()),
            seen => Err(format!("writes do not go on: {seen} of {wanted}")),
        });
        if let Err(why) = flow {
            self.violation(why);
        }
        self.publish();
        let Self { cast, tally, load, touched, mut events, .. } = self;
        let ledger = load.stop();
        match until(CONVERGENCE_DEADLINE, || cast.settled()) {
            Ok(master) => {
                verdict(&ledger, cast, master, tally, &touched, &mut events);
                ledger.clean_up(cast.nodes[master].redis.address());
                // Nobody may start the next round with keys that the master has no more.
                if let Err(why) = until(CONVERGENCE_DEADLINE, || cast.settled()) {
                    tally.violations.push(format!("the nodes differ after the clean-up: {why}"));
                }
            }
            Err(why) => tally.violations.push(format!("the nodes differ in the end: {why}")),
        }
        for index in 0..cast.nodes.len() {
            tally.full_resyncs += cast.take_full_resyncs(index);
        }
        events
    }

    /// The whole loop still works: a trigger reaches the nodes and DNS.
    fn publish(&mut self) {
        if self.cast.speaker != 0 {
            // The observer notifies the first dictator, which has not the say now and would refuse.
            self.note("not published: the second dictator has the say".to_owned());
            return;
        }
        let document = self.cast.document(self.cast.master, None);
        let wanted = self.cast.nodes[self.cast.master].proxy.address();
        let start = Instant::now();
        let published = until(CONVERGENCE_DEADLINE, || {
            let answer = operator::ask(self.cast, Way::Trigger, document.clone()).join();
            match self.cast.dnsd.published_master() {
                Some(found) if found == wanted => Ok(()),
                found => Err(format!("DNS names {found:?}, not {wanted}: {answer:?}")),
            }
        });
        self.note(format!("published after {:?}", start.elapsed()));
        if let Err(why) = published
            && self.cast.dictators.len() == 1
        {
            self.violation(why);
        }
    }
}

/// Holds every write against the final master.
fn verdict(
    ledger: &Ledger,
    cast: &Cast,
    master: usize,
    tally: &mut Tally,
    touched: &[(Duration, Duration)],
    events: &mut Vec<String>,
) {
    let found = ledger.verify(cast.nodes[master].redis.address());
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    tally.acknowledged += number(found.acknowledged);
    tally.unknown += number(found.unknown);
    tally.rejected += number(found.failed - found.unknown);
    tally.missing += number(found.missing.len());
    tally.phantom += number(found.phantom.len());
    tally.repeated += number(found.repeated.len());
    for (what, ids) in
        [("missing", &found.missing), ("phantom", &found.phantom), ("repeated", &found.repeated)]
    {
        for id in ids.iter().take(TOLD_MAX) {
            events.push(format!("{what} {id}: {:?}", ledger.find(id)));
        }
        if !ids.is_empty() {
            tally.violations.push(format!("{} {what} on node {master}", ids.len()));
        }
    }
    let switches = ledger.switches();
    for (index, switch) in switches.iter().enumerate() {
        let overlaps = overlaps(ledger, switch, switches.get(index + 1));
        let end = switch.at + switch.gap;
        let calm = !touched.iter().any(|(since, until)| *since <= end && switch.at <= *until);
        tally.gaps.push(Gap { length: switch.gap, calm });
        tally.overlaps += number(overlaps);
        if overlaps > 0 {
            tally.violations.push(format!("two nodes took writes at once: {switch:?}"));
        }
    }
}

/// Writes that two nodes took at once around a switch. The ledger looks at the tenth of a second after it;
/// where the writes had already come back by then, only those within the reign in between are meant, or
/// the old master's next reign would be held against its last one.
fn overlaps(ledger: &Ledger, switch: &Switch, next: Option<&Switch>) -> usize {
    let Some(back) = next.filter(|next| next.from == switch.to && next.to == switch.from) else {
        return switch.overlaps;
    };
    let begin = switch.at + switch.gap;
    let within = ledger.attempts().map(|(_, _, attempt)| attempt).filter(|attempt| {
        let by_the_old = attempt.node == Some(switch.from) && attempt.outcome == Outcome::Acknowledged;
        by_the_old && attempt.sent > begin && attempt.known < back.at
    });
    within.count().min(switch.overlaps)
}
