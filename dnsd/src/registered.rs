//! Nodes that are registered in etcd, to be answered for by their names.
//!
//! Where redis runs in containers, something on each host writes where they are: registrator did, and
//! `dnsd register` does. With `--nodes-etcd` dnsd answers for those names itself, so that the dictator, the
//! observer and everybody else find the nodes by the server that tells the master too, and no other name
//! server has to run.
//!
//! The keys are listed every second. A watch would be quicker by less than the time that it takes to start a
//! redis, and a list needs no thought about what a watch may have missed. When etcd cannot be asked the
//! names stay; a name whose key has gone is gone, because keys live by leases and end with their node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use coordination::{Endpoints, Etcd, KeyVersion};
use hickory_proto::rr::Name;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::skydns;
use crate::zone::Registered;

/// How often the keys are listed, in milliseconds.
const INTERVAL_MS: u64 = 1_000;
/// Deadline of a list.
const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// How long a start waits for the first list, in milliseconds: without etcd the rest is served all the same.
pub const FIRST_MS_MAX: u64 = 2_500;

/// What of a key's value is of interest; SkyDNS knows more.
#[derive(Deserialize)]
struct Value {
    host: String,
    port: u16,
}

/// Lists the keys below a domain until shutdown.
pub async fn follow(
    domain: Name,
    etcd: Endpoints,
    nodes: watch::Sender<Registered>,
    shutdown: CancellationToken,
) {
    let etcd = Etcd::new(etcd);
    let path = skydns::path(&domain);
    let own = skydns::owned(&domain);
    let mut ticks = interval(Duration::from_millis(INTERVAL_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut is_failing, mut is_first) = (false, true);
    let mut left_out = BTreeSet::new();
    loop {
        let listed = tokio::select! {
            () = shutdown.cancelled() => return,
            listed = async {
                ticks.tick().await;
                etcd.list(&path, ASK_DEADLINE).await
            } => listed,
        };
        let mut keys = match listed {
            Ok(keys) => keys,
            Err(error) => {
                if !is_failing {
                    tracing::warn!(%error, "registered nodes cannot be listed; the last list stays");
                }
                is_failing = true;
                continue;
            }
        };
        if is_failing {
            tracing::info!(path, "registered nodes can be listed again");
            is_failing = false;
        }
        // What is published may be written to the same etcd; it is no registration.
        keys.retain(|key, _| !own.iter().any(|own| key == own || key.starts_with(&format!("{own}/"))));
        let (found, unusable) = read(&keys);
        for (key, reason) in unusable.iter().filter(|(key, _)| !left_out.contains(*key)) {
            tracing::warn!(key, "this key names no node and is left out: {reason}");
        }
        left_out = unusable.into_keys().collect();
        nodes.send_if_modified(|nodes| {
            let is_new = is_first || *nodes != found;
            if *nodes != found {
                tracing::info!(path, nodes = found.len(), "registered nodes");
            }
            *nodes = found;
            is_new
        });
        is_first = false;
    }
}

/// The nodes, and the keys that name none, with the reason. Pure.
fn read(keys: &BTreeMap<String, KeyVersion>) -> (Registered, BTreeMap<String, String>) {
    let (mut nodes, mut unusable) = (Registered::new(), BTreeMap::new());
    for (key, version) in keys {
        match (skydns::name(key), node(&version.value)) {
            (Some(name), Ok(node)) => {
                nodes.insert(name, node);
            }
            (None, _) => {
                unusable.insert(key.clone(), "the path is no name".to_owned());
            }
            (_, Err(reason)) => {
                unusable.insert(key.clone(), reason);
            }
        }
    }
    (nodes, unusable)
}

fn node(value: &[u8]) -> Result<SocketAddr, String> {
    let value: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let ip: IpAddr = value.host.parse().map_err(|_| format!("host {:?} is no IP address", value.host))?;
    if value.port == 0 {
        return Err("port 0".to_owned());
    }
    Ok(SocketAddr::new(ip, value.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_nodes_or_left_out_with_a_reason() {
        let keys = [
            ("/skydns/docker/redis-1/core-01", r#"{"host":"10.0.0.1","port":49153}"#),
            ("/skydns/docker/redis-1/b/a", r#"{"host":"fd00::1","port":6379,"ttl":30,"text":"x"}"#),
            ("/skydns/docker/redis-1/named", r#"{"host":"other.docker","port":6379}"#),
            ("/skydns/docker/redis-1/portless", r#"{"host":"10.0.0.1"}"#),
            ("/skydns/docker/redis-1/nonsense", "1"),
            ("/skydns/docker/redis-1/a b", r#"{"host":"10.0.0.1","port":1}"#),
        ];
        let version = |value: &str| KeyVersion {
            value: value.into(),
            mod_revision: 1,
            create_revision: 1,
            version: 1,
            lease: 0,
        };
        let keys = keys.map(|(key, value)| (key.to_owned(), version(value)));
        let (nodes, unusable) = read(&BTreeMap::from(keys));
        let nodes: Vec<String> = nodes.iter().map(|(name, node)| format!("{name} {node}")).collect();
        assert_eq!(nodes, ["a.b.redis-1.docker. [fd00::1]:6379", "core-01.redis-1.docker. 10.0.0.1:49153"]);
        let unusable: Vec<&str> = unusable.keys().filter_map(|key| key.rsplit('/').next()).collect();
        assert_eq!(unusable, ["a b", "named", "nonsense", "portless"]);
    }
}
