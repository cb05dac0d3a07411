//! Every command that asks somebody: with a token that is not known, with a server whose certificate's time is over,
//! and with an etcd that is away, refuses, or is none. One clear sentence, the right exit code, nothing changed.
#![allow(missing_docs)]

mod support;

use std::net::TcpStream;
use std::time::Duration;

use ctl::command_line;
use harness::certificates::Authority;
use harness::cluster::{Cluster, assert_untouched, quick_without_enforcement};
use harness::ports::free_address;
use harness::{Daemon, DaemonOptions, Etcd, Redis, RedisOptions, wait_until};
use support::calls::{ASKING, DOCUMENT};
use support::{Ctl, File};

/// Those that ask etcd.
const OF_ETCD: [&[&str]; 3] = [&["define", "-"], &["trigger"], &["trigger", "--wait"]];

/// Those that ask nobody.
const ALONE: [&str; 5] = ["acl", "cluster-config", "token", "completion", "man"];

const SOON: Duration = Duration::from_secs(20);

#[test]
fn no_command_is_forgotten_here() {
    for command in command_line::command().get_subcommands() {
        let name = command.get_name();
        let calls = ASKING.iter().chain(&OF_ETCD).filter_map(|call| call.first());
        let is_here = calls.chain(&ALONE).any(|known| *known == name);
        assert!(is_here || name == "help", "`{name}` is tried with no wrong server");
    }
}

#[test]
fn a_token_that_is_not_known_is_refused_to_every_command() {
    let tokens = File::new(&format!("somebody admin sha256:{}\n", "0".repeat(64)));
    let options = quick_without_enforcement().flag("--tokens-file", &tokens.path);
    let nodes = Redis::start_many(2, &RedisOptions::default());
    let cluster = Cluster { dictator: Daemon::dictator(&options), nodes };
    let ctl = Ctl::of(cluster.dictator.url("")).with("DICTATORCTL_TOKEN", "rdt_wrong");
    assert_untouched(&cluster.all(), || {
        for arguments in ASKING {
            let ran = ctl.run_with_input(arguments, &cluster.document(0).to_string());
            assert_eq!(ran.code, 77, "{arguments:?}: {ran:?}");
            let told = ran.stderr.clone() + &ran.stdout;
            assert!(told.contains("not among those"), "{arguments:?}: {ran:?}");
            assert!(!told.contains("rdt_wrong"), "{arguments:?}: {ran:?}");
        }
    });
}

/// A dictator whose certificate's time is over; it can be asked nothing.
fn expired(authority: &Authority) -> Daemon {
    let pair = authority.issue_expired("old", "old", &["127.0.0.1"]);
    let options = DaemonOptions::new().private(authority, &pair).allow_log("has expired", "so it is meant");
    let mut daemon = Daemon::prepare_dictator(free_address(), &options);
    daemon.process().start();
    wait_until("it to listen", SOON, || {
        TcpStream::connect(daemon.http().address()).map(drop).map_err(|error| error.to_string())
    });
    daemon
}

/// An etcd of the same kind.
fn expired_etcd(authority: &Authority) -> (Etcd, String) {
    let pair = authority.issue_expired("old-etcd", "old", &["127.0.0.1"]);
    let client = free_address();
    let mut etcd = Etcd::prepare(client, free_address());
    let arguments = &mut etcd.process().recipe_mut().arguments;
    for argument in arguments.iter_mut() {
        *argument = argument.replace(&format!("http://{client}"), &format!("https://{client}"));
    }
    arguments.extend(["--cert-file", pair.certificate(), "--key-file", pair.key()].map(str::to_owned));
    etcd.process().start();
    wait_until("etcd to listen", SOON, || {
        TcpStream::connect(client).map(drop).map_err(|error| error.to_string())
    });
    (etcd, format!("https://{client}"))
}

#[test]
fn a_certificate_whose_time_is_over_is_said_to_every_command() {
    let authority = Authority::new();
    let daemon = expired(&authority);
    let (_etcd, etcd_url) = expired_etcd(&authority);
    let ctl = Ctl::of(daemon.url(""))
        .with("DICTATORCTL_CA_FILE", &authority.path())
        .with("DICTATORCTL_ETCD", &etcd_url)
        .with("DICTATORCTL_ETCD_CA_FILE", &authority.path());
    let of_both: &[&str] = &["switch", "core-02", "--etcd", &etcd_url];
    for arguments in ASKING.iter().chain(&OF_ETCD).chain([&of_both]) {
        let ran = ctl.run_with_input(arguments, DOCUMENT);
        assert_eq!(ran.code, 69, "{arguments:?}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.to_lowercase().contains("expired"), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn an_etcd_that_does_not_do_it_is_said_in_one_sentence() {
    let etcd = Etcd::start();
    for words in [&["user", "add", "root:secret"][..], &["auth", "enable"]] {
        assert!(etcd.etcdctl(words).status.success());
    }
    let nowhere = format!("http://{}", free_address());
    let not_etcd = Redis::start();
    let not_etcd = format!("http://{}", not_etcd.address());
    let dictator = Daemon::dictator(&quick_without_enforcement());
    for (url, variables, code, part) in [
        (nowhere, &[][..], 69, "could not be asked to write a key"),
        (not_etcd, &[], 69, "could not be asked to write a key"),
        (etcd.url(), &[], 77, "etcd lets only users in"),
        (
            etcd.url(),
            &[("DICTATORCTL_ETCD_USERNAME", "root"), ("DICTATORCTL_ETCD_PASSWORD", "wrong")],
            77,
            "authentication failed",
        ),
    ] {
        let mut ctl = Ctl::of(dictator.url("")).with("DICTATORCTL_ETCD", &url);
        for (name, value) in variables {
            ctl = ctl.with(name, value);
        }
        for arguments in OF_ETCD {
            let ran = ctl.run_with_input(arguments, DOCUMENT);
            assert_eq!(ran.code, code, "{arguments:?} {variables:?}: {ran:?}");
            assert_eq!(ran.stderr.lines().count(), 1, "{arguments:?}: {ran:?}");
            assert!(ran.stderr.contains(part), "{arguments:?}: {ran:?}");
            assert!(!ran.stderr.contains("wrong"), "{ran:?}");
        }
    }
}
