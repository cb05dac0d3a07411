//! The file source: every change of the content is applied, once, with a growing number.
#![allow(missing_docs, clippy::disallowed_methods, reason = "tests write files as an editor does")]

mod support;

use std::path::{Path, PathBuf};

use harness::{Daemon, DaemonOptions};
use support::{Receiver, document, wait_delivered, wait_ready, wait_state, wait_status};

struct Case {
    folder: tempfile::TempDir,
    dictator: Receiver,
}

impl Case {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), dictator: Receiver::start() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("topology.json")
    }

    fn observer(&self, options: DaemonOptions) -> Daemon {
        let options = options
            .flag("--file", &self.path().display().to_string())
            .flag("--notify", &self.dictator.url("/master"));
        Daemon::start("observer", &options, &|_| Vec::new())
    }
}

fn write(path: &Path, content: &[u8]) {
    std::fs::write(path, content).expect("write the document");
}

#[test]
fn every_change_is_delivered_once_with_the_next_number() {
    let case = Case::new();
    write(&case.path(), document("core-01").as_bytes());
    let mut daemon = case.observer(DaemonOptions::new());
    wait_delivered(&daemon, 1);
    wait_ready(&daemon);
    write(&case.path(), document("core-02").as_bytes());
    wait_delivered(&daemon, 2);
    // Renamed into place, as a careful program does.
    let new = case.folder.path().join("new");
    write(&new, document("core-03").as_bytes());
    std::fs::rename(&new, case.path()).expect("rename");
    wait_delivered(&daemon, 3);

    // Unchanged over a restart: nothing. Changed meanwhile: delivered.
    daemon.kill();
    daemon.start_again();
    wait_delivered(&daemon, 3);
    daemon.kill();
    write(&case.path(), document("core-04").as_bytes());
    daemon.start_again();
    wait_delivered(&daemon, 4);

    assert_eq!(case.dictator.revisions(), [1, 2, 3, 4]);
    let texts: Vec<String> = case.dictator.received().iter().map(support::Received::text).collect();
    assert_eq!(texts, ["core-01", "core-02", "core-03", "core-04"].map(document));
    assert_eq!(case.dictator.wait_for(1).header("x-topology-revision"), Some("1"));
}

#[test]
fn a_missing_or_malformed_file_is_reported_and_never_forwarded() {
    let case = Case::new();
    let options = DaemonOptions::new()
        .allow_log("malformed-json", "the test writes half a document")
        .allow_log("trigger-deleted", "the test removes it");
    let daemon = case.observer(options);
    wait_state(&daemon, "no_trigger");
    let whole = document("core-01");
    write(&case.path(), &whole.as_bytes()[..whole.len() / 2]);
    let status = wait_state(&daemon, "unfit");
    assert_eq!(status["problems"][0]["problem"], "malformed-json");
    write(&case.path(), whole.as_bytes());
    wait_delivered(&daemon, 2);
    std::fs::remove_file(case.path()).expect("remove");
    wait_status(&daemon, "a removed file", |status| status["state"] == "no_trigger");
    assert_eq!(case.dictator.revisions(), [2]);
    // The same content again is the same document: it is in force already.
    write(&case.path(), whole.as_bytes());
    wait_delivered(&daemon, 2);
    assert_eq!(case.dictator.revisions(), [2]);
}

#[test]
fn a_file_that_cannot_be_used_is_reported_and_found_again() {
    let case = Case::new();
    std::fs::create_dir(case.path()).expect("a folder in its place");
    let options = DaemonOptions::new().allow_log("cannot be used", "the test puts a folder in its place");
    let daemon = case.observer(options);
    let status = wait_status(&daemon, "a failure", |status| status["source"]["failure"].is_string());
    assert_eq!(status["source"]["watching"], false);
    assert_eq!(daemon.http().get("/readyz").status, 503);
    std::fs::remove_dir(case.path()).expect("remove");
    write(&case.path(), document("core-01").as_bytes());
    wait_delivered(&daemon, 1);
    wait_ready(&daemon);
}
