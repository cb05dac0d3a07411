//! The lock: one holder at a time, a growing epoch, and a loss that is known in time.

use std::time::Duration;

use coordination::{Endpoints, Etcd, EtcdError, Holding, Leadership, PutIfHeldError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Deadline of every condition a test waits for.
const SOON: Duration = Duration::from_secs(20);
/// Deadline of one question.
const ASK: Duration = Duration::from_secs(2);
/// The shortest lease etcd grants by default is its election timeout rounded up; this is well above.
const TTL: Duration = Duration::from_secs(2);

fn campaign(server: &harness::Etcd, advertised: &str) -> Leadership {
    let endpoints = Endpoints::parse(&[server.url()]).expect("a sound endpoint");
    Leadership::campaign(Etcd::new(endpoints), "redis-1", advertised, TTL)
}

async fn until(
    holding: &mut watch::Receiver<Holding>,
    what: &str,
    condition: impl Fn(&Holding) -> bool,
) -> Holding {
    let found = timeout(SOON, holding.wait_for(|holding| condition(holding))).await.is_ok();
    let now = holding.borrow().clone();
    assert!(found, "waited in vain until {what}: {now:?}");
    now
}

async fn until_held(leadership: &Leadership) -> u64 {
    let held = |holding: &Holding| matches!(holding, Holding::Held { .. });
    match until(&mut leadership.holding(), "the lock is held", held).await {
        Holding::Held { epoch, .. } => epoch,
        _ => unreachable!("just checked"),
    }
}

#[tokio::test]
async fn one_holds_the_others_follow_and_learn_where_it_is() {
    let server = harness::Etcd::start();
    let first = campaign(&server, "10.0.0.1:8080");
    let epoch = until_held(&first).await;
    assert_eq!(first.held_epoch(), Some(epoch));
    assert_eq!(server.get("/dictator/redis-1/lock").as_deref(), Some("10.0.0.1:8080"));

    let second = campaign(&server, "10.0.0.2:8080");
    let followed = until(
        &mut second.holding(),
        "it follows",
        |holding| matches!(holding, Holding::Following(holder) if holder.epoch == epoch),
    )
    .await;
    assert!(matches!(followed, Holding::Following(holder) if holder.advertised == "10.0.0.1:8080"));
    assert_eq!(second.held_epoch(), None);

    // It outlives its lease several times over only because it is renewed.
    let later = Instant::now() + TTL * 2;
    tokio::time::sleep_until(later).await;
    assert_eq!(first.held_epoch(), Some(epoch), "renewed");

    let started = Instant::now();
    first.resign().await;
    let next = until_held(&second).await;
    assert!(next > epoch, "{next} is not after {epoch}");
    assert!(started.elapsed() < TTL, "given back, not run out: {:?}", started.elapsed());
}

#[tokio::test]
async fn a_guarded_write_needs_the_lock_in_that_very_epoch() {
    let server = harness::Etcd::start();
    let first = campaign(&server, "a");
    let epoch = until_held(&first).await;
    let revision = first.put_if_held(epoch, "/record", b"one", ASK).await.expect("written");
    assert!(revision > epoch);
    let other_epoch = first.put_if_held(epoch + 1, "/record", b"two", ASK).await;
    assert!(matches!(other_epoch, Err(PutIfHeldError::NotHeld { .. })), "{other_epoch:?}");
    assert_eq!(server.get("/record").as_deref(), Some("one"));
}

#[tokio::test]
async fn a_deleted_lock_is_lost_and_the_next_epoch_is_higher() {
    let server = harness::Etcd::start();
    let leadership = campaign(&server, "a");
    let mut holding = leadership.holding();
    let epoch = until_held(&leadership).await;
    server.delete("/dictator/redis-1/lock");
    let lost = |holding: &Holding| matches!(holding, Holding::Lost { epoch: lost, .. } if *lost == epoch);
    let held_again = |holding: &Holding| matches!(holding, Holding::Held { epoch: now, .. } if *now > epoch);
    until(&mut holding, "the loss, or already the next epoch", |holding| {
        lost(holding) || held_again(holding)
    })
    .await;
    until(&mut holding, "the next epoch", held_again).await;
}

#[tokio::test]
async fn a_frozen_etcd_costs_the_lock_before_the_lease_may_have_ended() {
    let mut server = harness::Etcd::start();
    let leadership = campaign(&server, "a");
    let epoch = until_held(&leadership).await;
    server.process().freeze();
    let frozen_at = Instant::now();
    let lost = |holding: &Holding| matches!(holding, Holding::Lost { .. });
    until(&mut leadership.holding(), "the loss", lost).await;
    // The last renewal was sent before the freeze, so a whole lifetime after it is the latest moment.
    assert!(frozen_at.elapsed() < TTL, "noticed after {:?}", frozen_at.elapsed());
    assert_eq!(leadership.held_epoch(), None);
    let refused = leadership.put_if_held(epoch, "/record", b"late", ASK).await;
    assert!(matches!(refused, Err(PutIfHeldError::NotHeld { .. })), "{refused:?}");

    server.process().thaw();
    let held_again = |holding: &Holding| matches!(holding, Holding::Held { epoch: now, .. } if *now > epoch);
    until(&mut leadership.holding(), "a later epoch", held_again).await;
    assert_eq!(server.get("/record"), None);
}

#[tokio::test]
async fn the_lock_of_a_process_that_vanished_is_free_when_its_lease_ends() {
    let server = harness::Etcd::start();
    let granted = server.etcdctl(&["lease", "grant", "2"]).stdout;
    let lease = String::from_utf8(granted).expect("text");
    let id = lease.split_whitespace().nth(1).expect("a lease id").to_owned();
    let put = server.etcdctl(&["put", "/dictator/redis-1/lock", "gone:8080", &format!("--lease={id}")]);
    assert!(put.status.success());
    let leadership = campaign(&server, "a");
    let followed =
        |holding: &Holding| matches!(holding, Holding::Following(by) if by.advertised == "gone:8080");
    until(&mut leadership.holding(), "it follows the vanished one", followed).await;
    until_held(&leadership).await;
}

#[tokio::test]
async fn without_etcd_nobody_holds_and_writes_are_not_sent() {
    let mut server = harness::Etcd::start();
    let leadership = campaign(&server, "a");
    let epoch = until_held(&leadership).await;
    server.kill();
    let written = leadership.put_if_held(epoch, "/record", b"x", ASK).await;
    match written {
        Err(PutIfHeldError::NotHeld { .. } | PutIfHeldError::Etcd { .. }) => {}
        Ok(revision) => panic!("written at {revision} by a dead etcd"),
    }
    until(&mut leadership.holding(), "the loss", |holding| matches!(holding, Holding::Lost { .. })).await;
    server.start_again();
    until(
        &mut leadership.holding(),
        "a later epoch",
        |holding| matches!(holding, Holding::Held { epoch: now, .. } if *now > epoch),
    )
    .await;
}

#[tokio::test]
async fn two_that_start_at_once_never_hold_at_once() {
    let server = harness::Etcd::start();
    let both = [campaign(&server, "a"), campaign(&server, "b")];
    let ends_at = Instant::now() + TTL;
    let mut held_once = false;
    while Instant::now() < ends_at {
        let held = both.iter().filter(|one| one.held_epoch().is_some()).count();
        assert!(held <= 1, "both hold the lock");
        held_once |= held == 1;
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(held_once, "nobody ever held it");
    // What a loser's transaction may have left behind would show here as a refused write.
    for one in &both {
        if let Some(epoch) = one.held_epoch() {
            let written = one.put_if_held(epoch, "/record", b"x", ASK).await;
            assert!(!matches!(written, Err(PutIfHeldError::Etcd { source: EtcdError::Refused { .. }, .. })));
        }
    }
}
