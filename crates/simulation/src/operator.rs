//! The operator: documents, and the permissions to discard that go with them.
//!
//! As people do it: a document names a master and its slaves; when the master that is left behind is
//! out of reach the operator pastes the entry the refusal printed; old entries often stay in the
//! document, and sometimes an entry names a life that is long gone.

use topology::record::Wanted;
use topology::{Discard, Document};

use crate::event::Event;
use crate::ledger::Permission;
use crate::redis::{NodeIndex, Power, run_id};
use crate::world::{SECOND, Time, World};

/// Time until a document that nobody could take is sent again.
const AGAIN: Time = SECOND / 2;
/// How long writes come in quick succession around a document.
const BURST: Time = 40_000;

/// What a document permits to discard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivingUp {
    /// Nothing.
    Nothing,
    /// What was permitted in earlier documents stays in.
    Earlier,
    /// Also the present life of every node that does not answer the operator.
    Unreachable,
    /// Also lives that are over, of every node.
    PastLives,
}

/// A document to be sent.
#[derive(Clone, Debug)]
pub struct Put {
    /// When.
    pub at: Time,
    /// The node that shall be master.
    pub master: NodeIndex,
    /// Nodes left out.
    pub without: Option<NodeIndex>,
    /// What may be lost.
    pub giving_up: GivingUp,
}

impl World {
    /// Adds a document.
    pub fn add_put(&mut self, put: Put) {
        let at = put.at;
        self.puts.push(put);
        self.at(at, Event::Put(self.puts.len() - 1));
    }

    pub(crate) fn put_due(&mut self, index: usize) {
        let put = self.puts[index].clone();
        match put.giving_up {
            GivingUp::Nothing => self.discards.clear(),
            GivingUp::Earlier => {}
            GivingUp::Unreachable => {
                for node in 0..self.nodes.len() {
                    if self.seems_dead(node) && node != put.master {
                        self.permit(node, self.nodes[node].life);
                    }
                }
            }
            GivingUp::PastLives => {
                for node in 0..self.nodes.len() {
                    for life in 1..self.nodes[node].life {
                        self.permit(node, life);
                    }
                }
            }
        }
        let name = |node: NodeIndex| self.nodes[node].name.clone();
        let slaves = (0..self.nodes.len()).filter(|node| *node != put.master && put.without != Some(*node));
        let document = Document {
            master: name(put.master),
            slaves: slaves.map(name).collect(),
            groups: Vec::new(),
            discard: self.discards.clone(),
        };
        self.note(|_| format!("operator: master shall be node {}, {:?}", put.master, put.giving_up));
        let wanted = Wanted { document, revision: Some(index as u64 + 1) };
        self.arm(index);
        self.burst_until = self.now + BURST;
        if !self.put(wanted) && index + 1 == self.puts.len() {
            self.after(AGAIN, Event::Put(index));
        }
    }

    fn seems_dead(&self, node: NodeIndex) -> bool {
        let party = self.dictator_party(0);
        self.nodes[node].power != Power::Running || self.is_cut(node, party) || self.is_cut(party, node)
    }

    fn permit(&mut self, node: NodeIndex, life: u32) {
        let discard = Discard { node: self.nodes[node].name.clone(), run_id: run_id(node, life).0 };
        if !self.discards.contains(&discard) {
            self.discards.push(discard);
            // A life that is over held what the node holds now, or has on its disk.
            let (since, holds) = (self.now, self.held_by(node));
            self.ledger.permissions.push(Permission { node, life, since, holds, used: false, spent: false });
        }
    }
}
