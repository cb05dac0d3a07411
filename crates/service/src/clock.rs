//! The one place that reads the wall clock.
//!
//! Wall time jumps: it is good for stamps that people and DNS serials read, and for nothing else.
//! Deadlines and durations use `tokio::time::Instant`, which tests can pause. Everything that decides
//! takes its time as an argument, so that a test can say what time it is; only the outermost code of a
//! daemon calls these functions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01 UTC; 0 if the clock stands before that.
pub fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

/// Milliseconds since 1970-01-01 UTC; 0 if the clock stands before that.
pub fn unix_millis() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}

#[allow(clippy::disallowed_methods, reason = "this module is the one source of wall time")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    #[test]
    fn seconds_and_milliseconds_agree() {
        let seconds = super::unix_seconds();
        let millis = super::unix_millis();
        assert!(seconds > 1_600_000_000, "the clock stands before this program was written");
        assert!(millis / 1000 - seconds <= 1);
    }
}
