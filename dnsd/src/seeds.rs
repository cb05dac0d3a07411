//! The list of seeds that a Dynomite node asks for over HTTP (its `florida_provider`).
//!
//! The format is one line without an end, `host:port:rack:dc:token|host:port:rack:dc:token`. Dynomite parses
//! it from the right and checks little, so what would spoil the list is left out here: names without an
//! ordinal (they have no token), IPv6 addresses (their colons), a second node of one token (it would take
//! the place of the first). Dynomite only ever adds what it is told, and takes a new address for a known
//! token as a move, even for itself: therefore a node is never told about itself.
//!
//! It is asked every half minute and remembers nothing, so an empty answer in between would do harm for no
//! reason: once there was a list, there always is one. What has left stays in it until there is another.

pub mod service;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::directory::Slot;
use crate::publication::Publication;

/// The port on which the nodes of Dynomite talk to each other (its default `dyn_listen`).
const DYNOMITE_PORT: u16 = 8101;

/// What is the same for every node that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The rack.
    pub rack: String,
    /// The datacenter.
    pub dc: String,
    /// What stands before the ordinal in a token; only digits.
    pub token_prefix: String,
    /// The host that is never told about: the one Dynomite runs on.
    pub own_host: String,
}

/// A node that may be told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its name, which ends in its ordinal at the first label: `dynomite-2.…`.
    pub name: String,
    /// How it is reached: what is told.
    pub host: String,
}

/// A list, and what did not get into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// In Dynomite's format; empty if there is nobody to tell of.
    pub text: String,
    /// Names that were left out, and why. Not the own one.
    pub left_out: Vec<(String, &'static str)>,
}

/// Writes the list. The order of the peers carries no meaning.
pub fn list(placement: &Placement, peers: &[Peer]) -> List {
    let mut peers: Vec<&Peer> = peers.iter().filter(|peer| !is_own(placement, peer)).collect();
    peers.sort_unstable();
    let (mut seeds, mut left_out, mut tokens) = (Vec::new(), Vec::new(), BTreeSet::new());
    for peer in peers {
        let reason = match ordinal(&peer.name) {
            None => "its first label does not end in a hyphen and a number",
            Some(_) if peer.host.contains(':') => "Dynomite's list cannot hold an IPv6 address",
            Some(ordinal) => {
                let Placement { rack, dc, token_prefix, .. } = placement;
                let token = format!("{token_prefix}{ordinal}");
                if tokens.insert(token.clone()) {
                    seeds.push(format!("{}:{DYNOMITE_PORT}:{rack}:{dc}:{token}", peer.host));
                    continue;
                }
                "another node has the same number"
            }
        };
        left_out.push((peer.name.clone(), reason));
    }
    List { text: seeds.join("|"), left_out }
}

/// Whether a peer is the host that asks. Host names are compared by their first label: a machine seldom
/// knows by which domain others call it.
pub fn is_own(placement: &Placement, peer: &Peer) -> bool {
    let own = &placement.own_host;
    match own.parse::<IpAddr>() {
        Ok(_) => peer.host == *own,
        Err(_) => first_label(&peer.name).eq_ignore_ascii_case(first_label(own)),
    }
}

fn first_label(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

/// The digits behind the last hyphen of the first label.
fn ordinal(name: &str) -> Option<&str> {
    let (_, digits) = first_label(name).rsplit_once('-')?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

/// The nodes of a publication.
fn published(publication: &Publication) -> Vec<Peer> {
    let members = publication.members.iter();
    members
        .filter_map(|member| {
            let host = member.endpoint()?.ip().to_string();
            Some(Peer { name: member.name.address.to_string(), host })
        })
        .collect()
}

/// Where the peers come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From what is published.
    Publication(Arc<Slot>),
    /// From nowhere: many clusters are published, and which of them is meant cannot be known.
    Nowhere,
    /// From the SRV records of a service.
    Service(watch::Receiver<service::Found>),
}

/// The list as it is asked for.
#[derive(Debug)]
pub struct Seeds {
    placement: Placement,
    source: Source,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// The last list that was not empty.
    text: Option<String>,
    /// Names that were left out of it; each was warned about.
    left_out: BTreeSet<String>,
}

/// The name of this host, as the kernel has it. By a system call: a unit may have no `/proc/sys`.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Seeds {
    /// Nobody was told anything yet.
    pub fn new(placement: Placement, source: Source) -> Self {
        Self { placement, source, last: Mutex::default() }
    }

    /// The list of now, or the last one that had anybody in it.
    ///
    /// # Errors
    /// Why there never was one, as a sentence.
    pub fn text(&self) -> Result<String, String> {
        let (peers, trouble) = match &self.source {
            Source::Publication(slot) => match slot.publication().as_ref() {
                Some(publication) => (published(publication), None),
                None => (Vec::new(), Some("nothing was published yet".to_owned())),
            },
            Source::Nowhere => {
                let trouble = "many clusters are published here; name a service (--seeds-service)";
                (Vec::new(), Some(trouble.to_owned()))
            }
            Source::Service(found) => {
                let found = found.borrow();
                (found.peers.clone(), found.trouble.clone())
            }
        };
        let list = list(&self.placement, &peers);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at only when somebody asks: to those without Dynomite these names are none of its business.
        for (name, reason) in list.left_out.iter().filter(|(name, _)| !last.left_out.contains(name)) {
            tracing::warn!(node = name, "left out of the seeds: {reason}");
        }
        last.left_out = list.left_out.into_iter().map(|(name, _)| name).collect();
        if !list.text.is_empty() {
            last.text = Some(list.text);
        }
        let own = &self.placement.own_host;
        last.text.clone().ok_or_else(|| {
            trouble.unwrap_or_else(|| format!("there is nobody to tell of but this host, {own}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(own_host: &str) -> Placement {
        Placement {
            rack: "rack1".to_owned(),
            dc: "dc1".to_owned(),
            token_prefix: "10113428".to_owned(),
            own_host: own_host.to_owned(),
        }
    }

    fn peer(name: &str, host: &str) -> Peer {
        Peer { name: name.to_owned(), host: host.to_owned() }
    }

    #[test]
    fn the_list_as_dynomite_wants_it() {
        let peers = [
            peer("dynomite-2.dyn.default.svc.cluster.local", "10.0.0.12"),
            peer("dynomite-0.dyn.default.svc.cluster.local", "10.0.0.10"),
            peer("dynomite-1.dyn.default.svc.cluster.local", "10.0.0.11"),
        ];
        let told = list(&placement("dynomite-1"), &peers);
        assert_eq!(told.text, "10.0.0.10:8101:rack1:dc1:101134280|10.0.0.12:8101:rack1:dc1:101134282");
        assert_eq!(told.left_out, []);
        for own in ["Dynomite-1.other.domain", "10.0.0.11"] {
            assert_eq!(list(&placement(own), &peers).text, told.text, "{own}");
        }
        assert_eq!(list(&placement("dynomite-0"), &peers[1..2]).text, "");
    }

    #[test]
    fn this_host_has_a_name() {
        let name = host_name();
        assert!(!name.is_empty() && !name.contains(char::is_whitespace), "{name:?}");
    }

    #[test]
    fn what_would_spoil_the_list_is_left_out() {
        let peers = [
            peer("core-01", "10.0.0.1"),
            peer("core-01.again", "10.0.0.2"),
            peer("core-02", "fd00::2"),
            peer("10.0.0.3", "10.0.0.3"),
            peer("core", "10.0.0.4"),
            peer("core-", "10.0.0.5"),
            peer("core-1a", "10.0.0.6"),
        ];
        let told = list(&placement("elsewhere"), &peers);
        assert_eq!(told.text, "10.0.0.1:8101:rack1:dc1:1011342801");
        let names: Vec<&str> = told.left_out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["10.0.0.3", "core", "core-", "core-01.again", "core-02", "core-1a"]);
    }
}
