//! What the command line says.

use std::time::Duration;

use crate::command_line;

/// Told when the command line is not understood.
pub(crate) const HELP: &str = "\
cargo bench --bench soak -- [options]
  --minutes N     end after the round in which this time has passed (1, if --switches is not given)
  --switches N    end after the round with this many moves of the master
  --seed S        what chance begins with (drawn and printed, if not given)
  --dictators N   1, or 2 that share the cluster by a lock in etcd (1)
  --calm          break nothing; the same moves for comparison
  --tell          tell everything while it is done
  --markdown      print the table in markdown";

/// How long a run takes if nothing is said.
const MINUTES_DEFAULT: u64 = 1;
/// Most dictators.
const DICTATORS_MAX: u64 = 2;

/// The command line, understood.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Least time, if time is what counts.
    minutes: Option<u64>,
    /// Least number of switches, if that is what counts.
    switches: Option<u64>,
    /// What chance begins with.
    pub(crate) seed: u64,
    /// How many dictators.
    pub(crate) dictators: usize,
    /// Nothing is broken.
    pub(crate) calm: bool,
    /// Everything is told while it is done.
    pub(crate) tell: bool,
    /// The table in markdown.
    pub(crate) markdown: bool,
}

impl Settings {
    /// Reads the arguments; `None` if this is not a benchmark run at all.
    ///
    /// # Errors
    /// A sentence about the first argument that is not understood.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut settings = Self {
            minutes: None,
            switches: None,
            seed: fastrand::u64(..=u64::from(u32::MAX)),
            dictators: 1,
            calm: false,
            tell: false,
            markdown: false,
        };
        let is_bench = command_line::read(arguments, |option, value| {
            let mut number = || {
                let number = value()?.parse::<u64>();
                number.map_err(|_| format!("{option} needs a number"))
            };
            match option {
                "--minutes" => settings.minutes = Some(number()?),
                "--switches" => settings.switches = Some(number()?),
                "--seed" => settings.seed = number()?,
                "--dictators" => match number()? {
                    count @ 1..=DICTATORS_MAX => settings.dictators = usize::try_from(count).unwrap_or(1),
                    _ => return Err("--dictators: 1 or 2".to_owned()),
                },
                "--tell" => settings.tell = true,
                "--calm" => settings.calm = true,
                "--markdown" => settings.markdown = true,
                other => return command_line::unknown(other),
            }
            Ok(())
        })?;
        if settings.minutes.is_none() && settings.switches.is_none() {
            settings.minutes = Some(MINUTES_DEFAULT);
        }
        Ok(is_bench.then_some(settings))
    }

    /// Whether the run may end.
    pub(crate) fn is_enough(&self, elapsed: Duration, switches: u64) -> bool {
        self.minutes.is_none_or(|minutes| elapsed.as_secs() >= minutes * 60)
            && self.switches.is_none_or(|wanted| switches >= wanted)
    }
}
