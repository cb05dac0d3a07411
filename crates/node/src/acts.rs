//! The commands that change something, and the brief read.
//!
//! Each function takes the session and says in its [`Done`] whether there still is one. An error
//! reply is *surely not executed*; an answer that cannot be made sense of after something may have
//! run is *no reply*, and the connection is given up with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use topology::command::{Answer, Assigned, Assignment, Failure, Reading, Reply as Answered};
use topology::observation::{SessionId, Unknown, Vitals};

use crate::complaint;
use crate::line::Line;
use crate::session::{Reply, Session};
use crate::vitals::vitals;
use crate::write_commands;

/// An answer, and the session if it may be used on.
pub(crate) struct Done {
    pub(crate) session: Option<Session>,
    pub(crate) answer: Answer,
}

impl Done {
    fn kept(session: Session, answer: Answer) -> Self {
        Self { session: Some(session), answer }
    }

    pub(crate) fn lost(failure: Failure) -> Self {
        Self { session: None, answer: Err(failure) }
    }
}

/// What acts need besides the session.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) user: Option<&'a str>,
    pub(crate) due: Instant,
}

/// Reads INFO.
pub(crate) async fn poll(session: Session, context: Context<'_>) -> Done {
    let lines = [Line::info()];
    let (session, replies) = match session.exchange(&lines, context.due).await {
        Ok(answered) => answered,
        Err(failure) => return Done::lost(failure),
    };
    let answer = match refused(context.user, &lines, &replies) {
        Some(reason) => Err(Failure::NotExecuted(reason)),
        None => read(replies.last(), None)
            .map(|vitals| Answered::Vitals(Box::new(vitals)))
            .map_err(Failure::NotExecuted),
    };
    Done::kept(session, answer)
}

/// Holds writes back and reads INFO after that.
pub(crate) async fn pause_writes(session: Session, context: Context<'_>, budget: Duration) -> Done {
    let budget_ms = u64::try_from(budget.as_millis()).unwrap_or(u64::MAX).max(1);
    let lines = [Line::pause_writes(budget_ms), Line::info()];
    let (session, replies) = match session.exchange(&lines, context.due).await {
        Ok(answered) => answered,
        Err(failure) => return Done::lost(failure),
    };
    if let Some(reason) = refused(context.user, &lines[..1], &replies[..1]) {
        return Done::kept(session, Err(Failure::NotExecuted(reason)));
    }
    let vitals = refused(context.user, &lines, &replies).map_or_else(|| read(replies.last(), None), Err);
    match vitals {
        Ok(vitals) => Done::kept(session, Ok(Answered::Vitals(Box::new(vitals)))),
        Err(reason) => Done::lost(Failure::NoReply(reason)),
    }
}

/// Lets writes go on.
pub(crate) async fn unpause(session: Session, context: Context<'_>) -> Done {
    plain(session, context, vec![Line::unpause()]).await
}

/// Ends connections.
pub(crate) async fn kill(session: Session, context: Context<'_>, ids: &[SessionId]) -> Done {
    // Redis 6.2 takes the id 0 for "any" and would end every connection of the node.
    let lines: Vec<Line> = ids.iter().filter(|id| id.0 != 0).map(|id| Line::kill(*id)).collect();
    if lines.is_empty() {
        return Done::kept(session, Ok(Answered::Done));
    }
    plain(session, context, lines).await
}

/// Commands of which only the success counts.
async fn plain(session: Session, context: Context<'_>, lines: Vec<Line>) -> Done {
    let (session, replies) = match session.exchange(&lines, context.due).await {
        Ok(answered) => answered,
        Err(failure) => return Done::lost(failure),
    };
    let Some(reason) = refused(context.user, &lines, &replies) else {
        return Done::kept(session, Ok(Answered::Done));
    };
    if replies.iter().all(|reply| matches!(reply, Reply::Refused(_))) {
        return Done::kept(session, Err(Failure::NotExecuted(reason)));
    }
    Done::lost(Failure::NoReply(reason))
}

/// The role transaction.
pub(crate) async fn assign(
    session: Session,
    context: Context<'_>,
    to: Assignment,
    unpause: bool,
    reading: Reading,
) -> Done {
    let info = || match reading {
        Reading::Brief => Line::info(),
        Reading::Full => Line::info_all(),
    };
    let mut lines = vec![Line::multi(), info(), Line::replicaof(to), info()];
    if unpause {
        lines.push(Line::unpause());
    }
    lines.push(Line::exec());
    let (session, replies) = match session.exchange(&lines, context.due).await {
        Ok(answered) => answered,
        Err(failure) => return Done::lost(failure),
    };
    match replies.last() {
        Some(Reply::List(elements)) => assigned(session, &lines, elements, reading),
        _ => not_assigned(session, context, &lines, &replies),
    }
}

/// The transaction ran. Whatever cannot be read now has happened all the same.
fn assigned(session: Session, lines: &[Line], elements: &[Reply], reading: Reading) -> Done {
    let writes = match reading {
        Reading::Brief => None,
        Reading::Full => Some(session.writes.clone().unwrap_or_else(|| Arc::new(write_commands::fallback()))),
    };
    let evidence = || -> Result<Assigned, Unknown> {
        let before = read(elements.first(), writes.as_deref())?;
        let accepted = match elements.get(1) {
            Some(Reply::Status(text)) if text == "OK" || text.starts_with("OK ") => Ok(()),
            Some(Reply::Refused(error)) => Err(error.text()),
            _ => Err("an answer that is neither OK nor an error".to_owned()),
        };
        let after = read(elements.get(2), writes.as_deref())?;
        Ok(Assigned { before, accepted, after })
    };
    // Between MULTI and EXEC stand as many commands as there must be elements.
    if elements.len() + 2 != lines.len() {
        let strange = format!("EXEC answered {} elements for {} commands", elements.len(), lines.len() - 2);
        return Done::lost(Failure::NoReply(Unknown::NotRedis(strange)));
    }
    match evidence() {
        Ok(evidence) => Done::kept(session, Ok(Answered::Assigned(Box::new(evidence)))),
        Err(reason) => Done::lost(Failure::NoReply(reason)),
    }
}

/// EXEC gave no results. If MULTI was accepted, nothing ran; if MULTI itself was refused, what was
/// meant to be queued ran one by one, as far as it was permitted.
fn not_assigned(session: Session, context: Context<'_>, lines: &[Line], replies: &[Reply]) -> Done {
    let reason = refused(context.user, lines, replies)
        .unwrap_or_else(|| Unknown::NotRedis("EXEC answered neither results nor an error".to_owned()));
    let in_transaction = matches!(replies.first(), Some(Reply::Status(_)));
    let exec_refused = matches!(replies.last(), Some(Reply::Refused(_) | Reply::Nil));
    let role_refused = matches!(replies.get(2), Some(Reply::Refused(_)));
    if in_transaction && exec_refused {
        // EXEC that the user may not run leaves the transaction open: what is sent next would be
        // queued. Such a connection is of no use.
        let aborted = matches!(replies.last(), Some(Reply::Refused(error)) if error.code == "EXECABORT");
        let answer = Err(Failure::NotExecuted(reason));
        return Done { session: aborted.then_some(session), answer };
    }
    if !in_transaction && role_refused {
        return Done { session: None, answer: Err(Failure::NotExecuted(reason)) };
    }
    Done::lost(Failure::NoReply(reason))
}

/// The first error among replies, as a reason.
pub(crate) fn refused(user: Option<&str>, lines: &[Line], replies: &[Reply]) -> Option<Unknown> {
    lines.iter().zip(replies).find_map(|(line, reply)| match reply {
        Reply::Refused(error) => Some(complaint::refusal(user, line, error)),
        _ => None,
    })
}

/// The vitals in a reply to INFO.
pub(crate) fn read(reply: Option<&Reply>, writes: Option<&BTreeSet<String>>) -> Result<Vitals, Unknown> {
    match reply {
        Some(Reply::Text(text)) => vitals(text, writes).map_err(|error| Unknown::NotRedis(error.to_string())),
        Some(Reply::Refused(error)) => Err(Unknown::Refuses(error.text())),
        _ => Err(Unknown::NotRedis("INFO is not a text".to_owned())),
    }
}
