//! The zone as a whole: who gets it, what is in it, and how secondaries learn that it has changed.
#![allow(missing_docs)]

#[path = "../../crates/resolve/tests/support/mod.rs"]
mod name_server;
mod support;

use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use name_server::Script;
use support::{Dnsd, config, query, transfer, wait_until};
use tokio::net::UdpSocket;
use tokio::time::timeout;

const DOMAIN: &str = "redis-1.docker.";
const SMALL: &str = r#"{"master": {"address": "10.0.0.1"}, "slaves": [{"address": "10.0.0.2"}]}"#;
const SMALL_AFTER: &str = r#"{"master": {"address": "10.0.0.2"}, "slaves": [{"address": "10.0.0.1"}]}"#;
const DEADLINE: Duration = Duration::from_secs(10);

async fn start(settings: &[&str]) -> (Dnsd, tempfile::TempDir) {
    let (names, folder) = (Script::default().serve().await, tempfile::tempdir().unwrap());
    (Dnsd::start(config(folder.path(), names.address, settings)).await, folder)
}

/// 200 slaves: a zone of more than one message.
fn large() -> String {
    let slaves: Vec<String> = (1..=200).map(|last| format!(r#"{{"address": "10.0.1.{last}"}}"#)).collect();
    format!(r#"{{"master": {{"address": "10.0.0.1"}}, "slaves": [{}]}}"#, slaves.join(","))
}

fn serial(record: &Record) -> u32 {
    match &record.data {
        RData::SOA(soa) => soa.serial,
        other => panic!("{other} is no SOA record"),
    }
}

/// An IXFR query that says which serial is known.
fn ixfr(serial: u32) -> Vec<u8> {
    let mut message = Message::from_vec(&query(DOMAIN, RecordType::IXFR)).unwrap();
    let name = Name::from_ascii(DOMAIN).unwrap();
    let soa = SOA::new(name.clone(), name.clone(), serial, 1, 1, 1, 1);
    message.add_authority(Record::from_rdata(name, 0, RData::SOA(soa)));
    message.to_vec().unwrap()
}

fn code(messages: &[Message]) -> ResponseCode {
    messages[0].metadata.response_code
}

#[tokio::test]
async fn a_transfer_is_the_zone_and_nothing_else() {
    let (dnsd, _folder) = start(&["--transfer-to", "10.0.0.0/8,127.0.0.1"]).await;
    let axfr = query(DOMAIN, RecordType::AXFR);
    assert_eq!(code(&transfer(dnsd.dns, &axfr).await), ResponseCode::ServFail, "nothing is published yet");
    for document in [SMALL.to_owned(), large()] {
        assert_eq!(dnsd.put(&document, &[]).await.status, 200);
        let shown = dnsd.get("/dns").await.json();
        let messages = transfer(dnsd.dns, &axfr).await;
        assert_eq!(messages.len() > 1, document.len() > SMALL.len(), "{} messages", messages.len());
        assert_eq!((messages[0].queries.len(), messages[0].metadata.authoritative), (1, true));
        let records: Vec<Record> = messages.into_iter().flat_map(|message| message.answers).collect();
        let (last, rest) = records.split_last().unwrap();
        assert_eq!((&rest[0], u64::from(serial(last))), (last, shown["serial"].as_u64().unwrap()));
        let told: Vec<String> = rest
            .iter()
            .map(|record| {
                format!("{} {}", record.name.to_ascii().trim_end_matches('.'), record.record_type())
            })
            .collect();
        let expected: Vec<String> = shown["records"].as_array().unwrap().iter().map(name_and_type).collect();
        assert_eq!(told, expected);
    }
}

fn name_and_type(record: &serde_json::Value) -> String {
    format!("{} {}", record["name"].as_str().unwrap(), record["type"].as_str().unwrap())
}

#[tokio::test]
async fn who_has_the_zone_already_is_told_so() {
    let (dnsd, _folder) = start(&["--transfer-to", "127.0.0.1"]).await;
    let first = dnsd.put(SMALL, &[]).await.json()["serial"].as_u64().unwrap();
    let first = u32::try_from(first).unwrap();
    dnsd.put(SMALL_AFTER, &[]).await;
    let now = serial(&dnsd.ask(DOMAIN, RecordType::SOA).await.answers[0]);
    assert_ne!(first, now);
    let answers = async |known| {
        let messages = transfer(dnsd.dns, &ixfr(known)).await;
        messages.into_iter().map(|message| message.answers.len()).sum::<usize>()
    };
    assert_eq!(answers(now).await, 1);
    let whole = transfer(dnsd.dns, &query(DOMAIN, RecordType::AXFR)).await[0].answers.len();
    assert_eq!(answers(first).await, whole, "differences alone are not kept");
    assert_eq!(answers(now.wrapping_add(5)).await, whole, "a serial that we never had");
    // A datagram: the serial, and whoever wants the change comes over TCP.
    let answer = Message::from_vec(&dnsd.send_udp(&ixfr(first)).await.unwrap()).unwrap();
    assert_eq!((answer.answers.len(), serial(&answer.answers[0])), (1, now));
    let answer = Message::from_vec(&dnsd.send_udp(&query(DOMAIN, RecordType::AXFR)).await.unwrap()).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn who_may_not_have_it_is_refused() {
    for settings in [&[][..], &["--transfer-to", "10.0.0.0/8,::1"]] {
        let (dnsd, _folder) = start(settings).await;
        dnsd.put(SMALL, &[]).await;
        for packet in [query(DOMAIN, RecordType::AXFR), ixfr(1)] {
            let messages = transfer(dnsd.dns, &packet).await;
            assert_eq!((code(&messages), messages[0].answers.len()), (ResponseCode::Refused, 0));
            let answer = Message::from_vec(&dnsd.send_udp(&packet).await.unwrap()).unwrap();
            assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
        }
    }
    let (dnsd, _folder) = start(&["--transfer-to", "127.0.0.0/8"]).await;
    dnsd.put(SMALL, &[]).await;
    for name in ["master.redis-1.docker.", "docker.", "example."] {
        let messages = transfer(dnsd.dns, &query(name, RecordType::AXFR)).await;
        assert_eq!(code(&messages), ResponseCode::NotAuth, "{name} is no zone of ours");
        assert!(!messages[0].metadata.authoritative);
    }
    // Letters are letters, and what follows on the same connection is answered, too.
    assert_eq!(
        code(&transfer(dnsd.dns, &query("REDIS-1.docker.", RecordType::AXFR)).await),
        ResponseCode::NoError
    );
    let metrics = dnsd.get("/metrics").await.body;
    assert!(metrics.contains(r#"qtype="AXFR",rcode="NOERROR",proto="tcp""#), "{metrics}");
}

/// A NOTIFY as it arrives at a secondary: who sent it and the serial it tells.
async fn notified(secondary: &UdpSocket) -> (Message, std::net::SocketAddr, u32) {
    let mut buffer = [0; 1500];
    let arrived = timeout(DEADLINE, secondary.recv_from(&mut buffer)).await.expect("a NOTIFY").unwrap();
    let message = Message::from_vec(&buffer[..arrived.0]).unwrap();
    assert_eq!(message.metadata.op_code, OpCode::Notify);
    assert!(message.metadata.authoritative && message.edns.is_none());
    assert_eq!(message.queries[0].name().to_ascii(), DOMAIN);
    assert_eq!(message.queries[0].query_type(), RecordType::SOA);
    let serial = serial(&message.answers[0]);
    (message, arrived.1, serial)
}

async fn confirm(secondary: &UdpSocket, notify: &Message, to: std::net::SocketAddr) {
    let mut packet = notify.to_vec().unwrap();
    packet[2] |= 0x80;
    secondary.send_to(&packet, to).await.unwrap();
}

#[tokio::test]
async fn secondaries_are_told_until_they_confirm() {
    let secondary = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = secondary.local_addr().unwrap().to_string();
    // Somebody else who never answers holds nobody up.
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let (dnsd, _folder) = start(&["--secondaries", &dead, "--secondaries", &address]).await;
    let put = async |document: &str| {
        u32::try_from(dnsd.put(document, &[]).await.json()["serial"].as_u64().unwrap()).unwrap()
    };
    let first = put(SMALL).await;
    let (_, from, told) = notified(&secondary).await;
    assert_eq!((told, from.ip().to_string().as_str()), (first, "127.0.0.1"));
    // Not confirmed, so it is told again; then of what is new.
    let (_, _, told) = notified(&secondary).await;
    assert_eq!(told, first);
    let second = put(SMALL_AFTER).await;
    let (notify, from) = loop {
        let (notify, from, told) = notified(&secondary).await;
        if told == second {
            break (notify, from);
        }
    };
    confirm(&secondary, &notify, from).await;
    // Confirmed: silence until the next change, which therefore is what comes next. One repetition may have
    // crossed the confirmation on a slow machine.
    let third = put(SMALL).await;
    let (mut notify, mut from, mut told) = notified(&secondary).await;
    if told == second {
        (notify, from, told) = notified(&secondary).await;
    }
    assert_eq!(told, third);
    confirm(&secondary, &notify, from).await;
    // Nobody waits for secondaries at the end.
    timeout(DEADLINE, dnsd.stop()).await.expect("it stops");
}

/// A daemon that starts with a zone tells it: it may have changed with the settings.
#[tokio::test]
async fn a_restart_tells_the_zone_again() {
    let secondary = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = secondary.local_addr().unwrap().to_string();
    let (names, folder) = (Script::default().serve().await, tempfile::tempdir().unwrap());
    let settings = || config(folder.path(), names.address, &["--secondaries", &address]);
    let dnsd = Dnsd::start(settings()).await;
    dnsd.put(SMALL, &[]).await;
    let (notify, from, first) = notified(&secondary).await;
    confirm(&secondary, &notify, from).await;
    dnsd.stop().await;
    let dnsd = Dnsd::start(settings()).await;
    assert_eq!(notified(&secondary).await.2, first);
    wait_until("readiness", async || dnsd.get("/readyz").await.status == 200).await;
    dnsd.stop().await;
}
