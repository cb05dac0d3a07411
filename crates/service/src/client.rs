//! Connections to our daemons' HTTP faces, for the observer and the operator's tool.
//!
//! Only the connection is shared. What is asked, how often, and what an answer means differs between a daemon
//! that retries for ever and a tool that must not, so each has its own few lines above this.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::stream::Stream;
use crate::tls::ClientTls;

/// Connects to a numeric address; by TLS if `tls` says how, and to whom by name. The caller sets the deadline.
///
/// # Errors
/// What happened instead, as a part of a sentence.
pub async fn connect(address: SocketAddr, tls: Option<(&ClientTls, &str)>) -> Result<Stream, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    // Without it only a few milliseconds are lost.
    let _ = stream.set_nodelay(true);
    match tls {
        None => Ok(Stream::Left(stream)),
        Some((tls, name)) => {
            let stream = tls.connect(stream, name).await?;
            Ok(Stream::Right(Box::new(TlsStream::Client(stream))))
        }
    }
}
