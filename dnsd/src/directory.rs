//! The zones of this daemon and what each serves at the moment.
//!
//! Readers (every DNS answer, on every core) take no lock: the publication of a zone is one pointer that is
//! replaced as a whole. With one zone a question is compared with its domain. With many, all of which are
//! one label below the same suffix, the label in front of the suffix is looked up in a table; no zone lies
//! within another, so the only match is the longest. The table is cut into shards that are replaced as a
//! whole too: a new zone copies a few pointers and not all of them.
//!
//! The hash is FNV-1a without a key. What is in the table was put there by operators; strangers choose only
//! what is looked up, and cannot make a shard longer.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use hickory_proto::ProtoError;
use hickory_proto::rr::Name;
use tokio::sync::watch;

use crate::keys::Transfers;
use crate::publication::{Answers, Publication, wire};
use crate::zone::ZoneSettings;

/// Parts of the table of zones; ten thousand zones are forty in each.
const SHARDS: usize = 256;

/// A zone and its present publication, if there ever was one.
#[derive(Debug)]
pub struct Slot {
    /// The zone.
    pub settings: Arc<ZoneSettings>,
    /// The domain in wire form, lower case.
    wire: Box<[u8]>,
    publication: ArcSwapOption<Publication>,
    /// Those of the publication; before there is one, perhaps those of registered nodes.
    answers: ArcSwapOption<Answers>,
    /// Counts the replacements, for those who wait for one.
    changes: watch::Sender<u64>,
}

impl Slot {
    /// A zone that serves nothing yet.
    ///
    /// # Errors
    /// [`ProtoError`] if the domain is too long.
    pub fn new(settings: ZoneSettings) -> Result<Self, ProtoError> {
        let wire = wire(&settings.domain)?.into_boxed_slice();
        let (changes, _) = watch::channel(0);
        Ok(Self {
            settings: Arc::new(settings),
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

    /// Replaces what is served, for everybody at once, and returns what was. Tells nobody but those who wait
    /// for [`Self::changes`]; [`Directory::publish`] does.
    pub fn publish(&self, publication: Arc<Publication>) -> Option<Arc<Publication>> {
        self.answers.store(Some(Arc::clone(&publication.answers)));
        let before = self.publication.swap(Some(publication));
        self.changes.send_modify(|count| *count += 1);
        before
    }

    /// Serves nothing any more.
    fn withdraw(&self) -> Option<Arc<Publication>> {
        self.answers.store(None);
        let before = self.publication.swap(None);
        self.changes.send_modify(|count| *count += 1);
        before
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

/// A zone that was found.
pub enum Found<'a> {
    /// The only one there is; nothing is counted for it.
    Only(&'a Slot),
    /// One of many, which may be removed meanwhile.
    OneOfMany(Arc<Slot>),
}

impl Deref for Found<'_> {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        match self {
            Self::Only(slot) => slot,
            Self::OneOfMany(slot) => slot,
        }
    }
}

/// What has just happened to a zone.
pub struct Change<'a> {
    /// The zone.
    pub slot: &'a Arc<Slot>,
    /// What was served.
    pub before: Option<&'a Arc<Publication>>,
    /// What is served; nothing if the zone was removed.
    pub now: Option<&'a Arc<Publication>>,
    /// Whether it is the only zone.
    pub is_only: bool,
}

/// Is told of every change in the task that makes it, so it must be quick and wait for nothing.
type Listener = Box<dyn Fn(&Change<'_>) + Send + Sync>;

/// All zones.
pub struct Directory {
    zones: Zones,
    /// Who may have a zone as a whole, and the keys that messages are signed with.
    transfers: Transfers,
    listeners: Mutex<Vec<Listener>>,
}

enum Zones {
    One(Arc<Slot>),
    Many(Many),
}

/// Zones of one label below a suffix.
struct Many {
    /// The suffix in wire form, lower case.
    suffix: Box<[u8]>,
    shards: Box<[ArcSwap<Vec<Place>>]>,
    count: AtomicUsize,
}

#[derive(Clone)]
struct Place {
    hash: u64,
    slot: Arc<Slot>,
}

impl Directory {
    /// A directory of one zone, and never another.
    pub fn of(slot: Arc<Slot>) -> Self {
        Self::new(Zones::One(slot))
    }

    /// A directory of zones below a suffix; none yet.
    ///
    /// # Errors
    /// [`ProtoError`] if the suffix is too long.
    pub fn below(suffix: &Name) -> Result<Self, ProtoError> {
        let shards = (0..SHARDS).map(|_| ArcSwap::from_pointee(Vec::new())).collect();
        let suffix = wire(&suffix.to_lowercase())?.into_boxed_slice();
        Ok(Self::new(Zones::Many(Many { suffix, shards, count: AtomicUsize::new(0) })))
    }

    fn new(zones: Zones) -> Self {
        Self { zones, transfers: Transfers::default(), listeners: Mutex::default() }
    }

    /// The same, of which whole zones may be had so.
    #[must_use]
    pub fn with_transfers(self, transfers: Transfers) -> Self {
        Self { transfers, ..self }
    }

    /// Who may have a zone as a whole.
    pub fn transfers(&self) -> &Transfers {
        &self.transfers
    }

    /// Whether there may be several zones.
    pub fn is_of_many(&self) -> bool {
        matches!(self.zones, Zones::Many(_))
    }

    /// All zones, by the names of their clusters. Costs time and memory for each.
    pub fn slots(&self) -> Vec<Arc<Slot>> {
        match &self.zones {
            Zones::One(slot) => vec![Arc::clone(slot)],
            Zones::Many(many) => {
                let mut slots: Vec<Arc<Slot>> = many
                    .shards
                    .iter()
                    .flat_map(|shard| {
                        shard.load().iter().map(|place| Arc::clone(&place.slot)).collect::<Vec<_>>()
                    })
                    .collect();
                slots.sort_by(|one, other| one.settings.cluster.cmp(&other.settings.cluster));
                slots
            }
        }
    }

    /// How many zones there are.
    pub fn count(&self) -> usize {
        match &self.zones {
            Zones::One(_) => 1,
            Zones::Many(many) => many.count.load(Ordering::Relaxed),
        }
    }

    /// The zone, if there is just one.
    pub fn only(&self) -> Option<Arc<Slot>> {
        match &self.zones {
            Zones::One(slot) => Some(Arc::clone(slot)),
            Zones::Many(_) if self.count() == 1 => self.slots().pop(),
            Zones::Many(_) => None,
        }
    }

    /// The zone that a name lies in: the name in wire form, in lower case.
    pub fn find(&self, name: &[u8]) -> Option<Found<'_>> {
        match &self.zones {
            Zones::One(slot) => lies_in(name, &slot.wire).then_some(Found::Only(slot)),
            Zones::Many(many) => many.get(many.zone_of(name)?).map(Found::OneOfMany),
        }
    }

    /// The zone of a cluster.
    pub fn of_cluster(&self, cluster: &str) -> Option<Arc<Slot>> {
        match &self.zones {
            Zones::One(slot) => (slot.settings.cluster == cluster).then(|| Arc::clone(slot)),
            Zones::Many(many) => {
                let length = u8::try_from(cluster.len()).ok()?;
                let domain = [&[length], cluster.as_bytes(), &many.suffix].concat();
                many.get(&domain).filter(|slot| slot.settings.cluster == cluster)
            }
        }
    }

    /// Adds a zone, if there may be several and it is not there yet.
    pub fn add(&self, slot: &Arc<Slot>) {
        let Zones::Many(many) = &self.zones else { return };
        if many.get(&slot.wire).is_some() {
            return;
        }
        let place = Place { hash: hash(&slot.wire), slot: Arc::clone(slot) };
        many.shard(place.hash).rcu(|places| {
            let mut places = Vec::clone(places);
            let at = places.partition_point(|known| known.hash < place.hash);
            places.insert(at, place.clone());
            places
        });
        many.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a zone; from now on nothing is served there.
    pub fn remove(&self, slot: &Arc<Slot>) {
        let Zones::Many(many) = &self.zones else { return };
        if many.get(&slot.wire).is_none() {
            return;
        }
        many.shard(hash(&slot.wire)).rcu(|places| {
            let mut places = Vec::clone(places);
            places.retain(|place| !Arc::ptr_eq(&place.slot, slot));
            places
        });
        many.count.fetch_sub(1, Ordering::Relaxed);
        let before = slot.withdraw();
        self.tell(&Change { slot, before: before.as_ref(), now: None, is_only: self.count() == 0 });
    }

    /// Replaces what a zone serves, and tells everybody who listens.
    pub fn publish(&self, slot: &Arc<Slot>, publication: Arc<Publication>) {
        let before = slot.publish(Arc::clone(&publication));
        let is_only = match &self.zones {
            Zones::One(_) => true,
            Zones::Many(_) => self.count() == 1,
        };
        self.tell(&Change { slot, before: before.as_ref(), now: Some(&publication), is_only });
    }

    /// Has a function called with every change from now on, in the very moment it is made.
    pub fn listen(&self, listener: impl Fn(&Change<'_>) + Send + Sync + 'static) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    fn tell(&self, change: &Change<'_>) {
        for listener in self.listeners.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            listener(change);
        }
    }
}

impl Many {
    fn shard(&self, hash: u64) -> &ArcSwap<Vec<Place>> {
        // The upper bits: places within a shard are sorted by all of them.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    fn get(&self, domain: &[u8]) -> Option<Arc<Slot>> {
        let hash = hash(domain);
        let places = self.shard(hash).load();
        let at = places.partition_point(|place| place.hash < hash);
        let alike = places[at..].iter().take_while(|place| place.hash == hash);
        let mut found = alike.filter(|place| *place.slot.wire == *domain);
        found.next().map(|place| Arc::clone(&place.slot))
    }

    /// The part of a name that would be its zone: the suffix and one label more.
    fn zone_of<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        let boundary = name.len().checked_sub(self.suffix.len())?;
        if name[boundary..] != *self.suffix {
            return None;
        }
        let (mut offset, mut label) = (0, None);
        while offset < boundary {
            label = Some(offset);
            offset += usize::from(name[offset]) + 1;
        }
        label.filter(|_| offset == boundary).map(|label| &name[label..])
    }
}

/// FNV-1a with 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
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

    fn slot(cluster: &str) -> Arc<Slot> {
        let domain = Name::from_ascii(format!("{cluster}.redis.docker.")).unwrap();
        let settings = ZoneSettings { cluster: cluster.to_owned(), domain, ttl_s: 5, server_ips: Vec::new() };
        Arc::new(Slot::new(settings).unwrap())
    }

    /// Every zone among many is found by its own names and by no other, before and after others have gone.
    #[test]
    fn each_of_many_zones_is_found_by_its_names() {
        let directory = Directory::below(&Name::from_ascii("Redis.docker.").unwrap()).unwrap();
        let slots: Vec<Arc<Slot>> = (0..2_000).map(|number| slot(&format!("c{number}"))).collect();
        for slot in &slots {
            directory.add(slot);
            directory.add(slot);
        }
        assert_eq!((directory.count(), directory.slots().len()), (2_000, 2_000));
        for slot in slots.iter().step_by(2) {
            directory.remove(slot);
        }
        assert_eq!(directory.count(), 1_000);
        for (number, slot) in slots.iter().enumerate() {
            let is_there = number % 2 == 1;
            for prefix in [&b""[..], b"\x06master", b"\x06_redis\x04_tcp\x06master"] {
                let name = [prefix, &slot.wire].concat();
                let found = directory.find(&name).map(|found| found.settings.cluster.clone());
                assert_eq!(found, is_there.then(|| slot.settings.cluster.clone()));
            }
            assert_eq!(directory.of_cluster(&slot.settings.cluster).is_some(), is_there);
        }
        for name in [
            &b"\x05redis\x06docker\x00"[..],
            b"\x06docker\x00",
            b"\x00",
            b"\x05c9999\x05redis\x06docker\x00",
            b"\x02c1\x05redis\x05other\x00",
            // The wire form of a zone within a label.
            b"\x0fc1\x05redis\x06docker\x00\x05redis\x06docker\x00",
            b"\x12\x02c1\x05redis\x06docker\x00",
        ] {
            assert!(directory.find(name).is_none(), "{name:?}");
        }
        for cluster in ["", "C1", "c1.redis", "c0", &"c".repeat(300)] {
            assert!(directory.of_cluster(cluster).is_none(), "{cluster}");
        }
        assert!(directory.only().is_none());
        slots[3..].iter().for_each(|slot| directory.remove(slot));
        assert_eq!(directory.only().unwrap().settings.cluster, "c1");
    }
}
