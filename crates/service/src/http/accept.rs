//! From an accepted socket to a connection that can be asked: in clear text at once, by TLS after a handshake.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::access::{Access, PeerName};
use crate::stream::Stream;
use crate::tls::certificate::Certificate;
use crate::tls::wrong_protocol_answer;

/// The first byte of a TLS connection: a record of the type handshake (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// The connection, and who the other side is if it showed a certificate; `None` if there is none to be had.
pub(super) async fn open(
    stream: TcpStream,
    access: &Access,
    deadline: Duration,
) -> Option<(Stream, Option<PeerName>)> {
    let Some(tls) = access.tls() else { return Some((Stream::Left(stream), None)) };
    let handshake = async {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first[0] == TLS_HANDSHAKE => {
                tls.acceptor().accept(stream).await.map_err(|error| error.to_string())
            }
            Ok(1) => Err(say_wrong_protocol(stream).await),
            Ok(_) => Err("closed before anything was sent".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    let stream = match timeout(deadline, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(reason)) => {
            tracing::debug!(reason, "no TLS connection came about");
            return None;
        }
        Err(_) => {
            tracing::debug!("a TLS handshake did not end in time");
            return None;
        }
    };
    // rustls has judged it; here it is only read.
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let name = shown.and_then(Certificate::read).and_then(|certificate| certificate.common_name);
    let peer = name.map(|name| PeerName(name.into()));
    Some((Stream::Right(Box::new(TlsStream::Server(stream))), peer))
}

async fn say_wrong_protocol(mut stream: TcpStream) -> String {
    let told = stream.write_all(wrong_protocol_answer().as_bytes()).await;
    super::connection::linger(stream).await;
    format!("asked in clear text; told: {}", told.is_ok())
}
