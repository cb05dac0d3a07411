//! Who asks over HTTP, and what that permits.
//!
//! **Tokens.** A caller shows a bearer token (RFC 6750). The daemon knows only the SHA-256 of each. That is
//! enough here, and a slow password hash would be wrong: a token is 256 bits from the system's randomness
//! and never chosen by a person, so there is nothing to guess offline that a slower hash would make dearer,
//! while argon2 on every request would hand strangers a way to keep the daemon busy. Who reads the file
//! of hashes cannot ask with them. Every entry is compared, in constant time, so that an answer's time tells
//! neither which entry came close nor how many there are before it.
//!
//! **Certificates.** With `--tls-client-ca` a client certificate is an identity too: its subject's common
//! name. The same file says what it may do.
//!
//! **Roles** follow what can be done with the interface, not who people are. A *viewer* reads. An *operator*
//! moves masters, publishes, pauses enforcement: all that can be undone by doing it again. An *admin* may
//! also send a document that permits losing data (`discard`), which cannot. The observer needs an operator's
//! token; with it, somebody who can write to etcd can move a master and can discard nothing.
//!
//! Left out: sessions and expiry dates (a line in a file is revoked by deleting it), rights by path (three
//! roles are remembered, a table of rules is not), and limiting the rate of wrong tokens (256 bits are not
//! found by trying, and a limit would let a stranger lock out the operator behind the same proxy).

mod tokens;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, header};

use crate::problem::Problem;
pub use tokens::{FILE_BYTES_MAX, Minted, Tokens, TokensError, mint};

/// Paths that everybody may ask: supervisors and balancers have no token, and learn nothing else here.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// What a caller may do. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Changes what can be changed back.
    Operator,
    /// Permits losing data.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "viewer" => Ok(Role::Viewer),
            "operator" => Ok(Role::Operator),
            "admin" => Ok(Role::Admin),
            _ => Err("the role is viewer, operator or admin"),
        }
    }
}

/// Somebody who was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name in the file, or the certificate's.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
}

/// Who asks, an extension of every request: handlers take it as `axum::Extension<Asker>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    caller: Option<Caller>,
    anybody: bool,
}

impl Asker {
    /// Nobody is asked for a name here, so everybody may do everything.
    pub fn anybody() -> Self {
        Self { caller: None, anybody: true }
    }

    /// Somebody who was recognised.
    pub fn known(caller: Caller) -> Self {
        Self { caller: Some(caller), anybody: false }
    }

    /// The name, for logs and the history.
    pub fn name(&self) -> Option<&str> {
        self.caller.as_ref().map(|caller| &*caller.name)
    }

    /// Whether this caller may do what `role` may; `what` says what that is, as in "move a master".
    ///
    /// # Errors
    /// 403 `forbidden`.
    pub fn require(&self, role: Role, what: &str) -> Result<(), Problem> {
        match &self.caller {
            _ if self.anybody => Ok(()),
            Some(caller) if caller.role >= role => Ok(()),
            Some(caller) => Err(Problem::role_too_low(&caller.name, caller.role, role, what)),
            None => Err(Problem::unauthorized("no token was given", false)),
        }
    }
}

/// Judges a request. `peer` is the common name of the client certificate, if one was shown and is good.
/// `tokens` is the file's content; a daemon without one knows callers by their certificates alone.
///
/// # Errors
/// 401 `unauthorized`, 403 `forbidden`.
pub fn judge(
    (method, path, headers): (&Method, &str, &HeaderMap),
    peer: Option<&str>,
    tokens: Option<&Tokens>,
) -> Result<Asker, Problem> {
    if OPEN_PATHS.contains(&path) {
        return Ok(Asker { caller: None, anybody: false });
    }
    let asker = Asker::known(recognise(headers, peer, tokens)?);
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    let (role, what) = if reads { (Role::Viewer, "read") } else { (Role::Operator, "change something") };
    asker.require(role, what)?;
    Ok(asker)
}

fn recognise(headers: &HeaderMap, peer: Option<&str>, tokens: Option<&Tokens>) -> Result<Caller, Problem> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let unknown = |detail: &str| Problem::unauthorized(detail, true);
    match (shown.next(), peer) {
        (Some(_), _) if shown.next().is_some() => Err(unknown("the request has two Authorization fields")),
        (Some(value), _) => {
            let token = bearer(value).ok_or_else(|| unknown("Authorization holds no bearer token"))?;
            let caller = tokens.and_then(|tokens| tokens.find(token));
            caller.ok_or_else(|| unknown("the token is not among those this daemon knows"))
        }
        (None, Some(subject)) => match tokens {
            Some(tokens) => tokens.find_subject(subject).ok_or_else(|| {
                let detail =
                    format!("the certificate of {subject:?} is good, but has no line in the tokens file");
                Problem::unauthorized(&detail, false)
            }),
            // Who has the authority sign a certificate has decided that its holder may operate.
            None => Ok(Caller { name: subject.into(), role: Role::Operator }),
        },
        (None, None) => Err(Problem::unauthorized("no token was given", false)),
    }
}

/// The token of `Bearer <token>`; the scheme's case does not count (RFC 9110 section 11.1).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, path: &str, token: Option<&str>, peer: Option<&str>, file: Option<&str>) -> u16 {
        let tokens = file.map(|text| Tokens::parse(text).unwrap());
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, token.parse().unwrap());
        }
        judge((&method, path, &headers), peer, tokens.as_ref()).map_or_else(|problem| problem.status, |_| 200)
    }

    #[test]
    fn each_role_may_do_what_it_is_for() {
        for (role, get, put) in
            [(Role::Viewer, 200, 403), (Role::Operator, 200, 200), (Role::Admin, 200, 200)]
        {
            let minted = mint("alice", role).unwrap();
            let file = format!("# ours\n\n{}\n", minted.line);
            let token = format!("Bearer {}", minted.token.expose());
            let ask = |method| asked(method, "/master", Some(&token), None, Some(&file));
            assert_eq!((ask(Method::GET), ask(Method::PUT)), (get, put), "{role}");
            assert_eq!(ask(Method::HEAD), 200, "{role}");
            let asker = Asker::known(Caller { name: "alice".into(), role });
            assert_eq!(asker.require(Role::Admin, "discard").is_ok(), role == Role::Admin);
        }
        assert!(Asker::anybody().require(Role::Admin, "discard").is_ok());
    }

    #[test]
    fn who_is_not_known_is_told_so_and_health_is_open() {
        let minted = mint("alice", Role::Admin).unwrap();
        let (file, token) = (Some(minted.line.as_str()), minted.token.expose());
        let with = |value: &str| asked(Method::GET, "/status", Some(value), None, file);
        assert_eq!(with(&format!("bearer  {token}")), 200, "the scheme's case does not count");
        for wrong in
            [token, &format!("Basic {token}"), "Bearer", "Bearer ", &format!("Bearer {token}x"), "Bearer a b"]
        {
            assert_eq!(with(wrong), 401, "{wrong}");
        }
        assert_eq!(asked(Method::GET, "/status", None, None, file), 401);
        for path in OPEN_PATHS {
            assert_eq!(asked(Method::GET, path, None, None, file), 200, "{path}");
        }
        for path in ["/metrics", "/healthz/", "/Healthz", "/"] {
            assert_eq!(asked(Method::GET, path, None, None, file), 401, "{path}");
        }
    }

    #[test]
    fn a_certificate_is_an_identity_with_the_role_of_its_line() {
        let file = "observer operator certificate:observer.example\nweb viewer certificate:Web Page\n";
        let put = |peer, file| asked(Method::PUT, "/master", None, Some(peer), file);
        assert_eq!(put("observer.example", Some(file)), 200);
        assert_eq!(put("Web Page", Some(file)), 403);
        assert_eq!(put("stranger", Some(file)), 401);
        assert_eq!(put("stranger", None), 200, "without a file the authority has the say");
        assert_eq!(asked(Method::GET, "/status", Some("Bearer x"), Some("stranger"), None), 401);
    }
}
