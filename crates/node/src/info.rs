//! INFO, taken apart without believing it.
//!
//! INFO is text of unbounded origin: it may be cut, huge, repeat itself or come from something that
//! only resembles redis. What is decided from it is who may take writes, so nothing is guessed: a
//! field that is missing, given twice with different values, or not the number it should be is an
//! error with the field's name, and the caller treats the node as unknown.
//!
//! Only splitting is done here; what the fields mean is in `vitals`. Fields keep borrowing from the
//! text, since a hand-over parses INFO while clients wait.

use std::collections::{HashMap, HashSet};

/// Most bytes of one INFO reply that are looked at. `INFO all` of a node with every command used,
/// modules and 10 000 latency lines is far below.
pub const INFO_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest piece of a foreign value that is quoted in an error.
const QUOTED_CHARACTERS_MAX: usize = 64;

/// Why a text is no usable INFO reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// Longer than [`INFO_BYTES_MAX`].
    #[error("INFO of {0} bytes; at most {INFO_BYTES_MAX} are read")]
    TooLarge(usize),
    /// A field that must be there is not.
    #[error("INFO has no field `{0}`")]
    Missing(&'static str),
    /// A field is there twice, with different values.
    #[error("INFO gives `{0}` twice, with different values")]
    Contradiction(&'static str),
    /// A field has a value of the wrong kind.
    #[error("INFO gives `{field}` as {value:?}, which is not {expected}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// Its value, cut to a few characters.
        value: String,
        /// What it should have been.
        expected: &'static str,
    },
}

/// The fields of one INFO reply.
#[derive(Debug, Default)]
pub(crate) struct Info<'a> {
    fields: HashMap<&'a str, &'a str>,
    contradicted: HashSet<&'a str>,
}

impl<'a> Info<'a> {
    /// Splits a reply into fields. Section titles, blank lines and lines without a colon are
    /// passed over; modules may add any.
    ///
    /// # Errors
    /// [`InfoError::TooLarge`].
    pub(crate) fn parse(text: &'a str) -> Result<Self, InfoError> {
        if text.len() > INFO_BYTES_MAX {
            return Err(InfoError::TooLarge(text.len()));
        }
        let mut info = Self::default();
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.starts_with('#') {
                continue;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            if let Some(earlier) = info.fields.insert(name, value)
                && earlier != value
            {
                info.contradicted.insert(name);
            }
        }
        Ok(info)
    }

    /// A field as text, if it is there.
    ///
    /// # Errors
    /// [`InfoError::Contradiction`].
    pub(crate) fn text_or_none(&self, field: &'static str) -> Result<Option<&'a str>, InfoError> {
        if self.contradicted.contains(field) {
            return Err(InfoError::Contradiction(field));
        }
        Ok(self.fields.get(field).copied())
    }

    /// A field as text.
    ///
    /// # Errors
    /// [`InfoError::Missing`], [`InfoError::Contradiction`].
    pub(crate) fn text(&self, field: &'static str) -> Result<&'a str, InfoError> {
        self.text_or_none(field)?.ok_or(InfoError::Missing(field))
    }

    /// A field as a whole number, if it is there.
    ///
    /// # Errors
    /// [`InfoError::Malformed`], [`InfoError::Contradiction`].
    pub(crate) fn number_or_none(&self, field: &'static str) -> Result<Option<u64>, InfoError> {
        self.text_or_none(field)?
            .map(|value| value.parse().map_err(|_| malformed(field, value, "a whole number")))
            .transpose()
    }

    /// A replication offset, which redis gives as -1 where there is none.
    ///
    /// # Errors
    /// As [`Self::number_or_none`].
    pub(crate) fn offset_or_none(&self, field: &'static str) -> Result<Option<u64>, InfoError> {
        match self.text_or_none(field)? {
            Some("-1") | None => Ok(None),
            Some(_) => self.number_or_none(field),
        }
    }

    /// A field that is 0 or 1; missing counts as 0.
    ///
    /// # Errors
    /// As [`Self::number_or_none`].
    pub(crate) fn flag(&self, field: &'static str) -> Result<bool, InfoError> {
        match self.text_or_none(field)? {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(value) => Err(malformed(field, value, "0 or 1")),
        }
    }

    /// All fields whose name begins with `prefix`, as (rest of the name, value).
    pub(crate) fn starting_with<'s>(
        &'s self,
        prefix: &'s str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + 's {
        self.fields.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, *value)))
    }
}

/// An error that quotes no more of the value than fits a line.
pub(crate) fn malformed(field: &'static str, value: &str, expected: &'static str) -> InfoError {
    InfoError::Malformed { field, value: value.chars().take(QUOTED_CHARACTERS_MAX).collect(), expected }
}

/// The number after `name=` in a value of the form `name=1,other=2`.
pub(crate) fn inner_number(value: &str, name: &str) -> Option<u64> {
    value.split(',').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)?.1.parse().ok())
}
