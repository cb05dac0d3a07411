//! A name server that says what a test wants it to say, right or wrong.
//!
//! Over UDP only, with no cache and no recursion. A name that is not listed does not exist.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::RecordType;

/// How often the serving thread looks whether it shall end.
const STOP_POLL: Duration = Duration::from_millis(50);
/// Type number of CNAME, which [`RecordType`] does not need.
const CNAME: u16 = 5;
/// TTL of every answer, in seconds: nothing shall be remembered.
const TTL_S: u32 = 0;
/// Flags of an answer: it is one, and recursion is available; the response code is added.
const ANSWER_FLAGS: u16 = 0x8180;

/// One record to answer with.
#[derive(Clone, Debug)]
pub enum Told {
    /// SRV: port and target; the target `.` says that there is no such service (RFC 2782).
    Service(u16, String),
    /// A or AAAA.
    Address(IpAddr),
    /// CNAME.
    Alias(String),
}

/// What becomes of questions about one name.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These records, as far as they fit the question; an alias fits every question.
    Records(Vec<Told>),
    /// This response code, such as 2 for SERVFAIL.
    Code(u16),
    /// Nothing at all.
    Silence,
}

/// A running name server; it ends when it is dropped.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl NameServer {
    /// Starts one that answers so for each name.
    ///
    /// # Panics
    /// When no port can be bound.
    pub fn start(answers: Vec<(&str, Answer)>) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the name server");
        socket.set_read_timeout(Some(STOP_POLL)).expect("a deadline can be set");
        let address = socket.local_addr().expect("the name server's address");
        let answers: HashMap<String, Answer> =
            answers.into_iter().map(|(name, answer)| (name.to_ascii_lowercase(), answer)).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        std::thread::spawn(move || serve(&socket, &answers, &told));
        Self { address, stop }
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn serve(socket: &UdpSocket, answers: &HashMap<String, Answer>, stop: &AtomicBool) {
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
        if let Some(answer) = answer(&buffer[..length], answers) {
            // Whoever asked may have given up.
            drop(socket.send_to(&answer, peer));
        }
    }
}

fn answer(question: &[u8], answers: &HashMap<String, Answer>) -> Option<Vec<u8>> {
    const HEADER_BYTES: usize = 12;
    const NXDOMAIN: u16 = 3;
    let (name, end) = name(question, HEADER_BYTES)?;
    let asked = u16::from_be_bytes(question.get(end..end + 2)?.try_into().ok()?);
    let (code, records) = match answers.get(&name) {
        Some(Answer::Records(records)) => (0, encode(records, asked)),
        Some(Answer::Code(code)) => (*code, Vec::new()),
        Some(Answer::Silence) => return None,
        None => (NXDOMAIN, Vec::new()),
    };
    let mut bytes = question[..2].to_vec();
    let count = u16::try_from(records.len()).ok()?;
    for number in [ANSWER_FLAGS | code, 1, count, 0, 0] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend_from_slice(question.get(HEADER_BYTES..end + 4)?);
    bytes.extend(records.concat());
    Some(bytes)
}

/// The records that answer a question of type `asked`, their owner a pointer to the question's name.
fn encode(records: &[Told], asked: u16) -> Vec<Vec<u8>> {
    let encoded = records.iter().map(|record| match record {
        Told::Service(port, target) => {
            let data = [&[0, 10, 0, 100][..], &port.to_be_bytes(), &wire_name(target)].concat();
            (RecordType::Srv as u16, data)
        }
        Told::Address(IpAddr::V4(ip)) => (RecordType::A as u16, ip.octets().to_vec()),
        Told::Address(IpAddr::V6(ip)) => (RecordType::Aaaa as u16, ip.octets().to_vec()),
        Told::Alias(target) => (CNAME, wire_name(target)),
    });
    encoded
        .filter(|(kind, _)| *kind == asked || *kind == CNAME)
        .map(|(kind, data)| {
            let length = u16::try_from(data.len()).expect("short test data");
            let head = [&[0xc0, 12][..], &kind.to_be_bytes(), &[0, 1], &TTL_S.to_be_bytes()].concat();
            [head, length.to_be_bytes().to_vec(), data].concat()
        })
        .collect()
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The name at `start` in lower case without its final dot, and where it ends. Questions compress nothing.
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), start);
    loop {
        let length = usize::from(*bytes.get(at)?);
        if length == 0 {
            return Some((labels.join("."), at + 1));
        }
        let label = bytes.get(at + 1..at + 1 + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::query;

    #[test]
    fn it_says_what_it_was_told() {
        let host = Told::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let server = NameServer::start(vec![
            ("a.test", Answer::Records(vec![Told::Service(7001, "host.test".into()), host])),
            ("broken.test", Answer::Code(2)),
        ]);
        let answer = query(server.address(), "A.test", RecordType::Srv).expect("an answer");
        assert_eq!(answer.answers.len(), 1);
        assert!(
            matches!(&answer.answers[0].data, crate::dns::Data::Srv { port: 7001, target, .. } if target == "host.test")
        );
        assert_eq!(query(server.address(), "a.test", RecordType::A).expect("an answer").answers.len(), 1);
        assert_eq!(query(server.address(), "broken.test", RecordType::A).expect("an answer").rcode, 2);
        assert_eq!(query(server.address(), "none.test", RecordType::A).expect("an answer").rcode, 3);
    }
}
