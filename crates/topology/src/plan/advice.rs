//! Advice that can be followed: a life that was given up once cannot be named again.
//!
//! Refusals say which life of which node may be given up, and are worded where nothing is known of discards
//! that were used. A used one permits nothing any more: since then the node holds what is to be kept.
//! Whoever named it again would get the same refusal, word for word. So the way out is added here, in one
//! place: a restart gives the node a new life, and its data stays.

use serde_json::json;

use crate::address::NodeName;
use crate::basis::NoBasis;
use crate::document::Discard;
use crate::observation::Vitals;
use crate::record::Record;
use crate::refusal::{Refusal, Slug};

/// Adds what to do about lives that the refusal names and that were given up already.
pub(super) fn followable(mut refusal: Refusal, record: &Record) -> Refusal {
    for used in record.discards.iter().filter(|used| used.spent) {
        let (node, run_id) = (&used.discard.node, &used.discard.run_id);
        let in_evidence = || refusal.evidence.values().any(|value| value.to_string().contains(run_id));
        if refusal.advice.contains(run_id) || in_evidence() {
            refusal.advice.push_str(&format!(
                "; but {run_id} was given up once and cannot be again: restart {node} first, and name the run_id it has then (if {node} never comes back, see \"Starting over without the record\" in docs/losslessness.md)"
            ));
        }
    }
    refusal
}

/// The refusal for a node without basis.
pub(crate) fn loss(node: &NodeName, vitals: &Vitals, no_basis: NoBasis) -> Refusal {
    let writes = vitals.is_master() && vitals.write_calls != Some(0);
    let (slug, what) = if writes {
        (Slug::SplitBrain, "takes writes of its own")
    } else {
        (Slug::WouldLoseData, "holds data of its own")
    };
    let entry = json!({ "discard": [Discard { node: node.clone(), run_id: vitals.run_id.0.clone() }] });
    let mut refusal = Refusal::new(
        slug,
        format!("{node} {what}: {}; attaching it would erase that", no_basis.because),
        format!(
            "if what {node} holds may be lost, add to the document: {}; otherwise name {node} as master, or save its data elsewhere first",
            entry.to_string().trim_start_matches('{').trim_end_matches('}')
        ),
    )
    .about(node);
    refusal.evidence = no_basis.evidence;
    refusal
}
