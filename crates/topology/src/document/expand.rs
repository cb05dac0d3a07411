//! From what the names of groups gave to the members of a document. Pure.
//!
//! Three rules. An answer that fails, is empty or cannot be used removes nobody: the members last known stay.
//! Nobody is in a document twice, by name or by address, and above all not the master as its own slave; so
//! while it is not known where the master is, nothing is changed at all. And an instance keeps the name under
//! which it was first known, for a name is what a node is remembered by.
//!
//! An instance is named by its host alone where that leads to this very instance (its own SRV record, or the
//! port of redis): then it stays the same node when it comes back on another port, and it has the name that
//! an operator would write. Otherwise it is named by host and port.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Document, Entry, Group};
use crate::address::{Address, NodeName};

/// Where names lead, or why nowhere.
pub type Found = BTreeMap<NodeName, Result<Vec<SocketAddr>, String>>;
/// What the SRV records of each group name: hosts with ports; or why nothing is known.
pub type Answers = BTreeMap<Address, Result<Vec<NodeName>, String>>;

/// Something about a group that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The JSON pointer of the group's name.
    pub pointer: String,
    /// The group.
    pub srv: Address,
    /// The instance it is about, if it is about one.
    pub node: Option<NodeName>,
    /// One sentence without the group's name.
    pub detail: String,
}

/// A document with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded {
    /// The document.
    pub document: Document,
    /// What was left out or could not be looked up.
    pub notes: Vec<Note>,
    /// The groups of which nothing is known, now or from before; such a document cannot be applied.
    pub unknown: Vec<Note>,
}

/// What is looked up for an answer: every target with and without its port.
pub fn names_of(targets: &[NodeName]) -> impl Iterator<Item = NodeName> {
    targets.iter().flat_map(|target| [target.clone(), host_of(target)])
}

fn host_of(target: &NodeName) -> NodeName {
    NodeName { address: target.address.clone(), port: None }
}

/// What bears on an expansion beside the answers.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// The document with the members last known.
    pub known: Option<&'a Document>,
    /// Nobody is removed, whatever the answers say.
    pub keep: bool,
    /// Instances that are not to be added, and why.
    pub barred: &'a [(NodeName, String)],
}

/// Puts the members into a document.
pub fn expand(document: &Document, answers: &Answers, found: &Found, choice: Choice<'_>) -> Expanded {
    let named: Vec<NodeName> = document.named().cloned().collect();
    let listed: Vec<NodeName> = std::iter::once(document.master.clone()).chain(named).collect();
    let mut roll = Roll { found, listed: &listed, places: Vec::new(), choice };
    let master_is_found = matches!(found.get(&document.master), Some(Ok(_)));
    listed.iter().for_each(|node| roll.take(node));
    let (mut notes, mut unknown) = (Vec::new(), Vec::new());
    let mut entries = document.entries();
    for entry in &mut entries {
        let Entry::Group(group) = entry else { continue };
        let last = choice.known.and_then(|known| known.group(&group.srv));
        let last = last.map_or_else(|| group.members.clone(), |last| last.members.clone());
        let told = |node: Option<&NodeName>, detail: String| Note {
            pointer: group.pointer(),
            srv: group.srv.clone(),
            node: node.cloned(),
            detail,
        };
        let answer = match answers.get(&group.srv) {
            _ if !master_is_found => Err("it is not known where the master is".to_owned()),
            None => Err("it was not looked up".to_owned()),
            Some(Ok(targets)) if targets.is_empty() => Err("there are no SRV records".to_owned()),
            Some(answer) => answer.clone(),
        };
        group.members = match answer {
            Ok(targets) => {
                let (mut members, left_out) = roll.members(&targets, &last);
                notes.extend(left_out.iter().map(|(node, why)| told(Some(node), why.clone())));
                if choice.keep || members.is_empty() {
                    members.extend(last.iter().filter_map(|node| roll.kept(node)));
                }
                if members.is_empty() {
                    let why = left_out.first().map_or_else(String::new, |(_, why)| why.clone());
                    unknown.push(told(None, format!("none of its instances can be used: {why}")));
                }
                members
            }
            Err(why) if last.is_empty() => {
                unknown.push(told(None, why));
                Vec::new()
            }
            Err(why) => {
                notes.push(told(None, format!("{why}; the members last known stay")));
                last.iter().filter_map(|node| roll.kept(node)).collect()
            }
        };
    }
    let document = Document::assemble(document.master.clone(), entries, document.discard.clone());
    Expanded { document, notes, unknown }
}

/// Everybody who is in the document already, by address.
struct Roll<'a> {
    found: &'a Found,
    /// The master, and the slaves that the document names itself.
    listed: &'a [NodeName],
    places: Vec<(SocketAddr, NodeName)>,
    choice: Choice<'a>,
}

impl Roll<'_> {
    fn endpoints(&self, node: &NodeName) -> Result<&[SocketAddr], &str> {
        match self.found.get(node) {
            Some(Ok(endpoints)) => Ok(endpoints),
            Some(Err(why)) => Err(why),
            None => Err("it was not looked up"),
        }
    }

    fn take(&mut self, node: &NodeName) {
        let places: Vec<_> =
            self.endpoints(node).unwrap_or_default().iter().map(|place| (*place, node.clone())).collect();
        self.places.extend(places);
    }

    /// The name under which somebody at one of these places is in the document.
    fn at(&self, endpoints: &[SocketAddr]) -> Option<NodeName> {
        let known = self.places.iter().find(|(place, _)| endpoints.contains(place));
        known.map(|(_, name)| name.clone())
    }

    fn is_at(&self, node: &NodeName, endpoints: Result<&[SocketAddr], &str>) -> bool {
        let own = self.endpoints(node).unwrap_or_default();
        own.iter().any(|place| endpoints.unwrap_or_default().contains(place))
    }

    /// A member that stays, under the name that the document has for it.
    fn kept(&mut self, node: &NodeName) -> Option<NodeName> {
        let known = self.at(self.endpoints(node).unwrap_or_default());
        if known.is_none() {
            self.take(node);
        }
        Some(known.unwrap_or_else(|| node.clone()))
    }

    /// The members that the records of a group name, and those that cannot be members now.
    fn members(
        &mut self,
        targets: &[NodeName],
        last: &[NodeName],
    ) -> (Vec<NodeName>, Vec<(NodeName, String)>) {
        let (mut members, mut left_out) = (Vec::<NodeName>::new(), Vec::new());
        for target in targets {
            match self.name_of(target, last) {
                Ok(name) => {
                    if !members.contains(&name) {
                        members.push(name);
                    }
                }
                Err(why) => left_out.push((target.clone(), why)),
            }
        }
        (members, left_out)
    }

    fn name_of(&mut self, target: &NodeName, last: &[NodeName]) -> Result<NodeName, String> {
        let host = host_of(target);
        let endpoints = self.endpoints(target);
        if let Some(known) = endpoints.ok().and_then(|endpoints| self.at(endpoints)) {
            return Ok(known);
        }
        if endpoints.is_err()
            && let Some(listed) = self.listed.iter().find(|listed| *listed == target || **listed == host)
        {
            return Ok(listed.clone());
        }
        let host_leads_here = match (self.endpoints(&host), endpoints) {
            (Ok(host), Ok(endpoints)) => Some(host == endpoints),
            _ => None,
        };
        let name = if let Some(earlier) = last.iter().find(|last| self.is_at(last, endpoints)) {
            earlier.clone()
        } else if last.contains(target) {
            target.clone()
        } else if last.contains(&host) && host_leads_here != Some(false) {
            host
        } else {
            match host_leads_here {
                Some(true) => host,
                Some(false) => target.clone(),
                None => {
                    let why = endpoints.err().or(self.endpoints(&host).err()).unwrap_or_default();
                    return Err(format!("{target} has no address that can be used: {why}"));
                }
            }
        };
        if let Some((_, why)) = self.choice.barred.iter().find(|(barred, _)| *barred == name) {
            return Err(why.clone());
        }
        let places: Vec<_> =
            endpoints.unwrap_or_default().iter().map(|place| (*place, name.clone())).collect();
        self.places.extend(places);
        Ok(name)
    }
}

impl Group {
    /// Who is behind it now and was not before, and who was and is not any more.
    pub fn since<'a>(&'a self, before: Option<&'a Self>) -> (Vec<&'a NodeName>, Vec<&'a NodeName>) {
        let earlier = before.map_or(&[][..], |before| &before.members);
        let joined = self.members.iter().filter(|member| !earlier.contains(member)).collect();
        let left = earlier.iter().filter(|member| !self.members.contains(member)).collect();
        (joined, left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES_MAX: usize = 64;

    fn name(text: &str) -> NodeName {
        let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        NodeName { address: host.parse().unwrap(), port: port.map(|port| port.parse().unwrap()) }
    }

    fn document(text: &str) -> Document {
        Document::parse(text.as_bytes(), NODES_MAX).unwrap().document
    }

    fn texts<'a>(nodes: impl IntoIterator<Item = &'a NodeName>) -> Vec<String> {
        nodes.into_iter().map(ToString::to_string).collect()
    }

    /// `a=10.0.0.1:1`, several places with commas, `a=` for a name that leads nowhere.
    fn found(lines: &[&str]) -> Found {
        let line = |line: &&str| {
            let (node, places) = line.split_once('=').unwrap();
            let places: Vec<SocketAddr> = places
                .split(',')
                .filter(|place| !place.is_empty())
                .map(|place| place.parse().unwrap())
                .collect();
            (name(node), if places.is_empty() { Err("no such name".to_owned()) } else { Ok(places) })
        };
        lines.iter().map(line).collect()
    }

    fn answers(srv: &str, targets: &[&str]) -> Answers {
        [(srv.parse().unwrap(), Ok(targets.iter().map(|target| name(target)).collect()))].into()
    }

    fn failing(srv: &str) -> Answers {
        [(srv.parse().unwrap(), Err("no answer".to_owned()))].into()
    }

    const NOTHING_KNOWN: Choice<'_> = Choice { known: None, keep: false, barred: &[] };
    const GROUP: &str = r#"{"master": {"address": "a"}, "slaves": [{"srv": "all"}]}"#;
    const THREE: [&str; 6] = [
        "a=10.0.0.1:7001",
        "a:7001=10.0.0.1:7001",
        "b=10.0.0.2:7002",
        "b:7002=10.0.0.2:7002",
        "c=10.0.0.3:7003",
        "c:7003=10.0.0.3:7003",
    ];

    fn three() -> Document {
        let all = answers("all", &["a:7001", "b:7002", "c:7003"]);
        let expanded = expand(&document(GROUP), &all, &found(&THREE), NOTHING_KNOWN);
        assert!(expanded.unknown.is_empty() && expanded.notes.is_empty(), "{expanded:?}");
        expanded.document
    }

    #[test]
    fn everybody_behind_the_name_but_the_master_is_a_slave() {
        let document = three();
        assert_eq!(texts(&document.slaves), ["b", "c"]);
        assert_eq!(texts(&document.groups[0].members), ["a", "b", "c"]);
        let again: Document = serde_json::from_value(document.to_json()).unwrap();
        assert_eq!(again, document);
        assert!(document.asks_the_same(&self::document(GROUP)));
    }

    #[test]
    fn the_master_is_known_by_its_address_too() {
        let text = r#"{"master": {"address": "10.0.0.2", "port": 7002}, "slaves": [{"srv": "all"}]}"#;
        let places = [&THREE[..], &["10.0.0.2:7002=10.0.0.2:7002"]].concat();
        let all = answers("all", &["a:7001", "b:7002", "c:7003"]);
        let expanded = expand(&document(text), &all, &found(&places), NOTHING_KNOWN);
        assert_eq!(texts(&expanded.document.slaves), ["a", "c"]);
        // And it stays a member under the name that the record has for it when another becomes master.
        let switched = document(GROUP);
        let choice = Choice { known: Some(&expanded.document), ..NOTHING_KNOWN };
        let next = expand(&switched, &all, &found(&places), choice).document;
        assert_eq!(texts(&next.slaves), ["10.0.0.2:7002", "c"]);
    }

    #[test]
    fn an_empty_or_failing_answer_removes_nobody_and_the_old_master_becomes_a_slave() {
        let known = three();
        let switched = document(r#"{"master": {"address": "c"}, "slaves": [{"srv": "all"}]}"#);
        let choice = Choice { known: Some(&known), ..NOTHING_KNOWN };
        for answers in [failing("all"), answers("all", &[]), Answers::new()] {
            let expanded = expand(&switched, &answers, &found(&THREE), choice);
            assert_eq!(texts(&expanded.document.slaves), ["a", "b"]);
            assert!(expanded.unknown.is_empty() && expanded.notes.len() == 1, "{expanded:?}");
            assert_eq!(expanded.notes[0].pointer, "/slaves/0/srv");
        }
        // Nothing can be compared with a master that is nowhere.
        let all = answers("all", &["b:7002"]);
        let expanded = expand(&switched, &all, &found(&["c=", "b:7002=10.0.0.2:7002"]), choice);
        assert_eq!(texts(&expanded.document.slaves), ["a", "b"]);
    }

    #[test]
    fn who_is_not_in_the_answer_is_gone_unless_it_is_to_be_kept() {
        let known = three();
        let choice = Choice { known: Some(&known), ..NOTHING_KNOWN };
        let less = answers("all", &["a:7001", "c:7003"]);
        let document = document(GROUP);
        assert_eq!(texts(&expand(&document, &less, &found(&THREE), choice).document.slaves), ["c"]);
        let kept = expand(&document, &less, &found(&THREE), Choice { keep: true, ..choice });
        assert_eq!(kept.document, known);
        // An answer that is of no use is as good as none.
        let useless = expand(&document, &answers("all", &["d:1"]), &found(&THREE[..2]), choice);
        assert_eq!(useless.document, known);
        assert!(useless.notes[0].detail.contains("d:1 has no address"), "{:?}", useless.notes);
    }

    #[test]
    fn nothing_known_is_said_and_not_taken_for_nobody() {
        for (answers, words) in [
            (failing("all"), "no answer"),
            (answers("all", &[]), "no SRV records"),
            (answers("all", &["d:1"]), "d:1"),
        ] {
            let expanded = expand(&document(GROUP), &answers, &found(&["a=10.0.0.1:7001"]), NOTHING_KNOWN);
            assert!(expanded.document.slaves.is_empty());
            assert!(expanded.unknown[0].detail.contains(words), "{expanded:?}");
        }
    }

    #[test]
    fn a_restart_on_another_port_leaves_the_name() {
        let known = three();
        let moved = found(&[&THREE[..4], &["c=10.0.0.3:7009", "c:7009=10.0.0.3:7009"]].concat());
        let choice = Choice { known: Some(&known), ..NOTHING_KNOWN };
        let all = answers("all", &["a:7001", "b:7002", "c:7009"]);
        assert_eq!(expand(&document(GROUP), &all, &moved, choice).document, known);
    }

    #[test]
    fn several_instances_of_a_host_are_named_with_their_ports() {
        let places = found(&[
            "a=10.0.0.1:6379",
            "a:6379=10.0.0.1:6379",
            "a:6380=10.0.0.1:6380",
            "b=10.0.0.2:6379",
            "b:6379=10.0.0.2:6379",
            "b:6380=10.0.0.2:6380",
        ]);
        let all = answers("all", &["b:6380", "a:6380", "b:6379", "a:6379"]);
        let expanded = expand(&document(GROUP), &all, &places, NOTHING_KNOWN);
        assert_eq!(texts(&expanded.document.slaves), ["a:6380", "b", "b:6380"]);
        // Names do not change because of what else is there.
        let choice = Choice { known: Some(&expanded.document), ..NOTHING_KNOWN };
        let less = expand(&document(GROUP), &answers("all", &["b:6380"]), &places, choice);
        assert_eq!(texts(&less.document.slaves), ["b:6380"]);
    }

    #[test]
    fn named_slaves_and_several_groups_are_one_list_without_doubles() {
        let text = r#"{"master": {"address": "a"},
            "slaves": [{"srv": "all"}, {"address": "10.0.0.3", "port": 7003}, {"srv": "more"}]}"#;
        let mut both = answers("all", &["a:7001", "b:7002", "c:7003"]);
        both.extend(answers("more", &["alias:7002", "d:7004"]));
        let places = [
            &THREE[..],
            &[
                "10.0.0.3:7003=10.0.0.3:7003",
                "alias=10.0.0.2:7002",
                "alias:7002=10.0.0.2:7002",
                "d=10.0.0.4:6379",
                "d:7004=10.0.0.4:7004",
            ],
        ];
        let expanded = expand(&document(text), &both, &found(&places.concat()), NOTHING_KNOWN).document;
        assert_eq!(texts(&expanded.slaves), ["b", "10.0.0.3:7003", "d:7004"]);
        assert_eq!(texts(expanded.named()), ["10.0.0.3:7003"]);
        assert_eq!(texts(&expanded.group(&"more".parse().unwrap()).unwrap().members), ["b", "d:7004"]);
        assert_eq!(expanded.as_written(), document(text));
        assert_eq!(serde_json::from_value::<Document>(expanded.to_json()).unwrap(), expanded);
    }

    #[test]
    fn who_is_barred_stays_out_and_is_told() {
        let barred = [(name("b"), "it holds data of its own".to_owned())];
        let choice = Choice { barred: &barred, ..NOTHING_KNOWN };
        let all = answers("all", &["a:7001", "b:7002", "c:7003"]);
        let expanded = expand(&document(GROUP), &all, &found(&THREE), choice);
        assert_eq!(texts(&expanded.document.slaves), ["c"]);
        assert_eq!(expanded.notes[0].node, Some(name("b:7002")));
        assert_eq!(expanded.notes[0].detail, "it holds data of its own");
    }
}
