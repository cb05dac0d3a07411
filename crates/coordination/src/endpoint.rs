//! Where etcd is: a list of members, checked when the settings are read and not at three in the morning.
//!
//! `https` is refused in words instead of failing as a broken connection: this build carries no TLS.

use std::fmt;
use std::str::FromStr;

/// Most members in a list; etcd itself advises seven.
const ENDPOINTS_MAX: usize = 16;
/// The client port of etcd where an endpoint names none (IANA: `etcd-client`).
const PORT_DEFAULT: u16 = 2379;

/// One member, as `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

/// One or more members of one etcd cluster, in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints(Vec<Endpoint>);

/// Why a text is not an endpoint or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No endpoint at all.
    #[error("no etcd endpoint is given; give one like http://127.0.0.1:2379")]
    Empty,
    /// More than sixteen.
    #[error("{0} etcd endpoints are given; {ENDPOINTS_MAX} are the most")]
    TooMany(usize),
    /// TLS is asked for.
    #[error("`{0}` asks for TLS, which this build does not have; use http:// on a network you trust")]
    Tls(String),
    /// A user name or password within the URL.
    #[error("an etcd endpoint must not hold a user name or password")]
    UserInfo,
    /// Anything else.
    #[error("`{0}` is not an etcd endpoint; write it like http://127.0.0.1:2379")]
    Malformed(String),
}

impl Endpoint {
    /// The endpoint as a URL without a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || EndpointError::Malformed(text.to_owned());
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => return Err(EndpointError::Tls(text.to_owned())),
            Some(_) => return Err(malformed()),
            None => text,
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
        Ok(Self(format!("http://{host}:{port}")))
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
        texts.iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>().map(Self)
    }

    /// Number of members; never zero.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The member at `turn`, counted round and round.
    pub(crate) fn at_turn(&self, turn: usize) -> &Endpoint {
        &self.0[turn % self.0.len()]
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, endpoint) in self.0.iter().enumerate() {
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
        use EndpointError::{Malformed, Tls, UserInfo};
        let malformed = |text: &str| Malformed(text.to_owned());
        for (text, expected) in [
            ("https://a:1", Tls("https://a:1".to_owned())),
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
}
