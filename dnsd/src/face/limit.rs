//! A limit on the rate of answers over UDP, so that nobody uses us to drown somebody else.
//!
//! The sender of a datagram can be forged, and an answer is larger than its query: without a limit we would
//! send as much as a forger likes to whomever he likes. The limit is per network of clients, because a
//! victim's link is what is drowned. Of the answers above it every second one goes out, cut to a few bytes
//! that say "ask over TCP": a real client among the forged ones then still gets its answer, and a forger
//! cannot follow there.
//!
//! It is off unless asked for. Inside a data centre nobody forges, and a thousand clients of one network
//! that all look for the new master in the same moment are not an attack but the day we exist for.
//!
//! The table has a fixed size and takes no lock: a counter per place and second, a client network's place
//! chosen by a keyed hash that nobody outside can foresee. Two networks may share a place, and then share a
//! limit; rejected for that: a list of networks, which grows or has to be searched, both by the attacker's
//! choice. Counting by the second and not by a bucket that leaks permits twice the limit within one second
//! at worst, which a victim's link does not care about.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::answer::Transport;

/// Places of the table; 512 KiB.
const PLACES: usize = 1 << 16;
/// Of the answers above the limit one in this many goes out cut, the others do not.
const SLIP: u32 = 2;
/// Bits of an address that tell one client network from another.
const NETWORK_BITS_V4: u32 = 24;
const NETWORK_BITS_V6: u32 = 56;

/// The limit, shared by all threads.
#[derive(Debug)]
pub struct RateLimit {
    answers_per_second: u32,
    /// Each the second it counts in (upper half) and the answers in it (lower half).
    places: Box<[AtomicU64]>,
    hasher: RandomState,
    began: Instant,
}

impl RateLimit {
    /// No limit at all if it is 0.
    pub fn new(answers_per_second: u32) -> Option<Self> {
        (answers_per_second > 0).then(|| Self {
            answers_per_second,
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            began: Instant::now(),
        })
    }

    /// The second that it is, to be asked once for many packets.
    pub(super) fn second(&self) -> u32 {
        // The count of seconds may wrap; it is only compared.
        (self.began.elapsed().as_secs() & u64::from(u32::MAX)) as u32
    }

    /// How a client is to be answered now; `None`: not at all.
    pub(super) fn admit(&self, client: IpAddr, second: u32) -> Option<Transport> {
        let place = (self.hasher.hash_one(network(client)) as usize) % PLACES;
        match self.count(&self.places[place], second).checked_sub(self.answers_per_second) {
            None | Some(0) => Some(Transport::Udp),
            Some(above) if above.is_multiple_of(SLIP) => Some(Transport::UdpCut),
            Some(_) => None,
        }
    }

    /// Counts one more in this second, and returns how many that makes. Threads that meet at the turn of a
    /// second may lose each other's first counts, which is no harm.
    fn count(&self, place: &AtomicU64, second: u32) -> u32 {
        let first = u64::from(second) << 32 | 1;
        let before = place.load(Ordering::Relaxed);
        if (before >> 32) as u32 != second {
            place.store(first, Ordering::Relaxed);
            return 1;
        }
        // The lower half would need four thousand million packets within the second to spill over.
        (place.fetch_add(1, Ordering::Relaxed) & u64::from(u32::MAX)) as u32 + 1
    }
}

/// The part of an address that counts; the families cannot be confused.
fn network(client: IpAddr) -> (bool, u128) {
    match client.to_canonical() {
        IpAddr::V4(ip) => (true, u128::from(ip.to_bits() >> (u32::BITS - NETWORK_BITS_V4))),
        IpAddr::V6(ip) => (false, ip.to_bits() >> (u128::BITS - NETWORK_BITS_V6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn above_the_limit_every_second_answer_is_cut_and_the_others_are_not_sent() {
        let limit = RateLimit::new(3).unwrap();
        let ask = |client: &str, second| limit.admit(ip(client), second);
        for client in ["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.3"] {
            assert_eq!(ask(client, 7), Some(Transport::Udp));
        }
        let above: Vec<_> = (0..4).map(|_| ask("10.0.0.255", 7)).collect();
        assert_eq!(above, [None, Some(Transport::UdpCut), None, Some(Transport::UdpCut)]);
        assert_eq!(ask("10.0.0.1", 8), Some(Transport::Udp), "a new second");
    }

    #[test]
    fn networks_are_counted_apart() {
        assert_eq!(network(ip("10.0.0.1")), network(ip("10.0.0.200")));
        assert_ne!(network(ip("10.0.0.1")), network(ip("10.0.1.1")));
        assert_eq!(network(ip("2001:db8:0:1::1")), network(ip("2001:db8:0:2::1")));
        assert_ne!(network(ip("2001:db8:0:100::1")), network(ip("2001:db8:0:200::1")));
        assert_ne!(network(ip("::")), network(ip("0.0.0.0")));
    }

    #[test]
    fn no_limit_is_no_limit() {
        assert!(RateLimit::new(0).is_none());
    }
}
