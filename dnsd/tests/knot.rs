//! dnsd beside a name server that others wrote: Knot takes the zone, follows it, and then both are asked the
//! same questions. Where Knot is not installed the tests say so and judge nothing.
#![allow(missing_docs)]
#![allow(clippy::print_stderr, reason = "how fast Knot follows is shown, not judged")]

#[path = "../../crates/resolve/tests/support/mod.rs"]
mod name_server;
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use name_server::Script;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use support::{Dnsd, config, program, query, transfer, wait_until};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const DOMAIN: &str = "redis-1.docker.";
/// What is signed with.
const SECRET: &str = "q7dyA3LTv+7RwCVcGXt9KWyPpQGeb1e3VPSvVZvXb4Y=";
const OTHER_SECRET: &str = "Zx0pZ1q6oFDeZ3n9m2rRQd6k0V8uQX1yQb5pJc4mT7w=";
/// How often a question is asked that gets no answer, and how long each time is waited.
const ATTEMPTS: usize = 5;
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);
/// How soon Knot has a change.
const FOLLOWS_MAX: Duration = Duration::from_secs(1);
/// Questions asked of both.
const QUESTIONS: usize = 4_000;
const DOCUMENT: &str = r#"{"master": {"address": "10.0.0.1"},
    "slaves": [{"address": "10.0.0.2"}, {"address": "fd00::3", "port": 6380}]}"#;

/// A Knot that is secondary to a dnsd; ends when dropped.
struct Knot {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that UDP and TCP had free a moment ago.
fn free_address() -> SocketAddr {
    loop {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if std::net::UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// `secret` is that of the key `dnsd`, with which it then signs and which it wants of a NOTIFY.
fn knot(program: &std::path::Path, address: SocketAddr, primary: SocketAddr, secret: Option<&str>) -> Knot {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let (port, primary_port) = (address.port(), primary.port());
    let (keys, remote, acl) = match secret {
        None => (String::new(), "", "- id: told\n  address: 127.0.0.1\n  action: notify\n"),
        Some(secret) => (
            format!("key:\n- id: dnsd\n  algorithm: hmac-sha256\n  secret: {secret}\n"),
            "  key: dnsd\n",
            "- id: told\n  address: 127.0.0.1\n  key: dnsd\n  action: notify\n",
        ),
    };
    let text = format!(
        "{keys}server:\n  rundir: \"{path}\"\n  listen: 127.0.0.1@{port}\n  nsid: \"\"\n\
         database:\n  storage: \"{path}/db\"\n\
         log:\n- target: \"{path}/log\"\n  any: info\n\
         remote:\n- id: primary\n  address: 127.0.0.1@{primary_port}\n{remote}\
         acl:\n{acl}- id: asked\n  address: 127.0.0.1\n  action: transfer\n\
         zone:\n- domain: {DOMAIN}\n  storage: \"{path}\"\n  master: primary\n  acl: [told, asked]\n"
    );
    let file = folder.path().join("knot.conf");
    #[allow(clippy::disallowed_methods, reason = "a file of the test")]
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Knot { child: command.spawn().unwrap(), address, _folder: folder }
}

/// dnsd with a zone, and a Knot that has it; nothing if there is no Knot.
async fn both(document: &str) -> Option<(Dnsd, Knot, tempfile::TempDir)> {
    let beside = beside(document, [None, None]).await?;
    follows(&beside.0, &beside.1).await;
    Some(beside)
}

/// The same with the secrets that dnsd and Knot sign with, before Knot has the zone.
async fn beside(document: &str, secrets: [Option<&str>; 2]) -> Option<(Dnsd, Knot, tempfile::TempDir)> {
    let program = program("knotd")?;
    let (names, folder) = (Script::default().serve().await, tempfile::tempdir().unwrap());
    let (address, file) = (free_address(), folder.path().join("keys"));
    let mut settings = vec!["--transfer-to".to_owned(), "127.0.0.1".to_owned()];
    settings.extend(["--secondaries".to_owned(), address.to_string()]);
    if let Some(secret) = secrets[0] {
        let text = format!("key dnsd {{ algorithm hmac-sha256; secret \"{secret}\"; }};");
        #[allow(clippy::disallowed_methods, reason = "a file of the test")]
        std::fs::write(&file, text).unwrap();
        settings.extend(["--tsig-keys-file".to_owned(), file.display().to_string()]);
    }
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let dnsd = Dnsd::start(config(folder.path(), names.address, &settings)).await;
    assert_eq!(dnsd.put(document, &[]).await.status, 200);
    let knot = knot(&program, address, dnsd.dns, secrets[1]);
    Some((dnsd, knot, folder))
}

/// Waits until both have the same SOA record.
async fn follows(dnsd: &Dnsd, knot: &Knot) {
    let soa = query(DOMAIN, RecordType::SOA);
    wait_until("the secondary has the zone", async || {
        let theirs = exchange(knot.address, &soa, false).await;
        let ours = exchange(dnsd.dns, &soa, false).await;
        ours.is_some() && theirs.map(|message| message.answers) == ours.map(|message| message.answers)
    })
    .await;
}

async fn exchange(server: SocketAddr, packet: &[u8], tcp: bool) -> Option<Message> {
    let bytes = exchange_bytes(server, packet, tcp).await?;
    Some(Message::from_vec(&bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?} of {server}")))
}

/// `None` if nobody listens, or says nothing although asked again.
async fn exchange_bytes(server: SocketAddr, packet: &[u8], tcp: bool) -> Option<Vec<u8>> {
    if tcp {
        let mut stream = TcpStream::connect(server).await.ok()?;
        stream.write_u16(u16::try_from(packet.len()).unwrap()).await.unwrap();
        stream.write_all(packet).await.unwrap();
        return Some(support::read_framed(&mut stream).await);
    }
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    let mut buffer = vec![0; 4096];
    // A busy machine loses datagrams.
    for _ in 0..ATTEMPTS {
        socket.send(packet).await.ok()?;
        if let Ok(received) = timeout(ANSWER_DEADLINE, socket.recv(&mut buffer)).await {
            buffer.truncate(received.ok()?);
            return Some(buffer);
        }
    }
    None
}

fn sorted(messages: Vec<Message>) -> BTreeSet<String> {
    messages.into_iter().flat_map(|message| message.answers).map(|record| line(&record)).collect()
}

fn line(record: &Record) -> String {
    let name = record.name.to_lowercase();
    format!("{name} {} {} {}", record.ttl, record.record_type(), record.data.to_string().to_lowercase())
}

#[tokio::test]
async fn knot_takes_the_zone_and_follows_its_changes() {
    let Some((dnsd, knot, _folder)) = both(DOCUMENT).await else { return };
    let axfr = query(DOMAIN, RecordType::AXFR);
    let masters = ["10.0.0.2", "10.0.0.1", "10.0.0.7"];
    let mut took = Vec::new();
    for master in masters {
        let document =
            format!(r#"{{"master": {{"address": "{master}"}}, "slaves": [{{"address": "10.0.0.9"}}]}}"#);
        let begin = Instant::now();
        assert_eq!(dnsd.put(&document, &[]).await.status, 200);
        // It looks by itself only every 30 seconds, so what it follows is our NOTIFY.
        follows(&dnsd, &knot).await;
        took.push(begin.elapsed());
        let ours = sorted(transfer(dnsd.dns, &axfr).await);
        assert_eq!(ours, sorted(transfer(knot.address, &axfr).await));
        assert!(ours.iter().any(|record| record.starts_with("master.") && record.ends_with(master)));
    }
    eprintln!("Knot follows a change, counted from before the PUT, after {took:?}");
    // Not each of them: the machine may be doing something else.
    took.sort();
    assert!(took[0] < FOLLOWS_MAX, "{took:?}");
}

/// Knot asks for the zone with a key, and follows a NOTIFY only if it is signed with it.
#[tokio::test]
async fn knot_takes_and_follows_a_zone_with_a_key() {
    let secrets = [Some(SECRET), Some(SECRET)];
    let Some((dnsd, knot, _folder)) = beside(DOCUMENT, secrets).await else { return };
    follows(&dnsd, &knot).await;
    let document = r#"{"master": {"address": "10.0.0.2"}, "slaves": [{"address": "10.0.0.9"}]}"#;
    assert_eq!(dnsd.put(document, &[]).await.status, 200);
    follows(&dnsd, &knot).await;
    let theirs = sorted(transfer(knot.address, &query(DOMAIN, RecordType::AXFR)).await);
    assert!(theirs.iter().any(|record| record.starts_with("master.") && record.ends_with("10.0.0.2")));
    let refused = transfer(dnsd.dns, &query(DOMAIN, RecordType::AXFR)).await;
    assert_eq!(refused[0].metadata.response_code, ResponseCode::Refused, "without the key");
}

#[tokio::test]
async fn knot_gets_nothing_without_the_right_key() {
    for theirs in [None, Some(OTHER_SECRET)] {
        let Some((dnsd, knot, _folder)) = beside(DOCUMENT, [Some(SECRET), theirs]).await else { return };
        wait_until("Knot has asked and was refused", async || {
            let metrics = dnsd.get("/metrics").await.body;
            let refused =
                |line: &str| line.contains(r#"rcode="REFUSED""#) || line.contains(r#"rcode="NOTAUTH""#);
            metrics.lines().any(|line| line.starts_with("dnsd_") && refused(line))
        })
        .await;
        let answer = exchange(knot.address, &query(DOMAIN, RecordType::SOA), false).await.expect("an answer");
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    }
}

#[tokio::test]
async fn a_transfer_passes_named_checkzone() {
    let (Some(dig), Some(check)) = (program("dig"), program("named-checkzone")) else { return };
    let (names, folder) = (Script::default().serve().await, tempfile::tempdir().unwrap());
    let dnsd = Dnsd::start(config(folder.path(), names.address, &["--transfer-to", "127.0.0.1"])).await;
    dnsd.put(DOCUMENT, &[]).await;
    let port = dnsd.dns.port().to_string();
    let zone = tokio::process::Command::new(dig)
        .args(["@127.0.0.1", "-p", &port, DOMAIN, "AXFR", "+noall", "+answer", "+onesoa"])
        .output()
        .await
        .unwrap();
    let file = folder.path().join("zone");
    #[allow(clippy::disallowed_methods, reason = "a file of the test")]
    std::fs::write(&file, &zone.stdout).unwrap();
    let judged = tokio::process::Command::new(check).arg(DOMAIN).arg(&file).output().await.unwrap();
    let told = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(
        judged.status.success() && told.contains("OK"),
        "{told}{}",
        String::from_utf8_lossy(&zone.stdout)
    );
}

/// What two servers have to say alike. Not the additional section: what is added there is each one's choice.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: u16,
    flags: [bool; 6],
    question: Vec<String>,
    answers: BTreeSet<String>,
    authorities: BTreeSet<String>,
    /// Version, DO and the other flags. Options are each one's choice; Knot says more about a REFUSED.
    edns: Option<(u8, bool, u16)>,
}

fn said(message: &Message) -> Said {
    let head = &message.metadata;
    let answers: BTreeSet<String> = message.answers.iter().map(line).collect();
    Said {
        code: head.response_code.into(),
        flags: [
            head.authoritative,
            head.truncation,
            head.recursion_desired,
            head.recursion_available,
            head.authentic_data,
            head.checking_disabled,
        ],
        question: message.queries.iter().map(ToString::to_string).collect(),
        // Beside an answer the authority section is each one's choice, too; ours is empty.
        authorities: match answers.is_empty() {
            true => message.authorities.iter().map(line).collect(),
            false => BTreeSet::new(),
        },
        answers,
        edns: message.edns.as_ref().map(|edns| {
            let flags = edns.flags();
            (edns.version(), flags.dnssec_ok, flags.z)
        }),
    }
}

async fn compare(dnsd: &Dnsd, knot: &Knot, what: &str, packet: &[u8], tcp: bool) {
    let ours = exchange(dnsd.dns, packet, tcp).await;
    let options = ours.iter().filter_map(|message| message.edns.as_ref()).map(|edns| edns.options());
    assert!(options.into_iter().all(|options| options.as_ref().is_empty()), "{what}: no option is echoed");
    let ours = ours.as_ref().map(said);
    let theirs = exchange(knot.address, packet, tcp).await.as_ref().map(said);
    assert_eq!(ours, theirs, "{what}: ours, and Knot's\n{packet:?}");
}

fn random_packets() -> impl Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let labels = prop::sample::select(vec![
        "master",
        "slaves",
        "_tcp.master",
        "_tcp.slaves",
        "_redis._tcp.master",
        "_redis._tcp.slaves",
        "ns",
        "ip-10-0-0-2.slaves",
        "ip-fd00-0-0-0-0-0-0-3.slaves",
        "nobody",
        "x.master",
        "a.b.c.d",
        "_udp.master",
    ]);
    let name = prop_oneof![
        8 => (labels, any::<u64>()).prop_map(|(labels, mask)| mixed(&format!("{labels}.{DOMAIN}"), mask)),
        1 => any::<u64>().prop_map(|mask| mixed(DOMAIN, mask)),
        1 => prop::sample::select(vec!["docker.", ".", "example.com.", "xredis-1.docker."]).prop_map(str::to_owned),
    ];
    let kind = prop::sample::select(vec![1_u16, 2, 5, 6, 12, 15, 16, 28, 33, 35, 48, 64, 257, 1000]);
    let edns =
        prop::option::of((prop::sample::select(vec![0_u16, 512, 600, 1232, 4096, 65535]), any::<bool>()));
    (name, kind, edns, any::<u16>(), any::<[bool; 3]>()).prop_map(|(name, kind, edns, id, bits)| {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::from(kind)));
        message.metadata.id = id;
        message.metadata.recursion_desired = bits[0];
        message.metadata.checking_disabled = bits[1];
        message.metadata.authentic_data = bits[2];
        if let Some((payload, dnssec_ok)) = edns {
            let mut opt = Edns::new();
            opt.set_max_payload(payload);
            opt.set_dnssec_ok(dnssec_ok);
            message.set_edns(opt);
        }
        message.to_vec().unwrap()
    })
}

fn mixed(name: &str, mask: u64) -> String {
    let mix = |(at, letter): (usize, char)| {
        if mask >> (at % 64) & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
    };
    name.chars().enumerate().map(mix).collect()
}

#[tokio::test]
async fn random_questions_get_the_same_answers() {
    let Some((dnsd, knot, _folder)) = both(DOCUMENT).await else { return };
    let (mut runner, packets) = (TestRunner::deterministic(), random_packets());
    for number in 0..QUESTIONS {
        let packet = packets.new_tree(&mut runner).unwrap().current();
        compare(&dnsd, &knot, &format!("question {number}"), &packet, number % 16 == 0).await;
    }
}

/// Answers that do not fit: TC and nothing but the question from both, and the whole over TCP.
#[tokio::test]
async fn what_does_not_fit_is_cut_alike() {
    for slaves in [5, 12, 20, 40] {
        let list: Vec<String> =
            (1..=slaves).map(|last| format!(r#"{{"address": "10.0.1.{last}"}}"#)).collect();
        let document = format!(r#"{{"master": {{"address": "10.0.0.1"}}, "slaves": [{}]}}"#, list.join(","));
        let Some((dnsd, knot, _folder)) = both(&document).await else { return };
        for payload in [None, Some(512), Some(800), Some(1232), Some(4096)] {
            for kind in [RecordType::SRV, RecordType::A] {
                let mut message = Message::from_vec(&query("slaves.redis-1.docker.", kind)).unwrap();
                if let Some(payload) = payload {
                    let mut edns = Edns::new();
                    edns.set_max_payload(payload);
                    message.set_edns(edns);
                }
                let packet = message.to_vec().unwrap();
                let what = format!("{kind} of {slaves} slaves with room for {payload:?}");
                compare(&dnsd, &knot, &what, &packet, false).await;
                compare(&dnsd, &knot, &what, &packet, true).await;
            }
        }
    }
}

/// The queries of RFC 8906 section 8: what servers and the boxes before them are known to get wrong.
fn rfc_8906() -> Vec<(&'static str, Vec<u8>)> {
    let soa = query(DOMAIN, RecordType::SOA);
    let patched = |at: usize, bits: u8| {
        let mut packet = soa.clone();
        packet[at] |= bits;
        packet
    };
    let typed = |kind: u16| query(DOMAIN, RecordType::from(kind));
    let opt = |version: u8, flags: [u8; 2], options: &[u8]| {
        let mut packet = patched(11, 1);
        packet.extend([0, 0, 41, 4, 208, 0, version]);
        packet.extend(flags);
        packet.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
        packet.extend(options);
        packet
    };
    let unknown = [0, 100, 0, 0];
    let header_only = vec![0x12, 0x34, 15 << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut chaos = Message::from_vec(&soa).unwrap();
    chaos.queries[0].set_query_class(DNSClass::CH);
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    vec![
        ("8.1.1 plain SOA", soa.clone()),
        ("8.1.2 unknown type", typed(1000)),
        ("8.1.3.1 CD", patched(3, 0x10)),
        ("8.1.3.2 AD", patched(3, 0x20)),
        ("8.1.3.3 reserved bit", patched(3, 0x40)),
        ("8.1.3.4 RD", patched(2, 0x01)),
        ("8.1.4 unknown opcode, header only", header_only),
        ("8.2.1 EDNS", opt(0, [0, 0], &[])),
        ("8.2.2 EDNS version 1", opt(1, [0, 0], &[])),
        ("8.2.3 unknown option", opt(0, [0, 0], &unknown)),
        ("8.2.4 unknown flag", opt(0, [0x00, 0x40], &[])),
        ("8.2.5 version 1 and unknown flag", opt(1, [0x00, 0x40], &[])),
        ("8.2.6 version 1 and unknown option", opt(1, [0, 0], &unknown)),
        ("8.2.7 DO", opt(0, [0x80, 0], &[])),
        ("8.2.8 version 1 and DO", opt(1, [0x80, 0], &[])),
        ("a cookie, which need not be answered", opt(0, [0, 0], &cookie)),
        ("class CH", chaos.to_vec().unwrap()),
        ("DNSKEY of a zone without", typed(48)),
        ("two OPT records", {
            let mut packet = opt(0, [0, 0], &[]);
            packet[11] = 2;
            packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
            packet
        }),
    ]
}

#[tokio::test]
async fn the_matrix_of_rfc_8906() {
    let Some((dnsd, knot, _folder)) = both(DOCUMENT).await else { return };
    for (what, packet) in rfc_8906() {
        for tcp in [false, true] {
            compare(&dnsd, &knot, what, &packet, tcp).await;
        }
    }
    // Options that are known, several at once.
    let mut message = Message::from_vec(&query(DOMAIN, RecordType::SOA)).unwrap();
    let mut edns = Edns::new();
    for code in [EdnsCode::NSID, EdnsCode::Expire, EdnsCode::Keepalive] {
        edns.options_mut().insert(EdnsOption::Unknown(code.into(), Vec::new()));
    }
    message.set_edns(edns);
    compare(&dnsd, &knot, "options that are known", &message.to_vec().unwrap(), false).await;
}
