//! Whether to let queries gather before they are taken.
//!
//! A thread that takes every query the moment it is there spends its time on waking, and on packets of one answer
//! each, although the next query for the same client is microseconds away. Network cards know that and hold their
//! interrupts back under load; so do we, only where it is known to pay: many queries a second, and answers that
//! went [to one client as one packet](super::outbox). The wait is far below what a network takes, the kernel's
//! queue has room for more than comes in that time, and at rest nobody waits at all.

use std::time::{Duration, Instant};

/// How long queries are counted before it is decided anew.
const WINDOW: Duration = Duration::from_millis(1);
/// Fewest queries per second, of this thread, that are worth a wait.
const QUERIES_PER_S_MIN: f64 = 40_000.0;
/// A batch of as many is large enough without.
const BATCH_MAX: usize = 32;
/// How long to wait. The kernel makes about 60 µs of it, with its usual slack of timers.
pub(super) const WAIT: Duration = Duration::from_micros(10);

/// What one thread has seen lately.
pub(super) struct Gather {
    since: Instant,
    queries: usize,
    joined: usize,
    pays: bool,
}

impl Gather {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, queries: 0, joined: 0, pays: false }
    }

    /// Whether to wait after a batch of `queries`, of whose answers `joined` went as one packet with others.
    pub(super) fn after(&mut self, queries: usize, joined: usize, now: Instant) -> bool {
        self.queries += queries;
        self.joined += joined;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let per_second = self.queries as f64 / elapsed.as_secs_f64();
            self.pays = per_second >= QUERIES_PER_S_MIN && self.joined * 2 >= self.queries;
            *self = Self { pays: self.pays, ..Self::new(now) };
        }
        self.pays && queries > 0 && queries < BATCH_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of `queries` every `every_us` for some windows; whether one waits in the end.
    fn waits(queries: usize, joined: usize, every_us: u64) -> bool {
        let start = Instant::now();
        let mut gather = Gather::new(start);
        (1..=5_000 / every_us)
            .map(|turn| gather.after(queries, joined, start + Duration::from_micros(turn * every_us)))
            .last()
            .unwrap()
    }

    #[test]
    fn only_many_queries_whose_answers_go_together_are_waited_for() {
        assert!(waits(4, 4, 10));
        assert!(waits(4, 3, 10));
        assert!(!waits(4, 0, 10), "every answer goes to another client");
        assert!(!waits(4, 4, 200), "there are few");
        assert!(!waits(64, 64, 100), "batches are large anyway");
    }

    #[test]
    fn a_pause_ends_it_with_the_next_window() {
        let start = Instant::now();
        let mut gather = Gather::new(start);
        assert!(!gather.after(60, 60, start + WINDOW), "that batch was large enough");
        assert!(gather.after(20, 20, start + WINDOW + WINDOW / 4));
        assert!(
            !gather.after(0, 0, start + WINDOW + WINDOW / 2),
            "a wait in vain is not followed by another"
        );
        assert!(!gather.after(1, 0, start + WINDOW * 100), "a single query");
    }
}
