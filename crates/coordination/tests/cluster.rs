//! Three members: one may go, a minority is not believed, and everything heals by itself.

use std::path::Path;
use std::time::Duration;

use coordination::{Endpoints, Etcd, EtcdError, KeyState, KeyWatch, Phase, watch_key};
use harness::process::{Process, Recipe};
use harness::{Http, wait_until};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Deadline of every condition a test waits for.
const SOON: Duration = Duration::from_secs(30);
/// Deadline of one question.
const ASK: Duration = Duration::from_secs(3);
const KEY: &str = "/config/redis-1/topology-trigger";

struct Cluster {
    members: Vec<(Process, Http)>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let addresses: Vec<_> =
            (0..3).map(|_| (harness::ports::free_address(), harness::ports::free_address())).collect();
        let peers: Vec<String> = addresses
            .iter()
            .enumerate()
            .map(|(index, (_, peer))| format!("m{index}=http://{peer}"))
            .collect();
        let member = |index: usize| {
            let (client, peer) = addresses[index];
            Process::new(recipe(
                folder.path(),
                index,
                (&client.to_string(), &peer.to_string()),
                &peers.join(","),
            ))
        };
        let mut members: Vec<(Process, Http)> =
            (0..3).map(|index| (member(index), Http::new(addresses[index].0))).collect();
        for (process, _) in &mut members {
            process.start();
        }
        let cluster = Self { members, _folder: folder };
        cluster.wait_healthy();
        cluster
    }

    fn endpoints(&self) -> Endpoints {
        let urls: Vec<String> =
            self.members.iter().map(|(_, http)| format!("http://{}", http.address())).collect();
        Endpoints::parse(&urls).expect("sound endpoints")
    }

    fn wait_healthy(&self) {
        for (_, http) in &self.members {
            wait_until("a member to be healthy", SOON, || {
                match http.try_request("GET", "/health", &[], b"") {
                    Ok(answer) if answer.status == 200 => Ok(()),
                    Ok(answer) => Err(answer.text()),
                    Err(error) => Err(error.to_string()),
                }
            });
        }
    }
}

fn recipe(folder: &Path, index: usize, (client, peer): (&str, &str), peers: &str) -> Recipe {
    let data = folder.join(format!("data-{index}")).display().to_string();
    let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
    let name = format!("m{index}");
    let arguments = [
        ("--name", name.as_str()),
        ("--data-dir", &data),
        ("--listen-client-urls", &client),
        ("--advertise-client-urls", &client),
        ("--listen-peer-urls", &peer),
        ("--initial-advertise-peer-urls", &peer),
        ("--initial-cluster", peers),
        ("--heartbeat-interval", "50"),
        ("--election-timeout", "500"),
        ("--logger", "zap"),
        ("--log-level", "error"),
    ];
    Recipe {
        name: format!("etcd {name}"),
        program: "etcd".into(),
        arguments: arguments
            .iter()
            .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()])
            .collect(),
        environment: Vec::new(),
        folder: folder.to_owned(),
        log: folder.join(format!("{name}.log")),
    }
}

async fn until_value(watch: &mut KeyWatch, value: &str) {
    let holds = |state: &Option<KeyState>| {
        let version = state.as_ref().and_then(KeyState::present);
        version.is_some_and(|version| version.value == value.as_bytes())
    };
    let found = timeout(SOON, watch.state.wait_for(holds)).await.is_ok();
    assert!(found, "never {value}: {:?} {:?}", *watch.state.borrow(), *watch.health.borrow());
}

#[tokio::test]
async fn members_come_and_go_and_a_minority_is_not_believed() {
    let mut cluster = Cluster::start();
    let etcd = Etcd::new(cluster.endpoints());
    let mut watch = watch_key(cluster.endpoints(), KEY, CancellationToken::new());
    etcd.put(KEY, b"all three", ASK).await.expect("written");
    until_value(&mut watch, "all three").await;

    // The member in use goes: the watch moves on to another.
    cluster.members[0].0.kill();
    let left = timeout(SOON, watch.health.wait_for(|health| health.reconnects > 0)).await.is_ok();
    assert!(left, "{:?}", *watch.health.borrow());
    timeout(SOON, async { while etcd.put(KEY, b"two of three", ASK).await.is_err() {} })
        .await
        .expect("written");
    until_value(&mut watch, "two of three").await;

    // The second goes: the third has no leader, so it is neither watched nor believed.
    cluster.members[1].0.kill();
    let unwatched = timeout(SOON, watch.health.wait_for(|health| health.failure.is_some())).await.is_ok();
    assert!(unwatched, "{:?}", *watch.health.borrow());
    let read = etcd.get(KEY, ASK).await;
    assert!(matches!(read, Err(EtcdError::Unreachable { .. })), "{read:?}");

    for index in [0, 1] {
        cluster.members[index].0.start();
    }
    cluster.wait_healthy();
    timeout(SOON, async { while etcd.put(KEY, b"all again", ASK).await.is_err() {} }).await.expect("written");
    until_value(&mut watch, "all again").await;
    let watching =
        timeout(SOON, watch.health.wait_for(|health| health.phase == Phase::Watching)).await.is_ok();
    assert!(watching, "{:?}", *watch.health.borrow());
}
