//! The loop with tokens on every HTTP face: who is let in, who is not, and how that changes while it runs.

mod secured;

use std::process::Command;
use std::time::Duration;

use harness::binaries::binary;
use harness::cluster::quick;
use harness::wait::ensure;
use harness::{Daemon, DaemonOptions, Whole, WholeOptions, wait_until};
use secured::{Files, Issued, file_flag, issue};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

/// Files, tokens, and a loop in which everybody has to say who they are.
struct Guarded {
    files: Files,
    viewer: Issued,
    operator: Issued,
    admin: Issued,
    observer: Issued,
}

impl Guarded {
    fn new() -> Self {
        let [viewer, operator, admin, observer] = [
            ("wall-screen", "viewer"),
            ("alice", "operator"),
            ("root@example", "admin"),
            ("observer", "operator"),
        ]
        .map(|(name, role)| issue(name, role));
        let guarded = Self { files: Files::new(), viewer, operator, admin, observer };
        guarded.files.write("token", &format!("{}\n", guarded.observer.token));
        guarded.permit(&[&guarded.viewer, &guarded.operator, &guarded.admin, &guarded.observer]);
        guarded
    }

    /// From the next look on these tokens are known, and no others.
    fn permit(&self, known: &[&Issued]) {
        let lines: Vec<&str> = known.iter().map(|issued| issued.line.as_str()).collect();
        self.files.write("tokens", &format!("# who may ask\n{}\n", lines.join("\n")));
    }

    fn guard(&self, options: DaemonOptions) -> DaemonOptions {
        file_flag(options, "--tokens-file", &self.files.path("tokens"))
    }

    fn start(&self) -> Whole {
        let observer = file_flag(DaemonOptions::new(), "--notify-token-file", &self.files.path("token"));
        Whole::start(&WholeOptions {
            dictator: self.guard(quick()),
            dnsd: self.guard(DaemonOptions::new()),
            observer: self.guard(observer.flag("--slow-retry", "300ms")),
            ..WholeOptions::default()
        })
    }
}

fn status(daemon: &Daemon, method: &str, path: &str, who: Option<&Issued>) -> u16 {
    let bearer = who.map(Issued::bearer);
    let headers: Vec<(&str, &str)> = bearer.iter().map(|value| ("Authorization", value.as_str())).collect();
    daemon.http().request(method, path, &headers, b"").status
}

#[test]
fn the_loop_runs_and_every_face_asks_who_is_there() {
    let guarded = Guarded::new();
    let whole = guarded.start();
    whole.move_to(0);
    whole.move_to(1);
    for (daemon, read, change) in [
        (&whole.dictator, "/status", "/enforcement"),
        (&whole.dnsd, "/dns", "/dns"),
        (&whole.observer, "/status", "/status"),
    ] {
        for path in ["/healthz", "/readyz"] {
            assert_eq!(status(daemon, "GET", path, None), 200, "{path} is open");
        }
        for path in [read, "/metrics", "/nowhere"] {
            assert_eq!(status(daemon, "GET", path, None), 401, "{path}");
        }
        assert_eq!(status(daemon, "GET", read, Some(&guarded.viewer)), 200);
        assert_eq!(status(daemon, "PUT", change, Some(&guarded.viewer)), 403);
        assert_eq!(status(daemon, "PUT", change, Some(&issue("stranger", "admin"))), 401);
    }

    let refused = whole.dictator.http().get("/status").expect(401);
    assert_eq!(refused.header("www-authenticate"), Some(r#"Bearer realm="redis-dictator""#));
    assert_eq!((refused.slug().as_str(), refused.json()["status"].clone()), ("unauthorized", json!(401)));
    let wrong = whole.dictator.http().request("GET", "/status", &[("authorization", "Bearer no")], b"");
    assert!(wrong.header("www-authenticate").is_some_and(|value| value.contains("invalid_token")));
    let [a, b] = [whole.document(0), whole.document(2)];
    let put = |who: &Issued, document| {
        let bearer = who.bearer();
        whole.dictator.http().put_with(
            "/master",
            &[("authorization", &bearer), ("x-reason", "drill")],
            document,
        )
    };
    let refused = put(&guarded.viewer, &a).expect(403);
    assert_eq!(refused.slug(), "forbidden");
    assert!(refused.text().contains("wall-screen is viewer here"), "{}", refused.text());

    put(&guarded.operator, &b).expect(200);
    let entries = wait_until("the change to be in the history", SOON, || {
        let viewer = guarded.viewer.bearer();
        let entries =
            whole.dictator.http().request("GET", "/history", &[("authorization", &viewer)], b"").json();
        if entries[0]["asked_by"] == "alice" { Ok(entries) } else { Err(entries[0].to_string()) }
    });
    assert_eq!(entries[0]["reason"], "drill");
    assert_eq!(entries[1]["asked_by"], "observer");
}

#[test]
fn only_an_admin_permits_losing_data() {
    let guarded = Guarded::new();
    let whole = guarded.start();
    whole.move_to(0);
    let mut document = whole.document(1);
    document["discard"] = json!([whole.nodes[2].discard_json()]);
    let put = |who: &Issued, path: &str| {
        whole.dictator.http().put_with(path, &[("authorization", &who.bearer())], &document)
    };
    let refused = put(&guarded.operator, "/master").expect(403);
    assert!(refused.text().contains("discard"), "{}", refused.text());
    put(&guarded.operator, "/master?dry_run=true").expect(200);
    put(&guarded.admin, "/master").expect(200);
}

#[test]
fn a_token_is_taken_and_revoked_without_a_restart_and_a_spoilt_file_changes_nothing() {
    let guarded = Guarded::new();
    guarded.permit(&[&guarded.viewer]);
    let mut whole = guarded.start();
    whole.observer.allow_log("answered 401: the token is not among those", "its token is not known yet");
    whole.define(&whole.document(0));
    let revision = whole.trigger();
    let refused = "the observer to be refused";
    wait_until(refused, SOON, || {
        let bearer = guarded.viewer.bearer();
        let page = whole.observer.http().request("GET", "/status", &[("authorization", &bearer)], b"").text();
        ensure(page.contains("answered 401") && page.contains("--tokens-file"), page)
    });
    assert_eq!(whole.dnsd.published_master(), None);

    guarded.permit(&[&guarded.viewer, &guarded.operator, &guarded.observer]);
    for daemon in [&mut whole.dictator, &mut whole.dnsd] {
        daemon.process().signal_hang_up();
    }
    whole.wait_published(0);
    let master = whole.dictator.http().request(
        "GET",
        "/master",
        &[("authorization", &guarded.operator.bearer())],
        b"",
    );
    assert_eq!(master.header("x-topology-revision"), Some(revision.to_string().as_str()), "nothing was lost");

    whole.dictator.allow_log("not taken anew", "the file was spoilt on purpose");
    guarded.files.write("tokens", "alice operator rdt_not-a-hash\n");
    whole.dictator.process().signal_hang_up();
    wait_until("the spoilt file to be told", SOON, || {
        let log = harness::logs::read(whole.dictator.log());
        ensure(log.contains("not taken anew") && log.contains("line 1") && !log.contains("rdt_not"), log)
    });
    assert_eq!(status(&whole.dictator, "GET", "/master", Some(&guarded.operator)), 200);

    // Without a signal: the file is looked at by itself.
    guarded.permit(&[&guarded.viewer]);
    wait_until("a revoked token to be refused", SOON, || {
        let seen = status(&whole.dictator, "GET", "/master", Some(&guarded.operator));
        ensure(seen == 401, seen.to_string())
    });
    assert_eq!(status(&whole.dictator, "GET", "/master", Some(&guarded.viewer)), 200);
    whole.observer.allow_log("answered 401", "its token was revoked");
}

#[test]
fn the_operators_tool_says_who_it_is() {
    let guarded = Guarded::new();
    let dictator = Daemon::dictator(&guarded.guard(quick()));
    let run = |variables: &[(&str, &str)], arguments: &[&str]| {
        Command::new(binary("dictatorctl"))
            .args(arguments)
            .env("DICTATORCTL_ENDPOINT", dictator.url(""))
            .envs(variables.iter().copied())
            .output()
            .expect("dictatorctl runs")
    };
    let refused = run(&[], &["status"]);
    assert_eq!(refused.status.code(), Some(77));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("no token was given"), "{told}");
    let wrong = run(&[("DICTATORCTL_TOKEN", "rdt_wrong")], &["status"]);
    assert_eq!(wrong.status.code(), Some(77));
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("not among those") && !told.contains("rdt_wrong"), "{told}");
    let viewer = [("DICTATORCTL_TOKEN", guarded.viewer.token.as_str())];
    assert_eq!(run(&viewer, &["history"]).status.code(), Some(0));
    let refused = run(&viewer, &["pause", "--for", "1m"]);
    assert_eq!(refused.status.code(), Some(77), "{}", String::from_utf8_lossy(&refused.stderr));
    let file = guarded.files.write("mine", &guarded.operator.token);
    let file = file.to_str().expect("UTF-8");
    assert_eq!(run(&[], &["--token-file", file, "pause", "--for", "1m"]).status.code(), Some(0));
}

#[test]
fn a_start_with_a_bad_file_names_it_and_beyond_loopback_somebody_must_be_known() {
    let files = Files::new();
    let bad = files.write("bad", "alice emperor sha256:00\n");
    let bad = bad.to_str().expect("UTF-8");
    let sound = files.write("sound", &issue("alice", "operator").line);
    let sound = sound.to_str().expect("UTF-8");
    for program in ["dictator", "dnsd"] {
        let check = |arguments: &[&str]| {
            let ran = Command::new(binary(program)).arg("--check-config").args(arguments).output();
            let ran = ran.expect("the daemon runs");
            (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned())
        };
        let (code, told) = check(&["--tokens-file", bad, "--log", "="]);
        assert_eq!(code, Some(64));
        assert!(
            told.contains(bad) && told.contains("line 1: the role is") && told.contains("--log"),
            "{told}"
        );
        let (code, told) = check(&["--tokens-file", "/nonexistent/tokens"]);
        assert!(code == Some(64) && told.contains("/nonexistent/tokens cannot be read"), "{told}");
        let (code, told) = check(&["--listen", "0.0.0.0:1234"]);
        assert!(code == Some(64) && told.contains("--tokens-file"), "{told}");
        let (code, told) = check(&["--listen", "0.0.0.0:1234", "--tokens-file", sound]);
        assert_eq!(code, Some(0), "{told}");
    }
}
