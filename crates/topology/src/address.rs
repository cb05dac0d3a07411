//! Addresses of nodes as people write them, checked once and never a loose string afterwards.
//!
//! Redis itself accepts almost anything as the host of `REPLICAOF` and writes it unquoted into its
//! configuration file, where a line break becomes a directive. So text from a document is only ever
//! a key to look up; what is sent to redis is the text of an [`IpAddr`]. This parser is the first
//! half of that: letters, digits, hyphens, underscores and dots, or an IP literal, and nothing else.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The port redis listens on when neither the document nor an SRV record says otherwise.
pub const DEFAULT_REDIS_PORT: NonZeroU16 = NonZeroU16::new(6379).unwrap();

/// Longest host name, in bytes, without the trailing dot (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
/// Longest label of a host name, in bytes (RFC 1035 section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Where a node is, as written: an IP literal or a host name still to be resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IPv4 or IPv6 literal.
    Ip(IpAddr),
    /// A host name in lower case without trailing dot.
    Name(String),
}

/// Why a text is not an address. The sentence is for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct AddressError {
    reason: String,
}

impl AddressError {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::new("address is empty; give an IP address or a host name"));
        }
        if let Some((at, character)) =
            text.char_indices().find(|(_, character)| character.is_control() || character.is_whitespace())
        {
            return Err(AddressError::new(format!(
                "control or space character U+{:04X} at byte {at}",
                u32::from(character)
            )));
        }
        if let Some((at, _)) = text.char_indices().find(|(_, character)| !character.is_ascii()) {
            return Err(AddressError::new(format!(
                "non-ASCII character at byte {at}; write an international name as its A-label (xn--…)"
            )));
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(IpAddr::V4(ip)));
        }
        if text.contains(':') {
            return parse_with_colon(text);
        }
        parse_name(text)
    }
}

fn parse_with_colon(text: &str) -> Result<Address, AddressError> {
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        return Ok(Address::Ip(IpAddr::V6(ip)));
    }
    if text.contains("://") {
        return Err(AddressError::new(
            "a URL is not an address; give the host as `address`, use `port` for the port",
        ));
    }
    if let Some((host, _zone)) = text.split_once('%')
        && host.parse::<Ipv6Addr>().is_ok()
    {
        return Err(AddressError::new(
            "an IPv6 zone (%…) only means something on one host; give an address without it",
        ));
    }
    if text.starts_with('[') {
        return Err(AddressError::new("write an IPv6 address without brackets, use `port` for the port"));
    }
    if text.matches(':').count() == 1 {
        return Err(AddressError::new("`:` in an address; use `port` for the port"));
    }
    Err(AddressError::new("not an IPv6 address; a host name has no `:`, use `port` for the port"))
}

fn parse_name(text: &str) -> Result<Address, AddressError> {
    if let Some(character) = text.chars().find(|character| matches!(character, '@' | '/')) {
        return Err(AddressError::new(format!(
            "`{character}` in an address; give only the host, use `port` for the port"
        )));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(AddressError::new("the DNS root is not a host"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(AddressError::new(format!(
            "host name of {} bytes; at most {NAME_BYTES_MAX} are allowed",
            name.len()
        )));
    }
    for label in name.split('.') {
        check_label(label)?;
    }
    if name.split('.').all(looks_numeric) {
        return Err(AddressError::new(
            "looks like a number but is not a dotted-quad IPv4 address (four decimals, no leading zeros)",
        ));
    }
    Ok(Address::Name(name.to_ascii_lowercase()))
}

fn check_label(label: &str) -> Result<(), AddressError> {
    if label.is_empty() {
        return Err(AddressError::new("empty label (two dots in a row, or a dot at the start)"));
    }
    if label.len() > LABEL_BYTES_MAX {
        return Err(AddressError::new(format!(
            "label of {} bytes; at most {LABEL_BYTES_MAX} are allowed",
            label.len()
        )));
    }
    if let Some(character) =
        label.chars().find(|character| !character.is_ascii_alphanumeric() && !matches!(character, '-' | '_'))
    {
        return Err(AddressError::new(format!("`{character}` is not allowed in a host name")));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(AddressError::new("a label of a host name does not begin or end with a hyphen"));
    }
    Ok(())
}

/// Resolvers read `2130706433`, `0x7f.1` and `0177.0.0.1` as addresses; we never do.
fn looks_numeric(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.chars().all(|character| character.is_ascii_hexdigit()),
        None => label.chars().all(|character| character.is_ascii_digit()),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(formatter),
            Self::Name(name) => formatter.write_str(name),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A node by the name its operator gave it: the address as written, and the port if one was.
///
/// This, not a socket address, is a node's identity in documents, records and messages: behind an
/// ephemeral address the name is what stays.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeName {
    /// The IP literal or host name.
    pub address: Address,
    /// The port, if written; it wins over the port of an SRV record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<NonZeroU16>,
}

impl fmt::Display for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, self.port) {
            (Address::Ip(IpAddr::V6(ip)), Some(port)) => write!(formatter, "[{ip}]:{port}"),
            (address, Some(port)) => write!(formatter, "{address}:{port}"),
            (address, None) => address.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_literals_and_names() {
        for (text, shown) in [
            ("10.0.0.4", "10.0.0.4"),
            ("::1", "::1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("core-01.redis-1.docker", "core-01.redis-1.docker"),
            ("Core-01.Redis-1.Docker.", "core-01.redis-1.docker"),
            ("_redis._tcp.example", "_redis._tcp.example"),
            ("xn--rdis-0ve", "xn--rdis-0ve"),
            ("1and1.example", "1and1.example"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        let long_label = "a".repeat(64);
        let long_name = ["a"; 127].join(".") + ".a";
        for (text, reason) in [
            ("", "empty"),
            (" ", "U+0020 at byte 0"),
            (".", "root"),
            ("..", "empty label"),
            ("a..b", "empty label"),
            (long_label.as_str(), "label of 64 bytes"),
            (long_name.as_str(), "at most 253"),
            ("a\r\nb", "U+000D at byte 1"),
            ("a\0b", "U+0000 at byte 1"),
            ("a b", "U+0020 at byte 1"),
            ("127.0.0.1\n maxmemory 1", "U+000A at byte 9"),
            ("127.0.0.1:6379", "use `port`"),
            ("redis://h", "use `port`"),
            ("user@h", "use `port`"),
            ("h/path", "use `port`"),
            ("[::1]:1", "use `port`"),
            ("fe80::1%eth0", "zone"),
            ("2130706433", "number"),
            ("0177.0.0.1", "number"),
            ("127.1", "number"),
            ("0x7f.1", "number"),
            ("r\u{435}dis", "xn--"),
            ("-a", "hyphen"),
            ("a*b", "`*`"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
