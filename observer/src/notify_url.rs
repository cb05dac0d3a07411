//! A URL that is notified: checked when the settings are read, resolved anew for every delivery.
//!
//! Parsed by hand instead of by a URL library. What has to be known is whether a port was *written*
//! (`http://dictator:80/` names a port, `http://dictator/` asks for an SRV lookup), which libraries that
//! normalise default ports away cannot say; and everything a browser would mend, such as a missing host,
//! a backslash or a line break, is to be refused at the start instead.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use topology::Address;

/// The port of `http` (RFC 9110 section 4.2.1).
pub const HTTP_PORT: NonZeroU16 = NonZeroU16::new(80).unwrap();
/// Longer URLs are a mistake.
const URL_BYTES_MAX: usize = 2048;

/// The port of `https` (RFC 9110 section 4.2.2).
pub const HTTPS_PORT: NonZeroU16 = NonZeroU16::new(443).unwrap();
/// An `http` or `https` URL to PUT documents to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyUrl {
    /// Whether it is `https`.
    pub tls: bool,
    /// The host.
    pub host: Address,
    /// The port, if one was written.
    pub port: Option<NonZeroU16>,
    /// Path and query, beginning with a slash.
    pub path: String,
}

/// Why a text is not a URL that can be notified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotifyUrlError {
    /// Neither `http` nor `https`.
    #[error("only http:// and https:// can be notified, as in http://127.0.0.1:8080/master")]
    Scheme,
    /// Nothing between the slashes.
    #[error("the URL names no host; write it like http://127.0.0.1:8080/master")]
    NoHost,
    /// A user name or password.
    #[error("a user name or password in a URL would be written to logs; it is not supported")]
    UserInfo,
    /// A part after `#`.
    #[error("a fragment (#…) is never sent to a server; leave it out")]
    Fragment,
    /// A port that is none.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// A character that must be percent-encoded, or too long a text.
    #[error("a URL has at most {URL_BYTES_MAX} bytes, and blanks, quotes, backslashes and the like as %XX")]
    Text,
    /// A host that is neither name nor literal.
    #[error("the host is wrong: {0}")]
    Host(String),
}

impl FromStr for NotifyUrl {
    type Err = NotifyUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > URL_BYTES_MAX || !text.bytes().all(may_stand_in_a_url) {
            return Err(NotifyUrlError::Text);
        }
        let (scheme, rest) = text.split_once("://").ok_or(NotifyUrlError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(NotifyUrlError::Scheme),
        };
        let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        if authority.contains('@') {
            return Err(NotifyUrlError::UserInfo);
        }
        if path.contains('#') {
            return Err(NotifyUrlError::Fragment);
        }
        let (host, port) = split_port(authority)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, host: parse_host(host)?, port, path })
    }
}

/// The characters of RFC 3986 appendix A; everything else stands as `%XX`.
fn may_stand_in_a_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// `host`, `host:port`, `[ip6]` or `[ip6]:port`.
fn split_port(authority: &str) -> Result<(&str, Option<NonZeroU16>), NotifyUrlError> {
    let after_brackets = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[after_brackets..].find(':') {
        None => Ok((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at(after_brackets + colon);
            let port = port[1..].parse().map_err(|_| NotifyUrlError::Port)?;
            Ok((host, Some(port)))
        }
    }
}

fn parse_host(text: &str) -> Result<Address, NotifyUrlError> {
    if text.is_empty() {
        return Err(NotifyUrlError::NoHost);
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address: Address = bracketed
        .unwrap_or(text)
        .parse()
        .map_err(|error: topology::address::AddressError| NotifyUrlError::Host(error.to_string()))?;
    let is_ip6 = matches!(address, Address::Ip(IpAddr::V6(_)));
    if is_ip6 != bracketed.is_some() {
        return Err(NotifyUrlError::Host("an IPv6 literal, and only that, stands in brackets".to_owned()));
    }
    Ok(address)
}

impl NotifyUrl {
    /// What the `Host` header says: the host as written, and the port if one was written.
    pub fn authority(&self) -> String {
        let host = match &self.host {
            Address::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
            host => host.to_string(),
        };
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }

    /// The port of its scheme.
    pub fn port_default(&self) -> NonZeroU16 {
        if self.tls { HTTPS_PORT } else { HTTP_PORT }
    }

    /// The name that the server's certificate has to be for: the host as written.
    pub fn server_name(&self) -> String {
        self.host.to_string()
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

impl fmt::Display for NotifyUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}{}", self.scheme(), self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_put_together_again() {
        for (text, port, shown) in [
            ("http://127.0.0.1:8080/master", Some(8080), "http://127.0.0.1:8080/master"),
            ("http://dictator.docker", None, "http://dictator.docker/"),
            ("HTTP://Dictator.docker/", None, "http://dictator.docker/"),
            ("http://dictator:80/master?wait=links", Some(80), "http://dictator:80/master?wait=links"),
            ("http://dictator?wait=links", None, "http://dictator/?wait=links"),
            ("http://[::1]:8081/dns", Some(8081), "http://[::1]:8081/dns"),
            ("http://[::1]/dns", None, "http://[::1]/dns"),
            ("https://dictator.docker/dns", None, "https://dictator.docker/dns"),
        ] {
            let url: NotifyUrl = text.parse().unwrap();
            assert_eq!(url.port.map(NonZeroU16::get), port, "{text}");
            assert_eq!(url.to_string(), shown);
        }
        let url: NotifyUrl = "http://dictator/clusters/a/master".parse().unwrap();
        assert_eq!((url.path.as_str(), url.port_default()), ("/clusters/a/master", HTTP_PORT));
        let url: NotifyUrl = "https://[::1]/master".parse().unwrap();
        assert_eq!((url.server_name().as_str(), url.port_default()), ("::1", HTTPS_PORT));
        let url: NotifyUrl = "http://dictator/clusters/a/master".parse().unwrap();
        assert_eq!(url.authority(), "dictator");
    }

    #[test]
    fn what_cannot_be_notified_is_refused_with_the_reason() {
        for (text, expected) in [
            ("ftp://dictator/master", NotifyUrlError::Scheme),
            ("dictator:8080/master", NotifyUrlError::Scheme),
            ("", NotifyUrlError::Scheme),
            ("http://", NotifyUrlError::NoHost),
            ("http:///master", NotifyUrlError::NoHost),
            ("http://:8080/master", NotifyUrlError::NoHost),
            ("http://user:secret@dictator/", NotifyUrlError::UserInfo),
            ("http://user@dictator/", NotifyUrlError::UserInfo),
            ("http://dictator/#a", NotifyUrlError::Fragment),
            ("http://dictator#a", NotifyUrlError::Fragment),
            ("http://dictator:0/", NotifyUrlError::Port),
            ("http://dictator:/", NotifyUrlError::Port),
            ("http://dictator:65536/", NotifyUrlError::Port),
            ("http://dictator/a b", NotifyUrlError::Text),
            ("http://dictator/a\\b", NotifyUrlError::Text),
            ("http://dictator/\"", NotifyUrlError::Text),
            ("http://dictator/\n", NotifyUrlError::Text),
            ("http://d\u{ef}ctator/", NotifyUrlError::Text),
        ] {
            assert_eq!(text.parse::<NotifyUrl>(), Err(expected), "{text:?}");
        }
        for text in ["http://::1/", "http://[127.0.0.1]/", "http://[::1/", "http://a_b%/", "http://a\\b/"] {
            assert!(text.parse::<NotifyUrl>().is_err(), "{text}");
        }
    }
}
