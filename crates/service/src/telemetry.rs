//! Logs to standard error: text for people, JSON lines for machines.
//!
//! Standard error because systemd and every container runtime collect it, and because standard output
//! stays free for `--help`. Colours only on a terminal. In JSON the fields of an event stand at the top
//! level under their own names (`revision`, `node`, …), and those of the spans around it in `spans`, so a
//! query needs no knowledge of this library. Log files and syslog were left out: rotating is another
//! program's work.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One line for a person.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("expected text or json"),
        }
    }
}

/// What is logged: a level (`info`) or a filter (`info,dictator=debug`), checked when parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        LogFilter("info".to_owned())
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(LogFilter(text.to_owned())),
            Err(error) => Err(format!(
                "expected a level (error, warn, info, debug, trace) or a filter such as info,dictator=debug: {error}"
            )),
        }
    }
}

/// Starts logging for the whole process. A second call changes nothing (tests start many daemons in one
/// process).
pub fn init(format: LogFormat, filter: &LogFilter) {
    let filter = EnvFilter::new(filter.as_str());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before; the first settings stay");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_filters_are_checked_when_parsed() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("yaml".parse::<LogFormat>().is_err());
        assert!("info,dictator=debug".parse::<LogFilter>().is_ok());
        assert!("dictator=loud".parse::<LogFilter>().is_err());
    }
}
