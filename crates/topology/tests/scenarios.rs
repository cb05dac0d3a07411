//! Every situation that was thought of, as text: what is wanted, observed and remembered, and what is
//! done about it or why nothing is.
//!
//! The cases are in `scenarios/*.txt`, in the language of `language/mod.rs`. What is expected stands below
//! `---`. After a change that is meant, `UPDATE_SCENARIOS=1 cargo test -p topology --test scenarios`
//! writes what comes out now, and the difference is what to review: read it as an operator would.

mod language;
mod nodes;
mod observed;

use std::path::{Path, PathBuf};

use language::Scene;

/// Set to anything to write what comes out instead of comparing.
const UPDATE: &str = "UPDATE_SCENARIOS";
/// What begins a case.
const CASE: &str = "=== ";
/// What parts input and output.
const EXPECTED: &str = "---";
/// A folder with fewer cases than this has lost some.
const CASES_MIN: usize = 60;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of scenarios")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    files.sort();
    files
}

/// Plays every case of one file. Returns the file as it should be, and how many cases it has.
fn check(text: &str) -> (String, usize) {
    let (head, cases) = text.split_once(CASE).expect("a case");
    let mut out = head.to_owned();
    let mut names = std::collections::BTreeSet::new();
    for case in cases.split(&format!("\n{CASE}")) {
        let (name, body) = case.split_once('\n').unwrap_or((case, ""));
        assert!(names.insert(name), "two cases are called `{name}`");
        let input = body.split(&format!("\n{EXPECTED}\n")).next().unwrap_or_default().trim_end();
        let input = input.strip_suffix(EXPECTED).unwrap_or(input).trim_end();
        let played = std::panic::catch_unwind(|| Scene::parse(input).play());
        let played = played.unwrap_or_else(|_| panic!("in the case `{name}`, see above"));
        assert!(!played.contains("\naudit: "), "{name}: a plan failed its audit:\n{played}");
        out.push_str(&format!("{CASE}{name}\n{input}\n{EXPECTED}\n{played}\n"));
    }
    (out, names.len())
}

#[test]
fn every_scenario_comes_out_as_written() {
    #[expect(clippy::disallowed_methods, reason = "a switch of the test, no setting of a program")]
    let update = std::env::var(UPDATE).is_ok();
    let mut cases = 0;
    let mut wrong = Vec::new();
    for path in files() {
        let expected = std::fs::read_to_string(&path).expect("UTF-8 text");
        let (found, count) = check(&expected);
        cases += count;
        if update {
            #[expect(clippy::disallowed_methods, reason = "a source file, under version control")]
            std::fs::write(&path, &found).expect("a writable file");
        } else if found != expected {
            wrong.push(format!("{}:\n{}", path.display(), differences(&expected, &found)));
        }
    }
    assert!(cases >= CASES_MIN, "only {cases} cases");
    assert!(wrong.is_empty(), "{}\nif this is meant: {UPDATE}=1", wrong.join("\n"));
}

/// The cases that differ, as expected and as found.
fn differences(expected: &str, found: &str) -> String {
    let cases = |text: &str| -> Vec<String> { text.split(CASE).map(str::to_owned).collect() };
    let (expected, found) = (cases(expected), cases(found));
    let pairs = expected.iter().zip(&found).filter(|(expected, found)| expected != found);
    pairs.map(|(expected, found)| format!("expected {expected}found {found}")).collect()
}
