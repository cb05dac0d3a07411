//! Who belongs to the cluster: the nodes of the document in force, those that left it and may still follow
//! its master, and those that were attached for a document that is not in force yet.
//!
//! The last two are why a set of names is not enough: whoever is forgotten is neither parked when the master
//! restarts nor compared with it, and would be wiped by it unseen.

use std::net::SocketAddr;

use crate::address::NodeName;
use crate::document::Document;
use crate::record::{LEAVING_MAX, Record, Wanted};

impl Record {
    /// Puts a document in force. Returns whether anything changed.
    pub fn put_in_force(&mut self, wanted: &Wanted) -> bool {
        let revision = wanted.revision.or(self.wanted.as_ref().and_then(|wanted| wanted.revision));
        let next = Wanted { document: wanted.document.clone(), revision };
        if self.wanted.as_ref() == Some(&next) {
            return false;
        }
        if let Some(before) = self.wanted.take() {
            self.leave(&before.document, &next.document);
        }
        self.leaving.retain(|node| !next.document.nodes().any(|wanted| wanted == node));
        self.settle_joining(&next.document);
        self.wanted = Some(next);
        self.sequence += 1;
        true
    }

    /// Nodes that are not in the document in force, but may follow its master: they left it and were not seen
    /// parked yet, or were attached for a document that is not in force.
    pub fn outside(&self) -> impl Iterator<Item = &NodeName> {
        self.leaving.iter().chain(&self.joining)
    }

    /// Notes a node that is about to be attached without being in the document in force. Returns whether
    /// anything changed.
    pub fn join(&mut self, node: &NodeName) -> bool {
        let named = self.wanted.iter().any(|wanted| wanted.document.nodes().any(|wanted| wanted == node));
        let known = named || self.outside().any(|outside| outside == node);
        if !known && self.joining.len() < LEAVING_MAX {
            self.joining.push(node.clone());
        }
        !known
    }

    /// A document was put in force: whoever was attached for another one is in it now, or leaves. Returns
    /// whether anything changed.
    pub fn settle_joining(&mut self, in_force: &Document) -> bool {
        let joining = std::mem::take(&mut self.joining);
        let changed = !joining.is_empty();
        for node in joining {
            let stays = in_force.nodes().any(|wanted| *wanted == node) || self.leaving.contains(&node);
            if !stays && self.leaving.len() < LEAVING_MAX {
                self.leaving.push(node);
            }
        }
        changed
    }

    fn leave(&mut self, before: &Document, next: &Document) {
        for node in before.nodes() {
            let stays = next.nodes().any(|wanted| wanted == node) || self.leaving.contains(node);
            if !stays && self.leaving.len() < LEAVING_MAX {
                self.leaving.push(node.clone());
            }
        }
    }

    /// Every node this record speaks of, which must be observed besides those of the document.
    pub fn nodes(&self) -> Vec<NodeName> {
        let wanted = self.wanted.iter().flat_map(|wanted| wanted.document.nodes().cloned());
        let granted = self.granted.iter().map(|granted| granted.node.clone());
        let parties = self.intent.iter().flat_map(|intent| {
            let from = intent.from.iter().map(|from| from.node.clone());
            from.chain([intent.to.node.clone()]).chain(intent.wanted.document.nodes().cloned())
        });
        let mut nodes: Vec<NodeName> =
            wanted.chain(granted).chain(parties).chain(self.outside().cloned()).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// Where a node of this record was when it was last dealt with, should its name not resolve now.
    pub fn last_endpoint(&self, node: &NodeName) -> Option<SocketAddr> {
        let granted = self.granted.iter().map(|granted| (&granted.node, granted.endpoint));
        let parties = self.intent.iter().flat_map(|intent| {
            let from = intent.from.iter().map(|from| (&from.node, from.endpoint));
            from.chain([(&intent.to.node, intent.to.endpoint)])
        });
        granted.chain(parties).find(|(name, _)| *name == node).map(|(_, endpoint)| endpoint)
    }
}
