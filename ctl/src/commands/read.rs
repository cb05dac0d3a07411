//! Commands that change nothing.

use std::time::Duration;

use serde_json::json;
use service::clock;
use service::config::parse_duration;

use super::{Context, parsed};
use crate::answer::{Entry, Node, Status};
use crate::exit::{Code, Failure};
use crate::output::Format;
use crate::render;

/// Shortest and longest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// Cursor to the upper left corner, then everything below it is wiped (ECMA-48 sections 8.3.21 and 8.3.39).
const WIPE: &str = "\x1b[H\x1b[2J";

pub(super) async fn status(context: Context<'_>) -> Result<Code, Failure> {
    let interval = context.text("interval").unwrap_or("1s");
    let interval = parse_duration(interval)
        .map_err(|error| Failure::usage(format!("--interval {interval:?}: {error}")))?
        .clamp(INTERVAL_MIN, INTERVAL_MAX);
    if !context.matches.get_flag("watch") {
        return look(context, false).await;
    }
    loop {
        // A watch outlives what it watches.
        if let Err(failure) = look(context, true).await {
            if failure.text.is_empty() {
                return Err(failure);
            }
            let wipe = if context.output.out_is_terminal { WIPE } else { "" };
            context.output.talk(&format!("{wipe}dictatorctl: {}\n", failure.text));
        }
        tokio::time::sleep(interval).await;
    }
}

async fn look(context: Context<'_>, again: bool) -> Result<Code, Failure> {
    let output = context.output;
    let answer = context.get("/status").await?;
    let status: Status = parsed(&answer)?;
    match output.format {
        // One line per look, so that a program can read them apart.
        Format::Json if again => output.print(&format!("{}\n", answer.value))?,
        Format::Yaml if again => output.print(&format!("---\n{}", render::yaml(&answer.value)))?,
        _ => {
            let now = clock::unix_millis();
            let before = match (again, output.out_is_terminal) {
                (false, _) => String::new(),
                (true, true) => format!("{WIPE}{}\n", render::utc(now)),
                (true, false) => format!("\n{}\n", render::utc(now)),
            };
            output
                .answer(&answer.value, |style| format!("{before}{}", render::status(&status, now, style)))?;
        }
    }
    Ok(if render::as_wanted(&status) { Code::Done } else { Code::Differs })
}

pub(super) async fn master(context: Context<'_>) -> Result<Code, Failure> {
    let node = granted(context).await?;
    let value = json!({ "address": node.address, "ip": node.ip, "port": node.port, "role": node.role });
    let endpoint = node.endpoint().unwrap_or_default();
    context.output.answer(&value, |_| format!("{endpoint}\n"))?;
    Ok(Code::Done)
}

/// The node that was granted the right to take writes, if it takes them.
pub(super) async fn granted(context: Context<'_>) -> Result<Node, Failure> {
    let answer = context.get("/status").await?;
    let status: Status = parsed(&answer)?;
    let differs = |text: String| {
        Failure::new(Code::Differs, format!("{}; see dictatorctl status", render::printable(&text)))
    };
    let Some(name) = status.acting_master else {
        return Err(differs("no node was granted the right to take writes yet".to_owned()));
    };
    let node = status.nodes.into_iter().find(|node| node.is_named(&name));
    let Some(node) = node.filter(|node| node.endpoint().is_some()) else {
        return Err(differs(format!("the master is {name}, but its address is not known now")));
    };
    if node.role != "master" {
        return Err(differs(format!("{name} should be the master, but it is {}", node.role)));
    }
    Ok(node)
}

pub(super) async fn history(context: Context<'_>) -> Result<Code, Failure> {
    let answer = context.get("/history").await?;
    let entries: Vec<Entry> = parsed(&answer)?;
    let limit = usize::from(*context.matches.get_one::<u16>("limit").unwrap_or(&u16::MAX));
    let mut shown = answer.value;
    if let Some(list) = shown.as_array_mut() {
        list.truncate(limit);
    }
    context.output.answer(&shown, |style| render::history(&entries, limit, style))?;
    Ok(Code::Done)
}

pub(super) async fn show(context: Context<'_>) -> Result<Code, Failure> {
    let wanted = context.text("receipt").unwrap_or("1");
    let answer = context.get("/history").await?;
    let entries: Vec<Entry> = parsed(&answer)?;
    let index = find(&entries, wanted)?;
    context.output.answer(&answer.value[index], |style| render::entry(&entries[index], style))?;
    Ok(Code::Done)
}

/// The entry with this number, or the only one whose request id begins so. One request may have several
/// entries when it was sent again; the newest counts.
fn find(entries: &[Entry], wanted: &str) -> Result<usize, Failure> {
    /// Longer numbers are the beginning of a request id.
    const NUMBER_DIGITS_MAX: usize = 3;
    let number = wanted.parse::<usize>().ok().filter(|_| wanted.len() <= NUMBER_DIGITS_MAX);
    if let Some(number) = number.filter(|number| (1..=entries.len()).contains(number)) {
        return Ok(number - 1);
    }
    let begins = |entry: &&Entry| !wanted.is_empty() && entry.request_id.starts_with(wanted);
    let found: Vec<&Entry> = entries.iter().filter(begins).collect();
    if found.iter().any(|entry| entry.request_id != found[0].request_id) {
        return Err(Failure::usage(format!("several requests begin with {wanted:?}; give more of it")));
    }
    entries.iter().position(|entry| begins(&entry)).ok_or_else(|| {
        let text = format!(
            "the history has {} entries and none is {wanted:?}; see dictatorctl history",
            entries.len()
        );
        Failure::usage(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_number_and_by_the_beginning_of_its_request() {
        let ids = ["abc1", "abd2", "abc1"];
        let entry = |id: &&str| Entry { request_id: (*id).to_owned(), ..Entry::default() };
        let entries: Vec<Entry> = ids.iter().map(entry).collect();
        assert_eq!(find(&entries, "2"), Ok(1));
        assert_eq!(find(&entries, "abd"), Ok(1));
        assert_eq!(find(&entries, "abc"), Ok(0), "the newest of one request");
        for (wanted, part) in [("ab", "several"), ("4", "3 entries"), ("0", "none is"), ("", "none is")] {
            let failure = find(&entries, wanted).unwrap_err();
            assert_eq!(failure.code, Code::Usage);
            assert!(failure.text.contains(part), "{wanted}: {}", failure.text);
        }
    }
}
