//! From what a node or the network says to a reason an operator can act on.
//!
//! Redis's own texts name neither the user's next step nor the missing rule. The first word of an
//! error reply is its code (redis docs, "Simple errors"); everything is decided from that word and
//! from the command that was sent, never from prose that changes between versions, save where redis
//! gives only `ERR`. Nothing here ever sees a password.

use std::io;

use topology::observation::Unknown;

use crate::line::Line;

/// Longest piece of a foreign text that is quoted.
const QUOTED_CHARACTERS_MAX: usize = 160;

/// An error reply, as redis gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The first word, such as `NOPERM`.
    pub(crate) code: String,
    /// The rest.
    pub(crate) detail: String,
}

impl Refusal {
    /// The text as redis gave it, cut to one line's length.
    pub(crate) fn text(&self) -> String {
        quoted(&format!("{} {}", self.code, self.detail))
    }

    /// What lies behind it: EXEC that is not let through answers `EXECABORT` with the reason inside
    /// (redis multi.c `execCommandAbort`).
    fn cause(&self) -> Self {
        let inner = self.detail.split_once("because of: ").filter(|_| self.code == "EXECABORT");
        inner.map_or_else(|| self.clone(), |(_, cause)| Self::from_text(cause))
    }

    fn from_text(text: &str) -> Self {
        let (code, detail) = text.split_once(' ').unwrap_or((text, ""));
        Self { code: code.to_owned(), detail: detail.to_owned() }
    }

    /// The command is not known by this name.
    pub(crate) fn is_unknown_command(&self) -> bool {
        self.code == "ERR" && self.detail.to_ascii_lowercase().starts_with("unknown ")
    }

    /// The user may not run the command, or the command has another name; trying again is no use.
    pub(crate) fn is_lasting(&self) -> bool {
        self.cause().code == "NOPERM" || self.is_unknown_command()
    }

    /// A password was sent to a node that has none, which is no reason to stop.
    pub(crate) fn is_needless_password(&self) -> bool {
        self.code == "ERR" && self.detail.contains("without any password configured")
    }
}

/// Why the node refused a line, and what to do.
pub(crate) fn refusal(user: Option<&str>, line: &Line, refusal: &Refusal) -> Unknown {
    let refusal = &refusal.cause();
    let who = user.unwrap_or("default");
    let sent = line.name;
    let text = match refusal.code.as_str() {
        "NOPERM" => format!(
            "user `{who}` may not run {sent}; grant it on the node: ACL SETUSER {who} {}, and in its ACL file",
            line.rule
        ),
        "WRONGPASS" => format!(
            "user `{who}` with this password is not accepted (WRONGPASS); check the redis user name and password file of the dictator, and ACL LIST on the node"
        ),
        "NOAUTH" => "it asks for a password and none is set; give the dictator a redis password file".to_owned(),
        "DENIED" => "it is in protected mode and answers only its own host; set a password, or `protected-mode no` with a `bind` to a private address".to_owned(),
        "LOADING" => format!("it is loading its data set from disk and does not take {sent} yet; wait until INFO says loading:0"),
        "BUSY" => format!("a script has been running too long and blocks {sent}; end it with SCRIPT KILL or FUNCTION KILL"),
        "MASTERDOWN" => format!("it answers no {sent} while its link to the master is down (replica-serve-stale-data no)"),
        "MISCONF" => format!("it cannot save to disk and refuses {sent}; look at its log and disk ({})", refusal.text()),
        "OOM" => format!("it is out of memory and refuses {sent} ({})", refusal.text()),
        "ERR" if refusal.is_unknown_command() => format!(
            "it does not know {sent}: renamed by `rename-command`, or not a redis of at least 6.2 ({})",
            refusal.text()
        ),
        "ERR" if refusal.detail.starts_with("max number of clients") => {
            "it has no connection left to give (maxclients reached); raise maxclients or find who holds them with CLIENT LIST".to_owned()
        }
        "ERR" if refusal.is_needless_password() => format!("it has no password and refuses one ({})", refusal.text()),
        _ => format!("{sent} was answered with: {}", refusal.text()),
    };
    Unknown::Refuses(text)
}

/// Why there is no connection.
pub(crate) fn connect_error(error: &io::Error) -> Unknown {
    let text = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens there; is redis running, on this port, and bound to this address?"
                .to_owned()
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("no route to it ({error}); is the host up and the address right?")
        }
        _ => format!("the connection failed: {error}"),
    };
    Unknown::Unreachable(text)
}

/// Why there is no connection after `waited_ms`.
pub(crate) fn connect_timeout(waited_ms: u64) -> Unknown {
    Unknown::Unreachable(format!(
        "no answer to the connection request within {waited_ms} ms: the host is down or frozen, or a firewall drops packets"
    ))
}

/// Why a connection could not be made private in `waited_ms`.
pub(crate) fn handshake_timeout(waited_ms: u64) -> Unknown {
    Unknown::Unreachable(format!(
        "it did not answer the TLS handshake within {waited_ms} ms: is this its tls-port, and not its plain port?"
    ))
}

/// Why a connection ended while an answer was awaited, from what the wire saw.
pub(crate) fn broken(opening: &[u8], end: Option<&str>, answered_before: bool) -> Unknown {
    if let Some(strange) = (!answered_before).then(|| not_redis(opening)).flatten() {
        return strange;
    }
    match end {
        Some(reason) if answered_before || !opening.is_empty() => Unknown::Unreachable(reason.to_owned()),
        Some(reason) => Unknown::Unreachable(format!(
            "{reason} without a word; it may have shut down, or be a TLS port or another program's"
        )),
        None => Unknown::NotRedis("its reply breaks the redis protocol".to_owned()),
    }
}

/// What the first bytes of an answer give away, if they are not redis's.
fn not_redis(opening: &[u8]) -> Option<Unknown> {
    let text = String::from_utf8_lossy(opening);
    let line = text.lines().next().unwrap_or_default();
    if opening.starts_with(b"HTTP/") {
        return Some(Unknown::NotRedis(format!("an HTTP server answers there ({})", quoted(line))));
    }
    if opening.starts_with(&[0x15, 0x03]) {
        return Some(Unknown::NotRedis(
            "it expects TLS on this port; name the plain port of the node, or give the dictator --redis-tls"
                .to_owned(),
        ));
    }
    if let Some(error) = line.strip_prefix('-') {
        return Some(refusal(None, &Line::GREETING, &Refusal::from_text(error)));
    }
    match opening.first() {
        None | Some(b'+' | b':' | b'$' | b'*') => None,
        Some(_) => Some(Unknown::NotRedis(format!("it answers {}", quoted(&format!("{line:?}"))))),
    }
}

fn quoted(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(QUOTED_CHARACTERS_MAX).collect()
}
