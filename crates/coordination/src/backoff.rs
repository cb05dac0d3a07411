//! How long to wait before trying again: doubling, bounded, jittered.
//!
//! Jitter is "equal": half of the step is certain, half is chance. Full jitter would sometimes retry at
//! once, which is how a struggling server is kept down; none would let every client of a restarted
//! server arrive together.

use std::time::Duration;

/// Doubling waits between two bounds.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits that start near `first` and never exceed `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The next wait: between half of and the whole of the current step, which then doubles.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.step();
        self.failures = self.failures.saturating_add(1);
        step / 2 + (step / 2).mul_f64(fastrand::f64())
    }

    /// Forgets all failures, after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn step(&self) -> Duration {
        /// Beyond this many doublings every step is the longest one.
        const DOUBLINGS_MAX: u32 = 20;
        let doublings = self.failures.min(DOUBLINGS_MAX);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_between_their_bounds_and_start_again_after_a_success() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(3));
        let mut backoff = Backoff::new(first, longest);
        let mut step = first;
        for _ in 0..100 {
            let wait = backoff.next_wait();
            assert!(wait >= step / 2 && wait <= step, "{wait:?} is not within the step {step:?}");
            step = (step * 2).min(longest);
        }
        assert_eq!(backoff.failures(), 100);
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }
}
