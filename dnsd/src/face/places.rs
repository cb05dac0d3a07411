//! Places for connections: so many in all, and so many for one client.
//!
//! Without the second number the first would be a way to keep everybody else out: a client that opens
//! connections and says nothing takes them all. The sender of a connection cannot be forged, so a client
//! is its address; of IPv6 the network that one host usually has for itself.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bits of an IPv6 address that are the same for one host, whatever it calls itself.
const HOST_BITS_V6: u32 = 64;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Only of those who have any, so never more than there are places.
    by_client: HashMap<IpAddr, usize>,
}

/// One place, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    client: IpAddr,
}

impl Places {
    pub(super) fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_one, taken: Mutex::default() })
    }

    /// A place for a client, if there is one and it has not its share already.
    pub(super) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let client = host(client);
        let mut taken = self.lock();
        if taken.all >= self.most || taken.by_client.get(&client).is_some_and(|own| *own >= self.most_of_one)
        {
            return None;
        }
        taken.all += 1;
        *taken.by_client.entry(client).or_default() += 1;
        Some(Place { places: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(own) = taken.by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}

fn host(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << HOST_BITS_V6)).into(),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_his_share_and_all_not_more_than_there_are() {
        let places = Places::new(3, 2);
        let take = |client: &str| places.take(client.parse().unwrap());
        let first = take("10.0.0.1").unwrap();
        let second = take("::ffff:10.0.0.1").unwrap();
        assert!(take("10.0.0.1").is_none(), "it has two");
        let other = take("10.0.0.2").unwrap();
        assert!(take("fd00::1").is_none(), "there are three");
        drop((first, second, other));
        assert_eq!(places.lock().by_client.len(), 0, "nothing is kept of those who have gone");
        let one_host = [take("fd00::1"), take("fd00::2")];
        assert!(one_host.iter().all(Option::is_some) && take("fd00::3").is_none());
        assert!(take("fd00:0:0:1::1").is_some());
    }
}
