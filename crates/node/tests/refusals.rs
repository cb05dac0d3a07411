//! What an operator is told when a node does not want us, or is no redis.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command as Process;
use std::time::Duration;

use harness::ports::free_address;
use harness::{Redis, RedisOptions};
use support::{Bench, DEADLINE, not_executed, settings, with_user};
use topology::command::{Assignment, Command, Reading};
use topology::observation::Unknown;

const PASSWORD: &str = "tuesday-morning";
/// All that the dictator's user needs, as the documentation lists it.
const RULES: &str = "-@all +info +client|list +client|id +client|setname +client|pause +client|unpause +client|kill \
                     +replicaof +multi +exec";

fn restricted(rules: &str) -> Redis {
    Redis::start_with(
        &RedisOptions::default().line(&format!("user dictator on >{PASSWORD} resetkeys {rules}")),
    )
}

async fn told(bench: &Bench, endpoint: SocketAddr) -> String {
    let text = bench.unknown(endpoint, DEADLINE).await.to_string();
    assert!(!text.contains(PASSWORD), "a password was told: {text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rules_are_enough() {
    let node = restricted(RULES);
    let bench = Bench::new(with_user("dictator", PASSWORD));
    let state = bench.observe(node.address()).await;
    assert_eq!(state.settings.read_only, None, "CONFIG GET is not among them");
    assert_eq!(state.paused, None, "nor is PUBLISH");
    assert_eq!(state.vitals.write_calls, Some(0));
    let command = Command::Assign { to: Assignment::Master, unpause: true, reading: Reading::Full };
    support::assigned(bench.send(node.address(), Some(state.session), command).await);
    let budget = Duration::from_millis(10);
    support::vitals(bench.send(node.address(), Some(state.session), Command::PauseWrites { budget }).await);
    let refusals = node.command("ACL LOG").elements().len();
    bench.observe(node.address()).await;
    assert_eq!(node.command("ACL LOG").elements().len(), refusals, "what was refused is not asked again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_optional_rules_show_more() {
    let more = "+time +acl|cat +pubsub|numsub +publish &__dictator__:pause-probe +config|get";
    let node = restricted(&format!("resetchannels {RULES} {more}"));
    let mut listener = node.connect();
    listener.command(&["SUBSCRIBE", "__sentinel__:hello"]).expect("a subscription");
    let state = Bench::new(with_user("dictator", PASSWORD)).observe(node.address()).await;
    assert_eq!(state.settings.read_only, Some(true));
    assert_eq!(state.settings.min_replicas, Some(0));
    assert_eq!(state.paused, Some(false));
    assert_eq!(state.sentinels, ["1 subscribers of __sentinel__:hello"]);
    assert!(node.command("ACL LOG").elements().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_missing_rule_is_named_before_anything_is_done() {
    for rule in [
        "+info",
        "+client|list",
        "+client|id",
        "+client|setname",
        "+client|pause",
        "+client|kill",
        "+replicaof",
        "+multi",
        "+exec",
    ] {
        let rules = RULES.split_whitespace().filter(|given| *given != rule).collect::<Vec<_>>().join(" ");
        let node = restricted(&rules);
        let bench = Bench::new(with_user("dictator", PASSWORD));
        let text = told(&bench, node.address()).await;
        assert!(text.contains(&format!("ACL SETUSER dictator {rule},")), "{rule}: {text}");
        assert_eq!(node.role(), "slave");
        // The refusal does not spoil the next attempt.
        node.command(&format!("ACL SETUSER dictator {rule}"));
        bench.observe(node.address()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_taken_away_later_is_a_refusal_and_not_an_unknown_outcome() {
    let node = restricted(RULES);
    let bench = Bench::new(with_user("dictator", PASSWORD));
    for rule in ["replicaof", "exec", "client|unpause"] {
        let state = bench.observe(node.address()).await;
        node.command(&format!("ACL SETUSER dictator -{rule}"));
        let command = Command::Assign { to: Assignment::Master, unpause: true, reading: Reading::Brief };
        let reason = not_executed(bench.send(node.address(), Some(state.session), command).await);
        assert!(reason.to_string().contains(&format!("+{rule},")), "{reason}");
        assert_eq!(node.role(), "slave");
        node.command(&format!("ACL SETUSER dictator +{rule}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords() {
    let node = restricted(RULES);
    let text = told(&Bench::new(with_user("dictator", "wednesday")), node.address()).await;
    assert!(text.contains("user `dictator`") && text.contains("WRONGPASS"), "{text}");
    assert!(!text.contains("wednesday"), "{text}");
    let locked = Redis::start_with(&RedisOptions::default().line("user default off"));
    let text = told(&Bench::new(settings()), locked.address()).await;
    assert!(text.contains("asks for a password and none is set"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_nobody_asked_for_is_no_obstacle() {
    let node = Redis::start();
    let mut settings = with_user("dictator", PASSWORD);
    settings.credentials.as_mut().expect("credentials").username = None;
    Bench::new(settings).observe(node.address()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renamed_commands() {
    let node = Redis::start_with(&RedisOptions::default().line(r#"rename-command REPLICAOF """#));
    let bench = Bench::new(settings());
    let state = bench.observe(node.address()).await;
    let command = Command::Assign { to: Assignment::Master, unpause: false, reading: Reading::Brief };
    let reason = not_executed(bench.send(node.address(), Some(state.session), command).await).to_string();
    assert!(reason.contains("does not know REPLICAOF") && reason.contains("rename-command"), "{reason}");
    let node = Redis::start_with(&RedisOptions::default().line(r#"rename-command CLIENT """#));
    let text = told(&bench, node.address()).await;
    assert!(text.contains("does not know CLIENT SETNAME"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_left() {
    let node = Redis::start_with(&RedisOptions::default().line("maxclients 1"));
    let holder = node.connect();
    let text = told(&Bench::new(settings()), node.address()).await;
    assert!(text.contains("maxclients"), "{text}");
    drop(holder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_listens_and_nothing_answers() {
    let bench = Bench::new(settings());
    let text = told(&bench, free_address()).await;
    assert!(text.contains("connection refused"), "{text}");
    // A listener whose queue is full drops what more arrives, as a firewall would.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let unknown = bench.unknown(silent.local_addr().unwrap(), Duration::from_millis(100)).await;
    assert!(matches!(unknown, Unknown::Silent(_)), "{unknown:?}");
}

/// Says `greeting` to whatever arrives and hangs up.
fn program(greeting: &'static [u8], listens_first: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut buffer = [0; 4096];
            if listens_first {
                let _ = stream.read(&mut buffer);
            }
            let _ = stream.write_all(greeting);
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_redis_is_named() {
    let denied = b"-DENIED Redis is running in protected mode because protected mode is enabled\r\n";
    let cases: [(&'static [u8], bool, &str); 7] = [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", true, "is not redis: an HTTP server"),
        (b"\x15\x03\x01\x00\x02\x02\x46", true, "is not redis: it expects TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", false, "is not redis: it answers \"SSH-2.0"),
        (denied, false, "refuses: it is in protected mode"),
        (denied, true, "refuses: it is in protected mode"),
        (b"", true, "TLS port"),
        (b"*2\r\n$1\r\nx\r\n", true, "cannot be reached: it closed the connection"),
    ];
    for (greeting, listens_first, expected) in cases {
        let address = program(greeting, listens_first);
        let text = told(&Bench::new(settings()), address).await;
        assert!(text.contains(expected), "{:?}: {text}", String::from_utf8_lossy(greeting));
        assert!(!text.contains('\n'), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_and_a_cluster_node_are_seen_as_such() {
    let bench = Bench::new(settings());
    let cluster = Redis::start_with(&RedisOptions::plain().line("cluster-enabled yes"));
    assert!(bench.observe(cluster.address()).await.vitals.cluster);
    // Called by this name, redis-server is a sentinel; the name need not be installed.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("redis-sentinel");
    let found = Process::new("sh").args(["-c", "command -v redis-server"]).output().expect("a shell");
    let server = String::from_utf8(found.stdout).expect("a path");
    std::os::unix::fs::symlink(server.trim(), &program).expect("a link");
    let sentinel = Redis::start_with(&RedisOptions { program, ..RedisOptions::plain() });
    let seen = bench.observe(sentinel.address()).await.vitals;
    assert!(seen.sentinel && !seen.is_master());
}

#[test]
fn a_secret_does_not_print() {
    let settings = with_user("dictator", PASSWORD);
    assert!(!format!("{settings:?}").contains(PASSWORD));
}
