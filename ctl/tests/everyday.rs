//! What an operator does every day, with a real dictator over real nodes.
#![allow(missing_docs)]

mod support;

use std::process::Stdio;

use harness::cluster::{Cluster, assert_settled, assert_untouched, quick, quick_without_enforcement};
use harness::redis::RedisOptions;
use harness::{Daemon, DaemonOptions};
use support::{Ctl, File};

fn name(cluster: &Cluster, index: usize) -> String {
    cluster.nodes[index].address().to_string()
}

#[test]
fn a_cluster_is_planned_applied_switched_and_looked_at() {
    let cluster = Cluster::start(3, &RedisOptions::default(), &quick());
    let ctl = Ctl::of(cluster.dictator.url(""));
    let file = File::new(&cluster.document(0).to_string());

    ctl.run(&["status"]).ended(2).says(&["no document is in force"]);
    ctl.run(&["master"]).ended(2).complains(&["no node was granted"]);
    ctl.run(&["history"]).ended(0).says(&["nothing was done"]);

    let planned = ["plan", file.path.as_str()];
    assert_untouched(&cluster.all(), || {
        ctl.run(&planned).ended(2).says(&["it would be established", "  1. "])
    });
    ctl.run(&["apply", &file.path, "--wait-links"]).ended(0).says(&["established: ", "link up"]);
    assert_settled(&cluster.nodes[0], &cluster.others(0));
    ctl.run(&planned).ended(0).says(&["nothing to do"]);
    ctl.run(&["apply", &file.path]).ended(0).says(&["unchanged: "]);

    ctl.run(&["switch", &name(&cluster, 1), "--wait-links", "--reason", "new memory, größer"])
        .ended(0)
        .says(&["switched: ", "writes    waited "]);
    assert_settled(&cluster.nodes[1], &cluster.others(1));
    let master = ctl.run(&["master"]).ended(0).stdout;
    assert_eq!(master.trim(), name(&cluster, 1));
    ctl.run(&planned).ended(2).says(&["hand-over", "writes wait: about ", "at the last hand-over"]);

    cluster.wait_no_drift();
    ctl.run(&["status"]).ended(0).says(&["as wanted: master", "NODE", "granted", &name(&cluster, 2)]);
    let history = ctl.run(&["history"]).ended(0).says(&["switched", "established", "put"]);
    let newest = history.stdout.lines().nth(1).expect("an entry").to_owned();
    let request = newest.split_whitespace().last().expect("a request id").to_owned();
    let by_number = ctl.run(&["show"]).ended(0).says(&[
        "switched",
        "step ",
        "demote",
        "a document was sent, for: new memory, größer",
    ]);
    assert_eq!(ctl.run(&["show", &request]).ended(0).stdout, by_number.stdout);
    ctl.run(&["history", "-n", "1"]).ended(0).says(&["older entries"]);
}

#[test]
fn programs_get_what_the_daemon_said() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let ctl = Ctl::of(cluster.dictator.url(""));
    let status = ctl.run(&["status", "-o", "json"]).ended(0).json();
    assert_eq!(status["generation"], 1, "{status}");
    ctl.run(&["status", "-o", "yaml"]).ended(0).says(&["\"generation\": 1\n"]);
    let history = ctl.run(&["history", "-o", "json", "-n", "1"]).ended(0).json();
    assert_eq!(history.as_array().map(Vec::len), Some(1));
    let master = ctl.run(&["master", "-o", "json"]).ended(0).json();
    assert_eq!(master["port"], cluster.nodes[0].address().port());
    let document = cluster.document(1).to_string();
    let plan = ctl.run_with_input(&["plan", "-", "-o", "json"], &document).ended(2).json();
    assert_eq!(plan["would"], "switched", "{plan}");
    let receipt =
        ctl.run_with_input(&["apply", "-", "-o", "json", "--revision", "7"], &document).ended(0).json();
    assert_eq!((&receipt["outcome"], &receipt["revision"]), (&"switched".into(), &7.into()), "{receipt}");
    let stale = ["apply", "-", "-o", "json", "--revision", "6"];
    let refused = ctl.run_with_input(&stale, &document).ended(3);
    assert_eq!(refused.json()["type"], "urn:redis-dictator:stale-revision");
    let unmatched = ["apply", "-", "--if-match", "\"99\""];
    ctl.run_with_input(&unmatched, &document).ended(3).complains(&["precondition-failed"]);
}

#[test]
fn a_refusal_tells_what_where_what_was_seen_and_what_to_do() {
    let mut cluster = Cluster::established(3, &RedisOptions::default(), &quick_without_enforcement());
    let ctl = Ctl::of(cluster.dictator.url(""));
    let target = name(&cluster, 2);
    cluster.nodes[2].kill();
    for command in ["plan", "apply"] {
        let document = cluster.document(2).to_string();
        let alive = [&cluster.nodes[0], &cluster.nodes[1]];
        let refused = assert_untouched(&alive, || ctl.run_with_input(&[command, "-"], &document).ended(3));
        refused.complains(&[
            "[502 node-unreachable]",
            "\n  what ",
            &format!("\n  node      {target}"),
            "\n  do  ",
        ]);
    }
    ctl.run(&["status"]).ended(2).says(&["not as wanted", "unknown", &format!("{target}: it ")]);
    let malformed =
        ctl.run_with_input(&["apply", "-"], r#"{"master": {"address": "a b"}, "slaves": []}"#).ended(3);
    malformed.complains(&["invalid-address", "at        /master/address", "do "]);
    ctl.run_with_input(&["apply", "-"], "{").ended(3).complains(&["malformed-json"]);
}

#[test]
fn after_the_dictator_dnsd_is_told_and_only_then() {
    let cluster = Cluster::start(2, &RedisOptions::default(), &quick_without_enforcement());
    let dnsd = Daemon::dnsd(&DaemonOptions::new());
    let ctl = Ctl::of(cluster.dictator.url("")).with("DICTATORCTL_NOTIFY", &dnsd.url("/dns"));
    ctl.run_with_input(&["apply", "-"], "{}").ended(3);
    assert_eq!(dnsd.published_master(), None);
    let document = cluster.document(0).to_string();
    ctl.run_with_input(&["apply", "-"], &document).ended(0).complains(&["told http://"]);
    assert_eq!(dnsd.published_master(), Some(cluster.nodes[0].address()));
    ctl.run(&["switch", &name(&cluster, 1)]).ended(0);
    assert_eq!(dnsd.published_master(), Some(cluster.nodes[1].address()));
    drop(dnsd);
    let left = ctl.run(&["switch", &name(&cluster, 0)]).ended(4);
    left.says(&["switched"]).complains(&["the change stands, but http://", "was not told"]);
}

#[test]
fn a_change_past_an_observer_says_what_is_left_to_do() {
    let cluster = Cluster::start(2, &RedisOptions::default(), &quick_without_enforcement());
    let ctl = Ctl::of(cluster.dictator.url(""));
    let document = cluster.document(0).to_string();
    ctl.run_with_input(&["apply", "-", "--revision", "5"], &document).ended(0);
    let switched = ctl.run(&["switch", &name(&cluster, 1)]).ended(0);
    switched.complains(&["as revision 5", "DNS was not told", "the next trigger puts back"]);
    let applied = ctl.run_with_input(&["apply", "-"], &document).ended(0);
    applied.complains(&["as revision 5", "Define this document there"]);
    let delivered =
        ctl.run_with_input(&["apply", "-", "--revision", "6"], &cluster.document(1).to_string()).ended(0);
    assert!(!delivered.stderr.contains("note:"), "{}", delivered.stderr);
}

#[test]
fn another_clusters_dictator_is_not_spoken_to() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let ctl = Ctl::of(cluster.dictator.url("")).with("DICTATORCTL_CLUSTER", "blue");
    let document = cluster.document(1).to_string();
    assert_untouched(&cluster.all(), || {
        for arguments in [&["status"][..], &["history"], &["switch", "x"], &["plan", "-"], &["apply", "-"]] {
            let refused = ctl.run_with_input(arguments, &document).ended(3);
            refused.complains(&["keeps the cluster \"redis-1\", not \"blue\""]);
        }
    });
    Ctl::of(cluster.dictator.url("")).run(&["status", "--cluster", "redis-1"]).ended(0);
}

#[test]
fn a_watch_goes_on_and_a_closed_pipe_is_no_error() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let ctl = Ctl::of(cluster.dictator.url(""));
    let mut watch = ctl
        .command(&["status", "--watch", "--interval", "100ms", "-o", "json"])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut lines = std::io::BufReader::new(watch.stdout.take().expect("standard output"));
    for _ in 0..3 {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).expect("a line");
        let status: serde_json::Value = serde_json::from_str(&line).expect("one status a line");
        assert_eq!(status["generation"], 1, "{line}");
    }
    drop(lines);
    assert!(watch.wait().expect("it ends").success(), "who closes the pipe has seen enough");
}

#[test]
fn who_waits_is_told_for_what_and_an_answer_that_does_not_come_is_not_called_a_failure() {
    let mut cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let ctl = Ctl::of(cluster.dictator.url(""));
    cluster.dictator.process().freeze();
    let lost = ctl.run(&["switch", "x", "--timeout", "300ms"]);
    let document = cluster.document(1).to_string();
    let sent = ctl.run_with_input(&["apply", "-", "--timeout", "4s"], &document);
    cluster.dictator.process().thaw();
    lost.ended(69);
    sent.ended(4).complains(&["waiting for the answer, ", "may still be under way", "dictatorctl status"]);
}

/// On a terminal of its own, with this typed into it.
fn on_a_terminal(ctl: &Ctl, arguments: &str, typed: &str) -> (i32, String) {
    let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_dictatorctl"));
    let mut child = std::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("DICTATORCTL_ENDPOINT", &ctl.endpoint)
        .env("TERM", "xterm")
        .envs(ctl.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of the package bsdutils");
    std::io::Write::write_all(&mut child.stdin.take().expect("standard input"), typed.as_bytes())
        .expect("typed");
    let output = child.wait_with_output().expect("it ends");
    (output.status.code().expect("a code"), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn on_a_terminal_a_change_is_shown_and_asked_for() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let ctl = Ctl::of(cluster.dictator.url(""));
    let switch = format!("switch {}", name(&cluster, 1));
    assert_untouched(&cluster.all(), || {
        for typed in ["n\n", "\n", "yess\n"] {
            let (code, text) = on_a_terminal(&ctl, &switch, typed);
            assert_eq!(code, 1, "{text}");
            for part in ["hand-over", "writes wait: ", "Do it? [y/N]", "nothing was sent", "\u{1b}["] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    });
    let (code, text) = on_a_terminal(&ctl, &switch, "y\n");
    assert!(code == 0 && text.contains("the master moved"), "{text}");
    let plain = Ctl::of(cluster.dictator.url("")).with("NO_COLOR", "1");
    let (code, text) = on_a_terminal(&plain, &format!("switch {} --yes", name(&cluster, 0)), "");
    assert!(code == 0 && !text.contains("Do it?") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn the_shell_gets_completions_and_the_reader_a_manual() {
    let ctl = Ctl::of("http://127.0.0.1:1");
    for shell in ["bash", "zsh", "fish"] {
        ctl.run(&["completion", shell]).ended(0).says(&["dictatorctl", "switch"]);
    }
    ctl.run(&["man"]).ended(0).says(&[".TH dictatorctl", "switch"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    ctl.run(&["man", "--folder", &folder.path().display().to_string()]).ended(0);
    assert!(folder.path().join("dictatorctl-switch.1").exists());
    ctl.run(&["man", "--folder", "/nonexistent"]).ended(1).complains(&["/nonexistent"]);
    ctl.run(&["--help"]).ended(0).says(&["Exit codes:", "69", "DICTATORCTL_ENDPOINT"]);
    ctl.run(&["--version"]).ended(0).says(&["dictatorctl "]);
}
