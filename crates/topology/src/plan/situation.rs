//! What a decision may look at, all of it: decisions are pure, so that they can be tried by the million and tell the
//! same of the same. Whatever else they shall know comes in here, and not from a clock or a node.

use super::Policy;
use crate::address::NodeName;
use crate::basis::Reference;
use crate::observation::{Observation, Vitals};
use crate::record::{Record, Wanted};

/// Everything a decision may look at.
#[derive(Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) wanted: &'a Wanted,
    pub(crate) observation: &'a Observation,
    pub(crate) record: &'a Record,
    pub(crate) policy: &'a Policy,
    /// Whether who can be attached is, although another slave is refused.
    pub(crate) partial: bool,
}

impl<'a> Situation<'a> {
    pub(super) fn reference(&self, acting: &'a Vitals) -> Reference<'a> {
        Reference { acting, record: self.record, discard: &self.wanted.document.discard }
    }

    /// Whether the document permits losing what this life of a node holds.
    pub(super) fn discards(&self, node: &NodeName, run_id: &str) -> bool {
        self.wanted.document.discard.iter().any(|discard| {
            discard.node == *node && discard.run_id == run_id && !crate::basis::is_used(self.record, discard)
        })
    }

    /// Nodes of the document, then nodes that left it and may still be there.
    pub(super) fn leavers(&self) -> Vec<NodeName> {
        let before = self.record.wanted.iter().flat_map(|wanted| wanted.document.nodes());
        let mut leavers: Vec<NodeName> = Vec::new();
        for node in before.chain(&self.record.leaving) {
            let endpoint = |name: &NodeName| self.observation.nodes.get(name).and_then(|node| node.endpoint);
            let still_wanted = self.wanted.document.nodes().any(|wanted| {
                wanted == node || (endpoint(wanted).is_some() && endpoint(wanted) == endpoint(node))
            });
            if !still_wanted && !leavers.contains(node) {
                leavers.push(node.clone());
            }
        }
        leavers
    }
}
