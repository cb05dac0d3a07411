//! A resolver between clients and dnsd: unbound with dnsd as the stub zone's server and `use-caps-for-id`, by
//! which it writes each question in random letters and takes no answer that does not repeat them.
//!
//! It is the real one, as `.ci/clients` fetches it, or the installed one; without it the test says so.

#![allow(clippy::print_stderr, reason = "what is skipped")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::binaries::workspace;
use harness::daemon::DOMAIN;
use harness::ports::free_address;
use harness::process::{Process, Recipe};
use harness::wait::ensure;
use harness::{Daemon, DaemonOptions, wait_until};
use serde_json::json;

/// How long the resolver may take to start, and to follow a change: the TTL, and what is slow here.
const FOLLOWED_DEADLINE: Duration = Duration::from_secs(20);
/// Questions in other letters each, all of which have to be answered.
const QUESTIONS: usize = 50;

fn unbound() -> Option<PathBuf> {
    [workspace().join("target/clients/unbound/unbound"), PathBuf::from("unbound")].into_iter().find(
        |program| {
            let version =
                Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
            version.is_ok_and(|status| status.success())
        },
    )
}

/// The data of the answers, as dig has them: it asks for recursion, as clients of a resolver do.
fn dig(server: SocketAddr, name: &str, kind: &str) -> Vec<String> {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let output =
        Command::new("dig").args([&at, "-p", &port, "+short", "+tries=1", "+time=2", name, kind]).output();
    let text = String::from_utf8_lossy(&output.expect("dig is installed").stdout).into_owned();
    text.lines().filter(|line| !line.starts_with(';')).map(str::to_owned).collect()
}

#[test]
fn a_resolver_that_plays_with_letters_finds_the_master() {
    let Some(program) = unbound() else {
        eprintln!("skipped: unbound is not there; .ci/clients fetches it");
        return;
    };
    // A TTL of nothing, so that every question reaches dnsd.
    let dnsd = Daemon::dnsd(&DaemonOptions::new().flag("--ttl", "0"));
    let nodes = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|ip| json!({"address": ip, "port": 7001}));
    let document = |master: usize| {
        let slaves: Vec<_> =
            (0..3).filter(|index| *index != master).map(|index| nodes[index].clone()).collect();
        json!({"master": nodes[master], "slaves": slaves})
    };
    dnsd.http().put("/dns", &document(0)).expect(200);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let entry = free_address();
    let server = dnsd.dns_address();
    // Unbound answers for `test.` itself unless told otherwise (RFC 6761 section 6.2).
    let config = format!(
        "server:\n local-zone: \"test.\" nodefault\n directory: {folder:?}\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n \
         interface: {}@{}\n port: {}\n do-daemonize: no\n do-not-query-localhost: no\n use-caps-for-id: yes\n \
         module-config: \"iterator\"\n\
         remote-control:\n control-enable: no\n\
         stub-zone:\n name: {DOMAIN}\n stub-addr: {}@{}\n",
        entry.ip(),
        entry.port(),
        entry.port(),
        server.ip(),
        server.port(),
        folder = folder.path(),
    );
    let file = folder.path().join("unbound.conf");
    #[allow(clippy::disallowed_methods, reason = "a test's file need not be durable")]
    std::fs::write(&file, config).expect("the configuration is written");
    let mut resolver = Process::new(Recipe {
        name: "unbound".to_owned(),
        program,
        arguments: vec!["-d".to_owned(), "-c".to_owned(), file.display().to_string()],
        environment: Vec::new(),
        folder: folder.path().to_path_buf(),
        log: folder.path().join("unbound.log"),
    });
    resolver.start();
    let is = |ip: &str| {
        let found = dig(entry, &format!("master.{DOMAIN}"), "A");
        ensure(found == [ip], format!("{found:?}"))
    };
    wait_until("the resolver to find the master", FOLLOWED_DEADLINE, || is("10.0.0.1"));
    let alias = format!("_redis._tcp.slaves.{DOMAIN}");
    for _ in 0..QUESTIONS {
        assert_eq!(dig(entry, &alias, "SRV").len(), 2);
    }
    dnsd.http().put("/dns", &document(2)).expect(200);
    wait_until("the resolver to follow", FOLLOWED_DEADLINE, || is("10.0.0.3"));
    resolver.kill();
}
