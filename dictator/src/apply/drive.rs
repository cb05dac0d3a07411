//! Turns the conductor's effects into commands and files, and back into events.
//!
//! Everything happens in one task: replies are awaited side by side and told to the conductor in the
//! order in which they come. Between two commands of a hand-over there is nothing but the conductor.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use node::Nodes;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use topology::command::{Failure, Order};
use topology::conduct::{Conduct, Effect, Event, Finish, Job, Limits, Names};
use topology::document::Note;
use topology::observation::Unknown;
use topology::receipt::Receipt;
use topology::record::Record;

use super::store::Store;

/// Time an order may take beyond its own deadline, before the node's task is taken for stuck.
const GRACE: Duration = Duration::from_secs(2);

/// What a change tells while it runs.
#[derive(Debug)]
pub(super) enum Progress {
    /// Groups were looked up, and this is what should be known about them.
    Noted(Vec<Note>),
    /// A step began.
    Began { step: &'static str, node: String },
    /// It can be answered, and this is the record that says so.
    Announced(Box<Receipt>, Box<Record>),
    /// It is over.
    Finished(Box<Finish>),
}

/// Where a change gets its nodes, files and listeners.
pub(super) struct World<'a> {
    pub(super) nodes: &'a Nodes,
    pub(super) store: Option<&'a Store>,
    pub(super) progress: Option<&'a mpsc::Sender<Progress>>,
    pub(super) hurry: Option<&'a Notify>,
}

/// Runs one change to its end.
pub(super) async fn run(job: Job, record: Record, names: Names, limits: Limits, world: World<'_>) -> Finish {
    let started = Instant::now();
    let now = || started.elapsed();
    let mut conduct = Conduct::new(job, record, names, limits, Duration::ZERO);
    let mut events = FuturesUnordered::new();
    let mut wake_at: Option<Instant> = None;
    loop {
        for effect in conduct.effects() {
            match effect {
                Effect::Order { ticket, order } => {
                    events.push(futures_util::future::Either::Left(execute(world.nodes, ticket, order)));
                }
                Effect::Save { ticket, record } => {
                    events.push(futures_util::future::Either::Right(save(world.store, ticket, record)));
                }
                Effect::Wake { at } => wake_at = Some(started + at),
                Effect::Began { step, node } => {
                    tell(&world, Progress::Began { step, node: node.to_string() }).await;
                }
                Effect::Announce(receipt) => {
                    let record = Box::new(conduct.record().clone());
                    tell(&world, Progress::Announced(receipt, record)).await;
                }
                Effect::Finished(finish) => return *finish,
            }
        }
        let wake = async {
            match wake_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let hurried = async {
            match world.hurry {
                Some(hurry) => hurry.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(event) = events.next() => conduct.on(event, now()),
            () = wake => {
                wake_at = None;
                conduct.on(Event::Woken, now());
            }
            () = hurried => conduct.hurry(now()),
        }
    }
}

async fn tell(world: &World<'_>, progress: Progress) {
    if let Some(listener) = world.progress {
        // The owner outlives every change; if it is gone, nobody is left to tell.
        let _ = listener.send(progress).await;
    }
}

async fn execute(nodes: &Nodes, ticket: u64, order: Order) -> Event {
    #[cfg(feature = "stop-at")]
    let action = super::stop::name_of(&order);
    #[cfg(feature = "stop-at")]
    super::stop::before(&action).await;
    let deadline = order.deadline + GRACE;
    let answer = timeout(deadline, nodes.execute(order)).await.unwrap_or_else(|_| {
        let silent = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        Err(Failure::NoReply(Unknown::Silent(silent)))
    });
    #[cfg(feature = "stop-at")]
    super::stop::after(&action).await;
    Event::Answer { ticket, answer }
}

async fn save(store: Option<&Store>, ticket: u64, record: Box<Record>) -> Event {
    #[cfg(feature = "stop-at")]
    super::stop::before("save").await;
    let result = match store {
        Some(store) => store.save(&record).await,
        None => Err("a dry run saves nothing".to_owned()),
    };
    #[cfg(feature = "stop-at")]
    super::stop::after("save").await;
    Event::Saved { ticket, result }
}
