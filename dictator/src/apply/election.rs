//! One of several: an owner runs here only while this process holds the cluster's lock.
//!
//! Each time the lock is won a new owner starts, with the record as its predecessor left it in etcd, a
//! new pool of connections named by the new epoch, and nothing remembered from an earlier reign. When
//! the lock is lost, or may be, the mandate goes first, so that no irreversible command follows; then the
//! owner is let go. What a stopped process sends late is stopped at the nodes: its successor ends the
//! connections of lower epochs before it does anything else.

use std::sync::Arc;
use std::time::Duration;

use coordination::{Endpoints, Etcd, Holding, Leadership};
use node::{Mandate, Nodes};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use topology::plan::Policy;

use super::store::Shared;
use super::{ASKS_MAX, Ask, Metrics, Owner, Resolve, Settings, Standing, Store};

/// Wait before the record is read again after it could not be.
const READ_RETRY: Duration = Duration::from_millis(500);

/// How this process campaigns.
#[derive(Clone, Debug)]
pub struct Election {
    /// The etcd cluster.
    pub endpoints: Endpoints,
    /// The cluster of redis nodes.
    pub cluster: String,
    /// The URL under which this dictator takes requests.
    pub advertised: String,
    /// Lifetime of the lease, whole seconds.
    pub lease: Duration,
}

/// What every owner that starts here is made of.
pub struct Parts {
    /// Settings; the epoch in them is replaced by the lock's.
    pub settings: Settings,
    /// The state directory.
    pub store: Store,
    /// Of connections to nodes.
    pub node_settings: node::Settings,
    /// Of names.
    pub resolve: Arc<Resolve>,
    /// Of what is counted.
    pub metrics: Metrics,
}

/// An owner's reign.
struct Reign {
    epoch: u64,
    mandate: watch::Sender<Option<Mandate>>,
    stop: CancellationToken,
    owner: JoinHandle<()>,
}

impl Reign {
    async fn end(self) {
        self.mandate.send_replace(None);
        self.stop.cancel();
        if let Err(error) = self.owner.await {
            tracing::error!(%error, epoch = self.epoch, "the owner ended badly");
        }
    }
}

/// The record's key in etcd.
pub fn record_key(cluster: &str) -> String {
    format!("/dictator/{cluster}/record")
}

/// Campaigns until `shutdown`, with an owner running whenever the lock is held.
pub async fn run(
    election: Election,
    parts: Parts,
    standing: watch::Sender<Standing>,
    shutdown: CancellationToken,
) {
    let etcd = Etcd::new(election.endpoints.clone());
    let campaign =
        Leadership::campaign(etcd.clone(), &election.cluster, &election.advertised, election.lease);
    let leadership = Arc::new(campaign);
    let mut holding = leadership.holding();
    let mut reign: Option<Reign> = None;
    loop {
        let now = holding.borrow_and_update().clone();
        if let Holding::Held { epoch, valid_until } = now {
            let mandate = Mandate { epoch, until: Some(valid_until) };
            reign = match reign.take() {
                Some(present) if present.epoch == epoch => {
                    present.mandate.send_replace(Some(mandate));
                    Some(present)
                }
                over => {
                    if let Some(over) = over {
                        over.end().await;
                    }
                    let (etcd, leadership) = (etcd.clone(), leadership.clone());
                    let key = record_key(&election.cluster);
                    let shared = Shared { etcd, leadership, epoch, key };
                    begin(&parts, shared, mandate, &standing).await
                }
            };
            if reign.is_none() {
                // The record cannot be read: without it nobody may act. Try again.
                tokio::select! {
                    () = tokio::time::sleep(READ_RETRY) => continue,
                    () = shutdown.cancelled() => break,
                }
            }
        } else {
            step_down(&now, reign.take(), &standing).await;
        }
        tokio::select! {
            changed = holding.changed() => if changed.is_err() { break },
            () = shutdown.cancelled() => break,
        }
    }
    standing.send_replace(Standing::Contending);
    if let Some(over) = reign.take() {
        // The change under way may end in good order; the lock is held until then.
        over.stop.cancel();
        if let Err(error) = over.owner.await {
            tracing::error!(%error, "the owner ended badly");
        }
        over.mandate.send_replace(None);
    }
    leadership.resign().await;
}

/// The lock is not held: whoever reigned here does so no longer.
async fn step_down(holding: &Holding, reign: Option<Reign>, standing: &watch::Sender<Standing>) {
    standing.send_replace(match holding {
        Holding::Following(holder) => Standing::Following(holder.advertised.clone()),
        _ => Standing::Contending,
    });
    if let Some(over) = reign {
        if let Holding::Lost { epoch, reason } = holding {
            tracing::warn!(epoch, reason, "the lock is lost; nothing irreversible is sent any more");
        }
        over.end().await;
    }
    service::notify::status(match holding {
        Holding::Following(_) => "another dictator has the say",
        _ => "it is not known which dictator has the say",
    });
}

async fn begin(
    parts: &Parts,
    shared: Shared,
    mandate: Mandate,
    standing: &watch::Sender<Standing>,
) -> Option<Reign> {
    let epoch = shared.epoch;
    let store = parts.store.shared(shared);
    let record = match store.record().await {
        Ok(record) => record,
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, source, epoch, "the lock is held, but without the record nothing is done");
            return None;
        }
    };
    tracing::info!(epoch, generation = record.generation, "this dictator has the say");
    let (sender, held) = watch::channel(Some(mandate));
    let nodes = Nodes::new(parts.node_settings.clone(), held);
    let (asks, received) = mpsc::channel::<Ask>(ASKS_MAX);
    let settings =
        Settings { policy: Policy { epoch, ..parts.settings.policy.clone() }, ..parts.settings.clone() };
    let owner =
        Owner::shared(settings, store, record, nodes, parts.resolve.clone(), parts.metrics.clone(), received)
            .await;
    let stop = CancellationToken::new();
    let owner = tokio::spawn(owner.run(stop.clone()));
    standing.send_replace(Standing::Holding(asks));
    Some(Reign { epoch, mandate: sender, stop, owner })
}
