//! What one INFO reply says about a node, as the decisions want it.
//!
//! Which fields must be there was taken from redis 6.2 to 8.0 and valkey 8.0 to 9.1
//! (`genRedisInfoString` in server.c). Counters that came later than 6.2, such as
//! `total_net_repl_input_bytes` (7.0), count as zero where they are missing; everything that tells
//! roles, lives, lineages and offsets must be there.

use std::collections::BTreeSet;

use topology::observation::{Following, ReplId, Role, RunId, Version, Vitals};

use crate::info::{Info, InfoError, inner_number, malformed};

/// `master_replid2` of a node that has no history before the present one.
const REPLID_NONE: &str = "0000000000000000000000000000000000000000";

/// Reads the vitals out of an INFO reply.
///
/// `writes` names the commands that are flagged `write` on this node, in lower case; with it the
/// reply's command statistics are counted, without it `write_calls` is `None`.
///
/// # Errors
/// [`InfoError`] naming the field that is missing or wrong.
pub fn vitals(text: &str, writes: Option<&BTreeSet<String>>) -> Result<Vitals, InfoError> {
    let info = Info::parse(text)?;
    let mode = info.text_or_none("redis_mode")?.unwrap_or("standalone");
    let sentinel = mode == "sentinel";
    let cluster = mode == "cluster" || info.flag("cluster_enabled")?;
    let (role, replid, offset) = if sentinel { no_replication() } else { replication(&info)? };
    Ok(Vitals {
        run_id: RunId(info.text("run_id")?.to_owned()),
        role,
        replid,
        replid2: info
            .text_or_none("master_replid2")?
            .filter(|text| *text != REPLID_NONE)
            .map(|text| ReplId(text.to_owned())),
        second_offset: info.offset_or_none("second_repl_offset")?,
        offset,
        keys: keys(&info)?,
        loading: info.flag("loading")?,
        failover_running: info
            .text_or_none("master_failover_state")?
            .is_some_and(|state| state != "no-failover"),
        version: version(info.text("redis_version")?)?,
        valkey: info.text_or_none("valkey_version")?.map(version).transpose()?,
        cluster,
        sentinel,
        unexpected_errors: info.number_or_none("unexpected_error_replies")?.unwrap_or(0),
        evicted_keys: info.number_or_none("evicted_keys")?.unwrap_or(0),
        full_syncs: info.number_or_none("sync_full")?.unwrap_or(0),
        fed: info.number_or_none("total_net_repl_input_bytes")?.unwrap_or(0) > 0,
        write_calls: writes.map(|writes| write_calls(&info, writes)),
        stats_reset: stats_reset(&info),
        memory_max: info.number_or_none("maxmemory")?.unwrap_or(0),
        append_only: info.flag("aof_enabled")?,
        backlog_bytes: info.number_or_none("repl_backlog_size")?.unwrap_or(0),
    })
}

/// Whether a pause of clients is in force, where the reply tells (valkey 8.1 and later).
///
/// # Errors
/// [`InfoError::Contradiction`].
pub(crate) fn paused(text: &str) -> Result<Option<bool>, InfoError> {
    Ok(Info::parse(text)?.text_or_none("paused_actions")?.map(|actions| actions != "none"))
}

/// The node's clock in microseconds since the Unix epoch, as INFO server gives it.
///
/// # Errors
/// [`InfoError::Malformed`], [`InfoError::Contradiction`].
pub(crate) fn server_time_us(text: &str) -> Result<Option<u64>, InfoError> {
    Info::parse(text)?.number_or_none("server_time_usec")
}

/// A sentinel has no replication section. It is shown as a slave of nobody, so that no reader can
/// take it for a node that accepts writes; its flag refuses it everywhere.
fn no_replication() -> (Role, ReplId, u64) {
    let following = Following {
        host: String::new(),
        port: 0,
        link_up: false,
        syncing: false,
        applied: 0,
        read_only: true,
    };
    (Role::Slave(following), ReplId(String::new()), 0)
}

fn replication(info: &Info<'_>) -> Result<(Role, ReplId, u64), InfoError> {
    let replid = ReplId(info.text("master_replid")?.to_owned());
    let offset = info.offset_or_none("master_repl_offset")?;
    let offset = offset.ok_or(InfoError::Missing("master_repl_offset"))?;
    let role = match info.text("role")? {
        "master" => Role::Master,
        "slave" => Role::Slave(following(info)?),
        other => return Err(malformed("role", other, "`master` or `slave`")),
    };
    Ok((role, replid, offset))
}

fn following(info: &Info<'_>) -> Result<Following, InfoError> {
    let port = info.text("master_port")?;
    Ok(Following {
        host: info.text("master_host")?.to_owned(),
        port: port.parse().map_err(|_| malformed("master_port", port, "a port"))?,
        link_up: info.text("master_link_status")? == "up",
        syncing: info.flag("master_sync_in_progress")?,
        applied: info.offset_or_none("slave_repl_offset")?.unwrap_or(0),
        read_only: match info.text("slave_read_only")? {
            "1" => true,
            "0" => false,
            other => return Err(malformed("slave_read_only", other, "0 or 1")),
        },
    })
}

fn keys(info: &Info<'_>) -> Result<u64, InfoError> {
    let mut total: u64 = 0;
    for (rest, value) in info.starting_with("db") {
        if rest.is_empty() || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let keys =
            inner_number(value, "keys").ok_or_else(|| malformed("db…", value, "`keys=` and a number"))?;
        total = total.saturating_add(keys);
    }
    Ok(total)
}

/// `7.0.15`; a part that is missing or not a number counts as 0, the first must be one.
fn version(text: &str) -> Result<Version, InfoError> {
    let mut parts = text.split('.').map(|part| {
        let digits = part.find(|character: char| !character.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse::<u32>().ok()
    });
    let major = parts.next().flatten();
    let major = major.ok_or_else(|| malformed("redis_version", text, "a version"))?;
    let mut next = || parts.next().flatten().unwrap_or(0);
    Ok(Version { major, minor: next(), patch: next() })
}

fn write_calls(info: &Info<'_>, writes: &BTreeSet<String>) -> u64 {
    info.starting_with("cmdstat_")
        .filter(|(command, _)| writes.contains(*command))
        .filter_map(|(_, value)| inner_number(value, "calls"))
        .fold(0, u64::saturating_add)
}

/// A reset clears the statistics and is then counted itself, from 7.0 on under its own name. Older
/// servers count all of CONFIG together, where a reset cannot be told from a read.
fn stats_reset(info: &Info<'_>) -> bool {
    info.starting_with("cmdstat_config|resetstat").any(|(_, value)| inner_number(value, "calls") != Some(0))
}

#[cfg(test)]
mod tests;
