//! The heartbeat: how each node was when all was well, and who was away then.
//!
//! What a node held in good health is the only thing that is known of it once it is silent or has
//! restarted. Who is *not* seen is noted as well, from when to when: what a master acknowledged is in its
//! append-only file a few seconds later, so a slave that had been away for longer than that while the
//! master was still well holds nothing that the master could have lost. Without it every slave that was
//! switched off for good would keep a master that restarts from its role.

use crate::address::NodeName;
use crate::observation::Observation;
use crate::record::{Away, Heartbeat, Record, Seen, SeenRole};

/// How long a slave has to have been away from a healthy master, in milliseconds, to hold nothing that the
/// master's append-only file could lack. Redis syncs the file once a second, and puts a write to it off for
/// two seconds at most while the disk is slow (`flushAppendOnlyFile` of `aof.c`).
pub const AWAY_MIN_MS: u64 = 4_000;

impl Heartbeat {
    /// How a node was last seen in good health.
    pub fn seen(&self, node: &NodeName) -> Option<&Seen> {
        self.nodes.iter().find(|seen| seen.node == *node)
    }

    /// Whether a node had been away for at least [`AWAY_MIN_MS`] when the granted master was last seen well.
    pub fn long_away(&self, node: &NodeName) -> bool {
        let away = self.away.iter().find(|away| away.node == *node);
        away.is_some_and(|away| away.until_unix_ms.saturating_sub(away.since_unix_ms) >= AWAY_MIN_MS)
    }

    fn miss(&mut self, node: &NodeName, now_unix_ms: u64) {
        match self.away.iter_mut().find(|away| away.node == *node) {
            Some(away) => away.until_unix_ms = now_unix_ms,
            None => self.away.push(Away {
                node: node.clone(),
                since_unix_ms: now_unix_ms,
                until_unix_ms: now_unix_ms,
            }),
        }
    }
}

impl Record {
    /// Renews the heartbeat with every node seen in good health; others stay as they were last seen, and count
    /// as away if the granted master is well.
    pub fn beat(&mut self, observation: &Observation, now_unix_ms: u64) {
        let Some(granted) = self.granted.clone() else { return };
        let keep: Vec<NodeName> = self
            .wanted
            .iter()
            .flat_map(|wanted| wanted.document.nodes().cloned())
            .chain(self.outside().cloned())
            .chain([granted.node.clone()])
            .collect();
        self.heartbeat.nodes.retain(|seen| keep.contains(&seen.node));
        self.heartbeat.away.retain(|away| keep.contains(&away.node));
        let mut well = Vec::new();
        for (node, state) in observation.all_known().filter(|(node, _)| keep.contains(node)) {
            let vitals = &state.vitals;
            let role = if vitals.run_id == granted.run_id && vitals.is_master() {
                SeenRole::Master
            } else if vitals.replid == granted.replid
                && vitals.following().is_some_and(|following| following.link_up)
            {
                // It is back and follows: what was given up while it was away is settled. One left in
                // the document must not give the same life up a second time.
                self.discards
                    .iter_mut()
                    .filter(|used| used.discard.node == *node)
                    .for_each(|used| used.spent = true);
                SeenRole::Slave
            } else {
                continue;
            };
            let (run_id, replid, offset) = (vitals.run_id.clone(), vitals.replid.clone(), vitals.position());
            self.see(Seen { node: node.clone(), run_id, role, replid, offset });
            well.push(node);
        }
        self.heartbeat.away.retain(|away| !well.contains(&&away.node));
        if well.contains(&&granted.node) {
            keep.iter()
                .filter(|node| !well.contains(node))
                .for_each(|node| self.heartbeat.miss(node, now_unix_ms));
        }
        self.heartbeat.at_unix_ms = now_unix_ms;
    }

    pub(crate) fn see(&mut self, seen: Seen) {
        let Heartbeat { nodes, .. } = &mut self.heartbeat;
        match nodes.iter_mut().find(|known| known.node == seen.node) {
            Some(known) => *known = seen,
            None => nodes.push(seen),
        }
    }
}
