//! The command line of `simulate`.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// What the command takes.
pub const USAGE: &str =
    "simulate [--seed N] [--schedules N] [--seconds N] [--mutant NAME] [--exhaustive] [--trace]

  --seed N       the first schedule's seed; drawn and printed if not given
  --schedules N  how many schedules, each with the next seed (1000)
  --seconds N    stop after so many seconds
  --mutant NAME  with a deliberate fault in the decisions, until it is found (build with --features mutants)
  --exhaustive   every placement of a crash and one more fault in one change of master
  --trace        print the story of the first schedule; that of a failing one is always printed";

/// Schedules if nothing is said.
const SCHEDULES_DEFAULT: u64 = 1_000;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The first seed.
    pub seed: u64,
    /// How many schedules.
    pub schedules: u64,
    /// When to stop at the latest.
    pub time_max: Option<Duration>,
    /// A deliberate fault.
    pub mutant: Option<String>,
    /// All small cases instead of random ones.
    pub exhaustive: bool,
    /// Print the story of the first schedule.
    pub trace: bool,
}

impl Arguments {
    /// Reads the command line.
    ///
    /// # Errors
    /// A sentence about the first argument that is not understood.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            seed: drawn(),
            schedules: SCHEDULES_DEFAULT,
            time_max: None,
            mutant: None,
            exhaustive: false,
            trace: false,
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let number =
                |text: String| text.parse::<u64>().map_err(|_| format!("{word}: {text} is no number"));
            match word.as_str() {
                "--seed" => arguments.seed = number(value()?)?,
                "--schedules" => arguments.schedules = number(value()?)?,
                "--seconds" => {
                    arguments.time_max = Some(Duration::from_secs(number(value()?)?));
                    arguments.schedules = u64::MAX;
                }
                "--mutant" => arguments.mutant = Some(value()?),
                "--exhaustive" => arguments.exhaustive = true,
                "--trace" => arguments.trace = true,
                _ => return Err(format!("{word} is not understood")),
            }
        }
        Ok(arguments)
    }
}

/// A seed nobody chose: what the standard library keys its hash tables with.
fn drawn() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_arguments_or_a_complaint() {
        let parse = |text: &str| Arguments::parse(text.split_whitespace().map(str::to_owned));
        let read = parse("--seed 7 --schedules 9 --trace").unwrap();
        assert_eq!((read.seed, read.schedules, read.trace), (7, 9, true));
        assert!(parse("--seed x").unwrap_err().contains("no number"));
        assert!(parse("--speed").unwrap_err().contains("not understood"));
        assert!(parse("--mutant").unwrap_err().contains("needs a value"));
    }
}
