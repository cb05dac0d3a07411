//! Which connections this process has opened, so that it can tell its own remains in a client list.
//!
//! After a reply that did not come, the connection is given up, but the node may still hold it and
//! run what was sent over it. It must be recognised, and by more than its epoch: a connection id is
//! given once in a life of redis, so run id and id together name one connection for ever. Where it
//! broke before the run id was read, its own address must do.

use std::collections::VecDeque;
use std::net::SocketAddr;

use topology::observation::{RunId, SessionId};

use crate::clients::is_peer;

/// Most connections remembered; the longest ended goes first.
const CONNECTIONS_MAX: usize = 1024;

/// A connection in a client list, seen from this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Ours and in use, perhaps under another address of the same node.
    Live,
    /// Ours and given up.
    GivenUp,
    /// Not ours.
    Foreign,
}

#[derive(Debug)]
struct Opened {
    id: Option<SessionId>,
    run_id: Option<RunId>,
    local: Option<SocketAddr>,
    live: bool,
}

/// All connections of this process.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    opened: VecDeque<Opened>,
}

impl Registry {
    /// A connection that is in use from now on.
    pub(crate) fn opened(&mut self, id: SessionId, local: Option<SocketAddr>) {
        self.push(Opened { id: Some(id), run_id: None, local, live: true });
    }

    /// A connection that broke before its id was known; it may exist at the node all the same.
    pub(crate) fn stillborn(&mut self, local: SocketAddr) {
        self.push(Opened { id: None, run_id: None, local: Some(local), live: false });
    }

    /// Which life a connection is to.
    pub(crate) fn learned(&mut self, id: SessionId, local: Option<SocketAddr>, run_id: &RunId) {
        if let Some(entry) = self.find(id, local)
            && entry.run_id.as_ref() != Some(run_id)
        {
            entry.run_id = Some(run_id.clone());
        }
    }

    /// A connection that will not be used again.
    pub(crate) fn ended(&mut self, id: SessionId, local: Option<SocketAddr>) {
        if let Some(entry) = self.find(id, local) {
            entry.live = false;
        }
    }

    /// Whose a connection is that a node of this life lists.
    pub(crate) fn owner(&self, run_id: &RunId, id: SessionId, peer: &str) -> Owner {
        let ours = self.opened.iter().rev().find(|entry| match (&entry.run_id, entry.id) {
            (Some(life), Some(known)) => life == run_id && known == id,
            (None, Some(known)) => known == id && entry.local.is_some_and(|local| is_peer(peer, local)),
            (_, None) => entry.local.is_some_and(|local| is_peer(peer, local)),
        });
        match ours {
            Some(entry) if entry.live => Owner::Live,
            Some(_) => Owner::GivenUp,
            None => Owner::Foreign,
        }
    }

    fn find(&mut self, id: SessionId, local: Option<SocketAddr>) -> Option<&mut Opened> {
        self.opened.iter_mut().rev().find(|entry| entry.id == Some(id) && entry.local == local)
    }

    fn push(&mut self, opened: Opened) {
        if self.opened.len() >= CONNECTIONS_MAX {
            let ended = self.opened.iter().position(|entry| !entry.live).unwrap_or(0);
            self.opened.remove(ended);
        }
        self.opened.push_back(opened);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn life(name: &str) -> RunId {
        RunId(name.to_owned())
    }

    #[test]
    fn a_connection_is_known_by_life_and_id_behind_any_address() {
        let mut registry = Registry::default();
        registry.opened(SessionId(5), local(1000));
        registry.learned(SessionId(5), local(1000), &life("a"));
        assert_eq!(registry.owner(&life("a"), SessionId(5), "10.9.9.9:7"), Owner::Live);
        registry.ended(SessionId(5), local(1000));
        assert_eq!(registry.owner(&life("a"), SessionId(5), "10.9.9.9:7"), Owner::GivenUp);
        assert_eq!(registry.owner(&life("b"), SessionId(5), "127.0.0.1:1000"), Owner::Foreign);
        assert_eq!(registry.owner(&life("a"), SessionId(6), "127.0.0.1:1000"), Owner::Foreign);
    }

    #[test]
    fn one_that_broke_early_is_known_by_its_address() {
        let mut registry = Registry::default();
        registry.stillborn(local(1000).unwrap());
        assert_eq!(registry.owner(&life("a"), SessionId(6), "127.0.0.1:1000"), Owner::GivenUp);
        registry.opened(SessionId(7), local(1001));
        registry.ended(SessionId(7), local(1001));
        assert_eq!(registry.owner(&life("a"), SessionId(7), "127.0.0.1:1001"), Owner::GivenUp);
        assert_eq!(registry.owner(&life("a"), SessionId(7), "10.0.0.1:1001"), Owner::Foreign);
    }

    #[test]
    fn is_bounded_and_keeps_those_in_use() {
        let mut registry = Registry::default();
        registry.opened(SessionId(1), local(1));
        registry.learned(SessionId(1), local(1), &life("a"));
        for id in 2..=u64::try_from(CONNECTIONS_MAX).unwrap() + 10 {
            registry.opened(SessionId(id), local(2));
            registry.ended(SessionId(id), local(2));
        }
        assert!(registry.opened.len() <= CONNECTIONS_MAX);
        assert_eq!(registry.owner(&life("a"), SessionId(1), "127.0.0.1:1"), Owner::Live);
    }
}
