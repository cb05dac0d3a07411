//! The crash matrix: the dictator is killed after every single action of a hand-over, something else goes
//! wrong as well, and a dictator that starts on the same state folder has to make it good, under load.
//!
//! A build of the dictator for tests (feature `stop-at`, program `dictator-stopping`) stands still before
//! or after its n-th command or save, with all its connections open. There it is killed, which is exact
//! where a random kill is luck. How many actions a hand-over has is not written down anywhere: n grows
//! until the change comes to its end without a stop.
//!
//! The short form takes every action with one fault in turn. The whole matrix, with a table to print:
//!
//! ```text
//! MATRIX=full cargo test --test matrix -- --nocapture
//! ```
//!
//! `MATRIX_CASE=<action>:<fault>:<born>` runs a single case again, as the table and a failure name it.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test reads its own environment and prints the table it makes"
)]

mod case;
mod scene;
mod table;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use case::{Case, Fault, Verdict};
use harness::redis::Born;

/// Cases that run at once: each starts three nodes and three dictators one after the other.
const WORKERS: usize = 3;
/// More actions than any hand-over has: a hand-over that does not end is a fault.
const ACTIONS_MAX: u64 = 60;

/// What came of the cases that ran, and which of them failed and how.
#[derive(Default)]
struct Results {
    verdicts: BTreeMap<Case, Verdict>,
    failures: BTreeMap<Case, String>,
}

#[test]
fn the_dictator_is_killed_after_every_action() {
    let started = Instant::now();
    if let Ok(name) = std::env::var("MATRIX_CASE") {
        let case = Case::parse(&name).expect("MATRIX_CASE is <action>:<fault>:<born>");
        println!("{case}: {:?}", case.run());
        return;
    }
    let full = std::env::var("MATRIX").is_ok_and(|value| value == "full");
    let results = run_all(&|at| if full { whole_row(at) } else { vec![one_in_turn(at)] });
    if full {
        println!("{}", table::markdown(&results.verdicts, started.elapsed()));
    }
    let names = |case: &Case| results.failures.get(case).map(|why| format!("{case}: {why}"));
    let failures: Vec<String> = results.failures.keys().filter_map(names).collect();
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
    assert!(results.verdicts.len() > 10, "a hand-over has more actions than that");
}

/// Every fault and both kinds of nodes at this action.
fn whole_row(at: u64) -> Vec<Case> {
    let born = [Born::Unassigned, Born::Plain];
    born.into_iter().flat_map(|born| Fault::ALL.map(|fault| Case { at, fault, born })).collect()
}

/// One fault at this action; neighbouring actions get different ones.
fn one_in_turn(at: u64) -> Case {
    let turn = usize::try_from(at).expect("a small number");
    let fault = Fault::ALL[turn % Fault::ALL.len()];
    // The kind of node changes with every round of faults, or each fault would see one kind only.
    let born = if (turn / Fault::ALL.len()).is_multiple_of(2) { Born::Unassigned } else { Born::Plain };
    Case { at, fault, born }
}

/// Runs the cases of every action, some side by side, until a column has no further action.
fn run_all(cases: &(dyn Fn(u64) -> Vec<Case> + Sync)) -> Results {
    // The program is built before the clock of any case runs.
    scene::build();
    let queue = Mutex::new((1..=ACTIONS_MAX).flat_map(cases));
    let end = AtomicU64::new(ACTIONS_MAX);
    let results = Mutex::new(Results::default());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("the queue").next();
                    let Some(case) = next.filter(|case| case.at <= end.load(Ordering::Relaxed)) else {
                        return;
                    };
                    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| case.run()));
                    let mut results = results.lock().expect("the results");
                    match outcome {
                        Ok(Some(verdict)) => {
                            println!("{case}: {verdict}");
                            results.verdicts.insert(case, verdict);
                        }
                        // The change came to its end: no later action exists.
                        Ok(None) => drop(end.fetch_min(case.at, Ordering::Relaxed)),
                        Err(panic) => {
                            results.failures.insert(case, words(&*panic));
                        }
                    }
                }
            });
        }
    });
    let results = results.into_inner().expect("the results");
    let ended = end.into_inner() < ACTIONS_MAX;
    assert!(ended || !results.failures.is_empty(), "the hand-over has no end");
    results
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
