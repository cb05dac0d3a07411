//! What is served: every answer of a zone, encoded once. Immutable and pure.
//!
//! A publication changes a few times a day and is asked thousands of times a second, so the work is done
//! when it changes. Each name and type has its complete message, laid out by hickory's encoder; answering
//! means to copy it, to write the client's id, flags and question over its beginning (the question has the
//! same length, so every compression pointer stays right), and to choose how much of it goes out. Negative
//! answers differ only in the name, so one encoded SOA serves them all.
//!
//! The records stay beside the bytes: odd packets are answered from them by another path, which checks
//! this one (see `answer`), and further faces (zone transfer, Sentinel, `GET /dns`) read them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hickory_proto::ProtoError;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use topology::Document;

use crate::zone::{Members, Records, RrSet, Stamp, Zone, ZoneSettings, soa};

/// Length of a DNS header, in bytes (RFC 1035 section 4.1.1).
pub const HEADER_BYTES: usize = 12;

/// A complete answer to one name and type.
#[derive(Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Header, question, answers, additionals; no OPT. Id and flags are to be written by the answerer.
    pub message: Vec<u8>,
    /// Number of answer records.
    pub answer_count: u16,
    /// Where it may be cut: after the answers, and after each set of additional records, which are a luxury.
    /// At least one, in ascending order.
    pub cuts: Vec<Cut>,
}

/// A place where an answer may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes up to here.
    pub end: usize,
    /// Additional records up to here.
    pub additional_count: u16,
}

impl Encoded {
    /// The most of the answer that fits into `room` bytes; `None` if not even the answers do.
    pub fn fit(&self, room: usize) -> Option<Cut> {
        // Nearly always everything fits.
        match self.cuts.last() {
            Some(last) if last.end <= room => Some(*last),
            _ => {
                let fitting = self.cuts.partition_point(|cut| cut.end <= room);
                self.cuts.get(fitting.checked_sub(1)?).copied()
            }
        }
    }
}

/// One answer as records, for everything that does not want bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The records asked for.
    pub answers: Vec<Record>,
    /// Addresses of their targets.
    pub additionals: Vec<Record>,
    /// The same, encoded.
    pub encoded: Encoded,
}

/// A name of the zone. Without answers it is an empty non-terminal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// By the number of the type: few, so a list is quicker than a map.
    answers: Vec<(u16, Answer)>,
}

impl Owner {
    /// The answer for a type, if there are such records.
    pub fn get(&self, record_type: u16) -> Option<&Answer> {
        self.answers.iter().find(|(number, _)| *number == record_type).map(|(_, answer)| answer)
    }
}

/// Every answer of a zone under one serial.
#[derive(Debug)]
pub struct Answers {
    /// The zone.
    pub settings: ZoneSettings,
    /// The SOA serial.
    pub serial: u32,
    /// All records, the SOA included.
    pub records: Records,
    /// The SOA record of negative answers.
    pub soa: Record,
    /// The SOA record without its owner: type, class, TTL, data.
    pub soa_tail: Vec<u8>,
    /// Whether a name that is not here does not exist. Before the first publication only the names of
    /// registered nodes are known, and nothing is known of any other.
    pub is_whole: bool,
    /// By owner, in lower case, in wire form with the root label.
    owners: HashMap<Box<[u8]>, Owner>,
}

impl Answers {
    /// Encodes a zone under a serial.
    ///
    /// # Errors
    /// [`ProtoError`] if records cannot be encoded: more than 64 KiB at one name.
    pub fn new(
        settings: &ZoneSettings,
        serial: u32,
        mut records: Records,
        is_whole: bool,
    ) -> Result<Self, ProtoError> {
        let soa = soa(settings, serial);
        records.entry(settings.domain.clone()).or_default().insert(RecordType::SOA, soa.clone());
        let mut owners = HashMap::with_capacity(records.len());
        for (name, types) in &records {
            owners.insert(wire(name)?.into_boxed_slice(), owner(&records, name, types)?);
        }
        let soa = to_records(&settings.domain, &soa).swap_remove(0);
        let soa_tail = tail(&soa)?;
        Ok(Self { settings: settings.clone(), serial, records, soa, soa_tail, is_whole, owners })
    }

    /// A name of the zone by its wire form in lower case.
    pub fn owner(&self, wire_name: &[u8]) -> Option<&Owner> {
        self.owners.get(wire_name)
    }

    /// Whether everything but the SOA is the same.
    pub fn has_same_content(&self, records: &Records) -> bool {
        let strip = |records: &Records| {
            let mut records = records.clone();
            for types in records.values_mut() {
                types.remove(&RecordType::SOA);
            }
            records
        };
        strip(&self.records) == strip(records)
    }

    /// Every record, the SOA first, then by owner and type.
    pub fn all_records(&self) -> impl Iterator<Item = Record> {
        let rest = self.records.iter().flat_map(|(name, types)| {
            types
                .iter()
                .filter(|(record_type, _)| **record_type != RecordType::SOA)
                .flat_map(|(_, set)| to_records(name, set))
        });
        std::iter::once(self.soa.clone()).chain(rest)
    }
}

/// Everything that is served for one zone, from one moment on until the next publication.
#[derive(Debug)]
pub struct Publication {
    /// The document it was made of.
    pub document: Document,
    /// Who is published.
    pub members: Members,
    /// Revision, generation and time.
    pub stamp: Stamp,
    /// What is answered.
    pub answers: Arc<Answers>,
}

impl Publication {
    /// Encodes a zone under a serial.
    ///
    /// # Errors
    /// [`ProtoError`], as from [`Answers::new`].
    pub fn new(
        settings: &ZoneSettings,
        document: Document,
        members: Members,
        stamp: Stamp,
        serial: u32,
        zone: Zone,
    ) -> Result<Self, ProtoError> {
        let answers = Arc::new(Answers::new(settings, serial, zone.records, true)?);
        Ok(Self { document, members, stamp, answers })
    }
}

/// A publication is its answers and where they come from.
impl std::ops::Deref for Publication {
    type Target = Answers;

    fn deref(&self) -> &Answers {
        &self.answers
    }
}

/// The serial after `previous` (RFC 1982): the time, or one more if the clock is behind.
pub fn next_serial(previous: Option<u32>, unix_seconds: u64) -> u32 {
    // Serials are 32 bits wide and compared on a circle, so the time is taken modulo 2^32.
    let now = (unix_seconds & u64::from(u32::MAX)) as u32;
    let Some(previous) = previous else { return now.max(1) };
    let ahead = now.wrapping_sub(previous);
    if ahead != 0 && ahead < 1 << 31 { now } else { previous.wrapping_add(1) }
}

/// A name in wire form, uncompressed.
///
/// # Errors
/// [`ProtoError`] if the name is too long.
pub fn wire(name: &Name) -> Result<Vec<u8>, ProtoError> {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    name.emit(&mut encoder)?;
    Ok(bytes)
}

fn owner(records: &Records, name: &Name, types: &BTreeMap<RecordType, RrSet>) -> Result<Owner, ProtoError> {
    let mut answers = Vec::with_capacity(types.len());
    for (&record_type, set) in types {
        let answer = to_records(name, set);
        let additionals = additionals(records, set);
        let encoded = encode(name, record_type, &answer, &additionals)?;
        answers.push((record_type.into(), Answer { answers: answer, additionals, encoded }));
    }
    Ok(Owner { answers })
}

fn to_records(name: &Name, set: &RrSet) -> Vec<Record> {
    set.data.iter().map(|data| Record::from_rdata(name.clone(), set.ttl_s, data.clone())).collect()
}

/// The addresses of the targets of SRV and NS records, each once.
fn additionals(records: &Records, set: &RrSet) -> Vec<Record> {
    let mut seen = Vec::new();
    let mut additionals = Vec::new();
    for data in &set.data {
        let target = match data {
            RData::SRV(service) => &service.target,
            RData::NS(server) => &server.0,
            _ => continue,
        };
        if seen.contains(&target) {
            continue;
        }
        seen.push(target);
        let Some(types) = records.get(target) else { continue };
        for record_type in [RecordType::A, RecordType::AAAA] {
            additionals.extend(types.get(&record_type).into_iter().flat_map(|set| to_records(target, set)));
        }
    }
    additionals
}

fn encode(
    name: &Name,
    record_type: RecordType,
    answers: &[Record],
    additionals: &[Record],
) -> Result<Encoded, ProtoError> {
    let mut message = message(Query::query(name.clone(), record_type));
    message.add_answers(answers.iter().cloned());
    message.add_additionals(additionals.iter().cloned());
    let bytes = message.to_vec()?;
    let unreadable = || ProtoError::Message("an encoded message cannot be read back");
    let too_many = |_| ProtoError::Message("more than 65535 records at one name");
    // Name, type and class of the question.
    let mut at = after_name(&bytes, HEADER_BYTES).ok_or_else(unreadable)? + 4;
    for _ in answers {
        at = after_record(&bytes, at).ok_or_else(unreadable)?;
    }
    let mut cuts = vec![Cut { end: at, additional_count: 0 }];
    let mut additional_count = 0;
    for set in sets(additionals) {
        for _ in set {
            at = after_record(&bytes, at).ok_or_else(unreadable)?;
            additional_count += 1;
        }
        cuts.push(Cut { end: at, additional_count: u16::try_from(additional_count).map_err(too_many)? });
    }
    let answer_count = u16::try_from(answers.len()).map_err(too_many)?;
    Ok(Encoded { message: bytes, answer_count, cuts })
}

/// Records that belong together: same owner, same type. They are sent together or not at all (RFC 2181
/// section 5).
pub fn sets(records: &[Record]) -> impl Iterator<Item = &[Record]> {
    records.chunk_by(|one, next| one.name == next.name && one.record_type() == next.record_type())
}

/// Where the name that begins at `at` ends.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 1),
            // A pointer is two bytes, and the end of a name.
            0xc0.. => return Some(at + 2),
            label => at += 1 + label,
        }
    }
}

/// Where the record that begins at `at` ends.
fn after_record(message: &[u8], at: usize) -> Option<usize> {
    // Type, class, TTL, length of the data.
    let fixed = after_name(message, at)?;
    let length = message.get(fixed + 8..fixed + 10)?;
    Some(fixed + 10 + usize::from(u16::from_be_bytes([length[0], length[1]])))
}

/// An empty answer to a question; what the client has to say about it is written later.
pub fn message(query: Query) -> Message {
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.metadata.authoritative = true;
    message.add_query(query);
    message
}

/// A record without its owner. Nothing in it is compressed, so it can stand anywhere in a message.
fn tail(record: &Record) -> Result<Vec<u8>, ProtoError> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_canonical_form(true);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    let mut record = record.clone();
    record.name = Name::root();
    record.emit(&mut encoder)?;
    // The root name is one byte.
    bytes.remove(0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_grow_whatever_the_clock_does() {
        for (previous, now, next) in [
            (None, 1_795_256_100, 1_795_256_100),
            (None, 0, 1),
            (Some(1_795_256_000), 1_795_256_100, 1_795_256_100),
            (Some(1_795_256_100), 1_795_256_100, 1_795_256_101),
            (Some(1_795_256_200), 1_795_256_100, 1_795_256_201),
            // The year 2106: the circle closes.
            (Some(u32::MAX), u64::from(u32::MAX), 0),
            (Some(u32::MAX - 5), (1 << 32) + 7, 7),
        ] {
            assert_eq!(next_serial(previous, now), next, "{previous:?} at {now}");
        }
    }
}
