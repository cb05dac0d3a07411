//! Just enough HTTP/1.1 to ask a daemon something, and to ask it badly.
//!
//! One request per connection. [`Http::raw`] sends bytes as they are, for requests that no client
//! library would let out of the door.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use crate::certificates::Trust;

/// How long an answer may take: longer than a dictator's default apply timeout of 30 s.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// How long a connection may take to be made.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// A client of one server.
#[derive(Clone, Copy, Debug)]
pub struct Http {
    address: SocketAddr,
    trust: Option<Trust>,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, decoded from chunks.
    pub body: Vec<u8>,
}

impl Http {
    /// A client of the server at `address`; connects per request.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, trust: None }
    }

    /// The same by TLS, believing this authority.
    pub fn private(address: SocketAddr, trust: Trust) -> Self {
        Self { address, trust: Some(trust) }
    }

    /// Where requests go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `GET path`.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn get(&self, path: &str) -> HttpAnswer {
        self.request("GET", path, &[], b"")
    }

    /// `PUT path` with a JSON body.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn put(&self, path: &str, body: &Value) -> HttpAnswer {
        self.put_with(path, &[], body)
    }

    /// `PUT path` with a JSON body and further headers.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn put_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> HttpAnswer {
        self.request("PUT", path, headers, body.to_string().as_bytes())
    }

    /// Any request.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpAnswer {
        self.try_request(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} http://{}{path}: {error}", self.address))
    }

    /// Any request, without panicking.
    ///
    /// # Errors
    /// When the connection fails, breaks, or what comes back is not HTTP.
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<HttpAnswer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request.push_str(&format!("Host: {}\r\n", self.address));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "PUT" {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        parse(&self.raw(&bytes)?, method == "HEAD")
    }

    /// Sends `bytes` as they are and returns everything that came until the server closed.
    ///
    /// # Errors
    /// When the connection fails or the server neither answers nor closes in time. A server that
    /// answers and then resets the connection (it had not read everything) is no error.
    pub fn raw(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let stream = TcpStream::connect_timeout(&self.address, CONNECT_DEADLINE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
        let Some(trust) = self.trust else { return exchange(stream, bytes) };
        let name = ServerName::from(self.address.ip());
        let session = ClientConnection::new(Arc::clone(trust), name).map_err(io::Error::other)?;
        exchange(StreamOwned::new(session, stream), bytes)
    }
}

fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let sent = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => Err(sent.err().unwrap_or(error)),
        _ => Ok(answer),
    }
}

impl HttpAnswer {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text, lossily.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("the body of a {} is not JSON ({error}): {}", self.status, self.text())
        })
    }

    /// The last part of a problem's `type`, such as `would-lose-data`; empty if it is no problem.
    pub fn slug(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["type"].as_str().and_then(|name| name.rsplit(':').next()).unwrap_or_default().to_owned()
    }

    /// Itself, if its status is `status`.
    ///
    /// # Panics
    /// When it is not, with the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

fn parse(bytes: &[u8], head_only: bool) -> io::Result<HttpAnswer> {
    let bad = |what: &str| {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {start:?}"))
    };
    let split =
        bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(|| bad("no header end"))?;
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| bad("no status line"))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &bytes[split + 4..];
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let length =
        headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let body = match length {
        _ if head_only => Vec::new(),
        _ if chunked => unchunk(rest).ok_or_else(|| bad("broken chunks"))?,
        Some(length) if rest.len() < length => return Err(bad("the body is cut short")),
        Some(length) => rest[..length].to_vec(),
        None => rest.to_vec(),
    };
    Ok(HttpAnswer { status, headers, body })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let chunk = rest.get(end + 2..end + 2 + size)?;
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_chunks_and_problems_are_read() {
        let text = "HTTP/1.1 409 Conflict\r\nETag: \"4\"\r\nContent-Length: 42\r\n\r\n\
                    {\"type\":\"urn:redis-dictator:split-brain\"}\n...";
        let answer = parse(text.as_bytes(), false).expect("an answer");
        assert_eq!(
            (answer.status, answer.header("etag"), answer.slug().as_str()),
            (409, Some("\"4\""), "split-brain")
        );

        let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(parse(text.as_bytes(), false).expect("an answer").text(), "abcde");

        assert!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", false).is_err());
    }
}
