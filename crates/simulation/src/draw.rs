//! Random schedules: some drawn blindly, some aimed.
//!
//! Half of all schedules are drawn without any idea. The other half put faults where a known kind of
//! mistake would show: at the moments of one hand-over at which a reply can be lost, a node come back in
//! another life, a command be held up and run late. Within an aim everything else stays random, so
//! that what is found is not only what was thought of.

use crate::chance::Chance;
use crate::faults::{Fault, What, When};
use crate::operator::{GivingUp, Put};
use crate::process::{Disk, Ending};
use crate::redis::{Born, Part, Persistence};
use crate::schedule::{Cluster, FIRST_PUT, LAST_PUT, Schedule, put};
use crate::world::{MILLISECOND, SECOND, Settings, Time};

/// Moments after a document among which faults are placed.
const MOMENTS: u64 = 90;
/// The moments of a hand-over, from the end of the observation to the repointing of slaves.
const HAND_OVER: (u64, u64) = (8, 40);
/// The document whose change is aimed at.
const AIMED: usize = 1;
/// A short stay away, shorter than any deadline.
const SHORT: Time = MILLISECOND;
/// A long one, longer than any deadline and than the lease of the lock.
const LONG: Time = 7 * SECOND;
/// How long a command is held up; another dictator takes over and acts in between.
const HELD: Time = 12 * SECOND;

impl Schedule {
    /// The schedule of a seed.
    pub fn random(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut cluster = random_cluster(&mut chance);
        let (puts, mut faults) = if chance.one_in(2) {
            aimed(&mut chance, &mut cluster)
        } else {
            (random_puts(&mut chance, &cluster), Vec::new())
        };
        let count = if faults.is_empty() { chance.below(5) } else { chance.below(2) };
        for _ in 0..count {
            faults.push(random_fault(&mut chance, &cluster, &puts));
        }
        Self { seed: chance.draw(), cluster, puts, faults }
    }
}

fn random_puts(chance: &mut Chance, cluster: &Cluster) -> Vec<Put> {
    let mut puts = vec![put(FIRST_PUT, 0)];
    for _ in 0..chance.between(1, 3) {
        let giving_up = match chance.below(8) {
            0..2 => GivingUp::Unreachable,
            2..4 => GivingUp::Earlier,
            4 => GivingUp::PastLives,
            _ => GivingUp::Nothing,
        };
        let at = chance.between(FIRST_PUT + SECOND, LAST_PUT);
        let master = chance.index(cluster.nodes);
        let without = chance.one_in(8).then(|| chance.index(cluster.nodes)).filter(|left| *left != master);
        puts.push(Put { at, master, without, giving_up });
    }
    puts.sort_by_key(|put| put.at);
    puts
}

/// Documents and faults aimed at one kind of mistake; node 0 hands over to node 1.
fn aimed(chance: &mut Chance, cluster: &mut Cluster) -> (Vec<Put>, Vec<Fault>) {
    let at = chance.between(FIRST_PUT + SECOND, 8 * SECOND);
    let mut puts = vec![put(FIRST_PUT, 0), put(at, 1)];
    let moments = chance.between(HAND_OVER.0, HAND_OVER.1) as u32;
    let near = moments + chance.below(4) as u32;
    let moment = |moments| When::Moment { put: AIMED, moments };
    let fault = |when, what| Fault { when, what };
    let (target, dictator) = (1, cluster.nodes);
    cluster.fresh = false;
    let faults = match chance.below(6) {
        // The reply of the target is lost; what was sent to it may run late.
        0 => {
            let what = match chance.below(3) {
                0 => What::StopNode { node: target, length: LONG },
                1 => What::Cut { from: target, to: dictator, length: LONG },
                _ => What::Reset { dictator: 0, node: target },
            };
            vec![fault(moment(moments), what)]
        }
        // The dictator dies, the target comes back in another life, and the old master cannot be asked.
        1 => {
            cluster.born = Born::Master;
            cluster.persistence = Persistence::Snapshot;
            let silent = chance.pick(&[
                What::StopNode { node: 0, length: LONG },
                What::Cut { from: 0, to: dictator, length: LONG },
            ]);
            vec![
                fault(moment(moments), What::CrashDictator { dictator: 0, down: SECOND }),
                fault(moment(near), short_restart(chance, target)),
                fault(moment(near + chance.below(4) as u32), silent),
            ]
        }
        // A slave came back as a master, and gets a stray write after it was looked at.
        2 => {
            cluster.born = Born::Master;
            cluster.strays = true;
            puts[AIMED].master = 0;
            let before = chance.between(SECOND / 2, SECOND);
            let slave = target + chance.index(cluster.nodes - 1);
            let stop = What::StopDictator { dictator: 0, length: 2 * SECOND };
            vec![
                fault(When::At(at - before), short_restart(chance, slave)),
                fault(moment(chance.between(2, 16) as u32), stop),
            ]
        }
        // A command is held up on its way while another dictator takes over, and the master moves back
        // before it arrives.
        3 => {
            cluster.dictators = 2;
            puts.push(put(puts[AIMED].at + chance.between(7 * SECOND, 9 * SECOND), 0));
            puts[AIMED].at = at.min(5 * SECOND);
            let held = chance.index(2);
            let cut = What::Cut { from: dictator, to: held, length: HELD };
            let stop = What::StopDictator { dictator: 0, length: HELD + SECOND };
            vec![fault(moment(moments), cut), fault(moment(near), stop)]
        }
        // The target restarts while the dictator sleeps between proof and promotion.
        4 => {
            cluster.settings.load_time = MILLISECOND;
            vec![
                fault(moment(moments), What::StopDictator { dictator: 0, length: SECOND / 2 }),
                fault(moment(moments), short_restart(chance, target)),
            ]
        }
        _ => return given_up_twice(chance, cluster),
    };
    (puts, faults)
}

fn short_restart(chance: &mut Chance, node: usize) -> What {
    let ending = chance.pick(&[Ending::Killed, Ending::Shutdown]);
    What::CrashNode { node, ending, disk: Disk::Sound, down: SHORT }
}

/// A master is given up, comes back, is master again, and is out of reach once more, while the old
/// permission still stands in the document.
fn given_up_twice(chance: &mut Chance, cluster: &mut Cluster) -> (Vec<Put>, Vec<Fault>) {
    (cluster.dictators, cluster.nodes) = (1, 2);
    let dictator = cluster.nodes;
    let away = |at: Time, length: Time| {
        [(0, dictator), (dictator, 0)]
            .map(|(from, to)| Fault { when: When::At(at), what: What::Cut { from, to, length } })
    };
    let mut puts = vec![put(FIRST_PUT, 0), put(4 * SECOND, 1), put(12 * SECOND, 0), put(16 * SECOND, 1)];
    puts[1].giving_up = GivingUp::Unreachable;
    let mut faults = Vec::from(away(3 * SECOND, 3 * SECOND));
    faults.extend(away(chance.between(14 * SECOND, 16 * SECOND - SECOND / 2), 4 * SECOND));
    (puts, faults)
}

fn random_cluster(chance: &mut Chance) -> Cluster {
    let slow = chance.one_in(4);
    let settings = Settings {
        delay_low: if slow { 200 } else { 20 },
        delay_high: if slow { 20 * MILLISECOND } else { 400 },
        backlog_bytes: if chance.one_in(5) { 600 } else { 1 << 20 },
        backlog_ttl: if chance.one_in(5) { 3 * SECOND } else { 3_600 * SECOND },
        repl_timeout: if chance.one_in(2) { 5 * SECOND } else { 60 * SECOND },
        full_sync_delay: chance.pick(&[10 * MILLISECOND, 500 * MILLISECOND]),
        load_time: chance.pick(&[MILLISECOND, 200 * MILLISECOND]),
        ping_period: chance.pick(&[SECOND, 3 * SECOND]),
        few_keys: chance.one_in(6),
    };
    let persistence = match chance.below(8) {
        0..4 => Persistence::AppendOnly,
        4..7 => Persistence::Snapshot,
        _ => Persistence::Nothing,
    };
    Cluster {
        settings,
        nodes: if chance.one_in(8) { 2 } else { 3 },
        persistence,
        born: if chance.one_in(2) { Born::Unassigned } else { Born::Master },
        cuts_slaves: chance.one_in(8),
        dictators: if chance.one_in(4) { 2 } else { 1 },
        clients: 3,
        strays: chance.one_in(4),
        fresh: chance.one_in(8),
        meddlers: chance.one_in(12),
    }
}

fn random_fault(chance: &mut Chance, cluster: &Cluster, puts: &[Put]) -> Fault {
    let when = if chance.one_in(3) {
        When::At(chance.between(FIRST_PUT, LAST_PUT + SECOND))
    } else {
        When::Moment { put: chance.index(puts.len()), moments: chance.below(MOMENTS) as u32 }
    };
    let node = chance.index(cluster.nodes);
    let dictator = chance.index(cluster.dictators);
    let length = chance.pick(&[20 * MILLISECOND, 700 * MILLISECOND, 2_500 * MILLISECOND, 7 * SECOND]);
    let what = match chance.below(if cluster.meddlers { 22 } else { 20 }) {
        0..3 => What::CrashDictator { dictator, down: chance.pick(&[MILLISECOND, SECOND, 4 * SECOND]) },
        3..5 => What::StopDictator { dictator, length },
        5..9 => {
            let ending = chance.pick(&[Ending::Killed, Ending::Killed, Ending::PowerCut, Ending::Shutdown]);
            let disk = match chance.below(8) {
                0 => Disk::Lost,
                1 if ending != Ending::Shutdown => Disk::TailLost(chance.between(1, 6) as usize),
                _ => Disk::Sound,
            };
            What::CrashNode { node, ending, disk, down: length }
        }
        9..12 => What::StopNode { node, length },
        12..16 => {
            let parties = cluster.nodes + cluster.dictators + 1;
            let from = chance.index(parties);
            What::Cut { from, to: (from + 1 + chance.index(parties - 1)) % parties, length }
        }
        16..19 => What::Reset { dictator, node },
        19 => What::SavesFail { dictator, length },
        _ => {
            let other = (node + 1) % cluster.nodes;
            What::Meddle {
                node,
                part: chance.pick(&[Part::Master, Part::Slave(Some(other)), Part::Slave(None)]),
            }
        }
    };
    Fault { when, what }
}
