//! One question to etcd at a time, of every member in turn, by a deadline.
//!
//! A session belongs to exactly one member and is kept while that member answers; a failure moves on to
//! the next. Reads are asked again elsewhere within their deadline. **A write is sent once.** If its answer
//! does not come, it may have happened, and sending it again might undo what somebody wrote in between;
//! so it ends as [`EtcdError::OutcomeUnknown`] and the caller, who knows what the write means, decides.
//! To keep that rare, a write goes only over a session that has answered a read before.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, ConnectOptions, GetOptions, PutOptions, Txn, TxnOp};
use tokio::time::{Instant, timeout};

use crate::endpoint::Endpoints;
use crate::error::{EtcdError, Failure, is_future_revision, with_permission};
use crate::key::{KeyState, KeyVersion, ReadAt, revision_of, revision_to_wire};

/// Interval of HTTP/2 pings to a member, sent while idle too.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// A connection whose ping is not answered for this long is dead.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Deadline of a TCP connection to one member.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Deadline of connecting and showing the password; etcd takes its time to compare its hash.
const PROOF_DEADLINE: Duration = Duration::from_secs(4);
/// Largest message taken from etcd: its largest advisable request (10 MiB) with room for its frame.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Even a lone member is asked twice: the first time may find a connection that died unnoticed.
const ATTEMPTS_MIN: usize = 2;

/// A handle to one etcd cluster; clones share the session.
#[derive(Clone)]
pub struct Etcd {
    endpoints: Endpoints,
    session: Arc<Mutex<Session>>,
}

/// The member being talked to.
#[derive(Default)]
struct Session {
    turn: usize,
    client: Option<Client>,
    /// Whether this very client has answered before.
    proven: bool,
}

impl Etcd {
    /// A handle; nothing is connected until something is asked.
    pub fn new(endpoints: Endpoints) -> Self {
        Self { endpoints, session: Arc::default() }
    }

    /// The members this handle was made with.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The key as it is now (a linearizable read).
    ///
    /// # Errors
    /// [`EtcdError::Unreachable`] or [`EtcdError::Refused`], no later than `deadline`.
    pub async fn get(&self, key: &str, deadline: Duration) -> Result<KeyState, EtcdError> {
        let operation = "read a key";
        let read = |client: Client| read_now(client, key.to_owned());
        self.read(operation, deadline, read)
            .await
            .map_err(|failure| self.needing("read", key, failure.of_read(operation, &self.endpoints)))
    }

    /// The key as it was when the store was at `revision`.
    ///
    /// # Errors
    /// [`EtcdError::Unreachable`], or [`EtcdError::Refused`] (also if the store has not reached that
    /// revision), no later than `deadline`.
    pub async fn get_at(&self, key: &str, revision: u64, deadline: Duration) -> Result<ReadAt, EtcdError> {
        let operation = "read a key at a past revision";
        let read = |mut client: Client| {
            let key = key.to_owned();
            async move {
                // The past is the same at every member that has reached it, so its own copy will do and
                // no majority has to be asked. A member that lags says so, and then the majority is asked.
                let options = GetOptions::new().with_revision(revision_to_wire(revision));
                let own_copy = client.get(key.as_str(), Some(options.clone().with_serializable())).await;
                let response = match own_copy {
                    Err(error) if is_future_revision(&error) => client.get(key, Some(options)).await?,
                    answered => answered?,
                };
                Ok(response.kvs().first().map(KeyVersion::from))
            }
        };
        match self.read(operation, deadline, read).await {
            Ok(Some(version)) => Ok(ReadAt::Found(version)),
            Ok(None) => Ok(ReadAt::Missing),
            Err(Failed { last: Failure::Compacted, .. }) => Ok(ReadAt::Compacted),
            Err(failed) => Err(self.needing("read", key, failed.of_read(operation, &self.endpoints))),
        }
    }

    /// Writes the key and returns the revision of the write.
    ///
    /// # Errors
    /// Any [`EtcdError`]; after [`EtcdError::OutcomeUnknown`] the write may have happened.
    pub async fn put(&self, key: &str, value: &[u8], deadline: Duration) -> Result<u64, EtcdError> {
        let (owned, value) = (key.to_owned(), value.to_vec());
        let write = |mut client: Client| async move {
            let response = client.put(owned, value, None).await?;
            Ok(response.header().map_or(0, |header| revision_of(header.revision())))
        };
        let written = self.write("write a key", deadline, write).await;
        written.map_err(|error| self.needing("write", key, error))
    }

    /// The same error; if a permission is missing, with its name.
    pub(crate) fn needing(&self, right: &str, keys: &str, error: EtcdError) -> EtcdError {
        match error {
            EtcdError::Refused { operation, reason } => {
                let reason = with_permission(reason, self.endpoints.security().user(), right, keys);
                EtcdError::Refused { operation, reason }
            }
            other => other,
        }
    }

    /// Writes `key` if `guard` was created at `guard_create_revision` (0: does not exist) and is still
    /// that key. Returns the revision of the write, or `None` if the guard says no.
    ///
    /// # Errors
    /// Any [`EtcdError`]; after [`EtcdError::OutcomeUnknown`] the write may have happened.
    pub(crate) async fn put_if_created_at(
        &self,
        guard: &str,
        guard_create_revision: u64,
        (key, value, lease): (&str, &[u8], i64),
        deadline: Duration,
    ) -> Result<Option<u64>, EtcdError> {
        let created = revision_to_wire(guard_create_revision);
        let options = PutOptions::new().with_lease(lease);
        let transaction = Txn::new()
            .when([Compare::create_revision(guard, CompareOp::Equal, created)])
            .and_then([TxnOp::put(key, value, Some(options))]);
        let write = |mut client: Client| async move {
            let response = client.txn(transaction).await?;
            let revision = response.header().map_or(0, |header| revision_of(header.revision()));
            Ok(response.succeeded().then_some(revision))
        };
        let written = self.write("write a key in a transaction", deadline, write).await;
        // Of two keys etcd does not say which; both lie in one folder, and so does what is to be permitted.
        let folder = guard.rfind('/').map_or(guard, |slash| &guard[..=slash]);
        written.map_err(|error| self.needing("readwrite", &format!("--prefix {folder}"), error))
    }

    /// Grants a lease; the server may give it longer than asked. Returns its id and lifetime.
    pub(crate) async fn grant_lease(
        &self,
        lifetime: Duration,
        deadline: Duration,
    ) -> Result<(i64, Duration), EtcdError> {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let write = |client: Client| async move {
            let response = client.lease_client().grant(seconds, None).await?;
            let granted = u64::try_from(response.ttl()).unwrap_or(0);
            Ok((response.id(), Duration::from_secs(granted)))
        };
        self.write("grant a lease", deadline, write).await
    }

    /// Renews a lease once. Harmless to repeat, hence asked of every member like a read.
    /// [`EtcdError::Refused`] means that the lease is gone.
    pub(crate) async fn renew_lease(&self, lease: i64, deadline: Duration) -> Result<(), EtcdError> {
        let operation = "renew a lease";
        let renew = |client: Client| async move { client.lease_client().keep_alive(lease).await.map(|_| ()) };
        self.read(operation, deadline, renew)
            .await
            .map_err(|failure| failure.of_read(operation, &self.endpoints))
    }

    /// Ends a lease and the keys that live by it.
    pub(crate) async fn revoke_lease(&self, lease: i64, deadline: Duration) -> Result<(), EtcdError> {
        let revoke = |client: Client| async move { client.lease_client().revoke(lease).await.map(|_| ()) };
        self.write("end a lease", deadline, revoke).await
    }

    /// Asks member after member until one answers.
    pub(crate) async fn read<T, Ask, Answer>(
        &self,
        operation: &'static str,
        deadline: Duration,
        ask: Ask,
    ) -> Result<T, Failed>
    where
        Ask: Fn(Client) -> Answer,
        Answer: Future<Output = Result<T, etcd_client::Error>>,
    {
        let attempts = self.endpoints.count().max(ATTEMPTS_MIN);
        let ends_at = Instant::now() + deadline;
        let mut last = Failure::Transient("the deadline is over".to_owned());
        for attempt in 0..attempts {
            // The time left is shared evenly, so that a member that hangs leaves some for the others.
            let share = (ends_at - Instant::now()) / u32::try_from(attempts - attempt).unwrap_or(1);
            // Which member it is counts even where none can be had: it is left for the next one.
            let turn = self.session().turn;
            let asked = async {
                let (_, client) = self.client().await?;
                ask(client).await.map_err(|error| Failure::from(&error))
            };
            last = match timeout(share, asked).await {
                Ok(Ok(answer)) => {
                    self.session().proven = true;
                    return Ok(answer);
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Transient(format!("no answer within {} ms", share.as_millis())),
            };
            let (Failure::Transient(reason) | Failure::Unproven(reason)) = &last else { break };
            tracing::debug!(operation, endpoint = %self.endpoints.at_turn(turn), reason, "etcd did not answer");
            self.leave(turn);
        }
        Err(Failed { last })
    }

    /// Sends a write once, over a session that has answered before.
    pub(crate) async fn write<T, Ask, Answer>(
        &self,
        operation: &'static str,
        deadline: Duration,
        ask: Ask,
    ) -> Result<T, EtcdError>
    where
        Ask: FnOnce(Client) -> Answer,
        Answer: Future<Output = Result<T, etcd_client::Error>>,
    {
        let ends_at = Instant::now() + deadline;
        if !self.session().proven {
            // Any key will do: what is asked is whether this member answers and has a leader.
            let probe = |client: Client| read_now(client, "\0".to_owned());
            match self.read(operation, deadline / 2, probe).await {
                // A user who may write but not read is refused the probe, which proves as much.
                Ok(_) | Err(Failed { last: Failure::Refused(_) | Failure::Compacted }) => {}
                Err(failed) => return Err(failed.of_read(operation, &self.endpoints)),
            }
        }
        let (turn, client) = self
            .client()
            .await
            .map_err(|failure| Failed::at_once(failure).of_read(operation, &self.endpoints))?;
        let reason = match timeout(ends_at - Instant::now(), ask(client)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => match Failure::from(&error) {
                Failure::Transient(reason) => reason,
                failure @ Failure::Unproven(_) => {
                    // Nothing was written; whoever asks again is proven anew.
                    self.leave(turn);
                    return Err(Failed { last: failure }.of_read(operation, &self.endpoints));
                }
                failure => return Err(Failed { last: failure }.of_read(operation, &self.endpoints)),
            },
            Err(_) => format!("no answer within {} ms", deadline.as_millis()),
        };
        self.leave(turn);
        Err(EtcdError::OutcomeUnknown { operation, reason })
    }

    /// The client of the current member, made if there is none. Making one does not connect it.
    async fn client(&self) -> Result<(usize, Client), Failure> {
        let turn = {
            let session = self.session();
            if let Some(client) = &session.client {
                return Ok((session.turn, client.clone()));
            }
            session.turn
        };
        let client = client_of(&self.endpoints, turn).await?;
        let mut session = self.session();
        if session.turn == turn {
            session.client.get_or_insert_with(|| client.clone());
        }
        Ok((turn, client))
    }

    /// Moves on from the member at `turn`, unless somebody has done so meanwhile.
    fn leave(&self, turn: usize) {
        let mut session = self.session();
        if session.turn == turn {
            *session = Session { turn: turn.wrapping_add(1), ..Session::default() };
        }
    }

    fn session(&self) -> std::sync::MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read that nobody answered, or that was refused.
pub(crate) struct Failed {
    last: Failure,
}

impl Failed {
    fn at_once(last: Failure) -> Self {
        Self { last }
    }

    pub(crate) fn of_read(self, operation: &'static str, endpoints: &Endpoints) -> EtcdError {
        match self.last {
            Failure::Transient(reason) | Failure::Unproven(reason) => {
                EtcdError::Unreachable { operation, endpoints: endpoints.to_string(), reason }
            }
            Failure::Refused(reason) => EtcdError::Refused { operation, reason },
            Failure::Compacted => {
                EtcdError::Refused { operation, reason: "the revision is compacted".to_owned() }
            }
        }
    }
}

/// A client of exactly one member. It connects when it is first used and again after its connection died; as a
/// user it connects at once, to show the password.
pub(crate) async fn client_of(endpoints: &Endpoints, turn: usize) -> Result<Client, Failure> {
    let options = ConnectOptions::new()
        .with_keep_alive(KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT)
        .with_keep_alive_while_idle(true)
        .with_connect_timeout(CONNECT_DEADLINE)
        // A member cut off from its majority refuses instead of serving what may be long past.
        .with_require_leader(true);
    let options = endpoints.security().apply(options).map_err(Failure::Transient)?;
    let member = [endpoints.at_turn(turn).as_str()];
    match timeout(PROOF_DEADLINE, Box::pin(Client::connect(member, Some(options)))).await {
        Ok(connected) => connected.map_err(|error| Failure::from(&error)),
        Err(_) => {
            let waited_ms = PROOF_DEADLINE.as_millis();
            Err(Failure::Transient(format!("the password was not looked at within {waited_ms} ms")))
        }
    }
}

/// Reads the key and says as of which revision.
pub(crate) async fn read_now(client: Client, key: String) -> Result<KeyState, etcd_client::Error> {
    let (state, _) = read_with_store_revision(client, key).await?;
    Ok(state)
}

/// Reads the key together with the store's revision at that moment: whatever happens to the key later has
/// a higher one.
pub(crate) async fn read_with_store_revision(
    client: Client,
    key: String,
) -> Result<(KeyState, u64), etcd_client::Error> {
    let mut reader = client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
    let response = reader.get(key, None).await?;
    let store_revision = response.header().map_or(0, |header| revision_of(header.revision()));
    let state = match response.kvs().first() {
        Some(found) => KeyState::Present(KeyVersion::from(found)),
        None => KeyState::Absent { revision: store_revision },
    };
    Ok((state, store_revision))
}
