//! URLs without a port: looked up as SRV at `--dns`, every instance in its turn.
#![allow(missing_docs)]

mod support;

use std::net::{SocketAddr, TcpListener, UdpSocket};

use harness::{Daemon, DaemonOptions, Etcd};
use support::{Answer, Receiver, TOPOLOGY, TRIGGER, document, wait_delivered, wait_status};

/// DNS types (RFC 1035 section 3.2.2, RFC 2782).
const A: u16 = 1;
const SRV: u16 = 33;

/// A name server that knows one service, `dictator.test`, at these ports of `host.test`, 127.0.0.1.
fn name_server(ports: Vec<u16>) -> SocketAddr {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut packet) {
            let answer = answer(&packet[..length], &ports);
            socket.send_to(&answer, client).expect("answer");
        }
    });
    address
}

fn answer(query: &[u8], ports: &[u16]) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).expect("a name");
    let question = &query[12..name_end + 5];
    let kind = u16::from_be_bytes([query[name_end + 1], query[name_end + 2]]);
    let host = b"\x04host\x04test\x00";
    let records: Vec<Vec<u8>> = match (&question[..=name_end - 12], kind) {
        (b"\x08dictator\x04test\x00", SRV) => {
            let service = |port: &u16| [&[0, 10, 0, 50][..], &port.to_be_bytes(), host].concat();
            ports.iter().map(service).collect()
        }
        (b"\x04host\x04test\x00", A) => vec![vec![127, 0, 0, 1]],
        _ => Vec::new(),
    };
    // Response, authoritative, recursion as desired; NXDOMAIN is told by no records at all here.
    let mut message =
        [&query[..2], &[0x85, 0x00, 0, 1, 0, records.len() as u8, 0, 0, 0, 0], question].concat();
    for record in records {
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 5]);
        message.extend((record.len() as u16).to_be_bytes());
        message.extend(record);
    }
    message
}

fn observer(etcd: &Etcd, dns: SocketAddr) -> Daemon {
    let (ip, port) = (dns.ip().to_string(), dns.port().to_string());
    let options = DaemonOptions::new().variable("DNS", &ip).variable("DNS_PORT", &port);
    Daemon::observer(&etcd.url(), &["http://dictator.test/master".to_owned()], &options)
}

#[test]
fn a_dead_instance_is_passed_over() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    let reserved = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let dead = reserved.local_addr().expect("an address").port();
    drop(reserved);
    let daemon = observer(&etcd, name_server(vec![dead, dictator.address().port()]));
    etcd.put(TOPOLOGY, &document("core-01"));
    let revision = etcd.put(TRIGGER, "1");
    wait_delivered(&daemon, revision);
    let request = dictator.wait_for(1);
    assert_eq!(request.header("host"), Some("dictator.test"));
    assert_eq!(daemon.status()["notify"][0]["last"]["instance"], dictator.address().to_string());
}

#[test]
fn an_instance_that_does_not_lead_passes_the_turn_and_the_one_that_did_is_asked_first() {
    let etcd = Etcd::start();
    let (follower, leader) = (Receiver::start(), Receiver::start());
    follower.answer(Answer::problem("503 Service Unavailable", "not-leader", "the other one leads", ""));
    let daemon = observer(&etcd, name_server(vec![follower.address().port(), leader.address().port()]));
    etcd.put(TOPOLOGY, &document("core-01"));
    let mut revisions = Vec::new();
    for turn in 1..=3 {
        let revision = etcd.put(TRIGGER, &turn.to_string());
        wait_delivered(&daemon, revision);
        revisions.push(revision);
    }
    assert_eq!(leader.revisions(), revisions);
    assert!(follower.revisions().len() <= 1, "asked again and again: {:?}", follower.revisions());

    // They change places, and the next trigger finds the new leader by itself.
    follower.answer(Answer::status("200 OK"));
    leader.answer(Answer::status("503 Service Unavailable"));
    let revision = etcd.put(TRIGGER, "4");
    wait_delivered(&daemon, revision);
    assert_eq!(follower.revisions().last(), Some(&revision));
}

#[test]
fn without_a_name_server_the_port_is_that_of_the_scheme() {
    let etcd = Etcd::start();
    let options = DaemonOptions::new().allow_log("not-answered", "nobody listens on port 80 of this address");
    let daemon = Daemon::observer(&etcd.url(), &["http://127.83.91.7/master".to_owned()], &options);
    etcd.put(TOPOLOGY, &document("core-01"));
    etcd.put(TRIGGER, "1");
    let status = wait_status(&daemon, "an instance", |status| status["notify"][0]["last"].is_object());
    assert_eq!(status["notify"][0]["last"]["instance"], "127.83.91.7:80");
}

#[test]
fn a_name_that_leads_nowhere_is_reported_with_who_was_asked() {
    let etcd = Etcd::start();
    let dns = name_server(Vec::new());
    let options = DaemonOptions::new()
        .flag("--dns", &dns.to_string())
        .allow_log("not-answered", "the name does not exist");
    let daemon = Daemon::observer(&etcd.url(), &["http://nowhere.test/master".to_owned()], &options);
    etcd.put(TOPOLOGY, &document("core-01"));
    etcd.put(TRIGGER, "1");
    let status = wait_status(&daemon, "a report", |status| status["notify"][0]["last"].is_object());
    let detail = status["notify"][0]["last"]["detail"].as_str().expect("a detail");
    assert!(detail.contains("nowhere.test") && detail.contains(&dns.to_string()), "{detail}");
}
