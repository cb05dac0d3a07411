//! No secret is ever written: not into logs at their most talkative, not into an answer, not into the state folders.

mod secured;

use std::path::Path;

use harness::cluster::quick;
use harness::{DaemonOptions, RedisOptions, Whole, WholeOptions};
use secured::{Files, file_flag, issue};

const PASSWORD: &str = "tuesday-#\"secret'";
/// What name servers sign with, as it stands in the file and as bytes.
const TSIG_SECRET: &str = "d2VkbmVzZGF5LXNlY3JldC1vZi1uYW1lLXNlcnZlcnM=";
const TSIG_BYTES: &str = "wednesday-secret-of-name-servers";

/// Everything in the files below a folder, as text.
fn contents(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("a readable folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            text.push_str(&contents(&path));
        } else {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()));
        }
    }
    text
}

#[test]
fn secrets_are_in_no_log_no_answer_and_no_state() {
    let files = Files::new();
    let [observer, viewer, wrong] = [("observer", "operator"), ("screen", "viewer"), ("stranger", "admin")]
        .map(|(name, role)| issue(name, role));
    let tokens = files.write("tokens", &format!("{}\n{}\n", observer.line, viewer.line));
    let token = files.write("token", &observer.token);
    let password = files.write("password", PASSWORD);
    let keys =
        files.write("keys", &format!("key dnsd {{ algorithm hmac-sha256; secret \"{TSIG_SECRET}\"; }};"));
    let talkative =
        |options: DaemonOptions| file_flag(options.flag("--log", "trace"), "--tokens-file", &tokens);
    let quoted = PASSWORD.replace('"', "\\\"");
    let whole = Whole::start(&WholeOptions {
        nodes: 2,
        // The harness asks as the default user, the dictator as its own.
        redis: RedisOptions::default().line(&format!("user keeper on \">{quoted}\" ~* &* +@all")),
        dictator: file_flag(
            talkative(quick()).flag("--redis-username", "keeper"),
            "--redis-password-file",
            &password,
        ),
        // NOTIFY is signed, to somebody who does not listen.
        dnsd: file_flag(talkative(DaemonOptions::new()), "--tsig-keys-file", &keys)
            .flag("--secondaries", "127.0.0.1:9")
            .flag("--transfer-to", "127.0.0.1"),
        observer: file_flag(talkative(DaemonOptions::new()), "--notify-token-file", &token),
    });
    whole.move_to(0);
    whole.move_to(1);
    let mut told = String::new();
    for daemon in [&whole.dictator, &whole.dnsd, &whole.observer] {
        let stranger = daemon.http().request("GET", "/status", &[("authorization", &wrong.bearer())], b"");
        told.push_str(&stranger.expect(401).text());
        for path in ["/status", "/metrics", "/history", "/master", "/dns", "/readyz"] {
            let answer = daemon.http().request("GET", path, &[("authorization", &viewer.bearer())], b"");
            told.push_str(&answer.text());
        }
        let log = harness::logs::read(daemon.log());
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is not talkative: {log}");
        told.push_str(&log);
        told.push_str(&contents(&daemon.state_folder()));
    }
    let tsig = [TSIG_SECRET, TSIG_BYTES, &format!("{:?}", TSIG_BYTES.as_bytes())[1..40]];
    for secret in [
        PASSWORD,
        &quoted,
        "tuesday",
        tsig[0],
        tsig[1],
        tsig[2],
        &observer.token,
        &viewer.token,
        &wrong.token,
    ] {
        if let Some(at) = told.find(secret) {
            let around: String =
                told[..at].chars().rev().take(200).collect::<String>().chars().rev().collect();
            panic!("{secret} was told after: {around}");
        }
    }
}
