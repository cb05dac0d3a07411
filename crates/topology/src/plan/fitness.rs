//! Whether the target may be promoted, and what an operator should know beforehand.
//!
//! Equal offsets are not equal data: a command that failed on the slave alone, a key it evicted on its
//! own, a newer server's command it does not know, or a clock that expires keys earlier, all leave the
//! offset equal and the data different.

use crate::address::NodeName;
use crate::observation::NodeState;
use crate::refusal::{Refusal, Slug};

/// Most milliseconds two nodes' clocks may differ; keys with a time to live depend on it.
const CLOCK_SKEW_MS_MAX: i64 = 1_000;
/// Backlogs smaller than this, in bytes, are full within a fraction of a second of heavy writing.
const BACKLOG_BYTES_ADVISED: u64 = 16 << 20;

/// The target is reading its data from disk.
pub(super) fn loading(target: &NodeName) -> Refusal {
    Refusal::new(
        Slug::TargetLoading,
        format!("{target} is still loading its data from disk"),
        "send the document again when it has loaded",
    )
    .about(target)
    .with("loading", true)
}

/// What an operator must put right on a slave before its link to this master can come up, if that shows.
pub(crate) fn link_hindrance(slave: &NodeState, leader: &NodeState) -> Option<&'static str> {
    let locked_out =
        leader.settings.requires_password == Some(true) && slave.settings.has_master_auth == Some(false);
    locked_out.then_some(
        "the master requires a password and it has no masterauth; set that on it (CONFIG SET masterauth) and in its configuration file",
    )
}

/// Refuses an unfit target; returns warnings about a fit one.
pub(super) fn check(
    target: &NodeName,
    state: &NodeState,
    acting: &NodeName,
    acting_state: &NodeState,
) -> Result<Vec<String>, Refusal> {
    let (vitals, leader) = (&state.vitals, &acting_state.vitals);
    let unfit =
        |detail: String, advice: String| Refusal::new(Slug::TargetUnfit, detail, advice).about(target);
    if vitals.unexpected_errors > 0 {
        return Err(unfit(
            format!(
                "{} commands of the replication stream failed on {target} alone, so its data differs",
                vitals.unexpected_errors
            ),
            format!("let {target} sync anew (restart it empty), then send the document again"),
        )
        .with("unexpected_error_replies", vitals.unexpected_errors));
    }
    if vitals.evicted_keys > 0 && state.settings.ignore_memory_max == Some(false) {
        return Err(unfit(
            format!(
                "{target} has evicted {} keys on its own (replica-ignore-maxmemory no), so its data differs",
                vitals.evicted_keys
            ),
            format!("set replica-ignore-maxmemory yes on {target} and let it sync anew"),
        )
        .with("evicted_keys", vitals.evicted_keys));
    }
    if vitals.is_older_than(leader) {
        return Err(unfit(
            format!(
                "{target} runs {}, older than {} on {acting}; it may not know every command or format",
                vitals.server(),
                leader.server()
            ),
            format!("upgrade {target} first; in a rolling upgrade the master comes last"),
        )
        .with("version", vitals.server())
        .with("acting_version", leader.server()));
    }
    let skew_ms = state.clock_skew_ms - acting_state.clock_skew_ms;
    if skew_ms.abs() > CLOCK_SKEW_MS_MAX {
        return Err(unfit(
            format!(
                "the clocks of {target} and {acting} are {} ms apart; keys would expire at the wrong time",
                skew_ms.abs()
            ),
            "set both clocks (NTP), then send the document again".to_owned(),
        )
        .with("clock_skew_ms", skew_ms));
    }
    if state.paused == Some(true) {
        return Err(unfit(
            format!("a CLIENT PAUSE is in force on {target}; promoted, it would leave its clients waiting"),
            format!("send CLIENT UNPAUSE to {target}, or wait until the pause ends"),
        )
        .with("paused", true));
    }
    Ok(warnings(target, state, acting, acting_state))
}

fn warnings(
    target: &NodeName,
    state: &NodeState,
    acting: &NodeName,
    acting_state: &NodeState,
) -> Vec<String> {
    let (vitals, leader) = (&state.vitals, &acting_state.vitals);
    let mut warnings = Vec::new();
    let smaller = vitals.memory_max > 0 && (leader.memory_max == 0 || vitals.memory_max < leader.memory_max);
    if smaller {
        warnings
            .push(format!("{target} has a smaller maxmemory ({} bytes) than {acting}", vitals.memory_max));
    }
    if leader.append_only && !vitals.append_only {
        warnings.push(format!("{target} has no AOF and {acting} has; a restart of {target} may lose writes"));
    } else if acting_state.settings.saves == Some(true)
        && state.settings.saves == Some(false)
        && !vitals.append_only
    {
        warnings.push(format!(
            "{target} saves nothing to disk and {acting} does; a restart of {target} loses all"
        ));
    }
    if state.settings.requires_password == Some(true) && acting_state.settings.has_master_auth == Some(false)
    {
        warnings.push(format!("{acting} has no masterauth, which it needs to follow {target}"));
    }
    if let Some(replicas @ 1..) = state.settings.min_replicas {
        warnings.push(format!(
            "{target} has min-replicas-to-write {replicas}: it takes no writes until {replicas} slaves are attached to it"
        ));
    }
    if vitals.backlog_bytes < BACKLOG_BYTES_ADVISED {
        warnings.push(format!(
            "{target} has a repl-backlog-size of {} bytes; under heavy writing a slave that is attached late needs a full resync (64mb is advised)",
            vitals.backlog_bytes
        ));
    }
    warnings
}
