//! What should be different about the nodes and their hosts, each finding with its exact cure.
//!
//! Facts come in as text that redis or the kernel wrote, findings come out; nothing here asks anybody, so
//! every rule is tested with a line of text. A rule is here if breaking it loses data, makes the dictator refuse,
//! or makes a change slow; taste is not.

pub mod certificates;
pub mod host;
pub mod nodes;
pub mod published;

use std::fmt::Write;

use crate::render::{Style, printable};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Data can be lost, or the dictator will refuse to move the master.
    Danger,
    /// A change will be slow, or something fails sooner or later.
    Warning,
    /// Good to know.
    Note,
}

impl Level {
    /// As it is printed and told to programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Danger => "danger",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The node, or the host.
    pub place: String,
    /// What was found and why it matters.
    pub what: String,
    /// What to do: a command wherever one does it.
    pub cure: String,
}

impl Finding {
    /// A finding.
    pub fn new(level: Level, place: &str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level, place: place.to_owned(), what: what.into(), cure: cure.into() }
    }

    /// For programs.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "level": self.level.as_str(), "place": self.place, "what": self.what, "do": self.cure,
        })
    }
}

/// Findings for people, the worst first; `looked_at` says what was examined.
pub fn report(findings: &[Finding], looked_at: &str, style: Style) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.level);
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let (dangers, warnings) = (count(Level::Danger), count(Level::Warning));
    let verdict = match (dangers, warnings) {
        (0, 0) => style.good("healthy"),
        _ => style.bad(format!("{}, {}", counted(dangers, "danger"), counted(warnings, "warning"))),
    };
    let mut text = format!("{verdict} ({}) at {looked_at}\n", counted(count(Level::Note), "note"));
    for finding in sorted {
        let level = finding.level.as_str();
        let level = if finding.level == Level::Note { level.to_owned() } else { style.bad(level) };
        let _ = writeln!(
            text,
            "\n{level}: {}: {}",
            style.strong(printable(&finding.place)),
            printable(&finding.what)
        );
        let _ = writeln!(text, "  do  {}", printable(&finding.cure));
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_each_has_its_cure() {
        let findings = [
            Finding::new(Level::Note, "a", "n", "x"),
            Finding::new(Level::Danger, "b", "d", "y"),
            Finding::new(Level::Warning, "c", "w", "z"),
        ];
        let expected = "1 danger, 1 warning (1 note) at 3 nodes\n\ndanger: b: d\n  do  y\n\n\
                        warning: c: w\n  do  z\n\nnote: a: n\n  do  x\n";
        assert_eq!(report(&findings, "3 nodes", Style::default()), expected);
        assert_eq!(report(&[], "this host", Style::default()), "healthy (0 notes) at this host\n");
    }
}
