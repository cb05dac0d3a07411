//! HAProxy between clients that know one address and a master that moves: it asks dnsd by HTTP which of
//! its servers is the master, or by DNS where the master is, as docs/discovery.md shows, through ten
//! switches under load.
//!
//! HAProxy is the real one, as `.ci/clients` fetches it, or the installed one; without it the test says so.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what became of the writes, or what is skipped"
)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::binaries::workspace;
use harness::daemon::DOMAIN;
use harness::ports::free_address;
use harness::process::{Process, Recipe};
use harness::resp::Connection;
use harness::{Load, LoadOptions, Whole, WholeOptions, wait_until};

/// Switches under load.
const SWITCHES: usize = 10;
/// How long HAProxy may take to find the master.
const FOUND_DEADLINE: Duration = Duration::from_secs(20);

/// The HAProxy to run, if there is one.
fn haproxy() -> Option<PathBuf> {
    [workspace().join("target/clients/haproxy/haproxy"), PathBuf::from("haproxy")].into_iter().find(
        |program| {
            let version =
                Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
            version.is_ok_and(|status| status.success())
        },
    )
}

/// Ten switches under load through an HAProxy that is told how to find the master.
fn judge(title: &str, how: impl Fn(&Whole) -> String) {
    let Some(program) = haproxy() else {
        eprintln!("skipped: haproxy is not there; .ci/clients fetches it");
        return;
    };
    let whole = Whole::start(&WholeOptions::default());
    whole.move_to(0);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let entry = free_address();
    let config = format!(
        "defaults\n mode tcp\n timeout connect 1s\n timeout client 1m\n timeout server 1m\n timeout check 1s\n\
         listen redis-master\n bind {entry}\n{}",
        how(&whole)
    );
    let file = folder.path().join("haproxy.cfg");
    #[allow(clippy::disallowed_methods, reason = "a test's file need not be durable")]
    std::fs::write(&file, config).expect("the configuration is written");
    let mut proxy = Process::new(Recipe {
        name: "haproxy".to_owned(),
        program,
        arguments: vec!["-db".to_owned(), "-f".to_owned(), file.display().to_string()],
        environment: Vec::new(),
        folder: folder.path().to_path_buf(),
        log: folder.path().join("haproxy.log"),
    });
    proxy.start();
    wait_until("HAProxy to reach the master", FOUND_DEADLINE, || {
        let reply = Connection::open(entry).and_then(|mut master| master.command(&["SET", "found", "1"]));
        match reply {
            Ok(reply) if !reply.is_error() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });

    let load = Load::start(LoadOptions { writers: 4, ..LoadOptions::new(&[entry]) });
    load.wait_acknowledged(200);
    for round in 1..=SWITCHES {
        whole.move_to(round % whole.nodes.len());
        load.wait_acknowledged(200);
    }
    let tally = load.stop().verify(whole.nodes[SWITCHES % whole.nodes.len()].address());
    assert!(tally.is_clean(), "{title}: {tally}: {tally:?}");
    println!("haproxy {title}, {SWITCHES} switches: {tally}");
    proxy.kill();
}

#[test]
fn a_load_balancer_asks_by_http_who_is_master() {
    judge("by HTTP checks", |whole| {
        let dnsd = whole.dnsd.http().address();
        let mut config = format!(
            " option httpchk\n http-check send meth GET uri-lf /check/master?node=%[srv_name]\n \
             default-server check inter 100ms fall 1 rise 1 addr {} port {} on-marked-down shutdown-sessions\n",
            dnsd.ip(),
            dnsd.port()
        );
        for node in &whole.nodes {
            config.push_str(&format!(" server {0} {0}\n", node.address()));
        }
        config
    });
}

#[test]
fn a_load_balancer_asks_by_dns_where_the_master_is() {
    judge("by SRV records", |whole| {
        format!(
            " server-template master 1 _redis._tcp.master.{DOMAIN} resolvers dnsd init-addr none \
             check inter 100ms fall 1 rise 1 on-marked-down shutdown-sessions\n\
             resolvers dnsd\n nameserver dnsd {}\n accepted_payload_size 1232\n \
             timeout resolve 100ms\n timeout retry 200ms\n hold valid 100ms\n hold obsolete 0s\n",
            whole.dnsd.dns_address()
        )
    });
}
