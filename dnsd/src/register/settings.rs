//! The settings of `dnsd register`, as a table and as types.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use coordination::{Endpoints, Security};
use hickory_proto::rr::Name;
use service::config::{Common, ETCD_SETTINGS, Exit, Program, Reader, Setting, Sound, parse_duration};
use topology::Address;

/// Shortest and longest lease, in seconds: a shorter one ends while etcd elects a leader, a longer one
/// leaves the name of a dead host for too long.
const LEASE_S: std::ops::RangeInclusive<u64> = 5..=300;

/// The table.
pub const PROGRAM: Program = Program {
    name: "dnsd-register",
    version: env!("CARGO_PKG_VERSION"),
    about: "Announces one redis node in etcd, for SkyDNS and CoreDNS, for as long as it runs",
    env_prefix: "DNSD_REGISTER",
    listen_default: "127.0.0.1:8083",
    settings: &[
        Setting {
            flag: "etcd",
            value_name: "URL",
            repeatable: true,
            help: "Members of the etcd cluster",
            ..Setting::BLANK
        },
        ETCD_SETTINGS[0],
        ETCD_SETTINGS[1],
        ETCD_SETTINGS[2],
        ETCD_SETTINGS[3],
        ETCD_SETTINGS[4],
        Setting {
            flag: "name",
            value_name: "DOMAIN",
            help: "The node's name in DNS, such as core-01.redis-1.docker",
            ..Setting::BLANK
        },
        Setting {
            flag: "node",
            value_name: "IP:PORT",
            help: "Where clients reach the node: what is announced",
            ..Setting::BLANK
        },
        Setting {
            flag: "probe",
            value_name: "IP:PORT",
            help: "Where the node is reached from here; default: --node",
            ..Setting::BLANK
        },
        Setting {
            flag: "lease",
            value_name: "DURATION",
            default: Some("30s"),
            help: "How long the name outlives a host that dies; whole seconds",
            ..Setting::BLANK
        },
        Setting {
            flag: "state-dir",
            value_name: "PATH",
            help: "Not used: nothing here has to survive a restart",
            ..Setting::BLANK
        },
    ],
};

/// What it runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every daemon has.
    pub common: Common,
    /// Where the name is announced.
    pub etcd: Endpoints,
    /// The name.
    pub name: Name,
    /// What is announced.
    pub node: SocketAddr,
    /// Where the node is reached from here.
    pub probe: SocketAddr,
    /// Lifetime of the lease.
    pub lease: Duration,
}

impl AsRef<Common> for Config {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

/// Reads flags and variables.
///
/// # Errors
/// [`Exit`] for `--help`, `--version`, `--check-config` and for mistakes, all at once.
pub fn read<I, T>(arguments: I, environment: &BTreeMap<String, String>) -> Result<Sound<Config>, Exit>
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    let mut reader = PROGRAM.read(arguments, environment)?;
    let common = reader.common();
    let members: Vec<String> = reader.take_list("etcd");
    let proof = reader.etcd_proof();
    let security = Security::new(proof.files, proof.user);
    let etcd = Endpoints::parse(&members).and_then(|endpoints| endpoints.secured(security));
    let etcd = etcd.map_err(|error| reader.mistake(format!("--etcd: {error}"))).ok();
    let name = required(&mut reader, "name", parse_name);
    let node = required(&mut reader, "node", parse_node);
    let probe = if reader.is_set("probe") { reader.take_with("probe", parse_node) } else { node };
    let lease = reader.take_with("lease", parse_lease);
    let config = (|| {
        let (common, etcd) = (common?, etcd?);
        Some(Config { common, etcd, name: name?, node: node?, probe: probe?, lease: lease? })
    })();
    reader.finish(config)
}

fn required<T>(
    reader: &mut Reader,
    flag: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    if !reader.is_set(flag) {
        reader.mistake(format!("--{flag} is not set, and has no default"));
    }
    reader.take_with(flag, parse)
}

fn parse_name(text: &str) -> Result<Name, String> {
    match text.parse::<Address>() {
        Ok(Address::Name(text)) => {
            let mut name = Name::from_ascii(&text).map_err(|error| error.to_string())?;
            name.set_fqdn(true);
            Ok(name)
        }
        Ok(Address::Ip(_)) => Err("expected a name, not an IP address".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_node(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(node) if node.port() != 0 && !node.ip().is_unspecified() => Ok(node),
        _ => Err("expected the IP address and port of one redis, such as 10.0.0.1:6379".to_owned()),
    }
}

fn parse_lease(text: &str) -> Result<Duration, String> {
    let lease = parse_duration(text).map_err(str::to_owned)?;
    if lease.subsec_millis() != 0 || !LEASE_S.contains(&lease.as_secs()) {
        return Err(format!("expected whole seconds, from {}s to {}s", LEASE_S.start(), LEASE_S.end()));
    }
    Ok(lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(arguments: &[&str]) -> Result<Sound<Config>, Exit> {
        read(std::iter::once("dnsd-register").chain(arguments.iter().copied()), &BTreeMap::new())
    }

    #[test]
    fn what_is_announced_is_what_is_probed_unless_told_otherwise() {
        let usual = ["--etcd", "http://127.0.0.1:2379", "--name", "Core-01.redis-1.docker", "--node"];
        let config = read_all(&[&usual[..], &["10.0.0.1:7001"]].concat()).unwrap().config;
        assert_eq!(config.name.to_ascii(), "core-01.redis-1.docker.");
        assert_eq!((config.probe, config.lease), (config.node, Duration::from_secs(30)));
        let more = ["10.0.0.1:7001", "--probe", "127.0.0.1:6379", "--lease", "5s"];
        let config = read_all(&[&usual[..], &more].concat()).unwrap().config;
        assert_eq!(config.probe, "127.0.0.1:6379".parse().unwrap());
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let exit = read_all(&[]).unwrap_err();
        assert_eq!(exit.code, 64);
        for part in ["--etcd", "--name", "--node"] {
            assert!(exit.stderr.contains(part), "{part}:\n{}", exit.stderr);
        }
        let arguments =
            ["--etcd", "https://a", "--name", "10.0.0.1", "--node", "0.0.0.0:6379", "--lease", "1s"];
        let exit = read_all(&arguments).unwrap_err();
        for part in ["--etcd", "--name", "--node", "--lease"] {
            assert!(exit.stderr.contains(part), "{part}:\n{}", exit.stderr);
        }
    }
}
