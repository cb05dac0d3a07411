//! Who is master and who is slave, as lines of text: for load balancers, scripts and programs that speak
//! neither DNS nor Sentinel. Pure.
//!
//! What is told of a role is `host:port` lines with one numeric address for each node, the one that the
//! Sentinel face tells as well. Beside them stands a tag: the revision, and a digest of the lines. The
//! revision alone would not do, because addresses may change under one revision (a node got another IP, an
//! operator PUT a document by hand). The serial of the zone would not do either: it differs from one dnsd to
//! the next, so that a client behind a load balancer would see a change with every request. Equal lines at
//! one revision have one tag everywhere and for ever.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use topology::{Address, NodeName};

use crate::publication::Publication;
use crate::zone::Member;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Master,
    /// It follows the master.
    Slave,
}

impl Role {
    /// The published nodes of this role.
    pub fn members(self, publication: &Publication) -> &[Member] {
        match self {
            Self::Master => std::slice::from_ref(&publication.members.master),
            Self::Slave => &publication.members.slaves,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Master => "master",
            Self::Slave => "slave",
        })
    }
}

/// What is told of one role at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// A line for each node; empty if there is none.
    pub text: String,
    /// Names exactly this text at this revision.
    pub tag: Tag,
}

/// The nodes of a role in a publication.
pub fn tell(publication: &Publication, role: Role) -> Told {
    let text: String = role
        .members(publication)
        .iter()
        .filter_map(Member::endpoint)
        .map(|endpoint| format!("{endpoint}\n"))
        .collect();
    let tag = Tag { revision: publication.stamp.revision, digest: digest(&text) };
    Told { text, tag }
}

/// FNV-1a with 64 bits: it tells contents apart and keeps no secret.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The revision and a digest of the lines, written `42-00af…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The revision in force.
    pub revision: u64,
    digest: u64,
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{:016x}", self.revision, self.digest)
    }
}

/// What a client has seen already: a revision, or a whole tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    revision: u64,
    digest: Option<u64>,
}

/// A text that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a revision such as 42, or an ETag of this page without its quotes")]
pub struct SeenError;

impl FromStr for Seen {
    type Err = SeenError;

    fn from_str(text: &str) -> Result<Self, SeenError> {
        let (revision, digest) = match text.split_once('-') {
            Some((revision, digest)) => (revision, Some(u64::from_str_radix(digest, 16))),
            None => (text, None),
        };
        let digits = revision.bytes().all(|byte| byte.is_ascii_digit());
        match (digits, revision.parse(), digest.transpose()) {
            (true, Ok(revision), Ok(digest)) => Ok(Self { revision, digest }),
            _ => Err(SeenError),
        }
    }
}

impl Seen {
    /// The same, with what is told now counted as seen. Who names a revision alone cannot say which lines
    /// of it, so the wait is for a change from now on.
    #[must_use]
    pub fn or_now(self, now: Option<Tag>) -> Self {
        let of_now = now.filter(|now| now.revision == self.revision).map(|now| now.digest);
        Self { digest: self.digest.or(of_now), ..self }
    }

    /// Whether a tag is worth an answer to somebody who has seen this. A lower revision is not: it is what
    /// a dnsd serves that has yet to hear of the change.
    pub fn is_outdone_by(self, tag: Tag) -> bool {
        tag.revision > self.revision || (tag.revision == self.revision && self.digest != Some(tag.digest))
    }

    /// Whether this is the very tag.
    pub fn is(self, tag: Tag) -> bool {
        self == Self { revision: tag.revision, digest: Some(tag.digest) }
    }
}

/// A node as somebody asks for it: an address or a name, with or without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked(NodeName);

/// A text that names no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no node ({reason}); write 10.0.0.1:6379, [fd00::1]:6379 or the document's name")]
pub struct AskedError {
    text: String,
    reason: String,
}

impl FromStr for Asked {
    type Err = AskedError;

    fn from_str(text: &str) -> Result<Self, AskedError> {
        let error = |reason: String| AskedError { text: text.to_owned(), reason };
        if let Ok(endpoint) = text.parse::<SocketAddr>() {
            let port = endpoint.port().try_into().map_err(|_| error("port 0".to_owned()))?;
            return Ok(Self(NodeName { address: Address::Ip(endpoint.ip()), port: Some(port) }));
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let (host, port) = match bare.rsplit_once(':') {
            Some((host, port)) if bare.parse::<IpAddr>().is_err() => {
                let port = port.parse().map_err(|_| error(format!("{port:?} is no port")))?;
                (host, Some(port))
            }
            _ => (bare, None),
        };
        let address =
            host.parse().map_err(|reason: topology::address::AddressError| error(reason.to_string()))?;
        Ok(Self(NodeName { address, port }))
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Asked {
    /// Whether a published node is the one that is asked for. Without a port any port will do.
    pub fn is(&self, member: &Member) -> bool {
        let at = match &self.0.address {
            Address::Ip(ip) => member.ips.contains(ip),
            name @ Address::Name(_) => member.name.address == *name,
        };
        at && self.0.port.is_none_or(|port| port.get() == member.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(revision: u64, text: &str) -> Tag {
        Tag { revision, digest: digest(text) }
    }

    #[test]
    fn what_is_news_to_whom() {
        let seen = |text: &str| text.parse::<Seen>().unwrap();
        let (now, moved) = (tag(42, "a"), tag(42, "b"));
        let whole = seen(&now.to_string());
        assert!(whole.is(now) && !whole.is(moved));
        assert!(!whole.is_outdone_by(now), "the same again");
        assert!(whole.is_outdone_by(moved), "another address at the same revision");
        assert!(whole.is_outdone_by(tag(43, "a")), "the same at a newer revision");
        assert!(!whole.is_outdone_by(tag(41, "b")), "this dnsd is behind");
        let bare = seen("42").or_now(Some(now));
        assert!(!bare.is_outdone_by(now) && bare.is_outdone_by(moved));
        assert!(seen("41").or_now(Some(now)).is_outdone_by(now));
        assert!(seen("0").or_now(None).is_outdone_by(tag(0, "a")), "the first publication");
        for text in ["", "-", "x", "42-", "42-x", "-42", "+42", "4 2", "\"42\"", "18446744073709551616"] {
            assert_eq!(text.parse::<Seen>(), Err(SeenError), "{text:?}");
        }
    }

    #[test]
    fn a_node_is_known_by_each_of_its_names() {
        let member = Member {
            name: NodeName { address: "core-01.redis-1.docker".parse().unwrap(), port: None },
            port: 7001,
            ips: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        };
        for (text, is) in [
            ("10.0.0.1:7001", true),
            ("10.0.0.1", true),
            ("[fd00::1]:7001", true),
            ("[fd00::1]", true),
            ("fd00::1", true),
            ("core-01.redis-1.docker", true),
            ("Core-01.Redis-1.docker.:7001", true),
            ("10.0.0.1:7002", false),
            ("10.0.0.2", false),
            ("core-01.redis-1.docker:6379", false),
            ("core-01", false),
        ] {
            assert_eq!(text.parse::<Asked>().unwrap().is(&member), is, "{text}");
        }
        for text in ["", ":6379", "10.0.0.1:0", "10.0.0.1:65536", "a:b", "a b", "redis://a", "[core-01"] {
            assert!(text.parse::<Asked>().is_err(), "{text:?}");
        }
    }
}
