//! What the command line says.

use std::time::Duration;

use crate::command_line;
use crate::servers::Kind;

/// Told when the command line is not understood.
pub(crate) const HELP: &str = "\
cargo bench --bench dns -- [options]
  --runs N         rounds; the median is shown (5)
  --seconds N      length of one measurement (3)
  --servers LIST   of dnsd,nsd,knot,bind (all that are installed)
  --cases LIST     of mix,mix-ports,slaves20,slaves50,slaves50-ports,tcp50,swap (all)
  --markdown       print tables in markdown";

/// What is asked, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// SRV of the master and of two slaves, an address, a name that does not exist, in equal parts.
    Mix,
    /// [`Case::Mix`] from many ports.
    MixPorts,
    /// SRV of 20 slaves over UDP, which fits.
    Slaves20,
    /// SRV of 50 slaves over UDP, which does not.
    Slaves50,
    /// [`Case::Slaves50`] from many ports.
    Slaves50Ports,
    /// [`Case::Slaves50`] over TCP.
    Tcp50,
    /// Losses at four fifths of what it can do, with and without a publication changing 100 times a second.
    Swap,
}

impl Case {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Mix,
        Self::MixPorts,
        Self::Slaves20,
        Self::Slaves50,
        Self::Slaves50Ports,
        Self::Tcp50,
        Self::Swap,
    ];

    /// As on the command line.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::Mix => "mix",
            Self::MixPorts => "mix-ports",
            Self::Slaves20 => "slaves20",
            Self::Slaves50 => "slaves50",
            Self::Slaves50Ports => "slaves50-ports",
            Self::Tcp50 => "tcp50",
            Self::Swap => "swap",
        }
    }
}

/// The command line, understood.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Rounds.
    pub(crate) runs: usize,
    /// Length of one measurement.
    pub(crate) length: Duration,
    /// Who is measured.
    pub(crate) servers: Vec<Kind>,
    /// What is measured.
    pub(crate) cases: Vec<Case>,
    /// Tables in markdown.
    pub(crate) markdown: bool,
}

impl Settings {
    /// Reads the arguments; `None` if this is not a benchmark run at all.
    ///
    /// # Errors
    /// A sentence about the first argument that is not understood.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mut markdown, mut runs, mut seconds) = (false, 5, 3);
        let (mut servers, mut cases) = (Kind::ALL.to_vec(), Case::ALL.to_vec());
        let is_bench = command_line::read(arguments, |option, value| {
            match option {
                "--markdown" => markdown = true,
                "--runs" => runs = command_line::count(&value()?)?,
                "--seconds" => seconds = command_line::count(&value()?)?,
                "--servers" => servers = list(&value()?, &Kind::ALL, Kind::name)?,
                "--cases" => cases = list(&value()?, &Case::ALL, Case::flag)?,
                other => return command_line::unknown(other),
            }
            Ok(())
        })?;
        let length = Duration::from_secs(seconds as u64);
        Ok(is_bench.then_some(Self { runs, length, servers, cases, markdown }))
    }
}

fn list<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<Vec<T>, String> {
    let find = |part: &str| {
        let known = all.iter().copied().find(|one| name(*one) == part);
        known.ok_or_else(|| {
            format!("{part:?} is none of {}", all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(","))
        })
    };
    text.split(',').map(find).collect()
}
