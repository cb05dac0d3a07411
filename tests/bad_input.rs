//! What a dictator is sent by mistake or in malice: each is answered with a problem that is complete, and
//! nothing but reads reaches a node.
//!
//! The documents are one table; requests that no client library would send, names, and nodes that are in
//! a state of their own follow as tests of their own. Refusals that protect data are in `refused_*`,
//! revisions and entity tags in `concurrent_documents`.
#![allow(missing_docs, clippy::disallowed_methods, reason = "a test reads files as it likes")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use harness::cluster::{
    Cluster, assert_never_paused, assert_problem, assert_settled, assert_takes_writes, assert_untouched,
    quick_without_enforcement,
};
use harness::dns::{Answer, NameServer, Told};
use harness::redis::RedisOptions;
use harness::wait::ensure;
use harness::{Daemon, Redis, wait_until};
use serde_json::{Value, json};

/// A body, and how it is refused.
struct Case {
    name: &'static str,
    body: Vec<u8>,
    status: u16,
    slug: &'static str,
    /// A part of the detail, or of one of the errors.
    says: &'static str,
    /// Where the first error is, for mistakes with a place.
    pointer: Option<&'static str>,
}

fn case(
    name: &'static str,
    body: impl Into<Vec<u8>>,
    (status, slug): (u16, &'static str),
    says: &'static str,
    pointer: Option<&'static str>,
) -> Case {
    Case { name, body: body.into(), status, slug, says, pointer }
}

const JSON: (u16, &str) = (400, "malformed-json");
const TOPOLOGY: (u16, &str) = (400, "malformed-topology");
const ADDRESS: (u16, &str) = (400, "invalid-address");

fn with_address(address: &str) -> String {
    json!({"master": {"address": address}, "slaves": []}).to_string()
}

fn with_port(port: &str) -> String {
    format!(r#"{{"master":{{"address":"127.0.0.1","port":{port}}},"slaves":[]}}"#)
}

fn syntax() -> Vec<Case> {
    let deep = "[".repeat(60_000);
    vec![
        case("1 empty body", "", JSON, "body is empty", None),
        case("1 blank body", " \n", JSON, "body is empty", None),
        case("2 cut off", "{", JSON, "line 1 column 1", None),
        case("23 nested 60 000 deep", deep, JSON, "recursion limit", None),
        case("24 not UTF-8", &b"{\"master\":{\"address\":\"\xff\"},\"slaves\":[]}"[..], JSON, "", None),
        case("24 lone surrogate", r#"{"master":{"address":"\ud800"},"slaves":[]}"#, JSON, "", None),
        case("24 byte order mark", "\u{feff}{}", JSON, "byte order mark", None),
        case("25 trailing text", format!("{} x", with_address("a")), JSON, "trailing", None),
        case("25 two documents", with_address("a").repeat(2), JSON, "trailing", None),
        case("3 an array", "[]", TOPOLOGY, "expected an object", Some("")),
        case("3 null", "null", TOPOLOGY, "expected an object", Some("")),
        case("3 a string", r#""x""#, TOPOLOGY, "expected an object", Some("")),
        case("3 a number", "42", TOPOLOGY, "expected an object", Some("")),
        case("4 nothing in it", "{}", TOPOLOGY, "missing field `master`", Some("/master")),
        case(
            "5 no slaves",
            r#"{"master":{"address":"a"}}"#,
            TOPOLOGY,
            "missing field `slaves`",
            Some("/slaves"),
        ),
        case("6 master null", r#"{"master":null,"slaves":[]}"#, TOPOLOGY, "null", Some("/master")),
        case(
            "7 slavs",
            r#"{"master":{"address":"a"},"slavs":[]}"#,
            TOPOLOGY,
            "did you mean `slaves`?",
            Some("/slavs"),
        ),
        case(
            "8 master twice",
            r#"{"master":{"address":"a"},"master":{"address":"b"},"slaves":[]}"#,
            TOPOLOGY,
            "duplicate field `master`",
            Some("/master"),
        ),
        case(
            "9 array for object",
            r#"{"master":["a",6379],"slaves":[]}"#,
            TOPOLOGY,
            "expected an object",
            Some("/master"),
        ),
        case("9 array for document", r#"[{"address":"a"},[]]"#, TOPOLOGY, "expected an object", Some("")),
        case(
            "9 object for array",
            r#"{"master":{"address":"a"},"slaves":{}}"#,
            TOPOLOGY,
            "expected an array",
            Some("/slaves"),
        ),
        case(
            "address a number",
            r#"{"master":{"address":1},"slaves":[]}"#,
            TOPOLOGY,
            "expected a string",
            Some("/master/address"),
        ),
        case(
            "unknown field of a node",
            r#"{"master":{"address":"a","prot":1},"slaves":[]}"#,
            TOPOLOGY,
            "did you mean `port`?",
            Some("/master/prot"),
        ),
        case(
            "discard without life",
            r#"{"master":{"address":"a"},"slaves":[],"discard":[{"address":"b"}]}"#,
            TOPOLOGY,
            "run_id",
            Some("/discard/0/run_id"),
        ),
    ]
}

fn values() -> Vec<Case> {
    let integer = "port must be an integer 1–65535";
    let mut cases: Vec<Case> = ["0", "-1", "65536", "6379.5", "\"6379\"", "1e3", "null"]
        .map(|port| case("10 port", with_port(port), TOPOLOGY, integer, Some("/master/port")))
        .into();
    let label = "a".repeat(64);
    let long = format!("{}.test", "a234567890.".repeat(24).trim_end_matches('.'));
    for address in ["", " ", ".", "..", "a..b", &label, &long] {
        cases.push(case("11 address", with_address(address), ADDRESS, "", Some("/master/address")));
    }
    for address in ["a\r\nb", "a\u{0}b", "a b", "a\n maxmemory 1", "127.0.0.1 17102\nuser evil on nopass"] {
        cases.push(case(
            "12 control or blank",
            with_address(address),
            ADDRESS,
            "byte",
            Some("/master/address"),
        ));
    }
    for address in ["127.0.0.1:6379", "redis://h", "user@h", "h/path", "[::1]:1"] {
        cases.push(case(
            "13 more than an address",
            with_address(address),
            ADDRESS,
            "",
            Some("/master/address"),
        ));
    }
    cases.push(case(
        "13 a port in the address",
        with_address("127.0.0.1:6379"),
        ADDRESS,
        "`port`",
        Some("/master/address"),
    ));
    cases.push(case("14 zone id", with_address("fe80::1%eth0"), ADDRESS, "", Some("/master/address")));
    for address in ["2130706433", "0177.0.0.1", "127.1"] {
        cases.push(case("16 looks numeric", with_address(address), ADDRESS, "", Some("/master/address")));
    }
    for address in ["rеdis", "münchen.test"] {
        cases.push(case("17 not ASCII", with_address(address), ADDRESS, "xn--", Some("/master/address")));
    }
    cases.push(case(
        "18 master and slave at once",
        r#"{"master":{"address":"a","port":1},"slaves":[{"address":"b"},{"address":"a","port":1}]}"#,
        (422, "duplicate-node"),
        "master and a slave",
        Some("/master"),
    ));
    let many: Vec<Value> = (0..1001).map(|number| json!({"address": format!("n{number}")})).collect();
    let many = json!({"master": {"address": "a"}, "slaves": many}).to_string();
    cases.push(case("21 1001 slaves", many, (422, "too-many-nodes"), "limit is 64", Some("/slaves")));
    cases
}

#[test]
fn documents_that_are_none() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let in_force = cluster.dictator.http().get("/master").expect(200).json();
    for case in syntax().into_iter().chain(values()) {
        let Case { name, body, status, slug, says, pointer } = case;
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        let answer = assert_untouched(&cluster.all(), || {
            cluster.dictator.http().request("PUT", "/master", &[], &body)
        });
        assert_eq!(
            (answer.status, answer.slug().as_str()),
            (status, slug),
            "{name} {shown}: {}",
            answer.text()
        );
        let problem = assert_problem(&answer, status, slug);
        assert!(problem.to_string().contains(says), "{name} {shown}: no {says:?} in {problem}");
        if let Some(pointer) = pointer {
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{name} {shown}: {problem}");
        }
        // A dry run is refused in the same way.
        let dry = cluster.dictator.http().request("PUT", "/master?dry_run=true", &[], &body);
        assert_eq!((dry.status, dry.slug().as_str()), (status, slug), "{name} {shown}: {}", dry.text());
    }
    assert_eq!(cluster.dictator.http().get("/master").expect(200).json(), in_force);
    assert_never_paused(&cluster.all());
    cluster.assert_settled(0);
    assert_takes_writes(&cluster.nodes[0]);
}

#[test]
fn every_mistake_is_told_at_once_each_with_its_place() {
    let cluster = Cluster::established(1, &RedisOptions::default(), &quick_without_enforcement());
    let body = r#"{"master":{"address":"a b"},"slaves":[{"address":"c","port":0},{"adress":"d"}],"x":1}"#;
    let answer = cluster.dictator.http().request("PUT", "/master", &[], body.as_bytes());
    assert_eq!(answer.status, 400, "{}", answer.text());
    let problem = answer.json();
    let both = r#"{"master":{"address":"a","port":1},"slaves":[{"address":"a","port":1}]}"#;
    let answer = cluster.dictator.http().request("PUT", "/master", &[], both.as_bytes());
    let duplicate = assert_problem(&answer, 422, "duplicate-node");
    let pointers: Vec<&str> = duplicate["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .filter_map(|error| error["pointer"].as_str())
        .collect();
    assert_eq!(pointers, ["/master", "/slaves/0"], "{duplicate}");
    assert!(problem["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{problem}");
}

#[test]
fn bodies_are_parsed_whatever_their_content_type() {
    let cluster = Cluster::established(1, &RedisOptions::default(), &quick_without_enforcement());
    for content_type in
        ["application/json", "application/x-www-form-urlencoded", "text/xml", "application/octet-stream"]
    {
        let headers = [("Content-Type", content_type)];
        let answer = cluster.dictator.http().put_with("/master", &headers, &cluster.document(0));
        assert_eq!(answer.expect(200).json()["outcome"], "unchanged", "{content_type}");
    }
}

#[test]
fn large_bodies() {
    let mut cluster = Cluster::established(1, &RedisOptions::default(), &quick_without_enforcement());
    let http = cluster.dictator.http();
    let memory_before = resident_kib(cluster.dictator.process().pid());
    let answer =
        assert_untouched(&cluster.all(), || http.request("PUT", "/master", &[], &vec![b' '; 65 * 1024 + 1]));
    assert_problem(&answer, 413, "body-too-large");

    let announced = b"PUT /master HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n{";
    let answer = String::from_utf8_lossy(&http.raw(announced).expect("answered, then closed")).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let mut endless = TcpStream::connect(http.address()).expect("connected");
    endless.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
    endless
        .write_all(b"PUT /master HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("sent");
    let chunk = [&b"1000\r\n"[..], &[b' '; 0x1000], b"\r\n"].concat();
    // Until the other side has had enough.
    while endless.write_all(&chunk).is_ok() {}
    let mut answer = Vec::new();
    // It may end with a reset: what was still sent was not read.
    drop(endless.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let memory = resident_kib(cluster.dictator.process().pid());
    assert!(memory < memory_before + 8 * 1024, "{memory_before} KiB before, {memory} KiB after");
    assert_takes_writes(&cluster.nodes[0]);
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("KiB")
}

#[test]
fn methods_paths_and_parameters() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let http = cluster.dictator.http();
    let body = cluster.document(1).to_string();
    assert_untouched(&cluster.all(), || {
        for method in ["POST", "DELETE", "PATCH"] {
            let answer = http.request(method, "/master", &[], body.as_bytes());
            assert_problem(&answer, 405, "method-not-allowed");
            let allow = answer.header("allow").unwrap_or_default();
            assert!(allow.contains("PUT") && allow.contains("GET"), "{method}: Allow {allow}");
        }
        let answer = http.request("OPTIONS", "/master", &[], b"");
        assert_eq!(
            (answer.status, answer.header("allow").is_some_and(|allow| allow.contains("PUT"))),
            (204, true)
        );
        for path in
            ["/Master", "/master/", "//master", "/master%00", "/../master", "/clusters/other/master", "/"]
        {
            let answer = http.request("PUT", path, &[], body.as_bytes());
            assert_problem(&answer, 404, "not-found");
        }
        for query in ["wiat=links", "wait=forever", "dry_run=maybe", "force=true", "wait=links&wait=links"] {
            let answer = http.request("PUT", &format!("/master?{query}"), &[], body.as_bytes());
            assert_problem(&answer, 400, "unknown-parameter");
        }
        for (name, value) in
            [("X-Topology-Revision", "x"), ("X-Topology-Revision", "-1"), ("If-Match", "garbage")]
        {
            let answer = http.request("PUT", "/master", &[(name, value)], body.as_bytes());
            assert_eq!(answer.status, 400, "{name}: {value}: {}", answer.text());
            assert_problem(&answer, 400, &answer.slug());
        }
    });
    let answer = http.request("PUT", "/nothing", &[("X-Request-Id", "mine")], b"");
    assert_eq!(answer.json()["request_id"], "mine");
    let answer = http.request("PUT", "/master", &[("Accept", "text/plain")], b"{}");
    assert_eq!((answer.status, answer.text().lines().count()), (400, 1), "the detail as one line");
    cluster.assert_settled(0);
    assert_takes_writes(&cluster.nodes[0]);
}

#[test]
fn headers_that_are_too_many_too_long_or_contradict_each_other() {
    let cluster = Cluster::established(1, &RedisOptions::default(), &quick_without_enforcement());
    let http = cluster.dictator.http();
    let status = |bytes: &[u8]| {
        let answer = http.raw(bytes).expect("answered");
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let document = cluster.document(0).to_string();
    let length = document.len();
    assert_untouched(&cluster.all(), || {
        let long = "x".repeat(100 * 1024);
        let request = format!("PUT /master HTTP/1.1\r\nHost: localhost\r\nX-Long: {long}\r\n\r\n");
        assert_eq!(status(request.as_bytes()), "431", "100 KiB of header");
        let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
        let request = format!("PUT /master HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
        assert_eq!(status(request.as_bytes()), "431", "200 headers");
        let request = format!(
            "PUT /master HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        );
        assert_eq!(status(request.as_bytes()), "400", "two lengths");
    });
    let mut client = TcpStream::connect(http.address()).expect("connected");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a deadline");
    let head = format!(
        "PUT /master HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).expect("sent");
    let mut invitation = [0; 25];
    client.read_exact(&mut invitation).expect("an invitation");
    assert_eq!(&invitation[..], b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(document.as_bytes()).expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn slow_and_idle_clients_do_not_keep_others_out() {
    /// More than a dictator keeps.
    const IDLE: usize = 400;
    /// Far less than any of their deadlines.
    const AT_ONCE: Duration = Duration::from_secs(2);
    let cluster = Cluster::established(1, &RedisOptions::default(), &quick_without_enforcement());
    let http = cluster.dictator.http();
    let mut slow_header = TcpStream::connect(http.address()).expect("connected");
    slow_header.write_all(b"PUT /master HTTP/1.1\r\nHost: local").expect("sent");
    let mut slow_body = TcpStream::connect(http.address()).expect("connected");
    slow_body
        .write_all(b"PUT /master HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        .expect("sent");
    for slow in [&slow_header, &slow_body] {
        slow.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline");
    }
    // Each of them costs one look: it is closed, or told that time is up.
    for (name, mut slow) in [("header", slow_header), ("body", slow_body)] {
        let mut answer = Vec::new();
        slow.read_to_end(&mut answer).unwrap_or_else(|error| panic!("slow {name}: {error}"));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "slow {name}: {answer}");
    }
    let idle: Vec<TcpStream> = (0..IDLE).filter_map(|_| TcpStream::connect(http.address()).ok()).collect();
    let started = Instant::now();
    http.put("/master", &cluster.document(0)).expect(200);
    assert!(started.elapsed() < AT_ONCE, "{:?} beside {} idle clients", started.elapsed(), idle.len());
}

#[test]
fn one_instance_under_two_names_and_one_name_twice() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let port = cluster.nodes[0].address().port();
    let mut twice = cluster.document(1);
    twice["slaves"] = json!([cluster.nodes[0].json(), {"address": "localhost", "port": port}]);
    let answer = assert_untouched(&cluster.all(), || cluster.dictator.put_master(&twice));
    let problem = assert_problem(&answer, 409, "same-instance");
    assert_eq!(problem["evidence"]["run_id"], cluster.nodes[0].run_id(), "{problem}");
    assert_eq!(problem["evidence"]["names"].as_array().map(Vec::len), Some(2), "{problem}");
    assert_takes_writes(&cluster.nodes[0]);

    let mut listed_twice = cluster.document(0);
    listed_twice["slaves"] = json!([cluster.nodes[1].json(), cluster.nodes[1].json()]);
    let receipt = cluster.dictator.put_master(&listed_twice).expect(200).json();
    assert_eq!(receipt["slaves"].as_array().map(Vec::len), Some(1), "{receipt}");
    assert!(receipt["warnings"].to_string().contains("more than once"), "{receipt}");
}

#[test]
fn ports_where_no_usable_redis_is() {
    let mut cluster = Cluster::established(1, &RedisOptions::default(), &quick_without_enforcement());
    cluster.dictator.allow_log("", "whatever it says of a strange server");
    let other = Daemon::dictator(&quick_without_enforcement());
    let at = |address: &str, port: u16| json!({"address": address, "port": port});
    let http = other.http().address().port();
    let closed = harness::ports::free_address().port();
    let clustered = Redis::start_with(&RedisOptions::plain().line("cluster-enabled yes"));
    let cases = [
        ("34 HTTP", at("127.0.0.1", http), 502, "not-redis"),
        ("34 closed", at("127.0.0.1", closed), 502, "node-unreachable"),
        ("14 IPv6 is an address", at("::1", closed), 502, "node-unreachable"),
        ("34 cluster mode", clustered.json(), 422, "unsupported-node"),
    ];
    for (name, node, status, slug) in cases {
        let document = json!({"master": node, "slaves": [cluster.nodes[0].json()]});
        let answer = assert_untouched(&cluster.all(), || cluster.dictator.put_master(&document));
        assert_eq!((answer.status, answer.slug().as_str()), (status, slug), "{name}: {}", answer.text());
        assert_problem(&answer, status, slug);
        assert_takes_writes(&cluster.nodes[0]);
    }
    assert_never_paused(&cluster.all());
}

#[test]
fn passwords_and_permissions() {
    let locked = Redis::start_with(&RedisOptions::default().line("requirepass secret-of-the-test"));
    let dictator = Daemon::dictator(&quick_without_enforcement());
    let document = json!({"master": locked.json(), "slaves": []});
    let answer = dictator.put_master(&document);
    let problem = assert_problem(&answer, 502, "node-refused");
    assert!(problem["detail"].to_string().contains("password"), "{problem}");
    drop(dictator);

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "wrong-password\n").expect("written");
    let options = quick_without_enforcement().flag("--redis-password-file", file.to_str().expect("UTF-8"));
    let mut dictator = Daemon::dictator(&options);
    let problem = assert_problem(&dictator.put_master(&document), 502, "node-refused");
    let log = std::fs::read_to_string(dictator.log()).expect("a log");
    assert!(!problem.to_string().contains("wrong-password") && !log.contains("wrong-password"), "{problem}");
    std::fs::write(&file, "secret-of-the-test\n").expect("written");
    dictator.stop();
    dictator.start_again();
    assert_eq!(dictator.put_master(&document).expect(200).json()["outcome"], "established");
    drop(dictator);

    let open = Redis::start();
    open.command("ACL SETUSER dictator on >secret-of-the-test ~* &* +@all -replicaof");
    std::fs::write(&file, "secret-of-the-test\n").expect("written");
    let options = quick_without_enforcement()
        .flag("--redis-password-file", file.to_str().expect("UTF-8"))
        .flag("--redis-username", "dictator");
    let dictator = Daemon::dictator(&options);
    let answer = dictator.put_master(&json!({"master": open.json(), "slaves": []}));
    let problem = assert_problem(&answer, 502, "node-refused");
    assert!(problem.to_string().contains("+replicaof"), "it names the missing rule: {problem}");
    assert_eq!(open.role(), "slave", "nothing was begun");
}

#[test]
fn nodes_that_are_busy_or_serve_no_stale_data() {
    let mut nodes = Redis::start_many(1, &RedisOptions::default().line("busy-reply-threshold 50"));
    nodes.push(Redis::start_with(&RedisOptions::default().line("replica-serve-stale-data no")));
    let cluster = Cluster { dictator: Daemon::dictator(&quick_without_enforcement()), nodes };
    // MASTERDOWN is for readers: a parked node that serves no stale data is attached as any other.
    cluster.move_to(0);
    let address = cluster.nodes[0].address();
    let script = std::thread::spawn(move || {
        let mut connection = harness::resp::Connection::open(address).expect("connected");
        // It ends when it is killed; whether its reply is an error does not matter.
        drop(connection.command(&["EVAL", "while true do end", "0"]));
    });
    wait_until("the script to make the node busy", Duration::from_secs(5), || {
        let reply = cluster.nodes[0].command("PING");
        ensure(reply.is_error(), reply.to_string())
    });
    let answer = cluster.dictator.put_master(&cluster.document(1));
    let problem = assert_problem(&answer, 502, "node-refused");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("SCRIPT KILL")), "{problem}");
    cluster.nodes[0].command("SCRIPT KILL");
    script.join().expect("ended");
    assert_never_paused(&cluster.all());
    cluster.assert_settled(0);
    cluster.move_to(1);
}

fn loopback() -> Told {
    Told::Address(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[test]
fn names_that_lead_nowhere_or_to_many() {
    let nodes = Redis::start_many(3, &RedisOptions::default());
    let port = |index: usize| nodes[index].address().port();
    let service = |port: u16| Told::Service(port, "host.test".to_owned());
    let names = NameServer::start(vec![
        ("host.test", Answer::Records(vec![loopback()])),
        ("one.test", Answer::Records(vec![service(port(0))])),
        ("two.test", Answer::Records(vec![service(port(1))])),
        ("_redis._tcp.prefixed.test", Answer::Records(vec![service(port(1))])),
        ("many.test", Answer::Records(vec![service(port(1)), service(port(2))])),
        ("twice.test", Answer::Records(vec![service(port(1)), Told::Service(port(1), "alias.test".into())])),
        ("alias.test", Answer::Records(vec![Told::Alias("host.test".into()), loopback()])),
        ("none.test", Answer::Records(vec![Told::Service(0, ".".to_owned())])),
        ("zero.test", Answer::Records(vec![service(0)])),
        ("loop.test", Answer::Records(vec![Told::Alias("pool.test".into())])),
        ("pool.test", Answer::Records(vec![Told::Alias("loop.test".into())])),
        ("broken.test", Answer::Code(2)),
        ("silent.test", Answer::Silence),
    ]);
    let options = quick_without_enforcement()
        .flag("--nameservers", &names.address().to_string())
        .allow_log("resolve", "names that do not");
    let dictator = Daemon::dictator(&options);
    let named = |master: &str, slaves: &[&str]| {
        let slaves: Vec<Value> = slaves.iter().map(|name| json!({"address": name})).collect();
        json!({"master": {"address": master}, "slaves": slaves})
    };
    dictator.http().put("/master?wait=links", &named("one.test", &["two.test"])).expect(200);
    assert_settled(&nodes[0], &[&nodes[1]]);

    let all: Vec<&Redis> = nodes.iter().collect();
    for name in ["nxdomain.test", "none.test", "zero.test", "loop.test", "broken.test", "silent.test"] {
        let answer = assert_untouched(&all, || dictator.put_master(&named(name, &["one.test"])));
        assert_eq!(
            (answer.status, answer.slug().as_str()),
            (422, "unresolvable"),
            "{name}: {}",
            answer.text()
        );
        let problem = assert_problem(&answer, 422, "unresolvable");
        assert!(problem["node"].as_str().is_some_and(|node| node.contains(name)), "{problem}");
    }
    for document in [named("many.test", &["one.test"]), named("one.test", &["many.test"])] {
        let answer = assert_untouched(&all, || dictator.put_master(&document));
        assert_problem(&answer, 409, "ambiguous-name");
    }
    assert_never_paused(&all);
    assert_takes_writes(&nodes[0]);

    // A slave's name that leads nowhere holds nothing up; several answers for one instance are fine.
    let receipt = dictator.put_master(&named("one.test", &["two.test", "nxdomain.test"])).expect(200).json();
    assert_eq!(receipt["pending"][0]["address"], "nxdomain.test", "{receipt}");
    for name in ["twice.test", "prefixed.test"] {
        dictator.http().put("/master?wait=links", &named(name, &["one.test"])).expect(200);
        assert_settled(&nodes[1], &[&nodes[0]]);
        dictator.http().put("/master?wait=links", &named("one.test", &[name])).expect(200);
        assert_settled(&nodes[0], &[&nodes[1]]);
    }
}
