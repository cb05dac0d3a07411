use std::time::Instant;

use super::*;

#[test]
fn a_node_is_born_unassigned_within_300_ms() {
    // The fastest of several starts: other tests share the cores.
    let started = || {
        let start = Instant::now();
        (Redis::start(), start.elapsed())
    };
    let (node, took) = (0..5).map(|_| started()).min_by_key(|(_, took)| *took).expect("five starts");
    assert!(took < Duration::from_millis(300), "{took:?}");
    assert_eq!((node.role().as_str(), node.follows().as_deref()), ("slave", Some("127.0.0.1:0")));
    assert!(node.command("SET a 1").text().starts_with("READONLY"));
}

#[test]
fn wired_nodes_hold_equal_data_and_count_commands() {
    let nodes = Redis::start_many(2, &RedisOptions::default().persistence(Persistence::None));
    let (master, slave) = (&nodes[0], &nodes[1]);
    wire_by_hand(master, &[slave]);
    let before = master.command_counts();
    master.command("SET a 1");
    wait_links_up(master, &[slave]);
    wait_equal_data(&[master, slave]);
    assert_eq!((slave.keys(), masters(&[master, slave]).len()), (1, 1));
    let sent = master.command_counts().since(&before);
    assert_eq!(sent.of("set"), 1);
    assert_eq!(sent.beyond_reads().keys().collect::<Vec<_>>(), ["set"]);
    assert_only_reads(&[master, slave], || master.command("ROLE"));
}

#[test]
fn administrative_commands_are_more_than_reads() {
    let node = Redis::start();
    let seen = std::panic::catch_unwind(|| {
        assert_only_reads(&[&node], || node.command("REPLICAOF 127.0.0.1 0"));
    });
    assert!(seen.is_err());
}

#[test]
fn monitor_hears_commands_with_their_arguments() {
    let node = Redis::start_with(&RedisOptions::plain());
    let monitor = Monitor::start(&node);
    node.command("SET colour blue");
    let lines = monitor.stop();
    assert!(lines.iter().any(|line| line.ends_with(r#""SET" "colour" "blue""#)), "{lines:?}");
}

#[test]
fn data_survives_a_kill_with_aof_and_not_a_lost_disk() {
    let mut node = Redis::start_with(&RedisOptions::plain().line("appendfsync always"));
    node.command("SET a 1");
    let first_life = node.run_id();
    node.kill();
    node.start_again();
    assert_eq!(node.keys(), 1);
    assert_ne!(first_life, node.run_id());
    node.stop();
    node.lose_data();
    node.start_again();
    assert_eq!(node.keys(), 0);
}
