//! The plain query, read by hand: one question, class IN, at most one OPT record, and not a byte more.
//!
//! Anything else is not refused here but left to the slow path: this code says yes only to what it
//! understands completely, which keeps it short enough to be read.

use hickory_proto::rr::RecordType;

use super::reply::{Context, OPT_BYTES, OPT_TYPE, rcode};
use super::{Outcome, Transport};
use crate::directory::Directory;
use crate::publication::HEADER_BYTES;

/// Longest name in wire form, in bytes (RFC 1035 section 3.1).
const NAME_BYTES_MAX: usize = 255;
/// Longest label, in bytes; longer first bytes are compression pointers or nothing.
const LABEL_BYTES_MAX: u8 = 63;
/// Class IN.
const CLASS_IN: u16 = 1;
/// Types from here on up to [`META_TYPE_LAST`] are no data but requests of another kind (RFC 6895 section
/// 3.1): zone transfers, TSIG, ANY.
const META_TYPE_FIRST: u16 = 128;
const META_TYPE_LAST: u16 = 255;
/// Options that hickory looks into and may find malformed: NSID, DAU, DHU, N3U, client subnet.
const OPTIONS_LOOKED_INTO: [u16; 5] = [3, 5, 6, 7, 8];

/// A query that was understood.
struct Plain<'a> {
    /// The name in wire form, in lower case.
    name: Name,
    qtype: u16,
    question: &'a [u8],
    opt: Option<Opt>,
}

struct Opt {
    payload: u16,
    dnssec_ok: bool,
}

/// A name on the stack.
struct Name {
    bytes: [u8; NAME_BYTES_MAX],
    length: usize,
}

impl Name {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Answers a plain query; `None` if it is not plain.
pub fn answer(
    directory: &Directory,
    packet: &[u8],
    transport: Transport,
    out: &mut Vec<u8>,
) -> Option<Outcome> {
    let query = parse(packet)?;
    let context = Context {
        id: [packet[0], packet[1]],
        opcode: 0,
        recursion_desired: packet[2] & 0x01 != 0,
        question: query.question,
        dnssec_ok: query.opt.as_ref().map(|opt| opt.dnssec_ok),
        room: transport.room(query.opt.as_ref().map(|opt| opt.payload)),
    };
    let code = look_up(directory, &query, &context, out);
    Some(Outcome { qtype: query.qtype, rcode: code })
}

fn look_up(directory: &Directory, query: &Plain<'_>, context: &Context<'_>, out: &mut Vec<u8>) -> u16 {
    let name = query.name.as_slice();
    let Some(slot) = directory.find(name) else {
        context.code(rcode::REFUSED, out);
        return rcode::REFUSED;
    };
    let answers = slot.answers();
    let Some(answers) = answers.as_ref() else {
        context.code(rcode::SERVFAIL, out);
        return rcode::SERVFAIL;
    };
    let domain_offset = name.len() - slot.wire_bytes();
    let Some(owner) = answers.owner(name) else {
        return context.missing(answers, domain_offset, out);
    };
    match owner.get(query.qtype) {
        Some(encoded) => context.positive(&encoded, out),
        None => context.negative(rcode::NOERROR, domain_offset, &answers.soa_tail, out),
    }
    rcode::NOERROR
}

fn parse(packet: &[u8]) -> Option<Plain<'_>> {
    let header = packet.get(..HEADER_BYTES)?;
    // QR, opcode, AA and TC, and the response code: all zero in a plain query. RD, RA, Z, AD and CD are
    // what clients set as they like.
    if header[2] & 0xfe != 0 || header[3] & 0x0f != 0 {
        return None;
    }
    let additional_count = match header[4..12] {
        [0, 1, 0, 0, 0, 0, 0, count @ (0 | 1)] => count,
        _ => return None,
    };
    let (name, name_end) = parse_name(packet)?;
    let fixed = packet.get(name_end..name_end + 4)?;
    let qtype = u16::from_be_bytes([fixed[0], fixed[1]]);
    let class = u16::from_be_bytes([fixed[2], fixed[3]]);
    let meta = qtype == OPT_TYPE || qtype == 0 || (META_TYPE_FIRST..=META_TYPE_LAST).contains(&qtype);
    if class != CLASS_IN || meta {
        return None;
    }
    let question_end = name_end + 4;
    let rest = &packet[question_end..];
    let opt = match additional_count {
        0 if rest.is_empty() => None,
        1 => Some(parse_opt(rest)?),
        _ => return None,
    };
    Some(Plain { name, qtype, question: &packet[HEADER_BYTES..question_end], opt })
}

/// The bytes of the first question, if they can be read, whatever else the packet holds.
pub(super) fn question(packet: &[u8]) -> Option<&[u8]> {
    let has_one = packet.get(4..6)? == [0, 1];
    let (_, name_end) = parse_name(packet)?;
    packet.get(HEADER_BYTES..name_end + 4).filter(|_| has_one)
}

/// The question's name and where it ends. No compression: there is nothing before it to point to.
fn parse_name(packet: &[u8]) -> Option<(Name, usize)> {
    let mut name = Name { bytes: [0; NAME_BYTES_MAX], length: 0 };
    let mut at = HEADER_BYTES;
    loop {
        let label_bytes = *packet.get(at)?;
        if label_bytes > LABEL_BYTES_MAX {
            return None;
        }
        let end = at + 1 + usize::from(label_bytes);
        let label = packet.get(at..end)?;
        name.bytes.get_mut(name.length..name.length + label.len())?.copy_from_slice(label);
        // The length byte is below every letter, so it may be lowered along with the label.
        name.bytes[name.length..name.length + label.len()].make_ascii_lowercase();
        name.length += label.len();
        at = end;
        if label_bytes == 0 {
            return Some((name, at));
        }
    }
}

/// Exactly one OPT record of version 0 up to the end of the packet, its options well-formed.
fn parse_opt(rest: &[u8]) -> Option<Opt> {
    debug_assert_eq!(u16::from(RecordType::OPT), OPT_TYPE);
    let (fixed, mut options) = rest.split_at_checked(OPT_BYTES)?;
    let [0, 0, 41, size_high, size_low, 0, 0, flags, _, length_high, length_low] = *fixed else {
        return None;
    };
    if usize::from(u16::from_be_bytes([length_high, length_low])) != options.len() {
        return None;
    }
    while !options.is_empty() {
        let (fixed, rest) = options.split_at_checked(4)?;
        let code = u16::from_be_bytes([fixed[0], fixed[1]]);
        if OPTIONS_LOOKED_INTO.contains(&code) {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        options = rest.get(length..)?;
    }
    Some(Opt { payload: u16::from_be_bytes([size_high, size_low]), dnssec_ok: flags & 0x80 != 0 })
}
