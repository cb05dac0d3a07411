//! docs/settings.md tells every setting of the daemons, and none that does not exist.
//!
//! The programs themselves are asked (`--help`), so that the page is held to what is really read.

use std::collections::BTreeSet;
use std::process::Command;

use harness::binaries::{binary, workspace};

/// Flags that every program of the kind has and nobody looks up.
const UNIVERSAL: [&str; 2] = ["--help", "--version"];

/// Flags and variables of a program, by its help.
fn told_by_help(program: &str, prefix: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let output = Command::new(binary(program)).arg("--help").output().expect("the program runs");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let flags = words(&help).filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned);
    let flags = flags.filter(|flag| !UNIVERSAL.contains(&flag.as_str())).collect();
    let variables = words(&help).filter(|word| word.starts_with(prefix)).map(str::to_owned).collect();
    (flags, variables)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_')))
}

/// The rows of the page's section with this heading.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let start = page.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let rest = &page[start + 4..];
    rest.find("\n## ").map_or(rest, |end| &rest[..end])
}

#[test]
fn every_setting_is_documented_and_every_documented_setting_exists() {
    let page = std::fs::read_to_string(workspace().join("docs/settings.md")).expect("docs/settings.md");
    let common = section(&page, "All daemons");
    for program in ["dictator", "dnsd", "observer"] {
        let prefix = format!("{}_", program.to_uppercase());
        let own = section(&page, program);
        let (flags, variables) = told_by_help(program, &prefix);
        assert!(flags.contains("--listen"), "{program} --help tells no flags: {flags:?}");
        for flag in &flags {
            let cell =
                |text: &str| text.contains(&format!("`{flag}`")) || text.contains(&format!("`{flag} "));
            assert!(cell(own) || cell(common), "docs/settings.md does not tell {flag} of {program}");
        }
        for variable in &variables {
            let short = format!("`…_{}`", &variable[prefix.len()..]);
            let told = own.contains(&format!("`{variable}`")) || common.contains(&short);
            assert!(told, "docs/settings.md does not tell {variable} of {program}");
        }
        let rows = own.lines().chain(common.lines()).filter(|line| line.starts_with("| `--"));
        for flag in rows.filter_map(|row| words(row).find(|word| word.starts_with("--"))) {
            assert!(flags.contains(flag), "docs/settings.md tells {flag}, which {program} does not have");
        }
    }
}

/// Who comes from an earlier tool finds each of its variables and flags, with what became of it.
#[test]
fn every_earlier_name_is_in_the_page_for_those_who_come_from_there() {
    let read = |page: &str| std::fs::read_to_string(workspace().join("docs").join(page)).expect("a page");
    let (settings, migration) = (read("settings.md"), read("migration.md"));
    let rows = settings.lines().filter(|line| line.starts_with("| `--"));
    let last = rows.filter_map(|row| row.trim_end_matches(['|', ' ']).rsplit('|').next());
    let quoted = last.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let earlier: BTreeSet<&str> = quoted
        .filter(|name| {
            let shouted = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            let ours = ["DICTATOR_", "DNSD_", "OBSERVER_"].iter().any(|prefix| name.starts_with(prefix));
            shouted && !ours
        })
        .collect();
    assert!(earlier.len() > 12, "{earlier:?}");
    for name in earlier {
        assert!(migration.contains(&format!("`{name}`")), "docs/migration.md does not tell {name}");
    }
}
