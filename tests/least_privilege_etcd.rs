//! The users and roles of `dictatorctl acl etcd`: everybody comes to etcd as his own user, the loop works, and
//! without any single one of the permissions something stops, and says which permission that was.
//!
//! Only the node is silent about it: what announces it is `etcdctl`, whose own words stand in the node's journal.

#![allow(clippy::disallowed_methods, reason = "files of a test need not be durable")]

mod secured;

use std::process::{Command, Output};
use std::time::Duration;

use harness::binaries::binary;
use harness::cluster::quick;
use harness::wait::ensure;
use harness::whole::document;
use harness::{Daemon, DaemonOptions, Etcd, Redis, RedisOptions, wait_until};
use secured::{Files, file_flag};

const PASSWORD: &str = "friday";
const SOON: Duration = Duration::from_secs(30);

struct Scene {
    observer: Daemon,
    dictator: Daemon,
    dnsd: Daemon,
    etcd: Etcd,
    nodes: Vec<Redis>,
    files: Files,
}

/// One line of what the operator's tool printed: `role grant-permission ROLE RIGHT KEYS…`.
struct Permission {
    role: String,
    right: String,
    keys: Vec<String>,
}

impl Scene {
    fn new() -> (Self, Vec<Permission>) {
        let (etcd, files) = (Etcd::start(), Files::new());
        let permissions = introduce(&etcd);
        let password = files.write("etcd-password", PASSWORD);
        let user = |options: DaemonOptions, name: &str| {
            let options = options.flag("--etcd-username", name).allow_log("", "permissions are taken away");
            file_flag(options, "--etcd-password-file", &password)
        };
        let nodes = Redis::start_many(2, &RedisOptions::default());
        let dictator = quick().flag("--etcd", &etcd.url()).flag("--lease", "2s");
        let dictator = Daemon::dictator(&user(dictator, "redis-1-dictator"));
        let dnsd = DaemonOptions::new().flag("--skydns-etcd", &etcd.url());
        let dnsd = Daemon::dnsd(&user(dnsd, "redis-1-dnsd"));
        let notify = [dictator.url("/master"), dnsd.url("/dns")];
        let observer =
            Daemon::observer(&etcd.url(), &notify, &user(DaemonOptions::new(), "redis-1-observer"));
        (Self { observer, dictator, dnsd, etcd, nodes, files }, permissions)
    }

    /// As the operator.
    fn ctl(&self, arguments: &[&str]) -> Output {
        Command::new(binary("dictatorctl"))
            .args(arguments)
            .args(["--endpoint", &self.dictator.url(""), "--etcd", &self.etcd.url()])
            .args(["--etcd-username", "redis-1-operator"])
            .env("DICTATORCTL_ETCD_PASSWORD", PASSWORD)
            .output()
            .expect("dictatorctl runs")
    }

    fn root(&self, words: &[&str]) {
        let output = self.etcdctl("root", words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn etcdctl(&self, user: &str, words: &[&str]) -> Output {
        etcdctl(&self.etcd, &[&["--user", &format!("{user}:{PASSWORD}")], words].concat())
    }

    /// Lets the loop move the master to this node, and returns all that anybody had to say of it.
    fn try_to_move(&self, master: usize) -> String {
        let text = document(&self.nodes, master).to_string();
        let file = self.files.write("topology.json", &text);
        let mut told = String::new();
        for arguments in [&["define", file.to_str().expect("UTF-8")][..], &["trigger"]] {
            let ran = self.ctl(arguments);
            told.push_str(&String::from_utf8_lossy(&ran.stderr));
        }
        let put = self.dictator.put_master(&document(&self.nodes, master));
        told.push_str(&put.text());
        told
    }

    /// What the daemons say of themselves.
    fn told(&self) -> String {
        let daemons = [&self.observer, &self.dictator, &self.dnsd];
        let pages = daemons.map(|daemon| daemon.http().get("/status").text());
        let logs = daemons.map(|daemon| harness::logs::read(daemon.log()));
        pages.concat() + &logs.concat()
    }

    /// The loop works for everybody.
    fn moves_to(&self, master: usize) {
        let wanted = self.nodes[master].address();
        wait_until("the master to move and to be published", SOON, || {
            let told = self.try_to_move(master);
            let keys = self.etcdctl("root", &["get", "--prefix", "--print-value-only", "/skydns/"]);
            let keys = String::from_utf8_lossy(&keys.stdout).into_owned();
            let published = self.dnsd.published_master() == Some(wanted);
            ensure(published && keys.contains(&wanted.port().to_string()), format!("{told}\n{keys}"))
        });
        assert_eq!(self.nodes[master].role(), "master");
        let announced = self.etcdctl("redis-1-node", &["put", harness::daemon::TRIGGER_KEY, "node"]);
        assert!(announced.status.success(), "{}", String::from_utf8_lossy(&announced.stderr));
    }
}

fn etcdctl(etcd: &Etcd, words: &[&str]) -> Output {
    Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &etcd.url()])
        .args(words)
        .output()
        .expect("etcdctl runs")
}

/// Carries out what the operator's tool prints, and returns the permissions in it.
fn introduce(etcd: &Etcd) -> Vec<Permission> {
    let printed = Command::new(binary("dictatorctl"))
        .args(["acl", "etcd", "--domain", harness::daemon::DOMAIN])
        .output()
        .expect("dictatorctl runs");
    let printed = String::from_utf8(printed.stdout).expect("UTF-8");
    let mut permissions = Vec::new();
    for line in printed.lines() {
        let mut words: Vec<String> = line.split(' ').skip(1).map(str::to_owned).collect();
        if words[..2] == ["user", "add"] {
            words[2] = format!("{}:{PASSWORD}", words[2]);
        }
        if words[..2] == ["role", "grant-permission"] {
            let (role, right, keys) = (words[2].clone(), words[3].clone(), words[4..].to_vec());
            permissions.push(Permission { role, right, keys });
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = etcdctl(etcd, &words);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    permissions
}

#[test]
fn the_loop_needs_every_permission_and_names_the_one_that_is_missing() {
    let (mut scene, permissions) = Scene::new();
    assert!(permissions.len() >= 7, "every user has one");
    scene.moves_to(0);
    for (number, Permission { role, right, keys }) in permissions.iter().enumerate() {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        scene.root(&[&["role", "revoke-permission", role][..], &keys].concat());
        let without = format!("{role} without {right} {keys:?}");
        if role == "redis-1-node" {
            let put = scene.etcdctl(role, &["put", harness::daemon::TRIGGER_KEY, "x"]);
            assert!(!put.status.success(), "{without}");
        } else {
            // Who is told of changes goes on being told until he asks anew.
            scene.observer.kill();
            scene.observer.start_again();
            let before = scene.told().len();
            let key = *keys.last().expect("a key");
            wait_until("somebody to say what is missing", SOON, || {
                let told = scene.try_to_move(1) + &scene.told();
                let new = told.get(before.min(told.len())..).unwrap_or(&told).to_owned() + &told;
                let named = new
                    .lines()
                    .any(|line| line.contains(&format!("user `{role}` may not ")) && line.contains(key));
                ensure(named, format!("{without}:\n{told}"))
            });
        }
        scene.root(&[&["role", "grant-permission", role, right][..], &keys].concat());
        scene.moves_to(number % 2);
    }
}
