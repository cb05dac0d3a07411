//! What a Sentinel would know, made of the publications: names, the master, its slaves, the other
//! Sentinels. Pure.
//!
//! Fields and their order are those of redis (`sentinel.c`, addReplySentinelRedisInstance). Several client
//! libraries parse every number they know by name, so all of them are there and are numbers.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::directory::{Directory, Slot};
use crate::publication::Publication;
use crate::zone::Member;

use super::resp::Reply;

/// The name that many configurations were copied with; answered while there is one cluster.
pub const COMMON_NAME: &str = "mymaster";
/// What real Sentinels say of their own patience, in milliseconds; clients show it and do nothing with it.
const DOWN_AFTER_MS: &str = "30000";
const FAILOVER_TIMEOUT_MS: &str = "180000";
/// Digits of a run id (redis `CONFIG_RUN_ID_SIZE`).
const RUN_ID_DIGITS: usize = 40;

/// A master that is asked for by name, and what is published of it.
#[derive(Clone, Debug)]
pub struct Monitored {
    /// The name clients use.
    pub name: String,
    /// What is published, if anything ever was.
    pub publication: Option<Arc<Publication>>,
}

/// Everything an answer is made from. Zones are looked up one by one where one is asked for: there may be
/// thousands.
pub struct View<'a> {
    /// The clusters, each under its own name.
    pub directory: &'a Directory,
    /// The other dnsds that answer as Sentinels.
    pub peers: &'a [SocketAddr],
    /// Where this one answers.
    pub own: SocketAddr,
}

impl Monitored {
    /// A zone as it is now.
    pub fn new(slot: &Slot) -> Self {
        Self { name: slot.settings.cluster.clone(), publication: slot.publication().clone() }
    }
}

impl View<'_> {
    /// The master of a name.
    pub fn find(&self, name: &str) -> Option<Monitored> {
        let own = self.directory.of_cluster(name);
        let only = || if name == COMMON_NAME { self.directory.only() } else { None };
        own.or_else(only).map(|slot| Monitored::new(&slot))
    }

    /// All of them.
    pub fn monitored(&self) -> Vec<Monitored> {
        self.directory.slots().iter().map(|slot| Monitored::new(slot)).collect()
    }

    /// This Sentinel's id.
    pub fn own_id(&self) -> String {
        identity(&format!("sentinel {}", self.own))
    }
}

/// The master's address, if something is published.
pub fn master(monitored: &Monitored) -> Option<SocketAddr> {
    monitored.publication.as_ref().and_then(|publication| publication.members.master.endpoint())
}

/// Forty hexadecimal digits that are the same for the same text, on every dnsd.
fn identity(text: &str) -> String {
    // FNV-1a, three times over: an identity for people's eyes, not a secret.
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let digits: String = [0xcbf2_9ce4_8422_2325_u64, 0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03]
        .into_iter()
        .map(|seed| text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
        .map(|hash| format!("{hash:016x}"))
        .collect();
    digits[..RUN_ID_DIGITS].to_owned()
}

fn fields(pairs: Vec<(&'static str, String)>) -> Reply {
    Reply::Map(pairs.into_iter().map(|(name, value)| (name, Reply::Bulk(value))).collect())
}

fn common(name: String, at: SocketAddr, flags: &str, run_id: String) -> Vec<(&'static str, String)> {
    let zero = || "0".to_owned();
    vec![
        ("name", name),
        ("ip", at.ip().to_string()),
        ("port", at.port().to_string()),
        ("runid", run_id),
        ("flags", flags.to_owned()),
        ("link-pending-commands", zero()),
        ("link-refcount", "1".to_owned()),
        ("last-ping-sent", zero()),
        ("last-ok-ping-reply", zero()),
        ("last-ping-reply", zero()),
        ("down-after-milliseconds", DOWN_AFTER_MS.to_owned()),
    ]
}

/// The answer to `SENTINEL MASTER`, and an element of `SENTINEL MASTERS`.
pub fn master_fields(view: &View<'_>, monitored: &Monitored, name: &str) -> Option<Reply> {
    let publication = monitored.publication.as_ref()?;
    let at = publication.members.master.endpoint()?;
    let mut pairs = common(name.to_owned(), at, "master", identity(&at.to_string()));
    pairs.extend([
        ("info-refresh", "0".to_owned()),
        ("role-reported", "master".to_owned()),
        ("role-reported-time", "0".to_owned()),
        ("config-epoch", publication.stamp.generation.to_string()),
        ("num-slaves", publication.members.slaves.len().to_string()),
        ("num-other-sentinels", view.peers.len().to_string()),
        ("quorum", "1".to_owned()),
        ("failover-timeout", FAILOVER_TIMEOUT_MS.to_owned()),
        ("parallel-syncs", "1".to_owned()),
    ]);
    Some(fields(pairs))
}

/// The answer to `SENTINEL REPLICAS`.
pub fn slave_fields(monitored: &Monitored) -> Vec<Reply> {
    let Some(publication) = &monitored.publication else { return Vec::new() };
    let Some(master) = publication.members.master.endpoint() else { return Vec::new() };
    let slaves = publication.members.slaves.iter().filter_map(Member::endpoint);
    slaves
        .map(|at| {
            let mut pairs = common(at.to_string(), at, "slave", identity(&at.to_string()));
            pairs.extend([
                ("info-refresh", "0".to_owned()),
                ("role-reported", "slave".to_owned()),
                ("role-reported-time", "0".to_owned()),
                ("master-link-down-time", "0".to_owned()),
                ("master-link-status", "ok".to_owned()),
                ("master-host", master.ip().to_string()),
                ("master-port", master.port().to_string()),
                ("slave-priority", "100".to_owned()),
                ("slave-repl-offset", "0".to_owned()),
                ("replica-announced", "1".to_owned()),
            ]);
            fields(pairs)
        })
        .collect()
}

/// The answer to `SENTINEL SENTINELS`.
pub fn peer_fields(view: &View<'_>) -> Vec<Reply> {
    view.peers
        .iter()
        .map(|at| {
            let id = identity(&format!("sentinel {at}"));
            let mut pairs = common(id.clone(), *at, "sentinel", id);
            pairs.extend([
                ("last-hello-message", "0".to_owned()),
                ("voted-leader", "?".to_owned()),
                ("voted-leader-epoch", "0".to_owned()),
            ]);
            fields(pairs)
        })
        .collect()
}

/// The answer to `INFO`.
pub fn info(view: &View<'_>, version: &str) -> String {
    let monitored = view.monitored();
    let mut text = format!(
        "# Server\r\nredis_version:{version}\r\nredis_mode:sentinel\r\nrun_id:{}\r\ntcp_port:{}\r\n\r\n\
         # Replication\r\nrole:sentinel\r\n\r\n# Sentinel\r\n\
         sentinel_masters:{}\r\nsentinel_tilt:0\r\nsentinel_running_scripts:0\r\nsentinel_scripts_queue_length:0\r\n",
        view.own_id(),
        view.own.port(),
        monitored.iter().filter(|monitored| monitored.publication.is_some()).count(),
    );
    let published = monitored.iter().filter_map(|monitored| {
        let publication = monitored.publication.as_ref()?;
        Some((monitored, publication, publication.members.master.endpoint()?))
    });
    for (index, (monitored, publication, at)) in published.enumerate() {
        text.push_str(&format!(
            "master{index}:name={},status=ok,address={at},slaves={},sentinels={}\r\n",
            monitored.name,
            publication.members.slaves.len(),
            view.peers.len() + 1,
        ));
    }
    text
}
