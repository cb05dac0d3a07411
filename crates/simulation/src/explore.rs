//! Small cases in full: instead of drawing faults, every placement of them is tried.
//!
//! One change of master on three nodes, with the dictator killed before any moment or not at all, and
//! with one more fault before any moment: each node stopped or ended, each direction of each pair of
//! parties cut, the dictator stopped, connections reset, the record not writable. Delays are fixed, so
//! the moments of a change are few and the cases can be counted. What is left out is two further faults
//! at once, and delays that differ; the random schedules have those.

use crate::faults::{Fault, What, When};
use crate::operator::{GivingUp, Put};
use crate::process::{Disk, Ending};
use crate::redis::{Born, Persistence};
use crate::schedule::{Cluster, Schedule};
use crate::world::{MILLISECOND, SECOND, Settings, Time};

/// Nodes of a small case.
const NODES: usize = 3;
/// Parties: the nodes, a dictator, a client.
const PARTIES: usize = NODES + 2;
/// How long the further fault lasts; longer than every deadline of an order.
const LENGTH: Time = 2_500 * MILLISECOND;
/// How long a killed dictator stays away.
const DICTATOR_DOWN: Time = SECOND;
/// The document whose change is explored.
const PUT: usize = 1;

/// How nodes are configured and persist, in one family of small cases.
pub const FAMILIES: [(Born, Persistence); 4] = [
    (Born::Unassigned, Persistence::AppendOnly),
    (Born::Unassigned, Persistence::Snapshot),
    (Born::Master, Persistence::AppendOnly),
    (Born::Master, Persistence::Snapshot),
];

/// The undisturbed case of a family.
pub fn undisturbed(family: (Born, Persistence)) -> Schedule {
    let settings = Settings { delay_low: 100, delay_high: 100, ping_period: SECOND, ..Settings::default() };
    let cluster = Cluster {
        settings,
        nodes: NODES,
        persistence: family.1,
        born: family.0,
        cuts_slaves: false,
        dictators: 1,
        clients: 1,
        strays: false,
        fresh: false,
        meddlers: false,
    };
    let put = |at, master| Put { at, master, without: None, giving_up: GivingUp::Nothing };
    Schedule { seed: 1, cluster, puts: vec![put(2 * SECOND, 0), put(4 * SECOND, 1)], faults: Vec::new() }
}

/// Every case of a family: a number, and the schedule.
pub fn cases(family: (Born, Persistence)) -> impl Iterator<Item = Schedule> {
    let base = undisturbed(family);
    let moments = base.run(false).moments_of(PUT);
    let further = further_faults();
    let count = further.len();
    let crashes = (0..=moments).map(move |at| (at < moments).then_some(at));
    crashes.flat_map(move |crash| {
        let (base, further) = (base.clone(), further.clone());
        (0..moments).flat_map(move |at| (0..count).map(move |which| (at, which))).map(move |(at, which)| {
            let mut schedule = base.clone();
            if let Some(crash) = crash {
                let what = What::CrashDictator { dictator: 0, down: DICTATOR_DOWN };
                schedule.faults.push(Fault { when: When::Moment { put: PUT, moments: crash }, what });
            }
            let when = When::Moment { put: PUT, moments: at };
            schedule.faults.push(Fault { when, what: further[which] });
            schedule
        })
    })
}

fn further_faults() -> Vec<What> {
    let mut faults = vec![
        What::StopDictator { dictator: 0, length: LENGTH },
        What::SavesFail { dictator: 0, length: LENGTH },
    ];
    for node in 0..NODES {
        faults.push(What::StopNode { node, length: LENGTH });
        faults.push(What::Reset { dictator: 0, node });
        for ending in [Ending::Killed, Ending::PowerCut] {
            faults.push(What::CrashNode { node, ending, disk: Disk::Sound, down: LENGTH });
        }
    }
    for from in 0..PARTIES {
        for to in (0..PARTIES).filter(|to| *to != from) {
            faults.push(What::Cut { from, to, length: LENGTH });
        }
    }
    faults
}
