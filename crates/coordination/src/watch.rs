//! One key, watched for ever.
//!
//! The watch is a small machine with named states, driven by one task:
//!
//! ```text
//!            ┌──────────────── compacted ───────────────┐
//!            ▼                                          │
//! Connecting ──▶ Reading ──▶ Watching ──────────────────┘
//!     ▲             │            │
//!     └── Waiting ◀─┴── failure ─┘
//! ```
//!
//! Why named states and not a loop with flags: each state has its own deadline and its own meaning for
//! whoever asks how the watch is (`/status` shows the name), and every way out of a state is written in
//! one place.
//!
//! It is level-triggered. **Reading** fetches the key's present state and publishes it; **Watching** starts
//! one revision after the store's revision of that read, so nothing lies between the two. (Not after the
//! key's own `mod_revision`: a key that was written long ago and survived a compaction could then never
//! be watched.) After every reconnect it reads again and forgets where the stream was: the watcher's owner
//! wants to know what the key is, not what it has been through, so only the newest state is kept.
//!
//! A stream is alive if something arrives on it. When nothing has for [`PROGRESS_AFTER`], etcd is asked for
//! a progress notification, which it sends over this very stream; after [`SILENCE_MAX`] without one the
//! stream is thrown away with its connection. The revision in the notification is shown and never relied on.

use std::fmt;
use std::time::Duration;

use etcd_client::{Client, EventType, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::client::{MESSAGE_BYTES_MAX, client_of, read_with_store_revision};
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::{Failure, reason_of, with_permission};
use crate::key::{KeyState, KeyVersion, revision_of, revision_to_wire};

/// Deadline of reading the key, the connection included.
const READ_DEADLINE: Duration = Duration::from_secs(3);
/// Deadline until etcd confirms a new watch.
const OPEN_DEADLINE: Duration = Duration::from_secs(3);
/// Silence after which a progress notification is asked for, and the interval of asking again.
const PROGRESS_AFTER: Duration = Duration::from_secs(5);
/// Deadline of handing a progress request to the connection.
const PROGRESS_SEND_DEADLINE: Duration = Duration::from_secs(1);
/// Silence after which a stream is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// First wait after every member has failed once.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait between two rounds.
const BACKOFF_LONGEST: Duration = Duration::from_secs(3);

/// Where the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A client for the next member is being made.
    Connecting,
    /// The key's present state is being read.
    Reading,
    /// etcd has confirmed the watch.
    Watching,
    /// Every member has failed; the next round begins after a wait.
    Waiting,
}

/// How the watch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Where the machine is.
    pub phase: Phase,
    /// The member in use, as a URL.
    pub endpoint: String,
    /// How often a confirmed watch was lost and confirmed anew.
    pub reconnects: u64,
    /// The newest revision of the store heard of; 0 before the first.
    pub store_revision: u64,
    /// What went wrong last; `None` while all is well.
    pub failure: Option<String>,
}

/// A running watch; it stops when this is dropped.
pub struct KeyWatch {
    /// The key's newest state; `None` until it was read for the first time. States that nobody looked at
    /// in time are gone: only the newest counts.
    pub state: watch::Receiver<Option<KeyState>>,
    /// How the watch is.
    pub health: watch::Receiver<Health>,
    task: JoinHandle<()>,
}

impl Drop for KeyWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins to watch `key` until `shutdown`. It never gives up: while no member answers, the last known
/// state stays and [`Health`] says what is wrong.
pub fn watch_key(endpoints: Endpoints, key: &str, shutdown: CancellationToken) -> KeyWatch {
    let (state_sender, state) = watch::channel(None);
    let (health_sender, health) = watch::channel(Health {
        phase: Phase::Connecting,
        endpoint: endpoints.at_turn(0).to_string(),
        reconnects: 0,
        store_revision: 0,
        failure: None,
    });
    let supervisor = Supervisor {
        endpoints,
        key: key.to_owned(),
        turn: 0,
        failures_in_round: 0,
        confirmed_before: false,
        backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_LONGEST),
        state: state_sender,
        health: health_sender,
    };
    let task = tokio::spawn(async move {
        // Boxed: the future holds a whole gRPC stream and would be moved around on the stack.
        shutdown.run_until_cancelled(Box::pin(supervisor.run())).await;
    });
    KeyWatch { state, health, task }
}

/// The machine's state, with what it needs there.
enum State {
    Connecting,
    Reading { client: Box<Client> },
    Watching { client: Box<Client>, from_revision: u64 },
    Waiting,
}

struct Supervisor {
    endpoints: Endpoints,
    key: String,
    /// Counts members round and round.
    turn: usize,
    /// Members that failed since one worked or since the last wait.
    failures_in_round: usize,
    /// Whether etcd has ever confirmed this watch.
    confirmed_before: bool,
    backoff: Backoff,
    state: watch::Sender<Option<KeyState>>,
    health: watch::Sender<Health>,
}

impl Supervisor {
    async fn run(mut self) {
        let mut state = State::Connecting;
        loop {
            let next = match state {
                State::Connecting => self.connect().await,
                State::Reading { client } => self.read(client).await,
                State::Watching { client, from_revision } => self.follow(client, from_revision).await,
                State::Waiting => self.wait().await,
            };
            state = next.unwrap_or_else(|failure| self.failed(failure));
        }
    }

    /// Why the key cannot be read or watched; with the permission, if one is missing.
    fn in_words(&self, reason: String) -> String {
        with_permission(reason, self.endpoints.security().user(), "read", &self.key)
    }

    fn endpoint(&self) -> &Endpoint {
        self.endpoints.at_turn(self.turn)
    }

    async fn connect(&mut self) -> Result<State, String> {
        let endpoint = self.endpoint().to_string();
        self.health.send_modify(|health| {
            health.phase = Phase::Connecting;
            health.endpoint = endpoint;
        });
        let client = client_of(&self.endpoints, self.turn).await.map_err(Failure::into_reason)?;
        Ok(State::Reading { client: Box::new(client) })
    }

    async fn read(&mut self, client: Box<Client>) -> Result<State, String> {
        self.health.send_modify(|health| health.phase = Phase::Reading);
        let reading = read_with_store_revision(Client::clone(&client), self.key.clone());
        let (state, store_revision) = timeout(READ_DEADLINE, reading)
            .await
            .map_err(|_| format!("the key was not read within {} ms", READ_DEADLINE.as_millis()))?
            .map_err(|error| self.in_words(reason_of(&error)))?;
        self.publish(state);
        self.heard_of(store_revision);
        Ok(State::Watching { client, from_revision: store_revision + 1 })
    }

    async fn follow(&mut self, client: Box<Client>, from_revision: u64) -> Result<State, String> {
        let mut stream = self.open(&client, from_revision).await?;
        let mut last_sign_of_life = Instant::now();
        let mut asked_at = last_sign_of_life;
        loop {
            let message = tokio::select! {
                message = stream.message() => message,
                () = sleep_until(asked_at.max(last_sign_of_life) + PROGRESS_AFTER) => {
                    if last_sign_of_life.elapsed() >= SILENCE_MAX {
                        return Err(format!("no sign of life on the watch for {} s", SILENCE_MAX.as_secs()));
                    }
                    asked_at = Instant::now();
                    timeout(PROGRESS_SEND_DEADLINE, stream.request_progress())
                        .await
                        .map_err(|_| "the connection takes no requests".to_owned())?
                        .map_err(|error| reason_of(&error))?;
                    continue;
                }
            };
            last_sign_of_life = Instant::now();
            match message {
                Ok(Some(response)) => {
                    if let Some(next) = self.take(&response, &client)? {
                        return Ok(next);
                    }
                }
                Ok(None) => return Err("etcd ended the watch".to_owned()),
                Err(error) => {
                    return match Failure::from(&error) {
                        Failure::Compacted => Ok(State::Reading { client }),
                        failure => Err(failure.into_reason()),
                    };
                }
            }
        }
    }

    async fn open(&self, client: &Client, from_revision: u64) -> Result<WatchStream, String> {
        // Fragments: many large versions at once are split by etcd instead of exceeding our limit.
        let options =
            WatchOptions::new().with_start_revision(revision_to_wire(from_revision)).with_fragment();
        let mut watcher = client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
        timeout(OPEN_DEADLINE, watcher.watch(self.key.as_str(), Some(options)))
            .await
            .map_err(|_| format!("the watch was not opened within {} ms", OPEN_DEADLINE.as_millis()))?
            .map_err(|error| self.in_words(reason_of(&error)))
    }

    /// Takes one message. `Some` if it ends the watch in an orderly way.
    fn take(&mut self, response: &WatchResponse, client: &Client) -> Result<Option<State>, String> {
        self.heard_of(response.header().map_or(0, |header| revision_of(header.revision())));
        // A refusal is marked as created *and* cancelled, so the cancellation is looked at first.
        if response.compact_revision() > 0 {
            tracing::info!(key = self.key, "the watched revision was compacted; reading the key again");
            return Ok(Some(State::Reading { client: Box::new(client.clone()) }));
        }
        if response.canceled() {
            return Err(self.in_words(format!("etcd cancelled the watch: {}", response.cancel_reason())));
        }
        if response.created() {
            self.confirmed();
        }
        if let Some(found) = response.events().last()
            && let Some(version) = found.kv()
        {
            self.publish(match found.event_type() {
                EventType::Put => KeyState::Present(KeyVersion::from(version)),
                EventType::Delete => KeyState::Absent { revision: revision_of(version.mod_revision()) },
            });
        }
        Ok(None)
    }

    fn confirmed(&mut self) {
        self.failures_in_round = 0;
        self.backoff.reset();
        let again = std::mem::replace(&mut self.confirmed_before, true);
        tracing::info!(key = self.key, endpoint = %self.endpoint(), again, "watching the key");
        self.health.send_modify(|health| {
            health.phase = Phase::Watching;
            health.reconnects += u64::from(again);
            health.failure = None;
        });
    }

    fn failed(&mut self, reason: String) -> State {
        if self.health.borrow().failure.is_none() {
            tracing::warn!(
                key = self.key, endpoint = %self.endpoint(), reason,
                "the key is not being watched; every etcd member is tried until one answers"
            );
        }
        self.health.send_modify(|health| health.failure = Some(reason));
        self.turn = self.turn.wrapping_add(1);
        self.failures_in_round += 1;
        if self.failures_in_round < self.endpoints.count() { State::Connecting } else { State::Waiting }
    }

    async fn wait(&mut self) -> Result<State, String> {
        self.failures_in_round = 0;
        self.health.send_modify(|health| health.phase = Phase::Waiting);
        sleep(self.backoff.next_wait()).await;
        Ok(State::Connecting)
    }

    /// Publishes a state unless it is the one already known, so that a reconnect wakes nobody in vain.
    fn publish(&self, state: KeyState) {
        self.state.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&state);
            if changed {
                *known = Some(state);
            }
            changed
        });
    }

    fn heard_of(&self, store_revision: u64) {
        self.health.send_if_modified(|health| {
            let newer = store_revision != 0 && store_revision != health.store_revision;
            if newer {
                health.store_revision = store_revision;
            }
            newer
        });
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connecting => "connecting",
            Self::Reading => "reading",
            Self::Watching => "watching",
            Self::Waiting => "waiting",
        })
    }
}
