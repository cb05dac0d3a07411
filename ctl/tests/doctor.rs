//! The doctor at real nodes, whose faults are made and cured by its own words; and at a host made of files.
#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "files of a test need not be durable")]

mod support;

use std::path::Path;
use std::process::Command;

use harness::cluster::{Cluster, quick_without_enforcement};
use harness::redis::RedisOptions;
use harness::{Daemon, DaemonOptions};
use serde_json::Value;
use support::Ctl;

fn findings(ctl: &Ctl) -> Vec<Value> {
    let ran = ctl.run(&["doctor", "cluster", "-o", "json"]);
    assert!([0, 2].contains(&ran.code), "{ran:?}");
    ran.json()["findings"].as_array().expect("a list").clone()
}

#[test]
fn a_fault_is_found_and_its_cure_can_be_pasted() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let ctl = Ctl::of(cluster.dictator.url(""));
    let slave = &cluster.nodes[1];
    let place = slave.address().to_string();
    for (directive, fault) in [
        ("replica-read-only", "no"),
        ("min-replicas-to-write", "1000000"),
        ("appendfsync", "no"),
        ("replica-ignore-maxmemory", "no"),
    ] {
        let cure = || {
            let about = |one: &Value| one["place"] == *place && one.to_string().contains(directive);
            findings(&ctl).into_iter().find(about).map(|one| one["do"].as_str().expect("a cure").to_owned())
        };
        assert_eq!(cure(), None, "nothing is wrong with {directive} yet");
        assert!(!slave.command(&format!("CONFIG SET {directive} {fault}")).is_error());
        let told = cure().unwrap_or_else(|| panic!("{directive} {fault} is not found"));
        assert!(told.contains(&format!("CONFIG SET {directive} ")), "{told}");
        let command = told.split(", and the same").next().expect("a command");
        let cured = Command::new("sh").args(["-c", command]).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&cured.stdout).trim(), "OK", "{command}");
        assert_eq!(cure(), None, "{directive} is cured");
    }
}

#[test]
fn the_dictators_user_is_tried_without_doing_anything() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let ctl = Ctl::of(cluster.dictator.url(""));
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/redis-user.md"));
    let page = page.expect("the page");
    let user = page.lines().find(|line| line.starts_with("ACL SETUSER")).expect("the user");
    for node in &cluster.nodes {
        assert!(!node.command(user).is_error(), "{user}");
    }
    let told = |user: &str| {
        let ran = ctl.run(&["doctor", "cluster", "--redis-user", user, "-o", "json"]);
        let all = ran.json()["findings"].as_array().expect("a list").clone();
        let about = |one: &Value| one["what"].as_str().is_some_and(|what| what.contains(user));
        all.into_iter().filter(about).collect::<Vec<_>>()
    };
    assert_eq!(told("dictator"), Vec::<Value>::new());
    assert!(!cluster.nodes[1].command("ACL SETUSER dictator -client|kill +get ~*").is_error());
    let found = told("dictator");
    assert!(found[0]["what"].as_str().expect("text").contains("lacks +client|kill"), "{found:?}");
    assert_eq!(found[1]["level"], "note", "{found:?}");
    for finding in &found {
        let command =
            finding["do"].as_str().expect("a cure").split(", and the same").next().expect("a command");
        let cured = Command::new("sh").args(["-c", command]).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&cured.stdout).trim(), "OK", "{command}");
    }
    assert_eq!(told("dictator"), Vec::<Value>::new());
    assert_eq!(told("nobody").len(), 2, "an unknown user is said at each node");
    for node in &cluster.nodes {
        assert_eq!(node.command_counts().of("flushall"), 0);
    }
}

#[test]
fn dns_that_names_another_node_is_a_danger() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let dnsd = Daemon::dnsd(&DaemonOptions::new());
    let ctl = Ctl::of(cluster.dictator.url("")).with("DICTATORCTL_NOTIFY", &dnsd.url("/dns"));
    let about_dns = || {
        let about = |one: &Value| one["place"] == dnsd.url("/dns").as_str();
        findings(&ctl).into_iter().filter(about).collect::<Vec<_>>()
    };
    assert!(about_dns()[0]["what"].as_str().expect("text").contains("does not tell what it publishes"));
    dnsd.put_dns(&cluster.document(1)).expect(200);
    let wrong = about_dns();
    assert!(wrong[0]["what"].as_str().expect("text").contains("takes the writes"), "{wrong:?}");
    assert_eq!(wrong[0]["level"], "danger");
    dnsd.put_dns(&cluster.document(0)).expect(200);
    assert_eq!(about_dns(), Vec::<Value>::new());
}

#[test]
fn the_least_user_is_printed_as_the_page_tells_it() {
    let ctl = Ctl::of("http://127.0.0.1:1");
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/redis-user.md"));
    let printed = ctl.run(&["acl", "print"]).ended(0).stdout;
    assert!(page.expect("the page").contains(&printed), "{printed}");
    let more = ctl.run(&["acl", "print", "--observing", "--user", "eye"]).ended(0).stdout;
    assert!(more.starts_with("ACL SETUSER eye on >PASSWORD ") && more.ends_with(" +config|get\n"), "{more}");
    let cluster = Cluster::start(1, &RedisOptions::default(), &quick_without_enforcement());
    for command in [printed, more] {
        assert!(!cluster.nodes[0].command(&command).is_error(), "{command}");
    }
}

#[test]
fn a_node_that_is_away_is_told_by_the_dictator_and_the_rest_is_examined() {
    let mut cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    let ctl = Ctl::of(cluster.dictator.url(""));
    cluster.nodes[1].kill();
    let ran = ctl.run(&["doctor", "cluster"]).ended(2);
    ran.says(&["warning", "the dictator sees: it ", "it could not be examined: ", "at 2 nodes"]);
}

#[test]
fn without_redis_cli_the_doctor_says_so() {
    let cluster = Cluster::established(1, &RedisOptions::default(), &quick_without_enforcement());
    let ctl = Ctl::of(cluster.dictator.url(""));
    let output = ctl.command(&["doctor", "cluster"]).env("PATH", "").output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("redis-cli, which cannot be started"));
}

#[test]
fn a_host_is_examined_without_any_daemon() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, text).expect("a file");
    };
    write("proc/sys/net/core/somaxconn", "128\n");
    write("proc/sys/vm/overcommit_memory", "0\n");
    write("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
    write("proc/7/comm", "redis-server\n");
    write("proc/7/limits", "Limit  Soft Limit\nMax open files            1024                 4096  files\n");
    write("proc/8/comm", "bash\n");
    write("proc/8/limits", "Max open files            1024                 4096  files\n");
    let ctl = Ctl::of("http://127.0.0.1:1");
    let shown = root.path().display().to_string();
    let ill = ctl.run(&["doctor", "host", "--root", &shown]).ended(2);
    ill.says(&[
        "0 dangers, 4 warnings (0 notes)",
        "somaxconn is 128",
        "vm.overcommit_memory is 0",
        "transparent huge pages",
        "redis-server (pid 7): it may open 1024 files",
    ]);
    write("proc/sys/net/core/somaxconn", "4096\n");
    write("proc/sys/vm/overcommit_memory", "1\n");
    write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    write("proc/7/limits", "Max open files            65536                 65536  files\n");
    ctl.run(&["doctor", "host", "--root", &shown]).ended(0).says(&["healthy"]);
}

/// What the doctor tells to copy is there, and holds what it looks for.
#[test]
fn the_files_that_cure_a_host_ship() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../units");
    let read = |name: &str| std::fs::read_to_string(units.join(name)).expect(name);
    let sysctl = read("sysctl.d/60-redis.conf");
    assert!(
        sysctl.contains("\nnet.core.somaxconn = 1024\n") && sysctl.contains("\nvm.overcommit_memory = 1\n")
    );
    assert!(read("redis-no-thp.service").contains("transparent_hugepage/enabled"));
}

#[test]
fn nodes_are_asked_as_the_operator_says() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    for node in &cluster.nodes {
        assert!(!node.command("ACL SETUSER ops on >hour ~* &* +@all").is_error());
        assert!(!node.command("ACL SETUSER default -config").is_error());
    }
    let ctl = Ctl::of(cluster.dictator.url("")).with("REDISCLI_AUTH", "hour");
    let told = |more: &[&str]| {
        let ran = ctl.run(&[&["doctor", "cluster", "-o", "json"][..], more].concat());
        ran.json()["findings"].to_string()
    };
    let as_nobody = told(&[]);
    assert!(as_nobody.contains("CONFIG GET is not permitted"), "{as_nobody}");
    let as_ops = told(&["--", "--user", "ops"]);
    assert!(!as_ops.contains("CONFIG GET is not permitted"), "{as_ops}");
}

#[test]
fn a_certificate_that_ends_soon_is_found() {
    let authority = harness::certificates::Authority::new();
    let day = Command::new("date").args(["-u", "-d", "+5 days", "+%Y %m %d"]).output().expect("date runs");
    let day = String::from_utf8(day.stdout).expect("text");
    let mut day = day.split_whitespace().map(|number| number.parse::<i32>().expect("a number"));
    let mut next = || day.next().expect("a year, a month, a day");
    let (year, month, day) = (next(), next() as u8, next() as u8);
    let near = authority.issue_until("near", "near", &["127.0.0.1"], (year, month, day));
    let far = authority.issue("far", "far", &["127.0.0.1"]);
    let soon = "its certificate ends soon, as the test wants it";
    let dictator = Daemon::dictator(&DaemonOptions::new().private(&authority, &far));
    let dnsd = Daemon::dnsd(&DaemonOptions::new().private(&authority, &near).allow_log("certificate", soon));
    let ctl = Ctl::of(dictator.url(""))
        .with("DICTATORCTL_CA_FILE", &authority.path())
        .with("DICTATORCTL_NOTIFY", &dnsd.url("/dns"));
    let about = |one: &&Value| one["what"].as_str().is_some_and(|what| what.contains("certificate"));
    let findings = findings(&ctl);
    let found: Vec<&Value> = findings.iter().filter(about).collect();
    assert_eq!(found.len(), 1, "{findings:?}");
    assert_eq!((&found[0]["level"], &found[0]["place"]), (&"warning".into(), &dnsd.url("/dns").into()));
    assert!(found[0]["what"].as_str().is_some_and(|what| what.contains("the dnsd ends in 4 days")));
}
