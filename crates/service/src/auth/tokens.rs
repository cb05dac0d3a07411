//! The file of those who may ask, and the making of tokens.
//!
//! One line per token or certificate: `NAME ROLE sha256:HEX` or `NAME ROLE certificate:COMMON-NAME`. Two
//! lines may have one name, so that a token is replaced without a moment in which neither works.

use std::collections::BTreeMap;
use std::fmt::Write;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{Caller, Role};
use crate::config::Secret;

/// Largest file, in bytes.
pub const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Most lines that name somebody.
const ENTRIES_MAX: usize = 1000;
/// Longest name, in characters: it goes into logs and the history.
const NAME_CHARACTERS_MAX: usize = 64;
/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;
/// What every token begins with, so that one that leaked into a log or a repository is recognised.
const TOKEN_PREFIX: &str = "rdt_";
/// What stands before a hash.
const HASH_PREFIX: &str = "sha256:";
/// What stands before a certificate's common name.
const CERTIFICATE_PREFIX: &str = "certificate:";

type Hash = [u8; SHA256_OUTPUT_LEN];

/// Those who may ask.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    hashes: Vec<(Hash, Caller)>,
    subjects: BTreeMap<String, Caller>,
}

/// A line of the file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// What is wrong in which line.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Nobody could ask.
    #[error("names nobody; `dictatorctl token new` makes a token and its line")]
    Empty,
    /// More lines than are looked through with every request.
    #[error("has more than {ENTRIES_MAX} lines that name somebody")]
    TooMany,
}

impl Tokens {
    /// Reads the file's text.
    ///
    /// # Errors
    /// [`TokensError`] for the first mistake: a line that is passed over might be the one that was meant.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let mut tokens = Tokens::default();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                tokens.take(line).map_err(|reason| TokensError::Line { line: index + 1, reason })?;
            }
            if tokens.count() > ENTRIES_MAX {
                return Err(TokensError::TooMany);
            }
        }
        if tokens.count() == 0 { Err(TokensError::Empty) } else { Ok(tokens) }
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.splitn(3, [' ', '\t']).map(str::trim);
        let (Some(name), Some(role), Some(proof)) = (words.next(), words.next(), words.next()) else {
            return Err("expected NAME ROLE sha256:HEX, or NAME ROLE certificate:COMMON-NAME".to_owned());
        };
        check_name(name)?;
        let caller = Caller { name: name.into(), role: role.parse()? };
        if let Some(subject) = proof.strip_prefix(CERTIFICATE_PREFIX) {
            if subject.is_empty() || self.subjects.insert(subject.to_owned(), caller).is_some() {
                return Err(format!("the certificate {subject:?} is empty or stands in two lines"));
            }
            return Ok(());
        }
        // What stands here instead may be the token itself, so it is not repeated.
        let hash = proof.strip_prefix(HASH_PREFIX).and_then(unhex).ok_or(
            "the third word is no `sha256:` and 64 hexadecimal digits; the file holds the hash, never the token",
        )?;
        if self.hashes.iter().any(|(known, _)| *known == hash) {
            return Err("the same token stands in two lines".to_owned());
        }
        self.hashes.push((hash, caller));
        Ok(())
    }

    /// Who has this token. Every entry is looked at, whatever is found.
    pub fn find(&self, token: &str) -> Option<Caller> {
        let hash = hash(token);
        let mut position = u64::MAX;
        for (index, (known, _)) in self.hashes.iter().enumerate() {
            let is_it: Choice = known.ct_eq(&hash);
            position = u64::conditional_select(&position, &(index as u64), is_it);
        }
        self.hashes.get(usize::try_from(position).ok()?).map(|(_, caller)| caller.clone())
    }

    /// Who has a certificate with this common name.
    pub fn find_subject(&self, subject: &str) -> Option<Caller> {
        self.subjects.get(subject).cloned()
    }

    /// How many tokens and certificates there are.
    pub fn count(&self) -> usize {
        self.hashes.len() + self.subjects.len()
    }
}

/// A new token and what the file shall say of it.
#[derive(Clone, Debug)]
pub struct Minted {
    /// To be given to its holder; it is kept nowhere.
    pub token: Secret,
    /// The line for the file.
    pub line: String,
}

/// Makes a token.
///
/// # Errors
/// As a sentence: a name that cannot stand in the file, or a system without randomness.
pub fn mint(name: &str, role: Role) -> Result<Minted, String> {
    check_name(name)?;
    let mut bytes = [0; TOKEN_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
    let token = format!("{TOKEN_PREFIX}{}", hex(&bytes));
    let line = format!("{name} {role} {HASH_PREFIX}{}", hex(&hash(&token)));
    Ok(Minted { token: Secret::new(&token).map_err(|error| error.to_string())?, line })
}

fn check_name(name: &str) -> Result<(), String> {
    let sound = |character: char| character.is_ascii_alphanumeric() || "._-@".contains(character);
    if name.is_empty() || name.len() > NAME_CHARACTERS_MAX || !name.chars().all(sound) {
        return Err(format!("a name is 1 to {NAME_CHARACTERS_MAX} letters, digits, `.`, `_`, `-` and `@`"));
    }
    Ok(())
}

fn hash(token: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != hash.len() * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_everybody_elses_tools() {
        // `printf abc | sha256sum`
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let tokens = Tokens::parse(&format!("alice viewer sha256:{known}")).unwrap();
        assert_eq!(tokens.find("abc").map(|caller| caller.role), Some(Role::Viewer));
        assert_eq!(tokens.find("abd"), None);
    }

    #[test]
    fn tokens_are_long_differ_and_are_not_printed() {
        let (one, other) = (mint("a", Role::Viewer).unwrap(), mint("a", Role::Viewer).unwrap());
        assert_ne!(one.token.expose(), other.token.expose());
        assert_eq!(one.token.expose().len(), TOKEN_PREFIX.len() + 2 * TOKEN_BYTES);
        assert!(!format!("{one:?}").contains(one.token.expose()));
        assert!(!one.line.contains(one.token.expose()));
        let both = format!("{}\n{}\n", one.line, other.line);
        assert_eq!(Tokens::parse(&both).unwrap().count(), 2, "a name may have two tokens");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_a_secret() {
        let line = mint("alice", Role::Admin).unwrap().line;
        for (text, expected) in [
            ("", "names nobody"),
            ("# only a comment\n", "names nobody"),
            ("alice\n", "line 1: expected NAME ROLE"),
            ("\nalice root sha256:00", "line 2: the role is"),
            ("al/ice admin sha256:00", "line 1: a name is"),
            ("alice admin rdt_0123456789", "never the token"),
            ("alice admin sha256:zz", "never the token"),
            (&format!("{line}\n{line}"), "line 2: the same token"),
            ("a viewer certificate:x\nb viewer certificate:x", "line 2: the certificate"),
            ("a viewer certificate:", "is empty"),
        ] {
            let error = Tokens::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
            assert!(!error.contains("rdt_"), "{error}");
        }
        let many =
            (0..=ENTRIES_MAX).map(|number| format!("n viewer certificate:{number}\n")).collect::<String>();
        assert_eq!(Tokens::parse(&many).unwrap_err(), TokensError::TooMany);
    }
}
