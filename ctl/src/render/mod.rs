//! From what daemons answer to what people read. Pure: values in, text out.
//!
//! The first line of every text is the verdict, because at night the first line is what is read. Colours
//! only repeat what words say.

mod history;
mod live;
mod plan;
mod problem;
mod receipt;
mod status;
mod table;
mod time;
mod yaml;

use std::fmt::Display;

pub use history::{entry, history};
pub use live::{enforcement, event};
pub use plan::{expected_pause, plan};
pub use problem::{problem, refusal};
pub use receipt::{microseconds, receipt};
pub use status::{as_wanted, status};
pub use time::{ago, utc};
pub use yaml::yaml;

/// Whether text may be coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// It goes to a terminal that shows colours, and nobody objects.
    pub coloured: bool,
}

impl Style {
    /// All is well.
    pub fn good(self, text: impl Display) -> String {
        self.paint("32", text)
    }

    /// Somebody should look.
    pub fn bad(self, text: impl Display) -> String {
        self.paint("31", text)
    }

    /// Less important than the rest.
    pub fn faint(self, text: impl Display) -> String {
        self.paint("2", text)
    }

    /// More important than the rest.
    pub fn strong(self, text: impl Display) -> String {
        self.paint("1", text)
    }

    /// Select Graphic Rendition (ECMA-48 section 8.3.117).
    fn paint(self, parameter: &str, text: impl Display) -> String {
        if self.coloured { format!("\x1b[{parameter}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// What comes from a daemon or a document is never let near the terminal's control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
