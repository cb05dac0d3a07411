//! What came of many schedules, as a table for people.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::io;
use std::time::{Duration, Instant};

use crate::driver::Ended;
use crate::faults::KINDS;
use crate::ledger::Violation;
use crate::schedule::Verdict;

/// Most violations listed one by one.
const VIOLATIONS_LISTED_MAX: usize = 20;

/// How often a long run says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(60);

/// Tells on the way what a long run has come to: every broken promise at once, and each minute how far it is.
#[derive(Debug)]
pub struct Progress<W> {
    out: W,
    told_at: Instant,
    violations_told: usize,
}

impl<W: io::Write> Progress<W> {
    /// Nothing was told yet.
    pub fn new(out: W) -> Self {
        Self { out, told_at: Instant::now(), violations_told: 0 }
    }

    /// Tells what is new. A terminal that is gone is no reason to end.
    pub fn look_at(&mut self, summary: &Summary) {
        for (name, violation) in &summary.violations[self.violations_told..] {
            let _ = writeln!(self.out, "{name}: {}: {}", violation.kind, violation.detail);
        }
        self.violations_told = summary.violations.len();
        if self.told_at.elapsed() >= PROGRESS_INTERVAL {
            self.told_at = Instant::now();
            let _ =
                writeln!(self.out, "{} schedules, {} violations", summary.schedules, self.violations_told);
        }
    }
}

/// Sums over schedules.
#[derive(Debug, Default)]
pub struct Summary {
    /// Schedules run.
    pub schedules: u64,
    /// Events handled.
    pub events: u64,
    /// Acknowledged writes.
    pub acked: u64,
    /// Writes lost beyond the limit of plain configurations: see the ledger.
    pub forgotten: u64,
    /// Faults by kind.
    pub faults: [u64; KINDS.len()],
    /// How documents ended.
    pub documents: BTreeMap<String, u64>,
    /// How passes of enforcement ended.
    pub enforcements: BTreeMap<String, u64>,
    /// Broken promises, with what reproduces the schedule.
    pub violations: Vec<(String, Violation)>,
}

impl Summary {
    /// Adds one schedule; `name` is what reproduces it.
    pub fn add(&mut self, name: impl FnOnce() -> String, verdict: Verdict) {
        self.schedules += 1;
        self.events += verdict.events;
        self.acked += verdict.acked;
        self.forgotten += u64::from(verdict.forgotten);
        for (sum, count) in self.faults.iter_mut().zip(verdict.happened) {
            *sum += u64::from(count);
        }
        for (applied, ended) in verdict.endings {
            let word = match ended {
                Ended::Done(outcome, 0) => outcome.to_owned(),
                Ended::Done(outcome, _) => format!("{outcome}, some pending"),
                Ended::Refused(slug) => format!("refused: {slug}"),
            };
            let table = if applied { &mut self.documents } else { &mut self.enforcements };
            *table.entry(word).or_default() += 1;
        }
        if let Some(violation) = verdict.violation {
            self.violations.push((name(), violation));
        }
    }

    /// The table.
    ///
    /// # Errors
    /// Only if the writer fails.
    pub fn write(&self, out: &mut impl Write, took: Duration) -> fmt::Result {
        let per_second = self.schedules as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE);
        writeln!(out, "schedules            {:>12}", self.schedules)?;
        writeln!(out, "per second           {per_second:>12.0}")?;
        writeln!(out, "events               {:>12}", self.events)?;
        writeln!(out, "acknowledged writes  {:>12}", self.acked)?;
        writeln!(out, "\nfaults")?;
        for (kind, count) in KINDS.iter().zip(self.faults) {
            writeln!(out, "  {kind:<36} {count:>12}")?;
        }
        for (title, table) in
            [("documents sent", &self.documents), ("passes of enforcement", &self.enforcements)]
        {
            writeln!(out, "\n{title}")?;
            for (ended, count) in table {
                writeln!(out, "  {ended:<36} {count:>12}")?;
            }
        }
        writeln!(out, "\nstray writes lost in a second restart {:>10}", self.forgotten)?;
        writeln!(out, "violations                            {:>10}", self.violations.len())?;
        for (name, violation) in self.violations.iter().take(VIOLATIONS_LISTED_MAX) {
            writeln!(out, "  {name}: {}: {}", violation.kind, violation.detail)?;
        }
        Ok(())
    }
}
