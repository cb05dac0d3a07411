//! A connection to redis that sends what it is told and returns what came, nothing else.
//!
//! Client libraries greet servers, retry, and translate replies; a test that asks what a node was
//! sent, and a load that must know for each write whether it was certainly rejected or of unknown
//! outcome, want none of that. RESP2 only (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a command may take to be answered unless the connection is told otherwise.
pub const REPLY_DEADLINE: Duration = Duration::from_secs(5);
/// How long a connection may take to be made.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// Largest bulk string accepted, in bytes; redis's own limit.
const BULK_BYTES_MAX: i64 = 512 * 1024 * 1024;

/// One reply of redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-READONLY You can't write against a read only replica.`
    Error(String),
    /// `:42`
    Integer(i64),
    /// A bulk string; `None` is the nil reply.
    Bulk(Option<Vec<u8>>),
    /// An array; `None` is the nil array (an aborted EXEC).
    Array(Option<Vec<Reply>>),
}

impl Reply {
    /// The text of a simple or bulk string, lossily; empty for everything else.
    pub fn text(&self) -> String {
        match self {
            Self::Simple(text) | Self::Error(text) => text.clone(),
            Self::Bulk(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Integer(number) => number.to_string(),
            Self::Bulk(None) | Self::Array(_) => String::new(),
        }
    }

    /// The elements of an array; empty for everything else.
    pub fn elements(self) -> Vec<Reply> {
        match self {
            Self::Array(Some(elements)) => elements,
            _ => Vec::new(),
        }
    }

    /// The reply as it is sent.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Simple(text) => format!("+{text}\r\n").into_bytes(),
            Self::Error(text) => format!("-{text}\r\n").into_bytes(),
            Self::Integer(number) => format!(":{number}\r\n").into_bytes(),
            Self::Bulk(None) => b"$-1\r\n".to_vec(),
            Self::Bulk(Some(bytes)) => [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat(),
            Self::Array(None) => b"*-1\r\n".to_vec(),
            Self::Array(Some(elements)) => {
                let mut bytes = format!("*{}\r\n", elements.len()).into_bytes();
                elements.iter().for_each(|element| bytes.extend(element.encode()));
                bytes
            }
        }
    }

    /// Whether the reply is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Array(_) => write!(formatter, "{self:?}"),
            other => formatter.write_str(&other.text()),
        }
    }
}

/// A connection to one node.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// What the kernel says; at the latest after one second.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_DEADLINE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_DEADLINE))?;
        stream.set_write_timeout(Some(REPLY_DEADLINE))?;
        Ok(Self { reader: BufReader::new(stream), buffer: Vec::new() })
    }

    /// A connection over a stream that is there, with its deadlines.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { reader: BufReader::new(stream), buffer: Vec::new() }
    }

    /// What was received and not yet taken, and then the stream.
    pub(crate) fn into_reader(self) -> impl Read {
        self.reader
    }

    /// Changes how long a reply is waited for.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_reply_deadline(&self, deadline: Duration) -> io::Result<()> {
        self.reader.get_ref().set_read_timeout(Some(deadline))
    }

    /// Sends one command and waits for its reply.
    ///
    /// # Errors
    /// When the command may or may not have been executed: the connection broke or no reply came in
    /// time. The connection is of no use afterwards. An error *reply* is `Ok(Reply::Error)`.
    pub fn command<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> io::Result<Reply> {
        self.send(arguments)?;
        self.receive()
    }

    /// Sends one command without waiting.
    ///
    /// # Errors
    /// As for [`Self::command`].
    pub fn send<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> io::Result<()> {
        self.buffer.clear();
        write!(self.buffer, "*{}\r\n", arguments.len())?;
        for argument in arguments {
            let bytes = argument.as_ref();
            write!(self.buffer, "${}\r\n", bytes.len())?;
            self.buffer.extend_from_slice(bytes);
            self.buffer.extend_from_slice(b"\r\n");
        }
        self.reader.get_mut().write_all(&self.buffer)
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    /// As for [`Self::command`].
    pub fn receive(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end_matches(['\r', '\n']);
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| malformed(line))?;
        let number = || rest.parse::<i64>().map_err(|_| malformed(line));
        match kind {
            "+" => Ok(Reply::Simple(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Integer(number()?)),
            "$" => self.bulk(number()?),
            "*" => match usize::try_from(number()?) {
                Ok(count) => {
                    Ok(Reply::Array(Some((0..count).map(|_| self.receive()).collect::<io::Result<_>>()?)))
                }
                Err(_) => Ok(Reply::Array(None)),
            },
            _ => Err(malformed(line)),
        }
    }

    fn bulk(&mut self, length: i64) -> io::Result<Reply> {
        if length > BULK_BYTES_MAX {
            return Err(malformed("a bulk string above 512 MB"));
        }
        let Ok(length) = usize::try_from(length) else { return Ok(Reply::Bulk(None)) };
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(Reply::Bulk(Some(bytes)))
    }
}

fn malformed(line: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not RESP: {:?}", line.chars().take(80).collect::<String>()),
    )
}
