//! Whether attaching a node can erase anything of its own.
//!
//! `REPLICAOF` makes a node throw its data away without asking. So every attachment needs a *basis*:
//! a reason, from evidence, why the node holds nothing that the acting master does not hold. There
//! are four, and they are tried in this order because the first ones prove more.
//!
//! Offsets prove something only for a node that could not write on its own: a lone master without
//! backlog takes writes without moving its offset (redis `replicationFeedSlaves`), so for a node that
//! was never fed by a master in this life the count of write commands must be zero as well.

use serde_json::{Map, Value, json};

use crate::address::NodeName;
use crate::document::Discard;
use crate::mutant::{self, Mutant};
use crate::observation::{Offset, ReplId, Vitals};
use crate::record::{Record, SeenRole};

/// Why attaching a node loses nothing (or nothing that was not given up in writing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// All it holds is a beginning of the acting master's own history.
    Lineage,
    /// It holds no key.
    Empty,
    /// It was a healthy slave before it restarted, and nothing speaks against it since.
    Restarted,
    /// The operator named this life as one whose data may be lost.
    Discarded,
}

impl Basis {
    /// The reason in words, for plans.
    pub fn why(self) -> &'static str {
        match self {
            Self::Lineage => "all it holds is part of the master's history",
            Self::Empty => "it holds no data",
            Self::Restarted => "it was a healthy slave before it restarted and has taken no writes since",
            Self::Discarded => "the document permits discarding what this life of it holds",
        }
    }
}

/// What a node is held against: the acting master, the record, and the permissions given.
#[derive(Clone, Debug)]
pub struct Reference<'a> {
    /// The acting master's vitals.
    pub acting: &'a Vitals,
    /// The record.
    pub record: &'a Record,
    /// Discards of the document that is being applied.
    pub discard: &'a [Discard],
}

/// Why there is no basis: what was compared, for a person and as evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoBasis {
    /// One clause.
    pub because: String,
    /// The figures.
    pub evidence: Map<String, Value>,
}

impl Reference<'_> {
    /// Finds the basis on which a node may be attached.
    ///
    /// # Errors
    /// [`NoBasis`] if attaching it could erase data of its own.
    pub fn judge(&self, node: &NodeName, vitals: &Vitals) -> Result<Basis, NoBasis> {
        if self.is_on_lineage(vitals) {
            Ok(Basis::Lineage)
        } else if vitals.keys == 0 && !vitals.loading {
            Ok(Basis::Empty)
        } else if self.was_healthy_slave(node, vitals) {
            Ok(Basis::Restarted)
        } else if self.is_discarded(node, vitals) {
            Ok(Basis::Discarded)
        } else {
            Err(self.no_basis(node, vitals))
        }
    }

    /// The end of a lineage as far as the acting master's data contains it.
    fn end_of(&self, replid: &ReplId) -> Option<Offset> {
        let acting = self.acting;
        if *replid == acting.replid {
            return Some(acting.position());
        }
        let before = acting.replid2.as_ref().filter(|before| *before == replid);
        let own = before.and(acting.second_offset).map(|offset| offset.saturating_sub(1));
        own.max(self.record.end_of(replid))
    }

    fn is_on_lineage(&self, vitals: &Vitals) -> bool {
        // A slave believes in its link for a while after its master's machine went dark: it is being
        // fed only by a master, in the life that made this lineage.
        let linked = vitals.following().is_some_and(|following| following.link_up);
        if linked && self.acting.is_master() && vitals.replid == self.acting.replid {
            // It is being fed this very history; a position read a moment later may be ahead of the
            // master's position read a moment earlier.
            return true;
        }
        let position = vitals.extent();
        if !vitals.is_master() && self.end_of(&vitals.replid).is_some_and(|end| position <= end) {
            return true;
        }
        let wrote_nothing = vitals.fed || (vitals.write_calls == Some(0) && !vitals.stats_reset);
        let (Some(before), Some(second)) = (&vitals.replid2, vitals.second_offset) else { return false };
        let fork = second.saturating_sub(1);
        wrote_nothing && self.end_of(before).is_some_and(|end| fork <= end && position <= fork)
    }

    /// Nothing was written to this life by anyone: then it holds what the life before it held.
    fn took_no_writes(vitals: &Vitals) -> bool {
        vitals.write_calls == Some(0) && !vitals.stats_reset
    }

    fn was_healthy_slave(&self, node: &NodeName, vitals: &Vitals) -> bool {
        let Some(seen) = self.record.heartbeat.seen(node) else { return false };
        seen.role == SeenRole::Slave
            && seen.run_id != vitals.run_id
            && self.end_of(&seen.replid).is_some_and(|end| seen.offset <= end)
            && Self::took_no_writes(vitals)
            && !vitals.loading
            && vitals.keys <= self.acting.keys
    }

    fn is_discarded(&self, node: &NodeName, vitals: &Vitals) -> bool {
        if mutant::active(Mutant::DiscardTooWide) {
            return self.discard.iter().any(|discard| discard.node == *node);
        }
        let now = self
            .discard
            .iter()
            .any(|discard| names(discard, node, vitals) && !is_spent(self.record, discard));
        // A master that was given up while out of reach: it may return in the same life, or in a
        // new one that has written nothing and so holds what the named life held.
        let earlier = self.record.discards.iter().filter(|used| !used.spent).any(|used| {
            let same_life = names(&used.discard, node, vitals);
            let next_life = used.discard.node == *node
                && self.record.heartbeat.seen(node).is_some_and(|seen| seen.run_id.0 == used.discard.run_id)
                && Self::took_no_writes(vitals);
            same_life || next_life
        });
        now || earlier
    }

    fn no_basis(&self, node: &NodeName, vitals: &Vitals) -> NoBasis {
        let mut evidence = Map::new();
        let mut put = |name: &str, value: Value| evidence.insert(name.to_owned(), value);
        put("run_id", json!(vitals.run_id));
        put("role", json!(if vitals.is_master() { "master" } else { "slave" }));
        put("keys", json!(vitals.keys));
        put("replid", json!(vitals.replid));
        put("offset", json!(vitals.extent()));
        put("write_calls", json!(vitals.write_calls));
        put("master_keys", json!(self.acting.keys));
        put("master_replid", json!(self.acting.replid));
        put("master_offset", json!(self.acting.position()));
        if vitals.stats_reset {
            put("config_resetstat", json!(true));
        }
        put("discard", json!(Discard { node: node.clone(), run_id: vitals.run_id.0.clone() }));
        let because = match self.end_of(&vitals.replid) {
            Some(end) if !vitals.is_master() => {
                format!("its offset {} is beyond {end}, where the master's history ends", vitals.extent())
            }
            _ if vitals.loading => "it is still loading its data, so what it holds is not known".to_owned(),
            _ => format!("it holds {} keys of a history the master does not share", vitals.keys),
        };
        NoBasis { because, evidence }
    }
}

fn names(discard: &Discard, node: &NodeName, vitals: &Vitals) -> bool {
    discard.node == *node && discard.run_id == vitals.run_id.0
}

/// Whether use was made of a discard. From then on it says nothing any more about what its node holds: that
/// may have been replaced by what is to be kept.
pub(crate) fn is_used(record: &Record, discard: &Discard) -> bool {
    !mutant::active(Mutant::DiscardUsedTwice) && record.discards.iter().any(|used| used.discard == *discard)
}

/// Whether a discard was used up.
pub(crate) fn is_spent(record: &Record, discard: &Discard) -> bool {
    !mutant::active(Mutant::DiscardUsedTwice)
        && record.discards.iter().any(|used| used.spent && used.discard == *discard)
}
