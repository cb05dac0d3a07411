//! The answers of one publication, asked for without sockets: what every kind of packet gets, and that
//! the two paths to an answer agree.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use dnsd::answer::{Outcome, Transport, answer, answer_fast, answer_slow};
use dnsd::directory::{Directory, Slot};
use dnsd::publication::Publication;
use dnsd::zone::{Members, Stamp, ZoneSettings, build};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use proptest::prelude::*;
use topology::{Document, NodeName};

const CLIENT: &str = "127.0.0.1:4711";

fn settings() -> ZoneSettings {
    ZoneSettings {
        cluster: "redis-1".to_owned(),
        domain: Name::from_ascii("redis-1.docker.").unwrap(),
        ttl_s: 5,
        server_ips: vec!["127.0.0.1".parse().unwrap()],
    }
}

fn publication(document: &str, addresses: &[(&str, &[&str])], serial: u32) -> Publication {
    let document = Document::parse(document.as_bytes(), 100).unwrap().document;
    let resolved: BTreeMap<NodeName, Result<Vec<SocketAddr>, _>> = document
        .nodes()
        .map(|node| {
            let found = addresses
                .iter()
                .find(|(name, _)| *name == node.to_string())
                .unwrap_or_else(|| panic!("no address for {node}"));
            (node.clone(), Ok(found.1.iter().map(|text| text.parse().unwrap()).collect()))
        })
        .collect();
    let members = Members::new(&document, &resolved).unwrap();
    let stamp = Stamp { revision: 12, generation: 3, since: 1_795_256_100 };
    let zone = build(&settings(), &members, stamp);
    Publication::new(&Arc::new(settings()), document, members, stamp, serial, zone).unwrap()
}

fn usual() -> Publication {
    publication(
        r#"{"master": {"address": "core-01.redis-1.docker"},
            "slaves": [{"address": "core-02.redis-1.docker"}, {"address": "10.0.0.3", "port": 6380}]}"#,
        &[
            ("core-01.redis-1.docker", &["10.0.0.1:6379"]),
            ("core-02.redis-1.docker", &["10.0.0.2:6379", "[2001:db8::2]:6379"]),
            ("10.0.0.3:6380", &["10.0.0.3:6380"]),
        ],
        77,
    )
}

fn many(count: usize) -> Publication {
    let slaves: Vec<String> =
        (0..count).map(|index| format!(r#"{{"address": "10.0.1.{index}", "port": 6379}}"#)).collect();
    let names: Vec<String> = (0..count).map(|index| format!("10.0.1.{index}:6379")).collect();
    let mut addresses: Vec<(&str, Vec<&str>)> =
        names.iter().map(|name| (name.as_str(), vec![name.as_str()])).collect();
    addresses.push(("10.0.0.1:6379", vec!["10.0.0.1:6379"]));
    let addresses: Vec<(&str, &[&str])> =
        addresses.iter().map(|(name, list)| (*name, list.as_slice())).collect();
    publication(
        &format!(
            r#"{{"master": {{"address": "10.0.0.1", "port": 6379}}, "slaves": [{}]}}"#,
            slaves.join(",")
        ),
        &addresses,
        78,
    )
}

fn directory(publication: Option<Publication>) -> Directory {
    let slot = Arc::new(Slot::new(settings()).unwrap());
    if let Some(publication) = publication {
        slot.publish(Arc::new(publication));
    }
    Directory::of(slot)
}

fn query(name: &str, record_type: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message
}

fn with_edns(mut message: Message, payload: u16, dnssec_ok: bool) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    edns.set_dnssec_ok(dnssec_ok);
    message.set_edns(edns);
    message
}

fn ask_bytes(directory: &Directory, packet: &[u8], transport: Transport) -> Option<(Outcome, Vec<u8>)> {
    let mut out = Vec::new();
    let outcome = answer(directory, packet, CLIENT.parse().unwrap(), transport, &mut out)?;
    Some((outcome, out))
}

fn ask(directory: &Directory, message: &Message) -> Message {
    let (_, bytes) = ask_bytes(directory, &message.to_vec().unwrap(), Transport::Udp).unwrap();
    Message::from_vec(&bytes).unwrap()
}

/// Answers as `type data` lines, in order.
fn lines(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| format!("{} {}", record.record_type(), record.data)).collect()
}

fn additionals(message: &Message) -> Vec<String> {
    message.additionals.iter().map(|record| format!("{} {}", record.name, record.data)).collect()
}

#[test]
fn master_and_its_alias() {
    let directory = directory(Some(usual()));
    for name in ["master.redis-1.docker.", "_redis._tcp.master.redis-1.docker."] {
        let answer = ask(&directory, &query(name, RecordType::SRV));
        assert_eq!(lines(&answer), ["SRV 10 100 6379 master.redis-1.docker."]);
        assert_eq!(additionals(&answer), ["master.redis-1.docker. 10.0.0.1"]);
        assert!(answer.authorities.is_empty(), "HAProxy 2.2 stumbles over an authority section");
        assert_eq!(answer.answers[0].ttl, 5);
        assert!(answer.metadata.authoritative && answer.metadata.recursion_desired);
        assert!(!answer.metadata.recursion_available && !answer.metadata.truncation);
        assert_eq!(answer.metadata.id, 0x1234);
    }
    let answer = ask(&directory, &query("master.redis-1.docker.", RecordType::A));
    assert_eq!(lines(&answer), ["A 10.0.0.1"]);
    let answer = ask(&directory, &query("master.redis-1.docker.", RecordType::TXT));
    let text = lines(&answer).concat();
    for part in ["revision=12", "generation=3", "since=2026-11-21T10:15:00Z"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn slaves_share_the_weight_and_bring_all_their_addresses() {
    let directory = directory(Some(usual()));
    for name in ["slaves.redis-1.docker.", "_redis._tcp.slaves.redis-1.docker."] {
        let answer = ask(&directory, &query(name, RecordType::SRV));
        assert_eq!(
            lines(&answer),
            [
                "SRV 10 50 6380 ip-10-0-0-3.slaves.redis-1.docker.",
                "SRV 10 50 6379 core-02.slaves.redis-1.docker."
            ]
        );
        assert_eq!(
            additionals(&answer),
            [
                "ip-10-0-0-3.slaves.redis-1.docker. 10.0.0.3",
                "core-02.slaves.redis-1.docker. 10.0.0.2",
                "core-02.slaves.redis-1.docker. 2001:db8::2"
            ]
        );
    }
    let answer = ask(&directory, &query("slaves.redis-1.docker.", RecordType::A));
    assert_eq!(lines(&answer), ["A 10.0.0.3", "A 10.0.0.2"]);
    let answer = ask(&directory, &query("core-02.slaves.redis-1.docker.", RecordType::SRV));
    assert_eq!(lines(&answer), ["SRV 10 100 6379 core-02.slaves.redis-1.docker."]);
}

#[test]
fn own_names_of_the_document_and_the_apex() {
    let directory = directory(Some(usual()));
    let answer = ask(&directory, &query("core-01.redis-1.docker.", RecordType::SRV));
    assert_eq!(lines(&answer), ["SRV 10 100 6379 core-01.redis-1.docker."]);
    assert_eq!(additionals(&answer), ["core-01.redis-1.docker. 10.0.0.1"]);
    let answer = ask(&directory, &query("redis-1.docker.", RecordType::NS));
    assert_eq!(lines(&answer), ["NS ns.redis-1.docker."]);
    assert_eq!(additionals(&answer), ["ns.redis-1.docker. 127.0.0.1"]);
    let answer = ask(&directory, &query("redis-1.docker.", RecordType::SOA));
    assert!(lines(&answer)[0].contains(" 77 "), "{answer:?}");
}

#[test]
fn nothing_there_is_told_with_the_soa_and_kept_briefly() {
    let directory = directory(Some(usual()));
    for (name, record_type, code) in [
        ("master.redis-1.docker.", RecordType::MX, ResponseCode::NoError),
        ("_tcp.master.redis-1.docker.", RecordType::SRV, ResponseCode::NoError),
        ("core-09.slaves.redis-1.docker.", RecordType::A, ResponseCode::NXDomain),
        ("x.master.redis-1.docker.", RecordType::A, ResponseCode::NXDomain),
    ] {
        let answer = ask(&directory, &query(name, record_type));
        assert_eq!(answer.metadata.response_code, code, "{name}");
        assert!(answer.answers.is_empty() && answer.metadata.authoritative, "{name}");
        let soa = &answer.authorities[0];
        assert_eq!(soa.name, Name::from_ascii("redis-1.docker.").unwrap(), "{name}");
        let RData::SOA(data) = &soa.data else { panic!("{soa}") };
        assert!(soa.ttl <= 5 && data.minimum <= 5 && data.serial == 77, "{soa}");
    }
}

#[test]
fn no_slaves_are_nodata_not_a_missing_name() {
    let lone = publication(
        r#"{"master": {"address": "10.0.0.1"}, "slaves": []}"#,
        &[("10.0.0.1", &["10.0.0.1:6379"])],
        1,
    );
    let directory = directory(Some(lone));
    for name in ["slaves.redis-1.docker.", "_redis._tcp.slaves.redis-1.docker."] {
        for record_type in [RecordType::SRV, RecordType::A] {
            let answer = ask(&directory, &query(name, record_type));
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
            assert!(answer.answers.is_empty() && answer.authorities.len() == 1, "{name}");
        }
    }
}

#[test]
fn before_the_first_publication_and_outside_the_domain() {
    let empty = directory(None);
    let answer = ask(&empty, &query("master.redis-1.docker.", RecordType::SRV));
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    for directory in [empty, directory(Some(usual()))] {
        for name in ["example.com.", "docker.", ".", "xredis-1.docker."] {
            let answer = ask(&directory, &with_edns(query(name, RecordType::A), 1232, false));
            assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{name}");
            assert!(!answer.metadata.authoritative && answer.edns.is_some(), "{name}");
        }
    }
}

#[test]
fn letters_come_back_as_they_were_written() {
    let directory = directory(Some(usual()));
    for name in ["MaStEr.ReDiS-1.dOcKeR.", "NoSuch.ReDiS-1.dOcKeR."] {
        let packet = query(name, RecordType::SRV).to_vec().unwrap();
        let (_, answer) = ask_bytes(&directory, &packet, Transport::Udp).unwrap();
        assert_eq!(answer[12..packet.len()], packet[12..], "{name}");
    }
}

#[test]
fn what_does_not_fit_is_cut_whole() {
    let directory = directory(Some(many(50)));
    let name = "slaves.redis-1.docker.";
    // 50 SRV records of 40 bytes fit neither 512 nor 1232: TC, question and OPT, nothing else.
    for message in [query(name, RecordType::SRV), with_edns(query(name, RecordType::SRV), 65535, true)] {
        let answer = ask(&directory, &message);
        assert!(answer.metadata.truncation);
        assert_eq!((answer.queries.len(), answer.answers.len(), answer.additionals.len()), (1, 0, 0));
        assert_eq!(answer.edns.is_some(), message.edns.is_some());
    }
    let packet = query(name, RecordType::SRV).to_vec().unwrap();
    let (_, bytes) = ask_bytes(&directory, &packet, Transport::Tcp).unwrap();
    let answer = Message::from_vec(&bytes).unwrap();
    assert!(!answer.metadata.truncation);
    assert_eq!((answer.answers.len(), answer.additionals.len()), (50, 50));
    // Answers fit, not all of their addresses do: no TC, for the others can be asked for.
    let directory = self::directory(Some(many(20)));
    let message = with_edns(query(name, RecordType::SRV), 4096, false);
    let (_, bytes) = ask_bytes(&directory, &message.to_vec().unwrap(), Transport::Udp).unwrap();
    let answer = Message::from_vec(&bytes).unwrap();
    assert!(!answer.metadata.truncation);
    assert_eq!(answer.answers.len(), 20);
    assert!((1..20).contains(&answer.additionals.len()), "{}", answer.additionals.len());
    // The next address, a pointer and 14 bytes, would not have fitted.
    assert!(bytes.len() <= 1232 && bytes.len() + 16 > 1232, "{}", bytes.len());
    assert!(answer.edns.is_some(), "the OPT record is never what is cut");
}

/// Every size a client may have room for: never more than that, TC exactly when the answers do not fit, the
/// addresses in order and as many as there is room for, and an OPT record whatever else is cut.
#[test]
fn every_room_is_used_and_none_exceeded() {
    let directory = directory(Some(many(12)));
    let name = "slaves.redis-1.docker.";
    let packet = |payload| with_edns(query(name, RecordType::SRV), payload, false).to_vec().unwrap();
    let answered = |transport, payload| ask_bytes(&directory, &packet(payload), transport).unwrap().1;
    let whole = Message::from_vec(&answered(Transport::Tcp, 512)).unwrap();
    assert_eq!((whole.answers.len(), whole.additionals.len()), (12, 12));
    let mut last = 0;
    for payload in 500..=1300 {
        let bytes = answered(Transport::Udp, payload);
        let mut slow = Vec::new();
        answer_slow(&directory, &packet(payload), CLIENT.parse().unwrap(), Transport::Udp, &mut slow);
        assert_eq!(bytes, slow, "{payload}");
        assert!(bytes.len() <= usize::from(payload.clamp(512, 1232)), "{payload}");
        let answer = Message::from_vec(&bytes).unwrap();
        assert!(answer.edns.is_some(), "{payload}");
        if answer.metadata.truncation {
            assert_eq!((answer.answers.len(), answer.additionals.len()), (0, 0));
            assert_eq!(last, 0, "{payload}: what fitted into less fits");
            continue;
        }
        assert_eq!(answer.answers, whole.answers);
        assert!(whole.additionals.starts_with(&answer.additionals), "{payload}");
        assert!(bytes.len() >= last, "{payload}");
        last = bytes.len();
    }
    let at_most = Message::from_vec(&answered(Transport::Udp, 1232)).unwrap();
    assert_eq!(at_most.additionals.len(), 12);
}

/// A client above the rate limit is sent to TCP, with nothing that would be worth forging a sender for.
#[test]
fn above_the_limit_an_answer_is_no_larger_than_its_query() {
    let directory = directory(Some(usual()));
    for (name, record_type, code) in [
        ("slaves.redis-1.docker.", RecordType::SRV, ResponseCode::NoError),
        ("master.redis-1.docker.", RecordType::MX, ResponseCode::NoError),
        ("nobody.redis-1.docker.", RecordType::A, ResponseCode::NXDomain),
        ("example.", RecordType::A, ResponseCode::Refused),
    ] {
        let packet = with_edns(query(name, record_type), 1232, false).to_vec().unwrap();
        let (_, bytes) = ask_bytes(&directory, &packet, Transport::UdpCut).unwrap();
        assert!(bytes.len() <= packet.len(), "{name}");
        let answer = Message::from_vec(&bytes).unwrap();
        assert_eq!(answer.metadata.response_code, code, "{name}");
        assert_eq!(answer.metadata.truncation, code != ResponseCode::Refused, "{name}");
        assert!(answer.edns.is_some() && answer.authorities.is_empty());
    }
}

#[test]
fn edns_is_answered_with_edns_of_our_own() {
    let directory = directory(Some(usual()));
    for (payload, dnssec_ok) in [(0, false), (512, true), (1232, false), (65535, true)] {
        let message = with_edns(query("master.redis-1.docker.", RecordType::SRV), payload, dnssec_ok);
        let answer = ask(&directory, &message);
        let edns = answer.edns.expect("OPT in, OPT out");
        assert_eq!(edns.max_payload(), 1232);
        assert_eq!(edns.flags().dnssec_ok, dnssec_ok);
        assert_eq!(edns.flags().z, 0);
        assert!(edns.options().as_ref().is_empty());
    }
    let answer = ask(&directory, &query("master.redis-1.docker.", RecordType::SRV));
    assert!(answer.edns.is_none());
}

/// The table of odd packets: what each of them gets.
#[test]
fn odd_packets() {
    let directory = directory(Some(usual()));
    let plain = query("master.redis-1.docker.", RecordType::SRV);
    let base = plain.to_vec().unwrap();
    let patched = |changes: &[(usize, u8)]| {
        let mut packet = base.clone();
        for &(at, byte) in changes {
            packet[at] = byte;
        }
        packet
    };
    let opt = |version: u8| vec![0, 0, 41, 4, 208, 0, version, 0, 0, 0, 0];
    let appended = |records: &[Vec<u8>]| {
        let mut packet = patched(&[(11, u8::try_from(records.len()).unwrap())]);
        packet.extend(records.concat());
        packet
    };
    let typed = |kind: RecordType| query("master.redis-1.docker.", kind).to_vec().unwrap();
    let classed = |class: DNSClass| {
        let mut message = plain.clone();
        message.queries[0].set_query_class(class);
        message.to_vec().unwrap()
    };
    let header_only = |opcode: u8| vec![1, 2, opcode << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut loop_packet = base[..12].to_vec();
    loop_packet.extend([0xc0, 12, 0, 33, 0, 1]);
    let mut long_label = base[..12].to_vec();
    long_label.push(64);
    long_label.extend([b'a'; 64]);
    long_label.extend([0, 0, 33, 0, 1]);
    let mut two_questions = patched(&[(5, 2)]);
    two_questions.extend_from_within(12..);
    let none = None;
    let code = |code: ResponseCode| Some(u16::from(code));
    let cases: Vec<(&str, Vec<u8>, Option<u16>)> = vec![
        ("0 bytes", vec![], none),
        ("11 bytes", base[..11].to_vec(), none),
        ("QR=1", patched(&[(2, 0x81)]), none),
        ("QR=1 and broken", vec![1, 2, 0x80, 0, 0, 9, 0, 0, 0, 0, 0, 0], none),
        ("QDCOUNT 0", header_only(0), code(ResponseCode::FormErr)),
        ("QDCOUNT 2", two_questions, code(ResponseCode::FormErr)),
        ("cut in the question", base[..20].to_vec(), code(ResponseCode::FormErr)),
        ("compression loop", loop_packet, code(ResponseCode::FormErr)),
        ("label of 64", long_label, code(ResponseCode::FormErr)),
        ("opcode 15, header only", header_only(15), code(ResponseCode::NotImp)),
        ("STATUS", patched(&[(2, 2 << 3)]), code(ResponseCode::NotImp)),
        ("NOTIFY", patched(&[(2, 4 << 3)]), code(ResponseCode::NotImp)),
        ("UPDATE", patched(&[(2, 5 << 3)]), code(ResponseCode::NotImp)),
        ("class CH", classed(DNSClass::CH), code(ResponseCode::Refused)),
        ("class ANY", classed(DNSClass::ANY), code(ResponseCode::Refused)),
        ("OPT version 1", appended(&[opt(1)]), code(ResponseCode::BADVERS)),
        ("two OPT", appended(&[opt(0), opt(0)]), code(ResponseCode::FormErr)),
        ("AXFR", typed(RecordType::AXFR), code(ResponseCode::Refused)),
        ("IXFR", typed(RecordType::IXFR), code(ResponseCode::Refused)),
        ("ANY", typed(RecordType::ANY), code(ResponseCode::NoError)),
        ("type 1000", typed(RecordType::Unknown(1000)), code(ResponseCode::NoError)),
        ("Z bit", patched(&[(3, 0x40)]), code(ResponseCode::NoError)),
        ("trailing bytes", [base.clone(), vec![0; 9]].concat(), code(ResponseCode::NoError)),
    ];
    for (name, packet, expected) in cases {
        for transport in [Transport::Udp, Transport::Tcp] {
            let answered = ask_bytes(&directory, &packet, transport);
            assert_eq!(answered.as_ref().map(|(outcome, _)| outcome.rcode), expected, "{name}");
            let Some((outcome, bytes)) = answered else { continue };
            assert_eq!(bytes[..2], packet[..2], "{name}: id");
            assert_eq!(bytes[2] & 0xf8, 0x80 | packet[2] & 0x78, "{name}: QR and opcode");
            assert_eq!(bytes[3] & 0xf0, 0, "{name}: RA, Z, AD, CD are never set");
            assert_eq!(u16::from(bytes[3] & 0x0f), outcome.rcode & 0x0f, "{name}");
            assert!(Message::from_vec(&bytes).is_ok(), "{name}");
        }
    }
    let (_, bytes) = ask_bytes(&directory, &typed(RecordType::ANY), Transport::Udp).unwrap();
    assert_eq!(Message::from_vec(&bytes).unwrap().answers.len(), 1, "ANY: one set (RFC 8482)");
    let (_, bytes) = ask_bytes(&directory, &appended(&[opt(1)]), Transport::Udp).unwrap();
    assert_eq!(Message::from_vec(&bytes).unwrap().edns.unwrap().version(), 0, "BADVERS says which we speak");
}

#[test]
fn the_order_of_slaves_changes_nothing() {
    let addresses: &[(&str, &[&str])] =
        &[("a", &["10.0.0.1:6379"]), ("b", &["10.0.0.2:6379", "10.0.0.9:6379"]), ("c", &["10.0.0.3:6379"])];
    let one = publication(
        r#"{"master": {"address": "a"}, "slaves": [{"address": "b"}, {"address": "c"}]}"#,
        addresses,
        1,
    );
    let other = publication(
        r#"{"slaves": [{"address": "c"}, {"address": "b"}], "master": {"address": "a"}}"#,
        addresses,
        1,
    );
    assert_eq!(one.records().unwrap(), other.records().unwrap());
    assert_eq!(one.all_records(), other.all_records());
}

/// Only bytes are kept; what is read back from them is what they were made of.
#[test]
fn the_records_can_be_read_back() {
    for publication in [usual(), many(0), many(1), many(50)] {
        let zone = build(&settings(), &publication.members, publication.stamp);
        assert!(publication.has_same_content(&zone.records));
        let mut records = publication.records().unwrap();
        let apex = records.get_mut(&settings().domain).unwrap();
        assert_eq!(apex.remove(&RecordType::SOA).unwrap().data, [publication.soa().data]);
        assert_eq!(records, zone.records);
        assert_eq!(publication.all_records().len(), 1 + rr_count(&records));
        records.remove(&Name::from_ascii("master.redis-1.docker.").unwrap()).unwrap();
        assert!(!publication.has_same_content(&records));
    }
}

fn rr_count(records: &dnsd::zone::Records) -> usize {
    records.values().flat_map(BTreeMap::values).map(|set| set.data.len()).sum()
}

fn names() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "master.redis-1.docker.",
        "slaves.redis-1.docker.",
        "_redis._tcp.master.redis-1.docker.",
        "_redis._tcp.slaves.redis-1.docker.",
        "_tcp.slaves.redis-1.docker.",
        "core-02.slaves.redis-1.docker.",
        "core-01.redis-1.docker.",
        "ip-10-0-1-7.slaves.redis-1.docker.",
        "redis-1.docker.",
        "ns.redis-1.docker.",
        "docker.",
        ".",
    ]);
    let mixed = (known, any::<u64>()).prop_map(|(name, mask)| {
        name.char_indices()
            .map(|(at, letter)| if mask >> (at % 64) & 1 == 1 { letter.to_ascii_uppercase() } else { letter })
            .collect()
    });
    prop_oneof![
        8 => mixed,
        1 => "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.redis-1\\.docker\\.",
        1 => "([a-z0-9_]{1,20}\\.){1,4}",
        1 => Just(format!("{}.redis-1.docker.", ["a".repeat(60), "b".repeat(60), "c".repeat(60)].join("."))),
    ]
}

fn packets() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![
        4 => prop::sample::select(vec![1_u16, 2, 5, 6, 12, 16, 28, 33, 41, 251, 252, 255, 257]),
        1 => any::<u16>(),
    ];
    // Any room, and often one in which some of an answer fits.
    let payloads = prop_oneof![any::<u16>(), 480..1300_u16];
    let edns = prop::option::of((payloads, any::<bool>(), prop::bool::weighted(0.2)));
    (names(), kinds, edns, any::<u16>(), any::<[bool; 3]>()).prop_map(|(name, kind, edns, id, bits)| {
        let mut message = query(&name, RecordType::from(kind));
        message.metadata.id = id;
        message.metadata.recursion_desired = bits[0];
        message.metadata.checking_disabled = bits[1];
        message.metadata.authentic_data = bits[2];
        if let Some((payload, dnssec_ok, cookie)) = edns {
            message = with_edns(message, payload, dnssec_ok);
            if cookie {
                let cookie = hickory_proto::rr::rdata::opt::EdnsOption::Unknown(10, vec![7; 8]);
                message.edns.as_mut().unwrap().options_mut().insert(cookie);
            }
        }
        message.to_vec().unwrap()
    })
}

static DIRECTORIES: LazyLock<[Directory; 5]> = LazyLock::new(|| {
    let [none, small, medium, large] = [None, Some(usual()), Some(many(20)), Some(many(50))].map(directory);
    // The same zone among others.
    let below = Directory::below(&Name::from_ascii("docker.").unwrap()).unwrap();
    let slot = Arc::new(Slot::new(settings()).unwrap());
    slot.publish(Arc::new(usual()));
    below.add(&slot);
    [none, small, medium, large, below]
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What the fast path takes, both answer alike, to the byte; and what is sent is sound.
    #[test]
    fn both_paths_agree(
        packet in packets(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        flipped in prop::bool::weighted(0.3),
        which in 0..5_usize,
        transport in prop::sample::select(vec![Transport::Udp, Transport::Tcp, Transport::UdpCut]),
    ) {
        let mut packet = packet;
        if flipped {
            for (index, byte) in flips {
                let at = index.index(packet.len());
                packet[at] = byte;
            }
        }
        let directory = &DIRECTORIES[which];
        let (mut fast, mut slow) = (Vec::new(), Vec::new());
        let by_fast = answer_fast(directory, &packet, transport, &mut fast);
        let by_slow = answer_slow(directory, &packet, CLIENT.parse().unwrap(), transport, &mut slow);
        if by_fast.is_some() {
            prop_assert_eq!(by_fast, by_slow);
            prop_assert_eq!(&fast, &slow);
        }
        if by_slow.is_some() {
            prop_assert!(transport == Transport::Tcp || slow.len() <= 1232);
            let message = Message::from_vec(&slow);
            prop_assert!(message.is_ok(), "{:?}", message);
            prop_assert_eq!(message.unwrap().metadata.op_code, OpCode::from_u8(packet[2] >> 3 & 15));
        }
    }

    /// Noise never makes it fall over, and never gets an answer if it claims to be one.
    #[test]
    fn noise(packet in prop::collection::vec(any::<u8>(), 0..200)) {
        let directory = directory(Some(usual()));
        let answered = ask_bytes(&directory, &packet, Transport::Udp);
        if packet.len() < 12 || packet[2] & 0x80 != 0 {
            prop_assert!(answered.is_none());
        } else {
            prop_assert!(answered.is_some());
        }
    }
}
