//! What to deliver next: pure, so that every order of events is a unit test.
//!
//! The observer is level-triggered. What counts is the trigger's present state and the revision that was
//! delivered last, not the events in between: at a start, after a reconnect, and after every event the
//! same question is asked, [`Progress::decide`], and its answer is a value.
//!
//! * A trigger above the last delivered revision is delivered. So is an equal one when it is not sure that
//!   everybody got it (first start, other URLs than last time): an equal revision changes nothing where it
//!   was applied already.
//! * A trigger **below** it means that etcd was restored from an older backup, or replaced. What is written
//!   there may be long past, so it is held until an operator accepts that very revision.
//! * A document that cannot be forwarded stays unfit: it was read as it was at the trigger's revision, and
//!   the past does not change. Only a newer trigger helps.
//! * A failed delivery waits, and a newer trigger ends the wait. A delivery that is under way is not broken
//!   off by a newer trigger: the first URL may have moved the master already, and the ones after it are how
//!   clients find it. The newer one follows directly.
//! * A deleted trigger asks for nothing any more, retries included; that is also what a restart would see.

use std::sync::Arc;

use tokio::time::Instant;

/// One write of the trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The revision of the write: an etcd `mod_revision`, or the file source's counter.
    pub revision: u64,
    /// What was written.
    pub value: Arc<[u8]>,
}

/// The trigger's present state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// It is there.
    Present(Trigger),
    /// It was never written, or deleted.
    Absent,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The source has not been read yet.
    AwaitSource,
    /// There is no trigger.
    NoTrigger,
    /// The last trigger is delivered.
    UpToDate,
    /// Deliver this now.
    Deliver {
        /// The trigger to deliver.
        trigger: Trigger,
        /// An operator accepted a revision that receivers may know a later one of.
        accepted: bool,
    },
    /// Deliver it again, but not before this moment.
    Wait {
        /// Its revision.
        revision: u64,
        /// When.
        until: Instant,
    },
    /// What the trigger put in force cannot be forwarded; only a newer trigger helps.
    Unfit {
        /// Its revision.
        revision: u64,
    },
    /// The trigger is older than what was delivered; an operator has to say that this is meant.
    Hold {
        /// The trigger's revision.
        revision: u64,
        /// The revision that was delivered before.
        delivered: u64,
    },
}

/// How the last attempt on a revision ended, short of success.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Setback {
    Retry { at: Instant },
    Unfit,
}

/// What is known about triggers and deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    level: Option<Level>,
    delivered: Option<u64>,
    /// Whether everybody who is notified today got `delivered`.
    sure: bool,
    /// The one revision that may be delivered although a later one was.
    accepted: Option<u64>,
    setback: Option<(u64, Setback)>,
}

impl Progress {
    /// What is known at a start. `sure`: everybody who is notified today got `delivered`.
    pub fn new(delivered: Option<u64>, sure: bool, accepted: Option<u64>) -> Self {
        Self { delivered, sure, accepted, ..Self::default() }
    }

    /// The source showed the trigger.
    pub fn saw(&mut self, level: Level) {
        self.level = Some(level);
    }

    /// Everybody got the trigger at `revision`.
    pub fn delivered(&mut self, revision: u64) {
        self.delivered = Some(revision);
        self.sure = true;
        self.setback = None;
    }

    /// It could not be delivered; it is to be tried again at `at`, unless a newer trigger comes first.
    pub fn failed(&mut self, revision: u64, at: Instant) {
        self.setback = Some((revision, Setback::Retry { at }));
    }

    /// What it put in force cannot be forwarded.
    pub fn unfit(&mut self, revision: u64) {
        self.setback = Some((revision, Setback::Unfit));
    }

    /// The trigger, if there is one.
    pub fn trigger(&self) -> Option<&Trigger> {
        match &self.level {
            Some(Level::Present(trigger)) => Some(trigger),
            _ => None,
        }
    }

    /// The revision delivered last.
    pub fn last_delivered(&self) -> Option<u64> {
        self.delivered
    }

    /// What is to be done now.
    pub fn decide(&self, now: Instant) -> Decision {
        let trigger = match &self.level {
            None => return Decision::AwaitSource,
            Some(Level::Absent) => return Decision::NoTrigger,
            Some(Level::Present(trigger)) => trigger,
        };
        let revision = trigger.revision;
        let accepted = self.accepted == Some(revision);
        if let Some(delivered) = self.delivered {
            if revision == delivered && self.sure {
                return Decision::UpToDate;
            }
            if revision < delivered && !accepted {
                return Decision::Hold { revision, delivered };
            }
        }
        match &self.setback {
            Some((at_revision, Setback::Unfit)) if *at_revision == revision => Decision::Unfit { revision },
            Some((at_revision, Setback::Retry { at })) if *at_revision == revision && now < *at => {
                Decision::Wait { revision, until: *at }
            }
            _ => Decision::Deliver { trigger: trigger.clone(), accepted },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn trigger(revision: u64) -> Trigger {
        Trigger { revision, value: Arc::from(format!("{revision}").as_bytes()) }
    }

    fn at(revision: u64) -> Level {
        Level::Present(trigger(revision))
    }

    fn deliver(revision: u64) -> Decision {
        Decision::Deliver { trigger: trigger(revision), accepted: false }
    }

    /// After what was delivered before (and whether that is sure) and what the source shows: what is done?
    #[test]
    fn at_a_start() {
        let now = Instant::now();
        for (delivered, sure, level, expected) in [
            (None, false, None, Decision::AwaitSource),
            (None, false, Some(Level::Absent), Decision::NoTrigger),
            (None, false, Some(at(7)), deliver(7)),
            (Some(7), true, None, Decision::AwaitSource),
            (Some(7), true, Some(Level::Absent), Decision::NoTrigger),
            (Some(7), true, Some(at(7)), Decision::UpToDate),
            (Some(7), false, Some(at(7)), deliver(7)),
            (Some(7), true, Some(at(9)), deliver(9)),
            (Some(7), true, Some(at(3)), Decision::Hold { revision: 3, delivered: 7 }),
            (Some(7), false, Some(at(3)), Decision::Hold { revision: 3, delivered: 7 }),
        ] {
            let mut progress = Progress::new(delivered, sure, None);
            if let Some(level) = level.clone() {
                progress.saw(level);
            }
            assert_eq!(progress.decide(now), expected, "{delivered:?} {sure} {level:?}");
        }
    }

    #[test]
    fn a_failure_waits_and_a_newer_trigger_ends_the_wait() {
        let now = Instant::now();
        let later = now + Duration::from_secs(30);
        let mut progress = Progress::new(Some(1), true, None);
        progress.saw(at(2));
        progress.failed(2, later);
        assert_eq!(progress.decide(now), Decision::Wait { revision: 2, until: later });
        assert_eq!(progress.decide(later), deliver(2));
        progress.saw(at(3));
        assert_eq!(progress.decide(now), deliver(3));
    }

    #[test]
    fn a_trigger_that_came_while_another_was_delivered_follows_it() {
        let now = Instant::now();
        let mut progress = Progress::new(None, false, None);
        progress.saw(at(2));
        assert_eq!(progress.decide(now), deliver(2));
        progress.saw(at(5));
        progress.delivered(2);
        assert_eq!(progress.decide(now), deliver(5));
        progress.delivered(5);
        assert_eq!(progress.decide(now), Decision::UpToDate);
    }

    #[test]
    fn what_is_unfit_stays_so_until_a_newer_trigger() {
        let now = Instant::now();
        let mut progress = Progress::new(Some(1), true, None);
        progress.saw(at(2));
        progress.unfit(2);
        assert_eq!(progress.decide(now), Decision::Unfit { revision: 2 });
        progress.saw(at(2));
        assert_eq!(progress.decide(now), Decision::Unfit { revision: 2 });
        progress.saw(at(3));
        assert_eq!(progress.decide(now), deliver(3));
    }

    #[test]
    fn a_deleted_trigger_ends_retries_and_is_no_delivery() {
        let now = Instant::now();
        let mut progress = Progress::new(Some(1), true, None);
        progress.saw(at(2));
        progress.failed(2, now + Duration::from_secs(1));
        progress.saw(Level::Absent);
        assert_eq!(progress.decide(now + Duration::from_secs(2)), Decision::NoTrigger);
        assert_eq!(progress.last_delivered(), Some(1));
    }

    #[test]
    fn an_older_revision_is_delivered_only_if_that_very_one_is_accepted() {
        let now = Instant::now();
        let mut progress = Progress::new(Some(100), true, Some(40));
        progress.saw(at(39));
        assert_eq!(progress.decide(now), Decision::Hold { revision: 39, delivered: 100 });
        progress.saw(at(40));
        assert_eq!(progress.decide(now), Decision::Deliver { trigger: trigger(40), accepted: true });
        progress.delivered(40);
        assert_eq!(progress.decide(now), Decision::UpToDate);
        progress.saw(at(41));
        assert_eq!(progress.decide(now), deliver(41));
    }
}
