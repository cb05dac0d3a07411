//! May this document replace the one in force? Pure.
//!
//! Revisions only grow: a document that was on its way while a newer one overtook it is refused, whoever
//! sends it. A PUT without revision is an operator's own hand and always welcome; the revision stays, so
//! that the next trigger still counts as newer. `If-Match` is for those who read before they write: it is
//! judged first, and who names what is in force may even go back to a lower revision (an etcd that was
//! restored from a backup starts again lower).

use topology::Document;

/// What is in force, as far as admission cares.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// The document.
    pub document: &'a Document,
    /// Its revision; 0 if there never was one.
    pub revision: u64,
    /// The serial, which is the ETag.
    pub serial: u32,
}

/// The precondition of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: something must be in force.
    Any,
    /// One of these tags must be in force. Weak ones are never equal (RFC 9110 section 13.1.1).
    Tags(Vec<String>),
}

/// Text that is no list of entity tags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("If-Match {text:?} is neither `*` nor a list of entity tags such as \"1795256100\"")]
pub struct IfMatchError {
    text: String,
}

impl IfMatch {
    /// Parses the header's value (RFC 9110 section 13.1.1).
    ///
    /// # Errors
    /// [`IfMatchError`] for text that is not a list of entity tags.
    pub fn parse(text: &str) -> Result<Self, IfMatchError> {
        let error = || IfMatchError { text: text.to_owned() };
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        // Our tags are digits, so a comma inside a tag can only be one that never matches.
        let mut tags = Vec::new();
        for part in text.split(',').map(str::trim) {
            let opaque = part.strip_prefix("W/").unwrap_or(part);
            let inner = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(error)?;
            if inner.chars().any(|character| character == '"' || character.is_whitespace()) {
                return Err(error());
            }
            tags.push(part.to_owned());
        }
        Ok(Self::Tags(tags))
    }
}

/// The entity tag of a serial.
pub fn entity_tag(serial: u32) -> String {
    format!("\"{serial}\"")
}

/// Why a document may not be put in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `If-Match` names something else than what is in force.
    #[error("If-Match does not name what is in force")]
    PreconditionFailed {
        /// The serial in force, if anything is.
        serial: Option<u32>,
    },
    /// A newer document is in force.
    #[error("revision {given} is older than revision {current}, which is in force")]
    StaleRevision {
        /// The revision of the request.
        given: u64,
        /// The revision in force.
        current: u64,
    },
    /// Two documents claim one revision.
    #[error("revision {revision} is in force with another document")]
    RevisionConflict {
        /// The revision of both.
        revision: u64,
    },
}

/// Decides, and gives the revision that is in force afterwards.
///
/// # Errors
/// [`Refusal`].
pub fn admit(
    current: Option<Current<'_>>,
    document: &Document,
    revision: Option<u64>,
    if_match: Option<&IfMatch>,
) -> Result<u64, Refusal> {
    let matched = check(current.map(|current| current.serial), if_match)?;
    let Some(current) = current else { return Ok(revision.unwrap_or(0)) };
    match revision {
        None => Ok(current.revision),
        Some(given) if given < current.revision && !matched => {
            Err(Refusal::StaleRevision { given, current: current.revision })
        }
        Some(given) if given == current.revision && !is_same(document, current.document) => {
            Err(Refusal::RevisionConflict { revision: given })
        }
        Some(given) => Ok(given),
    }
}

/// Whether the precondition names what is in force; false if there is none.
///
/// # Errors
/// [`Refusal::PreconditionFailed`] if it names something else.
pub fn check(serial: Option<u32>, if_match: Option<&IfMatch>) -> Result<bool, Refusal> {
    match (if_match, serial) {
        (None, _) => Ok(false),
        (Some(IfMatch::Any), Some(_)) => Ok(true),
        (Some(IfMatch::Tags(tags)), Some(serial)) if tags.contains(&entity_tag(serial)) => Ok(true),
        (Some(_), serial) => Err(Refusal::PreconditionFailed { serial }),
    }
}

/// Whether two documents want the same: the order of slaves carries no meaning, and who is behind a group
/// may change at any time.
pub fn is_same(one: &Document, other: &Document) -> bool {
    let sorted = |document: &Document| {
        let mut document = document.as_written();
        document.slaves.sort_unstable();
        document.groups.sort_unstable_by(|one, other| one.srv.cmp(&other.srv));
        document.groups.iter_mut().for_each(|group| group.at = 0);
        document
    };
    sorted(one) == sorted(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(text.as_bytes(), 8).unwrap().document
    }

    #[test]
    fn the_table_of_revisions() {
        let here =
            document(r#"{"master": {"address": "a"}, "slaves": [{"address": "b"}, {"address": "c"}]}"#);
        let same =
            document(r#"{"master": {"address": "a"}, "slaves": [{"address": "c"}, {"address": "b"}]}"#);
        let other = document(r#"{"master": {"address": "b"}, "slaves": []}"#);
        let current = Current { document: &here, revision: 42, serial: 7 };
        let tag = |text: &str| Some(IfMatch::parse(text).unwrap());
        let stale = Err(Refusal::StaleRevision { given: 41, current: 42 });
        let failed = Err(Refusal::PreconditionFailed { serial: Some(7) });
        for (document, revision, if_match, expected) in [
            (&other, Some(43), None, Ok(43)),
            (&other, Some(41), None, stale),
            (&same, Some(42), None, Ok(42)),
            (&other, Some(42), None, Err(Refusal::RevisionConflict { revision: 42 })),
            (&other, None, None, Ok(42)),
            (&other, Some(41), tag("\"7\""), Ok(41)),
            (&other, Some(41), tag("*"), Ok(41)),
            (&other, Some(43), tag("\"6\""), failed.clone()),
            (&other, Some(43), tag("\"6\", \"7\""), Ok(43)),
            (&other, None, tag("W/\"7\""), failed),
        ] {
            assert_eq!(
                admit(Some(current), document, revision, if_match.as_ref()),
                expected,
                "{revision:?} {if_match:?}"
            );
        }
        assert_eq!(admit(None, &other, None, None), Ok(0));
        assert_eq!(admit(None, &other, Some(5), None), Ok(5));
        let nothing = Err(Refusal::PreconditionFailed { serial: None });
        assert_eq!(admit(None, &other, Some(5), tag("*").as_ref()), nothing);
    }

    #[test]
    fn tags_are_tags() {
        for text in ["41", "\"", "\"a", "a\"", "\"a\" \"b\"", "", "\"a b\"", "\"a\",", "*,\"a\""] {
            assert!(IfMatch::parse(text).is_err(), "{text:?}");
        }
    }
}
