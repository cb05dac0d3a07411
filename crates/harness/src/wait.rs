//! Waiting for a condition, with a deadline and with the last thing seen.
//!
//! A bare sleep in a test is either too short on a busy machine or too long on every other one, and
//! when it fails it says nothing. Here the condition explains itself each time it does not hold,
//! and the panic at the deadline repeats its last explanation.

use std::time::{Duration, Instant};

/// Pause between two looks at the condition.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Calls `condition` until it answers `Ok` and returns that; `what` names the thing waited for.
///
/// The condition is looked at once more after the deadline, so that a machine that froze for a
/// while is not mistaken for a condition that does not come true.
///
/// # Panics
/// With `what` and the condition's last explanation when `deadline` has passed.
pub fn wait_until<T, E: std::fmt::Display>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        let late = start.elapsed() >= deadline;
        match condition() {
            Ok(value) => return value,
            Err(status) if late => {
                panic!("waited {deadline:?} in vain for {what}; last seen: {status}")
            }
            Err(_) => std::thread::sleep(POLL_INTERVAL),
        }
    }
}

/// `Ok` if `holds`, else `status`: turns a plain test into a condition for [`wait_until`].
///
/// # Errors
/// `status`, when `holds` is false.
pub fn ensure(holds: bool, status: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(status.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_what_the_condition_found() {
        let mut looks = 0;
        let found = wait_until("the third look", Duration::from_secs(5), || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) }
        });
        assert_eq!(found, 3);
    }

    #[test]
    fn the_panic_repeats_the_last_status() {
        let outcome = std::panic::catch_unwind(|| {
            wait_until("rain", Duration::from_millis(10), || Err::<(), _>("blue sky"));
        });
        let text = *outcome.expect_err("must panic").downcast::<String>().expect("a text");
        assert!(text.contains("rain") && text.contains("blue sky"), "{text}");
    }
}
