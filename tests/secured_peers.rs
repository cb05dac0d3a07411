//! Private connections to redis and etcd, as users with passwords: the loop runs, renews what proves who it is, and
//! says in one sentence what does not fit.

mod secured;

use std::net::SocketAddr;
use std::time::Duration;

use harness::certificates::{Authority, Pair};
use harness::cluster::{quick, quick_without_enforcement};
use harness::daemon::{TOPOLOGY_KEY, TRIGGER_KEY};
use harness::ports::free_address;
use harness::wait::ensure;
use harness::{Daemon, DaemonOptions, Etcd, Redis, RedisOptions, wait_until};
use secured::{Files, file_flag};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const PASSWORD: &str = "#a $pass'word\"!ü";

/// A node with a port for TLS beside the one that the harness asks, and the dictator's user with the least rules.
fn node(authority: &Authority, pair: &Pair) -> (Redis, SocketAddr) {
    let private = free_address();
    let rules = "-@all +ping +info +time +multi +exec +replicaof +client|setname +client|id +client|list \
                 +client|pause +client|unpause +client|kill +pubsub|numsub +publish &*";
    let options = RedisOptions::default()
        .line(&format!("tls-port {}", private.port()))
        .line(&format!("tls-cert-file {}", pair.certificate()))
        .line(&format!("tls-key-file {}", pair.key()))
        .line(&format!("tls-ca-cert-file {}", authority.path()))
        .line("tls-replication yes")
        .line("tls-auth-clients yes");
    let node = Redis::start_with(&options);
    let mut connection = node.connect();
    let mut words = vec!["ACL", "SETUSER", "dictator", "on"];
    let password = format!(">{PASSWORD}");
    words.push(&password);
    words.extend(rules.split_whitespace());
    assert!(!connection.command(&words).expect("a reply").is_error());
    (node, private)
}

fn document(master: SocketAddr, slaves: &[SocketAddr]) -> Value {
    let json = |address: &SocketAddr| json!({"address": address.ip().to_string(), "port": address.port()});
    json!({"master": json(&master), "slaves": slaves.iter().map(json).collect::<Vec<_>>()})
}

fn to_redis(options: DaemonOptions, files: &Files, ca: &str, own: &Pair) -> DaemonOptions {
    let options = options
        .switch("--redis-tls")
        .flag("--redis-ca-file", ca)
        .flag("--redis-cert", own.certificate())
        .flag("--redis-key", own.key())
        .flag("--redis-username", "dictator");
    file_flag(options, "--redis-password-file", &files.write("password", &format!("{PASSWORD}\n")))
}

#[test]
fn a_master_moves_over_private_connections_as_a_user() {
    let authority = Authority::new();
    let pair = authority.issue("node", "node", &["127.0.0.1", "node.example"]);
    let own = authority.issue("dictator", "dictator", &["dictator.example"]);
    let nodes: Vec<(Redis, SocketAddr)> = (0..3).map(|_| node(&authority, &pair)).collect();
    let [a, b, c] = [nodes[0].1, nodes[1].1, nodes[2].1];
    let files = Files::new();
    let dictator = Daemon::dictator(&to_redis(quick(), &files, &authority.path(), &own));
    dictator.http().put("/master?wait=links", &document(a, &[b, c])).expect(200);
    assert!(!nodes[0].0.command("SET key value").is_error());
    let receipt = dictator.http().put("/master?wait=links", &document(b, &[a, c])).expect(200).json();
    assert_eq!((&receipt["outcome"], &receipt["provable"]), (&json!("switched"), &json!(true)));
    assert_eq!(nodes[1].0.role(), "master");
    assert_eq!(nodes[0].0.follows(), Some(b.to_string()), "it follows by the private port");
    assert_eq!(nodes[1].0.keys(), 1);

    // By a name that all certificates have, instead of by the address.
    let by_name = to_redis(quick(), &files, &authority.path(), &own).flag("--redis-tls-name", "node.example");
    drop(dictator);
    let dictator = Daemon::dictator(&by_name);
    dictator.http().put("/master?wait=links", &document(b, &[a, c])).expect(200);
}

#[test]
fn what_does_not_fit_between_dictator_and_node_is_said() {
    let authority = Authority::new();
    let pair = authority.issue("node", "node", &["127.0.0.1"]);
    let own = authority.issue("dictator", "dictator", &["dictator.example"]);
    let (node, private) = node(&authority, &pair);
    let files = Files::new();
    let elsewhere = Authority::new();
    let told = |options: &DaemonOptions, at: SocketAddr| {
        let dictator = Daemon::dictator(options);
        let answer = dictator.put_master(&document(at, &[]));
        assert_eq!(answer.status / 100, 5, "{}", answer.text());
        assert!(!answer.text().contains("pass'word"), "{}", answer.text());
        answer.text()
    };
    let options = |ca: &str| to_redis(quick_without_enforcement(), &files, ca, &own);
    let text = told(&options(&elsewhere.path()), private);
    assert!(text.contains("signed by no authority"), "{text}");
    let text = told(&options(&authority.path()).flag("--redis-tls-name", "other.example"), private);
    assert!(text.contains("its certificate is not for other.example"), "{text}");
    let text = told(&options(&authority.path()), node.address());
    assert!(text.contains("TLS"), "the plain port: {text}");
    let text = told(&quick_without_enforcement(), private);
    assert!(
        text.contains("--redis-tls") || text.contains("TLS port"),
        "clear text to the private port: {text}"
    );
    let nobody = quick_without_enforcement().switch("--redis-tls").flag("--redis-ca-file", &authority.path());
    let text = told(&nobody, private);
    assert!(text.contains("CertificateRequired") || text.contains("asks for a client certificate"), "{text}");
    assert_eq!(node.follows(), Some("127.0.0.1:0".to_owned()), "nothing was changed");
}

/// What is asked of etcd in both of the next tests: a lock that is renewed, and a trigger that is delivered.
struct Loop {
    observer: Daemon,
    dictator: Daemon,
    nodes: Vec<Redis>,
    etcd: Etcd,
    _files: Files,
}

impl Loop {
    fn start(authority: &Authority, etcd: Etcd, allowed: &[&str]) -> Self {
        let own = authority.issue("own", "own", &["own.example"]);
        etcd.add_user("redis", PASSWORD, "/");
        let files = Files::new();
        let password = files.write("etcd-password", PASSWORD);
        let to_etcd = |mut options: DaemonOptions| {
            for part in allowed {
                options = options.allow_log(part, "etcd is restarted");
            }
            let options = options
                .flag("--etcd-ca-file", &authority.path())
                .flag("--etcd-cert", own.certificate())
                .flag("--etcd-key", own.key())
                .flag("--etcd-username", "redis");
            file_flag(options, "--etcd-password-file", &password)
        };
        let nodes = Redis::start_many(2, &RedisOptions::default());
        let elected = to_etcd(quick().flag("--etcd", &etcd.url()).flag("--lease", "2s"));
        let dictator = Daemon::dictator(&elected);
        let notify = [dictator.url("/master")];
        let observer = Daemon::observer(&etcd.url(), &notify, &to_etcd(DaemonOptions::new()));
        Self { observer, dictator, nodes, etcd, _files: files }
    }

    /// Defines and triggers, and waits until it is delivered.
    fn moves_to(&self, master: usize) {
        let other = self.nodes[1 - master].address();
        self.etcd.put(TOPOLOGY_KEY, &document(self.nodes[master].address(), &[other]).to_string());
        let revision = self.etcd.put(TRIGGER_KEY, "x");
        wait_until("the trigger to be delivered", SOON, || {
            let status = self.observer.status();
            ensure(status["delivered"]["revision"] == revision, status.to_string())
        });
        assert_eq!(self.nodes[master].role(), "master");
    }
}

#[test]
fn etcd_is_asked_privately_as_a_user_and_forgotten_tokens_are_got_anew() {
    let authority = Authority::new();
    let etcd = Etcd::start_guarded(&authority, "rootpw");
    let mut all = Loop::start(&authority, etcd, &["etcd", "lock", "lost"]);
    all.moves_to(0);
    // etcd keeps tokens in memory: after its restart everybody is a stranger.
    all.etcd.kill();
    all.etcd.start_again();
    all.moves_to(1);
}

/// Tokens that etcd signs and that end by themselves (`--auth-token jwt`), here after two seconds.
#[test]
fn tokens_that_end_by_themselves_are_got_anew_and_nobody_notices() {
    const TOKENS_LAST: Duration = Duration::from_secs(2);
    let authority = Authority::new();
    let files = Files::new();
    let secret = files.write("secret", "a secret that only this etcd knows");
    let tokens = format!("jwt,priv-key={},sign-method=HS256,ttl=2s", secret.display());
    let etcd = Etcd::start_guarded_with(&authority, "rootpw", &["--auth-token", &tokens]);
    // Nothing is announced: no line of a log tells anybody to look.
    let all = Loop::start(&authority, etcd, &[]);
    all.moves_to(0);
    let leading = || {
        let text = all.dictator.http().get("/metrics").expect(200).text();
        text.lines().find(|line| line.starts_with("dictator_leading ")).map(str::to_owned)
    };
    for round in 1..=3 {
        let begun = std::time::Instant::now();
        wait_until("a token to end while the lock is held", SOON, || {
            assert_eq!(leading().as_deref(), Some("dictator_leading 1"), "in round {round}");
            assert_eq!(all.dictator.http().get("/status").status, 200);
            ensure(begun.elapsed() > TOKENS_LAST * 2, "it lasts yet")
        });
        all.moves_to(round % 2);
    }
    let taken = harness::logs::read(all.dictator.log()).matches("this dictator has the say").count();
    assert_eq!(taken, 1, "the lock was never lost");
}

#[test]
fn what_does_not_fit_between_observer_and_etcd_is_said() {
    let authority = Authority::new();
    let own = authority.issue("own", "own", &["own.example"]);
    let elsewhere = Authority::new();
    let etcd = Etcd::start_guarded(&authority, "rootpw");
    let files = Files::new();
    let wrong = files.write("etcd-password", "wrong");
    let observer = |ca: &str| {
        DaemonOptions::new()
            .flag("--etcd-ca-file", ca)
            .flag("--etcd-cert", own.certificate())
            .flag("--etcd-key", own.key())
            .allow_log("", "etcd does not let it in")
    };
    let told = |options: &DaemonOptions, parts: &[&str]| {
        let observer = Daemon::observer(&etcd.url(), &["http://127.0.0.1:1/".to_owned()], options);
        wait_until("the observer to say why it does not watch", SOON, || {
            let page = observer.http().get("/readyz").text() + &observer.http().get("/status").text();
            ensure(parts.iter().any(|part| page.contains(part)), page)
        });
    };
    let user = |options: DaemonOptions| {
        file_flag(options.flag("--etcd-username", "root"), "--etcd-password-file", &wrong)
    };
    told(&user(observer(&authority.path())), &["authentication failed"]);
    told(&observer(&authority.path()), &["permission denied"]);
    told(&observer(&elsewhere.path()), &["BadSignature"]);
}
