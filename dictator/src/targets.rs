//! Which addresses a document may lead to.
//!
//! Whoever may send a document can let the dictator open connections, and can let a redis copy its data to the
//! address that is named as its slave. So the operator of the dictator can say where nodes are
//! (`--allow-targets`), whatever a document says. The check is made on numeric addresses: of literals when the
//! document comes, of names each time they are resolved, since a name may lead elsewhere tomorrow. If one of
//! several addresses of a name is not allowed, the name is not used at all; somebody is playing with it.
//!
//! Without a list every address is allowed that can be a node's, loopback included. Link-local addresses are not:
//! no redis has one on purpose, and at 169.254.169.254 clouds give away the credentials of the host.

use std::net::{IpAddr, SocketAddr};

use service::network::Network;
use topology::document::Document;
use topology::{Address, NodeName};

/// Addresses that a document may lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    list: Vec<Network>,
}

/// An address that is not allowed, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{ip} {reason}")]
pub struct NotAllowed {
    /// The address.
    pub ip: IpAddr,
    reason: String,
}

impl Targets {
    /// Those in the list; an empty list allows what can be a node's address.
    pub fn new(list: Vec<Network>) -> Self {
        Self { list }
    }

    /// The list as it was written.
    pub fn list(&self) -> Vec<String> {
        self.list.iter().map(ToString::to_string).collect()
    }

    /// Judges one address.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn check(&self, ip: IpAddr) -> Result<(), NotAllowed> {
        let ip = ip.to_canonical();
        let refused = |reason: String| Err(NotAllowed { ip, reason });
        let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        if ip.is_unspecified() || ip.is_multicast() || broadcast {
            return refused("can be no node's address".to_owned());
        }
        if self.list.iter().any(|network| network.contains(ip)) {
            return Ok(());
        }
        let link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        if !self.list.is_empty() {
            refused(format!("is not among --allow-targets ({})", self.list().join(", ")))
        } else if link_local {
            refused("is link-local, which is allowed only if --allow-targets lists it".to_owned())
        } else {
            Ok(())
        }
    }

    /// Judges where a name leads.
    ///
    /// # Errors
    /// The first [`NotAllowed`], as a sentence.
    pub fn check_all(&self, endpoints: &[SocketAddr]) -> Result<(), String> {
        endpoints.iter().try_for_each(|endpoint| self.check(endpoint.ip())).map_err(|error| error.to_string())
    }

    /// The literals in a document that are not allowed.
    pub fn refused_in<'a>(&self, document: &'a Document) -> Vec<(&'a NodeName, NotAllowed)> {
        let judged = document.nodes().filter_map(|node| match node.address {
            Address::Ip(ip) => self.check(ip).err().map(|refused| (node, refused)),
            Address::Name(_) => None,
        });
        judged.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(list: &[&str], ip: &str) -> Result<(), String> {
        let list = list.iter().map(|text| text.parse().unwrap()).collect();
        Targets::new(list).check(ip.parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_list_every_address_that_a_node_can_have() {
        for ip in ["127.0.0.1", "::1", "10.0.0.4", "8.8.8.8", "fd00::1", "2001:db8::1"] {
            assert_eq!(allowed(&[], ip), Ok(()), "{ip}");
        }
        for ip in [
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
            "169.254.169.254",
            "fe80::1",
            "::ffff:0.0.0.0",
        ] {
            assert!(allowed(&[], ip).is_err(), "{ip}");
        }
    }

    #[test]
    fn a_list_is_all_there_is() {
        let list = ["10.0.0.0/8", "fd00::/8"];
        assert_eq!(allowed(&list, "10.9.9.9"), Ok(()));
        assert_eq!(allowed(&list, "::ffff:10.9.9.9"), Ok(()), "the other spelling");
        let told = allowed(&list, "127.0.0.1").unwrap_err();
        assert_eq!(told, "127.0.0.1 is not among --allow-targets (10.0.0.0/8, fd00::/8)");
        assert_eq!(allowed(&["169.254.0.0/16"], "169.254.1.1"), Ok(()), "who lists it means it");
        assert!(allowed(&["0.0.0.0/0"], "0.0.0.0").is_err());
        let endpoints = ["10.0.0.1:1", "192.0.2.1:1"].map(|text| text.parse().unwrap());
        let targets = Targets::new(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(targets.check_all(&endpoints).unwrap_err().contains("192.0.2.1"));
        assert!(targets.check_all(&endpoints[..1]).is_ok());
    }
}
