//! Every command with wrong arguments, with a server that is not there, and with one that is odd: one
//! clear sentence, the right exit code, nothing changed.
#![allow(missing_docs)]

mod support;

use harness::cluster::{Cluster, assert_untouched, quick_without_enforcement};
use harness::ports::free_address;
use harness::redis::RedisOptions;
use support::calls::{ASKING, DOCUMENT};
use support::{Ctl, File, refusal, server};

/// Wrong calls with a part of the sentence they get.
const WRONG: [(&[&str], &str); 52] = [
    (&[], "Usage: dictatorctl"),
    (&["stauts"], "similar subcommands exist: 'pause', 'status'"),
    (&["status", "extra"], "unexpected argument 'extra'"),
    (&["status", "--wach"], "a similar argument exists: '--watch'"),
    (&["status", "--interval", "5"], "--interval \"5\": expected a number and its unit"),
    (&["status", "-o", "xml"], "--output \"xml\": expected table, json or yaml"),
    (&["status", "--endpoint", "10.0.0.1:8080"], "expected a URL such as"),
    (&["status", "--endpoint", "https://a"], "needs --ca-file"),
    (&["status", "--endpoint", "http://u:p@a"], "--token-file"),
    (&["status", "--timeout", "0"], "--timeout \"0\": more than 0"),
    (&["status", "--token-file", "/nonexistent"], "the token in /nonexistent cannot be read"),
    (&["status", "--config", "/nonexistent"], "--config /nonexistent: No such file"),
    (&["status", "--cluster", "a/b"], "--cluster \"a/b\""),
    (&["master", "core-01"], "unexpected argument 'core-01'"),
    (&["plan"], "<FILE>"),
    (&["plan", "/nonexistent"], "the document /nonexistent cannot be read: No such file"),
    (&["plan", "-", "--revision", "x"], "invalid value 'x' for '--revision"),
    (&["apply"], "<FILE>"),
    (&["apply", "/"], "the document / cannot be read: Is a directory"),
    (&["apply", "a", "b"], "unexpected argument 'b'"),
    (&["switch"], "<NODE>"),
    (&["apply", "-", "--reason", "two\nlines"], "--reason: one line of text"),
    (&["switch", "a", "b"], "unexpected argument 'b'"),
    (&["define"], "<FILE>"),
    (&["define", "/nonexistent", "--etcd", "http://127.0.0.1:1"], "the document /nonexistent cannot be read"),
    (&["define", "-", "--etcd", "https://127.0.0.1:1"], "--etcd: `https://127.0.0.1:1` needs a CA file"),
    (&["trigger", "now"], "unexpected argument 'now'"),
    (
        &["trigger", "--topology-key", "/k", "--trigger-key", "/k"],
        "/k is both the document's key and the trigger's",
    ),
    (&["acl"], "dictatorctl acl [OPTIONS] <COMMAND>"),
    (&["acl", "print", "--user", "two words"], "--user \"two words\": a user name has no blanks"),
    (&["acl", "print", "--for", "6.0"], "--for: redis 6.0 is not supported"),
    (&["acl", "print", "--for", "keydb"], "--for: \"keydb\" is not a server"),
    (&["acl", "etcd", "--domain", "a b"], "--domain \"a b\": write it as redis-1.docker"),
    (&["acl", "etcd", "--topology-key", "/$HOME"], "has characters that a shell would change"),
    (&["cluster-config", "-"], "--folder <PATH>"),
    (&["cluster-config", "-", "--folder", "/proc"], "unknown field `master`"),
    (&["doctor", "moon"], "invalid value 'moon'"),
    (&["watch", "core-01"], "unexpected argument 'core-01'"),
    (&["token"], "dictatorctl token [OPTIONS] <COMMAND>"),
    (&["token", "new", "--name", "a"], "--role <ROLE>"),
    (&["token", "new", "--name", "a", "--role", "king"], "invalid value 'king'"),
    (&["token", "new", "--name", "a b", "--role", "viewer"], "a b"),
    (&["pause"], "--for <DURATION>"),
    (&["pause", "--for", "10"], "--for \"10\": expected a number and its unit"),
    (&["pause", "--for", "0s"], "--for \"0s\": whole seconds, and at least one"),
    (&["resume", "now"], "unexpected argument 'now'"),
    (&["redis-cli", "PING"], "unexpected argument 'PING'"),
    (&["history", "-n", "0"], "0 is not in 1.."),
    (&["show", "a", "b"], "unexpected argument 'b'"),
    (&["completion"], "<SHELL>"),
    (&["completion", "cmd"], "invalid value 'cmd'"),
    (&["man", "status"], "unexpected argument 'status'"),
];

#[test]
fn every_command_has_a_wrong_call() {
    for command in ctl::command_line::command().get_subcommands() {
        let name = command.get_name();
        let called = WRONG.iter().any(|(arguments, _)| arguments.first() == Some(&name));
        assert!(called || name == "help", "`{name}` is never called wrongly");
    }
}

#[test]
fn wrong_usage_is_said_in_one_sentence_and_nothing_is_sent() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let ctl = Ctl::of(cluster.dictator.url(""));
    assert_untouched(&cluster.all(), || {
        for (arguments, part) in WRONG {
            let ran = ctl.run_with_input(arguments, DOCUMENT);
            assert_eq!(ran.code, 64, "{arguments:?}: {ran:?}");
            assert!(ran.stderr.contains(part), "{arguments:?} does not say {part:?}: {}", ran.stderr);
            assert!(ran.stdout.is_empty(), "{arguments:?}: answers only on standard output: {ran:?}");
        }
        for (arguments, part) in [
            (&["switch", "core-09"][..], "is no node of the document in force; its nodes are 127.0.0.1:"),
            (&["show", "99"], "the history has 1 entries and none is \"99\""),
        ] {
            ctl.run(arguments).ended(64).complains(&[part]);
        }
    });
}

#[test]
fn a_document_that_is_too_large_is_not_sent() {
    let file = File::new(&" ".repeat(1024 * 1024 + 1));
    let ran = Ctl::of("http://127.0.0.1:1").run(&["apply", &file.path]).ended(64);
    ran.complains(&["larger than any document"]);
}

#[test]
fn a_server_that_is_not_there_is_said_in_one_sentence() {
    let nowhere = free_address();
    let ctl = Ctl::of(format!("http://{nowhere}"));
    for arguments in ASKING {
        let ran = ctl.run_with_input(arguments, DOCUMENT).ended(69);
        assert_eq!(ran.stderr.lines().count(), 1, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{ran:?}");
        ran.complains(&[&format!("nobody answers at http://{nowhere}: Connection refused")]);
    }
    let unknown = Ctl::of("http://no-such-host.invalid:8080").run(&["status"]).ended(69);
    unknown.complains(&["the name cannot be resolved"]);
}

#[test]
fn what_is_no_dictator_is_called_so() {
    for (answer, code, part) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n"[..],
            1,
            "answered 200 \"hi\"; is that a daemon",
        ),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            1,
            "answered 302",
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", 1, "answered 502 \"<html>\""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\"\"", 1, "cannot be read"),
    ] {
        let (address, _asked) = server(answer);
        let ran = Ctl::of(format!("http://{address}")).run(&["status"]).ended(code);
        ran.complains(&[part]);
    }
    for garbage in [&b"-ERR unknown command\r\n"[..], b""] {
        let (address, _asked) = server(garbage);
        let ctl = Ctl::of(format!("http://{address}"));
        ctl.run(&["status"]).ended(69).complains(&["did not answer"]);
        // After a change was sent, silence does not mean that nothing happened.
        ctl.run_with_input(&["apply", "-"], DOCUMENT).ended(4).complains(&["may still be under way"]);
    }
}

#[test]
fn a_token_is_sent_and_its_refusal_has_a_code_of_its_own() {
    let (address, asked) = server(refusal(401, "unauthorized", "this token is unknown"));
    let ctl = Ctl::of(format!("http://{address}")).with("DICTATORCTL_TOKEN", "t0ken");
    let ran = ctl.run(&["status"]).ended(77).complains(&["this token is unknown"]);
    assert!(!ran.stderr.contains("t0ken"), "{}", ran.stderr);
    let request = asked.recv().expect("a request").to_ascii_lowercase();
    assert!(request.contains("authorization: bearer t0ken\r\n"), "{request}");
}

#[test]
fn a_switch_replaces_the_document_that_was_read_and_no_other() {
    let body = r#"{"master": {"address": "core-01"}, "slaves": [{"address": "core-02"}]}"#;
    let answer = format!("HTTP/1.1 200 OK\r\nETag: \"7\"\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (address, asked) = server(answer);
    Ctl::of(format!("http://{address}")).run(&["switch", "core-02"]).ended(1).complains(&["cannot be read"]);
    let request = || asked.recv().expect("a request").to_ascii_lowercase();
    let requests = [request(), request()];
    assert!(
        requests[0].starts_with("get /master ") && requests[1].starts_with("put /master "),
        "{requests:?}"
    );
    assert!(requests[1].contains("\r\nif-match: \"7\"\r\n"), "{}", requests[1]);
}

#[test]
fn of_several_dictators_the_one_that_answers_is_asked() {
    let (follower, _asked) = server(refusal(503, "not-leader", "another has the say"));
    let nowhere = free_address();
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let all = format!("http://{nowhere} http://{follower},{}", cluster.dictator.url(""));
    Ctl::of(all).run(&["status"]).ended(0).says(&["as wanted"]);
    let none = Ctl::of(format!("http://{nowhere} http://{follower}")).run(&["status"]);
    none.ended(69).complains(&["another has the say"]);
}
