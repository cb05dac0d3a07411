//! The socket under hyper, watched for two things that hyper does not tell.
//!
//! **A client that does not read.** hyper has no deadline for writing. A write that makes no progress for
//! `write_stall_timeout` fails, which ends the connection.
//!
//! **A request with two lengths.** With Transfer-Encoding and Content-Length in one request, two parties
//! can disagree where it ends (request smuggling, RFC 9112 section 6.1). hyper drops Content-Length
//! silently, so the service could not refuse it. [`Scanner`] therefore reads the header lines along with
//! hyper. It does not decode chunks: the chassis ends the connection after every chunked request, so the
//! first one is also the last, and scanning stops there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::connection::Watch;
use crate::stream::Stream;

/// A socket whose traffic is watched.
pub(super) struct Watched {
    stream: Stream,
    watch: Arc<Watch>,
    scanner: Scanner,
    write_stall_timeout: Duration,
    /// Runs while a write makes no progress.
    stall: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    pub(super) fn new(stream: Stream, watch: Arc<Watch>, write_stall_timeout: Duration) -> Self {
        Watched { stream, watch, scanner: Scanner::default(), write_stall_timeout, stall: None }
    }

    pub(super) fn into_inner(self) -> Stream {
        self.stream
    }

    /// Lets a write through, and fails it when it has made no progress for too long.
    fn guard_write<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let timeout = self.write_stall_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        match stall.as_mut().poll(context) {
            Poll::Ready(()) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.scanner.feed(&buffer.filled()[before..]) {
            self.watch.saw_two_lengths();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.guard_write(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.guard_write(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How much of a header line is looked at: enough for the two names and a length.
const LINE_BYTES_MAX: usize = 64;

/// Reads header lines and skips bodies of known length.
#[derive(Debug, Default)]
struct Scanner {
    /// The begin of the line that is being read.
    line: Vec<u8>,
    /// Whether the header has lines already; empty lines before it do not count (RFC 9112 section 2.2).
    in_header: bool,
    content_length: Option<u64>,
    transfer_encoding: bool,
    /// Bytes of the body that are still to be skipped.
    body_bytes: u64,
    stopped: bool,
}

impl Scanner {
    /// Takes more bytes of the connection; true if a request with two lengths was among them.
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while !self.stopped && !bytes.is_empty() {
            if self.body_bytes > 0 {
                let skipped = usize::try_from(self.body_bytes).unwrap_or(usize::MAX).min(bytes.len());
                self.body_bytes -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let room = LINE_BYTES_MAX - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let Some(end) = end else { return false };
            bytes = &bytes[end + 1..];
            if self.line_ended() {
                return true;
            }
        }
        false
    }

    fn line_ended(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if !line.is_empty() {
            self.in_header = true;
            self.field(line);
            return false;
        }
        if !std::mem::take(&mut self.in_header) {
            return false;
        }
        self.stopped = self.transfer_encoding;
        let length = self.content_length.take();
        self.body_bytes = length.unwrap_or(0);
        self.transfer_encoding && length.is_some()
    }

    fn field(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { return };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.transfer_encoding = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
            // hyper refuses what is no number, and then there is nothing more to scan.
            self.content_length = length;
            self.stopped |= length.is_none();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the text whole and byte by byte; both must find the same.
    fn finds(text: &str) -> bool {
        let whole = Scanner::default().feed(text.as_bytes());
        let mut scanner = Scanner::default();
        let split = text.as_bytes().chunks(1).any(|byte| scanner.feed(byte));
        assert_eq!(whole, split, "{text:?}");
        whole
    }

    const CONFLICT: &str =
        "PUT /a HTTP/1.1\r\ncontent-LENGTH: 5\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n";

    #[test]
    fn two_lengths_are_found_in_any_order_and_after_other_requests() {
        assert!(finds(CONFLICT));
        assert!(finds("PUT / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 0\n\n"));
        assert!(finds(&format!("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n{CONFLICT}")));
        assert!(finds(&format!("PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd{CONFLICT}")));
    }

    #[test]
    fn nothing_is_found_where_there_is_one_length() {
        for text in [
            "PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nX-Note: Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "",
            "\r\n\r\n\r\n",
        ] {
            assert!(!finds(text), "{text:?}");
        }
        let in_body = format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{CONFLICT}", CONFLICT.len());
        assert!(!finds(&in_body), "a body is no header");
        let after_chunked = format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{CONFLICT}");
        assert!(!finds(&after_chunked), "the connection ends after a chunked request");
    }

    #[test]
    fn long_lines_are_not_kept() {
        let mut scanner = Scanner::default();
        for _ in 0..1000 {
            scanner.feed(&[b'a'; 100]);
        }
        assert_eq!(scanner.line.len(), LINE_BYTES_MAX);
    }
}
