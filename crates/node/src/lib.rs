//! Redis nodes, as something that carries out an order or says exactly why not.
//!
//! This is the only crate that speaks to redis. It decides nothing: [`topology`] emits an
//! [`Order`], [`Nodes::execute`] turns it into RESP and the replies into an [`Answer`]. What it
//! guarantees is the distinction that everything else rests on, [`Failure::NotExecuted`] against
//! [`Failure::NoReply`]:
//!
//! - *Not executed* is said only if not one byte of the command was handed to the kernel and none
//!   can be any more, or if redis itself answered that it did not run it.
//! - Everything else without a complete answer is *no reply*, and the connection is given up: its id
//!   is kept, so that an observation can tell what is left of it at the node.
//!
//! There is one connection per endpoint, never re-opened behind anybody's back: an order that names
//! its session is carried out over exactly that connection or not at all. Nothing is sent twice.
//!
//! The right to act comes in as a [`watch`] channel with the epoch that is held. Connections are
//! named by it, and it is looked at again immediately before anything irreversible is written.
//!
//! [`Answer`]: topology::command::Answer
//! [`Failure::NotExecuted`]: topology::command::Failure::NotExecuted
//! [`Failure::NoReply`]: topology::command::Failure::NoReply

mod acts;
mod clients;
mod complaint;
mod endpoint;
mod info;
mod line;
mod observe;
mod registry;
mod session;
mod settings;
mod vitals;
mod wire;
mod write_commands;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use topology::command::{Answer, Failure, Order};
use topology::observation::Unknown;

pub use clients::DICTATOR_NAME_PREFIX;
pub use info::{INFO_BYTES_MAX, InfoError};
pub use settings::{
    CONNECT_DEADLINE_DEFAULT, Clock, Credentials, Mandate, Secret, Secure, Securing, Settings, Transport,
};
pub use vitals::vitals as vitals_from_info;

use endpoint::{Ask, Endpoint, Shared};
use registry::Registry;

/// Orders that may wait for one endpoint.
const ORDERS_WAITING_MAX: usize = 64;
/// Endpoints with a task of their own; the least recently asked goes first.
const ENDPOINTS_MAX: usize = 512;

/// All nodes that are spoken to. Cheap to clone; all clones share the connections.
///
/// Must be used within a tokio runtime.
#[derive(Clone)]
pub struct Nodes {
    shared: Shared,
    endpoints: Arc<Mutex<HashMap<SocketAddr, Served>>>,
}

struct Served {
    asks: mpsc::Sender<Ask>,
    asked_at: Instant,
}

impl Nodes {
    /// No connection yet.
    ///
    /// `mandate` holds the right to act while it is held, and `None` while it is not. Without
    /// several dictators it is one epoch for the life of the process.
    pub fn new(settings: Settings, mandate: watch::Receiver<Option<Mandate>>) -> Self {
        let registry = Arc::new(Mutex::new(Registry::default()));
        Self { shared: Shared { settings, mandate, registry }, endpoints: Arc::default() }
    }

    /// Whether the right to act is certain at this moment, by the clock and not by the last news of it.
    pub fn may_act(&self) -> bool {
        self.shared.mandate.borrow().and_then(Mandate::epoch_now).is_some()
    }

    /// Carries out an order within its deadline, which includes the time to connect and to wait for
    /// earlier orders to the same endpoint.
    ///
    /// Dropping the future cancels nothing: an order that was accepted is carried out.
    ///
    /// # Errors
    /// [`Failure`], as the crate's documentation says.
    pub async fn execute(&self, order: Order) -> Answer {
        let due = Instant::now() + order.deadline;
        let deadline_ms = u64::try_from(order.deadline.as_millis()).unwrap_or(u64::MAX);
        let asks = self.asks(order.endpoint);
        let (reply, answer) = oneshot::channel();
        match timeout_at(due, asks.send(Ask::Order { order, due, reply })).await {
            Ok(Ok(())) => answer.await.unwrap_or_else(|_| {
                // The task ended with the runtime, perhaps while the command was under way.
                Err(Failure::NoReply(Unknown::Unreachable("this program is ending".to_owned())))
            }),
            Ok(Err(_)) => {
                let reason = Unknown::Unreachable("this program is ending".to_owned());
                Err(Failure::NotExecuted(reason))
            }
            Err(_) => Err(Failure::NotExecuted(Unknown::Silent(deadline_ms))),
        }
    }

    /// Closes the connections to all endpoints but these, once their orders are done.
    pub fn retain(&self, endpoints: &[SocketAddr]) {
        let closing: Vec<_> = self
            .endpoints()
            .iter()
            .filter(|(endpoint, _)| !endpoints.contains(endpoint))
            .map(|(_, served)| served.asks.clone())
            .collect();
        for asks in closing {
            // A full queue means that it is in use; it closes by itself when it has been idle.
            let _ = asks.try_send(Ask::Close);
        }
    }

    fn asks(&self, address: SocketAddr) -> mpsc::Sender<Ask> {
        let mut endpoints = self.endpoints();
        if endpoints.len() >= ENDPOINTS_MAX && !endpoints.contains_key(&address) {
            let oldest = endpoints.iter().min_by_key(|(_, served)| served.asked_at).map(|(key, _)| *key);
            oldest.and_then(|oldest| endpoints.remove(&oldest));
        }
        let asked_at = Instant::now();
        let served = endpoints.entry(address).or_insert_with(|| {
            let (asks, queue) = mpsc::channel(ORDERS_WAITING_MAX);
            tokio::spawn(Endpoint::new(address, self.shared.clone()).run(queue));
            Served { asks, asked_at }
        });
        served.asked_at = asked_at;
        served.asks.clone()
    }

    fn endpoints(&self) -> MutexGuard<'_, HashMap<SocketAddr, Served>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
