//! The publication as keys in etcd, in the format of SkyDNS, which CoreDNS reads with its `etcd` plugin.
//!
//! For those who have a name server on each host already: it answers for the names, and this module sees
//! to it that they are true. The names are the two that clients know, `master.D` and one for each slave
//! below `slaves.D`. The aliases `_redis._tcp.…` are left out, and have to be: whoever asks for a name in
//! this scheme gets every key below it too, so that an alias of the master would be a second master.
//!
//! A key's DNS TTL is written into it and has nothing to do with the lifetime of its lease. A zero would
//! mean the reader's own default, which is minutes.
//!
//! etcd is not asked anything here and cannot hold a publication up: the keys follow it as soon as they can.

use std::sync::Arc;
use std::time::Duration;

use coordination::{Endpoints, Etcd, KeptKeys, Keys, Upkeep};
use hickory_proto::rr::Name;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use topology::Address;

use crate::directory::Slot;
use crate::labels::short_labels;
use crate::publication::Publication;
use crate::zone::Member;

/// Where all keys are, by the convention of SkyDNS.
const ROOT: &str = "/skydns";
/// Priority of every record, as in our own answers.
const PRIORITY: u16 = 10;
/// Lifetime of the lease, in seconds: what the program before this one gave its keys. CoreDNS takes the
/// rest of it for a TTL, but not below 30 unless told otherwise, so that a shorter one would gain nothing.
const LEASE_S: u64 = 30;
/// Shortest DNS TTL that can be written, in seconds.
const TTL_S_MIN: u32 = 1;

/// The key of a domain: its labels from the last to the first.
pub fn path(domain: &Name) -> String {
    let text = domain.to_ascii().to_ascii_lowercase();
    let labels = text.split('.').filter(|label| !label.is_empty());
    labels.rev().fold(ROOT.to_owned(), |path, label| format!("{path}/{label}"))
}

/// The domain of a key, if it is one.
pub fn name(path: &str) -> Option<Name> {
    let labels: Vec<&str> = path.strip_prefix(ROOT)?.strip_prefix('/')?.rsplit('/').collect();
    let Ok(Address::Name(text)) = labels.join(".").parse() else { return None };
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The keys that are ours, with everything below them.
pub fn owned(domain: &Name) -> Vec<String> {
    let path = path(domain);
    vec![format!("{path}/master"), format!("{path}/slaves")]
}

/// The keys of a publication and their values.
pub fn keys(publication: &Publication) -> Keys {
    let settings = &publication.settings;
    let path = path(&settings.domain);
    let value = |member: &Member| {
        let endpoint = member.endpoint()?;
        let ttl_s = settings.ttl_s.max(TTL_S_MIN);
        let value =
            json!({"host": endpoint.ip(), "port": endpoint.port(), "priority": PRIORITY, "ttl": ttl_s});
        Some(value.to_string().into_bytes())
    };
    let members = &publication.members;
    let names: Vec<_> = members.slaves.iter().map(|slave| (&slave.name, slave.port)).collect();
    let slaves = short_labels(&names).into_iter().map(|label| format!("{path}/slaves/{label}"));
    std::iter::once((format!("{path}/master"), &members.master))
        .chain(slaves.zip(&members.slaves))
        .filter_map(|(key, member)| Some((key, value(member)?)))
        .collect()
}

/// Registers what tells whether the keys are as they should be.
pub fn gauge(registry: &mut Registry) -> Gauge {
    let in_force = Gauge::default();
    registry.register("skydns_in_force", "1 if the keys in etcd were right when last seen", in_force.clone());
    in_force
}

/// Lets the keys follow what is served, until shutdown. They stay for the rest of their lease then, so
/// that a restart is not seen.
pub async fn follow(slot: Arc<Slot>, etcd: Endpoints, in_force: Gauge, shutdown: CancellationToken) {
    let owned = owned(&slot.settings.domain);
    let kept = KeptKeys::new(Etcd::new(etcd), owned, Duration::from_secs(LEASE_S));
    let mut changes = slot.changes();
    let mut state = kept.state();
    loop {
        if let Some(publication) = slot.publication().as_ref() {
            kept.want(keys(publication));
        }
        let is_in_force = matches!(*state.borrow_and_update(), Upkeep::InForce { .. });
        in_force.set(is_in_force.into());
        let goes_on = tokio::select! {
            () = shutdown.cancelled() => false,
            changed = changes.changed() => changed.is_ok(),
            changed = state.changed() => changed.is_ok(),
        };
        if !goes_on {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_turned_round() {
        let domain = Name::from_ascii("Redis-1.docker.").unwrap();
        assert_eq!(path(&domain), "/skydns/docker/redis-1");
        assert_eq!(name("/skydns/docker/redis-1"), Some(domain.to_lowercase()));
        for key in ["/skydns", "/skydns/", "/skydns/a//b", "/skydns/a b", "/other/docker", "/skydnsx/a"] {
            assert_eq!(name(key), None, "{key}");
        }
        assert_eq!(owned(&domain), ["/skydns/docker/redis-1/master", "/skydns/docker/redis-1/slaves"]);
    }
}
