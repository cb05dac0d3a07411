//! Putting bytes together: what both paths write alike.
//!
//! An answer is cut here and nowhere else. Additionals that do not fit are left out, whole sets from the end,
//! and silently, because a client can ask for them (RFC 2181 section 9); only if the answers themselves do
//! not fit, TC is set and nothing but the question and the OPT record goes out: a part of a set must not be
//! taken for the set.

use crate::answer::UDP_BYTES_MAX;
use crate::publication::{Answers, Encoded, HEADER_BYTES};

/// Length of an OPT record without options, in bytes (RFC 6891 section 6.1.2).
pub(super) const OPT_BYTES: usize = 11;
/// Type number of OPT.
pub(super) const OPT_TYPE: u16 = 41;

/// Response codes (RFC 1035 section 4.1.1, RFC 6891 section 9).
pub(super) mod rcode {
    pub(crate) const NOERROR: u16 = 0;
    pub(crate) const FORMERR: u16 = 1;
    pub(crate) const SERVFAIL: u16 = 2;
    pub(crate) const NXDOMAIN: u16 = 3;
    pub(crate) const NOTIMP: u16 = 4;
    pub(crate) const REFUSED: u16 = 5;
    pub(crate) const NOTAUTH: u16 = 9;
    pub(crate) const BADVERS: u16 = 16;
}

/// What of the query the answer repeats or depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) id: [u8; 2],
    pub(super) opcode: u8,
    pub(super) recursion_desired: bool,
    /// The question in wire form, uncompressed, its letters as the client wrote them; empty if unreadable.
    pub(super) question: &'a [u8],
    /// Whether the query had an OPT record, and if so its DO bit.
    pub(super) dnssec_ok: Option<bool>,
    /// Room for the answer, in bytes; 0 for a client that is to ask over TCP.
    pub(super) room: usize,
}

impl Context<'_> {
    pub(super) fn room_without_opt(&self) -> usize {
        self.room.saturating_sub(if self.dnssec_ok.is_some() { OPT_BYTES } else { 0 })
    }

    /// A positive answer: as much of it as fits.
    pub(super) fn positive(&self, encoded: &Encoded<'_>, out: &mut Vec<u8>) {
        let Some(cut) = encoded.fit(self.room_without_opt()) else {
            return self.truncated(rcode::NOERROR, out);
        };
        out.clear();
        out.extend_from_slice(&encoded.message[..usize::from(cut.end)]);
        out[HEADER_BYTES..HEADER_BYTES + self.question.len()].copy_from_slice(self.question);
        self.finish(out, true, rcode::NOERROR, [encoded.answer_count, 0, cut.additional_count]);
    }

    /// No such record, or no such name: the SOA record in the authority section, its owner a pointer to
    /// where the domain begins within the question's name.
    pub(super) fn negative(&self, code: u16, domain_offset: usize, soa_tail: &[u8], out: &mut Vec<u8>) {
        if HEADER_BYTES + self.question.len() + 2 + soa_tail.len() > self.room_without_opt() {
            return self.truncated(code, out);
        }
        self.begin(out);
        // A name is at most 255 bytes, so the offset fits the 14 bits of a pointer.
        let pointer = 0xc000 | (HEADER_BYTES + domain_offset) as u16;
        out.extend_from_slice(&pointer.to_be_bytes());
        out.extend_from_slice(soa_tail);
        self.finish(out, true, code, [0, 1, 0]);
    }

    /// The answer to a name of the zone that is not in it. As long as not all names are known, nothing is.
    pub(super) fn missing(&self, answers: &Answers, domain_offset: usize, out: &mut Vec<u8>) -> u16 {
        if !answers.is_whole {
            self.code(rcode::SERVFAIL, out);
            return rcode::SERVFAIL;
        }
        self.negative(rcode::NXDOMAIN, domain_offset, &answers.soa_tail, out);
        rcode::NXDOMAIN
    }

    /// Nothing but a response code.
    pub(super) fn code(&self, code: u16, out: &mut Vec<u8>) {
        self.begin(out);
        self.finish(out, false, code, [0, 0, 0]);
    }

    fn truncated(&self, code: u16, out: &mut Vec<u8>) {
        const TC: u8 = 0x02;
        self.begin(out);
        self.finish(out, true, code, [0, 0, 0]);
        out[2] |= TC;
    }

    fn begin(&self, out: &mut Vec<u8>) {
        out.clear();
        out.resize(HEADER_BYTES, 0);
        out.extend_from_slice(self.question);
    }

    /// Writes the header over the beginning and the OPT record at the end. RA, Z, AD and CD stay 0: we do
    /// not recurse and do not validate.
    fn finish(&self, out: &mut Vec<u8>, authoritative: bool, code: u16, counts: [u16; 3]) {
        const QR: u8 = 0x80;
        const AA: u8 = 0x04;
        let [answers, authorities, additionals] = counts;
        let additionals = additionals + u16::from(self.dnssec_ok.is_some());
        let questions = u16::from(!self.question.is_empty());
        out[..2].copy_from_slice(&self.id);
        out[2] =
            QR | (self.opcode << 3) | if authoritative { AA } else { 0 } | u8::from(self.recursion_desired);
        out[3] = (code & 0x0f) as u8;
        for (index, count) in [questions, answers, authorities, additionals].into_iter().enumerate() {
            out[4 + 2 * index..6 + 2 * index].copy_from_slice(&count.to_be_bytes());
        }
        let Some(dnssec_ok) = self.dnssec_ok else { return };
        out.push(0);
        out.extend_from_slice(&OPT_TYPE.to_be_bytes());
        out.extend_from_slice(&UDP_BYTES_MAX.to_be_bytes());
        out.push((code >> 4) as u8);
        out.push(0);
        out.extend_from_slice(&[if dnssec_ok { 0x80 } else { 0 }, 0]);
        out.extend_from_slice(&[0, 0]);
    }
}
