//! docs/reference.md against the code: every problem with its status, every metric, step and event is told,
//! and nothing is told that is gone.
//!
//! Problems and events are found in the sources, which rustfmt keeps in one shape; metrics are found both
//! there and at daemons that run, because what a scrape says is what people build on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use harness::cluster::quick_without_enforcement;
use harness::{Cluster, Daemon, DaemonOptions, Etcd, RedisOptions};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources below these folders, without their tests.
fn sources(folders: &[&str]) -> String {
    let mut text = String::new();
    let mut left: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            let source = fs::read_to_string(&path).expect("a source");
            text.push_str(source.split("#[cfg(test)]").next().unwrap_or_default());
        }
    }
    text
}

/// The part of the page under this heading, up to the next of the same height.
fn section(heading: &str) -> String {
    let page = fs::read_to_string(root().join("docs/reference.md")).expect("the page");
    let rest = page.split(&format!("\n## {heading}\n")).nth(1).expect("the heading");
    rest.split("\n## ").next().expect("a part").to_owned()
}

/// The rows of all tables in a text, as their cells.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    text.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

/// Fails with what is on one side only.
#[track_caller]
fn assert_told(code: &BTreeSet<String>, page: &BTreeSet<String>) {
    let only =
        |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect::<Vec<_>>();
    let (missing, gone) = (only(code, page), only(page, code));
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/reference.md does not tell {missing:?}; it tells {gone:?}, which is nowhere in the code"
    );
}

/// What is between backquotes in a cell.
fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The text literals that follow each occurrence of `call`, with blanks and line ends between them.
fn literals_after<'a>(text: &'a str, call: &str) -> Vec<(&'a str, &'a str)> {
    let literal = |rest: &'a str| {
        let (literal, rest) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
        Some((literal, rest))
    };
    text.split(call).skip(1).filter_map(literal).collect()
}

fn problems_of_the_code() -> BTreeMap<String, BTreeSet<u16>> {
    let mut found: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    let faces = sources(&["crates/service/src", "dictator/src", "dnsd/src"]);
    for (slug, rest) in literals_after(&faces, "Problem::new(") {
        // After the title comes the status, where it is always the same.
        let rest = rest.split('"').nth(2).unwrap_or_default();
        let number: String =
            rest.trim_start_matches([',', ' ', '\n']).chars().take_while(char::is_ascii_digit).collect();
        found.entry(slug.to_owned()).or_default().extend(number.parse::<u16>());
    }
    let words = |file: &str, start: &str| -> BTreeMap<String, String> {
        let text = fs::read_to_string(root().join(file)).expect("a source");
        let arms = text.lines().filter_map(|line| line.trim().strip_prefix(start)?.split_once(" => "));
        arms.map(|(name, value)| (name.to_owned(), value.trim_end_matches(',').to_owned())).collect()
    };
    let slugs = [
        ("crates/topology/src/refusal.rs", "Slug::"),
        ("crates/topology/src/document.rs", "DocumentErrorKind::"),
    ];
    for (file, of) in slugs {
        let statuses = words("dictator/src/http/problems.rs", of);
        for (name, slug) in words(file, "Self::") {
            let Some(slug) = slug.strip_prefix('"').and_then(|slug| slug.strip_suffix('"')) else { continue };
            let status = statuses.get(&name).unwrap_or_else(|| panic!("no status for {name}"));
            let status = status.trim_start_matches('(').split(',').next().expect("a number");
            found.entry(slug.to_owned()).or_default().insert(status.parse().expect("a number"));
        }
    }
    found
}

#[test]
fn every_problem_is_told_with_its_status() {
    let code = problems_of_the_code();
    assert!(code.len() > 40, "{code:?}");
    let mut page = BTreeMap::new();
    for row in rows(&section("Problems")) {
        if let Ok(status) = row[1].parse::<u16>() {
            let slug = names(&row[0]).remove(0);
            assert_eq!(page.insert(slug.clone(), status), None, "{slug} is told twice");
        }
    }
    let names = |slugs: &mut dyn Iterator<Item = &String>| slugs.cloned().collect::<BTreeSet<_>>();
    assert_told(&names(&mut code.keys()), &names(&mut page.keys()));
    for (slug, statuses) in code {
        let told = page[&slug];
        // A problem that is made from the parser's status has no number of its own.
        assert!(
            statuses.is_empty() || statuses.contains(&told),
            "{slug}: {statuses:?}, and the page says {told}"
        );
    }
}

#[test]
fn every_step_and_event_is_told() {
    let told = |text: &str| -> BTreeSet<String> {
        rows(text).iter().flat_map(|row| names(&row[0])).filter(|name| !name.contains('_')).collect()
    };
    let steps = fs::read_to_string(root().join("crates/topology/src/plan/step.rs")).expect("the steps");
    let steps = steps.split("fn name(").nth(1).expect("names").split("\n    }\n").next().expect("their list");
    let steps: BTreeSet<String> =
        literals_after(steps, "=>").iter().map(|(name, _)| (*name).to_owned()).collect();
    let metrics = section("Metrics");
    let table = metrics.split("| step |").nth(1).expect("a table of steps");
    assert_told(&steps, &told(table));
    let code = sources(&["dictator/src"]);
    let events: BTreeSet<String> =
        literals_after(&code, "events.tell(").iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_told(&events, &told(&section("Events")));
}

#[test]
fn every_member_of_the_history_is_told() {
    let code = fs::read_to_string(root().join("dictator/src/apply/history.rs")).expect("the history");
    let entry =
        code.split("pub struct Entry {").nth(1).expect("an entry").split("\n}").next().expect("its end");
    let fields = entry.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next());
    let page = rows(&section("History")).iter().flat_map(|row| names(&row[0])).collect();
    assert_told(&fields.map(str::to_owned).collect(), &page);
}

/// The names on the page by daemon.
fn metrics_of_the_page() -> BTreeSet<String> {
    let rows = rows(&section("Metrics"));
    rows.iter().flat_map(|row| names(&row[0])).filter(|name| name.contains('_')).collect()
}

/// A name without what the format adds to it.
fn stem(name: &str) -> &str {
    ["_total", "_seconds", "_bytes"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

#[test]
fn every_metric_is_told() {
    let mut code = BTreeSet::new();
    for (daemon, folder) in [("dictator", "dictator/src"), ("dnsd", "dnsd/src"), ("observer", "observer/src")]
    {
        let text = sources(&[folder, "crates/service/src"]);
        for call in ["registry.register(", "registry.register_with_unit(", "encoder.encode_descriptor("] {
            let found = literals_after(&text, call).into_iter().map(|(name, _)| format!("{daemon}_{name}"));
            code.extend(found.map(|name| stem(&name).to_owned()));
        }
    }
    assert!(code.len() > 30, "{code:?}");
    let page = metrics_of_the_page().iter().map(|name| stem(name).to_owned()).collect();
    assert_told(&code, &page);
}

/// Every name that a scrape has, without those of a histogram's parts.
fn scraped(daemon: &Daemon) -> BTreeMap<String, String> {
    let answer = daemon.http().get("/metrics");
    assert_eq!(answer.status, 200);
    let types = answer.text();
    let types = types.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let with_end = |(name, kind): (&str, &str)| {
        let end = if kind == "counter" { "_total" } else { "" };
        (format!("{name}{end}"), kind.to_owned())
    };
    types.map(with_end).collect()
}

#[test]
fn what_a_scrape_says_is_told_as_what_it_is() {
    let cluster = Cluster::established(2, &RedisOptions::default(), &quick_without_enforcement());
    cluster.move_to(1);
    let dnsd = Daemon::dnsd(&DaemonOptions::new());
    dnsd.put_dns(&cluster.document(1)).expect(200);
    dnsd.ask("master.redis-1.docker", harness::dns::RecordType::Srv);
    let etcd = Etcd::start();
    let observer = Daemon::observer(&etcd.url(), &[cluster.dictator.url("/master")], &DaemonOptions::new());
    let kinds: BTreeMap<String, String> = rows(&section("Metrics"))
        .iter()
        .flat_map(|row| names(&row[0]).into_iter().map(|name| (name, row[1].clone())))
        .collect();
    for daemon in [&cluster.dictator, &dnsd, &observer] {
        let scraped = scraped(daemon);
        assert!(scraped.len() > 8, "{scraped:?}");
        for (name, kind) in scraped {
            assert_eq!(kinds.get(&name), Some(&kind), "{name} is not on the page as a {kind}");
        }
    }
    let text = cluster.dictator.http().get("/metrics").text();
    let node = cluster.nodes[1].address();
    assert!(text.contains(&format!("dictator_node_role{{node=\"{node}\",role=\"master\"}} 1")), "{text}");
    assert!(text.contains("dictator_leading 1"), "{text}");
}
