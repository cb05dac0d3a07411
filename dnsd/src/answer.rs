//! From a packet to its answer. Pure: bytes in, bytes out, the directory read only; a signed request alone
//! is also compared with the clock.
//!
//! Two paths lead to one answer. The fast path reads the plain query that nearly every client sends, by
//! hand, and copies bytes that were encoded when the publication was made. Whatever is the least bit odd
//! (another opcode or class, records where none belong, an option it does not know well) goes to the slow
//! path, where hickory parses and the answer is put together from records. For every packet that the fast
//! path takes both give the same bytes, and a property test holds them to it: that is the check on the
//! hand-written parser.
//!
//! Rejected: hickory's catalogue and in-memory zone. It adds the address of the first SRV target only,
//! ignores the class, gives negative answers the wrong TTL, and sets TC and loses the OPT record when
//! additional records do not fit.

mod fast;
mod reply;
mod signed;
mod slow;
mod transfer;

use std::net::SocketAddr;

use crate::directory::Directory;

pub use fast::answer as answer_fast;
pub use slow::answer as answer_slow;
pub use transfer::Transfer;

/// Largest UDP answer we send and say we take, in bytes (DNS Flag Day 2020): fits every path unfragmented.
pub const UDP_BYTES_MAX: u16 = 1232;
/// Largest UDP answer to a client without EDNS, in bytes (RFC 1035 section 4.2.1).
const UDP_BYTES_PLAIN: u16 = 512;

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// In a datagram of a client that has asked too often: it is told to ask over TCP.
    UdpCut,
    /// Behind its length on a stream.
    Tcp,
}

impl Transport {
    /// Room for an answer, in bytes, given the payload size of the client's OPT record.
    fn room(self, client_payload: Option<u16>) -> usize {
        match self {
            Self::Tcp => usize::from(u16::MAX),
            Self::UdpCut => 0,
            Self::Udp => match client_payload {
                Some(payload) => usize::from(payload.clamp(UDP_BYTES_PLAIN, UDP_BYTES_MAX)),
                None => usize::from(UDP_BYTES_PLAIN),
            },
        }
    }
}

/// What was asked and answered, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The type asked for, as a number; 0 if that could not be read.
    pub qtype: u16,
    /// The whole response code, that of EDNS included.
    pub rcode: u16,
}

/// Answers a packet into `out`, which is cleared first. `None`: nothing is to be sent.
pub fn answer(
    directory: &Directory,
    packet: &[u8],
    client: SocketAddr,
    transport: Transport,
    out: &mut Vec<u8>,
) -> Option<Outcome> {
    answer_fast(directory, packet, transport, out)
        .or_else(|| answer_slow(directory, packet, client, transport, out))
}
