//! Connections to our daemons' HTTP faces, for the observer and the operator's tool.
//!
//! Only the connection is shared. What is asked, how often, and what an answer means differs between a daemon
//! that retries for ever and a tool that must not, so each has its own few lines above this.

use std::net::SocketAddr;

use tokio::net::TcpStream;

/// Connects to a numeric address. The caller sets the deadline.
///
/// # Errors
/// What happened instead, as a part of a sentence.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    // Without it only a few milliseconds are lost.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
