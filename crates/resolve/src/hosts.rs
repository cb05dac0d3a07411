//! The hosts file: names that are known without asking anyone.
//!
//! Read anew for every batch, like resolv.conf: it is a few lines, and an operator who edits it in an
//! emergency expects it to count at once. A name found here is not asked of DNS for addresses at all,
//! neither family, as with `hosts: files dns` of glibc.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest part of a hosts file that is read, in bytes. Lists for blocking advertisements reach this;
/// nodes of redis stand at its beginning.
pub(crate) const HOSTS_BYTES_MAX: usize = 1024 * 1024;

/// Addresses by lower-case host name without trailing dot.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    addresses: BTreeMap<String, Vec<IpAddr>>,
}

impl Hosts {
    /// Parses hosts(5). Lines that make no sense are skipped, as every other reader of the file does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut addresses = BTreeMap::<String, Vec<IpAddr>>::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
            for name in words {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                addresses.entry(name).or_default().push(ip);
            }
        }
        Self { addresses }
    }

    /// The addresses of `name` (lower case, no trailing dot), if it is known here.
    ///
    /// `localhost` and names below it are loopback whatever the file says or lacks (RFC 6761 section
    /// 6.3), so that they never depend on a name server.
    pub(crate) fn get(&self, name: &str) -> Option<Vec<IpAddr>> {
        if let Some(addresses) = self.addresses.get(name) {
            return Some(addresses.clone());
        }
        is_localhost(name).then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
    }
}

/// Whether a name is `localhost` or below it, which must not be asked of DNS.
pub(crate) fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let hosts = Hosts::parse(
            "127.0.0.1 localhost # the usual\n\
             10.0.0.4\tCore-01.redis-1.docker. core-01\n\
             nonsense line\n\
             2001:db8::4 core-01\n",
        );
        assert_eq!(hosts.get("localhost").unwrap(), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(hosts.get("core-01").unwrap().len(), 2);
        assert_eq!(hosts.get("core-01.redis-1.docker").unwrap().len(), 1);
        assert_eq!(hosts.get("line"), None);
        assert_eq!(hosts.get("db.localhost").unwrap().len(), 2, "never depends on a name server");
    }
}
