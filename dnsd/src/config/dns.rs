//! The settings of the DNS face.

use std::net::SocketAddr;
use std::time::Duration;

use service::config::{DnsServer, Reader};

use crate::face::udp;
use crate::network::Network;

/// Most DNS connections that can be asked for; each may cost a few hundred KiB.
const CONNECTIONS_MAX: usize = 65_536;
/// Shortest and longest idle time of a DNS connection, in seconds (RFC 7766 section 6.2.3: seconds).
const IDLE_S_MIN: u64 = 1;
const IDLE_S_MAX: u64 = 600;

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
    pub transfer_to: Vec<Network>,
    /// Name servers that are told of every change.
    pub secondaries: Vec<SocketAddr>,
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
    let secondaries: Vec<DnsServer> = reader.take_list("secondaries");
    Some(DnsFace {
        threads: threads?,
        rate_limit: rate_limit?,
        connections_max: connections_max?,
        connections_per_client: connections_per_client?,
        idle: idle?,
        transfer_to,
        secondaries: secondaries.into_iter().map(|server| server.0).collect(),
    })
}

fn count(text: &str, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => Err(format!("expected a number from 1 to {max}")),
    }
}
