//! The zones of this daemon and what each serves at the moment.
//!
//! Readers (every DNS answer, on every core) take no lock: the publication of a zone is one pointer that is
//! replaced as a whole. Zones are a list although there is one today: a question finds its zone by the
//! longest matching domain, and nothing else knows how many there are.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use hickory_proto::ProtoError;
use tokio::sync::watch;

use crate::network::Network;
use crate::publication::{Answers, Publication, wire};
use crate::zone::ZoneSettings;

/// A zone and its present publication, if there ever was one.
#[derive(Debug)]
pub struct Slot {
    /// The zone.
    pub settings: ZoneSettings,
    /// The domain in wire form, lower case.
    wire: Vec<u8>,
    publication: ArcSwapOption<Publication>,
    /// Those of the publication; before there is one, perhaps those of registered nodes.
    answers: ArcSwapOption<Answers>,
    /// Counts the replacements, for faces that tell somebody about them.
    changes: watch::Sender<u64>,
}

impl Slot {
    /// A zone that serves nothing yet.
    ///
    /// # Errors
    /// [`ProtoError`] if the domain is too long.
    pub fn new(settings: ZoneSettings) -> Result<Self, ProtoError> {
        let wire = wire(&settings.domain)?;
        let (changes, _) = watch::channel(0);
        Ok(Self {
            settings,
            wire,
            publication: ArcSwapOption::empty(),
            answers: ArcSwapOption::empty(),
            changes,
        })
    }

    /// What is served now. Hold on to it for one answer only.
    pub fn publication(&self) -> arc_swap::Guard<Option<Arc<Publication>>> {
        self.publication.load()
    }

    /// What is answered now. Hold on to it for one answer only.
    pub fn answers(&self) -> arc_swap::Guard<Option<Arc<Answers>>> {
        self.answers.load()
    }

    /// Answers for the names of registered nodes, as long as nothing else can be answered.
    pub fn answer_for_nodes(&self, answers: Answers) {
        self.answers.store(Some(Arc::new(answers)));
    }

    /// Replaces what is served, for everybody at once.
    pub fn publish(&self, publication: Arc<Publication>) {
        self.answers.store(Some(Arc::clone(&publication.answers)));
        self.publication.store(Some(publication));
        self.changes.send_modify(|count| *count += 1);
    }

    /// Tells when what is served was replaced.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Length of the domain in wire form, in bytes.
    pub fn wire_bytes(&self) -> usize {
        self.wire.len()
    }
}

/// All zones, the longest domain first.
#[derive(Debug)]
pub struct Directory {
    slots: Vec<Arc<Slot>>,
    /// Who may have a zone as a whole.
    transfer_to: Vec<Network>,
}

impl Directory {
    /// A directory of the given zones.
    pub fn new(mut slots: Vec<Arc<Slot>>) -> Self {
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.wire.len()));
        Self { slots, transfer_to: Vec::new() }
    }

    /// The same, of which the given networks may have whole zones.
    #[must_use]
    pub fn with_transfers_to(self, transfer_to: Vec<Network>) -> Self {
        Self { transfer_to, ..self }
    }

    /// Whether a client may have a zone as a whole.
    pub fn may_transfer(&self, client: IpAddr) -> bool {
        self.transfer_to.iter().any(|network| network.contains(client))
    }

    /// All zones.
    pub fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }

    /// The zone that a name lies in: the name in wire form, in lower case.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Slot>> {
        self.slots.iter().find(|slot| lies_in(name, &slot.wire))
    }
}

/// Whether `name` ends with `domain` at the boundary of a label.
fn lies_in(name: &[u8], domain: &[u8]) -> bool {
    if !name.ends_with(domain) {
        return false;
    }
    let boundary = name.len() - domain.len();
    let mut offset = 0;
    while offset < boundary {
        offset += usize::from(name[offset]) + 1;
    }
    offset == boundary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lies_in_a_domain_only_at_a_label() {
        let domain = b"\x07redis-1\x06docker\x00";
        for (name, inside) in [
            (&b"\x07redis-1\x06docker\x00"[..], true),
            (b"\x06master\x07redis-1\x06docker\x00", true),
            (b"\x06docker\x00", false),
            (b"\x00", false),
            // A label whose content happens to be the wire form of the domain's beginning.
            (b"\x0fx\x07redis-1\x06docke\x06docker\x00", false),
            (b"\x10x\x07redis-1\x06docker\x00", false),
        ] {
            assert_eq!(lies_in(name, domain), inside, "{name:?}");
        }
    }
}
