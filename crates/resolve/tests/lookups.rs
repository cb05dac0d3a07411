//! Every way a name can lead somewhere or nowhere, asked of a scripted name server.
#![allow(missing_docs)]

mod support;

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, RecordType};
use resolve::{Reason, ResolveError, Resolver, Settings};
use support::{Reply, Script, Server, cname};
use topology::NodeName;

const DEADLINE: Duration = Duration::from_millis(900);

fn node(address: &str, port: u16) -> NodeName {
    NodeName { address: address.parse().unwrap(), port: NonZeroU16::new(port) }
}

fn settings(servers: &[&Server], search: &[&str]) -> Settings {
    Settings {
        name_servers: servers.iter().map(|server| server.address).collect(),
        search: search.iter().map(|&domain| domain.to_owned()).collect(),
        hosts: "/nonexistent/hosts".into(),
        resolv_conf: "/nonexistent/resolv.conf".into(),
        deadline: DEADLINE,
    }
}

async fn ask(server: &Server, name: NodeName) -> Result<Vec<SocketAddr>, ResolveError> {
    Resolver::new(settings(&[server], &[])).unwrap().resolve(&name).await
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_literal_is_itself_and_nobody_is_asked() {
    let server = Script::default().serve().await;
    assert_eq!(ask(&server, node("10.0.0.4", 0)).await.unwrap(), addresses(&["10.0.0.4:6379"]));
    assert_eq!(ask(&server, node("::1", 7000)).await.unwrap(), addresses(&["[::1]:7000"]));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn srv_at_the_name_comes_first() {
    let server = Script::default()
        .srv("core-01.redis-1.docker.", &[(7001, "host-a.docker.")])
        .srv("_redis._tcp.core-01.redis-1.docker.", &[(7002, "host-a.docker.")])
        .address("core-01.redis-1.docker.", &["10.0.0.9"])
        .address("host-a.docker.", &["10.0.0.1"])
        .serve()
        .await;
    let found = ask(&server, node("core-01.redis-1.docker", 0)).await.unwrap();
    assert_eq!(found, addresses(&["10.0.0.1:7001"]));
    assert_eq!(server.asked()[0], "SRV core-01.redis-1.docker.");
    assert!(!server.asked().iter().any(|question| question.contains("_redis")));
}

#[tokio::test]
async fn then_the_service_name_then_addresses() {
    let server = Script::default()
        .srv("_redis._tcp.b.docker.", &[(7002, "host-b.docker.")])
        .address("host-b.docker.", &["10.0.0.2"])
        .address("c.docker.", &["10.0.0.3", "2001:db8::3"])
        .serve()
        .await;
    assert_eq!(ask(&server, node("b.docker", 0)).await.unwrap(), addresses(&["10.0.0.2:7002"]));
    assert_eq!(
        ask(&server, node("c.docker", 0)).await.unwrap(),
        addresses(&["10.0.0.3:6379", "[2001:db8::3]:6379"])
    );
    let asked = server.asked();
    let about_c: Vec<&str> =
        asked.iter().map(String::as_str).filter(|question| question.contains("c.docker")).collect();
    assert_eq!(about_c[..2], ["SRV c.docker.", "SRV _redis._tcp.c.docker."]);
    assert_eq!(about_c.len(), 4);
}

#[tokio::test]
async fn a_written_port_wins_and_no_srv_is_asked() {
    let server = Script::default()
        .srv("d.docker.", &[(7001, "d.docker.")])
        .address("d.docker.", &["10.0.0.4"])
        .serve()
        .await;
    assert_eq!(ask(&server, node("d.docker", 7777)).await.unwrap(), addresses(&["10.0.0.4:7777"]));
    assert!(!server.asked().iter().any(|question| question.starts_with("SRV")));
}

#[tokio::test]
async fn several_answers_are_several_candidates_in_order() {
    let server = Script::default()
        .srv("e.docker.", &[(7002, "host-b.docker."), (7001, "host-a.docker."), (7001, "host-a.docker.")])
        .address("host-a.docker.", &["10.0.0.1"])
        .address("host-b.docker.", &["10.0.0.2"])
        .address("f.docker.", &["10.0.0.9", "10.0.0.8"])
        .serve()
        .await;
    let found = ask(&server, node("e.docker", 0)).await.unwrap();
    assert_eq!(found, addresses(&["10.0.0.1:7001", "10.0.0.2:7002"]));
    let found = ask(&server, node("f.docker", 0)).await.unwrap();
    assert_eq!(found, addresses(&["10.0.0.8:6379", "10.0.0.9:6379"]));
}

#[tokio::test]
async fn srv_target_dot_and_port_zero() {
    let server = Script::default()
        .srv("gone.docker.", &[(0, ".")])
        .address("gone.docker.", &["10.0.0.1"])
        .srv("zero.docker.", &[(0, "host-a.docker.")])
        .address("host-a.docker.", &["10.0.0.1"])
        .srv("empty.docker.", &[(7001, "nowhere.docker.")])
        .serve()
        .await;
    let error = ask(&server, node("gone.docker", 0)).await.unwrap_err();
    assert_eq!(error.reason, Reason::NotAvailable);
    assert!(error.to_string().contains("RFC 2782"), "{error}");
    let error = ask(&server, node("zero.docker", 0)).await.unwrap_err();
    assert!(error.to_string().contains("port 0"), "{error}");
    let error = ask(&server, node("empty.docker", 0)).await.unwrap_err();
    assert!(matches!(error.reason, Reason::BadAnswer { .. }), "{error}");
    assert!(error.asked.contains(&"A/AAAA nowhere.docker.".to_owned()), "{error}");
}

#[tokio::test]
async fn nxdomain_and_nodata_are_not_found_with_evidence() {
    let server = Script::default()
        .reply("nodata.docker.", RecordType::TXT, Reply::Code(ResponseCode::NoError))
        .serve()
        .await;
    for name in ["missing.docker", "nodata.docker"] {
        let error = ask(&server, node(name, 0)).await.unwrap_err();
        assert_eq!(error.reason, Reason::NotFound, "{error}");
        assert_eq!(
            error.asked,
            [format!("SRV {name}."), format!("SRV _redis._tcp.{name}."), format!("A/AAAA {name}.")]
        );
        let text = error.to_string();
        assert!(text.contains(&server.address.to_string()) && text.contains(name), "{text}");
    }
}

#[tokio::test]
async fn a_failing_server_ends_the_lookup_instead_of_changing_its_result() {
    let server = Script::default()
        .code("g.docker.", RecordType::SRV, ResponseCode::ServFail)
        .address("g.docker.", &["10.0.0.1"])
        .code("h.docker.", RecordType::A, ResponseCode::Refused)
        .serve()
        .await;
    let error = ask(&server, node("g.docker", 0)).await.unwrap_err();
    assert!(
        matches!(&error.reason, Reason::ServerFailed { detail } if detail.contains("Server Failure")),
        "{error}"
    );
    let error = ask(&server, node("h.docker", 6379)).await.unwrap_err();
    assert!(matches!(&error.reason, Reason::ServerFailed { .. }), "{error}");
}

#[tokio::test]
async fn one_broken_family_does_not_hide_the_other() {
    let server = Script::default()
        .address("i.docker.", &["10.0.0.1"])
        .code("i.docker.", RecordType::AAAA, ResponseCode::ServFail)
        .serve()
        .await;
    assert_eq!(ask(&server, node("i.docker", 6379)).await.unwrap(), addresses(&["10.0.0.1:6379"]));
}

#[tokio::test]
async fn silence_is_a_timeout_by_the_deadline() {
    let server = Script::default().reply("j.docker.", RecordType::SRV, Reply::Silence).serve().await;
    let began = Instant::now();
    let error = ask(&server, node("j.docker", 0)).await.unwrap_err();
    assert!(matches!(error.reason, Reason::Timeout { .. }), "{error}");
    assert_eq!(error.asked, ["SRV j.docker."]);
    assert!(began.elapsed() < DEADLINE * 2, "took {:?}", began.elapsed());
}

#[tokio::test]
async fn nobody_at_the_port_is_a_server_failure() {
    let server = Script::default().serve().await;
    let mut settings = settings(&[&server], &[]);
    drop(server);
    settings.deadline = Duration::from_secs(4);
    let error = Resolver::new(settings).unwrap().resolve(&node("k.docker", 0)).await.unwrap_err();
    assert!(matches!(error.reason, Reason::ServerFailed { .. } | Reason::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_fails_but_not_when_it_knows() {
    let silent = Script::default()
        .reply("l.docker.", RecordType::A, Reply::Silence)
        .reply("l.docker.", RecordType::AAAA, Reply::Silence)
        .code("m.docker.", RecordType::A, ResponseCode::ServFail)
        .code("m.docker.", RecordType::AAAA, ResponseCode::ServFail)
        .serve()
        .await;
    let good = Script::default()
        .address("l.docker.", &["10.0.0.1"])
        .address("m.docker.", &["10.0.0.2"])
        .address("n.docker.", &["10.0.0.3"])
        .serve()
        .await;
    let mut settings = settings(&[&silent, &good], &[]);
    settings.deadline = Duration::from_secs(5);
    let resolver = Resolver::new(settings.clone()).unwrap();
    // NXDOMAIN of the first server is an answer.
    let error = resolver.resolve(&node("n.docker", 6379)).await.unwrap_err();
    assert_eq!(error.reason, Reason::NotFound);
    assert_eq!(resolver.resolve(&node("m.docker", 6379)).await.unwrap(), addresses(&["10.0.0.2:6379"]));
    let resolver = Resolver::new(settings).unwrap();
    assert_eq!(resolver.resolve(&node("l.docker", 6379)).await.unwrap(), addresses(&["10.0.0.1:6379"]));
}

#[tokio::test]
async fn cname_chains_are_followed_loops_are_named() {
    let service = RData::SRV(SRV::new(10, 100, 7001, Name::from_ascii("host-a.docker.").unwrap()));
    let server = Script::default()
        .reply(
            "alias.docker.",
            RecordType::SRV,
            Reply::Records(vec![
                cname("alias.docker.", "real.docker."),
                ("real.docker.".to_owned(), service),
            ]),
        )
        .address("host-a.docker.", &["10.0.0.1"])
        .reply("one.docker.", RecordType::A, Reply::Records(vec![cname("one.docker.", "two.docker.")]))
        .reply("one.docker.", RecordType::AAAA, Reply::Records(vec![cname("one.docker.", "two.docker.")]))
        .address("two.docker.", &["10.0.0.2"])
        .reply("p.docker.", RecordType::A, Reply::Records(vec![cname("p.docker.", "q.docker.")]))
        .reply("p.docker.", RecordType::AAAA, Reply::Records(vec![cname("p.docker.", "q.docker.")]))
        .reply("q.docker.", RecordType::A, Reply::Records(vec![cname("q.docker.", "p.docker.")]))
        .reply("q.docker.", RecordType::AAAA, Reply::Records(vec![cname("q.docker.", "p.docker.")]))
        .serve()
        .await;
    assert_eq!(ask(&server, node("alias.docker", 0)).await.unwrap(), addresses(&["10.0.0.1:7001"]));
    assert_eq!(ask(&server, node("one.docker", 6379)).await.unwrap(), addresses(&["10.0.0.2:6379"]));
    let error = ask(&server, node("p.docker", 6379)).await.unwrap_err();
    assert!(matches!(&error.reason, Reason::BadAnswer { detail } if detail.contains("loop")), "{error}");
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_over_tcp() {
    let records = vec![("r.docker.".to_owned(), RData::A("10.0.0.1".parse().unwrap()))];
    let server =
        Script::default().reply("r.docker.", RecordType::A, Reply::TruncatedThen(records)).serve().await;
    assert_eq!(ask(&server, node("r.docker", 6379)).await.unwrap(), addresses(&["10.0.0.1:6379"]));
}

#[tokio::test]
async fn the_search_list_serves_srv_and_addresses() {
    let server = Script::default()
        .srv("core-01.redis-1.docker.", &[(7001, "host-a.docker.")])
        .address("host-a.docker.", &["10.0.0.1"])
        .address("core-02.redis-2.docker.", &["10.0.0.2"])
        .address("dotted.name.", &["10.0.0.3"])
        .serve()
        .await;
    let resolver = Resolver::new(settings(&[&server], &["redis-1.docker", "redis-2.docker"])).unwrap();
    assert_eq!(resolver.resolve(&node("core-01", 0)).await.unwrap(), addresses(&["10.0.0.1:7001"]));
    assert_eq!(resolver.resolve(&node("core-02", 7002)).await.unwrap(), addresses(&["10.0.0.2:7002"]));
    assert_eq!(server.asked()[0], "SRV core-01.redis-1.docker.", "short names are searched first");
    assert_eq!(resolver.resolve(&node("dotted.name", 1)).await.unwrap(), addresses(&["10.0.0.3:1"]));
    assert!(!server.asked().iter().any(|question| question.contains("dotted.name.redis")));
}

#[tokio::test]
async fn the_hosts_file_is_asked_first_for_addresses_and_localhost_needs_nobody() {
    let server = Script::default().address("core-03.docker.", &["10.0.0.9"]).serve().await;
    let mut hosts = tempfile::NamedTempFile::new().unwrap();
    writeln!(hosts, "10.0.0.3 core-03.docker core-03").unwrap();
    let mut settings = settings(&[&server], &[]);
    settings.hosts = hosts.path().to_owned();
    let resolver = Resolver::new(settings.clone()).unwrap();
    assert_eq!(resolver.resolve(&node("core-03.docker", 1)).await.unwrap(), addresses(&["10.0.0.3:1"]));
    let found = resolver.resolve(&node("localhost", 0)).await.unwrap();
    assert_eq!(found, addresses(&["127.0.0.1:6379", "[::1]:6379"]));
    assert!(server.asked().is_empty());

    // A machine without any name server still knows its hosts file, and says what it lacks otherwise.
    settings.name_servers.clear();
    let resolver = Resolver::new(settings).unwrap();
    assert_eq!(resolver.resolve(&node("core-03", 0)).await.unwrap(), addresses(&["10.0.0.3:6379"]));
    let error = resolver.resolve(&node("core-04", 0)).await.unwrap_err();
    assert!(error.to_string().contains("no name server"), "{error}");
}

#[tokio::test]
async fn resolv_conf_is_read_again_for_each_batch() {
    // Servers of resolv.conf are asked at port 53, where no test can listen; what is seen here is
    // that the list of the error follows the file.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let settings = Settings {
        resolv_conf: file.path().to_owned(),
        hosts: "/nonexistent/hosts".into(),
        deadline: Duration::from_millis(50),
        ..Settings::default()
    };
    let resolver = Resolver::new(settings).unwrap();
    assert!(resolver.resolve(&node("s.docker", 0)).await.unwrap_err().servers.is_empty());
    writeln!(file, "nameserver 127.0.0.77").unwrap();
    let error = resolver.resolve(&node("s.docker", 0)).await.unwrap_err();
    assert_eq!(error.servers, addresses(&["127.0.0.77:53"]));
}

#[tokio::test]
async fn many_names_at_once_give_one_frozen_map() {
    let mut script = Script::default();
    let mut names = Vec::new();
    for index in 0..50 {
        let name = format!("n{index}.docker");
        script = script.address(&format!("{name}."), &[&format!("10.0.1.{index}")]);
        names.push(node(&name, 0));
    }
    names.push(node("missing.docker", 0));
    let server = script.serve().await;
    let resolver = Resolver::new(settings(&[&server], &[])).unwrap();
    let resolved = resolver.resolve_all(names.clone()).await;
    assert_eq!(resolved.len(), 51);
    assert_eq!(resolved[&names[7]].as_ref().unwrap(), &addresses(&["10.0.1.7:6379"]));
    assert_eq!(resolved[&names[50]].as_ref().unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn a_service_that_is_not_redis_has_its_own_port_and_no_service_prefix() {
    let server = Script::default()
        .srv("dictator.docker.", &[(7002, "host-b.docker."), (7001, "host-a.docker.")])
        .address("host-a.docker.", &["10.0.0.1"])
        .address("host-b.docker.", &["10.0.0.2"])
        .srv("_redis._tcp.dnsd.docker.", &[(6379, "host-a.docker.")])
        .address("dnsd.docker.", &["10.0.0.3"])
        .serve()
        .await;
    let resolver = Resolver::new(settings(&[&server], &[])).unwrap();
    let port = NonZeroU16::new(80).unwrap();
    let find = async |name: &str| resolver.resolve_service(&name.parse().unwrap(), port).await;
    assert_eq!(find("dictator.docker").await.unwrap(), addresses(&["10.0.0.1:7001", "10.0.0.2:7002"]));
    assert_eq!(find("dnsd.docker").await.unwrap(), addresses(&["10.0.0.3:80"]));
    assert_eq!(find("10.0.0.4").await.unwrap(), addresses(&["10.0.0.4:80"]));
    assert_eq!(find("gone.docker").await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn targets_are_told_as_they_are_and_nobody_asks_for_their_addresses() {
    const OWNER: &str = "dyn.caches.svc.cluster.local.";
    let record = |pod: usize| {
        let target = Name::from_ascii(format!("dynomite-{pod:02}.Dyn.svc.cluster.local.")).unwrap();
        (OWNER.to_owned(), RData::SRV(SRV::new(0, 100, 22122, target)))
    };
    let server = Script::default()
        .reply(OWNER, RecordType::SRV, Reply::TruncatedThen((0..40).map(record).collect()))
        .srv("gone.cluster.local.", &[(1, ".")])
        .serve()
        .await;
    let resolver = Resolver::new(settings(&[&server], &["svc.cluster.local", "cluster.local"])).unwrap();
    let found = resolver.targets(&"dyn.caches.svc".parse().unwrap()).await.unwrap();
    assert_eq!(found.len(), 40, "a service may have more members than a node has addresses");
    assert_eq!((found[0].host.as_str(), found[0].port), ("dynomite-00.dyn.svc.cluster.local", 22122));
    assert!(server.asked().iter().all(|question| question.starts_with("SRV ")), "{:?}", server.asked());

    let error = resolver.targets(&"gone.cluster.local".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.reason, Reason::NotAvailable);
    let error = resolver.targets(&"other".parse().unwrap()).await.unwrap_err();
    assert_eq!((error.reason, error.asked.len()), (Reason::NotFound, 3));
}
