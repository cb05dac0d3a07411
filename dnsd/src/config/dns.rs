//! The settings of the DNS face.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::rr::Name;
use service::config::{DnsServer, Reader};

use crate::face::udp;
use crate::keys::{Choice, Keys, KeysFile, WithKey};
use crate::network::Network;

/// Most DNS connections that can be asked for; each may cost a few hundred KiB.
const CONNECTIONS_MAX: usize = 65_536;
/// Shortest and longest idle time of a DNS connection, in seconds (RFC 7766 section 6.2.3: seconds).
const IDLE_S_MIN: u64 = 1;
const IDLE_S_MAX: u64 = 600;

/// Where the keys for TSIG are, and where they are if no file is named.
const KEYS_FLAG: &str = "tsig-keys-file";
const KEYS_CREDENTIAL: &str = "tsig-keys";

/// How DNS is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsFace {
    /// Threads that answer over UDP.
    pub threads: usize,
    /// Most answers per second over UDP to one client network; 0: no limit.
    pub rate_limit: u32,
    /// Most TCP connections at a time.
    pub connections_max: usize,
    /// Most of them of one client.
    pub connections_per_client: usize,
    /// Longest silence on a TCP connection.
    pub idle: Duration,
    /// Who may have the whole zone.
    pub transfer_to: Vec<WithKey<Network>>,
    /// Name servers that are told of every change.
    pub secondaries: Vec<WithKey<SocketAddr>>,
}

/// Takes them; `None` if one is wrong.
pub(super) fn take(reader: &mut Reader) -> Option<DnsFace> {
    let threads = if reader.is_set("dns-threads") {
        reader.take_with("dns-threads", |text| count(text, udp::THREADS_MAX))
    } else {
        Some(udp::threads_default())
    };
    let rate_limit = reader.take_with("dns-rate-limit", |text| {
        text.parse::<u32>().map_err(|_| "expected a number of answers per second, or 0 for no limit")
    });
    let connections_max = reader.take_with("dns-connections", |text| count(text, CONNECTIONS_MAX));
    let connections_per_client = if reader.is_set("dns-connections-per-client") {
        reader.take_with("dns-connections-per-client", |text| count(text, CONNECTIONS_MAX))
    } else {
        connections_max.map(|most| most.div_ceil(2))
    };
    let idle = reader.take_duration("dns-idle").and_then(|idle| {
        let sound = (IDLE_S_MIN..=IDLE_S_MAX).contains(&idle.as_secs());
        if !sound {
            reader.mistake(format!("--dns-idle: expected {IDLE_S_MIN}s to {IDLE_S_MAX}s"));
        }
        sound.then_some(idle)
    });
    let transfer_to = reader.take_list("transfer-to");
    let secondaries: Vec<WithKey<DnsServer>> = reader.take_list("secondaries");
    Some(DnsFace {
        threads: threads?,
        rate_limit: rate_limit?,
        connections_max: connections_max?,
        connections_per_client: connections_per_client?,
        idle: idle?,
        transfer_to,
        secondaries: secondaries
            .into_iter()
            .map(|server| WithKey { what: server.what.0, key: server.key })
            .collect(),
    })
}

/// The keys that `face` is to be served with; all that it names have to be in the file, at the start and later.
pub(super) fn take_keys(reader: &mut Reader, face: Option<&DnsFace>) -> Option<KeysFile> {
    let named: Vec<Name> = face.map(DnsFace::keys_named).unwrap_or_default();
    let Some(path) = reader.take_file(KEYS_FLAG, KEYS_CREDENTIAL) else {
        if let Some(name) = named.first() {
            reader.mistake(format!("the key {name} is named, but there are no keys: --{KEYS_FLAG}"));
        }
        return None;
    };
    let shown = path.display().to_string();
    reader.from_files("TSIG keys", vec![path], move |files| {
        let text = std::str::from_utf8(&files[0]).map_err(|_| format!("{shown} is not UTF-8 text"))?;
        let keys = Keys::parse(text).map_err(|error| format!("{shown}: {error}"))?;
        match named.iter().find(|name| keys.get(name).is_none()) {
            Some(name) => Err(format!("{shown} lacks the key {name}, which the settings name")),
            None => Ok(keys),
        }
    })
}

impl DnsFace {
    fn keys_named(&self) -> Vec<Name> {
        let choices = self.transfer_to.iter().map(|entry| &entry.key);
        let choices = choices.chain(self.secondaries.iter().map(|entry| &entry.key));
        choices
            .filter_map(|choice| match choice {
                Choice::Named(name) => Some(name.clone()),
                Choice::Any | Choice::None => None,
            })
            .collect()
    }
}

fn count(text: &str, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => Err(format!("expected a number from 1 to {max}")),
    }
}
