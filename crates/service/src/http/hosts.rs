//! Which `Host` and `Origin` are ours.
//!
//! A server on loopback is not safe from web pages: a page can send requests to 127.0.0.1, and by DNS
//! rebinding (its own name resolving to 127.0.0.1) it can even read the answers. The browser then names
//! the page's host in `Host`, so only names that an attacker cannot point at us are accepted: IP literals,
//! `localhost`, and what the operator lists. A browser also says in `Origin` whose page is asking; that
//! must be the very host that is asked.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::Request;
use axum::http::{Version, header};

use crate::problem::Problem;

/// Judges a request's `Host`, absolute target, and `Origin`.
pub(super) fn check(request: &Request, allow_hosts: &[String]) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if hosts.next().is_some() {
        return Err(Problem::bad_request("the request has two Host fields"));
    }
    // RFC 9112 section 3.2.2: the authority of an absolute target replaces Host.
    let host = request.uri().authority().map(|authority| authority.as_str().to_owned()).or(host);
    let Some(host) = host else {
        return if request.version() == Version::HTTP_10 {
            Ok(())
        } else {
            Err(Problem::bad_request("the request has no Host field"))
        };
    };
    if !is_ours(&host, allow_hosts) {
        return Err(Problem::misdirected(&host));
    }
    match request.headers().get(header::ORIGIN) {
        Some(origin) if !is_same_origin(origin.as_bytes(), &host) => {
            Err(Problem::forbidden("a web page of another origin may not use this interface"))
        }
        _ => Ok(()),
    }
}

fn is_ours(authority: &str, allow_hosts: &[String]) -> bool {
    let Some(host) = host_of(authority) else { return false };
    host.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || allow_hosts.iter().any(|allowed| allowed.trim_end_matches('.').eq_ignore_ascii_case(host))
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`; `None` for anything else.
fn host_of(authority: &str) -> Option<&str> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(host);
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    (port.is_empty() || is_port(port)).then(|| host.trim_end_matches('.'))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_same_origin(origin: &[u8], host: &str) -> bool {
    let origin = String::from_utf8_lossy(origin);
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn status(host: Option<&str>, origin: Option<&str>) -> u16 {
        let mut request = Request::builder().uri("/master");
        if let Some(host) = host {
            request = request.header("host", host);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let request = request.body(Body::empty()).unwrap();
        check(&request, &["dictator.example".to_owned()]).map_or_else(|problem| problem.status, |()| 200)
    }

    #[test]
    fn ip_literals_localhost_and_listed_names_are_ours() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "10.1.2.3:1",
            "[::1]",
            "[::1]:8080",
            "localhost",
            "LocalHost:8080",
            "localhost.",
            "dictator.example",
            "Dictator.Example:80",
            "dictator.example.:80",
        ] {
            assert_eq!(status(Some(host), None), 200, "{host}");
        }
    }

    #[test]
    fn every_other_host_is_misdirected() {
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "[::1",
            "[evil]",
            "localhost:80@evil",
            "::1",
            "dictator.example.evil",
            "127.0.0.1:x",
        ] {
            assert_eq!(status(Some(host), None), 421, "{host}");
        }
        assert_eq!(status(None, None), 400);
    }

    #[test]
    fn only_our_own_pages_may_ask() {
        assert_eq!(status(Some("127.0.0.1:8080"), Some("http://127.0.0.1:8080")), 200);
        for origin in
            ["http://evil", "null", "http://127.0.0.1:9090", "http://127.0.0.1:8080.evil", "file://", ""]
        {
            assert_eq!(status(Some("127.0.0.1:8080"), Some(origin)), 403, "{origin}");
        }
    }

    #[test]
    fn an_absolute_target_overrules_host() {
        let request = Request::builder()
            .uri("http://evil.example/master")
            .header("host", "localhost")
            .body(Body::empty())
            .unwrap();
        assert_eq!(check(&request, &[]).unwrap_err().status, 421);
    }
}
