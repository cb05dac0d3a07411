//! What is seen of events as they come, and of a pause.

use std::fmt::Write;

use serde_json::Value;
use topology::receipt::Receipt;

use super::{Style, ago, microseconds, printable, utc};
use crate::answer::{Enforcement, Entry};

/// Milliseconds in a second.
const MS_PER_S: u64 = 1000;

/// Why the topology is not being kept true at this moment, if it is not.
pub fn enforcement(enforcement: &Enforcement, now_unix_ms: u64, style: Style) -> Option<String> {
    if let Some(paused) = &enforcement.paused {
        let until = paused.until_unix_ms;
        let left = ago(until, now_unix_ms);
        let mut text =
            format!("{} until {}, for {left} more", style.bad("enforcement is paused"), utc(until));
        if !paused.reason.is_empty() {
            let _ = write!(text, ": {}", printable(&paused.reason));
        }
        return Some(text + "\n");
    }
    let off = enforcement.interval_ms == Some(0);
    off.then(|| format!("{} (--enforce-interval 0)\n", style.bad("enforcement is off")))
}

/// One event in a line or two.
pub fn event(kind: &str, data: &Value, now_unix_ms: u64, style: Style) -> String {
    let text = |name: &str| printable(data[name].as_str().unwrap_or_default());
    let told = match kind {
        "begun" => format!("a change begins, request {}", text("request_id")),
        "step" => format!("{:<12} {} ({})", text("step"), text("node"), text("cause")),
        "answered" => answered(&data["receipt"], style),
        "stuck" => format!(
            "{} [{}]: {}; do: {}",
            style.bad("the topology cannot be kept"),
            text("type"),
            text("detail"),
            text("do")
        ),
        "entry" => entry(data, style),
        other => format!("{}: {}", printable(other), printable(&data.to_string())),
    };
    let clock = utc(now_unix_ms / MS_PER_S * MS_PER_S);
    format!("{}  {told}\n", style.faint(clock))
}

fn answered(receipt: &Value, style: Style) -> String {
    let Ok(receipt) = serde_json::from_value::<Receipt>(receipt.clone()) else {
        return "a change was answered".to_owned();
    };
    let mut text = style.good(printable(&receipt.outcome));
    if let Some(master) = &receipt.master {
        let _ = write!(text, ": master {}:{}", master.name.address, master.name.port);
    }
    if let Some(gap_us) = receipt.write_gap_us {
        let _ = write!(text, ", writes waited {}", microseconds(gap_us));
    }
    text
}

fn entry(data: &Value, style: Style) -> String {
    let Ok(entry) = serde_json::from_value::<Entry>(data.clone()) else { return "a change ended".to_owned() };
    let outcome = printable(&entry.outcome);
    let detail = entry.detail.as_deref().map(printable).unwrap_or_default();
    match &entry.receipt {
        Some(receipt) if receipt.pending.is_empty() => format!("ended: {outcome}, all links up"),
        Some(receipt) => format!("ended: {outcome}, {} slaves come later", receipt.pending.len()),
        None if entry.cause == "operator" => format!("{outcome}: {detail}"),
        None => format!("{} [{outcome}]: {detail}", style.bad("refused")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(kind: &str, data: Value) -> String {
        event(kind, &data, 1999, Style::default())
    }

    #[test]
    fn events_are_lines() {
        assert_eq!(
            line("begun", json!({"cause": "put", "request_id": "4be"})),
            "1970-01-01 00:00:01Z  a change begins, request 4be\n"
        );
        let step = line("step", json!({"cause": "put", "step": "hand-over", "node": "core-02"}));
        assert!(step.ends_with("hand-over    core-02 (put)\n"), "{step}");
        let stuck = line("stuck", json!({"type": "split-brain", "detail": "two", "do": "choose"}));
        assert!(stuck.ends_with("the topology cannot be kept [split-brain]: two; do: choose\n"), "{stuck}");
        let refused = json!({"cause": "put", "outcome": "target-behind", "detail": "it is behind"});
        assert!(line("entry", refused).ends_with("refused [target-behind]: it is behind\n"));
        let paused =
            json!({"cause": "operator", "outcome": "enforcement-paused", "detail": "for 60 s: disk"});
        assert!(line("entry", paused).ends_with("enforcement-paused: for 60 s: disk\n"));
        assert!(line("weather", json!({})).ends_with("weather: {}\n"), "what is new is shown as it is");
    }

    #[test]
    fn a_pause_tells_its_end_and_why() {
        let told = |value: Value, now: u64| {
            enforcement(&serde_json::from_value(value).unwrap(), now, Style::default())
        };
        let paused =
            json!({"interval_ms": 5000, "paused": {"until_unix_ms": 601_000, "reason": "new memory"}});
        let expected = "enforcement is paused until 1970-01-01 00:10:01Z, for 10 min more: new memory\n";
        assert_eq!(told(paused, 1000).as_deref(), Some(expected));
        assert_eq!(told(json!({"interval_ms": 5000, "paused": null}), 0), None);
        assert_eq!(
            told(json!({"interval_ms": 0}), 0).as_deref(),
            Some("enforcement is off (--enforce-interval 0)\n")
        );
    }
}
