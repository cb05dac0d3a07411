//! How the observer lives: what systemd hears, what its HTTP face answers, how it ends.
#![allow(missing_docs)]

mod support;

use std::os::unix::net::UnixDatagram;

use harness::{DaemonOptions, Etcd, wait_until};
use support::{Receiver, SOON, observer, observer_with};

#[test]
fn systemd_hears_when_it_is_up_what_it_does_and_when_it_goes() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_nonblocking(true).expect("not blocking");
    let options = DaemonOptions::new().variable("NOTIFY_SOCKET", &path.display().to_string());
    let mut daemon = observer_with(&etcd, &[&Receiver::start()], options);
    let mut heard = String::new();
    let mut hear = |what: &str| {
        wait_until(&format!("systemd to hear {what}"), SOON, || {
            let mut datagram = [0; 4096];
            while let Ok(length) = socket.recv(&mut datagram) {
                heard.push_str(&String::from_utf8_lossy(&datagram[..length]));
                heard.push('\n');
            }
            if heard.contains(what) { Ok(()) } else { Err(heard.clone()) }
        });
    };
    hear("READY=1");
    hear(&format!("STATUS=watching at {}", etcd.url()));
    assert!(daemon.stop().success(), "a clean stop");
    hear("STOPPING=1");
}

#[test]
fn the_http_face_answers_like_every_daemon() {
    let etcd = Etcd::start();
    let dictator = Receiver::start();
    let daemon = observer(&etcd, &[&dictator]);
    let http = daemon.http();
    assert_eq!(http.get("/healthz").status, 200);
    let status = http.get("/status").json();
    assert_eq!(status["source"]["watching"], true);
    assert_eq!(status["source"]["place"], etcd.url());
    assert_eq!(status["notify"][0]["url"], dictator.url("/master"));
    let head = http.request("HEAD", "/status", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let wrong_method = http.request("PUT", "/status", &[], b"{}");
    assert_eq!((wrong_method.status, wrong_method.slug().as_str()), (405, "method-not-allowed"));
    let nothing = http.get("/nothing");
    assert_eq!((nothing.status, nothing.slug().as_str()), (404, "not-found"));
    let foreign = http.request("GET", "/status", &[("Host", "evil.example")], b"");
    assert_eq!(foreign.status, 421);
}
