//! The model against what real servers were measured to do: which orders end in partial resyncs, and
//! which erase data. Node 0 is the old master, node 1 the promoted one, node 2 another slave.

use simulation::process::{Disk, Ending};
use simulation::redis::{Born, NodeIndex, Operation, Part, Persistence, Upstream};
use simulation::world::{SECOND, Settings, World};

const OLD: NodeIndex = 0;
const NEW: NodeIndex = 1;
const OTHER: NodeIndex = 2;
/// Long enough for any resync in a world without faults.
const SETTLE: u64 = 4 * SECOND;

struct Case {
    world: World,
    next: u16,
}

impl Case {
    /// A master with two synced slaves and some writes; counters are then compared with `counts`.
    fn new(settings: Settings) -> Self {
        let mut world = World::new(1, 3, settings);
        for slave in [NEW, OTHER] {
            world.assign(slave, Part::Slave(Some(OLD))).unwrap();
        }
        let mut case = Self { world, next: 0 };
        case.settle();
        for _ in 0..5 {
            case.write(OLD);
        }
        case.settle();
        for node in 0..3 {
            let state = &mut case.world.nodes[node];
            (state.full_syncs, state.partial_syncs, state.partial_errors) = (0, 0, 0);
        }
        case
    }

    fn settle(&mut self) {
        let until = self.world.now + SETTLE;
        self.world.run(until);
    }

    fn write(&mut self, node: NodeIndex) {
        self.world.write(node, Operation::Write(self.next)).unwrap();
        self.next += 1;
    }

    fn slave(&mut self, node: NodeIndex, of: NodeIndex) {
        self.world.assign(node, Part::Slave(Some(of))).unwrap();
    }

    fn promote(&mut self, node: NodeIndex) {
        self.world.assign(node, Part::Master).unwrap();
    }

    fn restart(&mut self, node: NodeIndex, ending: Ending) {
        self.world.crash_node(node, ending);
        self.world.damage_disk(node, Disk::Sound);
        self.world.start_node(node);
    }

    fn counts(&self) -> (u64, u64, u64) {
        self.world.nodes.iter().fold((0, 0, 0), |sum, node| {
            (sum.0 + node.full_syncs, sum.1 + node.partial_syncs, sum.2 + node.partial_errors)
        })
    }

    fn linked(&self) -> usize {
        self.world.nodes.iter().filter(|node| node.upstream == Upstream::Connected).count()
    }
}

#[test]
fn promote_then_attach_costs_two_partial_resyncs() {
    let mut case = Case::new(Settings::default());
    case.promote(NEW);
    case.slave(OLD, NEW);
    case.slave(OTHER, NEW);
    case.settle();
    assert_eq!(case.counts(), (0, 2, 0));
    assert_eq!(case.linked(), 2);
    assert_eq!(case.world.nodes[OLD].replid, case.world.nodes[NEW].replid);
}

#[test]
fn a_slave_of_a_slave_follows_its_promotion() {
    let mut case = Case::new(Settings::default());
    case.slave(OTHER, NEW);
    case.settle();
    case.promote(NEW);
    case.slave(OLD, NEW);
    case.settle();
    assert_eq!(case.counts(), (0, 3, 0));
    assert_eq!(case.linked(), 2);
}

#[test]
fn demote_first_makes_each_the_others_slave() {
    let mut case = Case::new(Settings::default());
    case.slave(OLD, NEW);
    case.settle();
    assert_eq!(case.linked(), 3, "both follow each other, and the third follows the old one");
    case.promote(NEW);
    case.slave(OTHER, NEW);
    case.settle();
    let (full, partial, errors) = case.counts();
    assert_eq!((full, errors), (0, 0));
    assert!((3..=4).contains(&partial), "{partial}");
    assert_eq!(case.linked(), 2);
}

#[test]
fn a_write_on_the_old_master_after_the_promotion_costs_full_resyncs() {
    let mut case = Case::new(Settings::default());
    case.promote(NEW);
    case.write(OLD);
    let until = case.world.now + SECOND / 10;
    case.world.run(until);
    case.slave(OLD, NEW);
    case.slave(OTHER, NEW);
    case.settle();
    assert_eq!(case.counts(), (2, 0, 2));
    assert!(!case.world.nodes[OLD].data.contains(5), "the full resync erased the write");
}

#[test]
fn bytes_that_are_no_write_cost_a_full_resync_as_well() {
    let mut case = Case::new(Settings::default());
    case.slave(OTHER, NEW);
    case.settle();
    case.promote(NEW);
    case.world.feed(OLD, Operation::Filler, 33);
    case.slave(OLD, NEW);
    case.settle();
    let (full, _, errors) = case.counts();
    assert_eq!((full, errors), (1, 1));
}

#[test]
fn a_backlog_too_small_costs_full_resyncs() {
    let mut case = Case::new(Settings { backlog_bytes: 200, ..Settings::default() });
    case.promote(NEW);
    for _ in 0..20 {
        case.write(NEW);
    }
    case.slave(OLD, NEW);
    case.slave(OTHER, NEW);
    case.settle();
    assert_eq!(case.counts(), (2, 0, 2));
}

#[test]
fn a_promoted_node_without_persistence_that_restarts_wipes_everyone() {
    let mut case = Case::new(Settings::default());
    case.world.nodes[NEW].persistence = Persistence::Nothing;
    case.promote(NEW);
    case.slave(OLD, NEW);
    case.slave(OTHER, NEW);
    case.settle();
    case.restart(NEW, Ending::Killed);
    case.settle();
    assert_eq!(case.counts(), (2, 0, 2));
    assert!(case.world.nodes.iter().all(|node| node.data.is_empty()));
}

#[test]
fn a_master_that_saved_and_restarted_knows_only_its_own_last_lineage() {
    let mut case = Case::new(Settings::default());
    case.world.nodes[NEW].persistence = Persistence::Snapshot;
    case.promote(NEW);
    case.restart(NEW, Ending::Shutdown);
    case.settle();
    case.slave(OLD, NEW);
    case.slave(OTHER, NEW);
    case.settle();
    assert_eq!(case.counts(), (2, 0, 2), "they ask with the old master's id");
}

#[test]
fn a_slave_that_saved_and_restarted_resumes_where_it_was() {
    let mut case = Case::new(Settings::default());
    case.world.nodes[OLD].persistence = Persistence::Snapshot;
    case.world.nodes[OLD].born = Born::Unassigned;
    case.promote(NEW);
    case.slave(OTHER, NEW);
    case.settle();
    case.restart(OLD, Ending::Shutdown);
    case.settle();
    case.slave(OLD, NEW);
    case.settle();
    assert_eq!(case.counts(), (0, 2, 0));
}

#[test]
fn an_independent_master_that_is_attached_loses_its_data() {
    let mut case = Case::new(Settings::default());
    case.promote(OTHER);
    case.write(OTHER);
    case.slave(OTHER, OLD);
    case.settle();
    assert_eq!(case.counts(), (1, 0, 1));
    assert!(!case.world.nodes[OTHER].data.contains(5));
}

#[test]
fn a_lone_master_takes_a_new_lineage_when_its_backlog_expires() {
    let mut case = Case::new(Settings { backlog_ttl: SECOND, ..Settings::default() });
    case.promote(NEW);
    case.slave(OTHER, NEW);
    case.settle();
    case.slave(OLD, NEW);
    case.settle();
    let (full, partial, errors) = case.counts();
    assert_eq!((full, partial, errors), (1, 1, 1));
}

#[test]
fn a_parked_node_is_read_only_refuses_slaves_and_keeps_its_data() {
    let mut case = Case::new(Settings::default());
    case.world.assign(OLD, Part::Slave(None)).unwrap();
    assert!(case.world.write(OLD, Operation::Write(9)).is_err());
    case.settle();
    assert_eq!(case.linked(), 2, "slaves it had stay linked");
    case.slave(OTHER, NEW);
    case.settle();
    case.slave(OTHER, OLD);
    case.settle();
    assert_eq!(case.world.nodes[OTHER].upstream, Upstream::Apart, "it cannot be followed anew");
    assert_eq!(case.world.nodes[OLD].data.count(), 5);
}

#[test]
fn a_6_2_node_cuts_its_slaves_when_it_is_demoted() {
    let mut case = Case::new(Settings::default());
    case.world.nodes[OLD].cuts_slaves = true;
    case.world.assign(OLD, Part::Slave(None)).unwrap();
    case.settle();
    assert_eq!(case.linked(), 0);
}
