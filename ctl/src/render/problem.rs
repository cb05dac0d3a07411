//! A refusal as it is read at three in the morning: what, where, what was seen, what to do.

use std::fmt::Write;

use serde_json::Value;

use super::{Style, printable};
use crate::answer::Problem;
use crate::exit::Failure;

/// Most lines that one piece of evidence takes; the rest is in `-o json`.
const EVIDENCE_LINES_MAX: usize = 12;

/// A problem as a failure with its exit code.
pub fn refusal(refused: &Problem, style: Style) -> Failure {
    Failure::new(refused.code(), problem(refused, style).trim_end())
}

/// A problem in lines. What to do comes last, where the eye rests.
pub fn problem(problem: &Problem, style: Style) -> String {
    let mut text = String::new();
    let title = if problem.title.is_empty() { "a problem" } else { &problem.title };
    let _ =
        writeln!(text, "{} [{} {}]", style.bad(printable(title)), problem.status, printable(problem.slug()));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {}  {}", style.faint(format!("{name:<8}")), printable(value));
    };
    line("what", &problem.detail);
    if let Some(node) = &problem.node {
        line("node", node);
    }
    if let Some(step) = &problem.step {
        line("step", step);
    }
    for place in &problem.errors {
        let pointer = if place.pointer.is_empty() { "(the whole)" } else { &place.pointer };
        line("at", &format!("{pointer}: {}", place.detail));
    }
    for (name, value) in &problem.evidence {
        for (index, shown) in evidence(value).into_iter().enumerate() {
            let label = if index == 0 { format!("{name}: ") } else { " ".repeat(name.len() + 2) };
            line(if index == 0 { "seen" } else { "" }, &format!("{label}{shown}"));
        }
    }
    if let Some(id) = &problem.request_id {
        line("request", id);
    }
    if let Some(advice) = &problem.advice {
        let _ = writeln!(text, "  {}  {}", style.strong(format!("{:<8}", "do")), printable(advice));
    }
    text
}

/// Evidence in short lines: a list gets a line per item, everything else stays as it is.
fn evidence(value: &Value) -> Vec<String> {
    let one = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let Value::Array(items) = value else { return vec![one(value)] };
    if items.is_empty() {
        return vec!["none".to_owned()];
    }
    let mut lines: Vec<String> = items.iter().take(EVIDENCE_LINES_MAX).map(one).collect();
    if items.len() > EVIDENCE_LINES_MAX {
        lines.push(format!("and {} more; all of them with -o json", items.len() - EVIDENCE_LINES_MAX));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_that_helps_is_told_and_what_to_do_comes_last() {
        let refused: Problem = serde_json::from_value(json!({
            "type": "urn:redis-dictator:target-behind", "title": "Target Behind Another Node", "status": 409,
            "detail": "core-03 holds more than core-02", "node": "core-02", "step": "observe",
            "evidence": {"ahead": "core-03", "offsets": [{"core-02": 10}, {"core-03": 20}]},
            "do": "name core-03 as master", "request_id": "4be", "errors": [],
        }))
        .unwrap();
        let expected = "\
Target Behind Another Node [409 target-behind]
  what      core-03 holds more than core-02
  node      core-02
  step      observe
  seen      ahead: core-03
  seen      offsets: {\"core-02\":10}
                     {\"core-03\":20}
  request   4be
  do        name core-03 as master
";
        assert_eq!(problem(&refused, Style::default()), expected);
    }

    #[test]
    fn places_in_the_document_are_told_and_nothing_reaches_the_terminal_raw() {
        let refused: Problem = serde_json::from_value(json!({
            "type": "urn:redis-dictator:invalid-address", "title": "Invalid Address", "status": 400,
            "detail": "bad\u{1b}[2J", "errors": [{"pointer": "/slaves/0/address", "detail": "empty"}],
        }))
        .unwrap();
        let text = problem(&refused, Style::default());
        assert!(text.contains("at        /slaves/0/address: empty"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
