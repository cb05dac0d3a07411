//! What the writers noted, and the verdict on it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Attempt, Kind, LoadOptions, Outcome, container, id, kind};
use crate::resp::{Connection, Reply};

/// Ids fetched or asked for with one command.
const BATCH: usize = 1_000;
/// An acknowledgement that its writer noted this much later than another writer's first one from
/// the next master is still counted to the old one: threads are scheduled when there is a core.
const STRAGGLER: Duration = Duration::from_millis(100);
/// Acknowledgements needed before a node counts as the new master.
const SWITCH_ACKNOWLEDGEMENTS_MIN: usize = 3;

/// All attempts of a load that has ended.
#[derive(Debug)]
pub struct Ledger {
    options: LoadOptions,
    /// By writer, then by number.
    attempts: Vec<Vec<Attempt>>,
    took: Duration,
}

/// Writes moved from one node to another.
#[derive(Clone, Debug)]
pub struct Switch {
    /// The node that acknowledged before.
    pub from: SocketAddr,
    /// The node that acknowledged after.
    pub to: SocketAddr,
    /// When the old node's last acknowledgement was noted, since the start of the load.
    pub at: Duration,
    /// From the last acknowledgement of the old node to the first of the new one.
    pub gap: Duration,
    /// Writes that were sent to the old node after the new one had acknowledged, and were
    /// acknowledged: two nodes took writes at once. Anything but zero is a fault.
    pub overlaps: usize,
    /// The most rejections one writer got from the old node between this switch and the next.
    pub rejections_by_old_max: usize,
}

/// The verdict of the final master on all ids.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Acknowledged ids.
    pub acknowledged: usize,
    /// Acknowledged and absent: lost.
    pub missing: Vec<String>,
    /// Rejected or of unknown outcome.
    pub failed: usize,
    /// Rejected and present.
    pub phantom: Vec<String>,
    /// Of unknown outcome.
    pub unknown: usize,
    /// Of unknown outcome and present; neither right nor wrong.
    pub unknown_present: usize,
    /// Present more than once in a list: executed twice.
    pub repeated: Vec<String>,
}

impl Tally {
    /// Whether nothing was lost, invented or repeated.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.phantom.is_empty() && self.repeated.is_empty()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, phantom) = (self.missing.len(), self.phantom.len());
        write!(
            formatter,
            "ack'd: {} ({missing} missing) err'd: {} ({phantom} phantom)",
            self.acknowledged, self.failed
        )
    }
}

impl Ledger {
    pub(super) fn new(options: LoadOptions, attempts: Vec<Vec<Attempt>>, took: Duration) -> Self {
        Self { options, attempts, took }
    }

    /// All attempts, with writer and number.
    pub fn attempts(&self) -> impl Iterator<Item = (usize, usize, &Attempt)> {
        self.attempts.iter().enumerate().flat_map(|(writer, attempts)| {
            attempts.iter().enumerate().map(move |(number, attempt)| (writer, number, attempt))
        })
    }

    /// From the start of the load to the end of its last writer.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The attempt with this id, if it is one of this load.
    pub fn find(&self, id: &str) -> Option<&Attempt> {
        let mut parts = id.rsplitn(3, '-');
        let number: usize = parts.next()?.parse().ok()?;
        let writer: usize = parts.next()?.parse().ok()?;
        self.attempts.get(writer)?.get(number).filter(|_| parts.next() == Some(&self.options.run))
    }

    /// Removes from the node at `master` whatever this load wrote there, a little at a time.
    ///
    /// # Panics
    /// When the node refuses or does not answer.
    pub fn clean_up(&self, master: SocketAddr) {
        let mut node = Connection::open(master).unwrap_or_else(|error| panic!("redis at {master}: {error}"));
        let shared = [Kind::Rpush, Kind::Sadd].map(|kind| container(&self.options, kind, ""));
        let own = self.plain_keys();
        let own = own.iter().map(|id| container(&self.options, Kind::Set, id));
        let keys: Vec<String> = own.chain(shared).collect();
        for batch in keys.chunks(BATCH) {
            let command: Vec<&str> =
                std::iter::once("UNLINK").chain(batch.iter().map(String::as_str)).collect();
            match node.command(&command) {
                Ok(Reply::Integer(_)) => {}
                other => panic!("UNLINK at {master}: {other:?}"),
            }
        }
    }

    /// How many writes were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.attempts().filter(|(_, _, attempt)| attempt.outcome == Outcome::Acknowledged).count()
    }

    /// Acknowledged writes per second over the whole load.
    pub fn acknowledged_per_second(&self) -> f64 {
        self.acknowledged() as f64 / self.took.as_secs_f64()
    }

    /// How many writes were rejected, by the first word of the error.
    pub fn rejected(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for (_, _, attempt) in self.attempts() {
            if let Outcome::Rejected(word) = &attempt.outcome {
                *counts.entry(word.to_string()).or_insert(0) += 1;
            }
        }
        counts
    }

    /// How many writes have an unknown outcome.
    pub fn unknown(&self) -> usize {
        self.attempts().filter(|(_, _, attempt)| attempt.outcome == Outcome::Unknown).count()
    }

    /// Every move of the writes from one node to another, in order.
    pub fn switches(&self) -> Vec<Switch> {
        let mut acknowledged: Vec<&Attempt> = self
            .attempts()
            .map(|(_, _, attempt)| attempt)
            .filter(|attempt| attempt.outcome == Outcome::Acknowledged)
            .collect();
        acknowledged.sort_by_key(|attempt| attempt.known);
        let mut switches = Vec::new();
        let Some(mut current) = acknowledged.first().and_then(|attempt| attempt.node) else {
            return switches;
        };
        let (mut last, mut earliest) = (Duration::ZERO, 0);
        for (index, attempt) in acknowledged.iter().enumerate() {
            if attempt.node == Some(current) {
                last = attempt.known;
                continue;
            }
            let Some(next) = attempt.node.filter(|_| index >= earliest) else { continue };
            let window: Vec<&&Attempt> = acknowledged[index..]
                .iter()
                .take_while(|later| later.known <= attempt.known + STRAGGLER)
                .collect();
            let by = |node| window.iter().filter(move |later| later.node == Some(node));
            if by(next).count() < SWITCH_ACKNOWLEDGEMENTS_MIN.min(window.len()) {
                continue;
            }
            // Stragglers of the old node move the end of its reign, if they were sent before the new
            // node's first acknowledgement; those sent after it are a second master's.
            let overlaps = by(current).filter(|later| later.sent > attempt.known).count();
            let straggler =
                by(current).filter(|later| later.sent <= attempt.known).map(|later| later.known).max();
            let end = straggler.unwrap_or(last).min(attempt.known).max(last);
            switches.push(Switch {
                from: current,
                to: next,
                at: end,
                gap: attempt.known - end,
                overlaps,
                rejections_by_old_max: 0,
            });
            current = next;
            last = attempt.known;
            earliest = index;
        }
        self.count_rejections(&mut switches);
        switches
    }

    /// Fills in `rejections_by_old_max`.
    fn count_rejections(&self, switches: &mut [Switch]) {
        let mut counts: HashMap<(usize, usize), usize> = HashMap::new();
        for (writer, _, attempt) in self.attempts() {
            if !matches!(attempt.outcome, Outcome::Rejected(_)) {
                continue;
            }
            // The switch under way or last done when the rejection came. A rejection may be noted
            // shortly before another writer's last acknowledgement.
            let reign = switches.partition_point(|switch| switch.at <= attempt.known + STRAGGLER / 10);
            let Some(switch) = reign.checked_sub(1) else { continue };
            if attempt.node == Some(switches[switch].from) {
                *counts.entry((switch, writer)).or_insert(0) += 1;
            }
        }
        for ((switch, _), count) in counts {
            switches[switch].rejections_by_old_max = switches[switch].rejections_by_old_max.max(count);
        }
    }

    /// Compares all ids with what the node at `master` holds.
    ///
    /// # Panics
    /// When the node cannot be read.
    pub fn verify(&self, master: SocketAddr) -> Tally {
        let present = Present::read(&self.options, master, self.plain_keys());
        let mut tally = Tally { repeated: present.repeated, ..Tally::default() };
        for (writer, number, attempt) in self.attempts() {
            let id = id(&self.options.run, writer, number);
            let there = present.ids.contains(&id);
            match attempt.outcome {
                Outcome::Acknowledged => {
                    tally.acknowledged += 1;
                    if !there {
                        tally.missing.push(id);
                    }
                }
                Outcome::Rejected(_) => {
                    tally.failed += 1;
                    if there {
                        tally.phantom.push(id);
                    }
                }
                Outcome::Unknown => {
                    tally.failed += 1;
                    tally.unknown += 1;
                    tally.unknown_present += usize::from(there);
                }
            }
        }
        tally
    }

    /// Ids that were written as keys of their own.
    fn plain_keys(&self) -> Vec<String> {
        self.attempts()
            .filter(|(_, number, _)| kind(&self.options.kinds, *number) == Kind::Set)
            .map(|(writer, number, _)| id(&self.options.run, writer, number))
            .collect()
    }
}

/// The `share` quantile (0.0 to 1.0) of durations, by nearest rank; zero if there are none.
pub fn percentile(durations: &[Duration], share: f64) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The ids a node holds.
#[derive(Default)]
struct Present {
    ids: HashSet<String>,
    repeated: Vec<String>,
}

impl Present {
    fn read(options: &LoadOptions, master: SocketAddr, plain_keys: Vec<String>) -> Self {
        let mut node = Connection::open(master).unwrap_or_else(|error| panic!("redis at {master}: {error}"));
        let mut ask = |command: &[&str]| match node.command(command) {
            Ok(Reply::Error(text)) => panic!("{} at {master}: {text}", command[0]),
            Ok(reply) => reply,
            Err(error) => panic!("{} at {master}: {error}", command[0]),
        };
        let mut present = Self::default();
        for ids in plain_keys.chunks(BATCH) {
            let keys: Vec<String> = ids.iter().map(|id| container(options, Kind::Set, id)).collect();
            let command: Vec<&str> = std::iter::once("MGET").chain(keys.iter().map(String::as_str)).collect();
            for (id, value) in ids.iter().zip(ask(&command).elements()) {
                if value != Reply::Bulk(None) {
                    present.ids.insert(id.clone());
                }
            }
        }
        let list = container(options, Kind::Rpush, "");
        for start in (0..).step_by(BATCH) {
            let end = (start + BATCH - 1).to_string();
            let page = ask(&["LRANGE", &list, &start.to_string(), &end]).elements();
            if page.is_empty() {
                break;
            }
            for id in page.into_iter().map(|element| element.text()) {
                if !present.ids.insert(id.clone()) {
                    present.repeated.push(id);
                }
            }
        }
        let set = container(options, Kind::Sadd, "");
        let mut cursor = "0".to_owned();
        loop {
            let mut page = ask(&["SSCAN", &set, &cursor, "COUNT", &BATCH.to_string()]).elements();
            let members = page.pop().unwrap_or(Reply::Array(None)).elements();
            present.ids.extend(members.into_iter().map(|member| member.text()));
            cursor = page.pop().map(|next| next.text()).unwrap_or_default();
            if cursor == "0" || cursor.is_empty() {
                break;
            }
        }
        present
    }
}
