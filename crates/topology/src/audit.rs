//! A second pair of eyes on every plan, written independently of the code that makes plans.
//!
//! The planner reasons from situations to steps; the audit reasons from each step back to the rule that
//! permits it, looking only at what was observed and remembered. It runs on every plan, in release
//! builds too: a plan that fails it is a fault of this program, and refusing is better than losing.

use crate::address::NodeName;
use crate::basis::Basis;
use crate::observation::{NodeState, Observation, Vitals};
use crate::plan::{Plan, Policy, Right, Step};
use crate::record::{Record, SeenRole, Wanted};
use crate::refusal::{Refusal, Slug};

/// The rule a plan breaks, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

struct Audit<'a> {
    wanted: &'a Wanted,
    observation: &'a Observation,
    record: &'a Record,
    policy: &'a Policy,
    /// Who takes writes as the plan begins; a target of its hand-over holds all that this one holds.
    acting: Option<&'a NodeName>,
}

/// Checks a plan against the rules of losslessness.
///
/// # Errors
/// [`Fault`] with the rule that is broken.
pub fn audit(
    plan: &Plan,
    wanted: &Wanted,
    observation: &Observation,
    record: &Record,
    policy: &Policy,
) -> Result<(), Fault> {
    let audit = Audit { wanted, observation, record, policy, acting: plan.acting.as_ref() };
    let changes_of_master = plan
        .steps
        .iter()
        .filter(|step| matches!(step, Step::HandOver { .. } | Step::Promote { .. } | Step::Undo { .. }))
        .count();
    require(changes_of_master <= 1, || "a plan changes the master more than once".to_owned())?;
    let mut leads = plan.acting.clone();
    for step in &plan.steps {
        audit.step(step, &mut leads)?;
    }
    Ok(())
}

/// The refusal in place of a plan that failed the audit.
pub fn refusal(plan: &Plan, fault: &Fault) -> Refusal {
    let steps: Vec<serde_json::Value> = plan.steps.iter().map(Step::to_json).collect();
    Refusal::new(
        Slug::Internal,
        format!("the plan failed its audit: {fault}; nothing was changed"),
        "report this as a fault of the dictator, with the evidence",
    )
    .with("plan", steps)
}

fn require(holds: bool, fault: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault(fault())) }
}

impl Audit<'_> {
    fn step(&self, step: &Step, leads: &mut Option<NodeName>) -> Result<(), Fault> {
        match step {
            Step::Quiet { node, connections } => {
                let state = self.known(node)?;
                require(!connections.contains(&state.session), || {
                    format!("{node}: our own connection would be ended")
                })
            }
            Step::Park { node, .. } => self.park(node, leads.as_ref()),
            Step::Attach { node, to, basis } => self.attach(node, to, *basis, leads.as_ref()),
            Step::AwaitSync { node, .. } => self.known(node).map(|_| ()),
            Step::HandOver { from, to } => {
                self.hand_over(from, to)?;
                *leads = Some(to.clone());
                Ok(())
            }
            Step::Promote { node, right } => {
                self.promote(node, *right)?;
                *leads = Some(node.clone());
                Ok(())
            }
            Step::Adopt { node, .. } => {
                let vitals = self.vitals(node)?;
                require(vitals.is_master(), || format!("{node} is adopted but takes no writes"))
            }
            Step::Undo { node } => self.undo(node),
            Step::DropIntent { .. } => self.drop_intent(),
        }
    }

    fn known(&self, node: &NodeName) -> Result<&NodeState, Fault> {
        self.observation.known(node).ok_or_else(|| Fault(format!("{node} gets an order but told nothing")))
    }

    fn vitals(&self, node: &NodeName) -> Result<&Vitals, Fault> {
        self.known(node).map(|state| &state.vitals)
    }

    fn same(&self, left: &NodeName, right: &NodeName) -> bool {
        let life = |node| self.observation.vitals(node).map(|vitals| &vitals.run_id);
        left == right || (life(left).is_some() && life(left) == life(right))
    }

    fn discarded(&self, node: &NodeName) -> bool {
        let lives = |run_id: &str| {
            let now = self.observation.vitals(node).is_some_and(|vitals| vitals.run_id.0 == run_id);
            let granted = self.record.granted.as_ref();
            let then = granted.is_some_and(|granted| granted.node == *node && granted.run_id.0 == run_id);
            let intent = self.record.intent.as_ref();
            let meant = intent.is_some_and(|intent| {
                [intent.from.as_ref(), Some(&intent.to)]
                    .into_iter()
                    .flatten()
                    .any(|party| party.node == *node && party.run_id.0 == run_id)
            });
            now || then || meant
        };
        let written = self.wanted.document.discard.iter().any(|entry| {
            entry.node == *node
                && lives(&entry.run_id)
                && !self.record.discards.iter().any(|used| used.spent && used.discard == *entry)
        });
        let open = self.record.discards.iter().any(|used| !used.spent && used.discard.node == *node);
        written || open
    }

    /// Parking erases nothing; only the node that leads must not be parked by the way.
    fn park(&self, node: &NodeName, leads: Option<&NodeName>) -> Result<(), Fault> {
        self.known(node)?;
        require(!leads.is_some_and(|leads| self.same(leads, node)), || {
            format!("{node} takes writes and would be parked")
        })
    }

    fn attach(
        &self,
        node: &NodeName,
        to: &NodeName,
        basis: Basis,
        leads: Option<&NodeName>,
    ) -> Result<(), Fault> {
        require(!self.same(node, to), || format!("{node} would follow itself"))?;
        require(leads.is_some_and(|leads| self.same(leads, to)), || {
            format!("{node} would follow {to}, which does not take writes then")
        })?;
        let vitals = self.vitals(node)?;
        let leader = self.vitals(to)?;
        let acting = self.acting.and_then(|acting| self.observation.vitals(acting));
        let related = |replid: &crate::observation::ReplId| {
            let of = |vitals: &Vitals| vitals.replid == *replid || vitals.replid2.as_ref() == Some(replid);
            of(leader)
                || acting.is_some_and(of)
                || self.record.end_of(replid).is_some()
                || self.record.granted.as_ref().is_some_and(|granted| granted.replid == *replid)
        };
        let holds = match basis {
            Basis::Lineage => {
                related(&vitals.replid)
                    || vitals.replid2.as_ref().is_some_and(related)
                    || vitals.following().is_some_and(|following| following.syncing)
            }
            Basis::Empty => vitals.keys == 0,
            Basis::Restarted => self.record.heartbeat.seen(node).is_some_and(|seen| {
                seen.role == SeenRole::Slave
                    && seen.run_id != vitals.run_id
                    && vitals.write_calls == Some(0)
                    && !vitals.stats_reset
            }),
            Basis::Discarded => self.discarded(node),
        };
        require(holds, || format!("{node} would be attached as {basis:?}, which is not so"))
    }

    fn hand_over(&self, from: &NodeName, to: &NodeName) -> Result<(), Fault> {
        require(self.record.intent.is_none(), || "a hand-over while another is open".to_owned())?;
        let (old, target) = (self.vitals(from)?, self.vitals(to)?);
        require(old.is_master(), || format!("{from} takes no writes and would be handed over from"))?;
        let following = target.following();
        require(
            following.is_some_and(|following| following.link_up && following.read_only)
                && target.replid == old.replid
                && old.run_id != target.run_id,
            || format!("{to} is not a synced read-only slave of {from}"),
        )?;
        require(!target.loading && !old.loading, || format!("{to} or {from} is loading"))?;
        require(target.unexpected_errors == 0 && target.version >= old.version, || format!("{to} is unfit"))?;
        let paused = self.known(to)?.paused == Some(true);
        require(!paused, || format!("{to} is paused"))?;
        for (name, state) in self.observation.all_known() {
            let watched = !state.sentinels.is_empty() && !self.policy.ignore_sentinel;
            let writable = state.settings.read_only == Some(false)
                || state.vitals.following().is_some_and(|following| !following.read_only);
            let rival = state.dictators.iter().any(|other| other.ours || other.epoch < self.policy.epoch);
            require(!watched && !writable && !rival && !state.vitals.failover_running, || {
                format!("{name} is under another authority, or would go on taking writes")
            })?;
        }
        Ok(())
    }

    fn promote(&self, node: &NodeName, right: Right) -> Result<(), Fault> {
        let vitals = self.vitals(node)?;
        require(!vitals.is_master() && !vitals.loading, || format!("{node} cannot be promoted as it is"))?;
        for (name, state) in self.observation.all_known() {
            let member = self.wanted.document.nodes().any(|wanted| wanted == name);
            let writes = member && state.vitals.is_master() && !self.same(name, node);
            let excused = self.discarded(name)
                || matches!(right, Right::Established | Right::Resumed { .. } | Right::MostAdvanced);
            require(!writes || excused, || format!("{node} would be promoted while {name} takes writes"))?;
        }
        let intent = self.record.intent.as_ref();
        let granted = self.record.granted.as_ref();
        match right {
            Right::Established => {
                require(granted.is_none(), || format!("{node} would be established over a grant"))
            }
            Right::Resumed { .. } => require(
                granted.is_some_and(|granted| granted.node == *node || granted.run_id == vitals.run_id),
                || format!("{node} would resume a right it never had"),
            ),
            Right::MostAdvanced => require(
                granted.is_some_and(|granted| {
                    self.observation.vitals(&granted.node).is_some_and(|old| {
                        old.run_id != granted.run_id && old.write_calls == Some(0)
                            || !old_is_master(self.observation, &granted.node)
                    })
                }),
                || format!("{node} would take over from a master that still is one"),
            ),
            Right::Replacement => require(
                granted.is_some_and(|granted| self.discarded(&granted.node))
                    || intent
                        .and_then(|intent| intent.from.as_ref())
                        .is_some_and(|from| self.discarded(&from.node)),
                || format!("{node} would replace a master that was not given up"),
            ),
            Right::HandedOver { frozen } => {
                let proven = intent.is_some_and(|intent| {
                    let old = intent.from.as_ref().and_then(|from| {
                        self.observation.vitals(&from.node).filter(|old| old.run_id == from.run_id)
                    });
                    intent.to.node == *node
                        && intent.to.run_id == vitals.run_id
                        && vitals.replid == intent.replid
                        && vitals.position() >= frozen
                        && old.is_some_and(|old| old.is_parked() && old.position() <= frozen)
                });
                require(proven && self.is_quiet(node), || format!("{node} would be promoted without proof"))
            }
            Right::Successor => Err(Fault(format!("{node} is a successor already"))),
        }
    }

    fn is_quiet(&self, node: &NodeName) -> bool {
        self.observation.known(node).is_some_and(|state| state.dictators.is_empty())
    }

    fn undo(&self, node: &NodeName) -> Result<(), Fault> {
        let Some(intent) = &self.record.intent else {
            return Err(Fault(format!("{node} would be undone without a hand-over")));
        };
        let from = intent.from.as_ref();
        let old = self.vitals(node)?;
        require(
            from.is_some_and(|from| from.node == *node && from.run_id == old.run_id) && old.is_parked(),
            || format!("{node} is not the parked old master of the hand-over"),
        )?;
        let target = self.observation.vitals(&intent.to.node);
        let follows_undo =
            |target: &Vitals| target.replid == old.replid && old.replid2.as_ref() == Some(&intent.replid);
        let known_slave = target.is_some_and(|target| {
            let on_it = target.replid == intent.replid || follows_undo(target);
            target.run_id == intent.to.run_id && !target.is_master() && on_it
        });
        require((known_slave && self.is_quiet(&intent.to.node)) || self.discarded(&intent.to.node), || {
            format!("{node} would be undone although {} may have been promoted", intent.to.node)
        })
    }

    fn drop_intent(&self) -> Result<(), Fault> {
        let Some(intent) = &self.record.intent else { return Ok(()) };
        let target = self.observation.vitals(&intent.to.node);
        let never_demoted = intent.from.as_ref().is_some_and(|from| {
            self.observation.vitals(&from.node).is_some_and(|old| {
                old.run_id == from.run_id && old.is_master() && old.replid == intent.replid
            })
        });
        let promoted = target.is_some_and(|target| {
            target.run_id == intent.to.run_id
                && target.is_master()
                && target.replid2.as_ref() == Some(&intent.replid)
        });
        require(!promoted || never_demoted, || {
            format!("{} was promoted and its hand-over would be forgotten", intent.to.node)
        })
    }
}

fn old_is_master(observation: &Observation, node: &NodeName) -> bool {
    observation.vitals(node).is_some_and(Vitals::is_master)
}
