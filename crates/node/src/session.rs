//! One connection to one life of a node.
//!
//! A connection that is open proves that the node has not restarted since it was opened; that is
//! why it is never silently replaced and why a failed one is gone for good: [`Session::exchange`]
//! takes the session and gives it back only with a complete answer.
//!
//! The client library's own connection manager was rejected (it reconnects and sends again), and so
//! was its connection set-up (it would send `CLIENT SETINFO`, unknown to redis 7.0). `CLIENT
//! SETNAME` is acknowledged before anything else is sent, so a dictator that takes over finds every
//! connection that could still carry orders of ours by its name.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, Value};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use topology::command::Failure;
use topology::observation::{SessionId, Unknown};

use crate::clients::DICTATOR_NAME_PREFIX;
use crate::complaint::{self, Refusal};
use crate::line::Line;
use crate::settings::{Settings, Transport};
use crate::wire::{Meter, MeteredStream};

/// The name of connections that only look: the probe for a pause, and those of a dictator without
/// the right to act.
pub(crate) const ONLOOKER_NAME: &str = "dictator-onlooker";

/// One reply; only the forms that the commands used here can have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// `+OK`, `+QUEUED` and the like.
    Status(String),
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Reply>),
    /// No value.
    Nil,
    /// An error.
    Refused(Refusal),
    /// Something else.
    Strange,
}

/// An open connection.
pub(crate) struct Session {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    meter: Arc<Meter>,
    /// `CLIENT ID`.
    pub(crate) id: SessionId,
    /// Its own end's address.
    pub(crate) local: Option<SocketAddr>,
    /// The epoch in its name; `None` for an onlooker.
    pub(crate) epoch: Option<u64>,
    /// Commands flagged `write` in this life, once asked.
    pub(crate) writes: Option<Arc<BTreeSet<String>>>,
    /// Names of optional commands that this life refuses; not asked again, each would be logged.
    pub(crate) refused: BTreeSet<&'static str>,
    /// The rehearsal has been passed.
    pub(crate) rehearsed: bool,
}

/// A connection that did not come about.
pub(crate) struct NotOpened {
    pub(crate) reason: Unknown,
    /// Its local address, if it got so far as to have one.
    pub(crate) local: Option<SocketAddr>,
}

impl Session {
    /// Connects, authenticates, takes the name and learns the connection's id, by `due`.
    pub(crate) async fn open(
        endpoint: SocketAddr,
        settings: &Settings,
        epoch: Option<u64>,
        due: Instant,
    ) -> Result<Self, NotOpened> {
        let stream = connect(endpoint, settings, due).await?;
        let local = stream.local_addr().ok();
        let opening = async {
            stream.set_nodelay(true).map_err(|error| complaint::connect_error(&error))?;
            let stream = secure(stream, settings, due).await?;
            Self::greet(stream, local, settings, epoch, due).await
        };
        opening.await.map_err(|reason| NotOpened { reason, local })
    }

    async fn greet(
        stream: Box<dyn Transport>,
        local: Option<SocketAddr>,
        settings: &Settings,
        epoch: Option<u64>,
        due: Instant,
    ) -> Result<Self, Unknown> {
        let (stream, meter) = MeteredStream::new(stream, settings.secure.is_some());
        let nothing_sent = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&nothing_sent, stream, config)
            .await
            .map_err(|error| Unknown::Unreachable(error.to_string()))?;
        let session = Self {
            connection,
            driver: tokio::spawn(driver),
            meter,
            id: SessionId(0),
            local,
            epoch,
            writes: None,
            refused: BTreeSet::new(),
            rehearsed: false,
        };
        let name = epoch.map_or(ONLOOKER_NAME.to_owned(), |epoch| format!("{DICTATOR_NAME_PREFIX}{epoch}"));
        let mut lines: Vec<Line> = settings.credentials.as_ref().map(Line::auth).into_iter().collect();
        lines.extend([Line::set_name(&name), Line::client_id()]);
        let answered = session.exchange(&lines, due).await;
        let (mut session, replies) = answered.map_err(|failure| failure.reason().clone())?;
        for (line, reply) in lines.iter().zip(&replies) {
            if let Reply::Refused(refused) = reply
                && !refused.is_needless_password()
            {
                return Err(complaint::refusal(settings.user(), line, refused));
            }
        }
        let Some(Reply::Number(id)) = replies.last() else {
            return Err(Unknown::NotRedis(
                "it answers CLIENT ID with something else than a number".to_owned(),
            ));
        };
        let id = u64::try_from(*id).ok().filter(|id| *id != 0);
        session.id = SessionId(id.ok_or_else(|| Unknown::NotRedis("it gives no client id".to_owned()))?);
        Ok(session)
    }

    /// Whether the connection has not been seen to end.
    pub(crate) fn is_open(&self) -> bool {
        !self.driver.is_finished()
    }

    /// Sends commands in one go and waits for all replies until `due`.
    ///
    /// # Errors
    /// [`Failure::NotExecuted`] if not one byte was handed to the kernel and none can be any more,
    /// [`Failure::NoReply`] otherwise. Either way the connection is closed.
    pub(crate) async fn exchange(
        mut self,
        lines: &[Line],
        due: Instant,
    ) -> Result<(Self, Vec<Reply>), Failure> {
        let mut pipeline = redis::pipe();
        for line in lines {
            pipeline.add_command(line.command());
        }
        let begun = Instant::now();
        let written_before = self.meter.written();
        self.meter.begin();
        let answer = timeout_at(due, self.connection.send_packed_commands(&pipeline, 0, lines.len())).await;
        match answer {
            Ok(Ok(values)) if values.len() == lines.len() => {
                Ok((self, values.into_iter().map(Reply::from).collect()))
            }
            Ok(Ok(_)) => Err(self.close(written_before, |_| None).await),
            Ok(Err(_)) => Err(self.close(written_before, |_| None).await),
            Err(_) => {
                let waited_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                let silent = Unknown::Silent(waited_ms);
                // A connection that ended while we waited says more than our patience does.
                Err(self.close(written_before, |ended| (!ended).then_some(silent)).await)
            }
        }
    }

    /// Ends the connection and tells whether anything of the request left it.
    async fn close(mut self, written_before: u64, reason: impl FnOnce(bool) -> Option<Unknown>) -> Failure {
        // Only when the task that writes has ended is the count final.
        self.driver.abort();
        // The task's own end says nothing that the meter does not.
        let _ = (&mut self.driver).await;
        let (opening, end) = self.meter.ends();
        let known_redis = self.id != SessionId(0);
        let reason =
            reason(end.is_some()).unwrap_or_else(|| complaint::broken(&opening, end.as_deref(), known_redis));
        if self.meter.written() == written_before {
            Failure::NotExecuted(reason)
        } else {
            Failure::NoReply(reason)
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn connect(endpoint: SocketAddr, settings: &Settings, due: Instant) -> Result<TcpStream, NotOpened> {
    let begun = Instant::now();
    let connect_due = due.min(begun + settings.connect_deadline);
    let reason = match timeout_at(connect_due, TcpStream::connect(endpoint)).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => complaint::connect_error(&error),
        Err(_) => complaint::connect_timeout(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)),
    };
    Err(NotOpened { reason, local: None })
}

/// The connection as it is, or made private if the settings say so.
async fn secure(stream: TcpStream, settings: &Settings, due: Instant) -> Result<Box<dyn Transport>, Unknown> {
    let Some(secure) = &settings.secure else { return Ok(Box::new(stream)) };
    let begun = Instant::now();
    match timeout_at(due.min(begun + settings.connect_deadline), secure(stream)).await {
        Ok(secured) => secured.map_err(Unknown::Unreachable),
        Err(_) => {
            let waited_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            Err(complaint::handshake_timeout(waited_ms))
        }
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        match value {
            Value::Okay => Self::Status("OK".to_owned()),
            Value::SimpleString(text) => Self::Status(text),
            Value::Int(number) => Self::Number(number),
            Value::BulkString(bytes) => Self::Text(
                String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            ),
            Value::VerbatimString { text, .. } => Self::Text(text),
            Value::Array(values) => Self::List(values.into_iter().map(Self::from).collect()),
            Value::Nil => Self::Nil,
            Value::ServerError(error) => Self::Refused(Refusal {
                code: error.code().to_owned(),
                detail: error.details().unwrap_or_default().to_owned(),
            }),
            _ => Self::Strange,
        }
    }
}
