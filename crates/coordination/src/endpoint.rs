//! Where etcd is: a list of members, checked when the settings are read and not at three in the morning.
//!
//! `https` takes an authority that is believed, and with one every member has to be `https`: a list in which some
//! members are asked in clear text would be private only by chance.

use std::fmt;
use std::str::FromStr;

use crate::security::Security;

/// Most members in a list; etcd itself advises seven.
const ENDPOINTS_MAX: usize = 16;
/// The client port of etcd where an endpoint names none (IANA: `etcd-client`).
const PORT_DEFAULT: u16 = 2379;

/// One member, as `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

/// One or more members of one etcd cluster, in the order in which they are tried.
#[derive(Clone, Debug)]
pub struct Endpoints {
    members: Vec<Endpoint>,
    security: Security,
}

impl PartialEq for Endpoints {
    /// The same members in the same order.
    fn eq(&self, other: &Self) -> bool {
        self.members == other.members
    }
}

/// Why a text is not an endpoint or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No endpoint at all.
    #[error("no etcd endpoint is given; give one like http://127.0.0.1:2379")]
    Empty,
    /// More than sixteen.
    #[error("{0} etcd endpoints are given; {ENDPOINTS_MAX} are the most")]
    TooMany(usize),
    /// TLS is asked for, and nobody is believed.
    #[error("`{0}` needs a CA file, with the authority whose certificates are believed: none is built in")]
    NoAuthority(String),
    /// Clear text beside TLS.
    #[error("`{0}` would be asked in clear text although a CA file is given; write https://")]
    ClearText(String),
    /// A user name or password within the URL.
    #[error("an etcd endpoint must not hold a user name or password")]
    UserInfo,
    /// Anything else.
    #[error("`{0}` is not an etcd endpoint; write it like http://127.0.0.1:2379")]
    Malformed(String),
}

impl Endpoint {
    fn is_private(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// The endpoint as a URL without a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || EndpointError::Malformed(text.to_owned());
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
            Some(_) => return Err(malformed()),
            None => ("http", text),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon of a bracketed literal without a port lies within the brackets.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().ok().filter(|port| *port != 0).ok_or_else(malformed)?)
            }
            _ => (authority, PORT_DEFAULT),
        };
        if !is_host(host) {
            return Err(malformed());
        }
        Ok(Self(format!("{scheme}://{host}:{port}")))
    }
}

/// A name, an IPv4 literal, or an IPv6 literal in brackets.
fn is_host(host: &str) -> bool {
    if let Some(literal) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return literal.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Endpoints {
    /// Checks a list.
    ///
    /// # Errors
    /// The first mistake in it, or its length.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, EndpointError> {
        if texts.is_empty() {
            return Err(EndpointError::Empty);
        }
        if texts.len() > ENDPOINTS_MAX {
            return Err(EndpointError::TooMany(texts.len()));
        }
        let members = texts.iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>()?;
        Ok(Self { members, security: Security::default() })
    }

    /// The same members, with how they know us and we them.
    ///
    /// # Errors
    /// A member that is `https` without an authority, or is not with one.
    pub fn secured(self, security: Security) -> Result<Self, EndpointError> {
        let wrong = self.members.iter().find(|member| member.is_private() != security.is_private());
        match wrong {
            None => Ok(Self { security, ..self }),
            Some(member) if member.is_private() => Err(EndpointError::NoAuthority(member.0.clone())),
            Some(member) => Err(EndpointError::ClearText(member.0.clone())),
        }
    }

    /// How members know us, and we them.
    pub(crate) fn security(&self) -> &Security {
        &self.security
    }

    /// Number of members; never zero.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// The member at `turn`, counted round and round.
    pub(crate) fn at_turn(&self, turn: usize) -> &Endpoint {
        &self.members[turn % self.members.len()]
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, endpoint) in self.members.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{endpoint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_taken_as_operators_write_them() {
        for (text, expected) in [
            ("http://127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("http://127.0.0.1:4001/", "http://127.0.0.1:4001"),
            ("https://core-01", "https://core-01:2379"),
            ("core-01", "http://core-01:2379"),
            ("core-01:4001", "http://core-01:4001"),
            ("http://[::1]", "http://[::1]:2379"),
            ("http://[::1]:2380", "http://[::1]:2380"),
        ] {
            assert_eq!(
                text.parse::<Endpoint>().map(|endpoint| endpoint.0),
                Ok(expected.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason() {
        use EndpointError::{Malformed, UserInfo};
        let malformed = |text: &str| Malformed(text.to_owned());
        for (text, expected) in [
            ("http://u:p@a:1", UserInfo),
            ("ftp://a", malformed("ftp://a")),
            ("", malformed("")),
            ("http://", malformed("http://")),
            ("http://a:0", malformed("http://a:0")),
            ("http://a:70000", malformed("http://a:70000")),
            ("http://a/path", malformed("http://a/path")),
            ("http://a b", malformed("http://a b")),
            ("http://::1:2379", malformed("http://::1:2379")),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(expected), "{text}");
        }
        assert_eq!(Endpoints::parse::<&str>(&[]), Err(EndpointError::Empty));
        assert_eq!(Endpoints::parse(&["a"; 17]), Err(EndpointError::TooMany(17)));
    }

    #[test]
    fn either_all_members_are_private_or_none_is() {
        let tls = Security::new(Some(std::sync::Arc::new(|| Ok(Vec::new()))), None);
        let parse = |text: &str| Endpoints::parse(&text.split(' ').collect::<Vec<_>>()).unwrap();
        assert!(parse("http://a").secured(Security::default()).is_ok());
        assert!(parse("https://a https://b").secured(tls.clone()).is_ok());
        let told = parse("https://a").secured(Security::default()).unwrap_err().to_string();
        assert!(told.contains("https://a:2379") && told.contains("CA file"), "{told}");
        let told = parse("https://a b").secured(tls).unwrap_err().to_string();
        assert!(told.contains("http://b:2379") && told.contains("clear text"), "{told}");
    }
}
