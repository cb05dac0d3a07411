//! CLIENT LIST: who else gives orders to this node.
//!
//! Each line is `key=value` pairs with blanks between (`catClientInfoString` in redis's networking.c);
//! names cannot hold blanks or line ends, so no client can forge another's line.

use std::net::SocketAddr;

use topology::observation::SessionId;

/// How a dictator's connections are named before the epoch.
pub const DICTATOR_NAME_PREFIX: &str = "dictator:";

/// A connection that gives orders, as one line of the list tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Giver {
    /// Named `dictator:<epoch>`.
    Dictator {
        /// `CLIENT ID`.
        id: SessionId,
        /// The number in its name.
        epoch: u64,
        /// Its address as the node sees it.
        peer: String,
    },
    /// Named `sentinel-<id>-cmd` (redis sentinel.c `sentinelSetClientName`).
    Sentinel {
        /// Its name and address.
        label: String,
    },
}

/// Finds the connections of dictators and sentinels in a CLIENT LIST reply.
pub(crate) fn givers(text: &str) -> Vec<Giver> {
    text.lines().filter_map(giver).collect()
}

fn giver(line: &str) -> Option<Giver> {
    let name = value(line, "name")?;
    let peer = value(line, "addr").unwrap_or("an unknown address");
    if name.starts_with("sentinel-") && name.ends_with("-cmd") {
        return Some(Giver::Sentinel { label: format!("{name} from {peer}") });
    }
    let epoch = name.strip_prefix(DICTATOR_NAME_PREFIX)?.parse().ok()?;
    let id = SessionId(value(line, "id")?.parse().ok()?);
    Some(Giver::Dictator { id, epoch, peer: peer.to_owned() })
}

fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split(' ')
        .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key).map(|(_, value)| value))
}

/// Whether a peer as the node sees it is this local address.
pub(crate) fn is_peer(peer: &str, local: SocketAddr) -> bool {
    peer.parse::<SocketAddr>().is_ok_and(|peer| peer == local)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
id=3 addr=127.0.0.1:42640 laddr=127.0.0.1:6379 fd=8 name= age=2 idle=2 flags=S db=0 cmd=psync user=default
id=9 addr=10.0.0.7:42698 laddr=127.0.0.1:6379 fd=9 name=dictator:7 age=0 flags=N cmd=client|list user=default
id=10 addr=[::1]:42699 laddr=[::1]:6379 fd=9 name=sentinel-0a1b2c3d-cmd age=0 flags=N cmd=ping user=default
id=11 addr=10.0.0.8:1 laddr=10.0.0.1:6379 fd=9 name=sentinel-0a1b2c3d-pubsub age=0 flags=P cmd=subscribe
id=12 addr=10.0.0.8:2 laddr=10.0.0.1:6379 fd=9 name=dictator:seven age=0 flags=N cmd=info
id=13 addr=10.0.0.8:2 laddr=10.0.0.1:6379 fd=9 name=dictator-onlooker age=0 flags=N cmd=info
";

    #[test]
    fn finds_those_who_give_orders() {
        let expected = vec![
            Giver::Dictator { id: SessionId(9), epoch: 7, peer: "10.0.0.7:42698".to_owned() },
            Giver::Sentinel { label: "sentinel-0a1b2c3d-cmd from [::1]:42699".to_owned() },
        ];
        assert_eq!(givers(LIST), expected);
    }

    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        assert_eq!(
            givers("\n\nname=\nid=x name=dictator:1\n=\nname=dictator:99999999999999999999 id=1"),
            vec![]
        );
    }
}
