//! The zone as a whole, for secondaries (RFC 5936): the one answer that is several messages.
//!
//! A publication is small and never changes, so a transfer is a list of messages made from the very
//! publication that was served when it began; what is published meanwhile is the next transfer's business.
//! Differences alone (RFC 1995) are not kept: a secondary that asks for them gets the whole zone, which the
//! standard permits, or just the SOA record if it has the zone already.
//!
//! Who may have it is decided by address and, if there are keys, by signature ([`crate::keys`]). Whoever
//! else asks, and whoever asks over UDP, is not recognized here and refused by the path that answers
//! everything odd. Each message of a signed transfer is signed.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use hickory_proto::{ProtoError, serialize::binary::BinEncodable};
use service::clock;

use super::signed::{self, Judged, Signing};
use super::slow::quietly;
use super::{Outcome, UDP_BYTES_MAX, reply::rcode};
use crate::directory::Directory;
use crate::publication::{Publication, wire};

/// Records per message: the largest there are, 100 of them, stay below the 65 535 bytes of a message.
const RECORDS_MAX: usize = 100;

/// A transfer that is to be sent over TCP, in several messages.
#[derive(Debug)]
pub struct Transfer {
    id: u16,
    query: Query,
    recursion_desired: bool,
    /// Whether the query had an OPT record, and if so its DO bit.
    dnssec_ok: Option<bool>,
    contents: Contents,
    signing: Option<Signing>,
}

#[derive(Debug)]
enum Contents {
    /// Everything, the SOA record at the beginning and at the end.
    Whole(Arc<Publication>),
    /// The SOA record: the secondary has this zone already.
    Current(Arc<Publication>),
    /// Nothing but a response code.
    Code(u16),
}

impl Transfer {
    /// Understands a query over TCP for a transfer by a client that may have one; `None` if it is anything
    /// else.
    pub fn new(directory: &Directory, packet: &[u8], client: IpAddr) -> Option<Self> {
        let transfers = directory.transfers();
        if !transfers.may_ask(client) {
            return None;
        }
        let request = quietly(|| Message::from_vec(packet)).ok()?;
        let [query] = request.queries.as_slice() else { return None };
        let kind = query.query_type();
        let version = request.edns.as_ref().map_or(0, Edns::version);
        if request.metadata.message_type != MessageType::Query
            || request.metadata.op_code != OpCode::Query
            || version != 0
            || query.query_class() != DNSClass::IN
            || !matches!(kind, RecordType::AXFR | RecordType::IXFR)
        {
            return None;
        }
        let signature = request.signature.as_deref();
        let signing = match signed::judge(transfers, packet, signature, clock::unix_seconds()) {
            Judged::Unsigned => None,
            Judged::By(signing) => Some(signing),
            Judged::Wrong(..) => return None,
        };
        if !transfers.permit(client, signing.as_ref().map(Signing::key_name)) {
            return None;
        }
        // As many secondaries ask, in the letters of their configuration.
        let name = query.name().to_lowercase();
        let slot = directory.find(&wire(&name).ok()?);
        let contents = match slot {
            Some(slot) if slot.settings.domain == name => match slot.publication().as_ref() {
                None => Contents::Code(rcode::SERVFAIL),
                Some(publication) if kind == RecordType::IXFR && is_current(&request, publication) => {
                    Contents::Current(Arc::clone(publication))
                }
                Some(publication) => Contents::Whole(Arc::clone(publication)),
            },
            // Not the name of a zone of ours (RFC 5936 section 2.2.1).
            _ => Contents::Code(rcode::NOTAUTH),
        };
        Some(Self {
            id: request.metadata.id,
            query: query.clone(),
            recursion_desired: request.metadata.recursion_desired,
            dnssec_ok: request.edns.as_ref().map(|edns| edns.flags().dnssec_ok),
            contents,
            signing,
        })
    }

    /// What is counted.
    pub fn outcome(&self) -> Outcome {
        let rcode = match self.contents {
            Contents::Code(code) => code,
            Contents::Whole(_) | Contents::Current(_) => rcode::NOERROR,
        };
        Outcome { qtype: self.query.query_type().into(), rcode }
    }

    /// The messages, encoded and signed one at a time.
    ///
    /// # Errors
    /// [`ProtoError`] for a message that cannot be encoded or signed; the transfer is then to be broken off.
    pub fn messages(&self) -> impl Iterator<Item = Result<Vec<u8>, ProtoError>> {
        let records: Vec<Record> = match &self.contents {
            Contents::Whole(publication) => {
                let mut records = publication.all_records();
                records.push(publication.soa());
                records
            }
            Contents::Current(publication) => vec![publication.soa()],
            Contents::Code(_) => Vec::new(),
        };
        let count = records.len().div_ceil(RECORDS_MAX).max(1);
        let mut signing = self.signing.clone();
        (0..count).map(move |index| {
            let part = records.iter().skip(index * RECORDS_MAX).take(RECORDS_MAX);
            let mut message = self.head(index == 0);
            message.add_answers(part.cloned());
            let mut bytes = message.to_bytes()?;
            if let Some(signing) = &mut signing {
                signing.sign(&mut bytes)?;
            }
            Ok(bytes)
        })
    }

    /// A message without records. The first one repeats the question and, if there was one, the OPT record.
    fn head(&self, is_first: bool) -> Message {
        let mut message = Message::new(self.id, MessageType::Response, OpCode::Query);
        message.metadata.authoritative = !matches!(self.contents, Contents::Code(_));
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.response_code =
            hickory_proto::op::ResponseCode::from(0, u8::try_from(self.outcome().rcode).unwrap_or_default());
        if is_first {
            message.add_query(self.query.clone());
            if let Some(dnssec_ok) = self.dnssec_ok {
                let mut edns = Edns::new();
                edns.set_max_payload(UDP_BYTES_MAX);
                edns.set_dnssec_ok(dnssec_ok);
                message.set_edns(edns);
            }
        }
        message
    }
}

/// Whether the serial that the secondary says it has is the one in force (RFC 1995 section 2). One that is
/// ahead of ours is none of ours, and gets the zone.
fn is_current(request: &Message, publication: &Publication) -> bool {
    let known = request.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    });
    known == Some(publication.serial)
}
