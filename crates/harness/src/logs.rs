//! Reading a daemon's log as a test's second witness.
//!
//! A daemon writes WARN and ERROR only when a human should look. A test in which no human should
//! have to look therefore fails on such a line, even if everything it asserts held; a test that
//! provokes trouble names the lines it expects, each with its reason. That keeps the levels honest.

use std::path::Path;

/// Lines of a log shown when a test fails.
const TAIL_LINES: usize = 40;

/// A line that is allowed to be WARN or ERROR.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// A part of the line.
    pub part: String,
    /// Why it is right that a human is told.
    pub reason: String,
}

/// The WARN and ERROR lines of the log at `path` that `allowed` does not name.
pub fn unexpected_lines(path: &Path, allowed: &[Allowed]) -> Vec<String> {
    read(path)
        .lines()
        .filter(|line| is_alarm(line))
        .filter(|line| !allowed.iter().any(|entry| line.contains(&entry.part)))
        .map(str::to_owned)
        .collect()
}

/// The last lines of the log at `path`.
pub fn tail(path: &Path) -> String {
    let text = read(path);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// The whole log at `path`, without colours; empty if there is none.
pub fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    without_colours(&String::from_utf8_lossy(&bytes))
}

/// Whether a line has level WARN or ERROR, as plain text, as JSON, or is a panic's first line.
fn is_alarm(line: &str) -> bool {
    const JSON: [&str; 2] = [r#""level":"WARN""#, r#""level":"ERROR""#];
    /// The level is among the first words: a timestamp may stand before it, a priority too.
    const LEVEL_WORDS_MAX: usize = 3;
    JSON.iter().any(|level| line.contains(level))
        || line.split_whitespace().take(LEVEL_WORDS_MAX).any(|word| word == "WARN" || word == "ERROR")
        || (line.starts_with("thread '") && line.contains("panicked at"))
}

fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("\x1b[") {
        plain.push_str(&rest[..start]);
        let tail = &rest[start + 2..];
        rest = tail.find('m').map_or("", |end| &tail[end + 1..]);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_in_text_colour_and_json() {
        assert!(is_alarm("2026-01-01T00:00:00Z  WARN dnsd: names did not resolve"));
        assert!(is_alarm(&without_colours("\x1b[2m2026\x1b[0m \x1b[31mERROR\x1b[0m dictator: no record")));
        assert!(is_alarm(r#"{"timestamp":"x","level":"ERROR","fields":{}}"#));
        assert!(is_alarm("thread 'main' (7) panicked at src/main.rs:1:1:"));
        assert!(!is_alarm("2026-01-01T00:00:00Z  INFO dnsd: the word ERROR later in a line"));
    }

    #[test]
    fn an_allowed_line_is_not_unexpected() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "t WARN a: expected thing\nt WARN b: surprise\n").expect("a log");
        let allowed = [Allowed { part: "expected thing".into(), reason: "the test provokes it".into() }];
        assert_eq!(unexpected_lines(&path, &allowed), ["t WARN b: surprise"]);
    }
}
