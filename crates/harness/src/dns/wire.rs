//! The wire format of RFC 1035 section 4, as far as the answers of dnsd need it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Data, Message, Record, RecordType};

/// Most compression pointers followed in one name; a loop has more.
const POINTERS_MAX: usize = 64;
/// Type number of the EDNS pseudo record (RFC 6891).
const OPT: u16 = 41;

/// A query with recursion not desired and EDNS for 1232 bytes.
pub(super) fn question(id: u16, name: &str, kind: RecordType) -> io::Result<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length));
        bytes.push(length.ok_or_else(|| malformed("a label of the question"))?);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&(kind as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    // OPT: root name, type, 1232 bytes of payload, no flags, no options.
    bytes.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    Ok(bytes)
}

/// Decodes an answer to the question with this id.
pub(super) fn parse(bytes: &[u8], id: u16) -> io::Result<Message> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.u16()? != id {
        return Err(malformed("the id of another question"));
    }
    let flags = reader.u16()?;
    if flags & 0x8000 == 0 {
        return Err(malformed("a question, not an answer"));
    }
    let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    for _ in 0..counts[0] {
        reader.name()?;
        reader.take(4)?;
    }
    let mut section = |count: u16| -> io::Result<Vec<Record>> {
        let records: Vec<Record> = (0..count).map(|_| reader.record()).collect::<io::Result<_>>()?;
        Ok(records.into_iter().filter(|record| record.kind != OPT).collect())
    };
    Ok(Message {
        rcode: (flags & 0xf) as u8,
        authoritative: flags & 0x0400 != 0,
        truncated: flags & 0x0200 != 0,
        answers: section(counts[1])?,
        authorities: section(counts[2])?,
        additionals: section(counts[3])?,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at + count).ok_or_else(|| malformed("cut short"))?;
        self.at += count;
        Ok(taken)
    }

    fn u8(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> io::Result<u16> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    fn name(&mut self) -> io::Result<String> {
        let mut labels = Vec::new();
        let mut resume = None;
        for _ in 0..POINTERS_MAX + 128 {
            let length = self.u8()?;
            match length {
                0 => {
                    self.at = resume.unwrap_or(self.at);
                    return Ok(labels.join("."));
                }
                1..=63 => labels.push(String::from_utf8_lossy(self.take(usize::from(length))?).into_owned()),
                192..=255 => {
                    let target = usize::from(length & 63) << 8 | usize::from(self.u8()?);
                    resume = resume.or(Some(self.at));
                    self.at = target;
                }
                _ => return Err(malformed("a label's length")),
            }
        }
        Err(malformed("a name without an end"))
    }

    fn record(&mut self) -> io::Result<Record> {
        let name = self.name()?;
        let kind = self.u16()?;
        self.u16()?;
        let ttl_s = self.u32()?;
        let length = usize::from(self.u16()?);
        let end = self.at + length;
        let data = self.data(kind, length)?;
        if self.at != end {
            return Err(malformed("a record whose length lies"));
        }
        Ok(Record { name, kind, ttl_s, data })
    }

    fn data(&mut self, kind: u16, length: usize) -> io::Result<Data> {
        const A: u16 = RecordType::A as u16;
        const AAAA: u16 = RecordType::Aaaa as u16;
        const NS: u16 = RecordType::Ns as u16;
        const SOA: u16 = RecordType::Soa as u16;
        const TXT: u16 = RecordType::Txt as u16;
        const SRV: u16 = RecordType::Srv as u16;
        Ok(match kind {
            A => Data::Address(IpAddr::V4(Ipv4Addr::from(self.u32()?))),
            AAAA => {
                let octets: [u8; 16] = self.take(16)?.try_into().map_err(io::Error::other)?;
                Data::Address(IpAddr::V6(Ipv6Addr::from(octets)))
            }
            NS => Data::Ns(self.name()?),
            SOA => {
                self.name()?;
                self.name()?;
                let serial = self.u32()?;
                self.take(12)?;
                Data::Soa { serial, minimum_s: self.u32()? }
            }
            TXT => {
                let end = self.at + length;
                let mut text = String::new();
                while self.at < end {
                    let part = self.u8()?;
                    text.push_str(&String::from_utf8_lossy(self.take(usize::from(part))?));
                }
                Data::Txt(text)
            }
            SRV => Data::Srv {
                priority: self.u16()?,
                weight: self.u16()?,
                port: self.u16()?,
                target: self.name()?,
            },
            _ => Data::Other(self.take(length)?.to_vec()),
        })
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed DNS message: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to `master.d` SRV with its address, names compressed.
    fn answer() -> Vec<u8> {
        let mut bytes = vec![0, 7, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 1];
        bytes.extend_from_slice(b"\x06master\x01d\x00\x00\x21\x00\x01");
        bytes.extend_from_slice(
            b"\xc0\x0c\x00\x21\x00\x01\x00\x00\x00\x05\x00\x08\x00\x0a\x00\x64\x18\xeb\xc0\x0c",
        );
        bytes.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x0a\x00\x00\x04");
        bytes
    }

    #[test]
    fn a_service_is_found_with_its_address() {
        let message = parse(&answer(), 7).expect("well formed");
        assert!(message.authoritative && !message.truncated && message.rcode == 0);
        let target = "master.d".to_owned();
        assert_eq!(message.data(), [Data::Srv { priority: 10, weight: 100, port: 6379, target }]);
        assert_eq!(message.service(), Some("10.0.0.4:6379".parse().expect("an address")));
    }

    #[test]
    fn cut_and_looping_messages_are_errors() {
        let whole = answer();
        for length in 0..whole.len() {
            assert!(parse(&whole[..length], 7).is_err(), "cut at {length}");
        }
        let mut looping = whole;
        looping[12..14].copy_from_slice(b"\xc0\x0c");
        assert!(parse(&looping, 7).is_err());
    }

    #[test]
    fn a_question_with_an_empty_label_is_refused() {
        assert!(question(1, "a..b", RecordType::A).is_err());
    }
}
