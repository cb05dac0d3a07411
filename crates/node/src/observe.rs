//! Reading all of a node's state in one go.
//!
//! One pipeline carries everything, the client list first: vitals that were read with no dictator in
//! the list cannot be changed by a command of one that is still under way. What is optional (the
//! settings, the subscribers, the clock) may be refused by an ACL; then it is `None` and is not asked
//! again on this connection, since redis writes each refusal into its ACL log.
//!
//! Whether a pause is in force, only valkey tells (8.1). Elsewhere it is felt: a PUBLISH hangs while
//! writes are held back, on a replica too, where it is neither a write nor sent on. It is only ever
//! sent to a node that has just said it is a slave, on a connection of its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use topology::command::{Failure, Reply as Answered};
use topology::observation::{DictatorConnection, NodeSettings, NodeState, SessionId, Unknown, Vitals};

use crate::acts::{Context, Done, read};
use crate::clients::{Giver, givers};
use crate::complaint;
use crate::line::Line;
use crate::registry::Owner;
use crate::session::{Reply, Session};
use crate::settings::Settings;
use crate::vitals::{paused, server_time_us};
use crate::write_commands;

/// How long a PUBLISH may take before it is asked whether the node is slow or holds writes back, and once
/// more after that.
const PROBE_DEADLINE: Duration = Duration::from_millis(50);
/// How long the probe's connection may take to come about.
const PROBE_OPEN_DEADLINE: Duration = Duration::from_millis(200);

/// The settings that bear on a hand-over.
const SETTINGS: [&str; 6] = [
    "replica-read-only",
    "replica-ignore-maxmemory",
    "min-replicas-to-write",
    "masterauth",
    "requirepass",
    "save",
];

/// What a line of the pipeline is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Clients,
    Time,
    Info,
    Subscribers,
    Setting(usize),
    Writes,
    Rehearsal,
}

/// Whose a listed connection is, by run id, id and peer address.
pub(crate) type OwnerOf<'a> = &'a (dyn Fn(&Vitals, SessionId, &str) -> Owner + Sync);

/// Reads everything of [`NodeState`].
pub(crate) async fn observe(
    session: Session,
    settings: &Settings,
    context: Context<'_>,
    owner_of: OwnerOf<'_>,
) -> Done {
    let plan = plan(&session, settings.credentials.is_some());
    let lines: Vec<Line> = plan.iter().map(|(_, line)| line.clone()).collect();
    let sent_us = (settings.clock)();
    let (mut session, replies) = match session.exchange(&lines, context.due).await {
        Ok(answered) => answered,
        Err(failure) => return Done::lost(failure),
    };
    let midpoint_us = sent_us.midpoint((settings.clock)());
    let asked: Vec<_> = plan
        .into_iter()
        .zip(replies)
        .map(|((purpose, line), reply)| Asked { purpose, line, reply })
        .collect();
    remember(&mut session, &asked);
    let state = state(&mut session, &asked, context.user, midpoint_us, owner_of);
    match state {
        Ok(state) => Done { session: Some(session), answer: Ok(Answered::State(Box::new(state))) },
        Err(reason) => {
            // A rehearsal that failed may have left a transaction open.
            let usable = session.rehearsed || settings.credentials.is_none();
            Done { session: usable.then_some(session), answer: Err(Failure::NotExecuted(reason)) }
        }
    }
}

/// Adds whether writes are held back, if what was observed is a slave that does not say so itself.
pub(crate) async fn feel_pause_of(
    observed: Done,
    endpoint: SocketAddr,
    settings: &Settings,
    context: Context<'_>,
) -> Done {
    let (session, mut state) = match observed {
        Done { session: Some(session), answer: Ok(Answered::State(state)) } => (session, state),
        other => return other,
    };
    let slave = state.vitals.following().is_some() && !state.vitals.sentinel;
    if state.paused.is_some() || !slave || session.refused.contains("PUBLISH") {
        return Done { session: Some(session), answer: Ok(Answered::State(state)) };
    }
    let (kept, felt) = feel_pause(session, endpoint, settings, context).await;
    state.paused = felt;
    match kept {
        Some(session) => Done { session: Some(session), answer: Ok(Answered::State(state)) },
        None => {
            let reason = Unknown::Unreachable("the connection ended while it was observed".to_owned());
            Done::lost(Failure::NoReply(reason))
        }
    }
}

struct Asked {
    purpose: Purpose,
    line: Line,
    reply: Reply,
}

fn plan(session: &Session, may_be_restricted: bool) -> Vec<(Purpose, Line)> {
    let mut plan = vec![
        (Purpose::Clients, Line::client_list()),
        (Purpose::Time, Line::time()),
        (Purpose::Info, Line::info_all()),
        (Purpose::Subscribers, Line::sentinel_subscribers()),
    ];
    plan.extend(
        SETTINGS.iter().enumerate().map(|(index, name)| (Purpose::Setting(index), Line::config_get(name))),
    );
    if session.writes.is_none() {
        plan.push((Purpose::Writes, Line::write_commands()));
    }
    plan.retain(|(purpose, line)| {
        matches!(purpose, Purpose::Clients | Purpose::Info) || !session.refused.contains(line.name)
    });
    if may_be_restricted && !session.rehearsed {
        plan.extend(
            [Line::multi(), Line::exec()]
                .into_iter()
                .chain(Line::rehearsal())
                .map(|line| (Purpose::Rehearsal, line)),
        );
    }
    plan
}

/// Keeps what holds for as long as the connection does.
fn remember(session: &mut Session, asked: &[Asked]) {
    for Asked { purpose, line, reply } in asked {
        match (purpose, reply) {
            (Purpose::Writes, Reply::List(names)) => {
                let names = names.iter().filter_map(text).map(str::to_ascii_lowercase);
                session.writes = Some(Arc::new(names.collect()));
            }
            (Purpose::Writes, Reply::Refused(error)) if error.is_lasting() => {
                session.writes = Some(Arc::new(write_commands::fallback()));
            }
            (Purpose::Clients | Purpose::Info | Purpose::Rehearsal, _) => {}
            (_, Reply::Refused(error)) if error.is_lasting() => {
                session.refused.insert(line.name);
            }
            _ => {}
        }
    }
}

fn state(
    session: &mut Session,
    asked: &[Asked],
    user: Option<&str>,
    midpoint_us: i64,
    owner_of: OwnerOf<'_>,
) -> Result<NodeState, Unknown> {
    let find = |purpose| asked.iter().find(|asked| asked.purpose == purpose);
    let needed = |purpose: Purpose| match find(purpose) {
        Some(Asked { line, reply: Reply::Refused(error), .. }) => Err(complaint::refusal(user, line, error)),
        Some(Asked { reply: Reply::Text(text), .. }) => Ok(text.as_str()),
        _ => Err(Unknown::NotRedis("CLIENT LIST or INFO is not a text".to_owned())),
    };
    let clients = needed(Purpose::Clients)?;
    let info = needed(Purpose::Info)?;
    let fallback = write_commands::fallback;
    let writes: Arc<BTreeSet<String>> = session.writes.clone().unwrap_or_else(|| Arc::new(fallback()));
    let vitals = read(find(Purpose::Info).map(|asked| &asked.reply), Some(&writes))?;
    if !vitals.sentinel {
        rehearsed(session, asked, user)?;
    }
    let (mut sentinels, dictators) = authorities(session.id, &vitals, clients, owner_of);
    if let Some(count) = find(Purpose::Subscribers).and_then(|asked| subscribers(&asked.reply)) {
        sentinels.push(format!("{count} subscribers of __sentinel__:hello"));
    }
    Ok(NodeState {
        session: session.id,
        settings: node_settings(asked),
        clock_skew_ms: skew_ms(find(Purpose::Time).map(|asked| &asked.reply), info, midpoint_us)?,
        paused: paused(info).map_err(|error| Unknown::NotRedis(error.to_string()))?,
        sentinels,
        dictators,
        vitals,
    })
}

/// Fails where a command that a hand-over needs is forbidden or renamed, before anything has begun.
fn rehearsed(session: &mut Session, asked: &[Asked], user: Option<&str>) -> Result<(), Unknown> {
    for Asked { line, reply, .. } in asked.iter().filter(|asked| asked.purpose == Purpose::Rehearsal) {
        if let Reply::Refused(error) = reply
            && error.is_lasting()
        {
            return Err(complaint::refusal(user, line, error));
        }
        session.rehearsed = true;
    }
    Ok(())
}

fn authorities(
    own: SessionId,
    vitals: &Vitals,
    clients: &str,
    owner_of: OwnerOf<'_>,
) -> (Vec<String>, Vec<DictatorConnection>) {
    let mut sentinels = Vec::new();
    let mut dictators = Vec::new();
    for giver in givers(clients) {
        match giver {
            Giver::Sentinel { label } => sentinels.push(label),
            Giver::Dictator { id, .. } if id == own => {}
            Giver::Dictator { id, epoch, peer } => match owner_of(vitals, id, &peer) {
                Owner::Live => {}
                owner => {
                    let ours = owner == Owner::GivenUp;
                    dictators.push(DictatorConnection { id, epoch, peer, ours });
                }
            },
        }
    }
    (sentinels, dictators)
}

/// `PUBSUB NUMSUB channel` answers the channel and a count.
fn subscribers(reply: &Reply) -> Option<i64> {
    match reply {
        Reply::List(items) => match items.get(1) {
            Some(Reply::Number(count)) if *count > 0 => Some(*count),
            _ => None,
        },
        _ => None,
    }
}

fn node_settings(asked: &[Asked]) -> NodeSettings {
    let value = |name: &str| {
        let index = SETTINGS.iter().position(|setting| *setting == name)?;
        let reply = &asked.iter().find(|asked| asked.purpose == Purpose::Setting(index))?.reply;
        match reply {
            Reply::List(pair) => text(pair.get(1)?),
            _ => None,
        }
    };
    let yes = |name: &str| value(name).map(|value| value == "yes");
    let set = |name: &str| value(name).map(|value| !value.is_empty());
    NodeSettings {
        read_only: yes("replica-read-only"),
        ignore_memory_max: yes("replica-ignore-maxmemory"),
        min_replicas: value("min-replicas-to-write").and_then(|value| value.parse().ok()),
        has_master_auth: set("masterauth"),
        requires_password: set("requirepass"),
        saves: set("save"),
    }
}

/// The node's clock minus ours.
fn skew_ms(time: Option<&Reply>, info: &str, midpoint_us: i64) -> Result<i64, Unknown> {
    const MICROSECONDS_PER_SECOND: i64 = 1_000_000;
    const MICROSECONDS_PER_MILLISECOND: i64 = 1000;
    let part = |reply: &Reply| text(reply).and_then(|text| text.parse::<i64>().ok());
    let told_us = match time {
        Some(Reply::List(parts)) => match parts.as_slice() {
            [seconds, rest] => part(seconds)
                .zip(part(rest))
                .and_then(|(seconds, rest)| seconds.checked_mul(MICROSECONDS_PER_SECOND)?.checked_add(rest)),
            _ => None,
        },
        _ => server_time_us(info).ok().flatten().and_then(|time| i64::try_from(time).ok()),
    };
    told_us.map(|told_us| told_us.saturating_sub(midpoint_us) / MICROSECONDS_PER_MILLISECOND).ok_or_else(
        || Unknown::Refuses("it does not tell its time; grant +time to the dictator's user".to_owned()),
    )
}

fn text(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::Text(text) | Reply::Status(text) => Some(text),
        _ => None,
    }
}

/// Whether writes are held back, found out by a PUBLISH; `None` if it cannot be told. The session
/// comes back unless it broke.
async fn feel_pause(
    mut session: Session,
    endpoint: SocketAddr,
    settings: &Settings,
    context: Context<'_>,
) -> (Option<Session>, Option<bool>) {
    let open_due = context.due.min(Instant::now() + PROBE_OPEN_DEADLINE);
    let Ok(probe) = Session::open(endpoint, settings, None, open_due).await else {
        return (Some(session), None);
    };
    let id = probe.id;
    let line = [Line::publish_probe()];
    let mut probing = std::pin::pin!(probe.exchange(&line, context.due));
    let mut felt = tokio::time::timeout(PROBE_DEADLINE, &mut probing).await.ok();
    if felt.is_none() {
        // Slow is not paused. The node takes what is sent to it in turn: when it has answered a later
        // question, it has come to the PUBLISH as well.
        match session.exchange(&[Line::time()], context.due).await {
            Ok((kept, _)) => session = kept,
            Err(_) => return (None, None),
        }
        felt = tokio::time::timeout(PROBE_DEADLINE, &mut probing).await.ok();
    }
    let Some(felt) = felt else {
        // The node still holds the PUBLISH; it goes with its connection.
        let killed = session.exchange(&[Line::kill(id)], context.due).await;
        return (killed.ok().map(|(session, _)| session), Some(true));
    };
    match felt {
        Ok((_, replies)) => match replies.first() {
            Some(Reply::Refused(error)) if error.is_lasting() => {
                session.refused.insert("PUBLISH");
                (Some(session), None)
            }
            Some(Reply::Number(_)) => (Some(session), Some(false)),
            _ => (Some(session), None),
        },
        Err(_) => (Some(session), None),
    }
}
