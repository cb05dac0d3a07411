//! The owner task at work, without the HTTP face: what a test asks of it, it asks as a request would.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dictator::apply::{
    Answered, ApplyRequest, Ask, Events, Handle, Metrics, Owner, Rejection, Resolve, Settings, Store, Wait,
};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use topology::conduct::Limits;
use topology::document::Document;
use topology::plan::Policy;

/// The only one in its reign, for as long as it is not ended.
pub(crate) struct Dictator {
    pub(crate) handle: Handle,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _mandate: watch::Sender<Option<node::Mandate>>,
}

impl Dictator {
    /// Goes on with what is in this folder.
    pub(crate) async fn start(
        folder: &Path,
        resolve: Resolve,
        enforce_interval: Duration,
        nodes_max: usize,
    ) -> Self {
        let store = Store::open(folder).await.unwrap();
        let record = store.record().await.unwrap();
        let epoch = store.next_epoch().await.unwrap();
        let (mandate, held) = watch::channel(Some(node::Mandate::alone(epoch)));
        let clock = || i64::try_from(service::clock::unix_millis() * 1000).unwrap_or(i64::MAX);
        let nodes = node::Nodes::new(node::Settings::new(Arc::new(clock)), held);
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics = Metrics::register(&mut registry);
        let (handle, asks) = Handle::new();
        let settings = Settings {
            limits: Limits::default(),
            policy: Policy { ignore_sentinel: false, epoch },
            enforce_interval,
            nodes_max,
            events: Events::default(),
        };
        let owner = Owner::new(settings, store, record, nodes, resolve, metrics, asks).await;
        let stop = CancellationToken::new();
        let task = tokio::spawn(owner.run(stop.clone()));
        Self { handle, stop, task, _mandate: mandate }
    }

    /// Lets it finish what it does, and waits for that.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Sends this document and waits for what becomes of it.
    pub(crate) async fn put(&self, text: &str, wait: Wait, dry_run: bool) -> Result<Answered, Rejection> {
        let parsed = Document::parse(text.as_bytes(), 64).unwrap();
        let (reply, answer) = oneshot::channel();
        let request = ApplyRequest {
            parsed,
            revision: None,
            if_match: None,
            wait,
            dry_run,
            request_id: "test".to_owned(),
            reason: None,
            asked_by: None,
            reply,
        };
        self.handle.ask(Ask::Apply(Box::new(request))).unwrap();
        answer.await.unwrap()
    }
}
