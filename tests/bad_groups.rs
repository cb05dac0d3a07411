//! Groups of slaves that are written wrongly, or behind whose name there is nobody: each is answered with a
//! problem that names the place, and nothing but reads reaches a node.

use std::net::{IpAddr, Ipv4Addr};

use harness::cluster::{
    assert_never_paused, assert_problem, assert_settled, assert_takes_writes, assert_untouched,
    quick_without_enforcement,
};
use harness::dns::{Answer, NameServer, Told};
use harness::{Daemon, HttpAnswer, Redis, RedisOptions};
use serde_json::{Value, json};

/// A document with this master and these elements of its list of slaves.
fn document(slaves: &[Value]) -> Value {
    json!({"master": {"address": "one.test"}, "slaves": slaves})
}

fn group(srv: &str) -> Value {
    json!({"srv": srv})
}

/// What is told of a node on this host, under the name of a service.
fn service(node: &Redis, host: &str) -> Told {
    Told::Service(node.address().port(), host.to_owned())
}

/// A name server that knows the first node as `one.test`, all of them as `all.test`, and these names.
fn name_server(nodes: &[Redis], more: Vec<(&str, Answer)>) -> NameServer {
    let known = vec![
        ("host.test", Answer::Records(vec![Told::Address(IpAddr::V4(Ipv4Addr::LOCALHOST))])),
        ("one.test", Answer::Records(vec![service(&nodes[0], "host.test")])),
        ("all.test", Answer::Records(nodes.iter().map(|node| service(node, "host.test")).collect())),
    ];
    NameServer::start(known.into_iter().chain(more).collect())
}

fn start(names: &NameServer, flags: &[(&str, &str)]) -> Daemon {
    let mut options = quick_without_enforcement()
        .flag("--nameservers", &names.address().to_string())
        .allow_log("the group", "names that lead nowhere");
    for (flag, value) in flags {
        options = options.flag(flag, value);
    }
    Daemon::dictator(&options)
}

#[test]
fn groups_of_nobody_and_groups_that_are_none() {
    let nodes = Redis::start_many(3, &RedisOptions::default());
    let all: Vec<&Redis> = nodes.iter().collect();
    let (second, third) = (&nodes[1], &nodes[2]);
    let names = name_server(
        &nodes,
        vec![
            ("_redis._tcp.prefixed.test", Answer::Records(vec![service(second, "host.test")])),
            ("lost.test", Answer::Records(vec![service(second, "nowhere.test")])),
            (
                "half.test",
                Answer::Records(vec![service(second, "host.test"), service(third, "nowhere.test")]),
            ),
            ("number.test", Answer::Records(vec![service(second, "10.0.0.1")])),
            ("none.test", Answer::Records(vec![Told::Service(0, ".".to_owned())])),
            ("broken.test", Answer::Code(2)),
            ("silent.test", Answer::Silence),
        ],
    );
    let dictator = start(&names, &[]);
    let put = |query: &str, document: &Value| dictator.http().put(&format!("/master{query}"), document);
    let place = |answer: &HttpAnswer, status: u16, slug: &str, pointer: &str, words: &str| {
        let problem = assert_problem(answer, status, slug);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        assert!(
            problem["errors"][0]["detail"].as_str().is_some_and(|text| text.contains(words)),
            "{problem}"
        );
    };
    let long = ["a"; 127].join(".") + ".a";
    for (written, slug, pointer, words) in [
        (json!({"srv": 5}), "malformed-topology", "/slaves/1/srv", "expected a string"),
        (json!({"srv": ""}), "invalid-address", "/slaves/1/srv", "srv is empty"),
        (json!({"srv": long}), "invalid-address", "/slaves/1/srv", "at most 253"),
        (json!({"srv": "10.0.0.1"}), "invalid-address", "/slaves/1/srv", "no SRV records"),
        (json!({"srv": "x", "y": 1}), "malformed-topology", "/slaves/1/y", "unknown field `y`"),
        (json!({"srv": "x", "address": "y"}), "malformed-topology", "/slaves/1", "both"),
        (json!({"srv": "x", "members": 1}), "malformed-topology", "/slaves/1/members", "an array"),
    ] {
        let wrong = document(&[json!({"address": "two.test"}), written]);
        for query in ["", "?dry_run=true"] {
            let answer = assert_untouched(&all, || put(query, &wrong));
            place(&answer, 400, slug, pointer, words);
        }
    }
    for (srv, words) in [
        ("nxdomain.test", "no such name"),
        ("none.test", "not available"),
        ("broken.test", "failed"),
        ("silent.test", "no answer"),
        ("number.test", "RFC 2782"),
        ("lost.test", "nowhere.test"),
    ] {
        let answer = assert_untouched(&all, || put("", &document(&[group(srv)])));
        place(&answer, 422, "unresolvable", "/slaves/0/srv", words);
    }
    dictator.http().get("/master").expect(404);
    assert_never_paused(&all);

    // One that can be found is taken, and the other one told.
    let receipt = put("?wait=links", &document(&[group("half.test")])).expect(200).json();
    assert!(receipt["warnings"].to_string().contains("nowhere.test"), "{receipt}");
    assert_settled(&nodes[0], &[&nodes[1]]);
    put("?wait=links", &document(&[group("prefixed.test"), group("all.test")])).expect(200);
    assert_settled(&nodes[0], &[&nodes[1], &nodes[2]]);
    // What the dictator shows may be sent back to it, and is the same document.
    let shown = dictator.http().get("/master").expect(200).json();
    assert_eq!(put("", &shown).expect(200).json()["outcome"], "unchanged");
    assert_eq!(dictator.http().get("/master").expect(200).json(), shown);
    assert_takes_writes(&nodes[0]);
}

#[test]
fn members_pass_the_checks_of_named_slaves() {
    let nodes = Redis::start_many(3, &RedisOptions::default());
    let all: Vec<&Redis> = nodes.iter().collect();
    let names = name_server(
        &nodes,
        vec![
            ("other.test", Answer::Records(vec![Told::Address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)))])),
            ("outside.test", Answer::Records(vec![service(&nodes[1], "other.test")])),
        ],
    );
    let dictator = start(&names, &[("--allow-targets", "127.0.0.1/32"), ("--nodes-max", "3")]);
    let put = |document: &Value| dictator.put_master(document);
    let answer = assert_untouched(&all, || put(&document(&[group("outside.test")])));
    let problem = assert_problem(&answer, 422, "unresolvable");
    assert!(problem["errors"][0]["detail"].to_string().contains("--allow-targets"), "{problem}");

    let more = document(&[group("all.test"), json!({"address": "127.0.0.1", "port": 1})]);
    let answer = assert_untouched(&all, || put(&more));
    let problem = assert_problem(&answer, 422, "too-many-nodes");
    assert_eq!(problem["errors"][0]["pointer"], "/slaves", "{problem}");

    // A named slave that is behind the name as well is one slave.
    let twice = json!({"address": "127.0.0.1", "port": nodes[2].address().port()});
    put(&document(&[group("all.test"), twice])).expect(200);
    let slaves = dictator.status()["nodes"].as_array().map(Vec::len);
    assert_eq!(slaves, Some(3), "{}", dictator.status());
}
