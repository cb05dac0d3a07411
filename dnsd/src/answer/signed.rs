//! Requests that are signed, and answers signed in return (TSIG, RFC 8945).
//!
//! hickory computes and compares the codes and knows what they are computed of; here is what it leaves to a
//! server: which key, whether the time fits, what is said when something does not, and the chain of codes
//! over the messages of a transfer (section 5.3.1), of which we sign each.
//!
//! Whatever is signed with a key of ours is answered signed, also "no such name"; a secondary that has a key
//! uses it to ask for the serial as well. Shortened codes are not taken, as section 5.2.2.1 permits. That a key's
//! messages come in the order of their times is not insisted on: one key serves several secondaries.

use std::fmt;

use hickory_proto::ProtoError;
use hickory_proto::rr::rdata::TSIG;
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError, make_tsig_record, signed_bitmessage_to_buf};
use hickory_proto::rr::{DNSClass, Name, Record, TSigner};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::reply::rcode;
use crate::keys::Transfers;

/// Where the identifier, the flags and the number of additional records stand in a message.
const ID: std::ops::Range<usize> = 0..2;
const FLAGS: std::ops::Range<usize> = 2..4;
const ADDITIONAL_COUNT: std::ops::Range<usize> = 10..12;

/// What becomes of a message's signature.
pub(super) enum Judged {
    /// It has none.
    Unsigned,
    /// It is by this key, and the answer is to be signed.
    By(Signing),
    /// It is none of ours. The answer has the response code alone, and perhaps a record that says why.
    Wrong(u16, Option<Signing>),
}

/// Signs the answer, or the answers, to one request.
#[derive(Clone)]
pub(super) struct Signing {
    key: Option<TSigner>,
    name: Name,
    /// What the record says, the code apart.
    stub: TSIG,
    /// The code of the message before: of the request, then of each answer.
    previous: Vec<u8>,
    is_first: bool,
}

impl fmt::Debug for Signing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signing").field("key", &self.name).finish_non_exhaustive()
    }
}

impl Signing {
    /// The name of the key that the request was signed with.
    pub(super) fn key_name(&self) -> &Name {
        &self.name
    }

    /// How much longer a signature makes an answer, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let code_bytes = if self.key.is_some() { code_bytes(&self.stub.algorithm) } else { 0 };
        self.record(vec![0; code_bytes]).map_or(0, |bytes| bytes.len())
    }

    /// Adds the record with the signature to an answer. Each call signs the next message of one chain.
    ///
    /// # Errors
    /// [`ProtoError`], which does not happen to a message that was encoded here.
    pub(super) fn sign(&mut self, message: &mut Vec<u8>) -> Result<(), ProtoError> {
        let code = match &self.key {
            None => Vec::new(),
            Some(key) => {
                // What is signed is the message as its asker will see it: under the identifier that it chose,
                // whatever a forwarder made of that.
                let mut plain = message.clone();
                plain[ID].copy_from_slice(&self.stub.oid.to_be_bytes());
                let signed = self.signed_bytes(key, &plain)?;
                key.sign(&signed).map_err(|error| ProtoError::Msg(error.to_string()))?
            }
        };
        message.extend_from_slice(&self.record(code.clone())?);
        let count =
            u16::from_be_bytes([message[ADDITIONAL_COUNT.start], message[ADDITIONAL_COUNT.start + 1]]);
        message[ADDITIONAL_COUNT].copy_from_slice(&(count + 1).to_be_bytes());
        self.previous = code;
        self.is_first = false;
        Ok(())
    }

    /// What the code of a message is computed of (RFC 8945 sections 4.3 and 5.3.1).
    fn signed_bytes(&self, key: &TSigner, message: &[u8]) -> Result<Vec<u8>, ProtoError> {
        if self.is_first {
            return key.encode_response_tbs(&self.previous, message, &self.stub);
        }
        let previous_bytes = (self.previous.len() as u16).to_be_bytes();
        // 48 bits of time.
        let time = &self.stub.time.to_be_bytes()[2..];
        Ok([&previous_bytes, &*self.previous, message, time, &self.stub.fudge.to_be_bytes()].concat())
    }

    fn record(&self, code: Vec<u8>) -> Result<Vec<u8>, ProtoError> {
        let record = make_tsig_record(self.name.clone(), self.stub.clone().set_mac(code));
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_name_encoding(NameEncoding::Uncompressed);
        record.emit(&mut encoder)?;
        Ok(bytes)
    }
}

/// Judges a request that was parsed: `signature` is what was found in it, and `packet` its bytes. In the order
/// of RFC 8945 section 5.2: key, code, time.
pub(super) fn judge(
    transfers: &Transfers,
    packet: &[u8],
    signature: Option<&Record<TSIG>>,
    now_s: u64,
) -> Judged {
    let Some(record) = signature else { return Judged::Unsigned };
    let tsig = &record.data;
    if record.dns_class != DNSClass::ANY || record.ttl != 0 {
        return Judged::Wrong(rcode::FORMERR, None);
    }
    let keys = transfers.keys();
    let key = keys.as_ref().and_then(|keys| keys.get(&record.name));
    let Some(key) = key.filter(|key| is_of(key, &tsig.algorithm)) else {
        return wrong(record, TsigError::BadKey);
    };
    if tsig.mac.len() != code_bytes(key.algorithm()) {
        return wrong(record, TsigError::BadTrunc);
    }
    if !is_signed_with(key, packet, &tsig.mac) {
        return wrong(record, TsigError::BadSig);
    }
    let mut signing = Signing {
        key: Some(key.clone()),
        name: key.signer_name().clone(),
        stub: TSIG::new(key.algorithm().clone(), now_s, key.fudge(), Vec::new(), tsig.oid, None, Vec::new()),
        previous: tsig.mac.clone(),
        is_first: true,
    };
    if now_s.abs_diff(tsig.time) <= u64::from(tsig.fudge) {
        return Judged::By(signing);
    }
    // In the client's time, so that it can believe this answer, with ours beside it (section 5.2.3).
    signing.stub.time = tsig.time;
    signing.stub.fudge = tsig.fudge;
    signing.stub.error = Some(TsigError::BadTime);
    signing.stub.other = now_s.to_be_bytes()[2..].to_vec();
    Judged::Wrong(rcode::NOTAUTH, Some(signing))
}

/// The answer to somebody who has shown no key: not signed (RFC 8945 section 5.3.2), and as he wrote it.
fn wrong(record: &Record<TSIG>, error: TsigError) -> Judged {
    let tsig = &record.data;
    let stub = TSIG::new(
        tsig.algorithm.clone(),
        tsig.time,
        tsig.fudge,
        Vec::new(),
        tsig.oid,
        Some(error),
        Vec::new(),
    );
    let signing =
        Signing { key: None, name: record.name.clone(), stub, previous: Vec::new(), is_first: true };
    Judged::Wrong(rcode::NOTAUTH, Some(signing))
}

/// Names of algorithms are names: letters are letters.
fn is_of(key: &TSigner, algorithm: &TsigAlgorithm) -> bool {
    algorithm.to_name().to_lowercase() == key.algorithm().to_name()
}

fn is_signed_with(key: &TSigner, packet: &[u8], code: &[u8]) -> bool {
    let Ok((mut signed, _)) = signed_bitmessage_to_buf(packet, None, true) else { return false };
    // hickory writes the header anew from what it knows of it; the client signed its own, reserved bit and all.
    let (Some(flags), Some(own)) = (signed.get_mut(FLAGS), packet.get(FLAGS)) else { return false };
    flags.copy_from_slice(own);
    key.verify(&signed, code).is_ok()
}

/// Length of an algorithm's code, in bytes.
fn code_bytes(algorithm: &TsigAlgorithm) -> usize {
    match algorithm {
        TsigAlgorithm::HmacSha256 => 32,
        TsigAlgorithm::HmacSha384 => 48,
        TsigAlgorithm::HmacSha512 => 64,
        // There are no keys of others.
        _ => 0,
    }
}
