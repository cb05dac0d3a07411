//! The supervised watch and the reads, against a real etcd that is killed, frozen, compacted and emptied.

use std::time::Duration;

use coordination::{Endpoints, Etcd, EtcdError, KeyState, KeyWatch, Phase, ReadAt, watch_key};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Deadline of every condition a test waits for.
const SOON: Duration = Duration::from_secs(20);
/// Deadline of one question.
const ASK: Duration = Duration::from_secs(5);
const KEY: &str = "/config/redis-1/topology-trigger";

fn endpoints(urls: &[&str]) -> Endpoints {
    Endpoints::parse(urls).expect("sound endpoints")
}

fn watching(server: &harness::Etcd) -> KeyWatch {
    watch_key(endpoints(&[&server.url()]), KEY, CancellationToken::new())
}

async fn until(watch: &mut KeyWatch, what: &str, condition: impl Fn(&KeyState) -> bool) -> KeyState {
    let found = timeout(SOON, watch.state.wait_for(|state| state.as_ref().is_some_and(&condition)))
        .await
        .ok()
        .map(|state| state.expect("the watch runs").clone().expect("just checked"));
    match found {
        Some(state) => state,
        None => panic!(
            "waited in vain until {what}; state {:?}, health {:?}",
            *watch.state.borrow(),
            *watch.health.borrow()
        ),
    }
}

async fn until_phase(watch: &mut KeyWatch, phase: Phase) {
    let found = timeout(SOON, watch.health.wait_for(|health| health.phase == phase)).await.is_ok();
    assert!(found, "never {phase}: {:?}", *watch.health.borrow());
}

fn holds<'a>(value: &'a str) -> impl Fn(&KeyState) -> bool + 'a {
    move |state| state.present().is_some_and(|version| version.value == value.as_bytes())
}

#[tokio::test]
async fn the_present_state_comes_first_and_then_every_newest_one() {
    let server = harness::Etcd::start();
    let first = server.put(KEY, "one");
    let mut watch = watching(&server);
    let state = until(&mut watch, "the first value", holds("one")).await;
    let version = state.present().expect("present");
    assert_eq!((version.mod_revision, version.create_revision, version.version), (first, first, 1));

    until_phase(&mut watch, Phase::Watching).await;
    let second = server.put(KEY, "two");
    let state = until(&mut watch, "the second value", holds("two")).await;
    let version = state.present().expect("present");
    assert_eq!((version.mod_revision, version.create_revision, version.version), (second, first, 2));

    let deleted = server.delete(KEY);
    let state = until(&mut watch, "the deletion", |state| state.present().is_none()).await;
    assert_eq!(state, KeyState::Absent { revision: deleted });
    assert_eq!(watch.health.borrow().reconnects, 0);
}

#[tokio::test]
async fn a_key_that_was_never_written_is_absent() {
    let server = harness::Etcd::start();
    let mut watch = watching(&server);
    until(&mut watch, "absence", |state| state.present().is_none()).await;
    until_phase(&mut watch, Phase::Watching).await;
}

#[tokio::test]
async fn a_key_older_than_the_last_compaction_can_be_watched() {
    let server = harness::Etcd::start();
    server.put(KEY, "old");
    let newest = (0..5).map(|turn| server.put("/other", &turn.to_string())).next_back().expect("five");
    server.compact(newest);
    let mut watch = watching(&server);
    until(&mut watch, "the old value", holds("old")).await;
    until_phase(&mut watch, Phase::Watching).await;
    assert_eq!(watch.health.borrow().failure, None);
    server.put(KEY, "new");
    until(&mut watch, "the new value", holds("new")).await;
}

#[tokio::test]
async fn what_was_written_while_etcd_was_away_is_read_after_it_returns() {
    let mut server = harness::Etcd::start();
    server.put(KEY, "one");
    let mut watch = watching(&server);
    until_phase(&mut watch, Phase::Watching).await;

    server.kill();
    timeout(SOON, watch.health.wait_for(|health| health.failure.is_some()))
        .await
        .expect("noticed")
        .expect("runs");
    server.start_again();
    server.put(KEY, "two");
    until(&mut watch, "the value written after the restart", holds("two")).await;
    until_phase(&mut watch, Phase::Watching).await;
    let health = watch.health.borrow().clone();
    assert!(health.reconnects >= 1, "{health:?}");
    assert_eq!(health.failure, None);
}

#[tokio::test]
async fn an_etcd_that_lost_its_data_is_seen_as_such() {
    let mut server = harness::Etcd::start();
    for turn in 0..5 {
        server.put("/other", &turn.to_string());
    }
    let before = server.put(KEY, "one");
    let mut watch = watching(&server);
    until(&mut watch, "the value", holds("one")).await;
    server.start_empty();
    let state = until(&mut watch, "absence", |state| state.present().is_none()).await;
    assert!(state.revision() < before, "{state:?} is not before {before}");
}

#[tokio::test]
async fn a_frozen_etcd_is_left_and_found_again() {
    let mut server = harness::Etcd::start();
    server.put(KEY, "one");
    let mut watch = watching(&server);
    until_phase(&mut watch, Phase::Watching).await;
    server.process().freeze();
    // HTTP/2 pings go unanswered: 5 s until one is sent, 3 s until it counts as lost.
    timeout(SOON, watch.health.wait_for(|health| health.failure.is_some()))
        .await
        .expect("noticed")
        .expect("runs");
    server.process().thaw();
    server.put(KEY, "two");
    until(&mut watch, "the value written after it woke", holds("two")).await;
}

#[tokio::test]
async fn a_dead_member_does_not_keep_the_others_from_being_used() {
    let server = harness::Etcd::start();
    server.put(KEY, "one");
    let dead = format!("http://{}", harness::ports::free_address());
    let both = endpoints(&[&dead, &server.url()]);
    let mut watch = watch_key(both.clone(), KEY, CancellationToken::new());
    until(&mut watch, "the value", holds("one")).await;

    let asked = Etcd::new(both);
    let state = asked.get(KEY, ASK).await.expect("the living member answers");
    assert!(holds("one")(&state));
    assert!(asked.put("/other", b"x", ASK).await.expect("written") > state.revision());
}

#[tokio::test]
async fn a_past_revision_is_found_missing_compacted_or_not_reached() {
    let server = harness::Etcd::start();
    let asked = Etcd::new(endpoints(&[&server.url()]));
    let before = server.put("/other", "x");
    let one = server.put(KEY, "one");
    let two = asked.put(KEY, b"two\xff\x00", ASK).await.expect("written");
    assert!(two > one);

    match asked.get_at(KEY, one, ASK).await.expect("answered") {
        ReadAt::Found(version) => {
            assert_eq!((version.value.as_slice(), version.mod_revision), (&b"one"[..], one));
        }
        other => panic!("{other:?}"),
    }
    match asked.get_at(KEY, two, ASK).await.expect("answered") {
        ReadAt::Found(version) => assert_eq!(version.value, b"two\xff\x00"),
        other => panic!("{other:?}"),
    }
    assert_eq!(asked.get_at(KEY, before, ASK).await, Ok(ReadAt::Missing));
    let future = asked.get_at(KEY, two + 100, ASK).await;
    assert!(matches!(future, Err(EtcdError::Refused { .. })), "{future:?}");
    server.compact(two);
    assert_eq!(asked.get_at(KEY, one, ASK).await, Ok(ReadAt::Compacted));
}

#[tokio::test]
async fn questions_end_by_their_deadline() {
    let mut server = harness::Etcd::start();
    let asked = Etcd::new(endpoints(&[&server.url()]));
    asked.put(KEY, b"one", ASK).await.expect("written");
    server.process().freeze();
    let deadline = Duration::from_millis(600);
    let started = tokio::time::Instant::now();
    let read = asked.get(KEY, deadline).await;
    assert!(matches!(read, Err(EtcdError::Unreachable { .. })), "{read:?}");
    assert!(started.elapsed() < deadline * 3, "{:?}", started.elapsed());
    server.process().thaw();
    asked.get(KEY, ASK).await.expect("answers again");
    server.process().freeze();
    let written = asked.put(KEY, b"two", deadline).await;
    assert!(matches!(written, Err(EtcdError::OutcomeUnknown { .. })), "{written:?}");
    server.process().thaw();
}

#[tokio::test]
async fn large_values_and_many_of_them_at_once_arrive() {
    let server = harness::Etcd::start();
    let mut watch = watching(&server);
    until_phase(&mut watch, Phase::Watching).await;
    // Together more than the 4 MiB that a gRPC client takes by default.
    let large = "x".repeat(1_200_000);
    for turn in 0..6 {
        server.put_bytes(KEY, format!("{turn}{large}").as_bytes());
    }
    let state = until(&mut watch, "the last large value", |state| {
        state.present().is_some_and(|version| version.value.first() == Some(&b'5'))
    })
    .await;
    assert_eq!(state.present().map(|version| version.value.len()), Some(large.len() + 1));
    assert_eq!(watch.health.borrow().failure, None);
}

#[tokio::test]
async fn the_watch_stops_when_told_to() {
    let server = harness::Etcd::start();
    let stop = CancellationToken::new();
    let mut watch = watch_key(endpoints(&[&server.url()]), KEY, stop.clone());
    until_phase(&mut watch, Phase::Watching).await;
    stop.cancel();
    let ended = timeout(SOON, async { while watch.state.changed().await.is_ok() {} }).await;
    assert!(ended.is_ok(), "the watch still runs");
}

#[tokio::test]
async fn an_idle_watch_hears_from_etcd() {
    let server = harness::Etcd::start();
    let mut watch = watching(&server);
    until_phase(&mut watch, Phase::Watching).await;
    // No event of the watched key; only the progress notification that was asked for can tell.
    let elsewhere = server.put("/other", "x");
    let heard =
        timeout(SOON, watch.health.wait_for(|health| health.store_revision >= elsewhere)).await.is_ok();
    assert!(heard, "{:?}", *watch.health.borrow());
    assert_eq!(watch.health.borrow().reconnects, 0);
    assert_eq!(watch.health.borrow().phase, Phase::Watching);
}
