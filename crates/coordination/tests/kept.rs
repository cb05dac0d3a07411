//! Keys that are kept: whole changes, nothing left behind, and mended whatever happens to etcd.

use std::collections::BTreeMap;
use std::time::Duration;

use coordination::{Endpoints, Etcd, KeptKeys, Upkeep};
use harness::wait::{ensure, wait_until};
use tokio::time::{sleep, timeout};

/// Deadline of every condition a test waits for.
const SOON: Duration = Duration::from_secs(20);
/// The shortest lease etcd grants by default is its election timeout rounded up; this is well above.
const TTL: Duration = Duration::from_secs(3);
const PATH: &str = "/skydns/docker/redis-1/slaves";

fn keep(server: &harness::Etcd) -> KeptKeys {
    let endpoints = Endpoints::parse(&[server.url()]).expect("a sound endpoint");
    KeptKeys::new(Etcd::new(endpoints), vec![PATH.to_owned()], TTL)
}

fn keys(names: &[&str], value: &str) -> BTreeMap<String, Vec<u8>> {
    names.iter().map(|name| (format!("{PATH}/{name}"), value.into())).collect()
}

/// Waits until the keys were written after `revision`, and returns the revision of that change.
async fn in_force(kept: &KeptKeys, after: u64) -> u64 {
    let mut state = kept.state();
    let is_new = |state: &Upkeep| matches!(state, Upkeep::InForce { revision } if *revision > after);
    let found = timeout(SOON, state.wait_for(is_new)).await.is_ok();
    let now = state.borrow().clone();
    match now {
        Upkeep::InForce { revision } if found => revision,
        other => panic!("waited in vain for a change after {after}: {other:?}"),
    }
}

/// Every key below `/skydns`: its name, revision and lease.
fn all(server: &harness::Etcd) -> Vec<(String, u64, String)> {
    let output = server.etcdctl(&["get", "--prefix", "/skydns", "-w", "fields"]).stdout;
    let text = String::from_utf8(output).expect("text");
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(" : ") else { continue };
        let value = value.trim_matches('"').to_owned();
        match name.trim_matches('"') {
            "Key" => found.push((value, 0, String::new())),
            "ModRevision" => found.last_mut().expect("a key").1 = value.parse().expect("a number"),
            "Lease" => found.last_mut().expect("a key").2 = value,
            _ => {}
        }
    }
    found
}

fn names(server: &harness::Etcd) -> Vec<String> {
    all(server).into_iter().map(|(key, ..)| key.trim_start_matches(PATH).to_owned()).collect()
}

#[tokio::test]
async fn a_change_is_one_revision_and_leaves_nothing_behind() {
    let server = harness::Etcd::start();
    // What another life has left, and what is none of ours.
    for key in ["/skydns/docker/redis-1/slaves/old", PATH, "/skydns/docker/redis-1/slaves-not"] {
        server.put(key, "{}");
    }
    let kept = keep(&server);
    kept.want(keys(&["a", "b"], "1"));
    let first = in_force(&kept, 0).await;
    assert_eq!(names(&server), ["-not", "/a", "/b"]);
    for (key, revision, lease) in all(&server).into_iter().skip(1) {
        assert!(revision == first && lease != "0", "{key} was written at {revision} with lease {lease}");
    }
    kept.want(keys(&["b", "c"], "1"));
    let second = in_force(&kept, first).await;
    assert_eq!(second, first + 1, "one transaction, and no revision for what stayed as it was");
    let revisions: Vec<u64> = all(&server).iter().skip(1).map(|(_, revision, _)| *revision).collect();
    assert_eq!((names(&server)[1..].join(" "), revisions), ("/b /c".to_owned(), vec![first, second]));
}

#[tokio::test]
async fn the_keys_live_as_long_as_they_are_kept() {
    let server = harness::Etcd::start();
    let kept = keep(&server);
    kept.want(keys(&["a"], "1"));
    let first = in_force(&kept, 0).await;
    sleep(TTL * 2).await;
    assert_eq!(all(&server)[0].1, first, "renewed, not written again");
    // Somebody deletes one and changes the other: mended at the next comparison.
    server.delete(&format!("{PATH}/a"));
    let mended = in_force(&kept, first).await;
    assert_eq!(names(&server), ["/a"]);
    server.put(&format!("{PATH}/a"), "2");
    in_force(&kept, mended).await;
    assert_eq!(server.get(&format!("{PATH}/a")).as_deref(), Some("1"));

    // The process ends: the keys end with the lease, not before.
    drop(kept);
    assert_eq!(names(&server), ["/a"]);
    wait_until("the keys to end", SOON, || {
        let left = names(&server);
        ensure(left.is_empty(), format!("{left:?}"))
    });
}

#[tokio::test]
async fn another_process_takes_the_keys_over_without_a_gap() {
    let server = harness::Etcd::start();
    let first = keep(&server);
    first.want(keys(&["a"], "1"));
    let revision = in_force(&first, 0).await;
    drop(first);
    let second = keep(&server);
    second.want(keys(&["a"], "1"));
    let taken = in_force(&second, revision).await;
    assert_eq!(taken, revision + 1, "nobody wrote or deleted it in between");
    sleep(TTL * 2).await;
    assert_eq!(names(&server), ["/a"], "the first lease has ended, and the key has not");

    second.withdraw().await;
    assert!(names(&server).is_empty(), "withdrawn at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_went_away_is_caught_up_with() {
    let mut server = harness::Etcd::start();
    let kept = keep(&server);
    kept.want(keys(&["a"], "1"));
    let first = in_force(&kept, 0).await;
    server.kill();
    kept.want(keys(&["b"], "1"));
    let mut state = kept.state();
    let failing = |state: &Upkeep| matches!(state, Upkeep::Failing { .. });
    timeout(SOON, state.wait_for(failing)).await.expect("the failure").expect("a state");
    server.start_again();
    in_force(&kept, first).await;
    assert_eq!(names(&server), ["/b"]);

    // Lost with all its data, the lease included.
    server.start_empty();
    wait_until("the keys in an empty etcd", SOON, || {
        let found = names(&server);
        ensure(found == ["/b"], format!("{found:?}"))
    });
}

#[tokio::test]
async fn more_keys_than_a_transaction_takes() {
    let server = harness::Etcd::start();
    let kept = keep(&server);
    let many: Vec<String> = (0..300).map(|number| format!("n{number:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    kept.want(keys(&many, "1"));
    let first = in_force(&kept, 0).await;
    assert_eq!(names(&server).len(), 300);
    kept.want(keys(&["only"], "1"));
    in_force(&kept, first).await;
    assert_eq!(names(&server), ["/only"]);
}
