//! What an answer to a PUT means: pure, one table.
//!
//! Three verdicts. Accepted: any 2xx. Slowly: the receiver understood and says no (a conflict, a mistake in
//! the document, a redirect that is not followed); asking again at once would be asking the same. Soon: it
//! could not answer, or not now. Redirects are a no because following one would send a document, and the
//! authority to move a master, to a place that nobody configured.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// Longest text of an answer that is kept for the status, in bytes.
const DETAIL_BYTES_MAX: usize = 2048;

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// 2xx: done.
    Accepted,
    /// Ask again soon, with growing waits.
    RetrySoon,
    /// Ask again slowly: only somebody's action changes the answer.
    RetrySlowly,
}

/// The verdict on a status code.
pub fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Accepted,
        // 408, 425 and 429 say "not now", not "no".
        408 | 425 | 429 | 500..=599 => Verdict::RetrySoon,
        _ => Verdict::RetrySlowly,
    }
}

/// Whether another instance behind the same URL may say something else: 503 is what a dictator answers
/// that does not lead.
pub fn try_next_instance(status: u16) -> bool {
    status == 503
}

/// The seconds of `Retry-After` (RFC 9110 section 10.2.3); the form with a date is not used among us.
pub fn retry_after(header: Option<&str>) -> Option<Duration> {
    header?.trim().parse().ok().map(Duration::from_secs)
}

/// What the body of an answer says for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The problem's type without its prefix, if the body is a problem.
    pub slug: Option<String>,
    /// The problem's detail, else the first line of the body.
    pub detail: Option<String>,
    /// What to do next, if the problem says.
    pub do_next: Option<String>,
}

/// Reads a problem (RFC 9457), or whatever text there is, from the first bytes of a body.
pub fn told(body: &[u8]) -> Told {
    let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(body) else {
        let text = String::from_utf8_lossy(body);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        return Told { detail: line.map(bounded), ..Told::default() };
    };
    let text = |name: &str| members.get(name).and_then(Value::as_str).map(bounded);
    let slug = text("type").map(|kind| kind.rsplit(':').next().unwrap_or_default().to_owned());
    Told { slug, detail: text("detail").or_else(|| text("title")), do_next: text("do") }
}

/// The generation in a receipt: which grant of the master this document led to.
pub fn generation(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(body).ok()?.get("generation")?.as_u64()
}

/// Without control characters and of bounded length: it goes into logs and terminals.
fn bounded(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars() {
        if kept.len() + character.len_utf8() > DETAIL_BYTES_MAX {
            kept.push('…');
            break;
        }
        kept.push(if character.is_control() { ' ' } else { character });
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        for (status, expected) in [
            (200, Verdict::Accepted),
            (204, Verdict::Accepted),
            (299, Verdict::Accepted),
            (302, Verdict::RetrySlowly),
            (307, Verdict::RetrySlowly),
            (400, Verdict::RetrySlowly),
            (404, Verdict::RetrySlowly),
            (408, Verdict::RetrySoon),
            (409, Verdict::RetrySlowly),
            (413, Verdict::RetrySlowly),
            (422, Verdict::RetrySlowly),
            (429, Verdict::RetrySoon),
            (500, Verdict::RetrySoon),
            (502, Verdict::RetrySoon),
            (503, Verdict::RetrySoon),
            (504, Verdict::RetrySoon),
            (600, Verdict::RetrySlowly),
        ] {
            assert_eq!(verdict(status), expected, "{status}");
        }
    }

    #[test]
    fn what_a_body_tells() {
        let problem =
            br#"{"type":"urn:redis-dictator:split-brain","title":"T","detail":"two\nmasters","do":"look"}"#;
        assert_eq!(
            told(problem),
            Told {
                slug: Some("split-brain".into()),
                detail: Some("two masters".into()),
                do_next: Some("look".into())
            }
        );
        assert_eq!(told(b"\r\nOK then\nmore").detail.as_deref(), Some("OK then"));
        assert_eq!(told(b""), Told::default());
        assert_eq!(told(b"[1]").detail.as_deref(), Some("[1]"));
        let long = told(&[b'x'; 100_000]).detail.unwrap();
        assert!(long.len() <= DETAIL_BYTES_MAX + '…'.len_utf8(), "{}", long.len());
        assert!(told(b"\xff\xfe").detail.is_some());
    }

    #[test]
    fn a_receipt_tells_its_generation() {
        assert_eq!(generation(br#"{"outcome":"switched","generation":7}"#), Some(7));
        for body in [&b"OK"[..], b"", b"{}", b"[7]", br#"{"generation":"7"}"#, br#"{"generation":-1}"#] {
            assert_eq!(generation(body), None);
        }
    }

    #[test]
    fn retry_after_in_seconds_only() {
        assert_eq!(retry_after(Some(" 3 ")), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(Some("Fri, 31 Dec 1999 23:59:59 GMT")), None);
        assert_eq!(retry_after(None), None);
    }
}
