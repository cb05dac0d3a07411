//! Where text goes: answers to standard output, talk to standard error, colours only for eyes.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::render::Style;
use crate::render::yaml;
use crate::settings::Settings;

/// In which form answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// What the daemon said, for programs.
    Json,
    /// The same as YAML.
    Yaml,
}

impl std::str::FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            _ => Err("expected table, json or yaml"),
        }
    }
}

/// The two streams, and what is known about them.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The form of answers.
    pub format: Format,
    /// Colours for standard output.
    pub style: Style,
    /// Colours for standard error.
    pub talk_style: Style,
    /// Standard output is a terminal.
    pub out_is_terminal: bool,
    /// Standard error is a terminal.
    pub talk_is_terminal: bool,
    /// Somebody can be asked: standard input and standard error are terminals.
    pub can_ask: bool,
}

impl Output {
    /// Looks at the streams and at `NO_COLOR` and `TERM` (<https://no-color.org>).
    pub fn new(settings: &Settings, environment: &BTreeMap<String, String>) -> Self {
        let is = |name: &str| environment.get(name).map(String::as_str).unwrap_or_default();
        let colours = is("NO_COLOR").is_empty() && is("TERM") != "dumb";
        let (out_is_terminal, talk_is_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            format: settings.format,
            style: Style { coloured: colours && out_is_terminal },
            talk_style: Style { coloured: colours && talk_is_terminal },
            out_is_terminal,
            talk_is_terminal,
            can_ask: talk_is_terminal && io::stdin().is_terminal(),
        }
    }

    /// Prints an answer: the text for people, or the value itself.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn answer(&self, value: &Value, text: impl FnOnce(Style) -> String) -> io::Result<()> {
        match self.format {
            Format::Table => self.print(&text(self.style)),
            Format::Json => self.print(&format!("{value:#}\n")),
            Format::Yaml => self.print(&yaml(value)),
        }
    }

    /// Prints to standard output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn print(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Prints to standard error. Talk that nobody hears is no failure.
    pub fn talk(&self, text: &str) {
        let _ = io::stderr().write_all(text.as_bytes());
    }
}
