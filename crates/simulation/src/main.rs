//! `simulate`: runs schedules and says what came of them. The seed is printed first; the same seed
//! gives the same schedules.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use simulation::command_line::{Arguments, USAGE};
use simulation::report::{Progress, Summary};
use simulation::schedule::Schedule;
use simulation::{explore, mutation};

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(complaint) => {
            let _ = writeln!(out, "{complaint}\n\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    let _ = writeln!(out, "seed {}", arguments.seed);
    let summary = match run(&arguments, &mut out) {
        Ok(summary) => summary,
        Err(complaint) => {
            let _ = writeln!(out, "{complaint}");
            return ExitCode::from(64);
        }
    };
    if summary.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Summary, String> {
    mutation::choose(arguments.mutant.as_deref())?;
    let (start, mut summary) = (Instant::now(), Summary::default());
    let late = || arguments.time_max.is_some_and(|max| start.elapsed() >= max);
    let mut first_failure: Option<Schedule> = None;
    let mut progress = Progress::new(std::io::stderr());
    let mut one = |name: String, schedule: Schedule, summary: &mut Summary| {
        let verdict = schedule.run(false);
        if verdict.violation.is_some() {
            first_failure.get_or_insert(schedule);
        }
        summary.add(|| name, verdict);
        progress.look_at(summary);
    };
    if arguments.exhaustive {
        for (number, family) in explore::FAMILIES.into_iter().enumerate() {
            for (case, schedule) in explore::cases(family).enumerate().take_while(|_| !late()) {
                one(format!("family {number}, case {case}"), schedule, &mut summary);
            }
        }
    } else {
        for offset in (0..arguments.schedules).take_while(|_| !late()) {
            let seed = arguments.seed.wrapping_add(offset);
            one(format!("--seed {seed} --schedules 1"), Schedule::random(seed), &mut summary);
            if arguments.mutant.is_some() && !summary.violations.is_empty() {
                break;
            }
        }
    }
    let mut text = String::new();
    let _ = summary.write(&mut text, start.elapsed());
    let _ = writeln!(out, "{text}");
    let shown = first_failure.or_else(|| arguments.trace.then(|| Schedule::random(arguments.seed)));
    if let Some(schedule) = shown {
        let _ = writeln!(out, "{schedule:#?}\n");
        for line in schedule.run(true).trace {
            let _ = writeln!(out, "{line}");
        }
    }
    Ok(summary)
}
