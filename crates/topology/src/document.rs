//! The document users write: one master, its slaves, and what may be discarded.
//!
//! Parsed from bytes by hand-written decoding over a JSON tree instead of derived deserialization:
//! derived code accepts an array where an object is meant, reports one mistake at a time and knows
//! no place. An operator who mistyped gets every mistake at once, each with its JSON pointer
//! (RFC 6901), and nothing of a document with a mistake is ever acted upon.

mod expand;
mod group;
mod json;

use std::collections::HashSet;
use std::num::NonZeroU16;

use serde::Serialize;
use serde_json::json;

use crate::address::{Address, NodeName};
use json::Json;

pub use expand::{Answers, Choice, Expanded, Found, Note, expand, names_of};
pub use group::{Entry, GROUPS_MAX, Group};

/// Most nodes in a document unless a setting says otherwise.
pub const NODES_MAX_DEFAULT: usize = 64;
/// Length of a redis run id in hexadecimal digits (redis `CONFIG_RUN_ID_SIZE`).
const RUN_ID_CHARACTERS: usize = 40;
/// Most mistakes reported for one document.
const ERRORS_MAX: usize = 20;

/// The wanted topology as its operator wrote it, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(from = "group::Wire", into = "group::Wire")]
pub struct Document {
    /// The node that shall take writes.
    pub master: NodeName,
    /// The nodes that shall follow it, members of groups included; none is listed twice and none is the
    /// master.
    pub slaves: Vec<NodeName>,
    /// The groups that some of the slaves come from, in the order in which they are written.
    pub groups: Vec<Group>,
    /// What may be lost on the way, named life by life.
    pub discard: Vec<Discard>,
}

/// Permission to lose what one life of one node holds, and nothing else. Used once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, serde::Deserialize)]
pub struct Discard {
    /// The node, named as in the document.
    #[serde(flatten)]
    pub node: NodeName,
    /// The run id (INFO server `run_id`) of the life whose data may be lost.
    pub run_id: String,
}

/// A document together with what is worth telling its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The document.
    pub document: Document,
    /// Things that were mended on the way in, such as a slave listed twice.
    pub warnings: Vec<String>,
}

/// One mistake and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// JSON pointer (RFC 6901) to the place; empty for the whole document.
    pub pointer: String,
    /// What is wrong there, for a person.
    pub detail: String,
}

/// Which kind of wrong a document is; each is a problem type of the HTTP contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentErrorKind {
    /// Not JSON.
    MalformedJson,
    /// JSON, but not a topology.
    MalformedTopology,
    /// A topology with a text that is no address.
    InvalidAddress,
    /// One node in two places.
    DuplicateNode,
    /// More nodes than allowed.
    TooManyNodes,
}

impl DocumentErrorKind {
    /// The slug of the problem type.
    pub fn slug(self) -> &'static str {
        match self {
            Self::MalformedJson => "malformed-json",
            Self::MalformedTopology => "malformed-topology",
            Self::InvalidAddress => "invalid-address",
            Self::DuplicateNode => "duplicate-node",
            Self::TooManyNodes => "too-many-nodes",
        }
    }
}

/// Why a text is not a document: every mistake found, the first deciding the kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct DocumentError {
    /// The kind of the first mistake.
    pub kind: DocumentErrorKind,
    /// One sentence naming the first mistake and its place.
    pub detail: String,
    /// All mistakes found, at most twenty.
    pub mistakes: Vec<Mistake>,
}

impl Document {
    /// Parses the body of a PUT, the value of a key or the content of a file.
    ///
    /// `nodes_max` limits master and slaves together.
    ///
    /// # Errors
    /// [`DocumentError`] with every mistake and its place.
    pub fn parse(bytes: &[u8], nodes_max: usize) -> Result<Parsed, DocumentError> {
        let tree = json::parse(bytes).map_err(|detail| DocumentError {
            kind: DocumentErrorKind::MalformedJson,
            mistakes: vec![Mistake { pointer: String::new(), detail: detail.clone() }],
            detail,
        })?;
        let mut decoder = Decoder { mistakes: Vec::new(), nodes_max };
        let parsed = decoder.document(&tree);
        match (parsed, decoder.mistakes.is_empty()) {
            (Some(parsed), true) => Ok(parsed),
            _ => Err(decoder.into_error()),
        }
    }

    /// The canonical JSON text, as served by `GET /master`.
    pub fn to_json(&self) -> serde_json::Value {
        json!(self)
    }

    /// Master first, then the slaves.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeName> {
        std::iter::once(&self.master).chain(&self.slaves)
    }
}

struct Decoder {
    mistakes: Vec<(DocumentErrorKind, Mistake)>,
    nodes_max: usize,
}

impl Decoder {
    fn into_error(self) -> DocumentError {
        let (kind, first) = self.mistakes.first().cloned().unwrap_or((
            DocumentErrorKind::MalformedTopology,
            Mistake { pointer: String::new(), detail: "not a topology".to_owned() },
        ));
        let place = if first.pointer.is_empty() { String::new() } else { format!(" at {}", first.pointer) };
        DocumentError {
            kind,
            detail: format!("{}{place}", first.detail),
            mistakes: self.mistakes.into_iter().map(|(_, mistake)| mistake).collect(),
        }
    }

    fn mistake(&mut self, kind: DocumentErrorKind, pointer: &str, detail: impl Into<String>) {
        if self.mistakes.len() < ERRORS_MAX {
            self.mistakes.push((kind, Mistake { pointer: pointer.to_owned(), detail: detail.into() }));
        }
    }

    fn malformed(&mut self, pointer: &str, detail: impl Into<String>) {
        self.mistake(DocumentErrorKind::MalformedTopology, pointer, detail);
    }

    fn document(&mut self, tree: &Json) -> Option<Parsed> {
        let fields = self.object(tree, "", &["master", "slaves", "discard"])?;
        let master = match fields.get("master") {
            Some(value) => self.node(value, "/master", &["address", "port"]),
            None => {
                self.malformed("/master", "missing field `master`");
                None
            }
        };
        let listed = match fields.get("slaves") {
            Some(value) => self.list(value, "/slaves", Self::entry),
            None => {
                self.malformed("/slaves", "missing field `slaves` (an empty list is allowed)");
                None
            }
        };
        let discard = match fields.get("discard") {
            Some(value) => self.list(value, "/discard", Self::discard)?,
            None => Vec::new(),
        };
        let (master, listed) = (master?, listed?);
        let (listed, mut warnings) = self.without_duplicates(&master, listed);
        let listed = self.without_equal_groups(listed, &mut warnings);
        let document = Document::assemble(master, listed, discard);
        let count = document.nodes().count();
        if count > self.nodes_max {
            let detail = format!("{count} nodes; the limit is {}", self.nodes_max);
            self.mistake(DocumentErrorKind::TooManyNodes, "/slaves", detail);
        }
        Some(Parsed { document, warnings })
    }

    fn without_duplicates(&mut self, master: &NodeName, listed: Vec<Entry>) -> (Vec<Entry>, Vec<String>) {
        let (mut kept, mut warnings) = (Vec::new(), Vec::new());
        let mut known = HashSet::new();
        for (index, entry) in listed.into_iter().enumerate() {
            if let Entry::Node(slave) = &entry {
                if slave == master {
                    let detail = format!("{slave} is the master and a slave at once");
                    self.mistake(DocumentErrorKind::DuplicateNode, "/master", detail.clone());
                    self.mistake(DocumentErrorKind::DuplicateNode, &format!("/slaves/{index}"), detail);
                    continue;
                }
                if !known.insert(slave.clone()) {
                    warnings.push(format!("slave {slave} is listed more than once; it is taken once"));
                    continue;
                }
            }
            kept.push(entry);
        }
        (kept, warnings)
    }

    fn discard(&mut self, value: &Json, pointer: &str) -> Option<Discard> {
        let node = self.node(value, pointer, &["address", "port", "run_id"])?;
        let place = format!("{pointer}/run_id");
        match value.field("run_id") {
            Some(Json::String(run_id))
                if run_id.len() == RUN_ID_CHARACTERS
                    && run_id.chars().all(|character| character.is_ascii_hexdigit()) =>
            {
                Some(Discard { node, run_id: run_id.to_ascii_lowercase() })
            }
            Some(_) => {
                self.malformed(
                    &place,
                    "a run_id is 40 hexadecimal digits in a string (INFO server, `run_id`)",
                );
                None
            }
            None => {
                self.malformed(&place, "missing field `run_id`: a discard names one life of one node");
                None
            }
        }
    }

    fn node(&mut self, value: &Json, pointer: &str, allowed: &[&str]) -> Option<NodeName> {
        let fields = self.object(value, pointer, allowed)?;
        let address = match fields.get("address") {
            Some(Json::String(text)) => match text.parse::<Address>() {
                Ok(address) => Some(address),
                Err(error) => {
                    let place = format!("{pointer}/address");
                    self.mistake(DocumentErrorKind::InvalidAddress, &place, error.to_string());
                    None
                }
            },
            Some(other) => {
                let found = other.kind();
                self.malformed(&format!("{pointer}/address"), format!("expected a string, found {found}"));
                None
            }
            None => {
                self.malformed(&format!("{pointer}/address"), "missing field `address`");
                None
            }
        };
        let port = match fields.get("port") {
            Some(value) => Some(self.port(value, &format!("{pointer}/port"))?),
            None => None,
        };
        Some(NodeName { address: address?, port })
    }

    fn port(&mut self, value: &Json, pointer: &str) -> Option<NonZeroU16> {
        let port = match value {
            Json::Integer(number) => u16::try_from(*number).ok().and_then(NonZeroU16::new),
            _ => None,
        };
        if port.is_none() {
            self.malformed(pointer, format!("port must be an integer 1–65535, found {}", value.kind()));
        }
        port
    }

    fn list<T>(
        &mut self,
        value: &Json,
        pointer: &str,
        mut item: impl FnMut(&mut Self, &Json, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Json::Array(values) = value else {
            self.malformed(pointer, format!("expected an array, found {}", value.kind()));
            return None;
        };
        let items: Vec<Option<T>> = values
            .iter()
            .enumerate()
            .map(|(index, value)| item(self, value, &format!("{pointer}/{index}")))
            .collect();
        items.into_iter().collect()
    }

    fn object<'a>(&mut self, value: &'a Json, pointer: &str, allowed: &[&str]) -> Option<Fields<'a>> {
        let Json::Object(entries) = value else {
            self.malformed(pointer, format!("expected an object, found {}", value.kind()));
            return None;
        };
        let mut sound = true;
        for (index, (key, _)) in entries.iter().enumerate() {
            let place = format!("{pointer}/{}", json::escape_pointer(key));
            if !allowed.contains(&key.as_str()) {
                let hint =
                    closest(key, allowed).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
                self.malformed(&place, format!("unknown field `{}`{hint}", key.escape_debug()));
                sound = false;
            } else if entries[..index].iter().any(|(earlier, _)| earlier == key) {
                self.malformed(&place, format!("duplicate field `{key}`"));
                sound = false;
            }
        }
        sound.then_some(Fields(entries))
    }
}

struct Fields<'a>(&'a [(String, Json)]);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Json> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// The allowed word at most two edits away, for "did you mean".
fn closest<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    const EDITS_MAX: usize = 2;
    const WORD_CHARACTERS_MAX: usize = 32;
    if word.len() > WORD_CHARACTERS_MAX {
        return None;
    }
    allowed
        .iter()
        .map(|candidate| (edits(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= EDITS_MAX)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance of two short words.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests;
