//! The keys that name servers sign with (TSIG, RFC 8945), and what may be had with which of them.
//!
//! An address in a list says where a message seems to come from; a key says who wrote it. Both are asked
//! for: with keys a transfer has to be signed *and* come from a listed address, because a key is a file that
//! can be copied and the list costs nothing. An entry of the list can ask for one key (`10.0.0.53=name`) or
//! for none (`10.0.0.53=NOKEY`), the words that NSD's operators know.
//!
//! The file is written as BIND writes it, because that is what `tsig-keygen` prints and what lies next to
//! the other name server already. It is read when it changes; nothing of it but names is ever shown.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::BASE64;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};
use service::files::FromFiles;

use crate::network::Network;

/// Most keys of a file.
const KEYS_MAX: usize = 256;
/// Longest name of a key, in bytes: it stands in every signed message.
const NAME_BYTES_MAX: usize = 128;
/// Shortest secret, in bytes: 128 bits cannot be guessed.
const SECRET_BYTES_MIN: usize = 16;
/// How far the clocks of two name servers may be apart, in seconds (RFC 8945 section 10).
const FUDGE_S: u16 = 300;
/// Stands for "without a key" in settings.
const NO_KEY: &str = "NOKEY";

/// What can be signed with; all that hickory computes.
const ALGORITHMS: [(&str, TsigAlgorithm); 3] = [
    ("hmac-sha256", TsigAlgorithm::HmacSha256),
    ("hmac-sha384", TsigAlgorithm::HmacSha384),
    ("hmac-sha512", TsigAlgorithm::HmacSha512),
];

/// The keys of a file, in its order; at least one.
pub struct Keys(Vec<TSigner>);

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(TSigner::signer_name)).finish()
    }
}

impl Keys {
    /// Reads `key "name" { algorithm hmac-sha256; secret "base64"; };`, as often as it stands there.
    ///
    /// # Errors
    /// A sentence that names the line or the key and never a secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = Words::new(text)?;
        let mut keys: Vec<TSigner> = Vec::new();
        while let Some(word) = words.next() {
            if word != "key" {
                return Err(words.expected("`key`"));
            }
            let key = read_key(&mut words)?;
            if keys.iter().any(|known| known.signer_name() == key.signer_name()) {
                return Err(format!("there are two keys `{}`", key.signer_name()));
            }
            keys.push(key);
            if keys.len() > KEYS_MAX {
                return Err(format!("there are more than {KEYS_MAX} keys"));
            }
        }
        if keys.is_empty() {
            return Err("there is no key; `tsig-keygen` prints one".to_owned());
        }
        Ok(Self(keys))
    }

    /// The key of this name.
    pub fn get(&self, name: &Name) -> Option<&TSigner> {
        self.0.iter().find(|key| key.signer_name() == name)
    }

    /// The key that a message is to be signed with, if any.
    pub fn chosen(&self, choice: &Choice) -> Option<&TSigner> {
        match choice {
            Choice::Any => self.0.first(),
            Choice::None => None,
            Choice::Named(name) => self.get(name),
        }
    }
}

/// What stands behind the word `key`.
fn read_key(words: &mut Words<'_>) -> Result<TSigner, String> {
    let name = words.next().unwrap_or_default();
    let name = parse_name(name).map_err(|error| format!("line {}: {error}", words.line()))?;
    words.expect("{")?;
    let (mut algorithm, mut secret) = (None, None);
    loop {
        match words.next() {
            Some("}") => break,
            Some("algorithm") => {
                let word = words.next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
                let known = ALGORITHMS.iter().find(|(known, _)| *known == word);
                algorithm = Some(known.map(|(_, algorithm)| algorithm.clone()).ok_or_else(|| {
                    format!("key `{name}`: expected an algorithm: hmac-sha256, hmac-sha384 or hmac-sha512")
                })?);
            }
            Some("secret") => {
                let word = words.next().unwrap_or_default();
                let bytes = BASE64.decode(word.as_bytes()).ok();
                secret = Some(bytes.filter(|bytes| bytes.len() >= SECRET_BYTES_MIN).ok_or_else(|| {
                    format!("key `{name}`: the secret is not base64 of at least {SECRET_BYTES_MIN} bytes")
                })?);
            }
            _ => return Err(words.expected("`algorithm`, `secret` or `}`")),
        }
        words.expect(";")?;
    }
    words.expect(";")?;
    let (Some(algorithm), Some(secret)) = (algorithm, secret) else {
        return Err(format!("key `{name}` needs an algorithm and a secret"));
    };
    TSigner::new(secret, algorithm, name, FUDGE_S).map_err(|error| error.to_string())
}

fn parse_name(text: &str) -> Result<Name, String> {
    if text.is_empty() || text == "." || text.len() > NAME_BYTES_MAX {
        return Err(format!("expected the name of a key, of at most {NAME_BYTES_MAX} bytes"));
    }
    let mut name =
        Name::from_ascii(text).map_err(|_| "expected the name of a key, such as `dnsd`")?.to_lowercase();
    name.set_fqdn(true);
    Ok(name)
}

/// The words of a file of keys. Which word it was is not told in errors: it may be a secret.
struct Words<'a> {
    words: Vec<(usize, &'a str)>,
    at: usize,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Result<Self, String> {
        let (mut words, mut rest, mut line) = (Vec::new(), text, 1);
        while let Some(first) = rest.chars().next() {
            let ends_at = |end: Option<usize>| end.unwrap_or(rest.len());
            let taken = if first.is_whitespace() {
                first.len_utf8()
            } else if first == '#' || rest.starts_with("//") {
                ends_at(rest.find('\n'))
            } else if rest.starts_with("/*") {
                rest.find("*/").ok_or_else(|| format!("line {line}: a comment does not end"))? + 2
            } else if first == '"' {
                let end = rest[1..].find('"').ok_or_else(|| format!("line {line}: a quote does not end"))?;
                words.push((line, &rest[1..=end]));
                end + 2
            } else {
                let is_alone = matches!(first, '{' | '}' | ';');
                let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | ';' | '"' | '#'));
                let end = if is_alone { 1 } else { ends_at(end) };
                words.push((line, &rest[..end]));
                end
            };
            line += rest[..taken].matches('\n').count();
            rest = &rest[taken..];
        }
        Ok(Self { words, at: 0 })
    }

    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at)?.1;
        self.at += 1;
        Some(word)
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.next() == Some(word) { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    /// The line of the word that was taken last.
    fn line(&self) -> usize {
        self.words.get(self.at.saturating_sub(1)).map_or(1, |(line, _)| *line)
    }

    fn expected(&self, what: &str) -> String {
        format!("line {}: expected {what}", self.line())
    }
}

/// Which key goes with an address of the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Nothing is said: any key lets a transfer in, and the first of the file signs.
    #[default]
    Any,
    /// None: what is not signed is let in as well, and nothing is signed.
    None,
    /// This one.
    Named(Name),
}

/// Something of the settings with the key that goes with it: `10.0.0.53`, `10.0.0.53=name`,
/// `10.0.0.53=NOKEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithKey<T> {
    /// The address or network.
    pub what: T,
    /// The key.
    pub key: Choice,
}

impl<T: FromStr> FromStr for WithKey<T>
where
    T::Err: fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (what, key) = match text.split_once('=') {
            None => (text, Choice::Any),
            Some((what, NO_KEY)) => (what, Choice::None),
            Some((what, name)) => (what, Choice::Named(parse_name(name)?)),
        };
        Ok(Self { what: what.parse().map_err(|error: T::Err| error.to_string())?, key })
    }
}

/// Keys that are kept fresh.
pub type KeysFile = Arc<FromFiles<Keys>>;

/// Keys that are no file and never change.
///
/// # Errors
/// As [`Keys::parse`].
pub fn fixed(text: &str) -> Result<KeysFile, String> {
    let text = text.to_owned();
    FromFiles::open("TSIG keys", Vec::new(), move |_| Keys::parse(&text)).map(Arc::new)
}

/// Who may have a zone as a whole.
#[derive(Debug, Default)]
pub struct Transfers {
    to: Vec<WithKey<Network>>,
    keys: Option<KeysFile>,
}

impl Transfers {
    /// These networks, with these keys if there are any.
    pub fn new(to: Vec<WithKey<Network>>, keys: Option<KeysFile>) -> Self {
        Self { to, keys }
    }

    /// The keys in force, if there are any.
    pub fn keys(&self) -> Option<Arc<Keys>> {
        self.keys.as_ref().map(|keys| keys.get())
    }

    /// Whether anybody at this address may have a zone, with whatever key.
    pub fn may_ask(&self, client: IpAddr) -> bool {
        self.to.iter().any(|entry| entry.what.contains(client))
    }

    /// Whether a client may have a zone that has signed with this key, or not at all.
    pub fn permit(&self, client: IpAddr, signed_with: Option<&Name>) -> bool {
        self.to.iter().filter(|entry| entry.what.contains(client)).any(|entry| match &entry.key {
            Choice::None => true,
            Choice::Any => self.keys.is_none() || signed_with.is_some(),
            Choice::Named(name) => signed_with == Some(name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "MTIzNDU2Nzg5MDEyMzQ1Ng==";

    fn key(name: &str) -> String {
        format!("key \"{name}\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{SECRET}\";\n}};\n")
    }

    #[test]
    fn files_as_operators_write_them() {
        let one = key("Dnsd.Example");
        let two = format!(
            "# by hand\n// and /* so\n/* on\n */ key two {{ secret {SECRET}; algorithm HMAC-SHA512; }}; # end"
        );
        for (text, names) in [
            (one.clone(), &["dnsd.example."][..]),
            (two.clone(), &["two."]),
            (one + &two, &["dnsd.example.", "two."]),
        ] {
            let keys = Keys::parse(&text).unwrap();
            let told: Vec<String> = keys.0.iter().map(|key| key.signer_name().to_ascii()).collect();
            assert_eq!(told, names);
            assert_eq!(keys.0.last().unwrap().key(), b"1234567890123456");
            assert!(!format!("{keys:?}").contains("secret"));
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_without_the_secret() {
        for (text, says) in [
            (String::new(), "tsig-keygen"),
            (format!("secret \"{SECRET}\";"), "line 1: expected `key`"),
            (format!("\n\nkey a {{ algorithm hmac-sha256; secret \"{SECRET}\" }};"), "line 3: expected `;`"),
            (format!("key a {{ algorithm hmac-md5; secret \"{SECRET}\"; }};"), "hmac-sha256"),
            (format!("key a {{ secret \"{SECRET}\"; }};"), "needs an algorithm"),
            ("key a { algorithm hmac-sha256; };".to_owned(), "needs an algorithm and a secret"),
            ("key a { algorithm hmac-sha256; secret \"c2hvcnQ=\"; };".to_owned(), "at least 16"),
            (format!("key a {{ algorithm hmac-sha256; secret \"{SECRET}!\"; }};"), "base64"),
            (format!("key a {{ {SECRET} }};"), "line 1: expected `algorithm`"),
            (key("a") + &key("A."), "two keys `a.`"),
            (key(&"x".repeat(64)), "name of a key"),
            (key(""), "name of a key"),
            ("key a {".to_owned(), "expected"),
            ("/* ".to_owned(), "comment"),
            ("key \"a".to_owned(), "quote"),
        ] {
            let error = Keys::parse(&text).unwrap_err();
            assert!(error.contains(says) && !error.contains(&SECRET[..8]), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_and_a_key_are_both_asked_for() {
        let list = |text: &str| {
            text.split(' ').map(|entry| entry.parse().unwrap()).collect::<Vec<WithKey<Network>>>()
        };
        let keys = fixed(&(key("one") + &key("two"))).unwrap();
        let [one, two] = ["one.", "two."].map(|name| Name::from_ascii(name).unwrap());
        let to = list("10.0.0.1 10.0.0.2=ONE 10.0.0.3=NOKEY");
        let transfers = Transfers::new(to.clone(), Some(keys));
        let permitted = |transfers: &Transfers, last: u8| {
            let client = IpAddr::from([10, 0, 0, last]);
            [None, Some(&one), Some(&two)].map(|key| transfers.permit(client, key))
        };
        assert_eq!(permitted(&transfers, 1), [false, true, true], "some key");
        assert_eq!(permitted(&transfers, 2), [false, true, false], "this key");
        assert_eq!(permitted(&transfers, 3), [true, true, true], "none is needed");
        assert_eq!(permitted(&transfers, 4), [false, false, false], "not in the list");
        assert!(transfers.may_ask([10, 0, 0, 2].into()) && !transfers.may_ask([10, 0, 0, 4].into()));
        let without = Transfers::new(to, None);
        assert_eq!(permitted(&without, 1), [true, true, true], "no keys: the address alone");
        assert_eq!(permitted(&without, 4), [false, false, false]);
        for wrong in ["10.0.0.1=", "10.0.0.1=a..b", "10.0.0.1/8=a", "=a", ""] {
            assert!(wrong.parse::<WithKey<Network>>().is_err(), "{wrong}");
        }
    }
}
