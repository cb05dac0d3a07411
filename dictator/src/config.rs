//! The dictator's settings: one table, and the relations between them.
//!
//! The names that the original redis-dictator read from its environment (`NAMESERVERS`, `SEARCHLIST`)
//! go on working.

mod redis;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use coordination::{Endpoints, Security};
use service::config::{Common, DnsServer, ETCD_SETTINGS, Exit, Program, Reader, Secret, Setting, Sound};
use topology::Address;

use crate::apply::Election;
use crate::targets::Targets;
pub use redis::RedisTls;

/// Longest name of a cluster, in characters; it is a part of a path and of an etcd key.
const CLUSTER_CHARACTERS_MAX: usize = 64;
/// Longest pause of writes that may be configured: what waits longer has given up.
const WRITE_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Most nodes that may be configured; more is another kind of system.
const NODES_MAX_LIMIT: usize = 1000;
/// Shortest and longest lease: shorter is lost by a slow disk of etcd, longer is an outage.
const LEASE_MIN: Duration = Duration::from_secs(2);
const LEASE_MAX: Duration = Duration::from_secs(60);
/// Longest URL that is told to others.
const URL_BYTES_MAX: usize = 256;
/// Where the password comes from if no file is named: a systemd credential of this name.
const PASSWORD_CREDENTIAL: &str = "redis-password";
/// Where the password comes from if there is no credential either.
const PASSWORD_VARIABLE: &str = "DICTATOR_REDIS_PASSWORD";

/// The table.
pub const PROGRAM: Program = Program {
    name: "dictator",
    version: env!("CARGO_PKG_VERSION"),
    about: "Moves the redis master where the topology says, without losing an acknowledged write",
    env_prefix: "DICTATOR",
    listen_default: "127.0.0.1:8080",
    settings: &[
        Setting {
            flag: "cluster",
            value_name: "NAME",
            default: Some("redis-1"),
            help: "The cluster's name, in PUT /clusters/<name>/master",
            ..Setting::BLANK
        },
        Setting {
            flag: "etcd",
            value_name: "URL",
            repeatable: true,
            help: "Members of the etcd cluster by whose lock several dictators share one cluster of nodes",
            ..Setting::BLANK
        },
        ETCD_SETTINGS[0],
        ETCD_SETTINGS[1],
        ETCD_SETTINGS[2],
        ETCD_SETTINGS[3],
        ETCD_SETTINGS[4],
        Setting {
            flag: "advertise",
            value_name: "URL",
            help: "Where this dictator takes requests, told to those who ask another one; by default that of --listen",
            ..Setting::BLANK
        },
        Setting {
            flag: "lease",
            value_name: "DURATION",
            default: Some("5s"),
            help: "How long after the death of one dictator another takes over, in whole seconds",
            ..Setting::BLANK
        },
        Setting {
            flag: "nameservers",
            value_name: "LIST",
            repeatable: true,
            legacy_env: &["NAMESERVERS"],
            help: "Name servers that node names are looked up at, instead of those of /etc/resolv.conf",
            ..Setting::BLANK
        },
        Setting {
            flag: "searchlist",
            value_name: "LIST",
            repeatable: true,
            legacy_env: &["SEARCHLIST"],
            help: "Domains appended to short names, instead of those of /etc/resolv.conf",
            ..Setting::BLANK
        },
        Setting {
            flag: "max-write-pause",
            value_name: "DURATION",
            default: Some("1s"),
            help: "Longest time writers are held up during a hand-over; if it does not suffice, nothing is changed",
            ..Setting::BLANK
        },
        Setting {
            flag: "apply-timeout",
            value_name: "DURATION",
            default: Some("30s"),
            help: "Longest time a change may take, first syncs of slaves included",
            ..Setting::BLANK
        },
        Setting {
            flag: "enforce-interval",
            value_name: "DURATION",
            default: Some("5s"),
            help: "How often the nodes are compared with the topology and brought back to it; 0 for never",
            ..Setting::BLANK
        },
        Setting {
            flag: "nodes-max",
            value_name: "COUNT",
            default: Some("64"),
            help: "Most nodes in a document, master and slaves together",
            ..Setting::BLANK
        },
        Setting {
            flag: "allow-targets",
            value_name: "LIST",
            repeatable: true,
            help: "Addresses and networks that a document may lead to; not set: all but link-local ones",
            ..Setting::BLANK
        },
        Setting {
            flag: "redis-username",
            value_name: "NAME",
            help: "ACL user at the nodes",
            ..Setting::BLANK
        },
        Setting {
            flag: "redis-password-file",
            value_name: "PATH",
            help: "File with the password at the nodes; a final line break is not part of it",
            ..Setting::BLANK
        },
        Setting {
            flag: "redis-tls",
            help: "Connect to the nodes by TLS; documents then name their tls-port",
            ..Setting::BLANK
        },
        Setting {
            flag: "redis-tls-name",
            value_name: "NAME",
            help: "The name in every node's certificate; not set: each is for the node's numeric address",
            ..Setting::BLANK
        },
        Setting {
            flag: "redis-ca-file",
            value_name: "PATH",
            help: "PEM file with the authority whose certificates are believed at the nodes",
            ..Setting::BLANK
        },
        Setting {
            flag: "redis-cert",
            value_name: "PATH",
            help: "PEM file with our certificate for the nodes (tls-auth-clients)",
            ..Setting::BLANK
        },
        Setting {
            flag: "redis-key",
            value_name: "PATH",
            help: "PEM file with that certificate's key",
            ..Setting::BLANK
        },
        Setting {
            flag: "ignore-sentinel",
            help: "Act although Sentinels watch the nodes; two authorities may lose data",
            ..Setting::BLANK
        },
    ],
};

/// The settings, judged.
#[derive(Clone, Debug)]
pub struct Config {
    /// Those of every daemon.
    pub common: Common,
    /// The cluster's name.
    pub cluster: String,
    /// How several dictators share it; `None` for a single one.
    pub election: Option<Election>,
    /// Name servers; empty: those of the machine.
    pub nameservers: Vec<SocketAddr>,
    /// Search domains; empty: those of the machine.
    pub searchlist: Vec<String>,
    /// Longest pause of writes.
    pub max_write_pause: Duration,
    /// Longest time of a change.
    pub apply_timeout: Duration,
    /// Between passes of enforcement; zero: never.
    pub enforce_interval: Duration,
    /// Most nodes in a document.
    pub nodes_max: usize,
    /// Where a document may lead.
    pub targets: Targets,
    /// ACL user at the nodes.
    pub redis_username: Option<String>,
    /// Password at the nodes.
    pub redis_password: Option<Secret>,
    /// How to connect to the nodes, if not in clear text.
    pub redis_tls: Option<RedisTls>,
    /// Act although Sentinels watch.
    pub ignore_sentinel: bool,
}

impl AsRef<Common> for Config {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

/// Reads flags and variables.
///
/// # Errors
/// [`Exit`] with every mistake, or for `--help`, `--version`, `--check-config`.
pub fn read<I, T>(arguments: I, environment: &BTreeMap<String, String>) -> Result<Sound<Config>, Exit>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let mut reader = PROGRAM.read(arguments, environment)?;
    let common = reader.common();
    let cluster = reader.take_with("cluster", parse_cluster);
    let election = take_election(&mut reader, common.as_ref(), cluster.as_deref());
    let nameservers: Vec<DnsServer> = reader.take_list("nameservers");
    let searchlist = take_searchlist(&mut reader);
    let (max_write_pause, apply_timeout) = take_times(&mut reader);
    let enforce_interval = reader.take_duration("enforce-interval");
    let nodes_max = reader.take_with("nodes-max", parse_nodes_max);
    let targets = Targets::new(reader.take_list("allow-targets"));
    let redis_username = take_username(&mut reader);
    let redis_password = reader.secret("redis-password-file", PASSWORD_CREDENTIAL, PASSWORD_VARIABLE);
    if redis_username.is_some() && redis_password.is_none() {
        reader.warning("--redis-username is without effect: no password is set for it");
    }
    let redis_tls = redis::take(&mut reader);
    let ignore_sentinel = reader.take_switch("ignore-sentinel");
    let config = (|| {
        Some(Config {
            common: common?,
            cluster: cluster?,
            election,
            nameservers: nameservers.into_iter().map(|server| server.0).collect(),
            searchlist,
            max_write_pause: max_write_pause?,
            apply_timeout: apply_timeout?,
            enforce_interval: enforce_interval?,
            nodes_max: nodes_max?,
            targets,
            redis_username,
            redis_password,
            redis_tls,
            ignore_sentinel,
        })
    })();
    reader.finish(config)
}

fn parse_cluster(text: &str) -> Result<String, String> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if text.is_empty() || text.len() > CLUSTER_CHARACTERS_MAX || !text.chars().all(allowed) {
        return Err(format!("a name is 1 to {CLUSTER_CHARACTERS_MAX} letters, digits, `.`, `_` and `-`"));
    }
    Ok(text.to_owned())
}

/// How several dictators share the cluster. What is wrong is remembered by the reader.
fn take_election(reader: &mut Reader, common: Option<&Common>, cluster: Option<&str>) -> Option<Election> {
    let members: Vec<String> = reader.take_list("etcd");
    let advertised = reader.take_with("advertise", parse_url);
    let lease = reader.take_duration("lease");
    if let Some(lease) = lease
        && (lease.subsec_nanos() != 0 || !(LEASE_MIN..=LEASE_MAX).contains(&lease))
    {
        let (least_s, most_s) = (LEASE_MIN.as_secs(), LEASE_MAX.as_secs());
        reader.mistake(format!("--lease {lease:?}: whole seconds, from {least_s}s to {most_s}s"));
    }
    let proof = reader.etcd_proof();
    if members.is_empty() {
        if reader.is_set("advertise") || reader.is_set("lease") {
            reader.mistake("--advertise and --lease are for several dictators: give --etcd as well");
        }
        return None;
    }
    let security = Security::new(proof.files, proof.user);
    let endpoints = match Endpoints::parse(&members).and_then(|endpoints| endpoints.secured(security)) {
        Ok(endpoints) => endpoints,
        Err(error) => {
            reader.mistake(format!("--etcd: {error}"));
            return None;
        }
    };
    let common = common?;
    let advertised = advertised.unwrap_or_else(|| own_url(common));
    Some(Election { endpoints, cluster: cluster?.to_owned(), advertised, lease: lease? })
}

/// Where this dictator takes requests, if nobody says otherwise.
fn own_url(common: &Common) -> String {
    let scheme = if common.access.is_private() { "https" } else { "http" };
    format!("{scheme}://{}", common.listen)
}

fn parse_url(text: &str) -> Result<String, &'static str> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let sound = |rest: &str| !rest.is_empty() && rest.chars().all(|character| character.is_ascii_graphic());
    if rest.is_some_and(sound) && text.len() <= URL_BYTES_MAX {
        return Ok(text.to_owned());
    }
    Err("expected a URL such as http://10.0.0.2:8080")
}

fn parse_nodes_max(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=NODES_MAX_LIMIT).contains(count))
        .ok_or_else(|| format!("expected a number from 1 to {NODES_MAX_LIMIT}"))
}

fn take_searchlist(reader: &mut Reader) -> Vec<String> {
    let written: Vec<String> = reader.take_list("searchlist");
    for text in &written {
        if !matches!(text.parse::<Address>(), Ok(Address::Name(_))) {
            reader.mistake(format!("--searchlist {text:?}: expected a domain name"));
        }
    }
    written
}

fn take_times(reader: &mut Reader) -> (Option<Duration>, Option<Duration>) {
    let pause = reader.take_duration("max-write-pause");
    let timeout = reader.take_duration("apply-timeout");
    if let Some(pause) = pause
        && (pause.is_zero() || pause > WRITE_PAUSE_MAX)
    {
        let most_s = WRITE_PAUSE_MAX.as_secs();
        reader.mistake(format!("--max-write-pause {pause:?}: more than 0 and at most {most_s}s"));
    }
    if let (Some(pause), Some(timeout)) = (pause, timeout)
        && timeout <= pause
    {
        reader.mistake(format!(
            "--apply-timeout {timeout:?} is not longer than --max-write-pause {pause:?}: \
             no hand-over could ever be begun"
        ));
    }
    (pause, timeout)
}

fn take_username(reader: &mut Reader) -> Option<String> {
    reader.take_with("redis-username", |text| {
        if text.is_empty()
            || text.contains(|character: char| character.is_whitespace() || character.is_control())
        {
            return Err("a user name has no blanks");
        }
        Ok(text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Sound<Config>, Exit> {
        let environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read(std::iter::once("dictator").chain(arguments.iter().copied()), &environment)
    }

    #[test]
    fn the_defaults_are_sound() {
        let config = read_all(&[], &[]).unwrap().config;
        assert_eq!(config.common.listen.to_string(), "127.0.0.1:8080");
        assert_eq!((config.cluster.as_str(), config.nodes_max), ("redis-1", 64));
        assert_eq!(config.max_write_pause, Duration::from_secs(1));
        assert_eq!(config.apply_timeout, Duration::from_secs(30));
        assert_eq!(config.enforce_interval, Duration::from_secs(5));
        assert!(config.nameservers.is_empty() && config.redis_password.is_none());
    }

    #[test]
    fn the_names_of_the_original_go_on_working() {
        let variables = [("NAMESERVERS", "10.0.0.2 10.0.0.3:5353"), ("SEARCHLIST", "redis-1.docker docker")];
        let config = read_all(&[], &variables).unwrap().config;
        let servers: Vec<String> = config.nameservers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.2:53", "10.0.0.3:5353"]);
        assert_eq!(config.searchlist, ["redis-1.docker", "docker"]);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let exit = read_all(
            &[
                "--cluster",
                "a/b",
                "--nodes-max",
                "0",
                "--max-write-pause",
                "0",
                "--searchlist",
                "a..b",
                "--redis-password-file",
                "/nonexistent",
                "--enforce-interval",
                "5",
            ],
            &[("DICTATOR_REDIS_USERNAME", "two words")],
        )
        .unwrap_err();
        assert_eq!(exit.code, 64);
        for part in [
            "--cluster",
            "--nodes-max",
            "--max-write-pause",
            "--searchlist",
            "/nonexistent",
            "--enforce-interval",
            "DICTATOR_REDIS_USERNAME",
        ] {
            assert!(exit.stderr.contains(part), "{part}: {}", exit.stderr);
        }
    }

    #[test]
    fn times_must_fit_each_other() {
        let exit = read_all(&["--apply-timeout", "1s"], &[]).unwrap_err();
        assert!(exit.stderr.contains("not longer than"), "{}", exit.stderr);
        assert!(read_all(&["--max-write-pause", "11s"], &[]).is_err());
        assert!(read_all(&["--enforce-interval", "0"], &[]).is_ok());
    }

    #[test]
    fn several_dictators_share_a_cluster_by_etcd() {
        let election = read_all(&["--etcd", "http://127.0.0.1:2379", "--cluster", "blue"], &[]);
        let election = election.unwrap().config.election.unwrap();
        assert_eq!(election.advertised, "http://127.0.0.1:8080");
        assert_eq!((election.cluster.as_str(), election.lease), ("blue", Duration::from_secs(5)));
        for mistake in [
            ["--etcd", "ftp://a", "--lease", "5s"],
            ["--etcd", "http://127.0.0.1:2379", "--lease", "1500ms"],
            ["--etcd", "http://127.0.0.1:2379", "--advertise", "here"],
            ["--lease", "5s", "--advertise", "http://a"],
        ] {
            let exit = read_all(&mistake, &[]).unwrap_err();
            assert_eq!(exit.code, 64, "{mistake:?}");
        }
    }

    #[test]
    fn a_password_comes_from_a_file_or_a_variable_and_is_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        #[allow(clippy::disallowed_methods, reason = "a test's file need not be durable")]
        std::fs::write(&path, "tuesday\n").unwrap();
        let config = read_all(&["--redis-password-file", path.to_str().unwrap()], &[]).unwrap().config;
        assert_eq!(config.redis_password.as_ref().unwrap().expose(), "tuesday");
        assert!(!format!("{config:?}").contains("tuesday"));
        let config = read_all(&[], &[("DICTATOR_REDIS_PASSWORD", "wednesday")]).unwrap().config;
        assert_eq!(config.redis_password.unwrap().expose(), "wednesday");
    }
}
