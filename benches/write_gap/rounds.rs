//! The run: rounds of switches under load, the ways taking turns, every write accounted for.
//!
//! A round has a load of its own, which is verified against the final master and removed again, so
//! that neither the ledger nor the nodes grow with the length of the run, and a lost write is known
//! within half a minute of its loss.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::load::{Attempt, Ledger, Outcome, Tally};
use harness::redis::{masters, wait_equal_data, wait_links_up};
use harness::resp::Reply;
use harness::whole::document;
use harness::{Daemon, DaemonOptions, Load, LoadOptions, Redis, RedisOptions, wait_until};
use serde_json::Value;

use crate::evidence::{self, Cast, Counters, LATENCY_THRESHOLD_MS, Witness};
use crate::operator::{Operator, Way};
use crate::settings::Settings;

/// Redis nodes.
pub(crate) const NODES: usize = 3;
/// Switches of one round, all ways together.
const ROUND_SWITCHES: usize = 30;
/// Shortest pause before a switch.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// What chance adds to it at most: the period in which slaves acknowledge.
const PAUSE_RANDOM: Duration = Duration::from_secs(1);
/// Between reading the counters of redis and the switch.
const SETTLE: Duration = Duration::from_millis(20);
/// Writes acknowledged after each switch before the next is thought of.
const ACKNOWLEDGED_MIN: u64 = 200;
/// A last acknowledgement of the old master may be noted this long before the switch was begun, when
/// the machine is so busy that writers wait for a core. The same two nodes take part again later.
const WINDOW_SLACK: Duration = Duration::from_millis(250);
/// Longest time for filling a node with data, and for the slaves' first syncs.
const FILL_DEADLINE: Duration = Duration::from_secs(300);
/// Bytes of each value that DEBUG POPULATE makes.
const POPULATE_VALUE_BYTES: usize = 1_024;
/// Seed of the pauses; any will do, the same one makes runs comparable.
const SEED: u64 = 42;

/// One switch as it was seen.
#[derive(Debug)]
pub(crate) struct Sample {
    /// How the master was moved.
    pub(crate) way: Way,
    /// Which of its way's switches this is, from 1.
    pub(crate) number: usize,
    /// From the old master's last acknowledgement to the new one's first.
    pub(crate) gap: Duration,
    /// From the operator's call until its return.
    pub(crate) took: Duration,
    /// From the operator's call until everyone followed the new master with links up.
    pub(crate) linked: Duration,
    /// Rejected writes by the first word of their error.
    pub(crate) rejected: BTreeMap<String, usize>,
    /// Rejections by the old master.
    pub(crate) rejected_by_old: usize,
    /// The most of those that one connection got.
    pub(crate) rejected_by_old_max: usize,
    /// Acknowledged writes of this switch's time that the final master does not hold.
    pub(crate) missing: usize,
    /// Rejected writes of this switch's time that the final master holds.
    pub(crate) phantom: usize,
    /// Writes that the old master acknowledged after the new one had begun to.
    pub(crate) overlaps: usize,
    /// Full resyncs caused.
    pub(crate) full_resyncs: u64,
    /// Our receipt.
    pub(crate) receipt: Option<Value>,
    /// What else happened.
    pub(crate) evidence: Vec<String>,
}

/// What a run showed.
#[derive(Debug)]
pub(crate) struct Run {
    /// All switches, in order.
    pub(crate) samples: Vec<Sample>,
    /// Acknowledged writes per second outside the gaps, in the slowest round.
    pub(crate) acknowledged_per_second_min: f64,
    /// Acknowledged writes of the whole run.
    pub(crate) acknowledged: usize,
}

/// A switch that was made, before the ledger is known.
struct Window {
    sample: Sample,
    from: SocketAddr,
    to: SocketAddr,
    /// Since the start of the load.
    begin: Duration,
    end: Duration,
}

/// Starts the nodes, fills them, and makes all switches.
pub(crate) fn run(settings: &Settings) -> Run {
    let monitor = format!("latency-monitor-threshold {LATENCY_THRESHOLD_MS}");
    let mut nodes = Redis::start_many(NODES, &RedisOptions::default().line(&monitor));
    let redis =
        nodes.iter_mut().map(|node| (format!("redis {}", node.address().port()), node.process().pid()));
    let mut cast: Vec<(String, u32)> = redis.collect();
    cast.push(("load".to_owned(), std::process::id()));

    wire(&nodes, settings.populate_mb);
    let mut dictator = settings.has_ours().then(|| start_dictator(settings, &nodes));
    if let Some(dictator) = &mut dictator {
        cast.push(("dictator".to_owned(), dictator.process().pid()));
    }
    let mut stage = Stage {
        operator: Operator::new(&nodes, dictator.as_ref()),
        nodes: &nodes,
        witness: Witness::start(),
        cast: Cast::new(cast),
        chance: fastrand::Rng::with_seed(SEED),
        current: 0,
        numbers: BTreeMap::new(),
    };
    let mut run = Run { samples: Vec::new(), acknowledged_per_second_min: f64::INFINITY, acknowledged: 0 };
    let turns = turns(&settings.ways);
    let rounds = turns.len().div_ceil(ROUND_SWITCHES);
    for (index, ways) in turns.chunks(ROUND_SWITCHES).enumerate() {
        let shares = stage.round(ways, settings.populate_mb == 0 || index + 1 == rounds, &mut run);
        tell_progress(&run, turns.len(), &shares);
    }
    run
}

/// The order of the switches: each way spread evenly over the run.
fn turns(ways: &[(Way, usize)]) -> Vec<Way> {
    let place = |way: Way, count: usize, number: usize| ((number as f64 + 0.5) / count as f64, way);
    let mut placed: Vec<(f64, Way)> = ways
        .iter()
        .flat_map(|(way, count)| (0..*count).map(move |number| place(*way, *count, number)))
        .collect();
    placed.sort_by(|left, right| left.0.total_cmp(&right.0));
    placed.into_iter().map(|(_, way)| way).collect()
}

/// Makes the first node master of the others, with data.
fn wire(nodes: &[Redis], populate_mb: usize) {
    let (master, slaves) = nodes.split_first().expect("three nodes");
    assert_eq!(master.command("REPLICAOF NO ONE"), Reply::Simple("OK".into()));
    if populate_mb > 0 {
        eprintln!("filling the nodes with {populate_mb} MB");
        // Not replicated by redis; the first sync carries it to the slaves.
        let keys = (populate_mb * 1024 * 1024 / POPULATE_VALUE_BYTES).to_string();
        let command = ["DEBUG", "POPULATE", &keys, "filler", &POPULATE_VALUE_BYTES.to_string()];
        let mut connection = master.connect();
        connection.set_reply_deadline(FILL_DEADLINE).expect("a deadline can be set");
        let reply = connection.command(&command).expect("a reply to DEBUG POPULATE");
        assert!(!reply.is_error(), "DEBUG POPULATE: {reply}");
    }
    for slave in slaves {
        let reply =
            slave.command(&format!("REPLICAOF {} {}", master.address().ip(), master.address().port()));
        assert!(!reply.is_error(), "{reply}");
    }
    wait_until("the first syncs", FILL_DEADLINE, || {
        let up = |slave: &&Redis| slave.info_field("master_link_status") == "up";
        harness::wait::ensure(slaves.iter().filter(up).count() == slaves.len(), "a link is down")
    });
    // The file of the append-only log is rewritten when it has doubled. What the first syncs made of
    // it shall not be the base, or the rewrites would all fall into the first minutes.
    for node in nodes {
        node.command("BGREWRITEAOF");
    }
    wait_until("the append-only files to be rewritten", FILL_DEADLINE, || {
        let busy = |node: &&Redis| {
            let info = node.info();
            ["aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress"]
                .iter()
                .any(|name| info.get(*name).is_some_and(|value| value != "0"))
        };
        harness::wait::ensure(!nodes.iter().any(|node| busy(&node)), "a rewrite is under way")
    });
}

fn start_dictator(settings: &Settings, nodes: &[Redis]) -> Daemon {
    let mut options = DaemonOptions::new();
    if settings.has_peers() {
        // The peers move the master behind the dictator's back; it must not put it back meanwhile.
        options = options.flag("--enforce-interval", "0");
        options = options.allow_log("", "others move the master, which a human should be told");
    }
    let dictator = Daemon::dictator(&options);
    dictator.http().put("/master?wait=links", &document(nodes, 0)).expect(200);
    dictator
}

fn tell_progress(run: &Run, of: usize, shares: &str) {
    let ways = Way::ALL.into_iter().map(|way| {
        let mut gaps: Vec<Duration> =
            run.samples.iter().filter(|sample| sample.way == way).map(|sample| sample.gap).collect();
        gaps.sort();
        let longest = gaps.last().copied().unwrap_or_default();
        let median = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
        format!("{} {} / {}", way.flag(), evidence::ms(median), evidence::ms(longest))
    });
    let ways: Vec<String> = ways.collect();
    eprintln!(
        "{} of {of} switches; gaps, median / longest in ms: {}; cores: {shares}",
        run.samples.len(),
        ways.join(", ")
    );
}

/// Everything that lasts from round to round.
struct Stage<'a> {
    nodes: &'a [Redis],
    operator: Operator<'a>,
    witness: Witness,
    cast: Cast,
    chance: fastrand::Rng,
    /// Index of the master.
    current: usize,
    /// Switches made so far, by way.
    numbers: BTreeMap<&'static str, usize>,
}

impl Stage<'_> {
    /// One round; returns who used the cores how much during it.
    fn round(&mut self, ways: &[Way], compare_data: bool, run: &mut Run) -> String {
        let all: Vec<&Redis> = self.nodes.iter().collect();
        let usage = self.cast.usage();
        let load = Load::start(LoadOptions::on(&all));
        load.wait_acknowledged(ACKNOWLEDGED_MIN);
        let windows: Vec<Window> = ways.iter().map(|way| self.switch(*way, &load)).collect();
        // The kernel forgets a thread's usage with the thread.
        let shares = evidence::core_shares(&usage, &self.cast.usage(), load.elapsed());
        let ledger = load.stop();

        let master = &self.nodes[self.current];
        let found = masters(&all);
        assert!(
            found.len() == 1 && found[0].address() == master.address(),
            "{} is not the only master: {found:?}",
            master.address()
        );
        let others: Vec<&Redis> =
            all.iter().copied().filter(|node| node.address() != master.address()).collect();
        wait_links_up(master, &others);
        if compare_data {
            wait_equal_data(&all);
        }
        let tally = ledger.verify(master.address());
        assert!(tally.repeated.is_empty(), "executed twice: {:?}", tally.repeated);
        ledger.clean_up(master.address());

        let samples = judge(windows, &ledger, &tally);
        let gaps: Duration = samples.iter().map(|sample| sample.gap).sum();
        let rate = ledger.acknowledged() as f64 / ledger.took().saturating_sub(gaps).as_secs_f64();
        run.acknowledged_per_second_min = run.acknowledged_per_second_min.min(rate);
        run.acknowledged += ledger.acknowledged();
        run.samples.extend(samples);
        shares
    }

    fn switch(&mut self, way: Way, load: &Load) -> Window {
        let (from, to) = (self.current, (self.current + 1) % self.nodes.len());
        std::thread::sleep(PAUSE_MIN + PAUSE_RANDOM.mul_f64(self.chance.f64()));
        let counters = Counters::read(self.nodes);
        // What happened between switches is nobody's fault.
        drop(evidence::latency_events(self.nodes));
        std::thread::sleep(SETTLE);

        let usage = self.cast.usage();
        let (began, begin) = (Instant::now(), load.elapsed());
        let receipt = self.operator.switch(way, from, to);
        let took = began.elapsed();
        let mut evidence = evidence::core_waits(&usage, &self.cast.usage());
        self.operator.wait_followers(to);
        let linked = began.elapsed();
        load.wait_acknowledged(ACKNOWLEDGED_MIN);

        let overslept = self.witness.overslept_since(began);
        if overslept > Duration::ZERO {
            evidence.push(format!("a thread that sleeps 1 ms overslept by {} ms", evidence::ms(overslept)));
        }
        let later = Counters::read(self.nodes);
        evidence.extend(later.delayed_syncs_since(&counters));
        evidence.extend(evidence::latency_events(self.nodes));
        if way != Way::Ours {
            self.operator.make_known(to);
        }
        self.current = to;
        let number = self.numbers.entry(way.flag()).or_default();
        *number += 1;
        let sample = Sample {
            way,
            number: *number,
            gap: Duration::ZERO,
            took,
            linked,
            rejected: BTreeMap::new(),
            rejected_by_old: 0,
            rejected_by_old_max: 0,
            missing: 0,
            phantom: 0,
            overlaps: 0,
            full_resyncs: later.full_resyncs_since(&counters),
            receipt,
            evidence,
        };
        let (from, to) = (self.nodes[from].address(), self.nodes[to].address());
        Window { sample, from, to, begin, end: load.elapsed() }
    }
}

/// Fills in what only the ledger knows.
fn judge(windows: Vec<Window>, ledger: &Ledger, tally: &Tally) -> Vec<Sample> {
    let switches = ledger.switches();
    let mut windows = windows;
    for window in &mut windows {
        let own = switches.iter().find(|switch| {
            let earliest = window.begin.saturating_sub(WINDOW_SLACK);
            switch.from == window.from
                && switch.to == window.to
                && (earliest..window.end).contains(&switch.at)
        });
        let own = own.unwrap_or_else(|| {
            panic!("no writer moved with {:?} {}", window.sample.way, window.sample.number)
        });
        window.sample.gap = own.gap;
        window.sample.overlaps = own.overlaps;
        window.sample.rejected_by_old_max = own.rejections_by_old_max;
    }
    // A write belongs to the last switch that had begun when it was sent.
    let begins: Vec<Duration> = windows.iter().map(|window| window.begin).collect();
    let owner = |attempt: &Attempt| begins.partition_point(|begin| *begin <= attempt.sent).saturating_sub(1);
    for (_, _, attempt) in ledger.attempts() {
        let word = match &attempt.outcome {
            Outcome::Acknowledged => continue,
            Outcome::Rejected(word) => word.to_string(),
            Outcome::Unknown => "no reply".to_owned(),
        };
        let window = &mut windows[owner(attempt)];
        *window.sample.rejected.entry(word).or_default() += 1;
        window.sample.rejected_by_old += usize::from(attempt.node == Some(window.from));
    }
    let place = |id: &String| owner(ledger.find(id).expect("an id of this load"));
    for id in &tally.missing {
        windows[place(id)].sample.missing += 1;
    }
    for id in &tally.phantom {
        windows[place(id)].sample.phantom += 1;
    }
    windows.into_iter().map(|window| window.sample).collect()
}
