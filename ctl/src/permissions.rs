//! Who may do what at the nodes and in etcd, as rules that can be pasted.
//!
//! The list for the dictator's user is the smallest there is: tests/least_privilege.rs takes every rule away in turn, on
//! each server that can be had, and something then breaks. It is one list for all of them, and that is a
//! finding, not an omission: redis 6.2 tells its clock in INFO, so `TIME` can be missed; no version asks more of
//! the commands that are used; and the dictator sends no `CLIENT SETINFO`, for which redis 7.0 has no name at
//! all (a rule for it would keep such a node from starting). What depends on the version is only whether a
//! server can be worked with, so that is what [`Server`] knows.

use std::str::FromStr;

/// What the dictator's user must be permitted, rule by rule, with a command that needs the rule (docs/redis-user.md).
pub const RULES_NEEDED: [(&str, &[&str]); 10] = [
    ("+info", &["INFO"]),
    ("+client|list", &["CLIENT", "LIST"]),
    ("+client|id", &["CLIENT", "ID"]),
    ("+client|setname", &["CLIENT", "SETNAME", "dictator:1"]),
    ("+client|pause", &["CLIENT", "PAUSE", "1", "WRITE"]),
    ("+client|unpause", &["CLIENT", "UNPAUSE"]),
    ("+client|kill", &["CLIENT", "KILL", "ID", "1"]),
    ("+replicaof", &["REPLICAOF", "127.0.0.1", "0"]),
    ("+multi", &["MULTI"]),
    ("+exec", &["EXEC"]),
];

/// With these it sees more, and can give some warnings and refusals that it cannot give without.
pub const RULES_OBSERVING: [&str; 6] =
    ["+time", "+acl|cat", "+pubsub|numsub", "+publish", "&__dictator__:pause-probe", "+config|get"];

/// What it must not be permitted: whoever has its password could then do more than move the master.
pub const RULES_UNWANTED: [(&str, &[&str]); 3] =
    [("-get", &["GET", "key"]), ("-set", &["SET", "key", "value"]), ("-flushall", &["FLUSHALL"])];

/// With nothing to begin with: the state from which every user here is built, whatever it was before.
/// Channels are named because redis 6.2 gives new users all of them.
pub const NOTHING: &str = "resetkeys resetchannels -@all";

/// What a slave logs in with at its master.
pub const RULES_REPLICA: &str = "+psync +replconf +ping";

/// What an application may do with its keys: everything but administration. `ROLE` is among that, and client
/// libraries that find the master as a Sentinel tells it ask for it.
pub const RULES_APPLICATION: &str = "+@all -@admin -@dangerous +role";

/// A person with all rights.
pub const RULES_ADMIN: &str = "~* &* +@all";

/// Versions before this have no `CLIENT PAUSE … WRITE`.
const REDIS_MIN: (u32, u32) = (6, 2);
/// The first valkey that was tried.
const VALKEY_MIN: (u32, u32) = (8, 0);

/// A server as `--for` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    valkey: bool,
    version: (u32, u32),
}

impl FromStr for Server {
    type Err = String;

    /// `7.0`, `redis-7.0`, `valkey-8`; further numbers are ignored.
    fn from_str(text: &str) -> Result<Self, String> {
        let (valkey, number) = match text.split_once('-') {
            Some(("valkey", number)) => (true, number),
            Some(("redis", number)) => (false, number),
            None => (false, text),
            Some(_) => return Err(format!("{text:?} is not a server; write 7.0, redis-7.0 or valkey-8.1")),
        };
        let mut parts = number.split('.').map(str::parse::<u32>);
        let (major, minor) = (parts.next(), parts.next().unwrap_or(Ok(0)));
        let (Some(Ok(major)), Ok(minor)) = (major, minor) else {
            return Err(format!("{text:?} is not a server; write 7.0, redis-7.0 or valkey-8.1"));
        };
        let server = Self { valkey, version: (major, minor) };
        server.check().map(|()| server)
    }
}

impl Server {
    fn check(self) -> Result<(), String> {
        let (name, (major, minor)) = match self.valkey {
            true => ("valkey", VALKEY_MIN),
            false => ("redis", REDIS_MIN),
        };
        if self.version >= (major, minor) {
            return Ok(());
        }
        let (own_major, own_minor) = self.version;
        Err(format!(
            "{name} {own_major}.{own_minor} is not supported: the dictator works with {name} {major}.{minor} or later"
        ))
    }
}

/// The dictator's rules in one line, with what it sees more if `observing`.
pub fn dictator_rules(observing: bool) -> String {
    let mut rules: Vec<&str> = NOTHING.split(' ').collect();
    rules.extend(RULES_NEEDED.iter().map(|(rule, _)| *rule));
    if observing {
        rules.extend(RULES_OBSERVING);
    }
    rules.join(" ")
}

/// Who comes to etcd, each with a role of its own: its name after the cluster's, and what it may do to which keys.
struct EtcdUser {
    name: &'static str,
    permissions: Vec<(&'static str, String)>,
}

/// The commands that give etcd its users and roles and switch its authentication on.
///
/// `skydns` is the prefix under which dnsd writes and reads names, if it does.
pub fn etcd_commands(cluster: &str, topology_key: &str, trigger_key: &str, skydns: Option<&str>) -> String {
    let exact = str::to_owned;
    let prefix = |key: &str| format!("--prefix {key}");
    let mut users = vec![
        EtcdUser {
            name: "observer",
            permissions: vec![("read", exact(topology_key)), ("read", exact(trigger_key))],
        },
        EtcdUser {
            name: "operator",
            permissions: vec![("readwrite", exact(topology_key)), ("readwrite", exact(trigger_key))],
        },
        EtcdUser { name: "node", permissions: vec![("write", exact(trigger_key))] },
        EtcdUser {
            name: "dictator",
            permissions: vec![("readwrite", prefix(&format!("/dictator/{cluster}/")))],
        },
    ];
    if let Some(path) = skydns {
        users.push(EtcdUser { name: "dnsd", permissions: vec![("readwrite", prefix(path))] });
    }
    let mut text = String::from("etcdctl user add root\netcdctl user grant-role root root\n");
    for user in users {
        let name = format!("{cluster}-{}", user.name);
        text.push_str(&format!("etcdctl role add {name}\n"));
        for (right, keys) in user.permissions {
            text.push_str(&format!("etcdctl role grant-permission {name} {right} {keys}\n"));
        }
        text.push_str(&format!("etcdctl user add {name}\netcdctl user grant-role {name} {name}\n"));
    }
    text.push_str("etcdctl auth enable\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_can_be_worked_with() {
        for text in ["6.2", "6.2.14", "7", "redis-7.0", "8.4", "valkey-8", "valkey-8.1", "valkey-9.1.2"] {
            assert!(text.parse::<Server>().is_ok(), "{text}");
        }
        for (text, reason) in [
            ("6.0.20", "redis 6.0 is not supported: the dictator works with redis 6.2 or later"),
            ("redis-5", "redis 5.0 is not supported"),
            ("valkey-7.2", "valkey 8.0 or later"),
            ("keydb-6", "is not a server"),
            ("", "is not a server"),
            ("valkey-", "is not a server"),
            ("7.x", "is not a server"),
        ] {
            let error = text.parse::<Server>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
