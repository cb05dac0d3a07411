//! Collects what [`crate::doctor`] judges: from the dictator, from every node by `redis-cli`, from this host.
//!
//! The nodes are asked with the operator's own `redis-cli` and its `REDISCLI_AUTH`, not with the dictator's
//! user: that one may ask for nothing but what a change needs, and this program has no connection to a node of
//! its own. What redis-cli prints is text of a remote side, limited in size and time.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::json;
use service::clock;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::{Context, parsed};
use crate::answer::{Node, Status};
use crate::client::{Ask, Client, Reply};
use crate::doctor::nodes::{Facts, Permissions, parse_config, parse_info};
use crate::doctor::{Finding, Level, certificates, host, nodes, published, report};
use crate::exit::{Code, Failure};
use crate::permissions::{RULES_NEEDED, RULES_UNWANTED};

/// Deadline of one redis-cli.
const REDIS_CLI_DEADLINE: Duration = Duration::from_secs(5);
/// Most bytes taken of what it prints.
const REDIS_CLI_BYTES_MAX: u64 = 1024 * 1024;
/// Longest asking for a node's clock that still measures it well enough.
const CLOCK_WITHIN_MAX_MS: u64 = 400;
/// Nodes that are asked at once.
const AT_ONCE_MAX: usize = 8;
/// Between the two readings that tell how much is written.
const RATE_OVER: Duration = Duration::from_secs(1);

pub(super) async fn doctor(context: Context<'_>) -> Result<Code, Failure> {
    let what = context.text("what").unwrap_or("all");
    let (mut findings, mut looked_at) = (Vec::new(), Vec::new());
    if what != "host" {
        let status: Status = parsed(&context.get("/status").await?)?;
        findings.extend(of_status(&status));
        let facts = examine_nodes(&status.nodes, context).await?;
        findings.extend(nodes::examine(&facts));
        looked_at.push(format!("{} nodes", facts.len()));
        findings.extend(of_publishers(context, &status).await);
        findings.extend(of_certificates(context).await);
    }
    if what != "cluster" {
        findings.extend(host::examine(Path::new(context.text("root").unwrap_or("/"))));
        looked_at.push("this host".to_owned());
    }
    let list: Vec<_> = findings.iter().map(Finding::to_json).collect();
    let value = json!({ "looked_at": looked_at, "findings": list });
    context.output.answer(&value, |style| report(&findings, &looked_at.join(" and "), style))?;
    let serious = findings.iter().any(|finding| finding.level != Level::Note);
    Ok(if serious { Code::Differs } else { Code::Done })
}

/// What the dictator itself sees.
fn of_status(status: &Status) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(trouble) = &status.problem {
        let what = format!("the topology cannot be kept [{}]: {}", trouble.slug, trouble.detail);
        findings.push(Finding::new(Level::Danger, "dictator", what, &trouble.advice));
    }
    if status.wanted.is_none() {
        let what = "no document is in force, so nothing is kept and little can be examined";
        findings.push(Finding::new(Level::Note, "dictator", what, "dictatorctl apply FILE"));
    }
    if let Some(paused) = &status.enforcement.paused {
        let what = format!("enforcement is paused until {}", crate::render::utc(paused.until_unix_ms));
        findings.push(Finding::new(Level::Note, "dictator", what, "dictatorctl resume"));
    } else if status.enforcement.interval_ms == Some(0) {
        let what = "enforcement is off: a node that strays or returns stays where it is";
        let cure = "start the dictator without --enforce-interval 0";
        findings.push(Finding::new(Level::Warning, "dictator", what, cure));
    }
    for node in &status.nodes {
        for problem in &node.problems {
            let what = format!("the dictator sees: {problem}");
            let cure = "dictatorctl status; if this stays, the node's log and the way to it";
            findings.push(Finding::new(Level::Warning, &node.label(), what, cure));
        }
    }
    findings
}

/// Asks everybody who is told of changes what clients are told by them.
async fn of_publishers(context: Context<'_>, status: &Status) -> Vec<Finding> {
    let granted = status.acting_master.as_deref();
    let master = status.nodes.iter().find(|node| granted.is_some_and(|name| node.is_named(name)));
    let Some(master) = master.filter(|node| node.role == "master") else { return Vec::new() };
    let mut findings = Vec::new();
    for endpoint in &context.settings.notify {
        let url = endpoint.to_string();
        let asked = Client::of(endpoint, context.settings).ask(&Ask::get("")).await;
        findings.extend(match asked {
            Ok(Reply::Good(answer)) => published::examine(&url, &answer.value, master),
            Ok(Reply::Bad(_, problem)) => Some(published::silent(&url, &problem.detail)),
            Err(failure) => Some(published::silent(&url, &failure.text)),
        });
    }
    findings
}

/// Asks every daemon that is known when its certificate ends. Who does not answer is told of elsewhere.
async fn of_certificates(context: Context<'_>) -> Vec<Finding> {
    let client = Client::new(context.settings);
    let now_unix_s = i64::try_from(clock::unix_millis() / 1000).unwrap_or(i64::MAX);
    let mut findings = Vec::new();
    for endpoint in context.settings.endpoints.iter().chain(&context.settings.notify) {
        if let Ok(text) = client.metrics(endpoint).await {
            findings.extend(certificates::examine(&endpoint.to_string(), &text, now_unix_s));
        }
    }
    findings
}

/// Asks every node whose address is known, several at once, and the masters twice.
async fn examine_nodes(nodes: &[Node], context: Context<'_>) -> Result<Vec<Facts>, Failure> {
    let known: Vec<&Node> = nodes.iter().filter(|node| node.endpoint().is_some()).collect();
    if !known.is_empty()
        && let Err(error) = Command::new("redis-cli").arg("--version").output().await
    {
        let text = format!("the nodes are examined by redis-cli, which cannot be started: {error}");
        return Err(Failure::new(Code::Failed, text));
    }
    let options = context.matches.get_many::<String>("arguments").into_iter().flatten();
    let options: Vec<String> = options.cloned().collect();
    let asking = known.into_iter().map(|node| {
        let asked = Asked { node: node.clone(), options: options.clone() };
        examine_node(asked, context.text("redis-user").map(str::to_owned))
    });
    Ok(stream::iter(asking).buffered(AT_ONCE_MAX).collect().await)
}

/// A node, and how redis-cli connects to it.
struct Asked {
    node: Node,
    options: Vec<String>,
}

async fn examine_node(asked: Asked, user: Option<String>) -> Facts {
    let endpoint = asked.node.endpoint().unwrap_or_default();
    let mut facts = Facts { endpoint, is_master: asked.node.role == "master", ..Facts::default() };
    if let Err(reason) = ask_node(&asked, &mut facts).await {
        facts.unasked = Some(reason);
    } else if let Some(user) = user {
        let permissions = permissions(&asked, &user).await.unwrap_or_else(Permissions::Unknown);
        facts.user = Some((user, permissions));
    }
    facts
}

async fn ask_node(asked: &Asked, facts: &mut Facts) -> Result<(), String> {
    let begun = Instant::now();
    facts.info = parse_info(&redis_cli(asked, &["INFO", "everything"]).await?);
    let before = clock::unix_millis();
    let time = redis_cli(asked, &["TIME"]).await?;
    let after = clock::unix_millis();
    // The answer belongs to some moment in between; too long a while tells nothing about a clock.
    if after.saturating_sub(before) <= CLOCK_WITHIN_MAX_MS {
        facts.clock_ahead_ms = clock_ahead(&time, before.midpoint(after));
    }
    facts.config =
        redis_cli(asked, &["CONFIG", "GET", "*"]).await.map(|text| parse_config(&text)).unwrap_or_default();
    if facts.is_master {
        sleep(RATE_OVER).await;
        let later = parse_info(&redis_cli(asked, &["INFO", "replication"]).await?);
        facts.writes_bytes_per_s = rate(facts, &later, begun.elapsed());
    }
    Ok(())
}

/// Tries what the dictator's user may do, without doing it.
async fn permissions(asked: &Asked, user: &str) -> Result<Permissions, String> {
    let (mut missing, mut excess) = (Vec::new(), Vec::new());
    for (rule, command) in RULES_NEEDED {
        if !may(asked, user, command).await? {
            missing.push(rule);
        }
    }
    for (rule, command) in RULES_UNWANTED {
        if may(asked, user, command).await? {
            excess.push(rule);
        }
    }
    Ok(Permissions::Known { missing, excess })
}

async fn may(asked: &Asked, user: &str, command: &[&str]) -> Result<bool, String> {
    let words = [&["ACL", "DRYRUN", user][..], command].concat();
    Ok(redis_cli(asked, &words).await?.trim() == "OK")
}

/// Bytes a second between two readings of the master's offset.
fn rate(facts: &Facts, later: &std::collections::BTreeMap<String, String>, over: Duration) -> Option<u64> {
    const OFFSET: &str = "master_repl_offset";
    let first: u64 = facts.info.get(OFFSET)?.parse().ok()?;
    let second: u64 = later.get(OFFSET)?.parse().ok()?;
    let millis = u64::try_from(over.as_millis()).ok().filter(|millis| *millis > 0)?;
    Some(second.saturating_sub(first).saturating_mul(1000) / millis)
}

/// The node's clock beyond ours: seconds and microseconds by line, as TIME has them.
fn clock_ahead(text: &str, ours_unix_ms: u64) -> Option<i64> {
    let mut lines = text.lines().map(str::trim);
    let seconds: u64 = lines.next()?.parse().ok()?;
    let micros: u64 = lines.next()?.parse().ok()?;
    let theirs = seconds.checked_mul(1000)?.checked_add(micros / 1000)?;
    i64::try_from(theirs).ok()?.checked_sub(i64::try_from(ours_unix_ms).ok()?)
}

/// Runs one command at a node; an error reply is an error.
async fn redis_cli(asked: &Asked, command: &[&str]) -> Result<String, String> {
    let (Some(ip), Some(port)) = (&asked.node.ip, asked.node.port) else {
        return Err("its address is not known".to_owned());
    };
    let mut child = Command::new("redis-cli")
        .args(["-h", ip, "-p", &port.to_string()])
        .args(&asked.options)
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("redis-cli cannot be started: {error}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reading = async { (text_of(stdout).await, text_of(stderr).await, child.wait().await) };
    let (printed, complaint, ended) = timeout(REDIS_CLI_DEADLINE, reading)
        .await
        .map_err(|_| format!("no answer within {} s", REDIS_CLI_DEADLINE.as_secs()))?;
    match ended {
        Ok(status) if status.success() && !is_error(&printed) => Ok(printed),
        _ => {
            let text = if complaint.trim().is_empty() { printed } else { complaint };
            Err(text.lines().next().unwrap_or("redis-cli failed without a word").to_owned())
        }
    }
}

/// Whether a reply is an error: one line whose first word is in capitals, such as NOAUTH. Only the redis-cli of
/// redis 7 can tell that by its exit code.
fn is_error(printed: &str) -> bool {
    let mut lines = printed.lines().filter(|line| !line.is_empty());
    let (first, second) = (lines.next().unwrap_or_default(), lines.next());
    let (word, rest) = first.split_once(' ').unwrap_or_default();
    second.is_none()
        && !rest.is_empty()
        && word.len() > 2
        && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

async fn text_of(stream: Option<impl AsyncReadExt + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was read until something broke is worth as much as the exit code says.
        let _ = stream.take(REDIS_CLI_BYTES_MAX).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_ours() {
        assert_eq!(clock_ahead("1700000001\n500000\n", 1_700_000_000_000), Some(1500));
        assert_eq!(clock_ahead("1700000000\n0\n", 1_700_000_000_250), Some(-250));
        assert_eq!(clock_ahead("ERR\n", 0), None);
    }

    #[test]
    fn an_error_reply_is_told_from_an_answer() {
        assert!(is_error("NOAUTH Authentication required.\n") && is_error("ERR unknown command\n\n"));
        assert!(!is_error("# Server\nredis_version:7\n") && !is_error("1700000000\n0\n") && !is_error(""));
    }

    #[test]
    fn the_rate_of_writing_is_told_by_two_readings() {
        let reading = |offset: &str| parse_info(&format!("master_repl_offset:{offset}\r\n"));
        let facts = Facts { info: reading("1000"), ..Facts::default() };
        assert_eq!(rate(&facts, &reading("5000"), Duration::from_secs(2)), Some(2000));
        assert_eq!(rate(&facts, &reading("10"), Duration::from_secs(2)), Some(0), "it restarted");
        assert_eq!(rate(&facts, &reading("x"), Duration::from_secs(2)), None);
    }
}
