//! The bill of materials of the programs, in CycloneDX 1.5 (<https://cyclonedx.org/docs/1.5/json/>), on standard output.
//!
//! ```text
//! cargo run --example sbom > redis-dictator.cdx.json
//! ```
//!
//! What is in the programs is what cargo resolved for them: normal dependencies of the four programs, on Linux,
//! without those of tests and of build scripts. Licenses are those the crates declare, checksums those of
//! Cargo.lock. It is made here and not by a tool of its own because that would be a hundred more crates to be
//! trusted and built, for a rewriting of `cargo metadata`.

#![allow(clippy::print_stdout, reason = "the bill is the output")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

/// The programs that are shipped.
const PROGRAMS: [&str; 4] = ["ctl", "dictator", "dnsd", "observer"];
/// The platform for which dependencies are counted.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

fn main() {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    println!("{:#}", bill(&metadata, &checksums()));
}

/// Name and version of a package of the lock file, with its SHA-256.
fn checksums() -> BTreeMap<(String, String), String> {
    let lock = include_str!("../Cargo.lock");
    let field = |part: &str, name: &str| {
        let start = format!("{name} = \"");
        let line = part.lines().find_map(|line| line.strip_prefix(start.as_str()))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let parts = lock.split("[[package]]");
    let entry =
        |part: &str| Some(((field(part, "name")?, field(part, "version")?), field(part, "checksum")?));
    parts.filter_map(entry).collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What each package needs at run time, by package id.
fn needs(metadata: &Value) -> BTreeMap<&str, BTreeSet<&str>> {
    let is_normal =
        |dependency: &&Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
    let nodes = list(&metadata["resolve"]["nodes"]).iter();
    nodes
        .map(|node| {
            let normal = list(&node["deps"]).iter().filter(is_normal);
            (text(node, "id"), normal.map(|dependency| text(dependency, "pkg")).collect())
        })
        .collect()
}

fn bill(metadata: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let packages: BTreeMap<&str, &Value> =
        list(&metadata["packages"]).iter().map(|package| (text(package, "id"), package)).collect();
    let members: BTreeSet<&str> =
        list(&metadata["workspace_members"]).iter().filter_map(Value::as_str).collect();
    let needs = needs(metadata);
    let mut left: Vec<&str> = members
        .iter()
        .copied()
        .filter(|id| packages.get(id).is_some_and(|package| PROGRAMS.contains(&text(package, "name"))))
        .collect();
    let roots: Vec<String> = left.iter().map(|id| reference(packages[id])).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = left.pop() {
        if found.insert(id) {
            left.extend(needs.get(id).into_iter().flatten());
        }
    }
    let component = |id: &&str| {
        let package = packages[*id];
        let (name, version) = (text(package, "name"), text(package, "version"));
        let kind = if PROGRAMS.contains(&name) && members.contains(id) { "application" } else { "library" };
        let mut component = json!({
            "type": kind, "bom-ref": reference(package), "name": name, "version": version,
            "purl": reference(package),
            "licenses": [{"expression": text(package, "license").replace('/', " OR ")}],
        });
        if let Some(checksum) = checksums.get(&(name.to_owned(), version.to_owned())) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        component
    };
    let depends = |id: &&str| {
        let on: Vec<String> = needs[*id].iter().map(|id| reference(packages[id])).collect();
        json!({"ref": reference(packages[*id]), "dependsOn": on})
    };
    let product = "pkg:generic/redis-dictator";
    let mut dependencies: Vec<Value> = vec![json!({"ref": product, "dependsOn": roots})];
    dependencies.extend(found.iter().map(depends));
    json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {
            "type": "application", "bom-ref": product, "name": "redis-dictator",
            "version": env!("CARGO_PKG_VERSION"), "licenses": [{"expression": "Apache-2.0"}],
        }},
        "components": found.iter().map(component).collect::<Vec<_>>(),
        "dependencies": dependencies,
    })
}

/// How a package is called in all bills: a package URL.
fn reference(package: &Value) -> String {
    format!("pkg:cargo/{}@{}", text(package, "name"), text(package, "version"))
}
