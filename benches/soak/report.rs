//! The table.

use std::process::ExitCode;
use std::time::Duration;

use harness::load::percentile;

use crate::settings::Settings;
use crate::tally::Tally;

/// Prints everything and says whether nothing happened that must not.
pub(crate) fn print(settings: &Settings, tally: &Tally, took: Duration) -> ExitCode {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("seed", settings.seed.to_string());
    row("dictators", settings.dictators.to_string());
    row("time", format!("{:.0} s, {} rounds", took.as_secs_f64(), tally.rounds));
    row("switches", tally.switches.to_string());
    for (outcome, number) in &tally.outcomes {
        row(&format!("  answered: {outcome}"), number.to_string());
    }
    row("refusals", tally.refusals.values().sum::<u64>().to_string());
    for (slug, number) in &tally.refusals {
        row(&format!("  {slug}"), number.to_string());
    }
    row("advice followed", tally.remedies.values().sum::<u64>().to_string());
    for (slug, number) in &tally.remedies {
        row(&format!("  after {slug}"), number.to_string());
    }
    row("faults", tally.faults.values().sum::<u64>().to_string());
    for (fault, number) in &tally.faults {
        row(&format!("  {fault}"), number.to_string());
    }
    row("writes acknowledged", tally.acknowledged.to_string());
    row("  missing", tally.missing.to_string());
    row("  executed twice", tally.repeated.to_string());
    row("  at two masters at once", tally.overlaps.to_string());
    row("writes rejected", tally.rejected.to_string());
    row("  phantom", tally.phantom.to_string());
    row("writes of unknown outcome", tally.unknown.to_string());
    row("full resyncs", tally.full_resyncs.to_string());
    let gaps = |calm_only: bool| -> Vec<Duration> {
        tally.gaps.iter().filter(|gap| gap.calm || !calm_only).map(|gap| gap.length).collect()
    };
    row("gaps of switches without a fault", percentiles(&gaps(true)));
    row("gaps of all switches", percentiles(&gaps(false)));
    table(settings.markdown, &rows);
    for violation in &tally.violations {
        println!("must not happen: {violation}");
    }
    if tally.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn percentiles(gaps: &[Duration]) -> String {
    let ms = |share: f64| format!("{:.1}", percentile(gaps, share).as_secs_f64() * 1e3);
    let longest = gaps.iter().max().copied().unwrap_or_default().as_secs_f64() * 1e3;
    format!(
        "n {}, median {} ms, p95 {} ms, p99 {} ms, longest {longest:.1} ms",
        gaps.len(),
        ms(0.5),
        ms(0.95),
        ms(0.99)
    )
}

fn table(markdown: bool, rows: &[(String, String)]) {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    if markdown {
        println!("| {:<width$} | |\n| {} | --- |", "", "-".repeat(width));
    }
    for (name, value) in rows {
        if markdown {
            println!("| {name:<width$} | {value} |");
        } else {
            println!("{name:<width$}  {value}");
        }
    }
}
