//! Every command against a real redis that does as it is told.

mod support;

use std::time::{Duration, Instant};

use harness::redis::{wait_links_up, wire_by_hand};
use harness::wait::{ensure, wait_until};
use harness::{Redis, RedisOptions};
use support::{Bench, assigned, not_executed, settings, vitals};
use topology::command::{Assignment, Command, Reading, Reply};
use topology::observation::SessionId;

const CONDITION_DEADLINE: Duration = Duration::from_secs(10);

fn assign(to: Assignment) -> Command {
    Command::Assign { to, unpause: false, reading: Reading::Brief }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observe_reads_everything_and_nothing_but() {
    let options = RedisOptions::plain().line("masterauth hush").line("min-replicas-to-write 0");
    let master = Redis::start_with(&options);
    let slave = Redis::start();
    master.command("SET a 1");
    wire_by_hand(&master, &[&slave]);
    wait_links_up(&master, &[&slave]);
    let before = [master.command_counts(), slave.command_counts()];
    let bench = Bench::new(settings());
    let (seen_master, seen_slave) =
        (bench.observe(master.address()).await, bench.observe(slave.address()).await);
    for (node, before) in [&master, &slave].iter().zip(&before) {
        let sent = node.command_counts().since(before);
        let mut beyond = sent.beyond_reads();
        beyond.retain(|command, _| !["acl|cat", "publish"].contains(&command.as_str()));
        assert!(beyond.is_empty(), "{beyond:?}");
        assert_eq!(sent.of("client|setinfo"), 0);
    }
    assert!(seen_master.vitals.is_master());
    assert_eq!(seen_master.vitals.run_id.0, master.run_id());
    assert_eq!(seen_master.vitals.keys, 1);
    assert_eq!(seen_master.vitals.write_calls, Some(1));
    assert_eq!(seen_master.settings.has_master_auth, Some(true));
    assert_eq!(seen_master.settings.requires_password, Some(false));
    assert_eq!(seen_master.settings.read_only, Some(true));
    assert_eq!(seen_master.settings.ignore_memory_max, Some(true));
    assert_eq!(seen_master.settings.min_replicas, Some(0));
    assert_eq!(seen_master.settings.saves, Some(false));
    assert!(seen_master.clock_skew_ms.abs() < 1000, "{}", seen_master.clock_skew_ms);
    assert_eq!((&seen_master.sentinels, &seen_master.dictators), (&vec![], &vec![]));
    assert_eq!(seen_master.paused, None, "a master is not sent a PUBLISH");
    let following = seen_slave.vitals.following().expect("a slave");
    assert_eq!((following.host.as_str(), following.port), ("127.0.0.1", master.address().port()));
    assert!(following.link_up);
    assert_eq!(seen_slave.vitals.replid, seen_master.vitals.replid);
    assert_eq!(seen_slave.paused, Some(false));
    assert_eq!(slave.command_counts().of("publish"), 1);
    assert_eq!(master.command_counts().of("publish"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_is_named_by_its_epoch_and_stays() {
    let node = Redis::start();
    let bench = Bench::new(settings());
    let first = bench.observe(node.address()).await;
    let second = bench.observe(node.address()).await;
    assert_eq!(first.session, second.session);
    let list = node.command("CLIENT LIST").text();
    let ours: Vec<&str> = list.lines().filter(|line| line.contains("name=dictator:")).collect();
    assert_eq!(ours.len(), 1, "{list}");
    assert!(ours[0].contains(&format!("id={} ", first.session.0)) && ours[0].contains("name=dictator:7 "));
    assert_eq!(node.command_counts().of("acl|cat"), 1, "asked once per connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_left_on_a_slave_is_felt_and_the_probe_does_not_stay() {
    let node = Redis::start();
    node.command("CLIENT PAUSE 20000 WRITE");
    let bench = Bench::new(settings());
    assert_eq!(bench.observe(node.address()).await.paused, Some(true));
    wait_until("the probe is gone", CONDITION_DEADLINE, || {
        let list = node.command("CLIENT LIST").text();
        ensure(!list.contains("dictator-onlooker"), list)
    });
    node.command("CLIENT UNPAUSE");
    assert_eq!(bench.observe(node.address()).await.paused, Some(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_who_give_orders_are_seen() {
    let node = Redis::start();
    let mut sentinel = node.connect();
    sentinel.command(&["CLIENT", "SETNAME", "sentinel-01234567-cmd"]).unwrap();
    let mut rival = node.connect();
    rival.command(&["CLIENT", "SETNAME", "dictator:9"]).unwrap();
    let mut listener = node.connect();
    listener.command(&["SUBSCRIBE", "__sentinel__:hello"]).unwrap();
    let bench = Bench::new(settings());
    let state = bench.observe(node.address()).await;
    assert_eq!(state.sentinels.len(), 2, "{:?}", state.sentinels);
    assert!(state.sentinels[0].starts_with("sentinel-01234567-cmd from 127.0.0.1:"));
    assert_eq!(state.sentinels[1], "1 subscribers of __sentinel__:hello");
    let [seen] = state.dictators.as_slice() else { panic!("{:?}", state.dictators) };
    assert_eq!((seen.epoch, seen.ours), (9, false));
    let killed = bench
        .send(node.address(), None, Command::KillConnections { ids: vec![seen.id, SessionId(999_999)] })
        .await;
    assert_eq!(killed, Ok(Reply::Done));
    assert_eq!(bench.observe(node.address()).await.dictators, vec![]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_id_zero_kills_nobody() {
    let node = Redis::start();
    let mut bystander = node.connect();
    let bench = Bench::new(settings());
    let killed = bench.send(node.address(), None, Command::KillConnections { ids: vec![SessionId(0)] }).await;
    assert_eq!(killed, Ok(Reply::Done));
    assert_eq!(node.command_counts().of("client|kill"), 0);
    assert!(bystander.command(&["PING"]).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_by_hand() {
    let old = Redis::start_with(&RedisOptions::plain());
    let target = Redis::start();
    old.command("SET a 1");
    wire_by_hand(&old, &[&target]);
    wait_links_up(&old, &[&target]);
    let bench = Bench::new(settings());
    let (from, to) = (bench.observe(old.address()).await, bench.observe(target.address()).await);

    let budget = Duration::from_secs(20);
    let paused = vitals(bench.send(old.address(), Some(from.session), Command::PauseWrites { budget }).await);
    wait_until("the target has all", CONDITION_DEADLINE, || {
        let applied: u64 = target.info_field("slave_repl_offset").parse().expect("a number");
        ensure(applied >= paused.offset, format!("{applied} of {}", paused.offset))
    });
    let command = Command::Assign { to: Assignment::Parked, unpause: true, reading: Reading::Brief };
    let demoted = assigned(bench.send(old.address(), Some(from.session), command).await);
    assert_eq!(demoted.accepted, Ok(()));
    assert!(demoted.before.is_master() && demoted.after.is_parked());
    assert_eq!(demoted.before.run_id, from.vitals.run_id);
    assert!(target.command("CLIENT LIST").text().contains("dictator:7"));
    assert!(old.command("SET b 2").text().starts_with("READONLY"), "the pause ended with the demotion");

    let promoted = assigned(bench.send(target.address(), Some(to.session), assign(Assignment::Master)).await);
    assert!(promoted.after.is_master());
    assert_eq!(promoted.after.replid2, Some(from.vitals.replid.clone()));
    assert!(promoted.after.second_offset > Some(demoted.before.offset));

    let attach =
        Command::Assign { to: Assignment::SlaveOf(target.address()), unpause: false, reading: Reading::Full };
    let attached = assigned(bench.send(old.address(), Some(from.session), attach.clone()).await);
    assert_eq!(attached.accepted, Ok(()));
    assert_eq!(attached.before.write_calls, Some(1));
    assert_eq!(attached.after.following().map(|following| following.port), Some(target.address().port()));
    wait_links_up(&target, &[&old]);
    let again = assigned(bench.send(old.address(), Some(from.session), attach).await);
    assert_eq!(again.accepted, Ok(()), "already connected is as good");
    assert_eq!(target.full_resyncs(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unpause_and_poll() {
    let node = Redis::start_with(&RedisOptions::plain());
    let bench = Bench::new(settings());
    let budget = Duration::from_secs(20);
    vitals(bench.send(node.address(), None, Command::PauseWrites { budget }).await);
    assert_eq!(bench.send(node.address(), None, Command::Unpause).await, Ok(Reply::Done));
    assert!(!node.command("SET a 1").is_error());
    let polled = vitals(bench.send(node.address(), None, Command::Poll).await);
    assert_eq!((polled.keys, polled.write_calls), (1, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_act_only_reads_go_out() {
    let node = Redis::start();
    let bench = Bench::new(settings());
    let before = bench.observe(node.address()).await;
    bench.mandate.send(None).unwrap();
    for command in [
        assign(Assignment::Master),
        Command::PauseWrites { budget: Duration::from_secs(1) },
        Command::KillConnections { ids: vec![before.session] },
    ] {
        for session in [None, Some(before.session)] {
            not_executed(bench.send(node.address(), session, command.clone()).await);
        }
    }
    assert_eq!(node.role(), "slave");
    assert_eq!(node.command_counts().of("replicaof"), 0);
    let onlooker = bench.observe(node.address()).await;
    assert_ne!(onlooker.session, before.session, "no longer under the name of the lost epoch");
    bench.mandate.send(Some(node::Mandate::alone(8))).unwrap();
    let after = bench.observe(node.address()).await;
    assert!(node.command("CLIENT LIST").text().contains("name=dictator:8 "));
    let promoted = bench.send(node.address(), Some(after.session), assign(Assignment::Master)).await;
    assert!(assigned(promoted).after.is_master());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stderr, reason = "this test is there to show numbers")]
async fn how_long_things_take() {
    let node = Redis::start();
    let bench = Bench::new(settings());
    bench.observe(node.address()).await;
    for (name, command) in [
        ("observe", Command::Observe { feel_pause: false }),
        ("poll", Command::Poll),
        ("assign", assign(Assignment::Parked)),
    ] {
        let mut took: Vec<Duration> = Vec::new();
        for _ in 0..50 {
            let begun = Instant::now();
            assert!(bench.send(node.address(), None, command.clone()).await.is_ok());
            took.push(begun.elapsed());
        }
        took.sort();
        eprintln!("{name}: median {:?}, longest {:?}", took[took.len() / 2], took[took.len() - 1]);
    }
}
