//! The table of the ways, the verdict on ours, and what is known of every long gap.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use harness::load::percentile;

use crate::evidence::ms;
use crate::operator::Way;
use crate::rounds::{NODES, Run, Sample};
use crate::settings::Settings;
use crate::table;

/// Gaps above this are told one by one.
const LONG_GAP: Duration = Duration::from_millis(50);

const HEADS: [&str; 13] = [
    "gaps in ms",
    "n",
    "median",
    "p95",
    "p99",
    "longest",
    "rejected per connection and switch",
    "by the old master, mean",
    "and at most",
    "errors per switch",
    "missing",
    "phantom",
    "full resyncs",
];

/// Prints everything and says whether our switches were without fault.
pub(crate) fn print(settings: &Settings, run: &Run) -> ExitCode {
    println!(
        "{NODES} redis nodes with append-only file (everysec), {} MB of data beforehand, 8 writers, {} writes \
         acknowledged, at least {:.0} per second outside the gaps.\n",
        settings.populate_mb, run.acknowledged, run.acknowledged_per_second_min
    );
    let of = |way: Way| run.samples.iter().filter(move |sample| sample.way == way).collect::<Vec<_>>();
    let ways: Vec<(Way, Vec<&Sample>)> =
        Way::ALL.map(|way| (way, of(way))).into_iter().filter(|(_, samples)| !samples.is_empty()).collect();
    let rows: Vec<Vec<String>> = ways.iter().map(|(way, samples)| row(*way, samples)).collect();
    table::print(settings.markdown, &HEADS, &rows);
    println!();

    let median = |way| {
        let samples = of(way);
        (!samples.is_empty()).then(|| percentile(&gaps(&samples), 0.5))
    };
    let ours = of(Way::Ours);
    if let Some(own) = median(Way::Ours) {
        for peer in [Way::Failover, Way::Original] {
            if let Some(theirs) = median(peer) {
                let times = theirs.as_secs_f64() / own.as_secs_f64();
                println!("- The median gap of {} is {times:.0} times as long as ours.", peer.name());
            }
        }
        tell_inside(&ours);
    }
    tell_long_gaps(&ours);
    let faults = ours.iter().filter(|sample| is_faulty(sample)).count();
    for sample in run.samples.iter().filter(|sample| sample.overlaps > 0) {
        println!("- {}: two masters took writes at once, {} of them.", title(sample), sample.overlaps);
    }
    if faults == 0 {
        return ExitCode::SUCCESS;
    }
    println!("- {faults} of our switches lost or invented writes, had two masters, or caused a full resync.");
    ExitCode::FAILURE
}

fn is_faulty(sample: &Sample) -> bool {
    sample.missing + sample.phantom + sample.overlaps > 0 || sample.full_resyncs > 0
}

fn gaps(samples: &[&Sample]) -> Vec<Duration> {
    samples.iter().map(|sample| sample.gap).collect()
}

fn row(way: Way, samples: &[&Sample]) -> Vec<String> {
    let gaps = gaps(samples);
    let (count, writers) = (samples.len() as f64, 8.0);
    let sum = |value: &dyn Fn(&Sample) -> u64| samples.iter().map(|sample| value(sample)).sum::<u64>();
    let mut errors: BTreeMap<&str, usize> = BTreeMap::new();
    for (word, number) in samples.iter().flat_map(|sample| &sample.rejected) {
        *errors.entry(word).or_default() += number;
    }
    let rejected: usize = errors.values().sum();
    let errors: Vec<String> =
        errors.iter().map(|(word, number)| format!("{:.1} {word}", *number as f64 / count)).collect();
    let by_old = sum(&|sample| sample.rejected_by_old as u64) as f64;
    let most = samples.iter().map(|sample| sample.rejected_by_old_max).max().unwrap_or_default();
    vec![
        way.name().to_owned(),
        samples.len().to_string(),
        ms(percentile(&gaps, 0.5)),
        ms(percentile(&gaps, 0.95)),
        ms(percentile(&gaps, 0.99)),
        ms(percentile(&gaps, 1.0)),
        format!("{:.2}", rejected as f64 / count / writers),
        format!("{:.2}", by_old / count / writers),
        most.to_string(),
        errors.join(", "),
        sum(&|sample| sample.missing as u64).to_string(),
        sum(&|sample| sample.phantom as u64).to_string(),
        sum(&|sample| sample.full_resyncs).to_string(),
    ]
}

/// What the receipts say about our own part of the gap.
fn tell_inside(ours: &[&Sample]) {
    let gaps = ours.iter().filter_map(|sample| sample.receipt.as_ref()?["write_gap_us"].as_u64());
    let gaps: Vec<Duration> = gaps.map(Duration::from_micros).collect();
    println!(
        "- By our receipts, pause to promotion: median {} ms, p95 {} ms, longest {} ms.",
        ms(percentile(&gaps, 0.5)),
        ms(percentile(&gaps, 0.95)),
        ms(percentile(&gaps, 1.0)),
    );
    let mut steps: Vec<(String, Vec<Duration>)> = Vec::new();
    for sample in ours {
        for (step, _, took) in receipt_steps(sample) {
            match steps.iter_mut().find(|(name, _)| *name == step) {
                Some((_, all)) => all.push(took),
                None => steps.push((step, vec![took])),
            }
        }
    }
    let steps: Vec<String> = steps
        .iter()
        .map(|(step, all)| format!("{step} {} / {}", ms(percentile(all, 0.5)), ms(percentile(all, 0.95))))
        .collect();
    println!("- Its steps, median / p95 in ms: {}.", steps.join(", "));
    let answers: Vec<Duration> = ours.iter().map(|sample| sample.took).collect();
    let links: Vec<Duration> = ours.iter().map(|sample| sample.linked).collect();
    println!(
        "- The answer to PUT came after {} ms, all links were up after {} ms (medians; longest {} and {} ms).",
        ms(percentile(&answers, 0.5)),
        ms(percentile(&links, 0.5)),
        ms(percentile(&answers, 1.0)),
        ms(percentile(&links, 1.0)),
    );
}

/// The receipt's steps: name, start since the beginning of the change, duration.
fn receipt_steps(sample: &Sample) -> Vec<(String, Duration, Duration)> {
    let steps = sample.receipt.as_ref().and_then(|receipt| receipt["steps"].as_array().cloned());
    let duration = |value: &serde_json::Value| Duration::from_micros(value.as_u64().unwrap_or_default());
    steps
        .unwrap_or_default()
        .iter()
        .map(|step| {
            let name = step["step"].as_str().unwrap_or("?").to_owned();
            (name, duration(&step["at_us"]), duration(&step["took_us"]))
        })
        .collect()
}

fn title(sample: &Sample) -> String {
    format!("{} switch {}", sample.way.name(), sample.number)
}

fn tell_long_gaps(ours: &[&Sample]) {
    if ours.is_empty() {
        return;
    }
    let long: Vec<&&Sample> = ours.iter().filter(|sample| sample.gap > LONG_GAP).collect();
    let share = long.len() as f64 / ours.len().max(1) as f64 * 100.0;
    println!(
        "- {} of our {} gaps ({share:.1} %) are longer than {} ms.",
        long.len(),
        ours.len(),
        LONG_GAP.as_millis()
    );
    for sample in long {
        println!("- {}: gap of {} ms.", title(sample), ms(sample.gap));
        let steps: Vec<String> = receipt_steps(sample)
            .iter()
            .map(|(name, at, took)| format!("{name} at {} took {}", ms(*at), ms(*took)))
            .collect();
        println!("  - receipt, in ms: {}", steps.join("; "));
        for line in &sample.evidence {
            println!("  - {line}");
        }
    }
}
