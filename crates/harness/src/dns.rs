//! A question to a DNS server and its whole answer, over UDP or TCP (RFC 1035).
//!
//! dnsd is built with a DNS library; it is judged here by code that shares none of it. Only the
//! record types it serves are decoded.

mod server;
mod wire;

pub use server::{Answer, NameServer, Told};

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// How long an answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// Largest datagram accepted, in bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// The types of record that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RecordType {
    /// IPv4 address.
    A = 1,
    /// Name server.
    Ns = 2,
    /// Start of authority.
    Soa = 6,
    /// Text.
    Txt = 16,
    /// IPv6 address.
    Aaaa = 28,
    /// Service (RFC 2782).
    Srv = 33,
    /// Everything there is (RFC 8482 lets servers answer less).
    Any = 255,
}

/// The data of one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// NS.
    Ns(String),
    /// SOA.
    Soa {
        /// Grows with every change.
        serial: u32,
        /// TTL of negative answers, in seconds.
        minimum_s: u32,
    },
    /// TXT, its strings joined.
    Txt(String),
    /// SRV.
    Srv {
        /// Lower comes first.
        priority: u16,
        /// Share among equals.
        weight: u16,
        /// The service's port.
        port: u16,
        /// The host, without the final dot.
        target: String,
    },
    /// Any other type, undecoded.
    Other(Vec<u8>),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its owner, without the final dot, in the case it was sent.
    pub name: String,
    /// Its type as a number.
    pub kind: u16,
    /// Its time to live in seconds.
    pub ttl_s: u32,
    /// Its data.
    pub data: Data,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// 0 NOERROR, 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    pub rcode: u8,
    /// Whether the server is an authority for the name.
    pub authoritative: bool,
    /// Whether the answer did not fit a datagram.
    pub truncated: bool,
    /// The answers.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authorities: Vec<Record>,
    /// The additional section without OPT.
    pub additionals: Vec<Record>,
}

impl Message {
    /// The data of all answers, sorted.
    pub fn data(&self) -> Vec<Data> {
        let mut data: Vec<Data> = self.answers.iter().map(|record| record.data.clone()).collect();
        data.sort();
        data
    }

    /// Where the first SRV record leads, its address taken from the additional section.
    pub fn service(&self) -> Option<SocketAddr> {
        self.services().into_iter().next()
    }

    /// Where the SRV records lead, in their order, addresses taken from the additional section.
    pub fn services(&self) -> Vec<SocketAddr> {
        let address_of = |wanted: &str| {
            self.additionals.iter().find_map(|record| match record.data {
                Data::Address(ip) if record.name.eq_ignore_ascii_case(wanted) => Some(ip),
                _ => None,
            })
        };
        self.answers
            .iter()
            .filter_map(|record| match &record.data {
                Data::Srv { port, target, .. } => Some(SocketAddr::from((address_of(target)?, *port))),
                _ => None,
            })
            .collect()
    }
}

/// Asks `server` over UDP.
///
/// # Errors
/// When no answer comes within two seconds, or it is malformed.
pub fn query(server: SocketAddr, name: &str, kind: RecordType) -> io::Result<Message> {
    let id = fastrand::u16(..);
    let answer = exchange_datagram(server, &wire::question(id, name, kind)?)?;
    wire::parse(&answer, id)
}

/// Asks `server` over TCP.
///
/// # Errors
/// When no answer comes within two seconds, or it is malformed.
pub fn query_tcp(server: SocketAddr, name: &str, kind: RecordType) -> io::Result<Message> {
    let id = fastrand::u16(..);
    let question = wire::question(id, name, kind)?;
    let mut stream = TcpStream::connect_timeout(&server, ANSWER_DEADLINE)?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    wire::parse(&answer, id)
}

/// Sends one datagram as it is and returns the one that comes back.
///
/// # Errors
/// When none comes within two seconds.
pub fn exchange_datagram(server: SocketAddr, datagram: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(ANSWER_DEADLINE))?;
    socket.send(datagram)?;
    let mut answer = vec![0; DATAGRAM_BYTES_MAX];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

/// Where the master of `domain` is, by the SRV record of `master.<domain>`.
///
/// # Errors
/// When the server does not answer, or its answer names no master.
pub fn find_master(server: SocketAddr, domain: &str) -> io::Result<SocketAddr> {
    let answer = query(server, &format!("master.{domain}"), RecordType::Srv)?;
    answer.service().ok_or_else(|| {
        let rcode = answer.rcode;
        io::Error::other(format!("{server} names no master of {domain} (rcode {rcode})"))
    })
}
