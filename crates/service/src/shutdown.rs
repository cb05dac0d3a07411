//! From the signal to the end of the process, by a deadline.
//!
//! SIGTERM and SIGINT cancel one token; everything that waits listens to it. The first signal asks, the
//! second one insists: it ends the process at once with the default action, because an operator who sends
//! it twice has already waited. [`Tasks`] knows the name of each task, so that a late exit can say what
//! held it up instead of only that something did.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts listening to SIGTERM and SIGINT. The returned token is cancelled by the first one; `second` is
/// cancelled by the second.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn on_signals() -> std::io::Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signals = Signals { first: CancellationToken::new(), second: CancellationToken::new() };
    let tokens = signals.clone();
    tokio::spawn(async move {
        for token in [tokens.first, tokens.second] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping");
            token.cancel();
        }
    });
    Ok(signals)
}

/// What the process has been asked to do by signals.
#[derive(Debug, Clone)]
pub struct Signals {
    /// Cancelled by the first signal: stop in good order.
    pub first: CancellationToken,
    /// Cancelled by the second signal: stop now.
    pub second: CancellationToken,
}

/// Named tasks that are waited for at the end.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    names: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Tasks::default()
    }

    /// Spawns a task under a name, which [`Tasks::drain`] will tell if it does not end in time.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let guard = NameGuard::new(name, Arc::clone(&self.names));
        self.tracker.spawn(async move {
            let _guard = guard;
            future.await
        })
    }

    /// Waits until every task has ended, at most until the deadline.
    ///
    /// # Errors
    /// The names of the tasks that were still running.
    pub async fn drain(&self, deadline: Duration) -> Result<(), Vec<&'static str>> {
        self.tracker.close();
        match tokio::time::timeout(deadline, self.tracker.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => {
                let names: Vec<_> = lock(&self.names).keys().copied().collect();
                if names.is_empty() { Ok(()) } else { Err(names) }
            }
        }
    }
}

/// Takes a name out of the map when its task ends, also by a panic.
struct NameGuard {
    name: &'static str,
    names: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl NameGuard {
    fn new(name: &'static str, names: Arc<Mutex<BTreeMap<&'static str, usize>>>) -> Self {
        *lock(&names).entry(name).or_insert(0) += 1;
        NameGuard { name, names }
    }
}

impl Drop for NameGuard {
    fn drop(&mut self) {
        let mut names = lock(&self.names);
        if let Some(count) = names.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                names.remove(self.name);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_task_is_named() {
        let tasks = Tasks::new();
        tasks.spawn("quick", async {});
        tasks.spawn("stuck", std::future::pending::<()>());
        assert_eq!(tasks.drain(Duration::from_millis(50)).await, Err(vec!["stuck"]));
    }

    #[tokio::test]
    async fn a_panicking_task_does_not_hold_the_drain_up() {
        let tasks = Tasks::new();
        tasks.spawn("panics", async { panic!("on purpose") });
        assert_eq!(tasks.drain(Duration::from_secs(1)).await, Ok(()));
    }
}
