//! A redis and its name in etcd: there while the node is, gone when it goes.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use dnsd::register::{serve, settings};
use harness::{Etcd, Redis};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Deadline of every condition.
const SOON: Duration = Duration::from_secs(20);
const KEY: &str = "/skydns/docker/redis-1/core-01";

struct Register {
    http: SocketAddr,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

async fn start(etcd: &Etcd, node: &str, probe: SocketAddr) -> Register {
    let (url, probe) = (etcd.url(), probe.to_string());
    let arguments = ["dnsd-register", "--etcd", &url, "--name", "core-01.redis-1.docker", "--node", node];
    let more = ["--probe", &probe, "--lease", "5s"];
    let config = settings::read(arguments.iter().chain(&more), &BTreeMap::new()).unwrap().config;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(serve(config, listener, shutdown.clone()));
    Register { http, shutdown, running }
}

impl Register {
    fn ready(&self) -> (u16, String) {
        let answer = harness::Http::new(self.http).get("/readyz");
        (answer.status, answer.text())
    }

    async fn ended(self) {
        timeout(SOON, self.running).await.expect("it ends").unwrap();
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_is_there_as_long_as_the_node() {
    let etcd = Etcd::start();
    let mut redis = Redis::start();
    redis.kill();
    let register = start(&etcd, "10.0.0.1:7001", redis.address()).await;
    until("it is not ready", || register.ready().0 == 503).await;
    let (_, reason) = register.ready();
    assert!(reason.contains("takes no connections yet"), "{reason}");
    assert_eq!(etcd.get(KEY), None);

    redis.start_again();
    until("the name", || etcd.get(KEY).is_some()).await;
    assert_eq!(etcd.get(KEY).as_deref(), Some(r#"{"host":"10.0.0.1","port":7001}"#));
    until("it is ready", || register.ready().0 == 200).await;
    // Its connections may all be killed, as operators do; the node is there, and so is its name.
    for _ in 0..5 {
        redis.command("CLIENT KILL TYPE normal SKIPME yes");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(etcd.get(KEY).is_some() && !register.running.is_finished());

    let killed = Instant::now();
    redis.kill();
    until("the name has gone", || etcd.get(KEY).is_none()).await;
    assert!(killed.elapsed() < Duration::from_secs(4), "sooner than its lease: {:?}", killed.elapsed());
    register.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_the_name_away_and_an_etcd_without_memory_gets_it_again() {
    let mut etcd = Etcd::start();
    let redis = Redis::start();
    let register = start(&etcd, "10.0.0.1:7001", redis.address()).await;
    until("the name", || etcd.get(KEY).is_some()).await;
    etcd.start_empty();
    until("the name in an empty etcd", || etcd.get(KEY).is_some()).await;
    until("it is ready again", || register.ready().0 == 200).await;
    register.shutdown.cancel();
    register.ended().await;
    assert_eq!(etcd.get(KEY), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_may_come_after_the_node() {
    let mut etcd = Etcd::start();
    etcd.kill();
    let redis = Redis::start();
    let register = start(&etcd, "10.0.0.1:7001", redis.address()).await;
    until("the reason", || register.ready().1.contains("etcd could not be asked")).await;
    etcd.start_again();
    until("the name", || etcd.get(KEY).is_some()).await;
    register.shutdown.cancel();
    register.ended().await;
}

#[test]
fn the_program_has_the_mode() {
    let run = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_dnsd")).args(arguments).env_clear().output().unwrap()
    };
    let help = run(&["register", "--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("--probe"), "{help:?}");
    let wrong = run(&["register"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("--name is not set"), "{wrong:?}");
}

#[test]
fn its_settings_are_documented() {
    let page = include_str!("../../docs/settings.md");
    let start = page.find("\n## dnsd register\n").expect("a section");
    let section = &page[start..];
    for setting in settings::PROGRAM.settings {
        assert!(section.contains(&format!("`--{}", setting.flag)), "--{}", setting.flag);
    }
}
