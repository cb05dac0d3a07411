//! Networks: who may do what only some may.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// An address and how many of its leading bits count. `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The bits that count, as a number of 128; IPv4 stands at the end of `::ffff:0:0/96`.
    prefix: u128,
    /// How many bits count, of 128.
    bits: u32,
}

/// Bits of an IPv6 address.
const BITS: u32 = 128;
/// Bits in front of an IPv4 address that is written as an IPv6 address.
const BITS_BEFORE_V4: u32 = 96;

impl Network {
    /// Whether an address lies in it. IPv4 is the same in both spellings (`::ffff:10.0.0.1`).
    pub fn contains(&self, ip: IpAddr) -> bool {
        number(ip) & mask(self.bits) == self.prefix
    }
}

impl fmt::Display for Network {
    /// As it is written in settings; one address stands without its bits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = Ipv6Addr::from_bits(self.prefix);
        let (ip, bits, all) = match ip.to_ipv4_mapped().filter(|_| self.bits >= BITS_BEFORE_V4) {
            Some(ip) => (IpAddr::V4(ip), self.bits - BITS_BEFORE_V4, BITS - BITS_BEFORE_V4),
            None => (IpAddr::V6(ip), self.bits, BITS),
        };
        if bits == all { write!(formatter, "{ip}") } else { write!(formatter, "{ip}/{bits}") }
    }
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected an IP address or a network such as 10.0.0.0/8";
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| expected)?;
        let before = if ip.is_ipv4() { BITS_BEFORE_V4 } else { 0 };
        let bits = match bits {
            Some(bits) => bits.parse::<u32>().map_err(|_| expected)?.saturating_add(before),
            None => BITS,
        };
        if bits > BITS {
            return Err(expected);
        }
        let prefix = number(ip) & mask(bits);
        if prefix == number(ip) {
            Ok(Self { prefix, bits })
        } else {
            Err("has bits set after the network's own; write the network itself, such as 10.0.0.0/8")
        }
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(BITS - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_and_who_is_not() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::a01:203"),
            ("10.0.0.7", "10.0.0.7", "10.0.0.6"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "10.0.0.1", ""),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.to_string(), network);
            assert!(parsed.contains(inside.parse().unwrap()), "{inside} in {network}");
            if !outside.is_empty() {
                assert!(!parsed.contains(outside.parse().unwrap()), "{outside} in {network}");
            }
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0.1/8", "::/129", "10.0.0.0/-1", "a/8", "10.0.0.0/8/8"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
