//! What is said of a command when the node freezes, restarts or goes away around it.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::wait::{ensure, wait_until};
use harness::{Redis, RedisOptions};
use support::{Bench, assigned, no_reply, not_executed, settings};
use topology::command::{Assignment, Command, Failure, Reading, Reply};
use topology::observation::Unknown;

const SHORT: Duration = Duration::from_millis(200);
const CONDITION_DEADLINE: Duration = Duration::from_secs(10);

fn promote() -> Command {
    Command::Assign { to: Assignment::Master, unpause: false, reading: Reading::Brief }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_node_gives_no_reply_and_may_run_it_later() {
    let mut node = Redis::start();
    let bench = Bench::new(settings());
    let before = bench.observe(node.address()).await;
    node.process().freeze();
    let reason = no_reply(bench.send_within(node.address(), Some(before.session), promote(), SHORT).await);
    assert!(matches!(reason, Unknown::Silent(_)), "{reason:?}");
    // The connection is given up: what names it is not sent, however patient.
    not_executed(bench.send_within(node.address(), Some(before.session), promote(), SHORT).await);
    node.process().thaw();
    // It woke, and did what was in its socket.
    wait_until("the late promotion", CONDITION_DEADLINE, || ensure(node.role() == "master", node.role()));
    assert_eq!(node.command_counts().of("replicaof"), 1);
    let after = bench.observe(node.address()).await;
    assert_ne!(after.session, before.session);
    assert_eq!(after.vitals.run_id, before.vitals.run_id);
}

/// A network in between: it forwards, but never passes on that a client hung up, and while `mute`
/// it lets no answer through. The node sees the network's addresses, not ours.
fn network(node: SocketAddr, mute: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mute = Arc::clone(mute);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((client, _)) = listener.accept() {
            let server = TcpStream::connect(node).expect("the node listens");
            kept.push(server.try_clone().expect("a second handle"));
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            let mute = Arc::clone(&mute);
            std::thread::spawn(move || deliver(server, client, &mute));
        }
    });
    address
}

fn deliver(mut server: TcpStream, mut client: TcpStream, mute: &AtomicBool) {
    let mut buffer = [0; 65536];
    while let Ok(count) = server.read(&mut buffer) {
        let muted = mute.load(Ordering::SeqCst);
        if count == 0 || (!muted && client.write_all(&buffer[..count]).is_err()) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_given_up_connection_is_known_as_ours_and_can_be_killed() {
    let node = Redis::start();
    let mute = Arc::new(AtomicBool::new(false));
    let endpoint = network(node.address(), &mute);
    let bench = Bench::new(settings());
    let before = bench.observe(endpoint).await;
    mute.store(true, Ordering::SeqCst);
    let poll = Command::Poll;
    assert!(matches!(no_reply(bench.send_within(endpoint, None, poll, SHORT).await), Unknown::Silent(_)));
    mute.store(false, Ordering::SeqCst);
    let after = bench.observe(endpoint).await;
    let [left] = after.dictators.as_slice() else { panic!("{:?}", after.dictators) };
    assert_eq!((left.id, left.epoch, left.ours), (before.session, 7, true));
    let ids = vec![left.id];
    let killed = bench.send(endpoint, Some(after.session), Command::KillConnections { ids }).await;
    assert_eq!(killed, Ok(Reply::Done));
    assert_eq!(bench.observe(endpoint).await.dictators, vec![]);
    // For another process it is a stranger's.
    let other = Bench::new(settings()).observe(endpoint).await;
    let [seen] = other.dictators.as_slice() else { panic!("{:?}", other.dictators) };
    assert_eq!((seen.id, seen.ours), (after.session, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_broke_is_not_used_again() {
    let node = Redis::start();
    let bench = Bench::new(settings());
    let before = bench.observe(node.address()).await;
    node.command(&format!("CLIENT KILL ID {}", before.session.0));
    wait_until("the connection is gone", CONDITION_DEADLINE, || {
        let list = node.command("CLIENT LIST").text();
        ensure(!list.contains("dictator:7"), list)
    });
    let answer = bench.send(node.address(), Some(before.session), promote()).await;
    assert!(matches!(answer, Err(Failure::NotExecuted(_) | Failure::NoReply(_))), "{answer:?}");
    assert_eq!(node.command_counts().of("replicaof"), 0);
    let after = bench.observe(node.address()).await;
    assert!(after.session > before.session);
    assigned(bench.send(node.address(), Some(after.session), promote()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_between_is_a_session_that_is_not_open() {
    let mut node = Redis::start_with(&RedisOptions::default());
    let bench = Bench::new(settings());
    let before = bench.observe(node.address()).await;
    node.kill();
    node.start_again();
    let reason = not_executed(bench.send(node.address(), Some(before.session), promote()).await);
    assert!(reason.to_string().contains("not open any more"), "{reason}");
    let after = bench.observe(node.address()).await;
    assert_ne!(after.vitals.run_id, before.vitals.run_id);
    assert_eq!(node.role(), "slave");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observing_survives_a_restart_without_a_failure_in_between() {
    let mut node = Redis::start();
    let bench = Bench::new(settings());
    let before = bench.observe(node.address()).await;
    node.kill();
    node.start_again();
    assert_ne!(bench.observe(node.address()).await.vitals.run_id, before.vitals.run_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_down_was_sent_nothing() {
    let mut node = Redis::start();
    let bench = Bench::new(settings());
    let before = bench.observe(node.address()).await;
    node.kill();
    wait_until("the port is closed", CONDITION_DEADLINE, || {
        ensure(node.try_command("PING").is_err(), "it answers")
    });
    for session in [None, Some(before.session)] {
        let reason = not_executed(bench.send(node.address(), session, promote()).await);
        assert!(matches!(reason, Unknown::Unreachable(_)), "{reason:?}");
    }
}

/// Answers the greeting as redis would, then does as `after` says with the connection.
fn impostor(after: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).is_ok_and(|count| count > 0)
                && stream.write_all(b"+OK\r\n:5\r\n").is_ok()
            {
                after(stream);
            }
        }
    });
    address
}

/// Answers the command with these bytes, and then says nothing more.
fn answering(results: &'static [u8]) -> SocketAddr {
    impostor(move |mut stream| {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        let _ = stream.write_all(results);
        let _ = stream.read(&mut buffer);
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_dies_after_the_command_left_is_no_reply() {
    let address = impostor(|mut stream| {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
    });
    let bench = Bench::new(settings());
    let reason = no_reply(bench.send(address, None, promote()).await);
    assert!(matches!(reason, Unknown::Unreachable(_)), "{reason:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_transaction_answered_is_no_reply() {
    let address = answering(b"+OK\r\n+QUEUED\r\n");
    let bench = Bench::new(settings());
    assert!(matches!(no_reply(bench.send_within(address, None, promote(), SHORT).await), Unknown::Silent(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_that_make_no_sense_are_no_reply() {
    for results in [
        &b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$1\r\nx\r\n+OK\r\n$1\r\nx\r\n"[..],
        b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*1\r\n+OK\r\n",
        b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n:1\r\n",
        // MULTI refused: what followed ran outside any transaction.
        b"-NOPERM no\r\n$1\r\nx\r\n+OK\r\n$1\r\nx\r\n-ERR EXEC without MULTI\r\n",
        // No redis at all any more.
        b"?\r\n",
    ] {
        let address = answering(results);
        let bench = Bench::new(settings());
        no_reply(bench.send(address, None, promote()).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_redis_refused_was_not_executed() {
    for results in [
        &b"+OK\r\n+QUEUED\r\n-LOADING Redis is loading the dataset in memory\r\n+QUEUED\r\n-EXECABORT Transaction discarded because of previous errors.\r\n"[..],
        b"-NOPERM no\r\n$1\r\nx\r\n-NOPERM no\r\n$1\r\nx\r\n-ERR EXEC without MULTI\r\n",
        b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n-NOPERM no\r\n",
    ] {
        let address = answering(results);
        let bench = Bench::new(settings());
        not_executed(bench.send(address, None, promote()).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_reply_is_cut_off() {
    let address = impostor(|mut stream| {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        let _ = stream.write_all(b"$99999999999\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let bench = Bench::new(settings());
    let begun = Instant::now();
    let reason = no_reply(bench.send(address, None, Command::Poll).await);
    assert!(reason.to_string().contains("longer than"), "{reason}");
    assert!(begun.elapsed() < support::DEADLINE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_wait_too_long_for_their_turn_are_not_sent() {
    let mut node = Redis::start();
    let bench = Bench::new(settings());
    let before = bench.observe(node.address()).await;
    node.process().freeze();
    let slow = bench.send_within(node.address(), None, Command::Poll, Duration::from_secs(1));
    let late = bench.send_within(node.address(), Some(before.session), promote(), SHORT);
    let (slow, late) = tokio::join!(slow, late);
    node.process().thaw();
    no_reply(slow);
    not_executed(late);
    assert_eq!(bench.observe(node.address()).await.vitals.role, before.vitals.role);
    assert_eq!(node.command_counts().of("replicaof"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_addresses_of_one_node_do_not_take_each_other_for_rivals() {
    let node = Redis::start_with(&RedisOptions::default().line("bind 127.0.0.1 127.0.0.2"));
    let other = SocketAddr::from(([127, 0, 0, 2], node.address().port()));
    let bench = Bench::new(settings());
    bench.observe(node.address()).await;
    bench.observe(other).await;
    let again = bench.observe(node.address()).await;
    assert_eq!(again.dictators, vec![]);
    bench.nodes.retain(&[node.address()]);
    wait_until("the other connection is closed", CONDITION_DEADLINE, || {
        let list = node.command("CLIENT LIST").text();
        ensure(list.matches("name=dictator:7").count() == 1, list)
    });
    let killed = bench.send(node.address(), None, Command::KillConnections { ids: vec![] }).await;
    assert_eq!(killed, Ok(Reply::Done));
}
