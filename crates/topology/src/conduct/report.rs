//! The answer, and the look at the links after it.

use std::net::SocketAddr;
use std::time::Duration;

use super::steps::AfterSave;
use super::{Conduct, Effect, Outcome, RETRY_INTERVAL, VERIFY_GROWTH_PERCENT, VERIFY_INTERVAL_MAX};
use crate::address::NodeName;
use crate::observation::{Unknown, Vitals};
use crate::plan::Would;
use crate::receipt::{Receipt, ReceiptName, ReceiptNode, ReceiptPending};

/// Longest wait for a slave that is loading its data, where nothing else is to be done.
const LOADING_WAIT_MAX: Duration = Duration::from_secs(2);

impl Conduct {
    /// All steps are taken: answer, then look after the links.
    pub(super) fn announce(&mut self) {
        if matches!(self.job.purpose, super::Purpose::Apply(_)) {
            self.await_late_links();
        }
        let quiet = self.tally.would == Would::Unchanged && self.tally.told.is_empty();
        if quiet && self.awaits_loading() {
            return self.rest(RETRY_INTERVAL);
        }
        if quiet {
            return self.conclude();
        }
        let receipt = self.receipt(false);
        self.announced = true;
        self.verify_until = self.now + self.limits.verify_timeout;
        self.effects.push(Effect::Announce(Box::new(receipt)));
        self.look_at_links();
    }

    /// Whether all there is to do is to attach a slave that is still loading its data. A node pulls the trigger
    /// when it starts, and then it may load for a moment; whoever loads for longer is left to enforcement.
    fn awaits_loading(&self) -> bool {
        let loading = self
            .tally
            .pending
            .iter()
            .any(|pending| self.observation.vitals(&pending.node).is_some_and(|vitals| vitals.loading));
        let early = self.now.saturating_sub(self.started) < LOADING_WAIT_MAX;
        loading && early && matches!(self.job.purpose, super::Purpose::Apply(_))
    }

    /// A slave that follows already and whose link is not up yet is waited for like one that was just told.
    fn await_late_links(&mut self) {
        let granted = self.record.granted.as_ref().map(|granted| &granted.node);
        let late = self.tally.pending.iter().map(|pending| &pending.node).filter(|node| {
            let leader = self.observation.leader_of(node);
            leader.is_some() && leader == granted && !self.tally.told.contains(node)
        });
        let late: Vec<NodeName> = late.cloned().collect();
        self.tally.told.extend(late);
    }

    /// After the answer: every look at the links ends here.
    pub(super) fn verify(&mut self) {
        // Links cannot come up without a master, and what becomes of it must not wait for them.
        let granted = self.record.granted.as_ref();
        let gone = granted.is_some_and(|granted| self.observation.known(&granted.node).is_none());
        if gone || self.all_linked() || self.now >= self.verify_until {
            return self.conclude();
        }
        let interval = self.verify_interval;
        self.verify_interval = (interval * VERIFY_GROWTH_PERCENT / 100).min(VERIFY_INTERVAL_MAX);
        self.rest(interval);
    }

    /// Glances at the new master and at those that were told to follow it.
    pub(super) fn look_at_links(&mut self) {
        let granted = self.record.granted.iter().map(|granted| granted.node.clone());
        let nodes: Vec<NodeName> = granted.chain(self.tally.told.iter().cloned()).collect();
        self.glance(&nodes);
    }

    fn all_linked(&self) -> bool {
        let leader = self.leading();
        self.tally.told.iter().all(|node| {
            let vitals = self.observation.vitals(node);
            let up = vitals.and_then(Vitals::following).is_some_and(|following| following.link_up);
            up && vitals.map(|vitals| &vitals.replid) == leader.map(|leader| &leader.replid)
        })
    }

    /// The vitals of the granted node, as newly as they are known.
    fn leading(&self) -> Option<&Vitals> {
        let granted = self.record.granted.as_ref()?;
        let observed =
            self.observation.vitals(&granted.node).filter(|vitals| vitals.run_id == granted.run_id);
        let newer = self.leader.as_ref().filter(|vitals| vitals.run_id == granted.run_id);
        // An observation made before a promotion shows the target as a slave still.
        observed.filter(|vitals| vitals.is_master()).or(newer).or(observed)
    }

    /// Renews the heartbeat where that is due, and ends.
    pub(super) fn conclude(&mut self) {
        self.phase = super::Phase::Stepping;
        let enforcing = self.job.purpose == super::Purpose::Enforce;
        if self.announced || enforcing {
            self.record.follow_lineage(&self.observation);
            self.record.beat(&self.observation, self.unix_ms());
            self.dirty = true;
        }
        if self.dirty {
            return self.save(AfterSave::Finish);
        }
        self.done();
    }

    pub(super) fn done(&mut self) {
        if let Some(refusal) = self.aside.take() {
            return self.fail(refusal);
        }
        let receipt = self.receipt(true);
        self.finish(Ok(Outcome::Done(Box::new(receipt))));
    }

    fn receipt(&self, verified: bool) -> Receipt {
        let wanted = self.wanted();
        let slaves = wanted.iter().flat_map(|wanted| wanted.document.slaves.clone()).collect::<Vec<_>>();
        let leader = self.leading();
        let mut pending: Vec<ReceiptPending> = Vec::new();
        let mut attached = Vec::new();
        for slave in slaves {
            let late = self.tally.pending.iter().find(|pending| pending.node == slave);
            let vitals = self.observation.vitals(&slave);
            match (late, vitals) {
                (Some(late), _) if !self.is_up(vitals, leader) => {
                    pending.push(ReceiptPending { name: slave, reason: late.reason.clone() });
                }
                (_, Some(vitals)) => {
                    let link = self.link(vitals, leader);
                    if verified && link != "up" {
                        let reason = self.why_late(&slave, link);
                        pending.push(ReceiptPending { name: slave.clone(), reason });
                    }
                    attached.extend(self.node(&slave, vitals, Some(link)));
                }
                (_, None) => {
                    let unknown = self.observation.nodes.get(&slave).and_then(|observed| observed.unknown());
                    let reason = unknown.map_or_else(|| "was not asked".to_owned(), Unknown::to_string);
                    pending.push(ReceiptPending { name: slave, reason });
                }
            }
        }
        let master = self
            .record
            .granted
            .as_ref()
            .and_then(|granted| leader.and_then(|vitals| self.node(&granted.node, vitals, None)));
        let full_syncs = leader.map(|leader| leader.full_syncs);
        let micros = |gap: Duration| u64::try_from(gap.as_micros()).unwrap_or(u64::MAX);
        Receipt {
            outcome: self.tally.would.as_str().to_owned(),
            revision: self.record.wanted.as_ref().and_then(|wanted| wanted.revision),
            generation: self.record.generation,
            provable: self.tally.provable,
            master,
            slaves: attached,
            pending,
            warnings: self.tally.warnings.clone(),
            frozen_offset: self.tally.frozen,
            target_offset: self.tally.applied,
            write_gap_us: self.tally.write_gap.map(micros),
            full_resyncs: full_syncs
                .zip(self.tally.full_syncs_before)
                .filter(|_| verified)
                .map(|(after, before)| after.saturating_sub(before)),
            steps: self.tally.steps.clone(),
            request_id: String::new(),
        }
    }

    fn why_late(&self, slave: &NodeName, link: &str) -> String {
        let leader = self.record.granted.as_ref().and_then(|granted| self.observation.known(&granted.node));
        let hindrance = self
            .observation
            .known(slave)
            .zip(leader)
            .and_then(|(slave, leader)| crate::plan::link_hindrance(slave, leader));
        let because = hindrance.map_or_else(String::new, |hindrance| format!(": {hindrance}"));
        format!("its link to the master is {link}{because}")
    }

    fn is_up(&self, vitals: Option<&Vitals>, leader: Option<&Vitals>) -> bool {
        vitals.is_some_and(|vitals| self.link(vitals, leader) == "up")
    }

    fn link(&self, vitals: &Vitals, leader: Option<&Vitals>) -> &'static str {
        let Some(following) = vitals.following() else { return "down" };
        let on_lineage = leader.is_some_and(|leader| leader.replid == vitals.replid);
        match (following.link_up && on_lineage, following.syncing) {
            (true, _) => "up",
            (false, true) => "syncing",
            (false, false) => "down",
        }
    }

    fn node(&self, name: &NodeName, vitals: &Vitals, link: Option<&str>) -> Option<ReceiptNode> {
        let endpoint: SocketAddr = self.observation.nodes.get(name)?.endpoint?;
        Some(ReceiptNode {
            name: ReceiptName { address: name.address.clone(), port: endpoint.port() },
            ip: endpoint.ip(),
            run_id: vitals.run_id.clone(),
            replid: vitals.replid.clone(),
            link: link.map(str::to_owned),
        })
    }
}
