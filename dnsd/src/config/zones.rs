//! The settings of what is published: one domain, or many below a suffix.
//!
//! What writes to etcd or reads from it is of one domain: with a suffix it would have to be a lease and a
//! list for each of thousands. It is refused beside a suffix rather than done for some.

use std::net::SocketAddr;

use hickory_proto::rr::Name;
use service::config::Reader;

use super::{Zones, seconds_or_duration};
use crate::clusters::Below;
use crate::zone::ZoneSettings;

/// Longest domain, in bytes: leaves room for `_redis._tcp.slaves.` and for a label of 63 below `slaves.`.
const DOMAIN_BYTES_MAX: usize = 160;
/// Longest suffix, in bytes: leaves room for the name of a cluster besides.
const SUFFIX_BYTES_MAX: usize = DOMAIN_BYTES_MAX - 64;
/// Longest TTL, in seconds. Clients follow a switch after TTL at the earliest; beyond this nobody would
/// call it following.
const TTL_S_MAX: u64 = 3_600;
/// Most clusters that can be asked for; each takes some KiB.
const CLUSTERS_MAX: usize = 1_000_000;
/// What is of one domain only.
const ONLY_FOR_ONE: [&str; 4] = ["domain", "cluster", "skydns-etcd", "nodes-etcd"];

/// Takes them; `None` if one is wrong.
pub(super) fn take(reader: &mut Reader, dns_listen: Option<SocketAddr>) -> Option<Zones> {
    let domain = reader.take_with("domain", |text| parse_domain(text, DOMAIN_BYTES_MAX));
    let cluster = if reader.is_set("cluster") {
        reader.take_with("cluster", parse_cluster)
    } else {
        domain.as_ref().map(first_label)
    };
    let ttl_s = reader.take_with("ttl", parse_ttl);
    let clusters_max = reader.take_with("clusters-max", parse_clusters_max);
    let server_ips = dns_listen.map(|at| at.ip()).filter(|ip| !ip.is_unspecified()).into_iter().collect();
    if !reader.is_set("domain-suffix") {
        if reader.is_set("clusters-max") {
            reader.mistake("--clusters-max: needs --domain-suffix".to_owned());
        }
        return Some(Zones::One(ZoneSettings {
            cluster: cluster?,
            domain: domain?,
            ttl_s: ttl_s?,
            server_ips,
        }));
    }
    let suffix = reader.take_with("domain-suffix", |text| parse_domain(text, SUFFIX_BYTES_MAX));
    for flag in ONLY_FOR_ONE {
        if reader.is_set(flag) {
            reader.mistake(format!("--{flag} is of one cluster and cannot stand beside --domain-suffix"));
        }
    }
    Some(Zones::Many(Below { suffix: suffix?, ttl_s: ttl_s?, server_ips, clusters_max: clusters_max? }))
}

fn parse_domain(text: &str, bytes_max: usize) -> Result<Name, String> {
    let topology::Address::Name(text) =
        text.parse::<topology::Address>().map_err(|error| error.to_string())?
    else {
        return Err("expected a domain, not an IP address".to_owned());
    };
    if text.len() > bytes_max {
        return Err(format!(
            "{} bytes long; names are put in front of it, so at most {bytes_max}",
            text.len()
        ));
    }
    let mut name = Name::from_ascii(&text).map_err(|error| error.to_string())?;
    name.set_fqdn(true);
    Ok(name)
}

fn parse_cluster(text: &str) -> Result<String, &'static str> {
    let sound = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    if text.chars().all(sound) && text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        Ok(text.to_owned())
    } else {
        Err("expected letters, digits, `-`, `_` and `.`, beginning with a letter or digit")
    }
}

fn first_label(domain: &Name) -> String {
    domain.to_ascii().split('.').next().unwrap_or_default().to_owned()
}

/// Seconds, as the original's variable has them, or a duration.
fn parse_ttl(text: &str) -> Result<u32, String> {
    let duration = seconds_or_duration(text)?;
    if duration.subsec_millis() != 0 || duration.as_secs() > TTL_S_MAX {
        return Err(format!("expected whole seconds, at most {TTL_S_MAX}"));
    }
    u32::try_from(duration.as_secs()).map_err(|error| error.to_string())
}

fn parse_clusters_max(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=CLUSTERS_MAX).contains(&count) => Ok(count),
        _ => Err(format!("expected a number from 1 to {CLUSTERS_MAX}")),
    }
}
