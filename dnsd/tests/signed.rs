//! TSIG: transfers and NOTIFY that are signed, judged by hickory's verifier, by dig and by tsig-keygen.
#![allow(missing_docs)]

#[path = "../../crates/resolve/tests/support/mod.rs"]
mod name_server;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use dnsd::config::read;
use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_proto::rr::{Name, RecordType, TSigVerifier, TSigner};
use name_server::Script;
use service::clock::unix_seconds;
use support::{Dnsd, config, program, query, read_framed};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const DOMAIN: &str = "redis-1.docker.";
const DEADLINE: Duration = Duration::from_secs(10);
const SMALL: &str = r#"{"master": {"address": "10.0.0.1"}, "slaves": [{"address": "10.0.0.2"}]}"#;
/// Secrets as `openssl rand -base64 32` makes them.
const SECRET: &str = "q7dyA3LTv+7RwCVcGXt9KWyPpQGeb1e3VPSvVZvXb4Y=";
const OTHER_SECRET: &str = "Zx0pZ1q6oFDeZ3n9m2rRQd6k0V8uQX1yQb5pJc4mT7w=";

struct Started {
    dnsd: Dnsd,
    folder: tempfile::TempDir,
}

fn key(name: &str, algorithm: &str, secret: &str) -> String {
    format!("key \"{name}\" {{\n\talgorithm {algorithm};\n\tsecret \"{secret}\";\n}};\n")
}

fn keys() -> String {
    key("one", "hmac-sha256", SECRET)
        + &key("two", "hmac-sha384", SECRET)
        + &key("three.example", "hmac-sha512", SECRET)
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    #[allow(clippy::disallowed_methods, reason = "a file of the test")]
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

async fn start(settings: &[&str]) -> Started {
    let (names, folder) = (Script::default().serve().await, tempfile::tempdir().unwrap());
    let file = write(&folder, "keys", &keys());
    let all = [&["--tsig-keys-file", &file], settings].concat();
    let dnsd = Dnsd::start(config(folder.path(), names.address, &all)).await;
    assert_eq!(dnsd.put(SMALL, &[]).await.status, 200);
    Started { dnsd, folder }
}

fn signer(name: &str, algorithm: TsigAlgorithm, secret: &str) -> TSigner {
    let secret = data_encoding::BASE64.decode(secret.as_bytes()).unwrap();
    TSigner::new(secret, algorithm, Name::from_ascii(name).unwrap(), 300).unwrap()
}

fn one() -> TSigner {
    signer("one", TsigAlgorithm::HmacSha256, SECRET)
}

/// A query, signed as of `at_s`, and what verifies its answers.
fn signed(mut message: Message, signer: &TSigner, at_s: u64) -> (Vec<u8>, TSigVerifier) {
    let verifier = message.finalize(signer, at_s).unwrap().unwrap();
    (message.to_vec().unwrap(), verifier)
}

fn asking(name: &str, record_type: RecordType) -> Message {
    Message::from_vec(&query(name, record_type)).unwrap()
}

/// All messages of a transfer.
async fn transfer(server: SocketAddr, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_u16(u16::try_from(packet.len()).unwrap()).await.unwrap();
    stream.write_all(packet).await.unwrap();
    let (mut messages, mut first, mut last) = (Vec::new(), None, None);
    loop {
        let bytes = read_framed(&mut stream).await;
        let message = Message::from_vec(&bytes).unwrap();
        messages.push(bytes);
        let is_alone = first.is_none() && message.answers.len() == 1;
        first = first.or_else(|| message.answers.first().cloned());
        last = message.answers.last().cloned().or(last);
        if message.answers.is_empty() || (first == last && !is_alone) {
            return messages;
        }
    }
}

/// The response code and the reason that stands in the TSIG record.
fn said(bytes: &[u8]) -> (ResponseCode, Option<TsigError>, usize) {
    let message = Message::from_vec(bytes).unwrap();
    let tsig = message.signature().map(|record| (record.data.error, record.data.mac.len()));
    let (error, code_bytes) = tsig.unwrap_or_default();
    (message.metadata.response_code, error, code_bytes)
}

#[tokio::test]
async fn every_message_of_a_transfer_is_signed_with_the_key_that_asked() {
    let Started { dnsd, folder: _folder } = start(&["--transfer-to", "127.0.0.1"]).await;
    let slaves: Vec<String> = (1..=200).map(|last| format!(r#"{{"address": "10.0.1.{last}"}}"#)).collect();
    let large = format!(r#"{{"master": {{"address": "10.0.0.1"}}, "slaves": [{}]}}"#, slaves.join(","));
    for document in [SMALL, &large] {
        assert_eq!(dnsd.put(document, &[]).await.status, 200);
        for signer in [
            one(),
            signer("TWO", TsigAlgorithm::HmacSha384, SECRET),
            signer("three.example", TsigAlgorithm::HmacSha512, SECRET),
        ] {
            for record_type in [RecordType::AXFR, RecordType::IXFR] {
                let (packet, mut verifier) = signed(asking(DOMAIN, record_type), &signer, unix_seconds());
                let messages = transfer(dnsd.dns, &packet).await;
                assert_eq!(messages.len() > 1, document.len() > SMALL.len(), "{} messages", messages.len());
                for message in &messages {
                    verifier.verify(message).unwrap();
                }
            }
        }
    }
    // The second message does not stand for itself: without the first its code is wrong.
    let (packet, mut verifier) = signed(asking(DOMAIN, RecordType::AXFR), &one(), unix_seconds());
    let messages = transfer(dnsd.dns, &packet).await;
    assert!(verifier.verify(&messages[1]).is_err());
}

#[tokio::test]
async fn who_shows_no_key_of_ours_is_told_why() {
    let Started { dnsd, folder: _folder } = start(&["--transfer-to", "127.0.0.1"]).await;
    let axfr = || asking(DOMAIN, RecordType::AXFR);
    let now = unix_seconds();
    assert_eq!(
        said(&transfer(dnsd.dns, &query(DOMAIN, RecordType::AXFR)).await[0]),
        (ResponseCode::Refused, None, 0),
        "not signed"
    );
    for (signer, at_s, error, code_bytes) in [
        (signer("four", TsigAlgorithm::HmacSha256, SECRET), now, TsigError::BadKey, 0),
        (signer("one", TsigAlgorithm::HmacSha512, SECRET), now, TsigError::BadKey, 0),
        (signer("one", TsigAlgorithm::HmacSha256, OTHER_SECRET), now, TsigError::BadSig, 0),
        (one(), now - 400, TsigError::BadTime, 32),
        (one(), now + 400, TsigError::BadTime, 32),
    ] {
        let (packet, mut verifier) = signed(axfr(), &signer, at_s);
        let answers = transfer(dnsd.dns, &packet).await;
        assert_eq!(said(&answers[0]), (ResponseCode::NotAuth, Some(error), code_bytes));
        let by_udp = dnsd.send_udp(&packet).await.unwrap();
        assert_eq!(said(&by_udp), (ResponseCode::NotAuth, Some(error), code_bytes));
        // What can be signed is, and then has our time beside the client's.
        assert_eq!(verifier.verify(&answers[0]).is_ok(), code_bytes > 0);
        let message = Message::from_vec(&answers[0]).unwrap();
        let tsig = &message.signature().unwrap().data;
        assert_eq!((tsig.time, tsig.other.len()), (at_s, if code_bytes > 0 { 6 } else { 0 }));
        if code_bytes > 0 {
            let ours = u64::from_be_bytes([&[0, 0], &*tsig.other].concat().try_into().unwrap());
            assert!(ours.abs_diff(now) < 60);
        }
    }
    // Something was changed on the way: one bit of the question, which has upper case then.
    let (mut packet, _) = signed(axfr(), &one(), now);
    packet[13] ^= 0x20;
    assert_eq!(said(&transfer(dnsd.dns, &packet).await[0]).1, Some(TsigError::BadSig));
    // A code that was shortened, by half: its length is six bytes before the code.
    let (packet, _) = signed(axfr(), &one(), now);
    let at = packet.len() - 6 - 32;
    let mut short = packet[..at].to_vec();
    short[at - 1] = 16;
    short.extend(&packet[at..at + 16]);
    short.extend(&packet[at + 32..]);
    let rdata_length_at = at - 2 - 2 - 6 - "\x0bhmac-sha256\x00".len() - 2;
    short[rdata_length_at + 1] -= 16;
    assert_eq!(
        said(&transfer(dnsd.dns, &short).await[0]),
        (ResponseCode::NotAuth, Some(TsigError::BadTrunc), 0)
    );
    // Nothing is behind a signature, and its class and TTL are what they are.
    for at in [rdata_length_at - 6, rdata_length_at - 1] {
        let (mut packet, _) = signed(axfr(), &one(), now);
        packet[at] = 1;
        assert_eq!(said(&transfer(dnsd.dns, &packet).await[0]).0, ResponseCode::FormErr, "byte {at}");
    }
}

#[tokio::test]
async fn an_address_without_a_key_and_a_key_without_an_address_do_not_suffice() {
    for (to, unsigned, with_one, with_two) in [
        ("127.0.0.1", false, true, true),
        ("127.0.0.1=ONE", false, true, false),
        ("127.0.0.1=two,10.0.0.0/8", false, false, true),
        ("127.0.0.1=NOKEY", true, true, true),
        ("10.0.0.0/8", false, false, false),
    ] {
        let Started { dnsd, folder: _folder } = start(&["--transfer-to", to]).await;
        let axfr = asking(DOMAIN, RecordType::AXFR);
        let two = signer("two", TsigAlgorithm::HmacSha384, SECRET);
        for (packet, permitted) in [
            (axfr.to_vec().unwrap(), unsigned),
            (signed(axfr.clone(), &one(), unix_seconds()).0, with_one),
            (signed(axfr.clone(), &two, unix_seconds()).0, with_two),
        ] {
            let messages = transfer(dnsd.dns, &packet).await;
            let expected = if permitted { ResponseCode::NoError } else { ResponseCode::Refused };
            assert_eq!(said(&messages[0]).0, expected, "{to}");
        }
        // "Has it changed?", as a datagram.
        let ixfr = asking(DOMAIN, RecordType::IXFR);
        let (packet, mut verifier) = signed(ixfr.clone(), &one(), unix_seconds());
        let answer = dnsd.send_udp(&packet).await.unwrap();
        let expected = if with_one { ResponseCode::NoError } else { ResponseCode::Refused };
        assert_eq!(said(&answer).0, expected, "{to}");
        verifier.verify(&answer).expect("also a refusal is signed");
        let answer = dnsd.send_udp(&ixfr.to_vec().unwrap()).await.unwrap();
        assert_eq!(said(&answer).0 == ResponseCode::NoError, unsigned, "{to}");
        dnsd.stop().await;
    }
}

/// A secondary with a key signs whatever it asks, and gets signed whatever there is to say, in the room there is.
#[tokio::test]
async fn every_answer_to_a_signed_question_is_signed_and_fits() {
    let Started { dnsd, folder: _folder } = start(&[]).await;
    let slaves: Vec<String> = (1..=30).map(|last| format!(r#"{{"address": "10.0.1.{last}"}}"#)).collect();
    let long = format!(r#"{{"master": {{"address": "10.0.0.1"}}, "slaves": [{}]}}"#, slaves.join(","));
    for document in [SMALL, &long] {
        assert_eq!(dnsd.put(document, &[]).await.status, 200);
        for (name, record_type, expected) in [
            (DOMAIN, RecordType::SOA, ResponseCode::NoError),
            ("slaves.redis-1.docker.", RecordType::SRV, ResponseCode::NoError),
            ("slaves.redis-1.docker.", RecordType::A, ResponseCode::NoError),
            ("nobody.redis-1.docker.", RecordType::A, ResponseCode::NXDomain),
            ("example.", RecordType::A, ResponseCode::Refused),
        ] {
            for payload in [None, Some(512), Some(1232)] {
                let mut message = asking(name, record_type);
                if let Some(payload) = payload {
                    let mut edns = Edns::new();
                    edns.set_max_payload(payload);
                    message.set_edns(edns);
                }
                let plain = message.to_vec().unwrap();
                let (packet, mut verifier) = signed(message, &one(), unix_seconds());
                let answer = dnsd.send_udp(&packet).await.unwrap();
                assert!(answer.len() <= usize::from(payload.unwrap_or(512)), "{} bytes", answer.len());
                let verified = verifier.verify(&answer).unwrap();
                assert_eq!(verified.metadata.response_code, expected, "{name} {record_type}");
                assert_eq!(verified.edns.is_some(), payload.is_some());
                let unsigned = Message::from_vec(&dnsd.send_udp(&plain).await.unwrap()).unwrap();
                if !verified.metadata.truncation {
                    assert_eq!(verified.answers, unsigned.answers);
                }
            }
        }
    }
}

/// Without keys a signature is one by a key that we do not know (RFC 8945 section 5.2.1).
#[tokio::test]
async fn without_keys_nothing_is_signed() {
    let (names, folder) = (Script::default().serve().await, tempfile::tempdir().unwrap());
    let dnsd = Dnsd::start(config(folder.path(), names.address, &["--transfer-to", "127.0.0.1"])).await;
    dnsd.put(SMALL, &[]).await;
    for record_type in [RecordType::AXFR, RecordType::SOA] {
        let (packet, _) = signed(asking(DOMAIN, record_type), &one(), unix_seconds());
        let expected = (ResponseCode::NotAuth, Some(TsigError::BadKey), 0);
        assert_eq!(said(&transfer(dnsd.dns, &packet).await[0]), expected);
    }
    let unsigned = transfer(dnsd.dns, &query(DOMAIN, RecordType::AXFR)).await;
    assert_eq!(said(&unsigned[0]), (ResponseCode::NoError, None, 0), "the address suffices");
}

/// A NOTIFY as it arrives: its bytes, and who sent it.
async fn notified(secondary: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 1500];
    let arrived = timeout(DEADLINE, secondary.recv_from(&mut buffer)).await.expect("a NOTIFY").unwrap();
    (buffer[..arrived.0].to_vec(), arrived.1)
}

#[tokio::test]
async fn a_change_is_told_signed_and_believed_to_be_known_only_if_that_is_signed_too() {
    let secondary = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = secondary.local_addr().unwrap();
    let two = signer("two", TsigAlgorithm::HmacSha384, SECRET);
    for (setting, expected) in [
        (address.to_string(), Some(one())),
        (format!("{address}=two"), Some(two)),
        (format!("{address}=NOKEY"), None),
    ] {
        let Started { dnsd, folder: _folder } = start(&["--secondaries", &setting]).await;
        let (notify, from) = notified(&secondary).await;
        let message = Message::from_vec(&notify).unwrap();
        assert!(message.edns.is_none());
        let mut answer = Message::response(message.metadata.id, message.metadata.op_code);
        answer.add_query(message.queries[0].clone());
        let unsigned = answer.to_vec().unwrap();
        secondary.send_to(&unsigned, from).await.unwrap();
        let Some(signer) = expected else {
            assert!(message.signature().is_none());
            assert!(timeout(Duration::from_secs(2), notified(&secondary)).await.is_err(), "it is confirmed");
            dnsd.stop().await;
            continue;
        };
        let (code, ..) = signer.verify_message_byte(&notify, None, true).unwrap();
        // Anybody could have said that: told again.
        let (notify, from) = notified(&secondary).await;
        let (second_code, ..) = signer.verify_message_byte(&notify, None, true).unwrap();
        assert_ne!(code, second_code);
        let id = Message::from_vec(&notify).unwrap().metadata.id;
        answer.metadata.id = id;
        let context =
            hickory_proto::rr::TSigResponseContext::new(id, unix_seconds(), signer, second_code, None);
        answer.set_signature(context.sign(&answer.to_vec().unwrap()).unwrap());
        secondary.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        assert!(timeout(Duration::from_secs(2), notified(&secondary)).await.is_err(), "it is confirmed");
        dnsd.stop().await;
    }
}

async fn dig(program: &std::path::Path, dnsd: &Dnsd, arguments: &[&str]) -> String {
    let port = dnsd.dns.port().to_string();
    let output = tokio::process::Command::new(program)
        .args(["@127.0.0.1", "-p", &port])
        .args(arguments)
        .args([DOMAIN, "AXFR"])
        .output()
        .await
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn dig_gets_the_zone_with_the_key_and_not_otherwise() {
    let Some(program) = program("dig") else { return };
    let Started { dnsd, folder } = start(&["--transfer-to", "127.0.0.1"]).await;
    let file = write(&folder, "two.key", &key("two", "hmac-sha384", SECRET));
    for arguments in [
        &["-y", &format!("hmac-sha256:one:{SECRET}")][..],
        &["-y", &format!("hmac-sha512:three.example:{SECRET}")],
        &["-k", &file],
    ] {
        let told = dig(&program, &dnsd, arguments).await;
        assert!(told.contains("master.redis-1.docker.") && told.contains("10.0.0.1"), "{told}");
        // Of the answer, whose signature dig has verified.
        assert!(told.contains("TSIG") && told.contains("NOERROR"), "{told}");
        assert!(!told.to_lowercase().contains("couldn't verify"), "{told}");
    }
    for (arguments, says) in [
        (&["-y", &format!("hmac-sha256:one:{OTHER_SECRET}")][..], "BADSIG"),
        (&["-y", &format!("hmac-sha256:nobody:{SECRET}")], "BADKEY"),
        (&[], "Transfer failed"),
    ] {
        let told = dig(&program, &dnsd, arguments).await;
        assert!(told.contains(says) && !told.contains("10.0.0.1"), "{says}: {told}");
    }
}

#[tokio::test]
async fn a_key_as_tsig_keygen_prints_it() {
    let Some(program) = program("tsig-keygen") else { return };
    for arguments in [&[][..], &["-a", "hmac-sha512", "dnsd.example"]] {
        let made = tokio::process::Command::new(&program).args(arguments).output().await.unwrap();
        let text = String::from_utf8(made.stdout).unwrap();
        dnsd::keys::Keys::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn keys_that_are_missing_or_spoilt_end_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(&folder, "good", &keys());
    let bad = write(&folder, "bad", &format!("key one {{ {SECRET} }};"));
    let not_there = folder.path().join("nowhere").display().to_string();
    for (arguments, says) in [
        (&["--tsig-keys-file", &bad][..], "line 1"),
        (&["--tsig-keys-file", &not_there], "nowhere"),
        (&["--tsig-keys-file", &good, "--transfer-to", "10.0.0.1=four"], "four."),
        (&["--tsig-keys-file", &good, "--secondaries", "10.0.0.1=four"], "four."),
        (&["--transfer-to", "10.0.0.1=one"], "--tsig-keys-file"),
        (&["--transfer-to", "10.0.0.1="], "name of a key"),
    ] {
        let exit = read([&["dnsd"], arguments].concat(), &Default::default()).unwrap_err();
        assert!(exit.code == 64 && exit.stderr.contains(says), "{arguments:?}: {}", exit.stderr);
        assert!(!exit.stderr.contains(&SECRET[..8]), "{}", exit.stderr);
    }
    let arguments = [
        "dnsd",
        "--tsig-keys-file",
        &good,
        "--transfer-to",
        "10.0.0.1=one",
        "--secondaries",
        "10.0.0.1:5300=two",
    ];
    let sound = read(arguments, &Default::default()).unwrap();
    assert!(!format!("{:?}", sound.config).contains(&SECRET[..8]));
}
