//! The headers under whose conditions a document comes: its revision, the state it replaces, and why.
//!
//! They guard against applying something old over something new, so a header that cannot be read is an
//! error and never taken for absent.

use axum::http::{HeaderMap, HeaderName, header};
use service::problem::Problem;

use super::{REASON, REVISION};
use crate::apply::REASON_CHARACTERS_MAX;

/// `X-Topology-Revision`: a number that only grows, such as etcd's mod_revision of the trigger.
pub(super) fn revision(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(text) = single(headers, &REVISION)? else { return Ok(None) };
    let number = digits(&text);
    number.map(Some).ok_or_else(|| malformed(&REVISION, &text, "a whole number, such as 42"))
}

/// `If-Match`: the entity tag that `GET /master` gave, as its number. A list, `*` and weak tags are
/// refused: there is one state to replace, and "any" is what leaving the header out says.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(text) = single(headers, &header::IF_MATCH)? else { return Ok(None) };
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let number = inner.and_then(digits);
    number.map(Some).ok_or_else(|| {
        malformed(
            &header::IF_MATCH,
            &text,
            "one ETag as GET /master gives it, such as \"42\" with its quotes",
        )
    })
}

/// `X-Reason`: why somebody wants this, for the history. One line that a person can read.
pub(super) fn reason(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(text) = single(headers, &REASON)? else { return Ok(None) };
    if text.chars().count() > REASON_CHARACTERS_MAX || text.chars().any(char::is_control) {
        let expected = format!("one line of at most {REASON_CHARACTERS_MAX} characters");
        return Err(malformed(&REASON, &text, &expected));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn single(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
    if values.next().is_some() {
        return Err(malformed(name, &text, "given once"));
    }
    Ok(Some(text))
}

/// Digits only; `parse` alone would take a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn malformed(name: &HeaderName, text: &str, expected: &str) -> Problem {
    let detail = format!("the header {name} is {text:?}; expected {expected}");
    Problem::new("malformed-header", "Malformed Header", 400, detail)
        .with_do("correct the header, or leave it out")
}
