//! The user of `dictatorctl acl print` on every server that can be had: a switch, an undo and a take-over
//! work as that user, and without any single one of its rules a change is refused by the name of that rule.
//!
//! The harness comes to the nodes as the default user, which keeps all rights; the dictator comes as its own.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "files of a test need not be durable; it tells which servers were there"
)]

mod undone;

use std::process::Command;

use harness::binaries::binary;
use harness::cluster::{quick, quick_without_enforcement};
use harness::proxy::PROMOTION;
use harness::servers::Server;
use harness::several::options;
use harness::{Cluster, Daemon, DaemonOptions, LoadOptions, Redis, Several};
use undone::undone;

const PASSWORD: &str = "thursday-noon";
/// The servers, as `.ci/servers` calls them. The installed one is always there.
const SERVERS: [&str; 6] = ["redis-6.2", "redis-7.0", "redis-8.0", "valkey-8.0", "valkey-8.1", "valkey-9.1"];

fn servers() -> Vec<Server> {
    SERVERS.iter().filter_map(|name| Server::find(name)).collect()
}

/// The command that the operator's tool prints, with a password.
fn printed(server: &Server) -> String {
    let output = Command::new(binary("dictatorctl"))
        .args(["acl", "print", "--for", &server.name])
        .output()
        .expect("dictatorctl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().replace("PASSWORD", PASSWORD)
}

fn permit(nodes: &[Redis], user: &str) {
    for node in nodes {
        let reply = node.command(user);
        assert!(!reply.is_error(), "{user}: {reply}");
        // What a connection was permitted when it was made is not asked again.
        node.command("CLIENT KILL USER dictator");
    }
}

/// Options of a dictator that comes as the user, and the file with its password.
fn as_user(options: DaemonOptions) -> (DaemonOptions, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), format!("{PASSWORD}\n")).expect("written");
    let path = file.path().to_str().expect("UTF-8");
    (options.flag("--redis-username", "dictator").flag("--redis-password-file", path), file)
}

fn load_options(nodes: &[Redis]) -> LoadOptions {
    let nodes: Vec<_> = nodes.iter().collect();
    LoadOptions { writers: 2, ..LoadOptions::on(&nodes) }
}

/// A switch, then one try without each rule, then a switch again: nothing that was refused is left behind.
#[test]
fn a_switch_needs_every_rule_and_names_the_one_that_is_missing() {
    for server in servers() {
        let whole = printed(&server);
        let nodes = Redis::start_many(3, &server.options());
        permit(&nodes, &whole);
        let (options, _file) = as_user(quick_without_enforcement());
        let cluster = Cluster { dictator: Daemon::dictator(&options), nodes };
        assert_eq!(cluster.move_to(0)["outcome"], "established");
        assert_eq!(cluster.move_to(1)["outcome"], "switched");
        let rules: Vec<&str> = whole.split(' ').filter(|word| word.starts_with('+')).collect();
        assert!(rules.len() > 8, "{rules:?}");
        for rule in rules {
            let without: Vec<&str> = whole.split(' ').filter(|word| *word != rule).collect();
            permit(&cluster.nodes, &without.join(" "));
            let answer = cluster.put(2);
            let text = answer.text();
            assert!(answer.status >= 400, "{} without {rule}: {text}", server.name);
            assert!(
                text.contains(&format!("ACL SETUSER dictator {rule},")),
                "{}: {rule}: {text}",
                server.name
            );
            permit(&cluster.nodes, &whole);
            // A pause that could not be taken back ends by itself; nobody has to come.
            cluster.assert_settled(1);
        }
        assert_eq!(cluster.move_to(2)["outcome"], "switched", "{}", server.name);
        println!("{}: a switch needs every rule", server.version);
    }
}

#[test]
fn an_undo_needs_no_more() {
    for server in servers() {
        let nodes = Redis::start_many(2, &server.options());
        permit(&nodes, &printed(&server));
        let (options, _file) = as_user(quick_without_enforcement());
        let undone = undone(&server.name, &nodes, &options, load_options(&nodes));
        undone.dictator.http().put("/master?wait=links", &undone.document(1)).expect(200);
    }
}

/// A dictator stops between demotion and promotion; another ends its connections and what it had begun.
#[test]
fn a_take_over_needs_no_more() {
    for server in servers() {
        take_over(&server);
        println!("{}: a take-over needs no more", server.version);
    }
}

fn take_over(server: &Server) {
    let whole = printed(server);
    let (options, _file) = as_user(options("2s"));
    let mut several = Several::established_on(&server.options(), 2, &options, |nodes| permit(nodes, &whole));
    several.wait_following(1, 0);
    several.proxies[1].hold_at(PROMOTION);
    let asked = several.put_aside(0, 1);
    several.proxies[1].wait_held();
    several.dictators[0].process().freeze();
    let receipt = several.put_until_done(1, 2);
    assert!(receipt["generation"].as_u64() >= Some(2), "{}: {receipt}", server.name);
    several.wait_settled(2);
    several.proxies[1].release();
    several.dictators[0].process().thaw();
    let answer = asked.join().expect("the asking thread does not panic").expect("an answer");
    assert_eq!((answer.status, answer.slug().as_str()), (503, "not-leader"), "{}", answer.text());
    several.wait_equal(2);
}

/// The installed server under enforcement, by a dictator that comes as the user.
struct Enforced {
    cluster: Cluster,
    /// The command that permits everything that is needed.
    whole: String,
    _file: tempfile::NamedTempFile,
}

impl Enforced {
    /// `said` is what the dictator may log when a rule is taken away.
    fn start(said: &str) -> Self {
        let installed = Server::find(harness::servers::INSTALLED).expect("redis-server is installed");
        let whole = printed(&installed);
        let nodes = Redis::start_many(2, &installed.options());
        permit(&nodes, &whole);
        let (options, _file) = as_user(quick().allow_log(said, "a rule is taken away"));
        let cluster = Cluster { dictator: Daemon::dictator(&options), nodes };
        cluster.move_to(0);
        Self { cluster, whole, _file }
    }
}

/// Enforcement without a rule says so in the status, and goes on when it is given.
#[test]
fn enforcement_says_which_rule_is_missing() {
    let Enforced { cluster, whole, _file } = Enforced::start("the topology cannot be kept");
    let user: Vec<&str> = whole.split(' ').filter(|word| *word != "+replicaof").collect();
    permit(&cluster.nodes, &user.join(" "));
    cluster.nodes[1].command("REPLICAOF 127.0.0.1 0");
    harness::wait_until("the status to name the rule", std::time::Duration::from_secs(20), || {
        let status = cluster.dictator.status().to_string();
        harness::wait::ensure(status.contains("+replicaof"), status)
    });
    permit(&cluster.nodes, &whole);
    cluster.assert_settled(0);
}

/// A rule that is taken away under the eyes of a connected dictator: each pass tries again and fails again,
/// but who reads the log, the history or the events is told once, and once more when it works again.
#[test]
fn enforcement_that_fails_again_and_again_is_told_once() {
    let Enforced { cluster, whole, _file } = Enforced::start("+replicaof");
    let entries = || cluster.dictator.http().get("/history").expect(200).json();
    let told_before = entries().as_array().map_or(0, Vec::len);
    for node in &cluster.nodes {
        node.command("ACL SETUSER dictator -replicaof");
    }
    cluster.nodes[1].command("REPLICAOF 127.0.0.1 0");
    let passes = || {
        let text = cluster.dictator.http().get("/metrics").expect(200).text();
        let counts =
            text.lines().filter(|line| line.starts_with("dictator_apply_total{cause=\"enforcement\""));
        counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum::<u64>()
    };
    let before = passes();
    harness::wait_until("passes of enforcement that fail", std::time::Duration::from_secs(20), || {
        harness::wait::ensure(passes() > before + 10, "too few passes")
    });
    let log = harness::logs::read(cluster.dictator.log());
    let history = entries();
    let told = history.as_array().map_or(0, Vec::len) - told_before;
    assert!(told <= 1, "{told} entries: {history}");
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("+replicaof")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(log.lines().filter(|line| line.contains("step begins")).count() < 6, "{log}");
    let status = cluster.dictator.status().to_string();
    assert!(status.contains("+replicaof"), "{status}");
    permit(&cluster.nodes, &whole);
    cluster.assert_settled(0);
}
