//! Where lookups get their servers and search list from: settings, else resolv.conf.
//!
//! Naming servers in the settings sets resolv.conf aside as a whole: its search list belongs to the
//! servers it names. A search list alone is used with the servers of resolv.conf. The file is read
//! again for each batch, because DHCP clients and VPNs rewrite it while a daemon runs for months.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::parse_resolv_conf;

/// The port of DNS (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;
/// Dots a name needs to be tried as it stands before the search list (resolv.conf(5), `ndots`).
const NDOTS_DEFAULT: usize = 1;
/// Most name servers that are asked; glibc stops at three.
const NAME_SERVERS_MAX: usize = 8;
/// Most search domains that are tried per name; glibc's documented limit was six for decades.
const SEARCH_MAX: usize = 16;
/// Default time for one name with all its steps, in milliseconds.
const DEADLINE_MS_DEFAULT: u64 = 5_000;

/// How names are looked up. The default asks the name servers of the machine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Servers to ask, in this order; empty: those of `resolv_conf`.
    pub name_servers: Vec<SocketAddr>,
    /// Domains to try short names in; empty: those of `resolv_conf`, if its servers are used.
    pub search: Vec<String>,
    /// Where the system names its servers.
    pub resolv_conf: PathBuf,
    /// Where the system keeps names it knows without asking.
    pub hosts: PathBuf,
    /// Time for one name with all its steps.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name_servers: Vec::new(),
            search: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            hosts: PathBuf::from("/etc/hosts"),
            deadline: Duration::from_millis(DEADLINE_MS_DEFAULT),
        }
    }
}

impl Settings {
    /// Judges the settings without using them, for a program that reports all its mistakes at once.
    ///
    /// # Errors
    /// [`SettingsError`], as from [`Resolver::new`](crate::Resolver::new).
    pub fn check(&self) -> Result<(), SettingsError> {
        Effective::new(self, b"").map(drop)
    }
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A text of the search list is no domain name.
    #[error("`{domain}` in the search list is not a domain name")]
    SearchDomain {
        /// The text.
        domain: String,
    },
    /// More servers than are ever asked.
    #[error("{count} name servers; at most {NAME_SERVERS_MAX} are asked")]
    TooManyServers {
        /// How many were given.
        count: usize,
    },
    /// More search domains than are ever tried.
    #[error("{count} search domains; at most {SEARCH_MAX} are tried")]
    TooManySearchDomains {
        /// How many were given.
        count: usize,
    },
}

/// A text that is not `ip[:port]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a name server; write an IP address, with a port as `10.0.0.2:53` or `[::1]:53`")]
pub struct NameServerError {
    text: String,
}

/// Parses `ip[:port]`: `10.0.0.2`, `10.0.0.2:5353`, `::1`, `[::1]`, `[::1]:5353`. The port defaults to 53.
///
/// # Errors
/// [`NameServerError`] for anything else, host names included: who would resolve them.
pub fn parse_name_server(text: &str) -> Result<SocketAddr, NameServerError> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, DNS_PORT));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(address),
        _ => Err(NameServerError { text: text.to_owned() }),
    }
}

/// Servers, search list and ndots that are in force for one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) search: Vec<Name>,
    pub(crate) ndots: usize,
}

impl Effective {
    /// Settings over the content of resolv.conf. A file that is missing or names no server leaves the
    /// server list empty; then only literals and the hosts file can be resolved.
    pub(crate) fn new(settings: &Settings, resolv_conf: &[u8]) -> Result<Self, SettingsError> {
        let search = settings
            .search
            .iter()
            .map(|domain| parse_domain(domain))
            .collect::<Result<Vec<Name>, SettingsError>>()?;
        if search.len() > SEARCH_MAX {
            return Err(SettingsError::TooManySearchDomains { count: search.len() });
        }
        if !settings.name_servers.is_empty() {
            let count = settings.name_servers.len();
            if count > NAME_SERVERS_MAX {
                return Err(SettingsError::TooManyServers { count });
            }
            return Ok(Self { servers: settings.name_servers.clone(), search, ndots: NDOTS_DEFAULT });
        }
        let mut system = Self::from_system(resolv_conf);
        if !search.is_empty() {
            system.search = search;
        }
        Ok(system)
    }

    fn from_system(resolv_conf: &[u8]) -> Self {
        let Ok((config, options)) = parse_resolv_conf(resolv_conf) else {
            return Self { servers: Vec::new(), search: Vec::new(), ndots: NDOTS_DEFAULT };
        };
        let (domain, mut search, servers) = config.into_parts();
        if search.is_empty() {
            search.extend(domain);
        }
        for domain in &mut search {
            domain.set_fqdn(true);
        }
        search.truncate(SEARCH_MAX);
        Self {
            servers: servers
                .into_iter()
                .take(NAME_SERVERS_MAX)
                .map(|server| SocketAddr::new(server.ip, DNS_PORT))
                .collect(),
            search,
            ndots: options.ndots,
        }
    }
}

fn parse_domain(domain: &str) -> Result<Name, SettingsError> {
    let mut name = Name::from_ascii(domain)
        .map_err(|_| SettingsError::SearchDomain { domain: domain.to_owned() })?
        .to_lowercase();
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_in_every_spelling() {
        for (text, address) in [
            ("10.0.0.2", "10.0.0.2:53"),
            ("10.0.0.2:5353", "10.0.0.2:5353"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("[::1]:5353", "[::1]:5353"),
        ] {
            assert_eq!(parse_name_server(text).unwrap(), address.parse().unwrap(), "{text}");
        }
        for text in ["", "ns1.example", "10.0.0.2:0", "10.0.0.2:65536", "10.0.0.2:", "udp://10.0.0.2"] {
            assert!(parse_name_server(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn own_servers_set_resolv_conf_aside() {
        let system = b"nameserver 10.9.9.9\nsearch example.com\noptions ndots:3\n";
        let mut settings = Settings::default();
        let effective = Effective::new(&settings, system).unwrap();
        assert_eq!(effective.servers, ["10.9.9.9:53".parse().unwrap()]);
        assert_eq!(effective.search, [Name::from_ascii("example.com.").unwrap()]);
        assert_eq!(effective.ndots, 3);

        settings.search = vec!["redis-1.docker".to_owned()];
        let effective = Effective::new(&settings, system).unwrap();
        assert_eq!(effective.servers, ["10.9.9.9:53".parse().unwrap()]);
        assert_eq!(effective.search, [Name::from_ascii("redis-1.docker.").unwrap()]);

        settings = Settings { name_servers: vec!["10.0.0.2:5353".parse().unwrap()], ..Settings::default() };
        let effective = Effective::new(&settings, system).unwrap();
        assert_eq!(effective.servers, settings.name_servers);
        assert!(effective.search.is_empty());
    }

    #[test]
    fn a_machine_without_resolv_conf_has_no_servers() {
        let effective = Effective::new(&Settings::default(), b"").unwrap();
        assert!(effective.servers.is_empty());
    }

    #[test]
    fn refuses_a_search_list_that_is_none() {
        let settings = Settings { search: vec!["a..b".to_owned()], ..Settings::default() };
        let error = Effective::new(&settings, b"").unwrap_err();
        assert_eq!(error, SettingsError::SearchDomain { domain: "a..b".to_owned() });
    }
}
