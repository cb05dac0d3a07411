//! The list for Dynomite, asked for and read as Dynomite does it: a raw request, everything until the
//! connection ends, and then parsed from the right.
#![allow(missing_docs)]

#[path = "../../crates/resolve/tests/support/mod.rs"]
mod name_server;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use name_server::{Reply as Answer, Script};
use support::{Dnsd, config, request, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const NOWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 9);
const DOCUMENT: &str = r#"{"master":{"address":"core-01.redis-1.docker","port":7001},
    "slaves":[{"address":"core-02.redis-1.docker","port":7001},{"address":"core-03.redis-1.docker","port":7001}]}"#;
/// What Dynomite sends unless it is told otherwise; the address it names is where it connects.
const REQUEST: &str =
    "GET /REST/v1/admin/get_seeds HTTP/1.0\r\nHost: 127.0.0.1\r\nUser-Agent: HTMLGET 1.0\r\n\r\n";
const RACK: [&str; 6] = ["--seeds-rack", "rack1", "--seeds-dc", "dc1", "--seeds-token", "10113428"];

/// One node of Dynomite's, as it understands the list.
#[derive(Debug, PartialEq, Eq)]
struct Seed {
    host: String,
    port: String,
    rack: String,
    dc: String,
    token: String,
}

/// Sends a request as Dynomite does and takes what it takes; `None`: Dynomite would not.
async fn florida(address: SocketAddr, request: &str) -> Option<Vec<Seed>> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // It reads until the end and has no deadline; the test has.
    timeout(Duration::from_secs(3), stream.read_to_end(&mut answer))
        .await
        .expect("the connection is closed after the answer")
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    if !answer.lines().next()?.ends_with("200 OK") {
        return None;
    }
    assert!(answer.contains("200 OK\r\n"), "{answer:?}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_ascii_lowercase().contains("chunked"), "{head}");
    assert!(!body.contains(char::is_whitespace), "{body:?} would spoil a token");
    let seeds = body.split('|').map(|seed| {
        let mut parts = seed.rsplitn(5, ':');
        let mut next = || parts.next().unwrap_or_else(|| panic!("{seed:?} lacks a part")).to_owned();
        let (token, dc, rack, port, host) = (next(), next(), next(), next(), next());
        assert!(token.bytes().all(|byte| byte.is_ascii_digit()), "{seed}");
        Seed { host, port, rack, dc, token }
    });
    Some(seeds.collect())
}

fn hosts(seeds: Option<Vec<Seed>>) -> Vec<String> {
    seeds.expect("a list").into_iter().map(|seed| seed.host).collect()
}

fn nodes() -> Script {
    Script::default()
        .address("core-01.redis-1.docker.", &["10.0.0.1"])
        .address("core-02.redis-1.docker.", &["10.0.0.2"])
        .address("core-03.redis-1.docker.", &["10.0.0.3"])
}

#[tokio::test]
async fn the_published_nodes_are_the_seeds() {
    let names = nodes().serve().await;
    let folder = tempfile::tempdir().unwrap();
    let more = [&RACK[..], &["--seeds-host", "core-02"]].concat();
    let dnsd = Dnsd::start(config(folder.path(), names.address, &more)).await;
    assert_eq!(florida(dnsd.http, REQUEST).await, None, "nothing was published yet");
    let reply = dnsd.get("/seeds").await;
    assert_eq!((reply.status, reply.slug().as_str()), (503, "no-seeds"));

    assert_eq!(dnsd.put(DOCUMENT, &[]).await.status, 200);
    let seed = |host: &str, token: &str| Seed {
        host: host.to_owned(),
        port: "8101".to_owned(),
        rack: "rack1".to_owned(),
        dc: "dc1".to_owned(),
        token: token.to_owned(),
    };
    let expected = [seed("10.0.0.1", "1011342801"), seed("10.0.0.3", "1011342803")];
    assert_eq!(florida(dnsd.http, REQUEST).await.unwrap(), expected);
    // By HTTP/1.1 and our own path too, and then as well the connection is closed.
    let text = format!("GET /seeds HTTP/1.1\r\nHost: {}\r\n\r\n", dnsd.http);
    assert_eq!(florida(dnsd.http, &text).await.unwrap(), expected);
    let head = request(dnsd.http, "HEAD", "/seeds", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(dnsd.get("/").await.status, 404, "only with --seeds-at-root");
    assert_eq!(dnsd.get("/seeds?rack=rack1").await.slug(), "unknown-parameter");
    assert_eq!(request(dnsd.http, "POST", "/seeds", &[], "").await.status, 405);

    // When this host is the only one left, the last list of others stays.
    let alone = r#"{"master":{"address":"core-02.redis-1.docker","port":7001},"slaves":[]}"#;
    assert_eq!(dnsd.put(alone, &[]).await.status, 200);
    assert_eq!(florida(dnsd.http, REQUEST).await.unwrap(), expected);
    let two = r#"{"master":{"address":"core-02.redis-1.docker","port":7001},
        "slaves":[{"address":"core-03.redis-1.docker","port":7001}]}"#;
    assert_eq!(dnsd.put(two, &[]).await.status, 200);
    assert_eq!(hosts(florida(dnsd.http, REQUEST).await), ["10.0.0.3"]);
    dnsd.stop().await;
}

#[tokio::test]
async fn a_node_that_moves_is_told_with_its_new_address() {
    let names = nodes().serve().await;
    let folder = tempfile::tempdir().unwrap();
    let more = ["--seeds-host", "core-01", "--seeds-at-root"];
    let dnsd = Dnsd::start(config(folder.path(), names.address, &more)).await;
    assert_eq!(dnsd.put(DOCUMENT, &[]).await.status, 200);
    let at_root = "GET / HTTP/1.0\r\n\r\n";
    let seeds = florida(dnsd.http, at_root).await.unwrap();
    assert_eq!(
        (seeds[0].rack.as_str(), seeds[0].dc.as_str(), seeds[0].token.as_str()),
        ("localrack", "localdc", "02")
    );
    names.replace(nodes().address("core-03.redis-1.docker.", &["10.0.0.33"]));
    wait_until("the new address is told", async || {
        hosts(florida(dnsd.http, at_root).await) == ["10.0.0.2", "10.0.0.33"]
    })
    .await;
    dnsd.stop().await;
}

const SERVICE: &str = "dynomite.caches.svc.cluster.local.";

/// A headless service with these pods.
fn pods(ordinals: &[u8]) -> Script {
    let names: Vec<String> = ordinals.iter().map(|ordinal| format!("dynomite-{ordinal}.{SERVICE}")).collect();
    let targets: Vec<(u16, &str)> = names.iter().map(|name| (22122, name.as_str())).collect();
    Script::default().srv(SERVICE, &targets)
}

#[tokio::test]
async fn the_pods_of_a_headless_service_are_the_seeds() {
    // Not among the records yet: they may be those of another service, and are not believed.
    let names = pods(&[1, 2]).serve().await;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(
        folder.path(),
        SocketAddr::from(NOWHERE),
        &["--seeds-host", "dynomite-0", "--seeds-service", "dynomite", "--seeds-namespace", "caches"],
    );
    // The search list of a pod, in the order Kubernetes writes it.
    settings.resolver.name_servers = vec![names.address];
    settings.resolver.search =
        ["caches.svc.cluster.local", "svc.cluster.local", "cluster.local"].map(str::to_owned).to_vec();
    let dnsd = Dnsd::start(settings).await;
    wait_until("the service was asked for", async || names.asked().contains(&format!("SRV {SERVICE}"))).await;
    wait_until("the reason is told", async || {
        let reply = dnsd.get("/seeds").await;
        reply.status == 503 && reply.body.contains("this host, dynomite-0, is not among the SRV records")
    })
    .await;

    names.replace(pods(&[0, 1, 2]));
    wait_until("there is a list", async || florida(dnsd.http, REQUEST).await.is_some()).await;
    let told = hosts(florida(dnsd.http, REQUEST).await);
    assert_eq!(
        told,
        ["dynomite-1.dynomite.caches.svc.cluster.local", "dynomite-2.dynomite.caches.svc.cluster.local"]
    );
    // Scaled up: seen within seconds, and not before the next look.
    names.replace(pods(&[0, 1, 2, 3]));
    wait_until("the new pod is told", async || hosts(florida(dnsd.http, REQUEST).await).len() == 3).await;

    // Whatever fails takes nobody away.
    for (script, trouble) in [
        (Script::default().code(SERVICE, RecordType::SRV, ResponseCode::ServFail), "cannot be had"),
        (Script::default(), "cannot be had"),
        (pods(&[4, 5]), "is not among the SRV records"),
        (
            Script::default().reply(SERVICE, RecordType::SRV, Answer::Silence),
            "no name server answered in time",
        ),
    ] {
        names.replace(script);
        let asked = names.count();
        wait_until(trouble, async || names.count() >= asked + 5).await;
        assert_eq!(hosts(florida(dnsd.http, REQUEST).await).len(), 3, "{trouble}");
    }
    names.replace(pods(&[0, 3]));
    wait_until("the last answer counts again", async || hosts(florida(dnsd.http, REQUEST).await).len() == 1)
        .await;
    dnsd.stop().await;
}

#[tokio::test]
async fn settings_that_would_spoil_the_list_are_refused() {
    use std::collections::BTreeMap;
    let read = |arguments: &[&str]| {
        let arguments = std::iter::once("dnsd").chain(arguments.iter().copied());
        dnsd::config::read(arguments, &BTreeMap::new())
    };
    let exit = read(&[
        "--seeds-rack",
        "a:b",
        "--seeds-dc",
        "a|b",
        "--seeds-token",
        "12x",
        "--seeds-service",
        "10.0.0.1",
        "--skydns-etcd",
        "https://etcd",
    ])
    .unwrap_err();
    assert_eq!(exit.code, 64);
    for flag in ["--seeds-rack", "--seeds-dc", "--seeds-token", "--seeds-service", "--skydns-etcd"] {
        assert!(exit.stderr.contains(flag), "{flag}:\n{}", exit.stderr);
    }
    let variables = [
        ("DYN_RACK", "r"),
        ("DYN_DC", "d"),
        ("DYN_TOKEN", "1"),
        ("DYN_SVC", "dyn"),
        ("POD_NAMESPACE", "ns"),
        ("HOSTNAME", "123456789012"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let seeds = dnsd::config::read(["dnsd"], &BTreeMap::from(variables)).unwrap().config.discovery.seeds;
    assert_eq!((seeds.rack.as_str(), seeds.dc.as_str(), seeds.token_prefix.as_str()), ("r", "d", "1"));
    assert_eq!(seeds.service.unwrap().to_string(), "dyn.ns.svc");
    assert_eq!(seeds.own_host.as_deref(), Some("123456789012"));
}
