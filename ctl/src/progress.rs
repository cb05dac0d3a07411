//! What is seen while a change takes longer than a moment: the step it is at.
//!
//! On a terminal it is one line that is written over and wiped at the end; elsewhere it is a line now and
//! then, so that a log shows what was waited for. Nothing is shown of what ends within a second.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::answer::Status;
use crate::client::{Ask, Client, Reply};
use crate::output::Output;

/// Nothing is said before this.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks on a terminal.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Between two lines elsewhere.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Deadline of a look; without an answer only the time is told.
const LOOK_DEADLINE: Duration = Duration::from_secs(1);

/// Waits for `work` and tells meanwhile what the dictator is at.
pub async fn during<T>(client: &Client, output: &Output, work: impl Future<Output = T>) -> T {
    let mut told = false;
    let ended = {
        let telling = tell(client, output, &mut told);
        tokio::select! {
            ended = work => ended,
            () = telling => unreachable!("telling goes on until the work ends"),
        }
    };
    if told && output.talk_is_terminal {
        output.talk("\r\x1b[K");
    }
    ended
}

async fn tell(client: &Client, output: &Output, told: &mut bool) {
    let started = Instant::now();
    sleep(QUIET).await;
    loop {
        let step = step(client).await.unwrap_or_else(|| "waiting for the answer".to_owned());
        let line = format!("{step}, {} s", started.elapsed().as_secs());
        if output.talk_is_terminal {
            output.talk(&format!("\r\x1b[K{line}"));
        } else {
            output.talk(&format!("{line}\n"));
        }
        *told = true;
        sleep(if output.talk_is_terminal { LOOK_INTERVAL } else { LINE_INTERVAL }).await;
    }
}

/// The step of the change under way.
async fn step(client: &Client) -> Option<String> {
    let look = Ask::get("/status");
    let Ok(Ok(Reply::Good(answer))) = timeout(LOOK_DEADLINE, client.ask(&look)).await else { return None };
    let status: Status = serde_json::from_value(answer.value).ok()?;
    Some(format!("step {}", crate::render::printable(&status.change?.step)))
}
