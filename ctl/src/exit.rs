//! How a command ends: a code for scripts and a sentence for people.
//!
//! The codes keep apart what a script does differently: go on, look at the difference, read a refusal,
//! find out what became of a change before trying anything else, mend the call, come again later. The
//! upper ones are those of sysexits.h, as with the daemons.

use std::io::Write;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It is done, or there was nothing to do.
    Done = 0,
    /// Something else went wrong.
    Failed = 1,
    /// What is differs from what is wanted, or from what is advised.
    Differs = 2,
    /// The daemon refused, and says why.
    Refused = 3,
    /// The change stands but is not complete, or what became of it is not known.
    Unfinished = 4,
    /// The call itself is wrong; nothing was sent.
    Usage = 64,
    /// Nobody who could answer was reached.
    Unavailable = 69,
    /// The daemon does not let this caller do that.
    NotPermitted = 77,
}

/// All codes with their meaning, for the help and the manual.
pub const CODES: [(Code, &str); 8] = [
    (Code::Done, "done; as wanted; nothing to do"),
    (Code::Failed, "failed for another reason"),
    (Code::Differs, "plan: there are changes; status, master, doctor: something is not as it should be"),
    (Code::Refused, "refused; the reason and what to do were printed"),
    (Code::Unfinished, "not complete, or the outcome is not known: look at status before trying again"),
    (Code::Usage, "wrong usage; nothing was sent"),
    (Code::Unavailable, "no daemon that could act was reached"),
    (Code::NotPermitted, "not permitted with this token, or to this user of etcd"),
];

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code as u8)
    }
}

/// A command that did not get what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For scripts.
    pub code: Code,
    /// For people; may have several lines. Empty: there is nothing to add.
    pub text: String,
}

impl Failure {
    /// With a sentence.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// A mistake in the call.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Code::Usage, text)
    }

    /// Prints the sentence and gives the code to return from `main`.
    pub fn report(&self) -> ExitCode {
        if !self.text.is_empty() {
            let lines = format!("dictatorctl: {}\n", self.text);
            // Without standard error there is nobody to tell; the code remains.
            let _ = std::io::stderr().write_all(lines.as_bytes());
        }
        self.code.into()
    }
}

impl From<std::io::Error> for Failure {
    /// Standard output that cannot be written. Who closes a pipe has seen enough: no complaint about that.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(Code::Done, "");
        }
        Self::new(Code::Failed, format!("standard output cannot be written: {error}"))
    }
}

/// Help and version on standard output with code 0, mistakes on standard error with 64.
pub fn of_clap(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let (printed, code) = if error.use_stderr() {
        (std::io::stderr().write_all(text.as_bytes()), Code::Usage)
    } else {
        (std::io::stdout().write_all(text.as_bytes()), Code::Done)
    };
    match printed {
        Ok(()) => code.into(),
        Err(error) => Failure::from(error).report(),
    }
}
