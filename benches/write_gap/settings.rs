//! What the command line says.

use crate::command_line;
use crate::operator::Way;

/// Told when the command line is not understood.
pub(crate) const HELP: &str = "\
cargo bench --bench write_gap -- [options]
  --switches N        switches by our dictator (300)
  --peer-switches N   switches by each other way (as many as ours, at most 100)
  --mode LIST         which ways, of ours,failover,original (all)
  --populate-mb N     data in the nodes beforehand, in MB (0)
  --idle              measure what the daemons cost at rest, and other times than the write gap
  --markdown          print tables in markdown";

/// Switches of a peer unless told otherwise.
const PEER_SWITCHES_MAX: usize = 100;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The write gap of switches.
    Switches,
    /// Everything else.
    Idle,
}

/// The command line, understood.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What to measure.
    pub(crate) what: What,
    /// The ways compared, with the number of switches of each.
    pub(crate) ways: Vec<(Way, usize)>,
    /// MB of data before the first switch.
    pub(crate) populate_mb: usize,
    /// Tables in markdown.
    pub(crate) markdown: bool,
}

impl Settings {
    /// Reads the arguments; `None` if this is not a benchmark run at all.
    ///
    /// # Errors
    /// A sentence about the first argument that is not understood.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mut what, mut markdown) = (What::Switches, false);
        let (mut switches, mut peer_switches, mut populate_mb) = (300, None, 0);
        let mut ways = Way::ALL.to_vec();
        let is_bench = command_line::read(arguments, |option, value| {
            let mut number = || {
                let number = value()?.parse::<usize>();
                number.map_err(|_| format!("{option} needs a number"))
            };
            match option {
                "--idle" => what = What::Idle,
                "--markdown" => markdown = true,
                "--switches" => switches = number()?,
                "--peer-switches" => peer_switches = Some(number()?),
                "--populate-mb" => populate_mb = number()?,
                "--mode" => ways = Self::ways(&value()?)?,
                other => return command_line::unknown(other),
            }
            Ok(())
        })?;
        let peers = peer_switches.unwrap_or(switches.min(PEER_SWITCHES_MAX));
        let count = |way: Way| if way == Way::Ours { switches } else { peers };
        let ways = ways.into_iter().map(|way| (way, count(way))).collect();
        Ok(is_bench.then_some(Self { what, ways, populate_mb, markdown }))
    }

    fn ways(list: &str) -> Result<Vec<Way>, String> {
        let find = |name: &str| {
            let known = Way::ALL.into_iter().find(|way| way.flag() == name);
            known.ok_or_else(|| format!("--mode: {name:?} is none of ours, failover, original"))
        };
        list.split(',').map(find).collect()
    }

    /// Whether our dictator is needed.
    pub(crate) fn has_ours(&self) -> bool {
        self.ways.iter().any(|(way, count)| *way == Way::Ours && *count > 0)
    }

    /// Whether somebody else moves the master, too.
    pub(crate) fn has_peers(&self) -> bool {
        self.ways.iter().any(|(way, count)| *way != Way::Ours && *count > 0)
    }
}
