//! Deliberate faults, so that the simulation can prove that it would find real ones.
//!
//! Without the feature `mutants` (every build that ships) [`active`] is a constant `false` and the
//! faults are not in the program. With it, a test chooses one fault for its thread.

/// One deliberate fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// Promote the target without waiting for the frozen offset.
    PromoteWithoutProof,
    /// Take an offset read before the pause for the end of the stream.
    EqualityOnMovingOffset,
    /// Demote the old master towards the target instead of parking it.
    DemoteTowardsTarget,
    /// Undo although the promotion's reply was lost.
    UndoAfterLostReply,
    /// Take any target with role master for promoted.
    TrustRoleMaster,
    /// Take any target whose previous lineage fits for promoted, whatever life it is in.
    TrustReplid2,
    /// Resume a restarted master without parking its slaves first.
    ResumeWithoutParking,
    /// Attach without parking and reading first.
    AttachWithoutReading,
    /// Act without holding the lock.
    NoLockCheck,
    /// Recover an intent without ending earlier connections at the nodes.
    NoNodeFencing,
    /// Promote past an unreachable master without a discard.
    DiscardIgnored,
    /// Let a discard cover any life of the node.
    DiscardTooWide,
    /// Let a spent discard be used again.
    DiscardUsedTwice,
    /// Promote on another connection than the proof was read on.
    ProofOnAnotherConnection,
}

/// Every mutant, for tests that go through all of them.
pub const ALL: [Mutant; 14] = [
    Mutant::PromoteWithoutProof,
    Mutant::EqualityOnMovingOffset,
    Mutant::DemoteTowardsTarget,
    Mutant::UndoAfterLostReply,
    Mutant::TrustRoleMaster,
    Mutant::TrustReplid2,
    Mutant::ResumeWithoutParking,
    Mutant::AttachWithoutReading,
    Mutant::NoLockCheck,
    Mutant::NoNodeFencing,
    Mutant::DiscardIgnored,
    Mutant::DiscardTooWide,
    Mutant::DiscardUsedTwice,
    Mutant::ProofOnAnotherConnection,
];

#[cfg(feature = "mutants")]
mod chosen {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Chooses the fault of this thread.
    pub fn set(mutant: Option<Mutant>) {
        CHOSEN.with(|chosen| chosen.set(mutant));
    }

    /// Whether this fault is chosen on this thread.
    pub fn active(mutant: Mutant) -> bool {
        CHOSEN.with(|chosen| chosen.get() == Some(mutant))
    }

    /// Whether any fault is chosen; then the audit, which would stop most of them, stays silent.
    pub fn any() -> bool {
        CHOSEN.with(|chosen| chosen.get().is_some())
    }
}

#[cfg(feature = "mutants")]
pub use chosen::{active, any, set};

/// Whether this fault is chosen: never, in a build without the feature.
#[cfg(not(feature = "mutants"))]
pub const fn active(_: Mutant) -> bool {
    false
}

/// Whether any fault is chosen: never, in a build without the feature.
#[cfg(not(feature = "mutants"))]
pub const fn any() -> bool {
    false
}
