//! Stopping at a chosen action, in builds for the crash tests only.
//!
//! `DICTATOR_STOP_AT=<number>` counts the actions of all changes from 1: every command but a mere
//! observation counts twice, before it is sent and after its reply, and so does every save of the record. At that
//! action the process writes its name into the file `DICTATOR_STOP_FILE` and goes no further, with all
//! its connections open; the test does what it likes to the nodes and then kills it.
//! Of polls in a row only the first counts: how many there are depends on the speed of the machine, and the
//! same number shall name the same action in every run.
//! `DICTATOR_STOP_FROM=<name>` begins to count only at the first action of that name.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use topology::command::{Assignment, Command, Order};

static COUNT: AtomicU64 = AtomicU64::new(0);
static COUNTING: AtomicBool = AtomicBool::new(false);
/// What of the present row of polls was counted: a bit for before, one for after.
static POLLED: AtomicU8 = AtomicU8::new(0);

struct Stop {
    at: u64,
    from: Option<String>,
    file: String,
}

#[allow(clippy::disallowed_methods, reason = "settings of a test build are no settings of the daemon")]
fn stop() -> Option<&'static Stop> {
    static STOP: OnceLock<Option<Stop>> = OnceLock::new();
    STOP.get_or_init(|| {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        Some(Stop {
            at: variable("DICTATOR_STOP_AT")?.parse().ok()?,
            from: variable("DICTATOR_STOP_FROM"),
            file: variable("DICTATOR_STOP_FILE")?,
        })
    })
    .as_ref()
}

/// The name of an action.
pub(super) fn name_of(order: &Order) -> String {
    let what = match &order.command {
        Command::Observe { .. } => "observe",
        Command::Poll => "poll",
        Command::PauseWrites { .. } => "pause",
        Command::Unpause => "unpause",
        Command::Assign { to: Assignment::Parked, .. } => "park",
        Command::Assign { to: Assignment::Master, .. } => "promote",
        Command::Assign { to: Assignment::SlaveOf(_), .. } => "attach",
        Command::KillConnections { .. } => "kill-connections",
    };
    format!("{what} {}", order.node)
}

/// Before an action.
pub(super) async fn before(action: &str) {
    reached("before", action).await;
}

/// After an action.
pub(super) async fn after(action: &str) {
    reached("after", action).await;
}

async fn reached(when: &str, action: &str) {
    let Some(stop) = stop() else { return };
    if action.starts_with("observe") {
        return;
    }
    let begins = stop.from.as_deref().is_none_or(|from| action.starts_with(from));
    if !COUNTING.load(Ordering::SeqCst) && !begins {
        return;
    }
    COUNTING.store(true, Ordering::SeqCst);
    if repeats(when, action) && COUNT.load(Ordering::SeqCst) < stop.at {
        return;
    }
    let count = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
    if count < stop.at {
        return;
    }
    if count == stop.at {
        let text = format!("{count} {when} {action}\n");
        if let Err(error) = service::durable::write(&stop.file, text).await {
            tracing::error!(%error, "the stop cannot be told");
        }
    }
    std::future::pending::<()>().await;
}

/// Whether this is a further poll of a row.
fn repeats(when: &str, action: &str) -> bool {
    if !action.starts_with("poll") {
        POLLED.store(0, Ordering::SeqCst);
        return false;
    }
    let bit = if when == "before" { 1 } else { 2 };
    POLLED.fetch_or(bit, Ordering::SeqCst) & bit != 0
}
