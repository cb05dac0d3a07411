//! The rules of the house that a compiler does not know, as tests.
//!
//! Rules that matter are compiled or tested; what is only written down is forgotten by the third
//! person in a hurry. Sizes are a ratchet: a file or function that may be larger than the rule is
//! listed with the size it may have, and the list may only become shorter. Sources are read as
//! text, relying on rustfmt for their shape; a parser would be a dependency for little gain.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Most lines of a file, the essay at its head and its tests not counted.
const FILE_LINES_MAX: usize = 400;
/// Most lines a file may have even when it is listed below.
const FILE_LINES_STOP: usize = 600;
/// Most lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Most lines of a daemon's `main.rs`: it is a table of contents.
const MAIN_LINES_MAX: usize = 80;
/// From this many lines on a file has substance and says at its head why it is as it is.
const SUBSTANCE_LINES: usize = 40;

/// Files above the rule, with the lines they may have. Only ever shorten this.
const LARGER_FILES: &[(&str, usize)] = &[];
/// Functions above the rule (`file::function`), with the lines they may have. Only ever shorten this.
const LARGER_FUNCTIONS: &[(&str, usize)] = &[];

const PROGRAMS: [&str; 4] = ["ctl", "dictator", "dnsd", "observer"];
const CRATES: [&str; 7] = ["coordination", "harness", "node", "resolve", "service", "simulation", "topology"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository with this ending, by its path from the root.
fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path: PathBuf = entry.expect("a readable entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                let place = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.push((place, fs::read_to_string(&path).expect("UTF-8 text")));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no {ending} files");
    found
}

/// The lines of a source that count: without the essay at its head and its tests.
fn counted_lines(text: &str) -> Vec<&str> {
    text.lines()
        .skip_while(|line| line.starts_with("//!") || line.is_empty())
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .collect()
}

fn is_test_source(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs" || part == "benches")
}

/// Dependencies of a manifest by section (`dependencies`, `dev-dependencies`, …).
fn dependencies(place: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join(place).join("Cargo.toml")).expect("a manifest");
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if section.ends_with("dependencies")
            && section != "workspace.dependencies"
            && !line.starts_with('#')
        {
            let name: String =
                line.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
            if !name.is_empty() {
                sections.entry(section.clone()).or_default().insert(name);
            }
        }
    }
    sections
}

/// All manifests of the workspace: our name of the package and its folder.
fn packages() -> Vec<(&'static str, String)> {
    let crates = CRATES.iter().map(|name| (*name, format!("crates/{name}")));
    let programs = PROGRAMS.iter().map(|name| (*name, (*name).to_owned()));
    crates.chain(programs).chain([("redis-dictator", ".".to_owned())]).collect()
}

#[test]
fn every_crate_is_under_these_rules() {
    let folders: BTreeSet<String> = fs::read_dir(root().join("crates"))
        .expect("crates")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(folders, CRATES.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn each_outside_system_has_one_importer() {
    // The command line has two: daemons have settings, and the operator's tool has commands.
    let importers: [(&str, &[&str]); 4] = [
        ("redis", &["node"]),
        ("hickory-resolver", &["resolve"]),
        ("etcd-client", &["coordination"]),
        ("clap", &["ctl", "service"]),
    ];
    for (library, only) in importers {
        for (name, place) in packages() {
            let imports = dependencies(&place).values().any(|section| section.contains(library));
            assert_eq!(
                imports,
                only.contains(&name),
                "{name} and {library}: only {only:?} may import it, and does"
            );
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    for (name, place) in packages() {
        for (section, names) in dependencies(&place) {
            for program in PROGRAMS.iter().filter(|program| **program != name) {
                assert!(
                    !names.contains(*program),
                    "{name}: programs meet over HTTP only, not by [{section}]"
                );
            }
            assert!(
                !names.contains("harness") || section == "dev-dependencies",
                "{name}: the harness is for tests, examples and benches"
            );
            let pure = ["topology", "service", "harness"].contains(&name);
            for ours in CRATES.iter().filter(|_| pure && section == "dependencies") {
                assert!(!names.contains(*ours), "{name} uses none of our other crates, but names {ours}");
            }
        }
    }
}

/// What an operator asks goes through the daemons' front doors, as with `curl`: no redis, no names, no
/// daemon's own libraries.
#[test]
fn the_operators_tool_knows_http_etcd_and_the_vocabulary_and_nothing_else_of_ours() {
    let sections = dependencies("ctl");
    let ours: Vec<&str> =
        CRATES.into_iter().filter(|name| sections["dependencies"].contains(*name)).collect();
    for name in ours {
        assert!(["coordination", "service", "topology"].contains(&name), "ctl uses {name}");
    }
}

#[test]
fn topology_is_pure() {
    let banned = [
        "tokio",
        "std::env",
        "std::fs",
        "std::io",
        "std::process",
        "std::thread",
        "TcpStream",
        "UdpSocket",
        "SystemTime",
        "Instant::now",
        "fastrand",
        "tracing",
    ];
    for (path, text) in files(".rs").iter().filter(|(path, _)| path.starts_with("crates/topology/src")) {
        if is_test_source(path) {
            continue;
        }
        for line in counted_lines(text).iter().filter(|line| !line.trim_start().starts_with("//")) {
            for word in banned {
                assert!(!line.contains(word), "{path}: {word} has no place in pure code: {line}");
            }
        }
    }
}

#[test]
fn files_keep_their_size() {
    let mut wrong = Vec::new();
    for (path, text) in files(".rs").iter().filter(|(path, _)| !is_test_source(path)) {
        let lines = counted_lines(text).len();
        let listed = LARGER_FILES.iter().find(|(place, _)| place == path).map(|(_, lines)| *lines);
        match listed {
            Some(_) if lines <= FILE_LINES_MAX => {
                wrong.push(format!("{path} has shrunk: take it off the list"));
            }
            Some(allowed) if lines > allowed.min(FILE_LINES_STOP) => {
                wrong.push(format!(
                    "{path}: {lines} lines, listed with {allowed}, never above {FILE_LINES_STOP}"
                ));
            }
            None if lines > FILE_LINES_MAX => {
                wrong.push(format!("{path}: {lines} lines of {FILE_LINES_MAX}"));
            }
            _ => {}
        }
        if path.ends_with("main.rs") && text.lines().count() > MAIN_LINES_MAX {
            wrong.push(format!("{path}: {} lines of {MAIN_LINES_MAX}", text.lines().count()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Name and length of each function, told by indentation.
fn functions(lines: &[&str]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = &line[..line.len() - trimmed.len()];
        let words: Vec<&str> = trimmed.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| *word == "fn") else { continue };
        let qualifiers = ["pub", "pub(super)", "pub(crate)", "async", "const"];
        if !words[..at].iter().all(|word| qualifiers.contains(word)) {
            continue;
        }
        let name: String = words[at + 1].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let end = format!("{indent}}}");
        if let Some(length) = lines[start..].iter().position(|line| *line == end) {
            found.push((name, length + 1));
        }
    }
    found
}

#[test]
fn functions_keep_their_size() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, text) in files(".rs").iter().filter(|(path, _)| !is_test_source(path)) {
        for (name, length) in
            functions(&counted_lines(text)).into_iter().filter(|(_, length)| *length > FUNCTION_LINES_MAX)
        {
            let place = format!("{path}::{name}");
            let allowed =
                LARGER_FUNCTIONS.iter().find(|(listed, _)| *listed == place).map(|(_, lines)| *lines);
            if length > allowed.unwrap_or(FUNCTION_LINES_MAX) {
                wrong.push(format!("{place}: {length} lines of {FUNCTION_LINES_MAX}"));
            }
            seen.insert(place);
        }
    }
    let shrunk = LARGER_FUNCTIONS.iter().filter(|(place, _)| !seen.contains(*place));
    wrong.extend(shrunk.map(|(place, _)| format!("{place} has shrunk: take it off the list")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_of_substance_open_with_an_essay() {
    for (path, text) in files(".rs") {
        if text.lines().count() >= SUBSTANCE_LINES && !path.ends_with("/tests.rs") {
            assert!(text.starts_with("//! "), "{path} does not say at its head why it is as it is (`//! …`)");
        }
    }
}

#[test]
fn nothing_is_left_over() {
    let marks = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("#[ig", "nore"),
    ];
    for ending in [".rs", ".sh", ".md", ".toml"] {
        for (path, text) in files(ending) {
            for (number, line) in text.lines().enumerate() {
                for mark in marks {
                    assert!(!line.contains(mark), "{path}:{}: {mark} is left over", number + 1);
                }
            }
        }
    }
}

#[test]
fn links_and_commands_of_the_documents_exist() {
    for (path, text) in files(".md") {
        let folder = root().join(&path).parent().expect("a folder").to_path_buf();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") {
                assert!(folder.join(file).exists(), "{path} links to {file}, which does not exist");
            }
        }
        for command in text.lines().filter_map(|line| line.split_whitespace().next()) {
            if command.starts_with("examples/") || command.starts_with(".ci/") {
                assert!(is_executable(&root().join(command)), "{path} runs {command}, which cannot be run");
            }
        }
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o111 != 0)
}

#[test]
fn readme_shows_its_two_commands_first() {
    let text = fs::read_to_string(root().join("README.md")).expect("README.md");
    let commands: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("examples/") || line.starts_with(".ci/"))
        .take(2)
        .collect();
    let words: Vec<&str> = commands.iter().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(words, ["examples/demo.sh", ".ci/run"]);
}
