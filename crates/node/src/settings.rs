//! What every connection needs to know.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Tells the local time in microseconds since the Unix epoch. Passed in, so that tests can bend it.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How long a TCP connection may take to come about, unless a setting says otherwise.
pub const CONNECT_DEADLINE_DEFAULT: Duration = Duration::from_millis(1000);

/// A text that is not to be seen: it has no `Display`, and `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// Who to be towards the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The ACL user; `None` is the default user.
    pub username: Option<String>,
    /// Its password.
    pub password: Secret,
}

/// What bytes to and from a node go over: a socket, or something private on top of one.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Makes the connection to a node private, and sure of the node; or says why not, as a part of a sentence. Passed
/// in, because how certificates are judged is no matter of redis.
pub type Secure = Arc<dyn Fn(TcpStream) -> Securing + Send + Sync>;
/// That, under way.
pub type Securing = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, String>> + Send>>;

/// Settings of all connections.
#[derive(Clone)]
pub struct Settings {
    /// `None`: connections are in clear text.
    pub secure: Option<Secure>,
    /// `None`: the nodes ask for no password.
    pub credentials: Option<Credentials>,
    /// How long a TCP connection may take to come about.
    pub connect_deadline: Duration,
    /// The local time.
    pub clock: Clock,
}

impl Settings {
    /// No password, the default deadline.
    pub fn new(clock: Clock) -> Self {
        Self { secure: None, credentials: None, connect_deadline: CONNECT_DEADLINE_DEFAULT, clock }
    }

    /// The user name to put into messages.
    pub(crate) fn user(&self) -> Option<&str> {
        self.credentials.as_ref().and_then(|credentials| credentials.username.as_deref())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("secure", &self.secure.is_some())
            .field("credentials", &self.credentials)
            .field("connect_deadline", &self.connect_deadline)
            .finish_non_exhaustive()
    }
}

/// The right to act: an epoch, and until when it is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mandate {
    /// The epoch; connections are named by it.
    pub epoch: u64,
    /// Until when it is certain, by the monotonic clock; `None` for a dictator that has no rivals.
    /// The clock is looked at for every command: a process that was stopped learns of its loss late.
    pub until: Option<Instant>,
}

impl Mandate {
    /// A mandate that does not end by itself.
    pub fn alone(epoch: u64) -> Self {
        Self { epoch, until: None }
    }

    /// The epoch, if the mandate is certain at this moment.
    pub(crate) fn epoch_now(self) -> Option<u64> {
        self.until.is_none_or(|until| Instant::now() < until).then_some(self.epoch)
    }
}
