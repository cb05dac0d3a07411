//! One case: where the dictator is killed, what else goes wrong, and what must have come of it.
//!
//! The next dictator is first left alone: enforcement has to bring the nodes to a topology by itself. Then
//! the same document is sent again, and has to be carried out. Where a restart has destroyed the only
//! evidence, the rule names a refusal instead; then this plays the operator who follows its advice. In
//! every case the load goes on afterwards, and the final master is asked for every id that was ever
//! acknowledged or rejected.

use std::fmt;
use std::time::{Duration, Instant};

use harness::cluster::assert_settled;
use harness::redis::Born;
use harness::wait::ensure;
use harness::{HttpAnswer, wait_until};
use serde_json::Value;

use crate::scene::{OLD, Scene, TARGET, THIRD};

/// How long a dictator may take until everything is as it should be, or refused.
const CONVERGED_DEADLINE: Duration = Duration::from_secs(30);
/// Acknowledged writes that show that the load has found the master again.
const WRITES_AFTER: u64 = 40;
/// Refusals that pass by themselves when whatever is missing comes back.
const PASSING: [&str; 9] = [
    "outcome-unknown",
    "acting-master-unreachable",
    "node-unreachable",
    "target-loading",
    "sync-timeout",
    "drain-timeout",
    "not-leader",
    "busy",
    "record-not-writable",
];

/// What goes wrong besides the dictator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Nothing.
    Nothing,
    /// The old master is killed and starts again.
    OldRestarts,
    /// The target is killed and starts again.
    TargetRestarts,
    /// The old master stands still until the next dictator has given up on it, then goes on.
    OldFrozen,
    /// The target does.
    TargetFrozen,
    /// The third node is down until the others have converged.
    ThirdDown,
    /// The dictators share a lock and their record in etcd, and that is down until the next one waits for it.
    EtcdDown,
}

/// One cell of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// The dictator is killed at this action, counted from one.
    pub(crate) at: u64,
    /// What else goes wrong.
    pub(crate) fault: Fault,
    /// How the nodes are configured.
    pub(crate) born: Born,
}

/// How a case ended; anything lost or invented is a panic instead.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// Where the dictator was killed, without the node's address.
    pub(crate) action: String,
    /// The refusals that the operator had to resolve, if there were any.
    pub(crate) refusal: Option<String>,
    /// Writes acknowledged in all; every one of them is on the final master.
    pub(crate) acknowledged: usize,
    /// Longest time between two acknowledged writes.
    pub(crate) outage: Duration,
    /// How long the case took.
    pub(crate) took: Duration,
}

impl Fault {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 7] = [
        Self::Nothing,
        Self::OldRestarts,
        Self::TargetRestarts,
        Self::OldFrozen,
        Self::TargetFrozen,
        Self::ThirdDown,
        Self::EtcdDown,
    ];

    /// The head of its column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Nothing => "nothing else",
            Self::OldRestarts => "old master restarts",
            Self::TargetRestarts => "target restarts",
            Self::OldFrozen => "old master frozen",
            Self::TargetFrozen => "target frozen",
            Self::ThirdDown => "third node down",
            Self::EtcdDown => "etcd down",
        }
    }
}

impl Case {
    /// From `<action>:<fault>:<born>`, as a case is displayed.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split(':');
        let at = parts.next()?.parse().ok()?;
        let fault = parts.next()?;
        let fault = Fault::ALL.into_iter().find(|known| format!("{known:?}") == fault)?;
        let born = match parts.next()? {
            "Unassigned" => Born::Unassigned,
            "Plain" => Born::Plain,
            _ => return None,
        };
        Some(Self { at, fault, born })
    }

    /// Runs it; nothing if the hand-over has no such action.
    pub(crate) fn run(&self) -> Option<Verdict> {
        let started = Instant::now();
        let mut scene = Scene::set(self.born, self.fault == Fault::EtcdDown);
        let action = scene.hand_over_until(self.at)?;
        scene.dictator.kill();
        // Between the demotion and the record of the grant only the target's life tells what came of it.
        let in_the_dark = scene.nodes[OLD].role() == "slave" && scene.intent_is_open();
        self.go_wrong(&mut scene);
        scene.start_normal_dictator();
        self.make_good(&mut scene);
        let refusal = self.converge(&scene);
        let unknowable = in_the_dark && self.fault == Fault::TargetRestarts;
        let first = refusal.as_deref().and_then(|slugs| slugs.split(", ").next());
        assert_eq!(first, unknowable.then_some("unresolved-handover"), "killed {action}");
        let load = scene.load.take().expect("the load runs");
        load.wait_acknowledged(WRITES_AFTER);
        let ledger = load.stop();
        assert_settled(&scene.nodes[TARGET], &[&scene.nodes[OLD], &scene.nodes[THIRD]]);
        let tally = ledger.verify(scene.nodes[TARGET].address());
        assert!(
            tally.is_clean(),
            "{action}, {refusal:?}: {tally}; {:?} {:?} {:?}",
            tally.missing,
            tally.phantom,
            tally.repeated
        );
        let mut known: Vec<Duration> = ledger
            .attempts()
            .filter(|(_, _, attempt)| attempt.outcome == harness::load::Outcome::Acknowledged)
            .map(|(_, _, attempt)| attempt.known)
            .collect();
        known.sort();
        let outage = known.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        let action = without_address(&action);
        Some(Verdict { action, refusal, acknowledged: tally.acknowledged, outage, took: started.elapsed() })
    }

    fn go_wrong(&self, scene: &mut Scene) {
        match self.fault {
            Fault::Nothing => {}
            Fault::OldRestarts | Fault::TargetRestarts => {
                let node = &mut scene.nodes[if self.fault == Fault::OldRestarts { OLD } else { TARGET }];
                node.kill();
                node.start_again();
            }
            Fault::OldFrozen => scene.nodes[OLD].process().freeze(),
            Fault::TargetFrozen => scene.nodes[TARGET].process().freeze(),
            Fault::ThirdDown => scene.nodes[THIRD].kill(),
            Fault::EtcdDown => scene.etcd.as_mut().expect("this case has one").process().kill(),
        }
    }

    /// The next dictator answers something while the fault lasts, whatever it is; then the fault ends.
    fn make_good(&self, scene: &mut Scene) {
        if matches!(self.fault, Fault::Nothing | Fault::OldRestarts | Fault::TargetRestarts) {
            return;
        }
        let document = scene.document(TARGET);
        let answer = scene.dictator.http().put("/master", &document);
        match self.fault {
            Fault::OldFrozen => scene.nodes[OLD].process().thaw(),
            Fault::TargetFrozen => {
                assert_ne!(answer.status, 200, "the target cannot have been reached: {}", answer.text());
                scene.nodes[TARGET].process().thaw();
            }
            Fault::ThirdDown => {
                answer.expect(200);
                scene.nodes[THIRD].start_again();
            }
            _ => {
                assert_eq!(answer.status, 503, "no dictator acts without its lock: {}", answer.text());
                let etcd = scene.etcd.as_mut().expect("this case has one");
                etcd.process().start();
            }
        }
    }

    /// Waits until enforcement has nothing left to do, then until the document is carried out; or follows
    /// the advice of a refusal, and returns its slug.
    fn converge(&self, scene: &Scene) -> Option<String> {
        wait_until("the dictator to converge by itself", CONVERGED_DEADLINE, || {
            let answer = scene.dictator.http().get("/status");
            let status = if answer.status == 200 { answer.json() } else { Value::Null };
            let stuck = status["problem"]["type"].as_str().is_some_and(|slug| !PASSING.contains(&slug));
            let settled = status["drift"] == false && status["wanted"] != Value::Null;
            ensure(settled || stuck, answer.text())
        });
        let document = scene.document(TARGET);
        let answer = put_patiently(scene, &document);
        if answer.status == 200 {
            return None;
        }
        Some(self.follow_advice(scene, document, &answer))
    }

    /// Where the target restarted while its promotion may have been under way, nobody can know any more what
    /// came of it. The old master is parked and whole, the target has all that the old one had and perhaps
    /// more, so it is the one to keep.
    fn follow_advice(&self, scene: &Scene, mut document: Value, refused: &HttpAnswer) -> String {
        let old = &scene.nodes[OLD];
        wait_until("the old master to be parked", CONVERGED_DEADLINE, || {
            let follows = old.follows();
            ensure(follows.as_deref() == Some("127.0.0.1:0"), format!("{follows:?}"))
        });
        let mut discards = vec![old.json()];
        discards[0]["run_id"] = refused.json()["evidence"]["from_run_id"].clone();
        let mut slugs = refused.slug();
        document["discard"] = Value::Array(discards.clone());
        let answer = put_patiently(scene, &document);
        if answer.status == 200 {
            return slugs;
        }
        // How far the old history goes in a target that restarted nobody can prove, so the third node is
        // not attached before it is given up as well. The target takes writes by then.
        slugs.push_str(", ");
        slugs.push_str(&answer.slug());
        assert_eq!(scene.nodes[TARGET].role(), "master", "{}", answer.text());
        let third = &answer.json()["evidence"]["discard"];
        assert_eq!(*third, scene.nodes[THIRD].discard_json(), "{}", answer.text());
        discards.push(third.clone());
        document["discard"] = Value::Array(discards);
        put_patiently(scene, &document).expect(200);
        slugs
    }
}

/// PUTs until the answer is not one that passes by itself.
fn put_patiently(scene: &Scene, document: &Value) -> HttpAnswer {
    wait_until("an answer that stands", CONVERGED_DEADLINE, || {
        let answer = scene.dictator.http().put("/master?wait=links", document);
        if PASSING.contains(&answer.slug().as_str()) || answer.status == 504 {
            return Err(answer.text());
        }
        Ok(answer)
    })
}

/// `7 after park 127.0.0.1:1234` without the number and the address.
fn without_address(action: &str) -> String {
    let words = action.split_whitespace().skip(1).filter(|word| !word.contains("127.0.0.1"));
    words.collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{:?}:{:?}", self.at, self.fault, self.born)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (action, outage) = (&self.action, self.outage.as_millis());
        let how = self.refusal.as_deref().unwrap_or("converged");
        let took = self.took.as_secs_f64();
        write!(formatter, "{action}: {how}, {} ack'd, outage {outage} ms, {took:.1} s", self.acknowledged)
    }
}

impl Ord for Case {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |case: &Self| (case.at, case.fault, case.born == Born::Plain);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Case {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
