//! How the record changes: a grant, a lineage that moved by itself, a discard that was used.
//!
//! Pure functions of record and evidence. Whoever calls them must make the result durable before
//! anything that depends on it is sent.

use std::net::SocketAddr;

use crate::address::NodeName;
use crate::basis::Reference;
use crate::document::Discard;
use crate::observation::{Observation, Offset, ReplId, Vitals};
use crate::plan::{Right, keys_kept, position_on};
use crate::record::{
    DISCARDS_MAX, Granted, Intent, PastLineage, Record, Seen, SeenRole, UsedDiscard, Wanted,
};

/// A node that was just granted the right to take writes, and the evidence.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    /// The node.
    pub node: &'a NodeName,
    /// Where it is.
    pub endpoint: SocketAddr,
    /// Its vitals since it takes writes.
    pub vitals: &'a Vitals,
    /// By what right.
    pub right: Right,
    /// The document this carries out.
    pub wanted: &'a Wanted,
    /// Whether this is the document's own master; then the document is in force.
    pub arrived: bool,
    /// Everybody, as observed before.
    pub observation: &'a Observation,
}

impl Record {
    /// Notes a grant: generation, granted node, ends of lineages, used discards, and how the parties
    /// will be remembered if they restart before the next heartbeat.
    pub fn grant(&mut self, grant: &Grant<'_>) {
        let vitals = grant.vitals;
        let intent = self.intent.take();
        self.generation =
            intent.as_ref().map_or(self.generation + 1, |intent| intent.generation.max(self.generation + 1));
        let previous = self.granted.take();
        let anew = self.follow_history(previous.as_ref(), intent.as_ref(), grant);
        if let (Right::HandedOver { frozen }, Some(from)) =
            (grant.right, intent.as_ref().and_then(|intent| intent.from.as_ref()))
        {
            // It was demoted at F by our own transaction: whatever life it shows next holds no more.
            let replid =
                intent.as_ref().map_or_else(|| vitals.replid.clone(), |intent| intent.replid.clone());
            self.see(Seen {
                node: from.node.clone(),
                run_id: from.run_id.clone(),
                role: SeenRole::Slave,
                replid,
                offset: frozen,
            });
        }
        if grant.right == Right::Replacement {
            self.use_discards(grant.wanted.document.discard.iter());
        }
        if grant.arrived {
            self.put_in_force(grant.wanted);
        }
        // What this life was permitted to lose it has lost by now; what it takes from here on is granted.
        for used in self.discards.iter_mut().filter(|used| used.discard.node == *grant.node) {
            used.spent |= used.discard.run_id == vitals.run_id.0;
        }
        self.granted = Some(Granted {
            node: grant.node.clone(),
            endpoint: grant.endpoint,
            run_id: vitals.run_id.clone(),
            replid: vitals.replid.clone(),
            anew,
        });
        self.see(Seen {
            node: grant.node.clone(),
            run_id: vitals.run_id.clone(),
            role: SeenRole::Master,
            replid: vitals.replid.clone(),
            offset: vitals.position(),
        });
    }

    /// Brings the chain of past lineages to what the data of the node that is granted now contains. Returns
    /// whether its lineage counts offsets anew.
    fn follow_history(
        &mut self,
        previous: Option<&Granted>,
        intent: Option<&Intent>,
        grant: &Grant<'_>,
    ) -> bool {
        let vitals = grant.vitals;
        let early = previous.and_then(|previous| self.early(&previous.replid, vitals));
        let carries =
            early.is_none() && previous.is_none_or(|previous| self.carries(&previous.replid, grant));
        match early {
            // What was written after it is in nobody's hands now but of those who still show it, either.
            Some((place, offset)) => {
                self.chain.truncate(place + 1);
                if let Some(last) = self.chain.back_mut() {
                    last.end = last.end.min(offset);
                }
            }
            None if !carries => self.chain.clear(),
            None => {}
        }
        if let Some(previous) = previous
            && previous.replid != vitals.replid
            && carries
        {
            let end = self.end_after(&previous.replid, grant);
            self.end_past(PastLineage { replid: previous.replid.clone(), end, anew: previous.anew });
        }
        if let Some(intent) = intent
            && intent.replid != vitals.replid
            && carries
        {
            let end = self.end_after(&intent.replid, grant);
            self.end_lineage(intent.replid.clone(), end);
        }
        if let (Some(before), Some(second)) = (&vitals.replid2, vitals.second_offset) {
            self.end_lineage(before.clone(), second.saturating_sub(1).max(self.end_of(before).unwrap_or(0)));
        }
        match previous {
            Some(previous) if previous.replid == vitals.replid => previous.anew,
            Some(previous) => early.is_none() && position_on(vitals, &previous.replid).is_none(),
            None => false,
        }
    }

    /// Notes that a node which was granted ahead of its promotion takes writes now, on a new lineage.
    pub fn promoted(&mut self, node: &NodeName, vitals: &Vitals) {
        if let (Some(before), Some(second)) = (&vitals.replid2, vitals.second_offset) {
            self.end_lineage(before.clone(), second.saturating_sub(1).max(self.end_of(before).unwrap_or(0)));
        }
        if let Some(granted) = &mut self.granted {
            granted.replid = vitals.replid.clone();
        }
        self.see(Seen {
            node: node.clone(),
            run_id: vitals.run_id.clone(),
            role: SeenRole::Master,
            replid: vitals.replid.clone(),
            offset: vitals.position(),
        });
    }

    /// Notes that the granted node was given its role back after a hand-over that did not end: its lineage is a
    /// new one from there. Should it die before it is looked at again, its slaves are known by that.
    pub fn undone(&mut self, node: &NodeName, vitals: &Vitals) {
        if self.granted.as_ref().is_some_and(|granted| granted.run_id == vitals.run_id) {
            self.promoted(node, vitals);
        }
    }

    /// Where in the chain a node stands that shows nothing of the lineage before this grant: it came back from
    /// a save of that time, or was away since.
    fn early(&self, previous: &ReplId, vitals: &Vitals) -> Option<(usize, Offset)> {
        if position_on(vitals, previous).is_some() {
            return None;
        }
        self.chain
            .iter()
            .enumerate()
            .rev()
            .find_map(|(place, past)| position_on(vitals, &past.replid).map(|offset| (place, offset)))
    }

    /// Whether the node that is granted now holds what was written before at all. One that came back empty,
    /// or that takes the place of a given-up master without ever having followed it, does not.
    fn carries(&self, replid: &ReplId, grant: &Grant<'_>) -> bool {
        let seen_on_it = self.heartbeat.seen(grant.node).is_some_and(|seen| seen.replid == *replid);
        let before = grant.observation.vitals(grant.node).unwrap_or(grant.vitals);
        let kept = keys_kept(before) > 0;
        match grant.right {
            _ if position_on(grant.vitals, replid).is_some() => true,
            Right::Resumed { .. } => kept,
            Right::Replacement => kept && seen_on_it,
            Right::Established | Right::MostAdvanced | Right::HandedOver { .. } | Right::Successor => true,
        }
    }

    /// How far the data of the node that is granted now contains a lineage.
    fn end_after(&self, replid: &ReplId, grant: &Grant<'_>) -> Offset {
        if let Some(position) = position_on(grant.vitals, replid) {
            return position.max(self.end_of(replid).unwrap_or(0));
        }
        // The lineage is gone from the granted node (a restart with AOF). Who replaces a master that was given
        // up holds what it was itself last seen with: those who are away were not compared with it.
        let replaces = grant.right == Right::Replacement;
        let nodes = self.heartbeat.nodes.iter().filter(|seen| seen.replid == *replid);
        let seen = nodes.filter(|seen| !replaces || seen.node == *grant.node).map(|seen| seen.offset);
        // Whoever wrote the lineage itself was at least where any slave was seen, and it was granted again
        // because nobody who answers holds more.
        let compared = grant.observation.all_known().filter(|_| !replaces);
        let standing = compared.filter_map(|(_, state)| position_on(&state.vitals, replid));
        seen.chain(standing).max().unwrap_or(0)
    }

    /// Notes that a node was attached, by virtue of a discard or without having to lose anything: nothing is
    /// left to permit. Returns whether anything changed.
    pub fn settle_discards(&mut self, node: &NodeName) -> bool {
        let open = self.discards.iter_mut().filter(|used| used.discard.node == *node && !used.spent);
        open.map(|used| used.spent = true).count() > 0
    }

    /// Notes that a node is about to be attached by virtue of a discard: the permission is in use until the
    /// node is seen to follow. Returns whether anything changed.
    pub fn note_discards(&mut self, node: &NodeName, wanted: &Wanted) -> bool {
        self.use_discards(wanted.document.discard.iter().filter(|discard| discard.node == *node))
    }

    fn use_discards<'a>(&mut self, discards: impl Iterator<Item = &'a Discard>) -> bool {
        let mut changed = false;
        for discard in discards {
            if !self.discards.iter().any(|used| used.discard == *discard) {
                self.discards.push_back(UsedDiscard { discard: discard.clone(), spent: false });
                changed = true;
            }
        }
        while self.discards.len() > DISCARDS_MAX {
            self.discards.pop_front();
        }
        changed
    }

    /// Notes that a node was not what it had been in good health. Returns whether anything changed.
    pub fn doubt(&mut self, node: &NodeName) -> bool {
        let healthy = |seen: &&mut Seen| seen.node == *node && seen.role == SeenRole::Slave;
        let seen = self.heartbeat.nodes.iter_mut().find(healthy);
        seen.map(|seen| seen.role = SeenRole::Stray).is_some()
    }

    /// Notes who holds something, in the very life in which it was a healthy slave, that the node granted now
    /// does not: what a life wrote that nobody granted, for one. When it restarts it must not pass for the
    /// healthy slave that it had been. Returns whether anything changed.
    pub fn doubt_all(&mut self, observation: &Observation, granted: &Vitals) -> bool {
        let reference = Reference { acting: granted, record: self, discard: &[] };
        let slaves = self.heartbeat.nodes.iter().filter(|seen| seen.role == SeenRole::Slave);
        let own: Vec<NodeName> = slaves
            .filter(|seen| {
                let vitals = observation.vitals(&seen.node);
                // The old master of a hand-over was seen taking writes, and is known to have been demoted since.
                let vitals = vitals.filter(|now| now.run_id == seen.run_id && !now.is_master());
                // What one held that is being filled is permitted to go.
                let settled = vitals.filter(|now| {
                    !now.loading && !now.following().is_some_and(|following| following.syncing)
                });
                settled.is_some_and(|now| reference.judge(&seen.node, now).is_err())
            })
            .map(|seen| seen.node.clone())
            .collect();
        for node in &own {
            self.doubt(node);
        }
        !own.is_empty()
    }

    /// Notes who was seen taking writes without the right to, so that it is not taken for a healthy slave
    /// after its next restart. Returns whether anything changed.
    pub fn note_strays(&mut self, observation: &Observation) -> bool {
        let granted = self.granted.as_ref().map(|granted| &granted.run_id);
        let target = self.intent.as_ref().map(|intent| &intent.to.run_id);
        let mut changed = false;
        for seen in self.heartbeat.nodes.iter_mut().filter(|seen| seen.role == SeenRole::Slave) {
            let Some(vitals) = observation.vitals(&seen.node) else { continue };
            let has_right = [granted, target].contains(&Some(&vitals.run_id));
            // One that just came up as a master has been written nothing yet.
            let untouched =
                vitals.run_id != seen.run_id && vitals.write_calls == Some(0) && !vitals.stats_reset;
            if vitals.is_master() && !has_right && !untouched {
                seen.role = SeenRole::Stray;
                changed = true;
            }
        }
        changed
    }

    /// The granted node, if it was seen taking writes in the life that it was granted to.
    pub fn granted_master<'a>(&self, observation: &'a Observation) -> Option<&'a Vitals> {
        let granted = self.granted.as_ref()?;
        let mut known = observation.all_known().map(|(_, state)| &state.vitals);
        known.find(|vitals| vitals.run_id == granted.run_id).filter(|vitals| vitals.is_master())
    }

    /// Follows the granted master where its lineage moved by itself: a lone master takes a new one when
    /// its backlog expires, and an undo gives it one. Returns whether anything changed.
    pub fn follow_lineage(&mut self, observation: &Observation) -> bool {
        let Some((granted, vitals)) = self.granted.as_ref().zip(self.granted_master(observation)) else {
            return false;
        };
        if vitals.replid == granted.replid {
            return false;
        }
        // Only this life wrote the old lineage, and it still has all of it.
        let end = position_on(vitals, &granted.replid).unwrap_or_else(|| vitals.position());
        let old = granted.replid.clone();
        self.end_lineage(old, end);
        if let Some(granted) = &mut self.granted {
            granted.replid = vitals.replid.clone();
        }
        true
    }
}
