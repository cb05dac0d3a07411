//! The nodes: what `INFO` and `CONFIG GET` say of each, and what they must be for a change to be possible,
//! lossless and quick.

use std::collections::BTreeMap;

use super::{Finding, Level};

/// How much of the present writing the backlog should hold: a slave that was away for less comes back without
/// a full sync.
const BACKLOG_SECONDS: u64 = 60;
/// Clocks further apart make the dictator refuse a target.
const CLOCKS_APART_MAX_MS: u64 = 1000;
/// What the original redis-dictator set to stop writes, and left behind when it was killed.
const POISONED_MIN_REPLICAS: u64 = 1_000_000;

/// What `ACL DRYRUN` says of the dictator's user at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// It could not be found out.
    Unknown(String),
    /// These are missing, and these are too many.
    Known {
        /// Rules that it needs and has not.
        missing: Vec<&'static str>,
        /// Rules against what it can do and need not.
        excess: Vec<&'static str>,
    },
}

/// What is known of one node.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `ip:port`, as the dictator uses it.
    pub endpoint: String,
    /// Whether it takes writes now.
    pub is_master: bool,
    /// The fields of INFO.
    pub info: BTreeMap<String, String>,
    /// The directives of CONFIG GET; empty if it may not be asked.
    pub config: BTreeMap<String, String>,
    /// Its clock beyond ours, in milliseconds.
    pub clock_ahead_ms: Option<i64>,
    /// How many bytes it wrote to its replication stream per second.
    pub writes_bytes_per_s: Option<u64>,
    /// What the user of this name may do there.
    pub user: Option<(String, Permissions)>,
    /// Why it could not be asked.
    pub unasked: Option<String>,
}

impl Facts {
    fn info(&self, name: &str) -> &str {
        self.info.get(name).map_or("", String::as_str)
    }

    fn config(&self, name: &str) -> Option<&str> {
        self.config.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.config(name)?.parse().ok()
    }

    /// The command that sets a directive now. What is in redis.conf counts after a restart.
    fn set(&self, directive: &str, value: &str) -> String {
        let (ip, port) = self.ip_and_port();
        let quoted = if value.is_empty() { "''" } else { value };
        format!("redis-cli -h {ip} -p {port} CONFIG SET {directive} {quoted}, and the same in its redis.conf")
    }

    /// As redis-cli takes them.
    fn ip_and_port(&self) -> (&str, &str) {
        let (ip, port) = self.endpoint.rsplit_once(':').unwrap_or((&self.endpoint, "6379"));
        (ip.trim_matches(['[', ']']), port)
    }

    fn finding(&self, level: Level, what: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding::new(level, &self.endpoint, what, cure)
    }
}

/// `name:value` by line, as INFO has it.
pub fn parse_info(text: &str) -> BTreeMap<String, String> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect()
}

/// Name and value in turn by line, as `redis-cli CONFIG GET` prints them.
pub fn parse_config(text: &str) -> BTreeMap<String, String> {
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

/// Everything that should be different.
pub fn examine(nodes: &[Facts]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for node in nodes {
        if let Some(reason) = &node.unasked {
            findings.push(unasked(node, reason));
            continue;
        }
        findings.extend(persistence(node));
        findings.extend(replication(node));
        findings.extend(memory(node));
        findings.extend(permissions(node));
        findings.extend(knowable(node));
    }
    let asked: Vec<&Facts> = nodes.iter().filter(|node| node.unasked.is_none()).collect();
    findings.extend(together(&asked));
    findings.extend(clocks(&asked));
    findings.extend(announced(&asked));
    findings
}

fn unasked(node: &Facts, reason: &str) -> Finding {
    let cure = if reason.contains("DENIED") {
        "protected mode turns other hosts away: give the node users or a password (docs/units.md, users.conf)"
    } else if reason.contains("NOAUTH") || reason.contains("WRONGPASS") || reason.contains("NOPERM") {
        "come as a user that may use INFO, TIME and CONFIG GET: its password in REDISCLI_AUTH, its name behind -- as --user NAME"
    } else {
        "start the node, or mend the way to it; this host has to reach it for these checks"
    };
    node.finding(Level::Warning, format!("it could not be examined: {reason}"), cure)
}

fn persistence(node: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let aof = node.info("aof_enabled") == "1";
    let saves = node.config("save").map(|rules| !rules.trim().is_empty());
    if !aof && saves == Some(false) {
        let what =
            "it keeps its data in memory only: after a restart it is empty, and all nodes at once lose all";
        findings.push(node.finding(Level::Danger, what, node.set("appendonly", "yes")));
    } else if !aof {
        let what = "it has no append-only file: a crash loses what was written since the last snapshot";
        findings.push(node.finding(Level::Warning, what, node.set("appendonly", "yes")));
    } else if node.config("appendfsync") == Some("no") {
        let what = "appendfsync is no: a power cut loses what the kernel had not written, up to 30 s";
        findings.push(node.finding(Level::Warning, what, node.set("appendfsync", "everysec")));
    }
    for (field, what) in [
        ("rdb_last_bgsave_status", "its last snapshot failed"),
        ("aof_last_write_status", "its last write to the append-only file failed"),
        ("aof_last_bgrewrite_status", "its last rewrite of the append-only file failed"),
    ] {
        if node.info(field) == "err" {
            let folder = node.config("dir").unwrap_or("its data folder");
            let cure =
                format!("make room in {folder} and see that redis may write there; its log says which");
            findings.push(node.finding(Level::Danger, what, cure));
        }
    }
    findings
}

fn replication(node: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let directive =
        |name: &str| node.config(&format!("replica-{name}")).or(node.config(&format!("slave-{name}")));
    if directive("read-only") == Some("no") || node.info("slave_read_only") == "0" {
        let what = "replica-read-only is no: demoted, it would go on taking writes; the dictator refuses to move the master";
        findings.push(node.finding(Level::Danger, what, node.set("replica-read-only", "yes")));
    }
    if directive("ignore-maxmemory") == Some("no") {
        let what = "replica-ignore-maxmemory is no: as a slave it evicts keys that its master keeps";
        findings.push(node.finding(Level::Danger, what, node.set("replica-ignore-maxmemory", "yes")));
    }
    let least = node.number("min-replicas-to-write").or(node.number("min-slaves-to-write")).unwrap_or(0);
    if least >= POISONED_MIN_REPLICAS {
        let what = format!(
            "min-replicas-to-write is {least}: it takes no writes. The original redis-dictator left that when it was killed"
        );
        findings.push(node.finding(Level::Danger, what, node.set("min-replicas-to-write", "0")));
    } else if least > 0 {
        let what = format!(
            "min-replicas-to-write is {least}: just promoted, it refuses writes until so many slaves have followed"
        );
        findings.push(node.finding(Level::Note, what, node.set("min-replicas-to-write", "0")));
    }
    findings.extend(backlog(node));
    findings
}

fn backlog(node: &Facts) -> Option<Finding> {
    let (size, rate) = (node.number("repl-backlog-size")?, node.writes_bytes_per_s?);
    let wanted = rate.saturating_mul(BACKLOG_SECONDS);
    (size < wanted).then(|| {
        let what = format!(
            "repl-backlog-size is {size} bytes and {rate} are written a second: a slave that is away for longer than {} s \
             needs a full sync",
            size / rate.max(1)
        );
        node.finding(Level::Warning, what, node.set("repl-backlog-size", &wanted.next_power_of_two().to_string()))
    })
}

fn memory(node: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let limit = node.number("maxmemory");
    if limit == Some(0) {
        let what =
            "maxmemory is not set: when memory runs out the kernel kills it, instead of writes being refused";
        let cure = node.set("maxmemory", "<three quarters of the host's memory>");
        findings.push(node.finding(Level::Note, what, cure));
    }
    let evicts = node.config("maxmemory-policy").is_some_and(|policy| policy != "noeviction");
    if limit.is_some_and(|limit| limit > 0) && evicts {
        let policy = node.config("maxmemory-policy").unwrap_or_default();
        let what = format!(
            "maxmemory-policy is {policy}: written keys vanish when memory is full. That is right for a cache only"
        );
        findings.push(node.finding(Level::Note, what, node.set("maxmemory-policy", "noeviction")));
    }
    findings
}

fn knowable(node: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if node.config.is_empty() {
        let what = "CONFIG GET is not permitted, so half of these checks are left out";
        let cure = "come as a user that may use CONFIG GET: its password in REDISCLI_AUTH, its name behind -- as --user NAME";
        findings.push(node.finding(Level::Note, what, cure));
    }
    if node.info.contains_key("config_file") && node.info("config_file").is_empty() {
        let what = "it was started without a configuration file, so what is set by CONFIG SET is lost at its next start";
        let cure = "start it as units/redis-node@.service does, with units/redis.conf";
        findings.push(node.finding(Level::Note, what, cure));
    }
    findings
}

fn permissions(node: &Facts) -> Vec<Finding> {
    let Some((user, permissions)) = &node.user else { return Vec::new() };
    let (ip, port) = node.ip_and_port();
    let set = |rules: &str| {
        format!(
            "redis-cli -h {ip} -p {port} ACL SETUSER {user} {rules}, and the same in its ACL file or redis.conf"
        )
    };
    match permissions {
        Permissions::Unknown(reason) => {
            let what = format!("what {user} may do there is not known: {reason}");
            let cure = "ACL DRYRUN needs redis 7, a user that is there, and a REDISCLI_AUTH that may use it";
            vec![node.finding(Level::Note, what, cure)]
        }
        Permissions::Known { missing, excess } => {
            let mut findings = Vec::new();
            if !missing.is_empty() {
                let rules = missing.join(" ");
                let what =
                    format!("the user {user} lacks {rules}, so the dictator refuses to move the master");
                findings.push(node.finding(Level::Danger, what, set(&quoted(missing))));
            }
            if !excess.is_empty() {
                let what = format!("the user {user} may use data, which the dictator never does");
                findings.push(node.finding(Level::Note, what, set(&quoted(excess))));
            }
            findings
        }
    }
}

/// Rules for a shell, to which `|` means something else.
fn quoted(rules: &[&str]) -> String {
    let quoted: Vec<String> = rules.iter().map(|rule| format!("'{rule}'")).collect();
    quoted.join(" ")
}

/// What must be equal or fit between nodes, since each can become the master of the others.
fn together(nodes: &[&Facts]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let version = |node: &Facts| node.info("redis_version").to_owned();
    let asks_password =
        nodes.iter().any(|node| node.config("requirepass").is_some_and(|text| !text.is_empty()));
    let master = nodes.iter().find(|node| node.is_master);
    for node in nodes {
        if asks_password && node.config("masterauth").is_some_and(str::is_empty) {
            let what = "masterauth is not set, but nodes ask for a password: it cannot follow them";
            findings.push(node.finding(Level::Danger, what, node.set("masterauth", "<the password>")));
        }
        let Some(master) = master.filter(|master| master.endpoint != node.endpoint) else { continue };
        if version(node) != version(master) {
            let what = format!(
                "it runs {} and the master {}: the master can move to a newer server, never to an older one",
                version(node),
                version(master)
            );
            findings.push(node.finding(
                Level::Note,
                what,
                "upgrade the slaves first, then move the master (docs/versions.md)",
            ));
        }
        let limits = (node.number("maxmemory"), master.number("maxmemory"));
        if let (Some(own), Some(masters)) = limits
            && own > 0
            && (masters == 0 || own < masters)
        {
            let what = format!(
                "maxmemory is {own} and the master's {masters}: promoted, it may have no room for the data"
            );
            findings.push(node.finding(Level::Warning, what, node.set("maxmemory", &masters.to_string())));
        }
    }
    findings
}

fn clocks(nodes: &[&Facts]) -> Vec<Finding> {
    let Some(least) = nodes.iter().filter_map(|node| node.clock_ahead_ms).min() else { return Vec::new() };
    let late = nodes.iter().filter_map(|node| {
        let apart = node.clock_ahead_ms?.abs_diff(least);
        (apart > CLOCKS_APART_MAX_MS).then(|| {
            let what = format!(
                "its clock is {apart} ms ahead of the slowest node's: keys would expire too early or too late, so the \
                 dictator refuses to move the master"
            );
            node.finding(Level::Danger, what, "on both hosts: timedatectl set-ntp true")
        })
    });
    late.collect()
}

/// Slaves that the master knows under an address by which nobody else finds them.
fn announced(nodes: &[&Facts]) -> Vec<Finding> {
    let Some(master) = nodes.iter().find(|node| node.is_master) else { return Vec::new() };
    let slaves = master.info.iter().filter(|(name, value)| is_slave_line(name) && value.contains("ip="));
    let odd = slaves.filter_map(|(_, value)| {
        let part = |name: &str| value.split(',').find_map(|part| part.strip_prefix(name));
        let (ip, port) = (part("ip=")?, part("port=")?);
        let told = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
        nodes.iter().all(|node| node.endpoint != told).then(|| {
            let what = format!(
                "it knows a slave as {told}, which is no node of the document: behind a translated address, clients that \
                 ask redis for slaves are sent astray. The dictator does not depend on it"
            );
            let cure = "at that slave: replica-announce-ip and replica-announce-port with the address in the document";
            master.finding(Level::Note, what, cure)
        })
    });
    odd.collect()
}

/// `slave0`, `slave1`, …
fn is_slave_line(name: &str) -> bool {
    name.strip_prefix("slave")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
