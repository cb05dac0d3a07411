//! Slaves named as a group: every instance behind one SRV name.
//!
//! A document keeps two things apart. `groups` says where slaves come from, and who was behind each name
//! when it was last looked up. `slaves` is the plain list that follows from it, and all that decisions ever
//! look at: they know nothing of groups and so cannot go wrong about them. Both are kept in the record, so
//! that a dictator which starts without DNS still knows everybody.
//!
//! The members of a group are *all* instances behind its name, the master among them. Had the master been
//! left out, a switch during an outage of DNS would lose the old master: it is a slave of the next document
//! because it was a member of the group already. Nodes that the document names itself are not listed a
//! second time; whatever the group does, they stay.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{Decoder, Discard, Document, DocumentErrorKind, Json};
use crate::address::{Address, NodeName};

/// Most groups in one document; each is looked up at every pass.
pub const GROUPS_MAX: usize = 8;

/// Every instance behind an SRV name, except the master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its place in the list of slaves as it was written, counted from 0.
    #[serde(skip)]
    pub at: usize,
    /// The name of the SRV records; never an IP address.
    pub srv: Address,
    /// Who was behind it when it was last looked up: sorted, the master included, without the slaves that the
    /// document names itself. Empty if it never was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<NodeName>,
}

impl Group {
    /// The JSON pointer of its name in the document.
    pub fn pointer(&self) -> String {
        format!("/slaves/{}/srv", self.at)
    }
}

/// One element of the list of slaves, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entry {
    /// `{"srv": …}`
    Group(Group),
    /// `{"address": …}`
    Node(NodeName),
}

/// A document as it is written: in requests, in etcd and in records.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    master: NodeName,
    slaves: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    discard: Vec<Discard>,
}

impl From<Wire> for Document {
    fn from(wire: Wire) -> Self {
        Self::assemble(wire.master, wire.slaves, wire.discard)
    }
}

impl From<Document> for Wire {
    fn from(document: Document) -> Self {
        Self { slaves: document.entries(), master: document.master, discard: document.discard }
    }
}

impl Document {
    /// A document from the elements of its list of slaves. Nobody gets into the plain list twice, and the
    /// master not at all.
    pub fn assemble(master: NodeName, entries: Vec<Entry>, discard: Vec<Discard>) -> Self {
        let named: HashSet<NodeName> = entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Node(node) => Some(node.clone()),
                Entry::Group(_) => None,
            })
            .collect();
        let (mut slaves, mut groups) = (Vec::new(), Vec::new());
        let mut known = HashSet::from([master.clone()]);
        let mut add = |node: &NodeName| {
            if known.insert(node.clone()) {
                slaves.push(node.clone());
            }
        };
        for (at, entry) in entries.into_iter().enumerate() {
            match entry {
                Entry::Node(node) => add(&node),
                Entry::Group(Group { srv, mut members, .. }) => {
                    members.sort();
                    members.dedup();
                    members.retain(|member| !named.contains(member));
                    members.iter().for_each(&mut add);
                    groups.push(Group { at, srv, members });
                }
            }
        }
        Self { master, slaves, groups, discard }
    }

    /// The slaves that the document names itself.
    pub fn named(&self) -> impl Iterator<Item = &NodeName> {
        self.slaves.iter().filter(|slave| !self.groups.iter().any(|group| group.members.contains(slave)))
    }

    /// The list of slaves as it is written, groups with their members.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.named().cloned().map(Entry::Node).collect();
        for group in &self.groups {
            entries.insert(group.at.min(entries.len()), Entry::Group(group.clone()));
        }
        entries
    }

    /// The same document without what was found behind its groups.
    #[must_use]
    pub fn as_written(&self) -> Self {
        let entries = self.entries().into_iter().map(|entry| match entry {
            Entry::Group(group) => Entry::Group(Group { members: Vec::new(), ..group }),
            node @ Entry::Node(_) => node,
        });
        Self::assemble(self.master.clone(), entries.collect(), self.discard.clone())
    }

    /// Whether two documents ask for the same, whoever was found behind their groups.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self == other || self.as_written() == other.as_written()
    }

    /// The same, with the members that another document knows for those of its groups that have none.
    #[must_use]
    pub fn with_members_of(&self, known: &Self) -> Self {
        let entries = self.entries().into_iter().map(|entry| match entry {
            Entry::Group(group) if group.members.is_empty() => {
                let members = known.group(&group.srv).map(|known| known.members.clone());
                Entry::Group(Group { members: members.unwrap_or_default(), ..group })
            }
            entry => entry,
        });
        Self::assemble(self.master.clone(), entries.collect(), self.discard.clone())
    }

    /// The group of a name.
    pub fn group(&self, srv: &Address) -> Option<&Group> {
        self.groups.iter().find(|group| group.srv == *srv)
    }
}

impl Decoder {
    /// One element of the list of slaves.
    pub(super) fn entry(&mut self, value: &Json, pointer: &str) -> Option<Entry> {
        if value.field("srv").is_none() {
            return self.node(value, pointer, &["address", "port"]).map(Entry::Node);
        }
        if value.field("address").is_some() {
            self.malformed(pointer, "a slave has either `address`, or `srv` for a group; this one has both");
            return None;
        }
        let fields = self.object(value, pointer, &["srv", "members"])?;
        let srv = self.service(fields.get("srv")?, &format!("{pointer}/srv"));
        let members = match fields.get("members") {
            Some(value) => self.list(value, &format!("{pointer}/members"), |decoder, item, pointer| {
                decoder.node(item, pointer, &["address", "port"])
            })?,
            None => Vec::new(),
        };
        Some(Entry::Group(Group { at: 0, srv: srv?, members }))
    }

    fn service(&mut self, value: &Json, pointer: &str) -> Option<Address> {
        let Json::String(text) = value else {
            self.malformed(pointer, format!("expected a string, found {}", value.kind()));
            return None;
        };
        let why = match text.parse::<Address>() {
            Ok(name @ Address::Name(_)) => return Some(name),
            Ok(Address::Ip(_)) => {
                "an IP address has no SRV records; write one instance as `address`, or the group's name"
                    .to_owned()
            }
            Err(_) if text.is_empty() => "srv is empty; give the name of SRV records".to_owned(),
            Err(error) => error.to_string(),
        };
        self.mistake(DocumentErrorKind::InvalidAddress, pointer, why);
        None
    }

    /// Groups that are written twice are taken once, and there are not too many.
    pub(super) fn without_equal_groups(
        &mut self,
        entries: Vec<Entry>,
        warnings: &mut Vec<String>,
    ) -> Vec<Entry> {
        let mut kept = Vec::<Entry>::new();
        for entry in entries {
            let srv = |entry: &Entry| match entry {
                Entry::Group(group) => Some(group.srv.clone()),
                Entry::Node(_) => None,
            };
            match srv(&entry) {
                Some(name) if kept.iter().any(|earlier| srv(earlier).as_ref() == Some(&name)) => {
                    warnings.push(format!("the group {name} is listed more than once; it is taken once"));
                }
                _ => kept.push(entry),
            }
        }
        let groups = kept.iter().filter(|entry| matches!(entry, Entry::Group(_))).count();
        if groups > GROUPS_MAX {
            self.malformed("/slaves", format!("{groups} groups; the limit is {GROUPS_MAX}"));
        }
        kept
    }
}
