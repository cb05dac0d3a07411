//! What must hold whatever comes in: one function for each door that takes bytes from strangers.
//!
//! A function returns if all is well and panics if not. The same functions are called by cargo-fuzz
//! (`fuzz_targets/`), which watches what parts of the code an input reaches and needs a nightly compiler, and
//! by a plain test on any compiler (`dnsd/tests/fuzz.rs`), which changes the inputs of `corpus/` at random.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use dnsd::answer::{Transfer, Transport, answer, answer_fast, answer_slow};
use dnsd::directory::{Directory, Slot};
use dnsd::keys::{Transfers, fixed};
use dnsd::publication::Publication;
use dnsd::sentinel::command::{Outcome, Session};
use dnsd::sentinel::resp::{Parsed, REQUEST_BYTES_MAX, WORDS_MAX, parse};
use dnsd::sentinel::view::View;
use dnsd::zone::{Members, Stamp, ZoneSettings, build};
use hickory_proto::op::Message;
use hickory_proto::rr::Name;
use topology::Document;

/// Most nodes of a document here.
const NODES_MAX: usize = 16;
/// Most mistakes that are told of one document.
const MISTAKES_MAX: usize = 20;
/// Most requests that are read from one input.
const REQUESTS_MAX: usize = 64;
/// Deepest nesting of a reply.
const DEPTH_MAX: usize = 4;

fn client() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 4711))
}

fn slot(cluster: &str, suffix: &str, slaves: usize) -> Arc<Slot> {
    let domain = Name::from_ascii(format!("{cluster}.{suffix}")).expect("a domain");
    let server_ips = vec![client().ip()];
    let settings = ZoneSettings { cluster: cluster.to_owned(), domain, ttl_s: 5, server_ips };
    let slot = Slot::new(settings).expect("a zone");
    let nodes: Vec<String> =
        (2..2 + slaves).map(|last| format!(r#"{{"address": "10.0.0.{last}"}}"#)).collect();
    let text = format!(r#"{{"master": {{"address": "10.0.0.1"}}, "slaves": [{}]}}"#, nodes.join(","));
    let document = Document::parse(text.as_bytes(), 256).expect("a document").document;
    let address = |node: &topology::NodeName| format!("{}:6379", node.address).parse().expect("an address");
    let resolved = document.nodes().map(|node| (node.clone(), Ok(vec![address(node)]))).collect();
    let members = Members::new(&document, &resolved).expect("members");
    let stamp = Stamp { revision: 12, generation: 3, since: 1_795_256_100 };
    let zone = build(&slot.settings, &members, stamp);
    let publication =
        Publication::new(&slot.settings, document, members, stamp, 77, zone).expect("a publication");
    slot.publish(Arc::new(publication));
    Arc::new(slot)
}

/// One zone, one that does not fit into a datagram, and several below a suffix.
static DIRECTORIES: LazyLock<[Directory; 3]> = LazyLock::new(|| {
    let many = Directory::below(&Name::from_ascii("docker.").expect("a suffix")).expect("a directory");
    for (cluster, slaves) in [("redis-1", 2), ("redis-2", 0), ("redis-3", 30)] {
        many.add(&slot(cluster, "docker.", slaves));
    }
    let keys =
        fixed(r#"key key { algorithm hmac-sha256; secret "MTIzNDU2Nzg5MDEyMzQ1Ng=="; };"#).expect("a key");
    let allow = |directory: Directory, to: &str| {
        let to = vec![to.parse().expect("a network and a key")];
        directory.with_transfers(Transfers::new(to, Some(Arc::clone(&keys))))
    };
    let one = |slaves| allow(Directory::of(slot("redis-1", "docker.", slaves)), "127.0.0.1=NOKEY");
    [one(2), one(50), allow(many, "127.0.0.1")]
});

/// A DNS packet: its first byte chooses the zones and how it came, the rest is the packet.
pub(crate) fn dns(data: &[u8]) {
    let Some((choice, packet)) = data.split_first() else { return };
    let directory = &DIRECTORIES[usize::from(choice % 3)];
    let transport = [Transport::Udp, Transport::Tcp, Transport::UdpCut][usize::from(choice / 3 % 3)];
    let (mut fast, mut slow, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let by_fast = answer_fast(directory, packet, transport, &mut fast);
    let by_slow = answer_slow(directory, packet, client(), transport, &mut slow);
    let answered = answer(directory, packet, client(), transport, &mut out);
    if by_fast.is_some() {
        assert_eq!((by_fast, &fast), (by_slow, &slow), "both paths answer alike");
    }
    assert_eq!((answered, &out), (by_slow, &slow));
    let is_query = packet.len() >= 12 && packet[2] & 0x80 == 0;
    assert_eq!(answered.is_some(), is_query, "queries are answered, and nothing else is");
    if is_query {
        assert_eq!(out[..2], packet[..2], "the id is the client's");
        assert_eq!(out[2] & 0xf8, packet[2] & 0x78 | 0x80, "it is a response of the same opcode");
        assert!(transport == Transport::Tcp || out.len() <= 1232, "{} bytes by UDP", out.len());
        let message = Message::from_vec(&out).expect("an answer that can be read");
        assert_eq!(message.to_vec().map(|bytes| bytes.is_empty()).ok(), Some(false));
    }
    if let Some(transfer) = Transfer::new(directory, packet, client().ip()) {
        for message in transfer.messages() {
            Message::from_vec(&message.expect("a message")).expect("a message that can be read");
        }
    }
}

/// What a client of the Sentinel face sends: its first byte says where it is cut into two pieces.
pub(crate) fn resp(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else { return };
    let whole = parse(data);
    match parse(&data[..usize::from(*cut).min(data.len())]) {
        Parsed::Incomplete => {}
        decided => assert_eq!(decided, whole, "more bytes do not change what was understood"),
    }
    let directory = &DIRECTORIES[usize::from(cut % 3)];
    let view = View { directory, peers: &[client()], own: client() };
    let password = cut.is_multiple_of(2).then_some("secret");
    let mut session = Session::new(1, password.is_none());
    let (mut rest, mut out) = (data, Vec::new());
    for _ in 0..REQUESTS_MAX {
        let Parsed::Request(words, taken) = parse(rest) else { break };
        assert!(taken > 0 && taken <= rest.len() && taken <= REQUEST_BYTES_MAX + 2, "{taken} bytes");
        assert!(words.len() <= WORDS_MAX, "{} words", words.len());
        rest = &rest[taken..];
        let (replies, closes) = match session.answer(&view, &words, password) {
            Outcome::Replies(replies) => (replies, false),
            Outcome::Close(reply) => (vec![reply], true),
        };
        for reply in &replies {
            for version in [2, 3] {
                out.clear();
                reply.encode(version, &mut out);
                assert_eq!(reply_end(&out, 0), Some(out.len()), "one reply, whole: {out:?}");
            }
        }
        if closes {
            break;
        }
    }
}

/// Where the reply ends that begins the bytes.
fn reply_end(bytes: &[u8], depth: usize) -> Option<usize> {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let (sign, text) = (bytes[0], std::str::from_utf8(&bytes[1..line_end - 2]).ok()?);
    let items = match sign {
        b'+' | b'-' | b':' => return Some(line_end),
        b'_' => return text.is_empty().then_some(line_end),
        b'$' | b'*' if text == "-1" => return Some(line_end),
        b'$' => {
            let end = line_end + text.parse::<usize>().ok()?;
            return (bytes.get(end..end + 2)? == b"\r\n").then_some(end + 2);
        }
        b'*' | b'>' => text.parse::<usize>().ok()?,
        b'%' => text.parse::<usize>().ok()? * 2,
        _ => return None,
    };
    (0..items).try_fold(line_end, |at, _| {
        let below = (depth < DEPTH_MAX).then(|| reply_end(bytes.get(at..)?, depth + 1));
        Some(at + below??)
    })
}

/// A document, as it comes by PUT, from etcd or from a file.
pub(crate) fn document(data: &[u8]) {
    match Document::parse(data, NODES_MAX) {
        Ok(parsed) => {
            let document = parsed.document;
            let nodes: Vec<_> = document.nodes().collect();
            assert!(nodes.len() <= NODES_MAX, "{} nodes", nodes.len());
            for (at, node) in nodes.iter().enumerate() {
                assert!(!nodes[..at].contains(node), "{node} is there twice");
                assert_eq!(node.address.to_string().parse().as_ref(), Ok(&node.address));
            }
            let again = Document::parse(document.to_json().to_string().as_bytes(), NODES_MAX);
            let again = again.expect("what is written can be read");
            assert_eq!((again.document, again.warnings.len()), (document, 0));
        }
        Err(error) => {
            assert!(!error.detail.is_empty() && !error.mistakes.is_empty());
            assert!(error.mistakes.len() <= MISTAKES_MAX, "{} mistakes", error.mistakes.len());
        }
    }
}
