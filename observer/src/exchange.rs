//! One request over one connection, and the beginning of its answer.
//!
//! hyper's connection is used as it is. A client library was had here before and left: with a pool, redirects,
//! proxies and cookies to be switched off, it did little that was wanted, and it could not be told to connect to
//! a numeric address and to judge a certificate by the name in the URL.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use service::client;
use service::tls::{ClientTls, handshake_reason};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Most bytes read of an answer's body.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Deadline of a connection to one instance.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Deadline of reading an answer's body, which only serves to explain the status.
const BODY_DEADLINE: Duration = Duration::from_secs(1);

/// An answer, as far as it is looked at.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Ends the task that drives a connection, however the exchange ends.
struct Driven(JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects to `instance`, sends the request, and takes its answer. The caller sets the deadline of the whole.
///
/// # Errors
/// What happened instead of an answer, as a part of a sentence.
pub(crate) async fn exchange(
    instance: SocketAddr,
    tls: Option<(Arc<ClientTls>, String)>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let tls = tls.as_ref().map(|(tls, name)| (&**tls, name.as_str()));
    let connecting = client::connect(instance, tls);
    let stream = match timeout(CONNECT_DEADLINE, connecting).await {
        Ok(connected) => connected.map_err(|reason| format!("not connected: {reason}"))?,
        Err(_) => return Err(format!("not connected within {} ms", CONNECT_DEADLINE.as_millis())),
    };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| innermost(&error))?;
    // What goes wrong on the connection is told to the sender as well.
    let _driven = Driven(tokio::spawn(async move { drop(connection.await) }));
    let response = sender.send_request(request).await.map_err(|error| innermost(&error))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: beginning_of(response).await })
}

/// The first bytes of an answer. Whatever goes wrong here changes nothing: the status has been read.
async fn beginning_of(response: Response<Incoming>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut incoming = response.into_body();
    let reading = async {
        while let Some(Ok(frame)) = incoming.frame().await {
            let chunk = frame.data_ref().map_or(&[][..], |bytes| &bytes[..]);
            let room = ANSWER_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == ANSWER_BYTES_MAX {
                return;
            }
        }
    };
    // Dropping the unread rest closes the connection.
    let _ = timeout(BODY_DEADLINE, reading).await;
    body
}

/// The innermost cause: "connection refused" says more than "error sending request". In TLS 1.3 the other side
/// judges our certificate when we believe to be connected, so its no may come here.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<io::Error>() {
        Some(error) if error.get_ref().is_some() => handshake_reason(error, "its host"),
        _ => error.source().map_or_else(|| error.to_string(), innermost),
    }
}
