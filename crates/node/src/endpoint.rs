//! The one task that owns the connection to an endpoint.
//!
//! Orders to an endpoint are carried out one after the other, in the order they came: the decisions
//! rest on which command ran last, and redis would serve one connection in order anyway. The task
//! owns the session; nobody else can hold or share it, so there is nothing to lock across a wait.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use topology::command::{Answer, Command, Failure, Order, Reply as Answered};
use topology::observation::{RunId, SessionId, Unknown, Vitals};

use crate::acts::{self, Context, Done};
use crate::observe::{feel_pause_of, observe};
use crate::registry::{Owner, Registry};
use crate::session::Session;
use crate::settings::{Mandate, Settings};

/// How long a connection may lie idle before it is closed; a node that left is not held for ever.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// What a task of an endpoint is asked.
pub(crate) enum Ask {
    /// Carry out an order.
    Order { order: Order, due: Instant, reply: oneshot::Sender<Answer> },
    /// Close the connection, if one is open.
    Close,
}

/// What all endpoints share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) mandate: watch::Receiver<Option<Mandate>>,
    pub(crate) registry: Arc<Mutex<Registry>>,
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Endpoint {
    address: SocketAddr,
    shared: Shared,
    session: Option<Session>,
}

impl Endpoint {
    pub(crate) fn new(address: SocketAddr, shared: Shared) -> Self {
        Self { address, shared, session: None }
    }

    /// Serves until nobody can ask any more.
    pub(crate) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        loop {
            match timeout(IDLE_MAX, asks.recv()).await {
                Ok(Some(Ask::Order { order, due, reply })) => {
                    let answer = self.carry_out(&order, due).await;
                    // One who asked and left has no use for the answer.
                    let _ = reply.send(answer);
                }
                Ok(Some(Ask::Close)) | Err(_) => self.give_up(),
                Ok(None) => break,
            }
        }
        self.give_up();
    }

    async fn carry_out(&mut self, order: &Order, due: Instant) -> Answer {
        if Instant::now() >= due {
            let waited_ms = u64::try_from(order.deadline.as_millis()).unwrap_or(u64::MAX);
            return Err(Failure::NotExecuted(Unknown::Silent(waited_ms)));
        }
        let reused = self.session.is_some();
        let session = self.session_for(order, due).await?;
        if let Err(failure) = self.check_mandate(order, &session) {
            self.session = Some(session);
            return Err(failure);
        }
        let id = session.id;
        let answer = self.send(order, session, due).await;
        let stale = reused && self.session.is_none() && order.session.is_none() && Instant::now() < due;
        if stale && matches!(order.command, Command::Observe { .. }) && answer.is_err() {
            // The open connection had died unnoticed. Reading again over a new one is no repetition
            // of a command whose outcome matters.
            tracing::debug!(node = %order.node, session = id.0, "observing again over a new connection");
            let session = self.session_for(order, due).await?;
            return self.send(order, session, due).await;
        }
        answer
    }

    /// The connection that the order must go over, or the open one, or a new one.
    async fn session_for(&mut self, order: &Order, due: Instant) -> Result<Session, Failure> {
        let epoch = self.shared.mandate.borrow().and_then(Mandate::epoch_now);
        if self.session.as_ref().is_some_and(|session| !session.is_open() || session.epoch != epoch) {
            self.give_up();
        }
        match (order.session, self.session.take()) {
            (None, Some(session)) => Ok(session),
            (Some(wanted), Some(session)) if session.id == wanted => Ok(session),
            (Some(wanted), other) => {
                self.session = other;
                Err(not_open(wanted))
            }
            (None, None) => self.open(epoch, due).await,
        }
    }

    async fn open(&mut self, epoch: Option<u64>, due: Instant) -> Result<Session, Failure> {
        match Session::open(self.address, &self.shared.settings, epoch, due).await {
            Ok(session) => {
                self.shared.registry().opened(session.id, session.local);
                Ok(session)
            }
            Err(not_opened) => {
                if let Some(local) = not_opened.local {
                    self.shared.registry().stillborn(local);
                }
                Err(Failure::NotExecuted(not_opened.reason))
            }
        }
    }

    /// One who may have lost the right to act sends nothing that cannot be taken back.
    fn check_mandate(&self, order: &Order, session: &Session) -> Result<(), Failure> {
        let held = self.shared.mandate.borrow().and_then(Mandate::epoch_now);
        if order.command.is_irreversible() && (held.is_none() || held != session.epoch) {
            let reason = "not sent: this dictator does not hold the right to act (any more)".to_owned();
            return Err(Failure::NotExecuted(Unknown::Refuses(reason)));
        }
        Ok(())
    }

    async fn send(&mut self, order: &Order, session: Session, due: Instant) -> Answer {
        let (id, local) = (session.id, session.local);
        let shared = self.shared.clone();
        let context = Context { user: shared.settings.user(), due };
        let done = match &order.command {
            Command::Observe { feel_pause } => {
                let owner_of = |vitals: &Vitals, other: SessionId, peer: &str| -> Owner {
                    let mut registry = shared.registry();
                    registry.learned(id, local, &vitals.run_id);
                    registry.owner(&vitals.run_id, other, peer)
                };
                let observed = observe(session, &shared.settings, context, &owner_of).await;
                match feel_pause {
                    true => Box::pin(feel_pause_of(observed, self.address, &shared.settings, context)).await,
                    false => observed,
                }
            }
            Command::Poll => acts::poll(session, context).await,
            Command::PauseWrites { budget } => acts::pause_writes(session, context, *budget).await,
            Command::Unpause => acts::unpause(session, context).await,
            Command::Assign { to, unpause, reading } => {
                acts::assign(session, context, *to, *unpause, *reading).await
            }
            Command::KillConnections { ids } => acts::kill(session, context, ids).await,
        };
        self.settle(done, id, local)
    }

    fn settle(&mut self, done: Done, id: SessionId, local: Option<SocketAddr>) -> Answer {
        let mut registry = self.shared.registry();
        if let Some(run_id) = done.answer.as_ref().ok().and_then(run_id) {
            registry.learned(id, local, run_id);
        }
        if done.session.is_none() {
            registry.ended(id, local);
        }
        drop(registry);
        self.session = done.session;
        done.answer
    }

    fn give_up(&mut self) {
        if let Some(session) = self.session.take() {
            self.shared.registry().ended(session.id, session.local);
        }
    }
}

/// Which life an answer came from.
fn run_id(reply: &Answered) -> Option<&RunId> {
    match reply {
        Answered::State(state) => Some(&state.vitals.run_id),
        Answered::Vitals(vitals) => Some(&vitals.run_id),
        Answered::Assigned(assigned) => Some(&assigned.after.run_id),
        Answered::Done => None,
    }
}

fn not_open(wanted: SessionId) -> Failure {
    let reason = format!(
        "connection {} is not open any more, so the node may have restarted since it was read; nothing was sent",
        wanted.0
    );
    Failure::NotExecuted(Unknown::Unreachable(reason))
}
