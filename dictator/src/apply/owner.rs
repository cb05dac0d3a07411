//! The owner: one loop, one change at a time.
//!
//! A change runs in a task of its own so that the loop can go on answering; while it runs, the task has
//! the record and the loop has none of it to give away. The loop keeps what was in force before, for
//! reads. When the change ends it hands the record back.

mod failing;
mod pausing;
mod progress;
mod reads;

use std::time::Duration;

use node::Nodes;
use serde_json::json;
use service::clock;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use topology::conduct::{Job, Limits, Purpose};
use topology::document::{Document, Note};
use topology::observation::Observation;
use topology::plan::Policy;
use topology::receipt::Receipt;
use topology::record::{Record, Wanted};
use tracing::Instrument;

use super::drive::{self, Progress, World};
use super::events::Events;
use super::groups::{self, Means, Prepared};
use super::history::{History, Origin};
use super::metrics::Reign;
use super::pause::Pause;
use super::status::Change;
use super::{Answered, ApplyRequest, Ask, InForce, Metrics, Rejection, Resolve, Store, Wait};
use failing::Failing;

/// Progress that may wait for the loop.
const PROGRESS_MAX: usize = 64;
/// Requests that may join one change.
const JOINERS_MAX: usize = 64;
/// Dry runs and looks at the status that may run at once.
const READERS_MAX: usize = 8;
/// Deadline of one node's answer in a look at the status.
const STATUS_DEADLINE: Duration = Duration::from_millis(500);
/// Shortest interval of enforcement that makes sense.
const ENFORCE_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// What the owner is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits of one change.
    pub limits: Limits,
    /// What it may do.
    pub policy: Policy,
    /// Between passes of enforcement; zero: never.
    pub enforce_interval: Duration,
    /// Most nodes of a document, members of groups included.
    pub nodes_max: usize,
    /// Where it tells what happens.
    pub events: Events,
}

/// The task that owns the cluster's state.
pub struct Owner {
    settings: Settings,
    store: Store,
    nodes: Nodes,
    resolve: std::sync::Arc<Resolve>,
    metrics: Metrics,
    /// As long as this owner lives, its nodes are told in the metrics.
    _reign: Reign,
    asks: mpsc::Receiver<Ask>,
    record: Record,
    history: History,
    observation: Observation,
    running: Option<Running>,
    waiting: Option<Waiting>,
    pause: Option<Pause>,
    readers: std::sync::Arc<tokio::sync::Semaphore>,
    /// What enforcement cannot do, so that it is told once.
    failing: Failing,
    /// Why the record is not durable, as it was told.
    unsaved: Option<String>,
    /// What is to be known about groups, since they were looked up last.
    notes: Vec<Note>,
    hurry: std::sync::Arc<Notify>,
    progress: (mpsc::Sender<Progress>, mpsc::Receiver<Progress>),
}

/// Somebody who waits for the end of a change.
struct Asker {
    wait: Wait,
    origin: Origin,
    reply: Option<oneshot::Sender<Result<Answered, Rejection>>>,
}

/// A change under way.
struct Running {
    cause: &'static str,
    wanted: Option<Wanted>,
    given_revision: Option<u64>,
    askers: Vec<Asker>,
    change: Change,
    announced: bool,
    /// Its receipt as it was answered, before links were looked at.
    answered: Option<Box<Receipt>>,
    /// Whether that is in the log already.
    told: bool,
}

/// The change that comes next.
struct Waiting {
    document: Document,
    warnings: Vec<String>,
    revision: Option<u64>,
    if_match: Option<u64>,
    askers: Vec<Asker>,
}

impl Owner {
    /// An owner with what the store remembers.
    pub async fn new(
        settings: Settings,
        store: Store,
        record: Record,
        nodes: Nodes,
        resolve: Resolve,
        metrics: Metrics,
        asks: mpsc::Receiver<Ask>,
    ) -> Self {
        Self::shared(settings, store, record, nodes, std::sync::Arc::new(resolve), metrics, asks).await
    }

    /// The same, with a resolver that others use as well.
    pub async fn shared(
        settings: Settings,
        store: Store,
        record: Record,
        nodes: Nodes,
        resolve: std::sync::Arc<Resolve>,
        metrics: Metrics,
        asks: mpsc::Receiver<Ask>,
    ) -> Self {
        let history = History::open(store.clone()).await;
        let mut owner = Self {
            settings,
            store,
            nodes,
            resolve,
            _reign: metrics.reign(),
            metrics,
            asks,
            record,
            history,
            observation: Observation::default(),
            running: None,
            waiting: None,
            pause: None,
            readers: std::sync::Arc::new(tokio::sync::Semaphore::new(READERS_MAX)),
            failing: Failing::default(),
            unsaved: None,
            notes: Vec::new(),
            hurry: std::sync::Arc::new(Notify::new()),
            progress: mpsc::channel(PROGRESS_MAX),
        };
        owner.close_left_pause();
        owner.gauge();
        owner
    }

    /// Runs until `shutdown`, and then until the change under way has ended.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let period = self.settings.enforce_interval.max(ENFORCE_INTERVAL_MIN);
        // The first pass comes at once: it finishes or undoes what a crash left open.
        let mut enforce = interval_at(Instant::now(), period);
        enforce.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let enforcing = !self.settings.enforce_interval.is_zero();
        let mut first = true;
        loop {
            tokio::select! {
                Some(progress) = self.progress.1.recv() => self.on_progress(progress).await,
                ask = self.asks.recv(), if !shutdown.is_cancelled() => match ask {
                    Some(ask) => self.on_ask(ask).await,
                    None => break,
                },
                _ = enforce.tick(), if (enforcing || first) && !shutdown.is_cancelled() => {
                    first = false;
                    self.enforce().await;
                }
                () = shutdown.cancelled(), if self.running.is_none() => break,
            }
            if shutdown.is_cancelled() {
                self.hurry.notify_one();
                if self.running.is_none() {
                    break;
                }
            }
        }
        self.asks.close();
        self.end_pause("the dictator stopped, or lost the say", &Origin::default());
        if let Some(waiting) = self.waiting.take() {
            answer(waiting.askers, || self.current(Err(Rejection::Busy)));
        }
        while let Some(ask) = self.asks.recv().await {
            if let Ask::Apply(request) = ask {
                let _ = request.reply.send(self.current(Err(Rejection::Busy)));
            }
        }
        self.history.close().await;
    }

    /// The answer to a document, if this dictator may still give one. Once it has lost the say another may
    /// have moved the master since, and a receipt of this one would send clients to the wrong node.
    fn current(&self, answer: Result<Answered, Rejection>) -> Result<Answered, Rejection> {
        if self.nodes.may_act() { answer } else { Err(Rejection::ReignEnded) }
    }

    // === asks ===

    async fn on_ask(&mut self, ask: Ask) {
        self.end_pause_in_time();
        match ask {
            Ask::Master(reply) => {
                let in_force = self.record.wanted.clone();
                let sequence = self.record.sequence;
                let _ = reply.send(in_force.map(|wanted| InForce { wanted, sequence }));
            }
            Ask::History(reply) => {
                let _ = reply.send(self.history.entries());
            }
            Ask::Status(reply) => self.look(reply),
            Ask::Enforcement(reply) => {
                let _ = reply.send(self.enforcement());
            }
            Ask::Pause(request) => self.set_pause(request),
            Ask::Apply(request) if request.dry_run => self.dry_run(*request),
            Ask::Apply(request) => self.apply(*request).await,
        }
    }

    async fn apply(&mut self, request: ApplyRequest) {
        let ApplyRequest { parsed, revision, if_match, wait, request_id, asked_by, reason, reply, .. } =
            request;
        let origin = Origin { request_id: request_id.clone(), asked_by, reason };
        let asker = Asker { wait, origin, reply: Some(reply) };
        if let Some(running) = &mut self.running
            && running.cause == "put"
            && !running.announced
            && running.wanted.as_ref().is_some_and(|wanted| wanted.document == parsed.document)
            && running.given_revision == revision
            && if_match.is_none()
            && running.askers.len() < JOINERS_MAX
        {
            running.askers.push(asker);
            return;
        }
        if let Some(waiting) = &mut self.waiting {
            if waiting.document == parsed.document
                && waiting.revision == revision
                && waiting.if_match == if_match
                && waiting.askers.len() < JOINERS_MAX
            {
                waiting.askers.push(asker);
                return;
            }
            if let (Some(given), Some(in_force)) = (revision, waiting.revision)
                && given < in_force
                && if_match.is_none()
            {
                answer(vec![asker], || Err(Rejection::StaleRevision { given, in_force }));
                return;
            }
        }
        let next = Waiting {
            document: parsed.document,
            warnings: parsed.warnings,
            revision,
            if_match,
            askers: vec![asker],
        };
        if let Some(displaced) = self.waiting.replace(next) {
            answer(displaced.askers, || Err(Rejection::Superseded { by: request_id.clone() }));
        }
        if self.running.is_some() {
            self.hurry.notify_one();
        } else {
            self.start_waiting().await;
        }
    }

    /// Whether a document may be applied under the conditions it came with.
    fn precondition(&self, waiting: &Waiting) -> Result<(), Rejection> {
        let in_force = self.record.wanted.as_ref();
        if let Some(expected) = waiting.if_match {
            let current = in_force.map(|_| self.record.sequence);
            return if current == Some(expected) {
                Ok(())
            } else {
                Err(Rejection::PreconditionFailed { current })
            };
        }
        let (Some(given), Some(in_force)) = (waiting.revision, in_force) else { return Ok(()) };
        match in_force.revision {
            Some(present) if given < present => Err(Rejection::StaleRevision { given, in_force: present }),
            Some(present) if given == present && !in_force.document.asks_the_same(&waiting.document) => {
                Err(Rejection::RevisionConflict { revision: given })
            }
            _ => Ok(()),
        }
    }

    async fn start_waiting(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        if let Err(rejection) = self.precondition(&waiting) {
            answer(waiting.askers, || Err(rejection.clone()));
            return;
        }
        let wanted = Wanted { document: waiting.document, revision: waiting.revision };
        let request_id =
            waiting.askers.first().map(|asker| asker.origin.request_id.clone()).unwrap_or_default();
        let purpose = Purpose::Apply(wanted.clone());
        let change = Change { step: "observe".to_owned(), since: clock::unix_millis() };
        self.settings.events.tell("begun", || json!({ "cause": "put", "request_id": request_id }));
        self.running = Some(Running {
            cause: "put",
            given_revision: wanted.revision,
            wanted: Some(wanted),
            askers: waiting.askers,
            change,
            announced: false,
            answered: None,
            told: false,
        });
        self.start(purpose, waiting.warnings, request_id);
    }

    async fn enforce(&mut self) {
        let nothing = self.record.wanted.is_none() && self.record.intent.is_none();
        if self.is_paused() || self.running.is_some() || nothing {
            return;
        }
        let change = Change { step: "observe".to_owned(), since: clock::unix_millis() };
        self.running = Some(Running {
            cause: "enforcement",
            wanted: None,
            given_revision: None,
            askers: Vec::new(),
            change,
            announced: false,
            answered: None,
            told: false,
        });
        self.start(Purpose::Enforce, Vec::new(), String::new());
    }

    fn job(&self, purpose: Purpose, warnings: Vec<String>) -> Job {
        Job { purpose, policy: self.settings.policy.clone(), warnings, started_unix_ms: clock::unix_millis() }
    }

    fn start(&mut self, purpose: Purpose, warnings: Vec<String>, request_id: String) {
        let job = self.job(purpose, warnings);
        let (record, limits, nodes_max) =
            (self.record.clone(), self.settings.limits, self.settings.nodes_max);
        let before = self.observation.clone();
        let (nodes, store, resolve) = (self.nodes.clone(), self.store.clone(), self.resolve.clone());
        let (progress, hurry) = (self.progress.0.clone(), self.hurry.clone());
        let span = tracing::info_span!("change", request_id, generation = record.generation);
        tokio::spawn(
            async move {
                let means =
                    Means { resolve: &resolve, nodes: &nodes, store: Some(&store), limits, nodes_max };
                let world = World {
                    nodes: &nodes,
                    store: Some(&store),
                    progress: Some(&progress),
                    hurry: Some(&hurry),
                };
                let finish = match groups::prepare(&means, job, record).await {
                    Ok(Prepared { job, record, names, notes }) => {
                        if let Some(notes) = notes {
                            let _ = progress.send(Progress::Noted(notes)).await;
                        }
                        drive::run(job, record, names, limits, world).await
                    }
                    Err((refusal, record)) => groups::not_begun(*refusal, *record, before),
                };
                // The owner waits for this before it ends; a closed channel means there is no owner.
                let _ = progress.send(Progress::Finished(Box::new(finish))).await;
            }
            .instrument(span),
        );
    }
}

fn answer(askers: Vec<Asker>, with: impl Fn() -> Result<Answered, Rejection>) {
    for asker in askers {
        if let Some(reply) = asker.reply {
            let _ = reply.send(with());
        }
    }
}
