//! Every other packet: parsed by hickory, answered from records, in the order in which a server may
//! refuse (RFC 8906 lists what happens to servers that do not answer the odd ones).
//!
//! Nothing is ever sent in reply to a response (two servers would talk for ever) or to what is shorter
//! than a header. Everything else gets an answer, be it a response code and nothing else.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::{Edns, LowerQuery, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use service::clock;
use tracing::subscriber::NoSubscriber;

use super::fast;
use super::reply::{Context, rcode};
use super::signed::{self, Judged};
use super::{Outcome, Transport};
use crate::directory::Directory;
use crate::publication::{Cut, Encoded, HEADER_BYTES, few, message, sets, wire};

/// The only EDNS version there is.
const EDNS_VERSION: u8 = 0;

/// Answers any packet; `None` if nothing may be sent.
pub fn answer(
    directory: &Directory,
    packet: &[u8],
    client: SocketAddr,
    transport: Transport,
    out: &mut Vec<u8>,
) -> Option<Outcome> {
    let header = packet.get(..HEADER_BYTES)?;
    if header[2] & 0x80 != 0 {
        return None;
    }
    let bare = Context {
        id: [header[0], header[1]],
        opcode: header[2] >> 3 & 0x0f,
        recursion_desired: header[2] & 0x01 != 0,
        question: &[],
        dnssec_ok: None,
        room: transport.room(None),
    };
    let protocol = match transport {
        Transport::Udp | Transport::UdpCut => Protocol::Udp,
        Transport::Tcp => Protocol::Tcp,
    };
    let parsed = quietly(|| Request::from_bytes(packet.to_vec(), client, protocol));
    let Ok(request) = parsed else { return Some(unreadable(packet, bare, out)) };
    let queries = request.queries.queries();
    let question = match queries {
        [query] => encode_question(query.original()),
        _ => Vec::new(),
    };
    let transfers = directory.transfers();
    let judged = signed::judge(transfers, packet, request.signature.as_deref(), clock::unix_seconds());
    let (mut signing, wrong) = match judged {
        Judged::Unsigned => (None, None),
        Judged::By(signing) => (Some(signing), None),
        Judged::Wrong(code, signing) => (signing, Some(code)),
    };
    let signature_bytes = signing.as_ref().map_or(0, signed::Signing::bytes);
    let edns = request.edns.as_ref();
    let context = Context {
        question: &question,
        dnssec_ok: edns.map(|edns| edns.flags().dnssec_ok),
        room: transport.room(edns.map(Edns::max_payload)).saturating_sub(signature_bytes),
        ..bare
    };
    let asker = Asker {
        ip: client.ip(),
        transport,
        // One that is wrong gets an error and is looked at no further.
        key: signing.as_ref().map(signed::Signing::key_name),
    };
    let qtype = queries.first().map_or(0, |query| query.query_type().into());
    let code = match (wrong.or_else(|| refusal(&request, directory, &asker)), queries) {
        (None, [query]) => look_up(directory, query, &context, out),
        (refused, _) => {
            let code = refused.unwrap_or(rcode::FORMERR);
            context.code(code, out);
            code
        }
    };
    if let Some(signing) = &mut signing
        && let Err(error) = signing.sign(out)
    {
        tracing::debug!(%error, "an answer cannot be signed");
        return None;
    }
    Some(Outcome { qtype, rcode: code })
}

/// The answer to what cannot be parsed.
fn unreadable<'a>(packet: &'a [u8], bare: Context<'a>, out: &mut Vec<u8>) -> Outcome {
    let code = if bare.opcode == 0 { rcode::FORMERR } else { rcode::NOTIMP };
    Context { question: fast::question(packet).unwrap_or_default(), ..bare }.code(code, out);
    Outcome { qtype: 0, rcode: code }
}

/// Who asks.
struct Asker<'a> {
    ip: IpAddr,
    transport: Transport,
    /// The key that the request is signed with.
    key: Option<&'a Name>,
}

/// hickory warns in the log of every malformed option; what strangers send is no reason to look.
pub(super) fn quietly<T>(parse: impl FnOnce() -> T) -> T {
    tracing::subscriber::with_default(NoSubscriber::default(), parse)
}

/// What is wrong with a request before anybody looks at its name.
fn refusal(request: &Request, directory: &Directory, asker: &Asker<'_>) -> Option<u16> {
    if request.edns.as_ref().is_some_and(|edns| edns.version() > EDNS_VERSION) {
        return Some(rcode::BADVERS);
    }
    if request.metadata.op_code != OpCode::Query {
        return Some(rcode::NOTIMP);
    }
    let [query] = request.queries.queries() else { return Some(rcode::FORMERR) };
    if query.query_class() != DNSClass::IN {
        return Some(rcode::REFUSED);
    }
    match query.query_type() {
        // "Has it changed?" A datagram is answered with the SOA record, and the change fetched over TCP
        // (RFC 1995 section 2).
        RecordType::IXFR
            if asker.transport != Transport::Tcp && directory.transfers().permit(asker.ip, asker.key) =>
        {
            None
        }
        // Those who may have the zone were answered before (see `transfer`).
        RecordType::AXFR | RecordType::IXFR => Some(rcode::REFUSED),
        // OPT is no type to ask for.
        RecordType::OPT => Some(rcode::FORMERR),
        _ => None,
    }
}

fn look_up(directory: &Directory, query: &LowerQuery, context: &Context<'_>, out: &mut Vec<u8>) -> u16 {
    // A name that was parsed can be written.
    let name = wire(query.name()).unwrap_or_default();
    let Some(slot) = directory.find(&name) else {
        context.code(rcode::REFUSED, out);
        return rcode::REFUSED;
    };
    let answers = slot.answers();
    let Some(answers) = answers.as_ref() else {
        context.code(rcode::SERVFAIL, out);
        return rcode::SERVFAIL;
    };
    let domain_offset = name.len() - slot.wire_bytes();
    let Some(owner) = answers.owner(&name) else {
        return context.missing(answers, domain_offset, out);
    };
    let asked = match query.query_type() {
        RecordType::ANY if owner.get(RecordType::SRV.into()).is_some() => RecordType::SRV,
        RecordType::ANY => owner.types().next().unwrap_or(RecordType::ANY),
        RecordType::IXFR => RecordType::SOA,
        other => other,
    };
    match owner.get(asked.into()).and_then(|known| assemble(&known, query, context)) {
        Some((message, end)) => {
            let answer_count = end.answer_count;
            context.positive(&Encoded { message: &message, answer_count, cuts: &[end.at] }, out);
        }
        None => context.negative(rcode::NOERROR, domain_offset, &answers.soa_tail, out),
    }
    rcode::NOERROR
}

/// Where an answer that was put together ends, and how many records it answers with.
struct End {
    answer_count: u16,
    at: Cut,
}

/// The answer put together anew from the records, with as many sets of additionals as there is room for.
/// Encoded under the zone's own spelling of the name, so that compression finds it; the client's spelling
/// is written over it like everywhere.
fn assemble(known: &Encoded<'_>, query: &LowerQuery, context: &Context<'_>) -> Option<(Vec<u8>, End)> {
    let (answers, additionals) = known.records().ok()?;
    let answer_count = few(answers.len()).ok()?;
    let mut base = message(Query::query((**query.name()).clone(), query.query_type()));
    base.add_answers(answers);
    let additionals: Vec<&[Record]> = sets(&additionals).collect();
    let encode = |count: usize| {
        let mut message = base.clone();
        message.add_additionals(additionals[..count].iter().copied().flatten().cloned());
        let additional_count = few(message.additionals.len()).ok()?;
        Some((message.to_vec().ok()?, additional_count))
    };
    // The most sets that fit: `fits` of them do, one more than `fits_not` - 1 does not.
    let (mut fits, mut fits_not) = (0, additionals.len() + 1);
    let mut probe = additionals.len();
    while fits + 1 < fits_not {
        if encode(probe)?.0.len() <= context.room_without_opt() {
            fits = probe;
        } else {
            fits_not = probe;
        }
        probe = fits.midpoint(fits_not);
    }
    let (message, additional_count) = encode(fits)?;
    let at = Cut { end: few(message.len()).ok()?, additional_count };
    Some((message, End { answer_count, at }))
}

/// The question as the client wrote it, without compression.
fn encode_question(query: &Query) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    // What was parsed can be written; if not, the answer goes without a question.
    if query.emit(&mut encoder).is_err() {
        bytes.clear();
    }
    bytes
}
