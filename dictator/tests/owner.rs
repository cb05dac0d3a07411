//! The owner task against real redis nodes, without the HTTP face.

use std::pin::Pin;
use std::time::Duration;

use dictator::apply::{
    Answered, ApplyRequest, Ask, Events, Handle, Lookup, Metrics, Owner, Rejection, Settings, Store, Wait,
};
use harness::{Redis, RedisOptions};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use topology::conduct::{Limits, Names};
use topology::document::{Answers, Document};
use topology::plan::Policy;
use topology::{Address, NodeName};

/// Nobody is named but by address.
struct NoNames;

impl Lookup for NoNames {
    fn names(&self, _: Vec<NodeName>) -> Pin<Box<dyn Future<Output = Names> + Send + '_>> {
        Box::pin(async { Names::new() })
    }

    fn groups(&self, _: Vec<Address>) -> Pin<Box<dyn Future<Output = Answers> + Send + '_>> {
        Box::pin(async { Answers::new() })
    }
}

async fn start(folder: &std::path::Path) -> (Handle, CancellationToken, tokio::task::JoinHandle<()>) {
    let store = Store::open(folder).await.unwrap();
    let record = store.record().await.unwrap();
    let epoch = store.next_epoch().await.unwrap();
    let (_keep, mandate) = watch::channel(Some(node::Mandate::alone(epoch)));
    let nodes = node::Nodes::new(
        node::Settings::new(std::sync::Arc::new(|| service::clock::unix_millis() as i64 * 1000)),
        mandate,
    );
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (handle, asks) = Handle::new();
    let settings = Settings {
        limits: Limits::default(),
        policy: Policy { ignore_sentinel: false, epoch, partial: false },
        enforce_interval: Duration::from_secs(1),
        nodes_max: 64,
        events: Events::default(),
    };
    let resolve: dictator::apply::Resolve = Box::new(NoNames);
    let owner = Owner::new(settings, store, record, nodes, resolve, metrics, asks).await;
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(owner.run(shutdown.clone()));
    (handle, shutdown, task)
}

async fn put(handle: &Handle, master: &Redis, slaves: &[&Redis], wait: Wait) -> Result<Answered, Rejection> {
    let json = harness::topology(master, slaves).to_string();
    let parsed = Document::parse(json.as_bytes(), 64).unwrap();
    let (reply, answer) = oneshot::channel();
    let request = ApplyRequest {
        parsed,
        revision: None,
        if_match: None,
        wait,
        dry_run: false,
        request_id: "test".to_owned(),
        reason: None,
        asked_by: None,
        reply,
    };
    handle.ask(Ask::Apply(Box::new(request))).unwrap();
    answer.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_empty_nodes_are_established_and_the_master_moves() {
    let nodes = Redis::start_many(3, &RedisOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let (handle, shutdown, task) = start(folder.path()).await;
    let answered = put(&handle, &nodes[0], &[&nodes[1], &nodes[2]], Wait::Links).await;

    assert!(matches!(&answered, Ok(Answered::Receipt(receipt, 1)) if receipt.outcome == "established"));
    nodes[0].command("SET a 1");
    for round in 0..6 {
        let master = (round + 1) % 3;
        let slaves: Vec<&Redis> =
            (0..3).filter(|index| *index != master).map(|index| &nodes[index]).collect();
        let answered = put(&handle, &nodes[master], &slaves, Wait::Links).await;
        let Ok(Answered::Receipt(receipt, _)) = &answered else { panic!("{answered:#?}") };

        assert_eq!(receipt.outcome, "switched");
        assert_eq!(receipt.full_resyncs, Some(0));
        assert_eq!(nodes[master].role(), "master");
    }
    let again = put(&handle, &nodes[0], &[&nodes[1], &nodes[2]], Wait::Promoted).await;
    assert!(
        matches!(&again, Ok(Answered::Receipt(receipt, _)) if receipt.outcome == "unchanged"),
        "{again:#?}"
    );
    shutdown.cancel();
    task.await.unwrap();
}
