//! The command line of a bench. Cargo adds `--bench` for `cargo bench` alone, which is how a bench knows that
//! somebody wants to wait for it.

use std::process::{ExitCode, Termination};

/// Runs with these settings, if there are any; what is not understood is told, with the help.
pub(crate) fn run<Settings, End: Termination>(
    read: Result<Option<Settings>, String>,
    help: &str,
    run: impl FnOnce(&Settings) -> End,
) -> ExitCode {
    match read {
        Ok(Some(settings)) => run(&settings).report(),
        // `cargo test --benches` starts every bench without `--bench`; it has no time for this.
        Ok(None) => ExitCode::SUCCESS,
        Err(mistake) => {
            eprintln!("{mistake}\n\n{help}");
            ExitCode::from(64)
        }
    }
}

/// Gives each option to `take`, with a way to get the value that follows it. Returns whether this is a benchmark run
/// at all.
///
/// # Errors
/// A sentence about the first argument that is not understood.
pub(crate) fn read(
    mut arguments: impl Iterator<Item = String>,
    mut take: impl FnMut(&str, &mut dyn FnMut() -> Result<String, String>) -> Result<(), String>,
) -> Result<bool, String> {
    let mut is_bench = false;
    while let Some(option) = arguments.next() {
        if option == "--bench" {
            is_bench = true;
        } else {
            take(&option, &mut || arguments.next().ok_or_else(|| format!("{option} needs a value")))?;
        }
    }
    Ok(is_bench)
}

/// A value that says how many.
///
/// # Errors
/// When it is no number, or 0.
#[allow(dead_code, reason = "not every bench has such a setting")]
pub(crate) fn count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text:?} is not a number above 0"))
}

/// The mistake of an option that does not exist.
pub(crate) fn unknown(option: &str) -> Result<(), String> {
    Err(format!("{option} is not an option"))
}
