//! The socket under a connection, with a meter on it.
//!
//! The client library tells that a request failed, not whether a byte of it left. That difference is
//! what *surely not executed* means, so the count is taken here, where bytes leave. The meter also
//! limits what a node may send for one request, and keeps the first bytes and the end of the stream,
//! which tell a web server or a TLS port from a redis that went away.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::settings::Transport;

/// Most bytes a node may send in answer to one request. The longest is a client list: 10 000
/// clients (the default limit of redis) take about 4 MB.
pub(crate) const REPLY_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How many of the first bytes received are kept.
const OPENING_BYTES_MAX: usize = 160;

/// What has passed over one connection.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    written: AtomicU64,
    read_of_request: AtomicU64,
    ends: Mutex<Ends>,
}

#[derive(Debug, Default)]
struct Ends {
    opening: Vec<u8>,
    end: Option<String>,
}

impl Meter {
    /// Bytes handed to the kernel since the connection was opened.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Begins a new request: its answer may be [`REPLY_BYTES_MAX`] long.
    pub(crate) fn begin(&self) {
        self.read_of_request.store(0, Ordering::SeqCst);
    }

    /// The first bytes received, and how the stream ended if it did.
    pub(crate) fn ends(&self) -> (Vec<u8>, Option<String>) {
        let ends = self.lock();
        (ends.opening.clone(), ends.end.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, how: impl FnOnce() -> String) {
        self.lock().end.get_or_insert_with(how);
    }

    fn received(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            self.ended(|| "it closed the connection".to_owned());
            return Ok(());
        }
        let count = bytes.len() as u64;
        let before = self.read_of_request.fetch_add(count, Ordering::SeqCst);
        {
            let mut ends = self.lock();
            let room = OPENING_BYTES_MAX.saturating_sub(ends.opening.len());
            ends.opening.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        if before + count > REPLY_BYTES_MAX {
            let reason = format!("its reply is longer than {REPLY_BYTES_MAX} bytes");
            self.ended(|| reason.clone());
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(())
    }
}

/// A stream that keeps a [`Meter`].
///
/// What is private is counted before it is encrypted. A write that failed may have handed a part of the bytes to the
/// kernel all the same, so all of them count as written: *surely not executed* is said only where it is sure.
pub(crate) struct MeteredStream {
    stream: Box<dyn Transport>,
    is_private: bool,
    meter: Arc<Meter>,
}

impl MeteredStream {
    pub(crate) fn new(stream: Box<dyn Transport>, is_private: bool) -> (Self, Arc<Meter>) {
        let meter = Arc::new(Meter::default());
        (Self { stream, is_private, meter: Arc::clone(&meter) }, meter)
    }
}

impl AsyncRead for MeteredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if let Err(error) = &result {
            self.meter.ended(|| format!("the connection broke: {error}"));
        }
        result?;
        Poll::Ready(self.meter.received(&buffer.filled()[before..]))
    }
}

impl AsyncWrite for MeteredStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        match &result {
            Ok(count) => {
                self.meter.written.fetch_add(*count as u64, Ordering::SeqCst);
            }
            Err(error) => {
                if self.is_private {
                    self.meter.written.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                }
                self.meter.ended(|| format!("the connection broke: {error}"));
            }
        }
        Poll::Ready(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
