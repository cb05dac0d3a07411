//! What systemd is told: READY=1, STATUS=…, STOPPING=1, and the watchdog's pings.
//!
//! Without `NOTIFY_SOCKET` every function does nothing, so a daemon started by hand or in a container
//! behaves the same. Failure to notify is never an error of the service; it is one debug line. RELOADING
//! is left out: on SIGHUP files are looked at again, and the service goes on meanwhile.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// The service is up; `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// One line for `systemctl status`.
pub fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// The service has begun to stop.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Pings the watchdog at half of `WATCHDOG_USEC` until shutdown; returns at once where systemd asked for
/// no pings. It runs as a task of the same runtime as the work, so a runtime that no longer turns is seen.
pub async fn watchdog(shutdown: CancellationToken) {
    let Some(period) = watchdog_period() else { return };
    let mut ticks = tokio::time::interval(period);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => send(&[NotifyState::Watchdog]),
        }
    }
}

fn watchdog_period() -> Option<Duration> {
    let timeout = sd_notify::watchdog_enabled()?;
    Some((timeout / 2).max(Duration::from_millis(1)))
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not notified");
    }
}
