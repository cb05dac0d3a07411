//! The alerts as Prometheus itself reads and tries them, and what they lean on: metrics that exist, and a
//! section in the runbook for whoever is woken.
//!
//! `promtool` comes with Debian's package `prometheus`. Where it is not there, the test says so in one line and
//! judges the rest.

#![allow(clippy::print_stderr, reason = "it tells what it skips")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("packaging/prometheus")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn values(text: &str, key: &str) -> Vec<String> {
    let start = format!("{key}: ");
    text.lines()
        .filter_map(|line| {
            line.trim().trim_start_matches("- ").strip_prefix(start.as_str()).map(str::to_owned)
        })
        .collect()
}

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    let folder = folder();
    for words in
        [&["check", "rules", "redis-dictator.rules.yml"], &["test", "rules", "redis-dictator.tests.yml"]]
    {
        let ran = match Command::new("promtool").args(*words).current_dir(&folder).output() {
            Ok(ran) => ran,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("skipped: promtool is not there; it is in the package prometheus");
                return;
            }
            Err(error) => panic!("promtool: {error}"),
        };
        let said =
            format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{words:?}: {said}");
        assert!(said.contains("SUCCESS"), "{words:?}: {said}");
    }
}

#[test]
fn every_alert_is_tried_and_has_a_section_in_the_runbook() {
    let rules = read(&folder().join("redis-dictator.rules.yml"));
    let tests = read(&folder().join("redis-dictator.tests.yml"));
    let runbook = read(&root().join("docs/runbook.md"));
    let alerts = values(&rules, "alert");
    assert!(alerts.len() >= 20, "{alerts:?}");
    let sections: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(alerts.iter().collect::<BTreeSet<_>>().len(), alerts.len(), "each once");
    assert_eq!(
        alerts.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        sections.into_iter().collect::<BTreeSet<_>>(),
        "alerts, and sections of the runbook"
    );
    let links: BTreeSet<String> = values(&rules, "runbook").into_iter().collect();
    for alert in &alerts {
        assert!(links.contains(&format!("docs/runbook.md#{}", alert.to_lowercase())), "{alert}");
        let name = format!("alertname: {alert}\n");
        let mut fires = tests.split(&name).skip(1);
        assert!(fires.any(|rest| rest.trim_start().starts_with("exp_alerts:")), "{alert} never fires");
        assert!(tests.contains(&format!("alertname: {alert}}}")), "{alert} is never silent");
    }
    for severity in rules.lines().filter_map(|line| line.trim().strip_prefix("labels: ")) {
        assert!(["{severity: critical}", "{severity: warning}", "{severity: info}"].contains(&severity));
    }
}

#[test]
fn alerts_are_about_metrics_that_there_are() {
    let rules = read(&folder().join("redis-dictator.rules.yml"));
    let page = read(&root().join("docs/reference.md"));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = rules
        .split(|c: char| !is_name(c))
        .filter(|word| ["dictator_", "dnsd_", "observer_"].iter().any(|prefix| word.starts_with(prefix)));
    let names: BTreeSet<&str> = words.collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let of_histogram = ["_count", "_bucket", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        let name = of_histogram.unwrap_or(name);
        assert!(page.contains(&format!("`{name}`")), "{name} is no metric");
    }
}
