//! Every deliberate fault is found: without that, a run without violations would prove nothing.
//!
//! Built with the feature `mutants` only, in the optimized profile:
//! `cargo test --profile simulation -p simulation --features mutants --test mutants`.

use std::time::{Duration, Instant};

use simulation::schedule::Schedule;
use topology::mutant::{self, Mutant};

/// How long a fault may stay undiscovered.
const FOUND_WITHIN: Duration = Duration::from_secs(60);

fn is_found(mutant: Mutant) {
    let start = Instant::now();
    mutant::set(Some(mutant));
    let found = (1..)
        .take_while(|_| start.elapsed() < FOUND_WITHIN)
        .find_map(|seed| Schedule::random(seed).run(false).violation.map(|violation| (seed, violation)));
    mutant::set(None);
    let Some((seed, _)) = found else { panic!("{mutant:?} was not found within {FOUND_WITHIN:?}") };
    let sound = Schedule::random(seed).run(false).violation;
    assert_eq!(sound, None, "schedule {seed} fails without {mutant:?} as well");
}

macro_rules! every {
    ($($name:ident $mutant:ident),* $(,)?) => {
        $(#[test] fn $name() { is_found(Mutant::$mutant); })*

        #[test]
        fn none_is_left_out() {
            assert_eq!(mutant::ALL.to_vec(), [$(Mutant::$mutant),*]);
        }
    };
}

every! {
    promoting_without_proof_is_found PromoteWithoutProof,
    equality_on_a_moving_offset_is_found EqualityOnMovingOffset,
    demoting_towards_the_target_is_found DemoteTowardsTarget,
    undoing_after_a_lost_reply_is_found UndoAfterLostReply,
    trusting_role_master_is_found TrustRoleMaster,
    trusting_replid2_is_found TrustReplid2,
    resuming_without_parking_is_found ResumeWithoutParking,
    attaching_without_reading_is_found AttachWithoutReading,
    acting_without_the_lock_is_found NoLockCheck,
    no_fencing_at_the_nodes_is_found NoNodeFencing,
    promoting_without_discard_is_found DiscardIgnored,
    a_discard_too_wide_is_found DiscardTooWide,
    a_discard_used_twice_is_found DiscardUsedTwice,
    proof_on_another_connection_is_found ProofOnAnotherConnection,
}
