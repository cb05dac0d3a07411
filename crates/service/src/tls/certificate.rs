//! What is read from a certificate beyond its validity: who it is for, and until when (RFC 5280 section 4.1).
//!
//! rustls judges certificates and keeps to itself what is in them. The library that parses all of X.509 is as
//! large as a daemon's own code, and two fields are wanted of certificates that were judged before: so the DER is
//! walked by hand, with every length checked, and whatever is unusual reads as absent.

use tokio_rustls::rustls::pki_types::CertificateDer;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, in front of the other fields.
const EXPLICIT_0: u8 = 0xa0;
/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// The two fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The subject's common name, if it has exactly one that is plain text.
    pub common_name: Option<String>,
    /// The end of its validity, in seconds since 1970.
    pub not_after_unix_s: u64,
}

impl Certificate {
    /// Reads them.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (whole, _) = expect(certificate, SEQUENCE)?;
        let (mut fields, _) = expect(whole, SEQUENCE)?;
        if fields.first() == Some(&EXPLICIT_0) {
            (_, _, fields) = element(fields)?;
        }
        // Serial number, signature algorithm, issuer.
        for _ in 0..3 {
            (_, _, fields) = element(fields)?;
        }
        let (validity, fields) = expect(fields, SEQUENCE)?;
        let (_, _, until) = element(validity)?;
        let (tag, until, _) = element(until)?;
        let (subject, _) = expect(fields, SEQUENCE)?;
        Some(Self { common_name: common_name(subject), not_after_unix_s: time(tag, until)? })
    }
}

/// Tag, content and what comes after (X.690 section 8.1, definite lengths as DER has them).
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn expect(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|(tag, ..)| *tag == wanted).map(|(_, content, rest)| (content, rest))
}

fn common_name(mut names: &[u8]) -> Option<String> {
    let mut found = None;
    while !names.is_empty() {
        let (mut set, rest) = expect(names, SET)?;
        names = rest;
        while !set.is_empty() {
            let (attribute, rest) = expect(set, SEQUENCE)?;
            set = rest;
            let (kind, value) = expect(attribute, OBJECT_IDENTIFIER)?;
            if kind == COMMON_NAME {
                let (tag, text, _) = element(value)?;
                let text = [UTF8_STRING, PRINTABLE_STRING].contains(&tag).then_some(text)?;
                let text = std::str::from_utf8(text).ok().filter(|text| !text.contains(char::is_control))?;
                if text.is_empty() || found.replace(text.to_owned()).is_some() {
                    return None;
                }
            }
        }
    }
    found
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 || !rest.is_ascii() {
        return None;
    }
    let part = |index: usize| number(&rest[index * 2..index * 2 + 2]);
    let days = days_since_1970(year, part(0)?, part(1)?)?;
    Some(((days * 24 + part(2)?) * 60 + part(3)?) * 60 + part(4)?)
}

/// Days of the Gregorian calendar, counted by years that begin in March, so that leap days come last.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    // 1970-01-01 by the same count, and one because days are counted from 1.
    days.checked_sub(719_468 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "000229120000Z", Some(951_825_600)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "20240229235959Z", Some(1_709_251_199)),
            (GENERALIZED_TIME, "19691231235959Z", None),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "7001010000Z", None),
            (UTC_TIME, "70010100000aZ", None),
            (UTC_TIME, "700101000000", None),
            (0x04, "700101000000Z", None),
        ] {
            assert_eq!(time(tag, text.as_bytes()), expected, "{text}");
        }
    }

    fn certificate(common_names: &[&str]) -> CertificateDer<'static> {
        let mut parameters = rcgen::CertificateParams::new(vec!["host.example".to_owned()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "Ours");
        for name in common_names {
            parameters.distinguished_name.push(rcgen::DnType::CommonName, *name);
        }
        parameters.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        CertificateDer::from(parameters.self_signed(&key).unwrap().der().to_vec())
    }

    #[test]
    fn a_certificate_tells_who_it_is_for_and_until_when() {
        let read = Certificate::read(&certificate(&["observer.example"])).unwrap();
        assert_eq!(read.common_name.as_deref(), Some("observer.example"));
        assert_eq!(read.not_after_unix_s, 1_927_843_200);
        assert_eq!(
            Certificate::read(&certificate(&["Zoë ö"])).unwrap().common_name.as_deref(),
            Some("Zoë ö")
        );
        assert_eq!(Certificate::read(&certificate(&[])).unwrap().common_name, None);
    }

    #[test]
    fn nothing_that_is_cut_or_changed_is_a_fault_of_the_program() {
        let whole = certificate(&["observer.example"]);
        for length in 0..whole.len() {
            let _ = Certificate::read(&CertificateDer::from(whole[..length].to_vec()));
            let mut changed = whole.to_vec();
            changed[length] ^= 0xff;
            let _ = Certificate::read(&CertificateDer::from(changed));
        }
        assert_eq!(Certificate::read(&CertificateDer::from(Vec::new())), None);
    }
}
