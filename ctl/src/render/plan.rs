//! The answer to a dry run: numbered steps, each with its why, and how long writes are likely to wait.

use std::fmt::Write;

use super::{Style, microseconds, printable};
use crate::answer::{Entry, Plan};

/// How many of the last hand-overs speak for the next.
const HANDOVERS_COUNTED: usize = 10;

/// A plan in lines.
pub fn plan(plan: &Plan, pause: &str, style: Style) -> String {
    let mut text = String::new();
    if !plan.changes() {
        let _ = writeln!(text, "{}", style.good("nothing to do: the nodes are as the document says"));
    } else {
        let would = style.strong(printable(&plan.would));
        let _ = writeln!(text, "it would be {would}, in {} steps", plan.plan.len());
    }
    let width = plan.plan.iter().filter_map(|step| step.node.as_ref()).map(|node| node.chars().count()).max();
    for (index, step) in plan.plan.iter().enumerate() {
        let node = step.node.as_deref().map_or_else(|| "-".to_owned(), printable);
        let width = width.unwrap_or(1);
        let _ = writeln!(
            text,
            "{:>3}. {:<10}  {node:<width$}  {}",
            index + 1,
            printable(&step.step),
            printable(&step.why)
        );
    }
    if plan.pauses() {
        let _ = writeln!(text, "writes wait: {pause}");
    } else if plan.changes() {
        text.push_str("writes wait: not at all\n");
    }
    for pending in &plan.pending {
        let port = pending.port.map(|port| format!(":{port}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "{} {}{port}: {}",
            style.bad("later:"),
            printable(&pending.address),
            printable(&pending.reason)
        );
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "{} {}", style.bad("note:"), printable(warning));
    }
    text
}

/// What the last hand-overs let expect: their median and range.
pub fn expected_pause(history: &[Entry]) -> String {
    let gaps = history.iter().filter_map(|entry| entry.receipt.as_ref()?.write_gap_us);
    let mut gaps: Vec<u64> = gaps.take(HANDOVERS_COUNTED).collect();
    gaps.sort_unstable();
    match gaps.as_slice() {
        [] => "not known yet, for no hand-over is on record; the dictator's --max-write-pause is the most"
            .to_owned(),
        [only] => format!("about {}, as at the last hand-over", microseconds(*only)),
        [least, .., most] => format!(
            "about {}, as at the last {} hand-overs ({} to {})",
            microseconds(gaps[gaps.len() / 2]),
            gaps.len(),
            microseconds(*least),
            microseconds(*most)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps_are_numbered_and_say_why() {
        let switching: Plan = serde_json::from_value(json!({
            "plan": [{"step": "hand-over", "node": "core-02", "why": "pause writes on core-01"},
                     {"step": "attach", "node": "core-1", "why": "follow core-02"}],
            "warnings": ["core-02 has less memory"], "would": "switched",
            "pending": [{"address": "core-03", "port": 6380, "reason": "it does not answer"}],
        }))
        .unwrap();
        let expected = "\
it would be switched, in 2 steps
  1. hand-over   core-02  pause writes on core-01
  2. attach      core-1   follow core-02
writes wait: about 2 ms
later: core-03:6380: it does not answer
note: core-02 has less memory
";
        assert_eq!(plan(&switching, "about 2 ms", Style::default()), expected);
        assert!(switching.changes() && switching.pauses());
    }

    #[test]
    fn nothing_to_do_says_so() {
        let nothing: Plan = serde_json::from_value(json!({"plan": [], "would": "unchanged"})).unwrap();
        let text = plan(&nothing, "", Style::default());
        assert_eq!(text, "nothing to do: the nodes are as the document says\n");
        assert!(!nothing.changes());
    }

    #[test]
    fn the_expected_pause_is_that_of_the_last_handovers() {
        let entry = |gap: Option<u64>| -> Entry {
            serde_json::from_value(json!({"receipt": {
                "outcome": "switched", "revision": null, "generation": 1, "provable": true, "master": null,
                "slaves": [], "pending": [], "warnings": [], "frozen_offset": null, "target_offset": null,
                "write_gap_us": gap, "full_resyncs": null, "steps": []}}))
            .unwrap()
        };
        assert!(expected_pause(&[entry(None)]).starts_with("not known yet"));
        assert_eq!(expected_pause(&[entry(Some(2100))]), "about 2.1 ms, as at the last hand-over");
        let three = [entry(Some(2100)), entry(None), entry(Some(900)), entry(Some(367_000))];
        assert_eq!(expected_pause(&three), "about 2.1 ms, as at the last 3 hand-overs (0.9 ms to 367 ms)");
    }
}
