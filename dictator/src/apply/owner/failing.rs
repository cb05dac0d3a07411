//! What enforcement cannot do, told once and not with every pass.
//!
//! Enforcement comes again after seconds, for ever, and what it could not do it mostly cannot do then either: a
//! node refuses a command, two nodes take writes. Whoever reads log, history or events wants to know that once,
//! and again when something else is the matter. So what was told last is kept here and compared. Numbers do not
//! count in that comparison: offsets and ages in a sentence differ with every pass, its matter does not.
//!
//! A pass that is refused as a whole is told at once. One that was carried out and left a slave as it was may have
//! met a node in the moment of its death; it is told when the next pass fares the same, which is when an operator
//! should look. Counting failures over time instead was rejected: it would say the same later.

use topology::address::NodeName;
use topology::receipt::{Receipt, ReceiptPending};
use topology::refusal::Refusal;

use super::super::status::NodeStatus;

/// What was told last.
#[derive(Clone, Debug, Default)]
pub(super) enum Failing {
    /// Nothing is known to stand in the way.
    #[default]
    Nothing,
    /// A pass was refused.
    Refused {
        /// The reason, in words without numbers.
        what: String,
        /// Its steps, where it did what could be done before it ended so.
        did: Option<String>,
    },
    /// A pass did this and left these slaves as they were.
    InVain {
        /// Its steps and what is pending, in words without numbers.
        what: String,
        /// Each slave with the reason.
        slaves: Vec<ReceiptPending>,
        /// Whether it went the same way before.
        again: bool,
    },
}

/// What is to be told of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// As of any other change.
    Everything,
    /// That the topology cannot be kept, because of this node, for this reason.
    CannotKeep {
        /// The node.
        node: String,
        /// Why.
        reason: String,
    },
    /// It is known.
    Nothing,
}

impl Failing {
    /// Whether this refusal is another than the one told last. It is the one told last from now on.
    pub(super) fn is_news(&mut self, refusal: &Refusal, done: Option<&Receipt>) -> bool {
        let what = format!("{} {}", refusal.slug.as_str(), without_digits(&refusal.detail));
        let known = matches!(self, Self::Refused { what: told, .. } if *told == what);
        *self = Self::Refused { what, did: done.map(steps) };
        !known
    }

    /// Whether the pass that was refused last had taken these very steps: then they were in vain.
    pub(super) fn did_before(&self, receipt: &Receipt) -> bool {
        matches!(self, Self::Refused { did: Some(did), .. } if *did == steps(receipt))
    }

    /// Takes note of a pass that was carried out, and says what is to be told of it.
    pub(super) fn carried_out(&mut self, receipt: &Receipt) -> Tell {
        let Some((what, slaves)) = in_vain(receipt) else {
            *self = Self::Nothing;
            return Tell::Everything;
        };
        let before = std::mem::take(self);
        let (again, tell) = match before {
            Self::InVain { what: told, again, .. } if told == what => (true, !again),
            _ => (false, false),
        };
        let tell = match slaves.first() {
            Some(first) if tell => {
                let (node, reasons) =
                    (first.name.to_string(), slaves.iter().map(in_words).collect::<Vec<_>>());
                Tell::CannotKeep { node, reason: reasons.join("; ") }
            }
            _ if again => Tell::Nothing,
            _ => Tell::Everything,
        };
        *self = Self::InVain { what, slaves, again };
        tell
    }

    /// Whether the last passes went the same way in vain, so that steps of the next are no news.
    pub(super) fn is_told(&self) -> bool {
        matches!(self, Self::InVain { again: true, .. })
    }

    /// Says beside each node why the last pass left it as it was, if it still is not as wanted.
    pub(super) fn explain(&self, nodes: &mut [NodeStatus]) {
        let Self::InVain { slaves, .. } = self else { return };
        for node in nodes.iter_mut().filter(|node| !node.problems.is_empty()) {
            let is_this = |name: &NodeName| {
                name.address == node.address && name.port.is_none_or(|port| Some(port.get()) == node.port)
            };
            let pending = slaves.iter().find(|pending| is_this(&pending.name));
            let reason = pending.map(|pending| pending.reason.clone());
            node.problems.extend(reason.filter(|reason| !node.problems.contains(reason)));
        }
    }
}

/// What a pass did, and the slaves that it left as they were all the same.
fn in_vain(receipt: &Receipt) -> Option<(String, Vec<ReceiptPending>)> {
    if receipt.outcome != "repaired" || receipt.pending.is_empty() {
        return None;
    }
    let reasons: Vec<_> = receipt.pending.iter().map(in_words).map(|words| without_digits(&words)).collect();
    Some((format!("{} {reasons:?}", steps(receipt)), receipt.pending.clone()))
}

fn steps(receipt: &Receipt) -> String {
    let steps: Vec<_> = receipt.steps.iter().map(|step| (&step.step, &step.node)).collect();
    format!("{steps:?}")
}

fn in_words(pending: &ReceiptPending) -> String {
    format!("{} is left as it is: {}", pending.name, pending.reason)
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn receipt(outcome: &str, reason: Option<&str>) -> Receipt {
        let pending: Vec<_> =
            reason.iter().map(|reason| json!({"address": "core-02", "port": 1, "reason": reason})).collect();
        let receipt = json!({
            "outcome": outcome, "revision": null, "generation": 1, "provable": true, "master": null, "slaves": [],
            "pending": pending, "warnings": [], "frozen_offset": null, "target_offset": null, "write_gap_us": null,
            "full_resyncs": null, "steps": [{"step": "attach", "node": "core-02:1", "at_us": 1, "took_us": 1}],
        });
        serde_json::from_value(receipt).expect("a receipt")
    }

    #[test]
    fn what_goes_the_same_way_is_told_once_more_and_then_no_more() {
        let mut failing = Failing::default();
        let refuses = receipt("repaired", Some("refuses 17"));
        assert_eq!(failing.carried_out(&refuses), Tell::Everything);
        assert!(!failing.is_told());
        let tell = failing.carried_out(&receipt("repaired", Some("refuses 18")));
        assert!(
            matches!(&tell, Tell::CannotKeep { node, reason } if node == "core-02:1" && reason.contains("refuses")),
            "{tell:?}"
        );
        assert!(failing.is_told());
        assert_eq!(failing.carried_out(&refuses), Tell::Nothing);
        assert_eq!(failing.carried_out(&receipt("repaired", Some("another reason"))), Tell::Everything);
        assert!(!failing.is_told());
    }

    #[test]
    fn what_a_refused_pass_did_is_told_until_it_does_the_same_again() {
        let mut failing = Failing::default();
        let refusal = |detail: &str| Refusal::new(topology::refusal::Slug::SplitBrain, detail, "");
        let (attached, nothing) = (receipt("repaired", None), None);
        assert!(!failing.did_before(&attached));
        assert!(failing.is_news(&refusal("9 keys"), Some(&attached)));
        assert!(failing.did_before(&attached), "it was in vain");
        assert!(!failing.is_news(&refusal("10 keys"), nothing), "the same with other figures");
        assert!(!failing.did_before(&attached), "it was not needed then");
        assert!(failing.is_news(&refusal("another matter"), nothing));
    }

    #[test]
    fn what_was_repaired_or_needed_no_repair_is_told_as_ever_and_forgets() {
        let mut failing = Failing::default();
        let refuses = receipt("repaired", Some("refuses"));
        for between in [receipt("repaired", None), receipt("unchanged", Some("is away"))] {
            failing.carried_out(&refuses);
            failing.carried_out(&refuses);
            assert_eq!(failing.carried_out(&between), Tell::Everything);
            assert_eq!(failing.carried_out(&refuses), Tell::Everything);
        }
    }
}
