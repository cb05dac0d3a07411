//! From records to the messages of a zone, and to the places where each may be cut. Pure.

use std::collections::BTreeMap;

use hickory_proto::ProtoError;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::{Cut, Entry, HEADER_BYTES};
use crate::zone::{Records, RrSet};

pub(super) fn count(count: usize) -> Result<u32, ProtoError> {
    u32::try_from(count).map_err(|_| ProtoError::Message("a zone of more than 4 GiB"))
}

/// What grows while a zone is encoded.
#[derive(Default)]
pub(super) struct Encoding {
    pub(super) entries: Vec<Entry>,
    pub(super) bytes: Vec<u8>,
    pub(super) cuts: Vec<Cut>,
}

impl Encoding {
    /// Adds the messages of one name.
    pub(super) fn add(
        &mut self,
        records: &Records,
        name: &Name,
        types: &BTreeMap<RecordType, RrSet>,
    ) -> Result<(), ProtoError> {
        for (&record_type, set) in types {
            let answers = to_records(name, set);
            let (message, cuts) = encode(name, record_type, &answers, &additionals(records, set))?;
            let (message_at, cuts_at) = (count(self.bytes.len())?, count(self.cuts.len())?);
            self.bytes.extend_from_slice(&message);
            self.cuts.extend(cuts);
            self.entries.push(Entry {
                record_type: record_type.into(),
                answer_count: few(answers.len())?,
                message: message_at..count(self.bytes.len())?,
                cuts: cuts_at..count(self.cuts.len())?,
            });
        }
        Ok(())
    }
}

pub(super) fn to_records(name: &Name, set: &RrSet) -> Vec<Record> {
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

/// The message, and where it may be cut.
fn encode(
    name: &Name,
    record_type: RecordType,
    answers: &[Record],
    additionals: &[Record],
) -> Result<(Vec<u8>, Vec<Cut>), ProtoError> {
    let mut message = message(Query::query(name.clone(), record_type));
    message.add_answers(answers.iter().cloned());
    message.add_additionals(additionals.iter().cloned());
    let bytes = message.to_vec()?;
    let unreadable = || ProtoError::Message("an encoded message cannot be read back");
    // Name, type and class of the question.
    let mut at = after_name(&bytes, HEADER_BYTES).ok_or_else(unreadable)? + 4;
    for _ in answers {
        at = after_record(&bytes, at).ok_or_else(unreadable)?;
    }
    let mut cuts = vec![Cut { end: few(at)?, additional_count: 0 }];
    let mut additional_count = 0;
    for set in sets(additionals) {
        for _ in set {
            at = after_record(&bytes, at).ok_or_else(unreadable)?;
            additional_count += 1;
        }
        cuts.push(Cut { end: few(at)?, additional_count: few(additional_count)? });
    }
    Ok((bytes, cuts))
}

/// A count that a message has 16 bits for.
pub(crate) fn few(count: usize) -> Result<u16, ProtoError> {
    u16::try_from(count).map_err(|_| ProtoError::Message("more than 65535 bytes or records at one name"))
}

/// Records that belong together: same owner, same type. They are sent together or not at all (RFC 2181
/// section 5).
pub(crate) fn sets(records: &[Record]) -> impl Iterator<Item = &[Record]> {
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
pub(crate) fn message(query: Query) -> Message {
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.metadata.authoritative = true;
    message.add_query(query);
    message
}

/// A record without its owner. Nothing in it is compressed, so it can stand anywhere in a message.
pub(super) fn tail(record: &Record) -> Result<Vec<u8>, ProtoError> {
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
