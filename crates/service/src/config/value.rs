//! The types of settings that more than one daemon has.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// The port of DNS (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;

/// Where an HTTP face listens: `ip:port`, numeric so that starting needs no name server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpListen(pub SocketAddr);

impl FromStr for HttpListen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(HttpListen)
            .map_err(|_| "expected an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080")
    }
}

/// A name server: `ip` or `ip:port` (`[ip6]:port`); the port is 53 unless given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsServer(pub SocketAddr);

impl FromStr for DnsServer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected =
            "expected an IP address with an optional port, such as 10.0.0.2, 10.0.0.2:5353 or [fd00::2]:5353";
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let address = match bare.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, DNS_PORT),
            Err(_) => text.parse().map_err(|_| expected)?,
        };
        if address.port() == 0 { Err(expected) } else { Ok(DnsServer(address)) }
    }
}

impl fmt::Display for DnsServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// `300ms`, `5s`, `2m`, `1h`; a bare `0` is zero. A bare number is refused: 5 of what?
///
/// # Errors
/// What is expected, as a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let expected = "expected a number and its unit, such as 300ms, 5s, 2m or 1h";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(expected)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| expected)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or("the duration is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected_ms) in
            [("300ms", 300), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000), ("0", 0), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(expected_ms)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "1.5s",
            "5d",
            "5sec",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn name_servers() {
        for (text, expected) in [
            ("10.0.0.2", "10.0.0.2:53"),
            ("10.0.0.2:5353", "10.0.0.2:5353"),
            ("fd00::2", "[fd00::2]:53"),
            ("[fd00::2]", "[fd00::2]:53"),
            ("[fd00::2]:5353", "[fd00::2]:5353"),
        ] {
            assert_eq!(
                text.parse::<DnsServer>().map(|server| server.to_string()),
                Ok(expected.to_owned()),
                "{text}"
            );
        }
        for text in ["", "dns.example", "10.0.0.2:0", "10.0.0.2:", "10.0.0.2:65536", "[10.0.0.2", "fd00::2:"]
        {
            assert!(text.parse::<DnsServer>().is_err(), "{text}");
        }
    }
}
