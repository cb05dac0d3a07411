//! `GET` and `PUT /enforcement`: whether the topology is kept true, and a pause of that.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use service::auth::Asker;
use service::http::{Document as Body, RequestId, json, query};
use service::problem::Problem;

use super::{Face, READ_DEADLINE};
use crate::apply::{Ask, PAUSE_MAX, PauseRequest, REASON_CHARACTERS_MAX};

/// The body of a PUT.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// For how many seconds; 0 resumes.
    pause_s: u64,
    /// Why.
    #[serde(default)]
    reason: String,
}

pub(super) async fn get_enforcement(State(face): State<Face>, uri: Uri) -> Result<Response, Problem> {
    query(&uri, &[])?;
    let status = face.ask(READ_DEADLINE, Ask::Enforcement).await?;
    Ok(json(StatusCode::OK, &status))
}

pub(super) async fn put_enforcement(
    State(face): State<Face>,
    uri: Uri,
    (Extension(request_id), Extension(asker)): (Extension<RequestId>, Extension<Asker>),
    Body(bytes): Body,
) -> Result<Response, Problem> {
    query(&uri, &[])?;
    let Wish { pause_s, reason } = parse(&bytes).map_err(malformed)?;
    let request_id = request_id.as_str().to_owned();
    let duration = Duration::from_secs(pause_s);
    let asked_by = asker.name().map(str::to_owned);
    let pause = |reply| Ask::Pause(PauseRequest { duration, reason, request_id, asked_by, reply });
    let enforcement = face.ask(READ_DEADLINE, pause).await?;
    Ok(json(StatusCode::OK, &enforcement))
}

fn parse(bytes: &[u8]) -> Result<Wish, String> {
    // serde would take an array for the object.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err("expected an object such as {\"pause_s\": 600, \"reason\": \"new memory\"}".to_owned());
    }
    let wish: Wish = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if wish.pause_s > PAUSE_MAX.as_secs() {
        return Err(format!("pause_s is {}; {} is the most", wish.pause_s, PAUSE_MAX.as_secs()));
    }
    if wish.reason.chars().count() > REASON_CHARACTERS_MAX || wish.reason.chars().any(char::is_control) {
        return Err(format!("reason: one line of at most {REASON_CHARACTERS_MAX} characters"));
    }
    Ok(wish)
}

fn malformed(detail: String) -> Problem {
    Problem::new("malformed-enforcement", "Malformed Enforcement", 400, detail)
        .with_do("correct the body; nothing was changed")
}
