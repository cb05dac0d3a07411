//! Nodes that run with what `cluster-config` made, and an etcd with the roles of `acl etcd`.
#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "files of a test need not be durable")]

mod support;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use harness::cluster::quick;
use harness::ports::free_address;
use harness::resp::{Connection, Reply};
use harness::servers::Server;
use harness::{Daemon, Etcd, wait_until};
use serde_json::{Value, json};
use support::Ctl;

/// How long nodes and links may take to come up.
const DEADLINE: Duration = Duration::from_secs(20);
/// Characters that shells, JSON, ACL files and redis.conf each give a meaning of their own.
const STRANGE: &str = "#$!() \"'\\ \t`%&|;<>{}[]*?~=,:@^ ß€ 日本 \u{7f}\u{1} user default on nopass";
/// The servers, as `.ci/servers` calls them. The installed one is always there.
const SERVERS: [&str; 6] = ["redis-6.2", "redis-7.0", "redis-8.0", "valkey-8.0", "valkey-8.1", "valkey-9.1"];

/// A redis-server with the generated configuration that does not outlive the test.
struct Node {
    child: Child,
    address: SocketAddr,
    _data: tempfile::TempDir,
}

impl Node {
    fn start(program: &Path, config: &Path) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let address = free_address();
        let child = Command::new(program)
            .arg(config)
            .args(["--port", &address.port().to_string(), "--supervised", "no"])
            .arg("--dir")
            .arg(data.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        Self { child, address, _data: data }
    }

    /// A connection of this user, or what redis says to it.
    fn login(&self, name: &str, password: &str) -> Result<Connection, String> {
        wait_until("the node to listen", DEADLINE, || Connection::open(self.address).map(drop));
        let mut connection = Connection::open(self.address).expect("it listens");
        let reply = connection.command(&["AUTH", name, password]).expect("an answer");
        if reply.is_error() { Err(reply.to_string()) } else { Ok(connection) }
    }

    fn says(&self, name: &str, password: &str, words: &[&str]) -> String {
        let mut connection = self.login(name, password).unwrap_or_else(|error| panic!("{name}: {error}"));
        let reply = connection.command(words).expect("an answer");
        match reply {
            Reply::Array(Some(parts)) => parts.iter().map(Reply::text).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        }
    }

    fn json(&self) -> Value {
        json!({"address": self.address.ip(), "port": self.address.port()})
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// Nodes of one server with generated users; the dictator comes as its own and moves the master.
fn works_on(program: &Path) {
    let ctl = Ctl::of("http://127.0.0.1:1");
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("redis-1");
    let long = format!("{STRANGE}{}", "x".repeat(4096 - STRANGE.len()));
    let password_file = parent.path().join("password");
    fs::write(&password_file, format!("{STRANGE}\n")).expect("written");
    let users = json!({
        "replica": {"name": "follower", "password": long},
        "dictator": {"password": STRANGE},
        "admin": {"name": "ops", "password_file": password_file},
        "applications": [
            {"name": "shop", "password": STRANGE, "keys": ["shop:*"], "channels": ["news"]},
            {"name": "all", "password": "a"},
        ],
    });
    let arguments = ["cluster-config", "-", "--folder", folder.to_str().expect("UTF-8")];
    let ran = ctl.run_with_input(&arguments, &users.to_string()).ended(0);
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert!(told.contains("--redis-username dictator") && !told.contains("nopass"), "{told}");
    for name in ["users.acl", "redis.conf", "dictator-password"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&folder), 0o700);
    let again = ctl.run_with_input(&arguments, &users.to_string()).ended(1);
    again.complains(&["users.acl is there already and is not replaced"]);

    let nodes: Vec<Node> = (0..2).map(|_| Node::start(program, &folder.join("redis.conf"))).collect();
    let dictator = Daemon::dictator(
        &quick()
            .flag("--redis-username", "dictator")
            .flag("--redis-password-file", folder.join("dictator-password").to_str().expect("UTF-8")),
    );
    assert!(nodes[0].login("ops", STRANGE).is_ok());
    assert!(nodes[1].login("ops", STRANGE).is_ok());
    for master in [0, 1] {
        let document = json!({"master": nodes[master].json(), "slaves": [nodes[1 - master].json()]});
        dictator.http().put("/master?wait=links", &document).expect(200);
        assert!(nodes[master].says("shop", STRANGE, &["SET", "shop:1", "x"]).contains("OK"));
    }
    rights(&nodes[1]);
}

/// Each user may do what it must and nothing beside.
fn rights(master: &Node) {
    let said = |name: &str, password: &str, words: &[&str]| master.says(name, password, words);
    assert!(said("shop", STRANGE, &["GET", "other"]).contains("NOPERM"));
    assert!(said("shop", STRANGE, &["PUBLISH", "other", "x"]).contains("NOPERM"));
    assert!(!said("shop", STRANGE, &["PUBLISH", "news", "x"]).contains("NOPERM"));
    assert!(said("shop", STRANGE, &["ROLE"]).contains("master"));
    for words in [&["CONFIG", "GET", "*"][..], &["FLUSHALL"], &["ACL", "LIST"], &["REPLICAOF", "NO", "ONE"]] {
        assert!(said("shop", STRANGE, words).contains("NOPERM"), "{words:?}");
        assert!(said("all", "a", words).contains("NOPERM"), "{words:?}");
    }
    assert!(said("dictator", STRANGE, &["GET", "shop:1"]).contains("NOPERM"));
    assert!(said("ops", STRANGE, &["CONFIG", "GET", "masteruser"]).contains("follower"));
    for (name, password) in [("shop", "wrong"), ("default", ""), ("nobody", STRANGE)] {
        assert!(master.login(name, password).is_err(), "{name}");
    }
    let mut stranger = Connection::open(master.address).expect("it listens");
    let reply = stranger.command(&["GET", "shop:1"]).expect("an answer").to_string();
    assert!(reply.contains("NOAUTH"), "{reply}");
}

#[test]
fn nodes_of_every_version_run_with_it() {
    for server in SERVERS.iter().filter_map(|name| Server::find(name)) {
        works_on(&server.options().program);
    }
}

#[test]
fn a_document_with_mistakes_makes_no_file_and_shows_no_password() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("made");
    let ctl = Ctl::of("http://127.0.0.1:1");
    let arguments = ["cluster-config", "-", "--folder", folder.to_str().expect("UTF-8")];
    let users = r#"{"replica": {"password": "hid\nden"}, "dictator": {"password_file": "/nonexistent"},
        "admin": {"password": "hidden"}}"#;
    let ran = ctl.run_with_input(&arguments, users).ended(64);
    assert!(!ran.stderr.contains("hid"), "{ran:?}");
    let ran = ran.complains(&["dictatorctl: replica: the password has a line break inside"]);
    ran.complains(&["dictatorctl: dictator: the password in /nonexistent cannot be read: No such file"]);
    assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 0);
}

/// etcdctl as this user (or as nobody), with `input` for passwords it asks for.
fn etcdctl(etcd: &Etcd, user: Option<&str>, words: &[&str], input: &str) -> Output {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", &etcd.url(), "--command-timeout=10s"]);
    if let Some(user) = user {
        command.args(["--user", &format!("{user}:{PASSWORD}")]);
    }
    let streams = [Stdio::piped(), Stdio::piped()];
    let [stdout, stderr] = streams;
    let mut child = command
        .args(words)
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("etcdctl runs");
    let _ = child.stdin.take().expect("standard input").write_all(input.as_bytes());
    child.wait_with_output().expect("etcdctl ends")
}

/// Of everybody in this etcd.
const PASSWORD: &str = "wednesday";

#[test]
fn the_roles_of_etcd_permit_what_each_needs_and_nothing_else() {
    let etcd = Etcd::start();
    let ctl = Ctl::of("http://127.0.0.1:1");
    let printed = ctl.run(&["acl", "etcd", "--domain", "Redis-1.docker."]).ended(0).stdout;
    for line in printed.lines() {
        let mut words: Vec<&str> = line.strip_prefix("etcdctl ").expect("etcdctl").split(' ').collect();
        if words[..2] == ["user", "add"] {
            words.push("--interactive=false");
        }
        let output = etcdctl(&etcd, None, &words, &format!("{PASSWORD}\n"));
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let (topology, trigger) = ("/config/redis-1/topology", "/config/redis-1/topology-trigger");
    let (lock, name) = ("/dictator/redis-1/lock", "/skydns/docker/redis-1/master");
    let keys = [topology, trigger, lock, name, "/config/redis-2/topology", "/dictator/redis-2/lock"];
    for (user, readable, writable) in [
        ("redis-1-observer", &[topology, trigger][..], &[][..]),
        ("redis-1-operator", &[topology, trigger], &[topology, trigger]),
        ("redis-1-node", &[], &[trigger]),
        ("redis-1-dictator", &[lock], &[lock]),
        ("redis-1-dnsd", &[name], &[name]),
    ] {
        for key in keys {
            let may = |words: &[&str]| etcdctl(&etcd, Some(user), words, "").status.success();
            assert_eq!(may(&["get", key]), readable.contains(&key), "{user} reads {key}");
            assert_eq!(may(&["put", key, "x"]), writable.contains(&key), "{user} writes {key}");
        }
    }
    // As dnsd lists names, and as dictators give their lock an end.
    assert!(
        etcdctl(
            &etcd,
            Some("redis-1-dnsd"),
            &["get", "/skydns/docker/redis-1", "/skydns/docker/redis-10"],
            ""
        )
        .status
        .success()
    );
    assert!(etcdctl(&etcd, Some("redis-1-dictator"), &["lease", "grant", "5"], "").status.success());
    assert!(!etcdctl(&etcd, None, &["get", topology], "").status.success(), "nobody is asked for a name");
}
