//! One connection, in clear text or by TLS, so that what stands above it need not know which.

use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_util::either::Either;

/// A connection over TCP: in clear text, or by TLS, whose state is large.
pub type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;
