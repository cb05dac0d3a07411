//! What is served: every answer of a zone, encoded once. Immutable and pure.
//!
//! A publication changes a few times a day and is asked thousands of times a second, so the work is done
//! when it changes. Each name and type has its complete message, laid out by hickory's encoder; answering
//! means to copy it, to write the client's id, flags and question over its beginning (the question has the
//! same length, so every compression pointer stays right), and to choose how much of it goes out. Negative
//! answers differ only in the name, so one encoded SOA serves them all.
//!
//! The bytes are all that is kept, those of a zone in one piece. Odd packets, zone transfers and `GET /dns`
//! want records and get them by reading the messages back, which is rare. Kept beside the bytes they would
//! take several times as much memory, and one dnsd serves ten thousand zones.

mod encoding;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use hickory_proto::ProtoError;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder, NameEncoding};

use topology::Document;

use crate::zone::{Members, Records, RrSet, Stamp, Zone, ZoneSettings, soa};

use encoding::{Encoding, count, tail, to_records};
pub(crate) use encoding::{few, message, sets};

/// Length of a DNS header, in bytes (RFC 1035 section 4.1.1).
pub const HEADER_BYTES: usize = 12;

/// A complete answer to one name and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded<'a> {
    /// Header, question, answers, additionals; no OPT. Id and flags are to be written by the answerer.
    pub message: &'a [u8],
    /// Number of answer records.
    pub answer_count: u16,
    /// Where it may be cut: after the answers, and after each set of additional records, which are a luxury.
    /// At least one, in ascending order.
    pub cuts: &'a [Cut],
}

/// A place where an answer may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes up to here; a message has at most 65 535.
    pub end: u16,
    /// Additional records up to here.
    pub additional_count: u16,
}

impl Encoded<'_> {
    /// The most of the answer that fits into `room` bytes; `None` if not even the answers do.
    pub fn fit(&self, room: usize) -> Option<Cut> {
        let fits = |cut: &Cut| usize::from(cut.end) <= room;
        // Nearly always everything fits.
        match self.cuts.last() {
            Some(last) if fits(last) => Some(*last),
            _ => {
                let fitting = self.cuts.partition_point(fits);
                self.cuts.get(fitting.checked_sub(1)?).copied()
            }
        }
    }

    /// The answers and the additionals, read back.
    ///
    /// # Errors
    /// [`ProtoError`], which does not happen to what was encoded here.
    pub fn records(&self) -> Result<(Vec<Record>, Vec<Record>), ProtoError> {
        let message = Message::from_vec(self.message)?;
        Ok((message.answers, message.additionals))
    }
}

/// Where one answer lies in the bytes of its zone.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    record_type: u16,
    answer_count: u16,
    message: Range<u32>,
    cuts: Range<u32>,
}

/// A name of the zone. Without answers it is an empty non-terminal.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    zone: &'a Answers,
    /// Few, so a list is quicker than a map.
    entries: &'a [Entry],
}

impl<'a> Owner<'a> {
    /// The answer for a type, by its number, if there are such records.
    pub fn get(&self, record_type: u16) -> Option<Encoded<'a>> {
        self.entries
            .iter()
            .find(|entry| entry.record_type == record_type)
            .map(|entry| self.zone.encoded(entry))
    }

    /// The types of its records, always in the same order.
    pub fn types(&self) -> impl Iterator<Item = RecordType> {
        self.entries.iter().map(|entry| RecordType::from(entry.record_type))
    }
}

/// Every answer of a zone under one serial.
#[derive(Debug)]
pub struct Answers {
    /// The zone.
    pub settings: Arc<ZoneSettings>,
    /// The SOA serial.
    pub serial: u32,
    /// The SOA record of negative answers without its owner: type, class, TTL, data.
    pub soa_tail: Box<[u8]>,
    /// Whether a name that is not here does not exist. Before the first publication only the names of
    /// registered nodes are known, and nothing is known of any other.
    pub is_whole: bool,
    /// By owner, in lower case, in wire form with the root label: where its entries are.
    owners: HashMap<Box<[u8]>, Range<u32>>,
    entries: Box<[Entry]>,
    /// All messages, one behind the other.
    bytes: Box<[u8]>,
    cuts: Box<[Cut]>,
}

impl Answers {
    /// Encodes a zone under a serial.
    ///
    /// # Errors
    /// [`ProtoError`] if records cannot be encoded: more than 64 KiB at one name.
    pub fn new(
        settings: &Arc<ZoneSettings>,
        serial: u32,
        mut records: Records,
        is_whole: bool,
    ) -> Result<Self, ProtoError> {
        let soa = soa(settings, serial);
        let soa_tail = tail(&soa_record(settings, serial))?.into_boxed_slice();
        records.entry(settings.domain.clone()).or_default().insert(RecordType::SOA, soa);
        let mut owners = HashMap::with_capacity(records.len());
        let mut encoding = Encoding::default();
        for (name, types) in &records {
            let begin = count(encoding.entries.len())?;
            encoding.add(&records, name, types)?;
            owners.insert(wire(name)?.into_boxed_slice(), begin..count(encoding.entries.len())?);
        }
        let Encoding { entries, bytes, cuts } = encoding;
        Ok(Self {
            settings: Arc::clone(settings),
            serial,
            soa_tail,
            is_whole,
            owners,
            entries: entries.into_boxed_slice(),
            bytes: bytes.into_boxed_slice(),
            cuts: cuts.into_boxed_slice(),
        })
    }

    /// A name of the zone by its wire form in lower case.
    pub fn owner(&self, wire_name: &[u8]) -> Option<Owner<'_>> {
        let entries = self.owners.get(wire_name)?;
        Some(Owner { zone: self, entries: &self.entries[place(entries)] })
    }

    /// The SOA record.
    pub fn soa(&self) -> Record {
        soa_record(&self.settings, self.serial)
    }

    /// All records, the SOA included, read back.
    ///
    /// # Errors
    /// [`ProtoError`], which does not happen to what was encoded here.
    pub fn records(&self) -> Result<Records, ProtoError> {
        let mut records = Records::new();
        for (wire_name, entries) in &self.owners {
            let name = Name::read(&mut BinDecoder::new(wire_name))?;
            let mut types = BTreeMap::new();
            for entry in &self.entries[place(entries)] {
                let (answers, _) = self.encoded(entry).records()?;
                let ttl_s = answers.first().map_or(0, |record| record.ttl);
                let data = answers.into_iter().map(|record| record.data).collect();
                types.insert(RecordType::from(entry.record_type), RrSet { ttl_s, data });
            }
            records.insert(name, types);
        }
        Ok(records)
    }

    /// Whether everything but the SOA is the same.
    pub fn has_same_content(&self, records: &Records) -> bool {
        let strip = |mut records: Records| {
            for types in records.values_mut() {
                types.remove(&RecordType::SOA);
            }
            records
        };
        self.records().is_ok_and(|own| strip(own) == strip(records.clone()))
    }

    /// Every record, the SOA first, then by owner and type.
    pub fn all_records(&self) -> Vec<Record> {
        let mut all = vec![self.soa()];
        // What was encoded here can be read.
        for (name, types) in &self.records().unwrap_or_default() {
            let sets = types.iter().filter(|(record_type, _)| **record_type != RecordType::SOA);
            all.extend(sets.flat_map(|(_, set)| to_records(name, set)));
        }
        all
    }

    fn encoded(&self, entry: &Entry) -> Encoded<'_> {
        Encoded {
            message: &self.bytes[place(&entry.message)],
            answer_count: entry.answer_count,
            cuts: &self.cuts[place(&entry.cuts)],
        }
    }
}

/// A range as it indexes; 32 bits are kept because there are many.
fn place(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
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
        settings: &Arc<ZoneSettings>,
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

fn soa_record(settings: &ZoneSettings, serial: u32) -> Record {
    to_records(&settings.domain, &soa(settings, serial)).swap_remove(0)
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
