//! `GET /history` for people: one line per change, and one entry whole.

use std::fmt::Write;

use super::table::{Cell, bad, plain, table};
use super::{Style, microseconds, printable, receipt, utc};
use crate::answer::Entry;

/// The newest entries, numbered as `show` takes them.
pub fn history(entries: &[Entry], limit: usize, style: Style) -> String {
    if entries.is_empty() {
        return "nothing was done or refused yet\n".to_owned();
    }
    let shown = &entries[..entries.len().min(limit)];
    let rows: Vec<Vec<Cell>> = shown.iter().enumerate().map(|(index, entry)| row(index + 1, entry)).collect();
    let mut text = table(&[">", "WHEN", "CAUSE", "OUTCOME", "MASTER", ">WAITED", "REQUEST"], &rows, style);
    if shown.len() < entries.len() {
        let _ = writeln!(text, "{} older entries: see --limit", entries.len() - shown.len());
    }
    text
}

fn row(number: usize, entry: &Entry) -> Vec<Cell> {
    let done = entry.receipt.as_ref();
    let master = done.and_then(|receipt| receipt.master.as_ref());
    let master = master.map(|master| format!("{}:{}", master.name.address, master.name.port));
    let waited = done.and_then(|receipt| receipt.write_gap_us).map(microseconds);
    let outcome = printable(&entry.outcome);
    vec![
        plain(number.to_string()),
        plain(utc(entry.at_unix_ms)),
        plain(printable(&entry.cause)),
        if done.is_some() || entry.cause == "operator" { plain(outcome) } else { bad(outcome) },
        plain(master.unwrap_or_else(|| "-".to_owned())),
        plain(waited.unwrap_or_else(|| "-".to_owned())),
        plain(printable(&entry.request_id)),
    ]
}

/// One entry whole.
pub fn entry(entry: &Entry, style: Style) -> String {
    let cause = match entry.cause.as_str() {
        "put" => "a document was sent",
        "enforcement" => "the dictator kept the topology true",
        "operator" => "somebody asked for it",
        other => other,
    };
    let who = entry.asked_by.as_deref().map(|name| format!(", by {}", printable(name)));
    let why = entry.reason.as_deref().map(|reason| format!(", for: {}", printable(reason)));
    let (who, why) = (who.unwrap_or_default(), why.unwrap_or_default());
    let mut text = format!("{}: {}{who}{why}\n", utc(entry.at_unix_ms), printable(cause));
    match &entry.receipt {
        Some(done) => text.push_str(&receipt(done, true, style)),
        None => {
            let detail = entry.detail.as_deref().map(printable).unwrap_or_default();
            let _ = writeln!(text, "{}: {detail}", style.bad(printable(&entry.outcome)));
            let _ = writeln!(text, "  request   {}", printable(&entry.request_id));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals_and_changes_stand_in_one_list() {
        let entries: Vec<Entry> = serde_json::from_value(json!([
            {"at_unix_ms": 1000, "cause": "put", "request_id": "b", "outcome": "target-behind", "detail": "d"},
            {"at_unix_ms": 0, "cause": "put", "request_id": "a", "outcome": "switched"},
        ]))
        .unwrap();
        let text = history(&entries, 1, Style::default());
        assert_eq!(
            text,
            "   WHEN                  CAUSE  OUTCOME        MASTER  WAITED  REQUEST\n\
             1  1970-01-01 00:00:01Z  put    target-behind  -            -  b\n\
             1 older entries: see --limit\n"
        );
        let whole = entry(&entries[0], Style::default());
        assert!(whole.contains("target-behind: d\n  request   b\n"), "{whole}");
    }
}
