//! `GET /status` for people: a verdict, a table, and below it what calls for somebody.

use std::fmt::Write;

use super::table::{Cell, bad, plain, table};
use super::{Style, ago, enforcement, printable};
use crate::answer::{Node, Status};

/// The headings; those with `>` stand to the right.
const HEADING: [&str; 9] = ["NODE", "ADDRESS", "WANTED", "IS", "LINK", ">OFFSET", ">LAG", "VERSION", "FLAGS"];

/// Whether all is as it should be: a document is in force and every node keeps to it.
pub fn as_wanted(status: &Status) -> bool {
    let sound = status.nodes.iter().all(|node| node.problems.is_empty());
    let groups_are_sound = status.groups.iter().all(|group| group.problems.is_empty());
    status.wanted.is_some() && !status.drift && status.problem.is_none() && sound && groups_are_sound
}

/// The whole answer; `now_unix_ms` dates the change under way.
pub fn status(status: &Status, now_unix_ms: u64, style: Style) -> String {
    let mut text = verdict(status, style);
    if let Some(change) = &status.change {
        let step = printable(&change.step);
        let _ = writeln!(text, "a change is under way: {step}, for {}", ago(now_unix_ms, change.since));
    }
    text.push_str(&enforcement(&status.enforcement, now_unix_ms, style).unwrap_or_default());
    for group in &status.groups {
        let _ = writeln!(text, "group {}: {} instances", printable(&group.srv), group.members.len());
    }
    if !status.nodes.is_empty() {
        let rows: Vec<Vec<Cell>> = status.nodes.iter().map(|node| row(node, status)).collect();
        text.push('\n');
        text.push_str(&table(&HEADING, &rows, style));
    }
    let mut told = String::new();
    for node in &status.nodes {
        for problem in &node.problems {
            let _ = writeln!(told, "  {}: {}", style.bad(printable(&node.label())), printable(problem));
        }
    }
    for group in &status.groups {
        for problem in &group.problems {
            let name = style.bad(format!("group {}", printable(&group.srv)));
            let _ = writeln!(told, "  {name}: {}", printable(problem));
        }
    }
    if let Some(trouble) = &status.problem {
        let _ = writeln!(
            told,
            "  {} [{}]: {}",
            style.bad("the topology cannot be kept"),
            printable(&trouble.slug),
            printable(&trouble.detail)
        );
        let _ = writeln!(told, "  {}: {}", style.strong("do"), printable(&trouble.advice));
    }
    if !told.is_empty() {
        let _ = write!(text, "\n{told}");
    }
    text
}

fn verdict(status: &Status, style: Style) -> String {
    if status.wanted.is_none() {
        return format!(
            "{}: apply one with `dictatorctl apply FILE`\n",
            style.bad("no document is in force")
        );
    }
    let verdict = if as_wanted(status) { style.good("as wanted") } else { style.bad("not as wanted") };
    let master = status.acting_master.as_deref().map_or_else(|| "none yet".to_owned(), printable);
    let revision = status.revision.map(|revision| format!(", revision {revision}")).unwrap_or_default();
    format!("{verdict}: master {}, generation {}{revision}\n", style.strong(master), status.generation)
}

fn row(node: &Node, status: &Status) -> Vec<Cell> {
    let or_dash = |text: Option<String>| text.map_or_else(|| "-".to_owned(), |text| printable(&text));
    let differs = node.wanted != "none" && node.role != node.wanted;
    let role = if differs { bad(printable(&node.role)) } else { plain(printable(&node.role)) };
    let broken = node.link.as_deref().is_some_and(|link| link != "up");
    let link = or_dash(node.link.clone());
    vec![
        plain(printable(&node.label())),
        plain(or_dash(node.endpoint())),
        plain(printable(&node.wanted)),
        role,
        if broken { bad(link) } else { plain(link) },
        plain(or_dash(node.offset.map(|offset| offset.to_string()))),
        plain(or_dash(node.lag_bytes.map(|lag| lag.to_string()))),
        plain(or_dash(node.version.clone())),
        plain(flags(node, status)),
    ]
}

/// `granted`: it holds the right to take writes. `unlisted`: no document names it. `!`: see below.
fn flags(node: &Node, status: &Status) -> String {
    let mut flags = Vec::new();
    if status.acting_master.as_deref().is_some_and(|name| node.is_named(name)) {
        flags.push("granted");
    }
    if node.wanted == "none" {
        flags.push("unlisted");
    }
    if !node.problems.is_empty() {
        flags.push("!");
    }
    flags.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parsed(value: Value) -> Status {
        serde_json::from_value(value).unwrap()
    }

    fn node(address: &str, wanted: &str, role: &str) -> Value {
        json!({"address": address, "ip": "10.0.0.1", "port": 6379, "wanted": wanted, "role": role,
               "link": if role == "slave" { json!("up") } else { Value::Null }, "offset": 1234,
               "lag_bytes": if role == "slave" { json!(0) } else { Value::Null }, "version": "7.0.15",
               "problems": []})
    }

    #[test]
    fn all_well_is_one_line_and_a_table() {
        let sound = parsed(json!({
            "revision": 42, "generation": 3, "wanted": {}, "acting_master": "core-01", "drift": false,
            "nodes": [node("core-01", "master", "master"), node("core-02", "slave", "slave")],
        }));
        assert!(as_wanted(&sound));
        let expected = "\
as wanted: master core-01, generation 3, revision 42

NODE     ADDRESS        WANTED  IS      LINK  OFFSET  LAG  VERSION  FLAGS
core-01  10.0.0.1:6379  master  master  -       1234    -  7.0.15   granted
core-02  10.0.0.1:6379  slave   slave   up      1234    0  7.0.15
";
        assert_eq!(status(&sound, 0, Style::default()), expected);
    }

    #[test]
    fn what_is_wrong_is_told_below_the_table_with_what_to_do() {
        let mut away = node("core-02", "slave", "unknown");
        away["problems"] = json!(["it does not answer"]);
        let broken = parsed(json!({
            "generation": 3, "wanted": {}, "acting_master": "core-01", "drift": true, "nodes": [away],
            "change": {"step": "attach", "since": 1000},
            "problem": {"type": "node-unreachable", "detail": "core-01 is away", "do": "start it"},
        }));
        assert!(!as_wanted(&broken));
        let text = status(&broken, 4000, Style::default());
        for part in [
            "not as wanted: master core-01, generation 3\n",
            "a change is under way: attach, for 3 s\n",
            "  core-02: it does not answer\n",
            "  the topology cannot be kept [node-unreachable]: core-01 is away\n  do: start it\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn groups_are_told_and_who_is_left_out_of_them() {
        let mut sound = json!({
            "generation": 3, "wanted": {}, "acting_master": "core-01", "drift": false, "nodes": [],
            "groups": [{"srv": "redis-1.docker", "members": [{"address": "core-01"}, {"address": "core-02"}]}],
        });
        let text = status(&parsed(sound.clone()), 0, Style::default());
        assert_eq!(text, "as wanted: master core-01, generation 3\ngroup redis-1.docker: 2 instances\n");
        sound["groups"][0]["problems"] = json!(["core-03 holds data of its own"]);
        let text = status(&parsed(sound), 0, Style::default());
        assert!(text.starts_with("not as wanted"), "{text}");
        assert!(text.ends_with("\n  group redis-1.docker: core-03 holds data of its own\n"), "{text}");
    }

    #[test]
    fn before_the_first_document_it_says_what_to_do() {
        let text =
            status(&parsed(json!({"generation": 0, "wanted": null, "nodes": []})), 0, Style::default());
        assert_eq!(text, "no document is in force: apply one with `dictatorctl apply FILE`\n");
    }
}
