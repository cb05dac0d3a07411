//! The loop by TLS on every HTTP face: private, both sides sure of each other, and renewed while it runs.

mod secured;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::binaries::binary;
use harness::certificates::{Authority, Pair};
use harness::cluster::{Cluster, quick};
use harness::wait::ensure;
use harness::{Daemon, DaemonOptions, Redis, RedisOptions, Whole, WholeOptions, topology, wait_until};
use secured::{Files, file_flag, issue};

const SOON: Duration = Duration::from_secs(20);
const LOOPBACK: [&str; 1] = ["127.0.0.1"];

/// How `dictatorctl` ended, and what it complained of.
fn ctl(endpoint: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let ran = Command::new(binary("dictatorctl")).args(["--endpoint", endpoint]).args(arguments).output();
    let ran = ran.expect("dictatorctl runs");
    (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned())
}

#[test]
fn the_loop_runs_by_tls_with_certificates_on_both_sides() {
    let authority = Authority::new();
    let [dictator, dnsd, observer, stranger] = ["dictator", "dnsd", "observer", "stranger"]
        .map(|name| authority.issue(name, &format!("{name}.example"), &LOOPBACK));
    let files = Files::new();
    let screen = issue("wall-screen", "viewer");
    let known = format!("observer operator certificate:observer.example\n{}\n", screen.line);
    let tokens = files.write("tokens", &known);
    let guarded = |options: DaemonOptions, pair: &Pair| {
        let options = options.private(&authority, pair).flag("--tls-client-ca", &authority.path());
        file_flag(options, "--tokens-file", &tokens)
    };
    let telling = DaemonOptions::new()
        .flag("--notify-ca-file", &authority.path())
        .flag("--notify-cert", observer.certificate())
        .flag("--notify-key", observer.key());
    let whole = Whole::start(&WholeOptions {
        dictator: guarded(quick(), &dictator),
        dnsd: guarded(DaemonOptions::new(), &dnsd),
        observer: guarded(telling, &observer),
        ..WholeOptions::default()
    });
    assert!(whole.dictator.url("").starts_with("https://"));
    whole.move_to(0);
    whole.move_to(1);
    let bearer = screen.bearer();
    let ask = |headers: &[(&str, &str)]| whole.dictator.http().request("GET", "/history", headers, b"");
    assert_eq!(ask(&[]).status, 401, "neither a certificate nor a token");
    wait_until("the history to tell who asked", SOON, || {
        let entries = ask(&[("authorization", &bearer)]).expect(200).json();
        ensure(entries[0]["asked_by"] == "observer", entries.to_string())
    });
    // A certificate that the authority has signed, but no line permits.
    let (url, ca) = (whole.dictator.url(""), authority.path());
    let shown = ["--ca-file", &ca, "--client-cert", stranger.certificate(), "--client-key", stranger.key()];
    let (code, told) = ctl(&url, &[&["history"][..], &shown].concat());
    assert!(code == Some(77) && told.contains("stranger.example"), "{told}");
}

#[test]
fn without_tokens_the_authority_has_the_say() {
    let authority = Authority::new();
    let [own, alice] = ["own", "alice"].map(|name| authority.issue(name, name, &LOOPBACK));
    let elsewhere = Authority::new();
    let foreign = elsewhere.issue("eve", "eve", &LOOPBACK);
    let nodes = Redis::start_many(1, &RedisOptions::default());
    let files = Files::new();
    let document = files.write("document.json", &topology(&nodes[0], &[]).to_string());
    let document = document.to_str().expect("UTF-8");
    // The harness shows no certificate, so it cannot see that the daemon is healthy; the tool can.
    let options = quick().private(&authority, &own).flag("--tls-client-ca", &authority.path());
    let mut dictator = Daemon::prepare_dictator(harness::ports::free_address(), &options);
    dictator.process().start();
    let (url, ca) = (dictator.url(""), authority.path());
    let shown = |pair: &'static Pair| -> [&'static str; 4] {
        ["--client-cert", pair.certificate(), "--client-key", pair.key()]
    };
    let alice: &'static Pair = Box::leak(Box::new(alice));
    let foreign: &'static Pair = Box::leak(Box::new(foreign));
    wait_until("the dictator to answer", SOON, || {
        let (code, told) = ctl(&url, &[&["history", "--ca-file", &ca][..], &shown(alice)].concat());
        ensure(code == Some(0), told)
    });
    let apply =
        |more: &[&str]| ctl(&url, &[&["apply", document, "--yes", "--ca-file", &ca][..], more].concat());
    let (code, told) = apply(&[]);
    assert!(code == Some(69) || code == Some(4), "{told}");
    assert!(told.contains("asks for a client certificate"), "{told}");
    let (code, told) = apply(&shown(foreign));
    assert!(code == Some(69) || code == Some(4), "{told}");
    assert!(told.contains("does not accept our client certificate"), "{told}");
    assert_eq!(apply(&shown(alice)).0, Some(0));
}

#[test]
fn a_certificate_is_renewed_while_the_daemon_runs_and_a_wrong_one_is_not_taken() {
    let authority = Authority::new();
    let first = authority.issue("own", "own", &["127.0.0.1"]);
    let mut cluster = Cluster::start(1, &RedisOptions::default(), &quick().private(&authority, &first));
    let (url, ca) = (cluster.dictator.url(""), authority.path());
    let status = || ctl(&url, &["history", "--ca-file", &ca]);
    assert_eq!(status().0, Some(0));

    // Certificate first, key a moment later: the half is not taken, and not told either.
    let other = authority.issue("other", "own", &["10.0.0.1"]);
    let copy = |from: &Path, to: &Path| {
        std::fs::copy(from, to).expect("a copied file");
    };
    copy(&other.certificate, &first.certificate);
    assert_eq!(status().0, Some(0));
    copy(&other.key, &first.key);
    cluster.dictator.process().signal_hang_up();
    wait_until("the new certificate to be served", SOON, || {
        let (_, told) = status();
        ensure(told.contains("its certificate is not for 127.0.0.1"), told)
    });

    cluster.dictator.allow_log("not taken anew", "the key was spoilt on purpose");
    let third = authority.issue("third", "own", &["127.0.0.1"]);
    copy(&third.key, &first.key);
    cluster.dictator.process().signal_hang_up();
    wait_until("the wrong key to be told", SOON, || {
        let log = harness::logs::read(cluster.dictator.log());
        ensure(log.contains("does not belong to the certificate"), log)
    });
    copy(&third.certificate, &first.certificate);
    cluster.dictator.process().signal_hang_up();
    wait_until("the third certificate to be served", SOON, || {
        let (code, told) = status();
        ensure(code == Some(0), told)
    });
}

#[test]
fn every_way_not_to_understand_each_other_is_said_in_one_sentence() {
    let authority = Authority::new();
    let own = authority.issue("own", "own", &LOOPBACK);
    let old = authority.issue_expired("old", "old", &LOOPBACK);
    let private = Daemon::dictator(&quick().private(&authority, &own));
    let open = Daemon::dictator(&quick());
    let mut expired = Daemon::prepare_dictator(
        harness::ports::free_address(),
        &quick().private(&authority, &old).allow_log("has expired", "its time is over"),
    );
    expired.process().start();
    wait_until("it to listen", SOON, || {
        TcpStream::connect(expired.http().address()).map(drop).map_err(|error| error.to_string())
    });
    let (ca, foreign) = (authority.path(), Authority::new());
    let foreign = foreign.path();
    let plain_url = private.url("").replace("https://", "http://");
    let tls_url = open.url("").replace("http://", "https://");
    for (url, file, code, said) in [
        (private.url(""), &foreign, 69, "signed by no authority"),
        (expired.url(""), &ca, 69, "has expired"),
        (tls_url, &ca, 69, "does not speak TLS"),
        (plain_url.clone(), &ca, 3, "this port speaks TLS"),
    ] {
        let (ended, told) = ctl(&url, &["history", "--ca-file", file]);
        assert!(ended == Some(code) && told.contains(said), "{url}: {ended:?} {told}");
    }
    let (code, told) = ctl(&private.url(""), &["history"]);
    assert!(code == Some(64) && told.contains("needs --ca-file"), "{told}");

    // A client that says nothing at all is let go, and does not keep others out.
    let mut silent = TcpStream::connect(private.http().address()).expect("connected");
    silent.set_read_timeout(Some(SOON)).expect("a deadline");
    assert_eq!(private.http().get("/healthz").status, 200);
    let mut nothing = Vec::new();
    silent.read_to_end(&mut nothing).expect("closed by the daemon");
    let mut garbage = TcpStream::connect(private.http().address()).expect("connected");
    garbage.write_all(b"\x16\x03\x01\xff\xffgarbage").expect("sent");
    garbage.set_read_timeout(Some(SOON)).expect("a deadline");
    drop(garbage.read_to_end(&mut nothing));
    assert_eq!(private.http().get("/healthz").status, 200);
}

#[test]
fn a_start_with_bad_certificates_names_each_file_and_reason() {
    let authority = Authority::new();
    let own = authority.issue("own", "own", &LOOPBACK);
    let other = authority.issue("other", "other", &LOOPBACK);
    let files = Files::new();
    let empty = files.write("empty.pem", "");
    let empty = empty.to_str().expect("UTF-8");
    let ca = authority.path();
    let check = |program: &str, arguments: &[&str]| {
        let ran = Command::new(binary(program)).arg("--check-config").args(arguments).output();
        let ran = ran.expect("the daemon runs");
        (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    let (cert, key) = (own.certificate(), own.key());
    for (arguments, said) in [
        (&["--tls-cert", cert][..], "both --tls-cert and --tls-key"),
        (&["--tls-client-ca", &ca], "both --tls-cert and --tls-key"),
        (&["--tls-cert", cert, "--tls-key", other.key()], "does not belong to the certificate"),
        (&["--tls-cert", empty, "--tls-key", key], "empty.pem holds no certificate"),
        (&["--tls-cert", cert, "--tls-key", cert], "holds no private key"),
        (&["--tls-cert", cert, "--tls-key", "/nonexistent"], "/nonexistent cannot be read"),
        (&["--tls-cert", cert, "--tls-key", key, "--tls-client-ca", empty], "empty.pem holds no certificate"),
    ] {
        let (code, told) = check("dnsd", arguments);
        assert!(code == Some(64) && told.contains(said), "{arguments:?}: {told}");
    }
    let observer = ["--file", "/x", "--notify", "https://a/"];
    let (code, told) = check("observer", &[&observer[..], &["--tls-cert", empty, "--tls-key", key]].concat());
    assert!(code == Some(64) && told.contains("https://a/ needs --notify-ca-file"), "{told}");
    assert!(told.contains("empty.pem"), "all mistakes at once: {told}");
    let (code, told) =
        check("observer", &[&observer[..], &["--notify-ca-file", &ca, "--notify-cert", cert]].concat());
    assert!(code == Some(64) && told.contains("belong together"), "{told}");
    let beyond = ["--listen", "0.0.0.0:1", "--tls-cert", cert, "--tls-key", key];
    assert_eq!(check("dnsd", &beyond).0, Some(64), "private, but nobody is asked who they are");
    assert_eq!(check("dnsd", &[&beyond[..], &["--tls-client-ca", &ca]].concat()).0, Some(0));
}
