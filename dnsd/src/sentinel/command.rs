//! One request to one reply. Pure, but for what the session remembers of itself.
//!
//! Clients of redis find their master by asking a Sentinel; here the Sentinel's answers are the
//! publication's. It is read-only: whoever wants another master asks the dictator, and is told so.

use std::collections::BTreeSet;

use super::resp::Reply;
use super::view::{self, COMMON_NAME, View};

/// Most channels and patterns of one subscriber.
const SUBSCRIPTIONS_MAX: usize = 64;
/// The version that is told to clients; they choose features of a Sentinel by it.
pub const REDIS_VERSION: &str = "7.2.4";
/// Said to every command that would change something.
const READ_ONLY: &str = "ERR not permitted: the topology is set through the dictator (PUT /master), not here";

/// What a connection remembers.
#[derive(Debug)]
pub struct Session {
    /// RESP version, 2 until `HELLO 3`.
    pub version: u8,
    /// Channels subscribed to.
    pub channels: BTreeSet<String>,
    /// Patterns subscribed to.
    pub patterns: BTreeSet<String>,
    authenticated: bool,
    name: String,
    id: i64,
}

/// What is to be done about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Send these.
    Replies(Vec<Reply>),
    /// Send this, then close.
    Close(Reply),
}

impl Session {
    /// A new connection; `open` if no password is asked for.
    pub fn new(id: i64, open: bool) -> Self {
        Self {
            version: 2,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            authenticated: open,
            name: String::new(),
            id,
        }
    }

    /// Whether it listens to events.
    pub fn is_subscribed(&self) -> bool {
        !self.channels.is_empty() || !self.patterns.is_empty()
    }

    /// Answers a request.
    pub fn answer(&mut self, view: &View<'_>, words: &[Vec<u8>], password: Option<&str>) -> Outcome {
        let words: Vec<String> =
            words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let Some(command) = words.first().map(|word| word.to_ascii_uppercase()) else {
            return Outcome::Replies(Vec::new());
        };
        let arguments = &words[1..];
        if !self.authenticated && !matches!(command.as_str(), "AUTH" | "HELLO" | "QUIT") {
            return one(error("NOAUTH Authentication required."));
        }
        if self.version == 2 && self.is_subscribed() && !may_while_subscribed(&command) {
            return one(error(&format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT are allowed in this context",
                command.to_ascii_lowercase()
            )));
        }
        match command.as_str() {
            "PING" => one(self.ping(arguments)),
            "QUIT" => Outcome::Close(Reply::Simple("OK")),
            "AUTH" => one(self.authenticate(arguments, password)),
            "HELLO" => one(self.hello(view, arguments, password)),
            "CLIENT" => one(self.client(arguments)),
            "COMMAND" => one(command_reply(arguments)),
            "INFO" => one(Reply::bulk(view::info(view, REDIS_VERSION))),
            "ROLE" => one(role(view)),
            "SENTINEL" => one(sentinel(view, arguments)),
            "SUBSCRIBE" | "PSUBSCRIBE" => self.subscribe(command == "PSUBSCRIBE", arguments),
            "UNSUBSCRIBE" | "PUNSUBSCRIBE" => self.unsubscribe(command == "PUNSUBSCRIBE", arguments),
            "PUBLISH" | "SHUTDOWN" | "MONITOR" | "CONFIG" | "REPLICAOF" | "SLAVEOF" | "FAILOVER" => {
                one(error(READ_ONLY))
            }
            _ => one(unknown(&words)),
        }
    }

    fn ping(&self, arguments: &[String]) -> Reply {
        if self.version == 2 && self.is_subscribed() {
            let text = arguments.first().cloned().unwrap_or_default();
            return Reply::Array(vec![Reply::bulk("pong"), Reply::Bulk(text)]);
        }
        match arguments {
            [] => Reply::Simple("PONG"),
            [text] => Reply::bulk(text),
            _ => wrong_number("ping"),
        }
    }

    fn authenticate(&mut self, arguments: &[String], password: Option<&str>) -> Reply {
        let (user, given) = match arguments {
            [given] => ("default", given),
            [user, given] => (user.as_str(), given),
            _ => return wrong_number("auth"),
        };
        match password {
            None => error(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
            ),
            Some(password) if user == "default" && same_text(password, given) => {
                self.authenticated = true;
                Reply::Simple("OK")
            }
            Some(_) => error("WRONGPASS invalid username-password pair or user is disabled."),
        }
    }

    fn hello(&mut self, view: &View<'_>, arguments: &[String], password: Option<&str>) -> Reply {
        let mut rest = arguments;
        let mut version = self.version;
        if let Some((first, more)) = rest.split_first() {
            match first.as_str() {
                "2" => version = 2,
                "3" => version = 3,
                _ => return error("NOPROTO unsupported protocol version"),
            }
            rest = more;
        }
        while let Some((option, more)) = rest.split_first() {
            match (option.to_ascii_uppercase().as_str(), more) {
                ("AUTH", [user, given, more @ ..]) => {
                    let reply = self.authenticate(&[user.clone(), given.clone()], password);
                    if reply != Reply::Simple("OK") {
                        return reply;
                    }
                    rest = more;
                }
                ("SETNAME", [name, more @ ..]) => {
                    self.name.clone_from(name);
                    rest = more;
                }
                _ => return error("ERR Syntax error in HELLO option"),
            }
        }
        if !self.authenticated {
            return error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
            );
        }
        self.version = version;
        let _ = view;
        Reply::Map(vec![
            ("server", Reply::bulk("redis")),
            ("version", Reply::bulk(REDIS_VERSION)),
            ("proto", Reply::Integer(i64::from(version))),
            ("id", Reply::Integer(self.id)),
            ("mode", Reply::bulk("sentinel")),
            ("modules", Reply::Array(Vec::new())),
        ])
    }

    fn client(&mut self, arguments: &[String]) -> Reply {
        let command = arguments.first().map(|word| word.to_ascii_uppercase());
        match (command.as_deref(), arguments.get(1)) {
            (Some("SETNAME"), Some(name)) => {
                self.name.clone_from(name);
                Reply::Simple("OK")
            }
            (Some("GETNAME"), _) if self.name.is_empty() => Reply::Nil,
            (Some("GETNAME"), _) => Reply::bulk(&self.name),
            (Some("ID"), _) => Reply::Integer(self.id),
            (Some("SETINFO" | "NO-EVICT" | "NO-TOUCH" | "REPLY"), Some(_)) => Reply::Simple("OK"),
            _ => error("ERR unknown subcommand or wrong number of arguments for 'client' command"),
        }
    }

    fn subscribe(&mut self, is_pattern: bool, arguments: &[String]) -> Outcome {
        if arguments.is_empty() {
            return one(wrong_number(if is_pattern { "psubscribe" } else { "subscribe" }));
        }
        let mut replies = Vec::new();
        for channel in arguments {
            if self.channels.len() + self.patterns.len() >= SUBSCRIPTIONS_MAX {
                replies.push(error("ERR too many subscriptions"));
                break;
            }
            let set = if is_pattern { &mut self.patterns } else { &mut self.channels };
            set.insert(channel.clone());
            let kind = if is_pattern { "psubscribe" } else { "subscribe" };
            replies.push(self.subscription(kind, Reply::bulk(channel)));
        }
        Outcome::Replies(replies)
    }

    fn unsubscribe(&mut self, is_pattern: bool, arguments: &[String]) -> Outcome {
        let kind = if is_pattern { "punsubscribe" } else { "unsubscribe" };
        let set = if is_pattern { &mut self.patterns } else { &mut self.channels };
        let names: Vec<String> =
            if arguments.is_empty() { set.iter().cloned().collect() } else { arguments.to_vec() };
        if names.is_empty() {
            return Outcome::Replies(vec![self.subscription(kind, Reply::Nil)]);
        }
        let mut replies = Vec::new();
        for name in names {
            let set = if is_pattern { &mut self.patterns } else { &mut self.channels };
            set.remove(&name);
            replies.push(self.subscription(kind, Reply::Bulk(name)));
        }
        Outcome::Replies(replies)
    }

    fn subscription(&self, kind: &str, channel: Reply) -> Reply {
        let count = i64::try_from(self.channels.len() + self.patterns.len()).unwrap_or(i64::MAX);
        Reply::Push(vec![Reply::bulk(kind), channel, Reply::Integer(count)])
    }

    /// The messages this session gets for an event because of its patterns. Those of channels are the same
    /// for everybody (see `events`).
    pub fn hears_by_pattern(&self, channel: &str, payload: &str) -> Vec<Reply> {
        let matching = self.patterns.iter().filter(|pattern| matches(pattern.as_bytes(), channel.as_bytes()));
        let message = |pattern: &String| {
            let words = ["pmessage", pattern, channel, payload];
            Reply::Push(words.into_iter().map(Reply::bulk).collect())
        };
        matching.map(message).collect()
    }
}

/// Whether the answer to a request speaks of all clusters.
pub fn is_list(words: &[Vec<u8>]) -> bool {
    let is =
        |at: usize, name: &str| words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    is(0, "INFO") || is(0, "ROLE") || (is(0, "SENTINEL") && is(1, "MASTERS"))
}

fn one(reply: Reply) -> Outcome {
    Outcome::Replies(vec![reply])
}

fn error(text: &str) -> Reply {
    Reply::Error(text.to_owned())
}

fn wrong_number(command: &str) -> Reply {
    error(&format!("ERR wrong number of arguments for '{command}' command"))
}

fn unknown(words: &[String]) -> Reply {
    const SHOWN_CHARACTERS_MAX: usize = 64;
    let shown: String = words[0].chars().take(SHOWN_CHARACTERS_MAX).collect();
    error(&format!("ERR unknown command '{shown}', with args beginning with: "))
}

fn may_while_subscribed(command: &str) -> bool {
    matches!(command, "SUBSCRIBE" | "PSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE" | "PING" | "QUIT")
}

fn command_reply(arguments: &[String]) -> Reply {
    match arguments.first().map(|word| word.to_ascii_uppercase()).as_deref() {
        Some("COUNT") => Reply::Integer(0),
        Some("DOCS") => Reply::Map(Vec::new()),
        _ => Reply::Array(Vec::new()),
    }
}

fn role(view: &View<'_>) -> Reply {
    let names = view.monitored().into_iter().map(|monitored| Reply::Bulk(monitored.name)).collect();
    Reply::Array(vec![Reply::bulk("sentinel"), Reply::Array(names)])
}

fn sentinel(view: &View<'_>, arguments: &[String]) -> Reply {
    let Some(command) = arguments.first().map(|word| word.to_ascii_uppercase()) else {
        return wrong_number("sentinel");
    };
    match (command.as_str(), &arguments[1..]) {
        ("MYID", []) => Reply::Bulk(view.own_id()),
        ("MASTERS", []) => Reply::Array(masters(view)),
        ("GET-MASTER-ADDR-BY-NAME", [name]) => {
            let at = view.find(name).as_ref().and_then(view::master);
            at.map_or(Reply::NilArray, |at| {
                Reply::Array(vec![Reply::Bulk(at.ip().to_string()), Reply::Bulk(at.port().to_string())])
            })
        }
        ("MASTER", [name]) => {
            let found = view.find(name).and_then(|monitored| view::master_fields(view, &monitored, name));
            found.unwrap_or_else(no_such_master)
        }
        ("REPLICAS" | "SLAVES", [name]) => match view.find(name) {
            Some(monitored) => Reply::Array(view::slave_fields(&monitored)),
            None => no_such_master(),
        },
        ("SENTINELS", [name]) => match view.find(name) {
            Some(_) => Reply::Array(view::peer_fields(view)),
            None => no_such_master(),
        },
        ("CKQUORUM", [name]) => match view.find(name).as_ref().and_then(view::master) {
            Some(_) => Reply::bulk(format!(
                "OK {} usable Sentinels. Quorum and failover authorization can be reached",
                view.peers.len() + 1
            )),
            None => no_such_master(),
        },
        // A real Sentinel that asks for a vote must not get one.
        ("IS-MASTER-DOWN-BY-ADDR", [_, _, _, _]) => {
            Reply::Array(vec![Reply::Integer(0), Reply::bulk("*"), Reply::Integer(0)])
        }
        (
            "SET" | "MONITOR" | "REMOVE" | "RESET" | "FAILOVER" | "FLUSHCONFIG" | "CONFIG" | "DEBUG"
            | "SIMULATE-FAILURE",
            _,
        ) => error(READ_ONLY),
        _ => error(&format!(
            "ERR unknown subcommand or wrong number of arguments for 'sentinel|{}'",
            command.to_ascii_lowercase()
        )),
    }
}

/// Every master under its own name; the only one under the common name as well, because some clients look
/// for theirs in this list and nowhere else.
fn masters(view: &View<'_>) -> Vec<Reply> {
    let monitored = view.monitored();
    let own = monitored.iter().filter_map(|monitored| view::master_fields(view, monitored, &monitored.name));
    let only = match monitored.as_slice() {
        [only] if only.name != COMMON_NAME => view::master_fields(view, only, COMMON_NAME),
        _ => None,
    };
    own.chain(only).collect()
}

fn no_such_master() -> Reply {
    error("ERR No such master with that name")
}

/// Compares without telling by its duration how much was right.
fn same_text(left: &str, right: &str) -> bool {
    let different = left.bytes().zip(right.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    left.len() == right.len() && different == 0
}

/// The glob patterns of redis, without character classes: `*` and `?`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => matches(&pattern[1..], text) || (!text.is_empty() && matches(pattern, &text[1..])),
        (Some(b'?'), Some(_)) => matches(&pattern[1..], &text[1..]),
        (Some(expected), Some(found)) if expected == found => matches(&pattern[1..], &text[1..]),
        _ => false,
    }
}
