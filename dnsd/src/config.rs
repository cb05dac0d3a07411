//! The settings of dnsd, as a table and as types.
//!
//! The names of the program this one follows work too. Two of them meant less than they said there: `TTL`
//! and `TTL_REFRESH` were read and ignored; here they count. `ETCD_PEERS` is accepted and not needed: dnsd
//! answers by itself, and writes to etcd (`--skydns-etcd`) only for those who say so.

mod discovery;
mod dns;
mod zones;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use service::config::{
    Common, DnsServer, ETCD_SETTINGS, Exit, Program, Secret, Setting, Sound, parse_duration,
};

pub use discovery::{Discovery, Seeds};
pub use dns::DnsFace;

use crate::clusters::Below;
use crate::keys::KeysFile;
use crate::zone::ZoneSettings;

/// Shortest interval of looking names up again, in milliseconds: shorter ones would load name servers.
const REFRESH_MS_MIN: u64 = 100;

/// The table.
pub const PROGRAM: Program = Program {
    name: "dnsd",
    version: env!("CARGO_PKG_VERSION"),
    about: "Publishes the redis topology it is told by HTTP as a DNS zone (dnsd register: announces one node)",
    env_prefix: "DNSD",
    listen_default: "127.0.0.1:8081",
    settings: &[
        Setting {
            flag: "dns-listen",
            value_name: "IP:PORT",
            default: Some("127.0.0.1:5300"),
            help: "Where DNS is answered, UDP and TCP",
            ..Setting::BLANK
        },
        Setting {
            flag: "dns-threads",
            value_name: "COUNT",
            help: "Threads that answer DNS over UDP; default: one per core",
            ..Setting::BLANK
        },
        Setting {
            flag: "dns-rate-limit",
            value_name: "COUNT",
            default: Some("0"),
            help: "Most answers per second over UDP to one network of clients (/24, /56); 0: no limit",
            ..Setting::BLANK
        },
        Setting {
            flag: "dns-connections",
            value_name: "COUNT",
            default: Some("256"),
            help: "Most DNS connections over TCP at a time",
            ..Setting::BLANK
        },
        Setting {
            flag: "dns-connections-per-client",
            value_name: "COUNT",
            help: "Most of these of one client (IPv4 address, IPv6 /64); default: half of them",
            ..Setting::BLANK
        },
        Setting {
            flag: "dns-idle",
            value_name: "DURATION",
            default: Some("10s"),
            help: "Longest silence of a client on a DNS connection",
            ..Setting::BLANK
        },
        Setting {
            flag: "transfer-to",
            value_name: "IP[/BITS][=KEY]",
            repeatable: true,
            help: "Who may have the whole zone by AXFR; not set: nobody",
            ..Setting::BLANK
        },
        Setting {
            flag: "secondaries",
            value_name: "IP[:PORT][=KEY]",
            repeatable: true,
            help: "Name servers that are told of every change by NOTIFY",
            ..Setting::BLANK
        },
        Setting {
            flag: "tsig-keys-file",
            value_name: "PATH",
            help: "File with the keys (TSIG) that transfers and NOTIFY are signed with",
            ..Setting::BLANK
        },
        Setting {
            flag: "domain",
            value_name: "DOMAIN",
            default: Some("redis-1.docker"),
            legacy_env: &["PUBLISH_DOMAIN"],
            help: "The domain that is published",
            ..Setting::BLANK
        },
        Setting {
            flag: "cluster",
            value_name: "NAME",
            help: "Name of the cluster in PUT /clusters/NAME/dns; default: the domain's first label",
            ..Setting::BLANK
        },
        Setting {
            flag: "domain-suffix",
            value_name: "DOMAIN",
            help: "Publish many clusters, each as NAME.DOMAIN, instead of --domain",
            ..Setting::BLANK
        },
        Setting {
            flag: "clusters-max",
            value_name: "COUNT",
            default: Some("10000"),
            help: "Most clusters below --domain-suffix",
            ..Setting::BLANK
        },
        Setting {
            flag: "ttl",
            value_name: "SECONDS",
            default: Some("5"),
            legacy_env: &["TTL"],
            help: "How long answers may be kept",
            ..Setting::BLANK
        },
        Setting {
            flag: "ttl-refresh",
            value_name: "DURATION",
            default: Some("15s"),
            legacy_env: &["TTL_REFRESH"],
            help: "How often the names of the document are looked up again",
            ..Setting::BLANK
        },
        Setting {
            flag: "sentinel-listen",
            value_name: "IP:PORT",
            help: "Where clients that look for a Sentinel are answered; not set: nowhere",
            ..Setting::BLANK
        },
        Setting {
            flag: "peers",
            value_name: "IP:PORT",
            repeatable: true,
            help: "The other dnsds that answer as Sentinels, told to clients",
            ..Setting::BLANK
        },
        Setting {
            flag: "sentinel-password-file",
            value_name: "PATH",
            help: "File with the password that is asked of clients at --sentinel-listen",
            ..Setting::BLANK
        },
        Setting {
            flag: "nameservers",
            value_name: "IP[:PORT]",
            repeatable: true,
            legacy_env: &["NAMESERVERS"],
            help: "Name servers that node names are looked up at; default: those of /etc/resolv.conf",
            ..Setting::BLANK
        },
        Setting {
            flag: "searchlist",
            value_name: "DOMAIN",
            repeatable: true,
            legacy_env: &["SEARCHLIST"],
            help: "Domains appended to short names; default: those of /etc/resolv.conf",
            ..Setting::BLANK
        },
        Setting {
            flag: "seeds-rack",
            value_name: "NAME",
            default: Some("localrack"),
            legacy_env: &["DYN_RACK"],
            help: "Rack of every node in the list of seeds for Dynomite",
            ..Setting::BLANK
        },
        Setting {
            flag: "seeds-dc",
            value_name: "NAME",
            default: Some("localdc"),
            legacy_env: &["DYN_DC"],
            help: "Datacenter of every node in the list of seeds",
            ..Setting::BLANK
        },
        Setting {
            flag: "seeds-token",
            value_name: "DIGITS",
            legacy_env: &["DYN_TOKEN"],
            help: "What stands before a node's number in its token; default: nothing",
            ..Setting::BLANK
        },
        Setting {
            flag: "seeds-host",
            value_name: "HOST",
            legacy_env: &["HOSTNAME"],
            help: "The host Dynomite runs on, which is never told about; default: this host's name",
            ..Setting::BLANK
        },
        Setting {
            flag: "seeds-service",
            value_name: "NAME",
            legacy_env: &["DYN_SVC"],
            help: "Headless service whose SRV records name the seeds; default: they are those published",
            ..Setting::BLANK
        },
        Setting {
            flag: "seeds-namespace",
            value_name: "NAME",
            legacy_env: &["POD_NAMESPACE"],
            help: "Kubernetes namespace of --seeds-service",
            ..Setting::BLANK
        },
        Setting {
            flag: "seeds-at-root",
            help: "Give the list of seeds as the answer to GET / too",
            ..Setting::BLANK
        },
        Setting {
            flag: "skydns-etcd",
            value_name: "URL",
            repeatable: true,
            help: "Members of the etcd in which SkyDNS or CoreDNS looks; the publication is written there too",
            ..Setting::BLANK
        },
        Setting {
            flag: "nodes-etcd",
            value_name: "URL",
            repeatable: true,
            help: "Members of the etcd in which nodes are registered; their names are answered for",
            ..Setting::BLANK
        },
        ETCD_SETTINGS[0],
        ETCD_SETTINGS[1],
        ETCD_SETTINGS[2],
        ETCD_SETTINGS[3],
        ETCD_SETTINGS[4],
    ],
};

/// What dnsd runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every daemon has.
    pub common: Common,
    /// Where DNS is answered.
    pub dns_listen: SocketAddr,
    /// How it is answered.
    pub dns: DnsFace,
    /// What transfers and NOTIFY are signed with.
    pub tsig_keys: Option<KeysFile>,
    /// What is published.
    pub zones: Zones,
    /// How often names are looked up again.
    pub refresh_interval: Duration,
    /// How names are looked up.
    pub resolver: resolve::Settings,
    /// Where the Sentinel protocol is spoken.
    pub sentinel_listen: Option<SocketAddr>,
    /// The other dnsds that answer as Sentinels.
    pub peers: Vec<SocketAddr>,
    /// Asked of clients of the Sentinel protocol.
    pub sentinel_password: Option<Secret>,
    /// The faces that are not DNS.
    pub discovery: Discovery,
}

/// Where the password of the Sentinel face comes from if no file is named.
const SENTINEL_CREDENTIAL: &str = "sentinel-password";
/// Where it comes from if there is no credential either.
const SENTINEL_VARIABLE: &str = "DNSD_SENTINEL_PASSWORD";

/// One zone, or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zones {
    /// One, whose name is given.
    One(ZoneSettings),
    /// As many as there are documents for.
    Many(Below),
}

impl fmt::Display for Zones {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(zone) => zone.domain.fmt(formatter),
            Self::Many(below) => write!(formatter, "*.{}", below.suffix),
        }
    }
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
    let dns_listen = reader.take_with("dns-listen", |text| {
        text.parse::<SocketAddr>().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:5300")
    });
    let dns = dns::take(&mut reader);
    let tsig_keys = dns::take_keys(&mut reader, dns.as_ref());
    let refresh_interval = reader.take_with("ttl-refresh", parse_refresh);
    let name_servers: Vec<DnsServer> = reader.take_list("nameservers");
    let resolver = resolve::Settings {
        name_servers: name_servers.into_iter().map(|server| server.0).collect(),
        search: reader.take_list("searchlist"),
        ..resolve::Settings::default()
    };
    if let Err(error) = resolver.check() {
        reader.mistake(error.to_string());
    }
    let sentinel_listen = reader.take_with("sentinel-listen", |text| {
        text.parse::<SocketAddr>().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:26379")
    });
    let peers: Vec<SocketAddr> = reader.take_list("peers");
    let sentinel_password = reader.secret("sentinel-password-file", SENTINEL_CREDENTIAL, SENTINEL_VARIABLE);
    let discovery = discovery::take(&mut reader);
    let zones = zones::take(&mut reader, dns_listen);
    if reader.environment().get("ETCD_PEERS").is_some_and(|peers| !peers.is_empty()) {
        reader
            .warning("ETCD_PEERS is not needed: dnsd answers DNS itself; --skydns-etcd writes to etcd for other name servers");
    }
    let config = (|| {
        Some(Config {
            common: common?,
            dns_listen: dns_listen?,
            dns: dns?,
            tsig_keys,
            zones: zones?,
            refresh_interval: refresh_interval?,
            resolver,
            sentinel_listen,
            peers,
            sentinel_password,
            discovery: discovery?,
        })
    })();
    reader.finish(config)
}

fn parse_refresh(text: &str) -> Result<Duration, String> {
    let duration = seconds_or_duration(text)?;
    if duration < Duration::from_millis(REFRESH_MS_MIN) {
        return Err(format!("expected at least {REFRESH_MS_MIN}ms"));
    }
    Ok(duration)
}

fn seconds_or_duration(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(_) => parse_duration(text).map_err(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Sound<Config>, Exit> {
        let environment =
            variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        read(std::iter::once("dnsd").chain(arguments.iter().copied()), &environment)
    }

    #[test]
    fn defaults_are_those_of_the_page() {
        let config = read_with(&[], &[]).unwrap().config;
        assert_eq!(config.common.listen, "127.0.0.1:8081".parse().unwrap());
        assert_eq!(config.dns_listen, "127.0.0.1:5300".parse().unwrap());
        let Zones::One(zone) = config.zones else { panic!("{:?}", config.zones) };
        assert_eq!(zone.domain.to_ascii(), "redis-1.docker.");
        assert_eq!(zone.cluster, "redis-1");
        assert_eq!(zone.ttl_s, 5);
        assert_eq!((config.dns.rate_limit, config.dns.connections_max), (0, 256));
        assert_eq!(config.dns.connections_per_client, 128);
        assert_eq!(config.dns.idle, Duration::from_secs(10));
        assert!(config.dns.threads > 0 && config.dns.transfer_to.is_empty());
        assert_eq!(config.refresh_interval, Duration::from_secs(15));
    }

    #[test]
    fn the_originals_names_work() {
        let sound = read_with(
            &[],
            &[
                ("PUBLISH_DOMAIN", "Cache.Docker."),
                ("TTL", "30"),
                ("TTL_REFRESH", "20"),
                ("ETCD_PEERS", "http://10.0.0.1:4001"),
                ("NAMESERVERS", "10.0.0.2 10.0.0.3:5353"),
                ("SEARCHLIST", "redis-1.docker,docker"),
            ],
        )
        .unwrap();
        let Zones::One(zone) = sound.config.zones else { panic!("{:?}", sound.config.zones) };
        assert_eq!(zone.domain.to_ascii(), "cache.docker.");
        assert_eq!(zone.cluster, "cache");
        assert_eq!(zone.ttl_s, 30);
        assert_eq!(sound.config.refresh_interval, Duration::from_secs(20));
        assert_eq!(sound.config.resolver.name_servers.len(), 2);
        assert_eq!(sound.config.resolver.search, ["redis-1.docker", "docker"]);
        assert!(sound.warnings.iter().any(|warning| warning.contains("ETCD_PEERS")), "{:?}", sound.warnings);
    }

    #[test]
    fn many_clusters_are_below_a_suffix_and_beside_nothing_else() {
        let arguments = ["--domain-suffix", "Redis.Docker.", "--clusters-max", "3", "--ttl", "7"];
        let Zones::Many(below) = read_with(&arguments, &[]).unwrap().config.zones else { panic!("one zone") };
        assert_eq!((below.clusters_max, below.ttl_s), (3, 7));
        assert_eq!(below.zone("redis-1").domain.to_ascii(), "redis-1.redis.docker.");
        assert_eq!(below.server_ips, ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
        for (more, variables, says) in [
            (&["--domain", "a.b"][..], &[][..], "--domain"),
            (&[], &[("PUBLISH_DOMAIN", "a.b")], "--domain"),
            (&["--cluster", "a"], &[], "--cluster"),
            (&["--skydns-etcd", "http://127.0.0.1:1"], &[], "--skydns-etcd"),
            (&["--nodes-etcd", "http://127.0.0.1:1"], &[], "--nodes-etcd"),
            (&["--clusters-max", "0"], &[], "--clusters-max"),
            (&["--domain-suffix", "10.0.0.1"], &[], "--domain-suffix"),
        ] {
            let exit = read_with(&[&["--domain-suffix", "docker"], more].concat(), variables).unwrap_err();
            assert!(exit.code == 64 && exit.stderr.contains(says), "{more:?}: {}", exit.stderr);
        }
        let long = format!("{0}.{0}.{0}", "a".repeat(40));
        assert!(read_with(&["--domain-suffix", &long], &[]).is_err(), "no room for a label");
        assert!(read_with(&["--clusters-max", "3"], &[]).is_err(), "of what?");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let exit = read_with(
            &[
                "--domain",
                "a..b",
                "--ttl",
                "1h1",
                "--ttl-refresh",
                "1ms",
                "--dns-listen",
                "53",
                "--cluster",
                "a/b",
                "--dns-threads",
                "0",
                "--dns-rate-limit",
                "much",
                "--dns-connections",
                "none",
                "--dns-connections-per-client",
                "0",
                "--dns-idle",
                "1ms",
                "--transfer-to",
                "10.0.0.1/8",
                "--secondaries",
                "ns.example",
            ],
            &[("DNSD_SEARCHLIST", "-")],
        )
        .unwrap_err();
        assert_eq!(exit.code, 64);
        for part in ["--domain", "--ttl ", "--ttl-refresh", "--dns-listen", "--cluster", "search list"] {
            assert!(exit.stderr.contains(part), "{part}:\n{}", exit.stderr);
        }
        for flag in ["threads", "rate-limit", "connections", "connections-per-client", "idle"] {
            assert!(exit.stderr.contains(&format!("--dns-{flag}")), "{flag}:\n{}", exit.stderr);
        }
        assert!(exit.stderr.contains("--transfer-to") && exit.stderr.contains("--secondaries"));
    }
}
