//! What the command line says.

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
        let mut arguments = arguments;
        let (mut is_bench, mut what, mut markdown) = (false, What::Switches, false);
        let (mut switches, mut peer_switches, mut populate_mb) = (300, None, 0);
        let mut ways = Way::ALL.to_vec();
        while let Some(argument) = arguments.next() {
            let mut number = |flag: &str| {
                let value = arguments.next().and_then(|text| text.parse::<usize>().ok());
                value.ok_or_else(|| format!("{flag} needs a number"))
            };
            match argument.as_str() {
                "--bench" => is_bench = true,
                "--idle" => what = What::Idle,
                "--markdown" => markdown = true,
                "--switches" => switches = number("--switches")?,
                "--peer-switches" => peer_switches = Some(number("--peer-switches")?),
                "--populate-mb" => populate_mb = number("--populate-mb")?,
                "--mode" => ways = Self::ways(&arguments.next().unwrap_or_default())?,
                other => return Err(format!("{other} is not an option")),
            }
        }
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
