//! From what is wanted, observed and remembered to what to do, or why not.
//!
//! [`plan`] is a pure function. It plans one *pass*: the steps that can be decided from this
//! observation alone. Where a step's outcome decides what comes next (a restarted master's slaves must
//! be parked before anyone can be compared) the plan ends with [`Plan::again`], and the next pass
//! starts from a fresh observation. So the same function serves a first PUT, the enforcement that
//! follows, and the recovery after a crash at any point; there is no separate crash path to rot.
//!
//! The order of questions matters and is the order of the code: may anyone act at all; is a hand-over
//! open; who takes writes now; can the target take over; can every attachment be afforded. Every
//! refusal comes before the first step that touches writes.

mod acting;
mod advice;
mod checks;
mod fed;
mod first;
mod fitness;
mod recover;
mod restart;
mod situation;
mod standing;
mod step;
mod strays;

use crate::address::NodeName;
use crate::basis::Basis;
use crate::observation::{NodeState, Observation, Offset, Unknown};
use crate::record::{Record, Wanted};
use crate::refusal::Refusal;

pub(crate) use advice::loss;
pub(crate) use fitness::link_hindrance;
pub(crate) use restart::{keys_kept, position_on};
pub(crate) use situation::Situation;
pub use step::{Right, Step};

/// What the dictator may do, apart from what the document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Act although Sentinels watch the nodes.
    pub ignore_sentinel: bool,
    /// The epoch of the lock this dictator holds.
    pub epoch: u64,
}

/// Bytes a target may lag behind the acting master when the pause begins.
pub const LAG_BYTES_MAX: Offset = 1 << 20;

/// How a change ends if nothing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Would {
    /// Nothing to do.
    Unchanged,
    /// First use.
    Established,
    /// The master moves.
    Switched,
    /// The master stays, other nodes are put right.
    Repaired,
    /// A master that lost its role gets it back.
    Resumed,
}

impl Would {
    /// The word in receipts and plans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Established => "established",
            Self::Switched => "switched",
            Self::Repaired => "repaired",
            Self::Resumed => "resumed",
        }
    }
}

/// A slave of the document that is left out for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The node.
    pub node: NodeName,
    /// Why.
    pub reason: String,
}

/// Ordered steps from an observation towards a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// Observe and plan again after these steps.
    pub again: bool,
    /// The node that takes writes now, if one does.
    pub acting: Option<NodeName>,
    /// How the change ends.
    pub would: Would,
    /// Slaves left out for now.
    pub pending: Vec<Pending>,
    /// Why a slave that answers is left out, in [`plan_enforcement`]: what the change ends with after its steps.
    pub refused: Option<Refusal>,
    /// Things an operator should know.
    pub warnings: Vec<String>,
}

impl Plan {
    fn new(steps: Vec<Step>, would: Would) -> Self {
        Self {
            steps,
            again: false,
            acting: None,
            would,
            pending: Vec::new(),
            refused: None,
            warnings: Vec::new(),
        }
    }

    fn again(steps: Vec<Step>, would: Would) -> Self {
        Self { again: true, ..Self::new(steps, would) }
    }
}

/// Plans one pass for a document, which is applied as a whole or not at all.
///
/// # Errors
/// [`Refusal`] with its evidence; then nothing may be sent to any node but reads.
pub fn plan(
    wanted: &Wanted,
    observation: &Observation,
    record: &Record,
    policy: &Policy,
) -> Result<Plan, Refusal> {
    followable(&Situation { wanted, observation, record, policy, partial: false })
}

/// Plans one pass that keeps the document in force true. It does what can be done although one slave is refused,
/// for a slave that nobody attaches is one copy of the data less; the refusal is in [`Plan::refused`].
///
/// # Errors
/// As [`plan`], for what concerns more than one slave.
pub fn plan_enforcement(
    wanted: &Wanted,
    observation: &Observation,
    record: &Record,
    policy: &Policy,
) -> Result<Plan, Refusal> {
    followable(&Situation { wanted, observation, record, policy, partial: true })
}

/// Decides, with advice that can be followed.
fn followable(situation: &Situation<'_>) -> Result<Plan, Refusal> {
    let record = situation.record;
    let mut plan = decide(situation).map_err(|refusal| advice::followable(refusal, record))?;
    plan.refused = plan.refused.map(|refusal| advice::followable(refusal, record));
    Ok(plan)
}

fn decide(situation: &Situation<'_>) -> Result<Plan, Refusal> {
    if situation.record.intent.is_none() {
        // An open hand-over is about its two parties and comes first; a mistake elsewhere in the document
        // must not keep both of them read-only.
        checks::document(situation)?;
    }
    checks::authorities(situation)?;
    let quiet = checks::quiet(situation);
    if !quiet.is_empty() {
        return Ok(Plan::again(quiet, Would::Repaired));
    }
    let returned = strays::returned(situation);
    if !returned.is_empty() {
        return Ok(Plan::again(returned, Would::Repaired));
    }
    if let Some(intent) = &situation.record.intent {
        let steps = recover::recover(situation, intent)?;
        return Ok(Plan::again(strays::parked_first(situation, steps), Would::Switched));
    }
    match acting::find(situation)? {
        acting::Acting::Node { node, adopt } => around(situation, &node, adopt),
        acting::Acting::First { steps, would } => {
            Ok(Plan::again(strays::parked_first(situation, steps), would))
        }
    }
}

/// Plans everything around the node that takes writes now.
fn around(situation: &Situation<'_>, acting: &NodeName, adopt: Option<Right>) -> Result<Plan, Refusal> {
    let target = &situation.wanted.document.master;
    let Some(state) = situation.observation.known(acting) else {
        return Err(acting::unreachable(situation, acting));
    };
    let steps = adopt.map(|right| Step::Adopt { node: acting.clone(), right }).into_iter().collect();
    let mut plan = Plan { acting: Some(acting.clone()), ..Plan::new(steps, adopted(adopt)) };
    if adopt.is_some_and(|right| right != Right::Established) {
        // Where the lineage before ended is known once the grant is recorded, and only then can anyone
        // be held against it. What one of the others holds must not keep the grant from being recorded.
        plan.again = true;
        return Ok(plan);
    }
    let moves = !same_node(situation.observation, acting, target);
    if moves {
        if let Some(steps) = prepare_target(situation, acting, state, &mut plan)? {
            // Every other refusal must come before the first attachment, too.
            attachments(situation, acting, state, &mut plan.clone())?;
            plan.steps.extend(steps);
            plan.again = true;
            plan.would = Would::Switched;
            return Ok(plan);
        }
        plan.would = Would::Switched;
        let strays = strays::strays(situation, acting);
        if !strays.is_empty() {
            // Nobody but the acting master takes writes when the right to is moved.
            let mut judged = plan.clone();
            attachments(situation, acting, state, &mut judged)?;
            plan.warnings = judged.warnings;
            plan.steps.extend(strays);
            plan.again = true;
            return Ok(plan);
        }
        plan.steps.push(Step::HandOver { from: acting.clone(), to: target.clone() });
    }
    attachments(situation, acting, state, &mut plan)?;
    strays::park_leavers(situation, acting, &mut plan);
    if plan.would == Would::Unchanged && !plan.steps.is_empty() {
        plan.would = Would::Repaired;
    }
    Ok(plan)
}

fn adopted(right: Option<Right>) -> Would {
    match right {
        None => Would::Unchanged,
        Some(Right::Established) => Would::Established,
        Some(Right::Replacement) => Would::Switched,
        Some(_) => Would::Resumed,
    }
}

/// Two names for one instance?
pub(crate) fn same_node(observation: &Observation, left: &NodeName, right: &NodeName) -> bool {
    let run_id = |name| observation.vitals(name).map(|vitals| &vitals.run_id);
    left == right || (run_id(left).is_some() && run_id(left) == run_id(right))
}

/// What must happen before the target can take over; `None` if it is ready.
fn prepare_target(
    situation: &Situation<'_>,
    acting: &NodeName,
    acting_state: &NodeState,
    plan: &mut Plan,
) -> Result<Option<Vec<Step>>, Refusal> {
    let target = &situation.wanted.document.master;
    let state = known_target(situation)?;
    let (vitals, leader) = (&state.vitals, &acting_state.vitals);
    let follows = fed::is_fed(situation, target, state, acting, acting_state);
    // A slave that is being filled by the acting master loads as well; that is waited for.
    let filling = follows && vitals.following().is_some_and(|following| following.syncing);
    if vitals.loading && !filling {
        return Err(fitness::loading(target));
    }
    plan.warnings.extend(fitness::check(target, state, acting, acting_state)?);
    let Some(following) = vitals.following() else {
        let basis = judge(situation, acting_state, target, state)?;
        return Ok(Some(attach_and_wait(target, acting, basis)));
    };
    if follows && following.link_up && vitals.replid == leader.replid {
        let lag = leader.position().saturating_sub(following.applied);
        if lag > LAG_BYTES_MAX {
            return Ok(Some(vec![Step::AwaitSync { node: target.clone(), to: acting.clone() }]));
        }
        return Ok(None);
    }
    if follows && (following.syncing || !following.link_up) {
        // Attached already; redis is connecting or syncing.
        return Ok(Some(vec![Step::AwaitSync { node: target.clone(), to: acting.clone() }]));
    }
    let basis = judge(situation, acting_state, target, state)?;
    Ok(Some(attach_and_wait(target, acting, basis)))
}

fn attach_and_wait(target: &NodeName, acting: &NodeName, basis: Basis) -> Vec<Step> {
    vec![
        Step::Attach { node: target.clone(), to: acting.clone(), basis },
        Step::AwaitSync { node: target.clone(), to: acting.clone() },
    ]
}

/// The target's state, or what its silence means.
fn known_target<'a>(situation: &Situation<'a>) -> Result<&'a NodeState, Refusal> {
    let target = &situation.wanted.document.master;
    match situation.observation.nodes.get(target) {
        Some(observed) => match observed.unknown() {
            Some(unknown) => Err(Refusal::of_unknown(target, unknown)),
            None => observed
                .known()
                .ok_or_else(|| Refusal::of_unknown(target, &Unknown::Unreachable("not asked".to_owned()))),
        },
        None => Err(Refusal::of_unknown(target, &Unknown::Unreachable("not asked".to_owned()))),
    }
}

/// Finds the basis for an attachment or refuses, with the entry that would permit it.
fn judge(
    situation: &Situation<'_>,
    acting: &NodeState,
    node: &NodeName,
    state: &NodeState,
) -> Result<Basis, Refusal> {
    situation
        .reference(&acting.vitals)
        .judge(node, &state.vitals)
        .map_err(|no_basis| loss(node, &state.vitals, no_basis))
}

/// Attachments of everyone but the target, judged before anything is done.
fn attachments(
    situation: &Situation<'_>,
    acting: &NodeName,
    acting_state: &NodeState,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let document = &situation.wanted.document;
    let leader = &document.master;
    let moves = !same_node(situation.observation, acting, leader);
    // The old master first: its clients find out first, and its data is warm.
    let old_master = document.slaves.iter().filter(|slave| same_node(situation.observation, acting, slave));
    let others = document.slaves.iter().filter(|slave| !same_node(situation.observation, acting, slave));
    for slave in old_master {
        if moves {
            plan.steps.push(Step::Attach { node: slave.clone(), to: leader.clone(), basis: Basis::Lineage });
        }
    }
    for slave in others {
        let Some(observed) = situation.observation.nodes.get(slave) else { continue };
        let Some(state) = observed.known() else {
            let reason = observed.unknown().map(ToString::to_string).unwrap_or_default();
            plan.pending.push(Pending { node: slave.clone(), reason });
            continue;
        };
        if state.vitals.loading {
            // What it holds is not known before it has loaded, and redis takes no orders until then.
            let reason = "it is still loading its data from disk".to_owned();
            plan.pending.push(Pending { node: slave.clone(), reason });
            continue;
        }
        let follows = fed::is_fed(situation, slave, state, acting, acting_state);
        let healthy = state.vitals.following().is_some_and(|following| following.link_up)
            && state.vitals.replid == acting_state.vitals.replid;
        if !moves && follows {
            if !healthy {
                let reason = fitness::link_hindrance(state, acting_state)
                    .unwrap_or("its link to the master is not up yet")
                    .to_owned();
                plan.pending.push(Pending { node: slave.clone(), reason });
            }
            continue;
        }
        let basis = if follows && !healthy && state.vitals.following().is_some_and(|link| link.syncing) {
            // Its own data is gone already; it is being filled from this very master.
            Basis::Lineage
        } else {
            match judge(situation, acting_state, slave, state) {
                Ok(basis) => basis,
                Err(refusal) if situation.partial && !moves => {
                    plan.pending.push(Pending { node: slave.clone(), reason: refusal.detail.clone() });
                    plan.refused.get_or_insert(refusal);
                    continue;
                }
                Err(refusal) => return Err(refusal),
            }
        };
        if state.vitals.is_master() {
            plan.warnings.push(format!(
                "{slave} came up as a master; configure it with `replicaof 127.0.0.1 0` so that a restart leaves it read-only"
            ));
        }
        plan.steps.push(Step::Attach { node: slave.clone(), to: leader.clone(), basis });
    }
    Ok(())
}
