//! Secrets: where they come from, and that they are never printed.
//!
//! A secret is never a flag, because every user of the host can read the command lines. A file is best
//! (systemd's credentials are files), the environment is accepted because containers have nothing better.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::files::FromFiles;

/// Longer secrets are a mistake: somebody named the wrong file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A secret whose `Debug` tells nothing. It has no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Judges text: one line break at the end is dropped, others and NUL are refused.
    ///
    /// # Errors
    /// [`SecretError::LineBreak`], [`SecretError::Nul`], [`SecretError::Empty`].
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if text.contains(['\n', '\r']) {
            return Err(SecretError::LineBreak);
        }
        if text.contains('\0') {
            return Err(SecretError::Nul);
        }
        Ok(Secret(text.to_owned()))
    }

    /// Reads a secret from a file.
    ///
    /// # Errors
    /// Every [`SecretError`].
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(SecretError::Unreadable)?;
        file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(SecretError::Unreadable)?;
        Secret::from_bytes(&bytes)
    }

    /// Judges a file's content.
    ///
    /// # Errors
    /// Every [`SecretError`] but [`SecretError::Unreadable`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        if bytes.len() as u64 > SECRET_BYTES_MAX {
            return Err(SecretError::TooLong);
        }
        Secret::new(std::str::from_utf8(bytes).map_err(|_| SecretError::NotText)?)
    }

    /// The secret, if it can be a bearer token: graphic ASCII, since it is sent in a header.
    ///
    /// # Errors
    /// [`SecretError::NoToken`].
    pub fn into_token(self) -> Result<Self, SecretError> {
        if self.0.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(self) } else { Err(SecretError::NoToken) }
    }

    /// The secret itself. Hand it to the peer that asks for it and to nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(redacted)")
    }
}

/// Where a secret is: a file, whose content may change while the daemon runs, or a value that cannot.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// In a file that is kept fresh.
    File(Arc<FromFiles<Secret>>),
    /// From the environment.
    Fixed(Secret),
}

impl SecretSource {
    /// The secret as it is now.
    pub fn get(&self) -> Secret {
        match self {
            SecretSource::File(file) => Secret::clone(&file.get()),
            SecretSource::Fixed(secret) => secret.clone(),
        }
    }
}

/// Why something is not a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// Larger than any secret is.
    #[error("is larger than {SECRET_BYTES_MAX} bytes; is it the right file?")]
    TooLong,
    /// Not UTF-8.
    #[error("is not UTF-8 text")]
    NotText,
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// A line break that is not the last character.
    #[error("has a line break inside; only one at its end is dropped")]
    LineBreak,
    /// A NUL byte.
    #[error("has a NUL byte inside")]
    Nul,
    /// A character that cannot be sent in a header.
    #[error("holds a blank or another character that no token has")]
    NoToken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_dropped_and_others_are_refused() {
        for (text, expected) in [
            ("s3cret", "s3cret"),
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            (" #$!()\"'ü ", " #$!()\"'ü "),
        ] {
            assert_eq!(Secret::new(text).unwrap().expose(), expected);
        }
        for text in ["", "\n", "a\nb", "a\n\n", "a\0b", "a\rb"] {
            assert!(Secret::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn debug_does_not_tell() {
        assert!(!format!("{:?}", Secret::new("hunter2").unwrap()).contains("hunter2"));
    }
}
