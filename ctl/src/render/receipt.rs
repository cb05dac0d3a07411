//! A receipt for people: what became of the master, who follows, how long writes waited, every step.

use std::fmt::Write;

use topology::receipt::{Receipt, ReceiptNode};

use super::{Style, printable};

const US_PER_MS: u64 = 1000;
const US_PER_S: u64 = 1_000_000;

/// A duration in the unit that people compare: `0.9 ms`, `367 ms`, `2.5 s`.
pub fn microseconds(micros: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", micros / unit, micros % unit * 10 / unit);
    match micros {
        0..10_000 => format!("{} ms", tenths(US_PER_MS)),
        10_000..US_PER_S => format!("{} ms", micros / US_PER_MS),
        _ => format!("{} s", tenths(US_PER_S)),
    }
}

/// A receipt in lines. With `steps` every command that changed something is listed.
pub fn receipt(receipt: &Receipt, steps: bool, style: Style) -> String {
    let mut text = format!("{}: {}\n", style.good(printable(&receipt.outcome)), in_words(receipt));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {}  {}", style.faint(format!("{name:<8}")), printable(value));
    };
    if let Some(master) = &receipt.master {
        line("master", &node(master));
    }
    for slave in &receipt.slaves {
        let link = match slave.link.as_deref() {
            Some("up") => "up".to_owned(),
            // Links are not waited for unless asked; a moment later they are up.
            other => format!("not up yet ({})", other.unwrap_or("not looked at")),
        };
        line("slave", &format!("{}, link {link}", node(slave)));
    }
    for pending in &receipt.pending {
        line("later", &format!("{}: {}", pending.name, pending.reason));
    }
    if let Some(gap_us) = receipt.write_gap_us {
        line("writes", &format!("waited {}", microseconds(gap_us)));
    }
    if let (Some(frozen), Some(target)) = (receipt.frozen_offset, receipt.target_offset) {
        line("proof", &format!("the old master ended at offset {frozen}, the new one had {target}"));
    }
    if !receipt.provable {
        line("proof", "none by offsets: after this restart, or past a master given up, they do not compare");
    }
    if let Some(resyncs) = receipt.full_resyncs.filter(|resyncs| *resyncs > 0) {
        line("resyncs", &format!("{resyncs} full"));
    }
    let revision = receipt.revision.map(|revision| format!(", revision {revision}")).unwrap_or_default();
    line("number", &format!("generation {}{revision}", receipt.generation));
    if !receipt.request_id.is_empty() {
        line("request", &receipt.request_id);
    }
    for warning in &receipt.warnings {
        line("note", warning);
    }
    if steps {
        for step in &receipt.steps {
            let (at, took) = (microseconds(step.at_us), microseconds(step.took_us));
            line("step", &format!("{at:>8}  {:<12} {} (took {took})", step.step, step.node));
        }
    }
    text
}

fn in_words(receipt: &Receipt) -> &'static str {
    match receipt.outcome.as_str() {
        "unchanged" => "everything was as the document says",
        "established" => "a first master was granted the right to take writes",
        "switched" => "the master moved",
        "repaired" => "what had strayed was brought back",
        "resumed" => "a master that had restarted was put back",
        _ => "see below",
    }
}

fn node(node: &ReceiptNode) -> String {
    let (address, port) = (node.name.address.to_string(), node.name.port);
    if address == node.ip.to_string() {
        return std::net::SocketAddr::new(node.ip, port).to_string();
    }
    format!("{address} at {}", std::net::SocketAddr::new(node.ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_short() {
        for (micros, expected) in
            [(0, "0.0 ms"), (940, "0.9 ms"), (2149, "2.1 ms"), (36_700, "36 ms"), (2_540_000, "2.5 s")]
        {
            assert_eq!(microseconds(micros), expected);
        }
    }

    #[test]
    fn a_switch_is_told_with_its_proof_and_its_steps() {
        let switched: Receipt = serde_json::from_value(json!({
            "outcome": "switched", "revision": 42, "generation": 4, "provable": true,
            "master": {"address": "core-02", "port": 6379, "ip": "10.0.0.2", "run_id": "r", "replid": "l"},
            "slaves": [{"address": "10.0.0.1", "port": 6379, "ip": "10.0.0.1", "run_id": "s", "replid": "l",
                        "link": "up"}],
            "pending": [{"address": "core-03", "reason": "it does not answer"}],
            "warnings": ["core-02 has less memory"], "frozen_offset": 1234, "target_offset": 1234,
            "write_gap_us": 2149, "full_resyncs": 0, "request_id": "4be",
            "steps": [{"step": "pause", "node": "10.0.0.1:6379", "at_us": 15_000, "took_us": 210}],
        }))
        .unwrap();
        let expected = "\
switched: the master moved
  master    core-02 at 10.0.0.2:6379
  slave     10.0.0.1:6379, link up
  later     core-03: it does not answer
  writes    waited 2.1 ms
  proof     the old master ended at offset 1234, the new one had 1234
  number    generation 4, revision 42
  request   4be
  note      core-02 has less memory
  step         15 ms  pause        10.0.0.1:6379 (took 0.2 ms)
";
        assert_eq!(receipt(&switched, true, Style::default()), expected);
        assert!(!receipt(&switched, false, Style::default()).contains("pause"));
    }
}
