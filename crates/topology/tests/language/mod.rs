//! The small language of the scenario files: what is wanted, observed and remembered in, a plan or a
//! refusal out.
//!
//! One statement a line, words separated by blanks, `key=value` where a default does not fit. A case
//! begins with `=== its name`; what is expected of it follows `---`. Lines with `#` say why.
//!
//! ```text
//! document master=a slaves=b,c revision=3 discard=a/run-a
//! policy epoch=1 ignore-sentinel
//! record granted=a/run-a/R1 anew generation=3 wanted=a>b,c@3 leaving=d joining=e chain=R0:90 spent=c/run-c open=d/run-d
//! seen a/run-a/master/R1/100 b c
//! intent from=a/run-a to=b/run-b replid=R1 generation=4 wanted=b>a,c
//! node a master keys=5 offset=100
//! node b slave of=a applied=100
//! node c parked replid=R1 applied=90 keys=5
//! node d unknown unreachable
//! ```
//!
//! Defaults: a node named by a letter listens on a port of its own; its life is `run-<name>`; masters and
//! slaves are on `R1` at offset 100 with 5 keys; a parked node is born that way, empty and on a lineage of
//! its own; a record with a grant has this very document in force; `seen b` was a slave on `R1` at 90.

use std::collections::BTreeMap;

use topology::audit::audit;
use topology::observation::{
    DictatorConnection, NodeState, Observation, Observed, Role, RunId, SessionId, Unknown, Version, View,
};
use topology::plan::{Plan, Policy, Step, plan, plan_enforcement};
use topology::record::{
    Away, Granted, Intent, Party, PastLineage, Record, Seen, SeenRole, UsedDiscard, Wanted,
};
use topology::refusal::Refusal;
use topology::{Discard, Document, NodeName};

use crate::nodes::{endpoint, following, name, parked, replid, vitals};
use crate::observed::{known, state};

/// What is wanted, observed and remembered.
pub(crate) struct Scene {
    wanted: Wanted,
    observation: Observation,
    record: Record,
    policy: Policy,
    /// Whether it is enforcement that plans.
    enforcement: bool,
}

impl Scene {
    /// Reads the statements of one case.
    pub(crate) fn parse(input: &str) -> Self {
        let mut scene = Self {
            wanted: Wanted { document: document("a"), revision: None },
            observation: Observation::default(),
            record: Record::default(),
            policy: Policy { ignore_sentinel: false, epoch: 1 },
            enforcement: false,
        };
        for line in input.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(statement) = words.next() else { continue };
            match statement {
                "document" => scene.document(&Words::new(words)),
                "policy" => scene.policy(&Words::new(words)),
                "record" => scene.record(&Words::new(words)),
                "seen" => words.for_each(|word| scene.seen(word)),
                "away" => words.for_each(|word| scene.away(word)),
                "intent" => scene.intent(&Words::new(words)),
                "node" => {
                    let node = words.next().expect("the name of the node");
                    scene.node(node, &Words::new(words));
                }
                other => panic!("no statement `{other}` in this language: {line}"),
            }
        }
        scene
    }

    /// The plan or the refusal as text. Every plan must pass the audit, and both must come out the same
    /// a second time.
    pub(crate) fn play(&self) -> String {
        let plan = if self.enforcement { plan_enforcement } else { plan };
        let result = plan(&self.wanted, &self.observation, &self.record, &self.policy);
        let again = plan(&self.wanted, &self.observation, &self.record, &self.policy);
        assert_eq!(result, again, "the same input twice gave two answers");
        match result {
            Ok(plan) => {
                if let Err(fault) = audit(&plan, &self.wanted, &self.observation, &self.record, &self.policy)
                {
                    return format!("{}audit: {fault}\n", show_plan(&plan));
                }
                show_plan(&plan)
            }
            Err(refusal) => show_refusal(&refusal),
        }
    }

    fn document(&mut self, words: &Words) {
        words.only(&["master", "slaves", "discard", "revision"]);
        self.wanted = Wanted {
            document: Document {
                master: name(words.value("master").expect("a master")),
                slaves: words.list("slaves").map(name).collect(),
                groups: Vec::new(),
                discard: words.list("discard").map(discard).collect(),
            },
            revision: words.number("revision"),
        };
    }

    fn policy(&mut self, words: &Words) {
        words.only(&["epoch", "ignore-sentinel", "enforcement"]);
        self.enforcement = words.flag("enforcement");
        self.policy.ignore_sentinel = words.flag("ignore-sentinel");
        self.policy.epoch = words.number("epoch").unwrap_or(1);
    }

    fn record(&mut self, words: &Words) {
        words.only(&[
            "granted",
            "anew",
            "joining",
            "generation",
            "wanted",
            "leaving",
            "chain",
            "spent",
            "open",
        ]);
        self.record.generation = words.number("generation").unwrap_or(1);
        self.record.granted = words.value("granted").map(|text| {
            let [node, run_id, lineage] = parts(text);
            Granted {
                node: name(node),
                endpoint: endpoint(node),
                run_id: RunId(run_id.to_owned()),
                replid: replid(lineage),
                anew: words.flag("anew"),
            }
        });
        self.record.wanted = match words.value("wanted") {
            Some(text) => Some(wanted(text)),
            None => Some(self.wanted.clone()),
        };
        self.record.leaving = words.list("leaving").map(name).collect();
        self.record.joining = words.list("joining").map(name).collect();
        for past in words.list("chain") {
            let (lineage, end) = past.split_once(':').expect("lineage:end");
            self.record.chain.push_back(PastLineage {
                replid: replid(lineage),
                end: number(end),
                anew: false,
            });
        }
        let spent = words.list("spent").map(|text| UsedDiscard { discard: discard(text), spent: true });
        let open = words.list("open").map(|text| UsedDiscard { discard: discard(text), spent: false });
        self.record.discards = spent.chain(open).collect();
    }

    fn seen(&mut self, word: &str) {
        let mut words = word.split('/');
        let node = words.next().expect("a node");
        let run_id = words.next().map_or_else(|| format!("run-{node}"), str::to_owned);
        let role = match words.next() {
            Some("master") => SeenRole::Master,
            Some("slave") | None => SeenRole::Slave,
            Some("stray") => SeenRole::Stray,
            Some(other) => panic!("{other} is neither master nor slave nor stray"),
        };
        let lineage = words.next().unwrap_or("R1");
        let offset = words.next().map_or(90, number);
        let seen = Seen { node: name(node), run_id: RunId(run_id), role, replid: replid(lineage), offset };
        self.record.heartbeat.nodes.push(seen);
    }

    /// `node/since-until`, in milliseconds.
    fn away(&mut self, word: &str) {
        let (node, times) = word.split_once('/').expect("a node and times");
        let (since, until) = times.split_once('-').expect("since and until");
        let (since_unix_ms, until_unix_ms) = (number(since), number(until));
        self.record.heartbeat.away.push(Away { node: name(node), since_unix_ms, until_unix_ms });
    }

    fn intent(&mut self, words: &Words) {
        words.only(&["from", "to", "replid", "generation", "wanted"]);
        self.record.intent = Some(Intent {
            generation: words.number("generation").unwrap_or(self.record.generation + 1),
            from: words.value("from").map(party),
            to: party(words.value("to").expect("a target")),
            replid: replid(words.value("replid").unwrap_or("R1")),
            wanted: words.value("wanted").map_or_else(|| self.wanted.clone(), wanted),
        });
    }

    fn node(&mut self, node: &str, words: &Words) {
        let at = words.value("at").map_or_else(|| endpoint(node), endpoint);
        let session = self.observation.nodes.len() as u64 + 1;
        let observed = match words.kind() {
            "unknown" => unknown(at, words),
            kind => known(at, node_state(node, kind, session, words)),
        };
        self.observation.nodes.insert(name(node), observed);
    }
}

fn unknown(at: std::net::SocketAddr, words: &Words) -> Observed {
    let reason = words.flags.get(1).expect("why it is unknown").as_str();
    let (endpoint, unknown) = match reason {
        "unresolvable" => (None, Unknown::Unresolvable("no such name".to_owned())),
        "ambiguous" => (None, Unknown::Ambiguous("10.0.0.1:6379 is x, 10.0.0.2:6379 is y".to_owned())),
        "unreachable" => (Some(at), Unknown::Unreachable("connection refused".to_owned())),
        "silent" => (Some(at), Unknown::Silent(1000)),
        "refuses" => (Some(at), Unknown::Refuses("NOAUTH Authentication required.".to_owned())),
        "not-redis" => (Some(at), Unknown::NotRedis("HTTP/1.1 400 Bad Request".to_owned())),
        other => panic!("no reason `{other}`"),
    };
    Observed { endpoint, view: View::Unknown(unknown) }
}

/// Words that a node may have after its kind.
const NODE_WORDS: [&str; 42] = [
    "master",
    "slave",
    "parked",
    "at",
    "of",
    "host",
    "link",
    "run",
    "replid",
    "replid2",
    "offset",
    "applied",
    "keys",
    "loading",
    "failover",
    "version",
    "cluster",
    "sentinel",
    "unexpected-errors",
    "evicted",
    "fed",
    "unfed",
    "calls",
    "stats-reset",
    "maxmemory",
    "no-aof",
    "backlog",
    "read-only",
    "writable",
    "ignore-maxmemory",
    "min-replicas",
    "masterauth",
    "password",
    "saves",
    "skew",
    "paused",
    "sentinels",
    "dictator",
    "unknown",
    "full-syncs",
    "lagging",
    "born",
];

fn node_state(node: &str, kind: &str, session: u64, words: &Words) -> NodeState {
    words.only(&NODE_WORDS);
    let offset = words.number("offset");
    let mut vitals = match kind {
        "master" => vitals(node, Role::Master),
        "slave" => vitals(node, Role::Slave(slave_link(words, offset))),
        "parked" => {
            let applied = words.number("applied").or(offset).unwrap_or(0);
            let mut vitals = vitals(node, Role::Slave(parked(applied)));
            vitals.replid = replid(&format!("own-{node}"));
            vitals.keys = 0;
            vitals.write_calls = Some(0);
            vitals
        }
        other => panic!("{other} is neither master, slave, parked nor unknown"),
    };
    if let Role::Slave(following) = &mut vitals.role {
        following.read_only = !words.flag("writable");
    }
    vitals.offset = offset.unwrap_or(vitals.offset);
    vitals.run_id = words.value("run").map_or(vitals.run_id, |run| RunId(run.to_owned()));
    vitals.replid = words.value("replid").map_or(vitals.replid, replid);
    if let Some((before, second)) =
        words.value("replid2").map(|text| text.split_once('@').expect("replid@second"))
    {
        vitals.replid2 = Some(replid(before));
        vitals.second_offset = Some(number(second));
    }
    vitals.keys = words.number("keys").unwrap_or(vitals.keys);
    vitals.loading = words.flag("loading");
    vitals.failover_running = words.flag("failover");
    vitals.version = words.value("version").map_or(vitals.version, version);
    vitals.cluster = words.flag("cluster");
    vitals.sentinel = words.flag("sentinel");
    vitals.unexpected_errors = words.number("unexpected-errors").unwrap_or(0);
    vitals.evicted_keys = words.number("evicted").unwrap_or(0);
    vitals.fed = (vitals.fed || words.flag("fed")) && !words.flag("unfed");
    vitals.write_calls = match words.value("calls") {
        Some("unknown") => None,
        Some(calls) => Some(number(calls)),
        None => vitals.write_calls,
    };
    vitals.stats_reset = words.flag("stats-reset");
    vitals.memory_max = words.number("maxmemory").unwrap_or(0);
    vitals.append_only = !words.flag("no-aof");
    vitals.backlog_bytes = words.number("backlog").unwrap_or(vitals.backlog_bytes);
    let mut state = state(session, vitals);
    settings(&mut state, words);
    state
}

fn slave_link(words: &Words, offset: Option<u64>) -> topology::observation::Following {
    let leader = endpoint(words.value("of").or(words.value("host")).expect("of=NODE or host=IP:PORT"));
    let mut link = following(leader, words.number("applied").or(offset).unwrap_or(100));
    match words.value("link").unwrap_or("up") {
        "up" => {}
        "down" => link.link_up = false,
        "syncing" => (link.link_up, link.syncing) = (false, true),
        other => panic!("a link is up, down or syncing, not {other}"),
    }
    link
}

fn settings(state: &mut NodeState, words: &Words) {
    let switch = |key: &str, before: Option<bool>| match words.value(key) {
        Some("yes") => Some(true),
        Some("no") => Some(false),
        Some("unknown") => None,
        Some(other) => panic!("{key} is yes, no or unknown, not {other}"),
        None => before,
    };
    let settings = &mut state.settings;
    settings.read_only = switch("read-only", settings.read_only);
    settings.ignore_memory_max = switch("ignore-maxmemory", settings.ignore_memory_max);
    settings.has_master_auth = switch("masterauth", settings.has_master_auth);
    settings.requires_password = switch("password", settings.requires_password);
    settings.saves = switch("saves", settings.saves);
    settings.min_replicas = words.number("min-replicas").or(settings.min_replicas);
    state.clock_skew_ms = words.value("skew").map_or(0, |text| text.parse().expect("milliseconds"));
    state.paused = switch("paused", state.paused);
    state.sentinels = words.list("sentinels").map(str::to_owned).collect();
    state.dictators = words
        .list("dictator")
        .map(|text| {
            let mut parts = text.split(':');
            DictatorConnection {
                id: SessionId(parts.next().map(number).expect("a connection")),
                epoch: parts.next().map(number).expect("an epoch"),
                peer: "10.0.0.9:4711".to_owned(),
                ours: parts.next() == Some("ours"),
            }
        })
        .collect();
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

fn parts<const N: usize>(text: &str) -> [&str; N] {
    let parts: Vec<&str> = text.split('/').collect();
    parts.try_into().unwrap_or_else(|_| panic!("{text}: {N} parts with `/` between them"))
}

fn discard(text: &str) -> Discard {
    let [node, run_id] = parts(text);
    Discard { node: name(node), run_id: run_id.to_owned() }
}

fn party(text: &str) -> Party {
    let [node, run_id] = parts(text);
    Party { node: name(node), endpoint: endpoint(node), run_id: RunId(run_id.to_owned()) }
}

/// `a>b,c`
fn document(text: &str) -> Document {
    let (master, slaves) = text.split_once('>').unwrap_or((text, ""));
    let slaves = slaves.split(',').filter(|slave| !slave.is_empty()).map(name).collect();
    Document { master: name(master), slaves, groups: Vec::new(), discard: Vec::new() }
}

/// `a>b,c@3`
fn wanted(text: &str) -> Wanted {
    let (text, revision) =
        text.split_once('@').map_or((text, None), |(text, revision)| (text, Some(revision)));
    Wanted { document: document(text), revision: revision.map(number) }
}

fn version(text: &str) -> Version {
    let numbers: Vec<u32> = text.split('.').map(|part| part.parse().expect("a number")).collect();
    let [major, minor, patch] = numbers.try_into().expect("three numbers");
    Version { major, minor, patch }
}

/// The words of one statement: `key=value` and flags.
struct Words {
    values: BTreeMap<String, String>,
    flags: Vec<String>,
}

impl Words {
    fn new<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let (mut values, mut flags) = (BTreeMap::new(), Vec::new());
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => {
                    let earlier = values.insert(key.to_owned(), value.to_owned());
                    assert!(earlier.is_none(), "{key} is said twice");
                }
                None => flags.push(word.to_owned()),
            }
        }
        Self { values, flags }
    }

    /// Nothing is said that nobody understands.
    fn only(&self, understood: &[&str]) {
        for word in self.values.keys().chain(&self.flags) {
            assert!(understood.contains(&word.as_str()), "`{word}` is not understood here");
        }
    }

    fn kind(&self) -> &str {
        self.flags.first().expect("master, slave, parked or unknown")
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.value(key).map(number)
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &str> {
        self.value(key).unwrap_or_default().split(',').filter(|item| !item.is_empty())
    }

    fn flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|other| other == flag)
    }
}

// === what comes out ===

fn show_plan(plan: &Plan) -> String {
    let mut text = format!("would {}", plan.would.as_str());
    if let Some(acting) = &plan.acting {
        text.push_str(&format!("; {acting} takes writes"));
    }
    text.push('\n');
    for step in &plan.steps {
        text.push_str(&show_step(step));
        text.push('\n');
    }
    if plan.again {
        text.push_str("again\n");
    }
    for pending in &plan.pending {
        text.push_str(&format!("pending {}: {}\n", pending.node, pending.reason));
    }
    if let Some(refusal) = &plan.refused {
        let about = refusal.node.as_ref().expect("a refusal about a slave");
        text.push_str(&format!("refused in the end: {} about {about}\n", refusal.slug.as_str()));
    }
    for warning in &plan.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

fn show_step(step: &Step) -> String {
    let of = |from: &Option<NodeName>| from.as_ref().map(|from| format!(" of {from}")).unwrap_or_default();
    match step {
        Step::Quiet { node, connections } => {
            let ids: Vec<String> = connections.iter().map(|id| id.0.to_string()).collect();
            format!("quiet {node}: connections {}", ids.join(", "))
        }
        Step::Park { node, why } => format!("park {node}: {why}"),
        Step::Attach { node, to, basis } => format!("attach {node} to {to} ({basis:?})"),
        Step::AwaitSync { node, to } => format!("await sync of {node} with {to}"),
        Step::HandOver { from, to } => format!("hand over from {from} to {to}"),
        Step::Promote { node, right } => format!("promote {node} ({right:?})"),
        Step::Adopt { node, right } => format!("adopt {node} ({right:?})"),
        Step::Undo { node } => format!("undo: {node} is master again"),
        Step::DropIntent { node } => format!("drop the intent{}", of(node)),
    }
}

fn show_refusal(refusal: &Refusal) -> String {
    let mut text = format!("refused {}", refusal.slug.as_str());
    if let Some(node) = &refusal.node {
        text.push_str(&format!(" about {node}"));
    }
    if let Some(step) = refusal.step {
        text.push_str(&format!(" during {step}"));
    }
    text.push_str(&format!("\n  {}\n  do: {}\n", refusal.detail, refusal.advice));
    for (name, value) in &refusal.evidence {
        text.push_str(&format!("  {name} = {value}\n"));
    }
    text
}
