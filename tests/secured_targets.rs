//! A document can lead only where the dictator's operator says that nodes are.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

use harness::cluster::{
    Cluster, assert_problem, assert_settled, assert_untouched, quick_without_enforcement,
};
use harness::dns::{Answer, NameServer, Told};
use harness::redis::RedisOptions;
use harness::{Daemon, Redis};
use serde_json::json;

#[test]
fn addresses_that_can_be_no_nodes_are_refused_and_loopback_is_not() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    for address in
        ["0.0.0.0", "255.255.255.255", "224.0.0.251", "169.254.169.254", "ff02::1", "fe80::1", "::"]
    {
        let mut document = cluster.document(0);
        document["slaves"][0] = json!({"address": address});
        let answer = assert_untouched(&cluster.all(), || cluster.dictator.put_master(&document));
        let problem = assert_problem(&answer, 403, "target-not-allowed");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(address)), "{problem}");
    }
    cluster.move_to(1);
}

#[test]
fn nothing_is_connected_to_beyond_the_list() {
    let elsewhere = TcpListener::bind("127.0.0.9:0").expect("an address beyond the list");
    elsewhere.set_nonblocking(true).expect("a listener that does not wait");
    let port = elsewhere.local_addr().expect("its address").port();
    let nodes = Redis::start_many(2, &RedisOptions::default());
    let address = |ip: [u8; 4]| Told::Address(IpAddr::V4(Ipv4Addr::from(ip)));
    let service = |port: u16, host: &str| Told::Service(port, host.to_owned());
    let names = NameServer::start(vec![
        ("good.test", Answer::Records(vec![address([127, 0, 0, 1])])),
        ("bad.test", Answer::Records(vec![address([127, 0, 0, 9])])),
        ("one.test", Answer::Records(vec![service(nodes[0].address().port(), "good.test")])),
        ("two.test", Answer::Records(vec![service(nodes[1].address().port(), "good.test")])),
        ("elsewhere.test", Answer::Records(vec![service(port, "bad.test")])),
        (
            "both.test",
            Answer::Records(vec![service(nodes[1].address().port(), "good.test"), service(port, "bad.test")]),
        ),
    ]);
    let options = quick_without_enforcement()
        .flag("--nameservers", &names.address().to_string())
        .flag("--allow-targets", "127.0.0.1 10.0.0.0/8");
    let dictator = Daemon::dictator(&options);
    let named =
        |master: &str, slave: &str| json!({"master": {"address": master}, "slaves": [{"address": slave}]});
    dictator.http().put("/master?wait=links", &named("one.test", "two.test")).expect(200);

    let all: Vec<&Redis> = nodes.iter().collect();
    let literal = json!({"master": nodes[0].json(), "slaves": [{"address": "127.0.0.9", "port": port}]});
    let answer = assert_untouched(&all, || dictator.put_master(&literal));
    let problem = assert_problem(&answer, 403, "target-not-allowed");
    assert_eq!(problem["detail"], "127.0.0.9 is not among --allow-targets (127.0.0.1, 10.0.0.0/8)");
    assert_eq!(problem["evidence"]["allow_targets"], json!(["127.0.0.1", "10.0.0.0/8"]));
    for name in ["elsewhere.test", "both.test"] {
        let answer = assert_untouched(&all, || dictator.put_master(&named(name, "one.test")));
        let problem = assert_problem(&answer, 422, "unresolvable");
        assert!(
            problem["detail"].as_str().is_some_and(|detail| detail.contains("127.0.0.9 is not among")),
            "{problem}"
        );
        let receipt = dictator.put_master(&named("one.test", name)).expect(200).json();
        let reason = receipt["pending"][0]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("127.0.0.9 is not among"), "{receipt}");
    }
    dictator.http().put("/master?wait=links", &named("one.test", "two.test")).expect(200);
    assert_settled(&nodes[0], &[&nodes[1]]);
    assert!(elsewhere.accept().is_err(), "somebody connected to it");
}
