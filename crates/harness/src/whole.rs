//! The whole loop: redis nodes, etcd, dictator, dnsd and observer, wired as in production.
//!
//! Fields are dropped in their order: the daemons go before what they depend on, or they would
//! rightly complain about its end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Daemon, DaemonOptions, TOPOLOGY_KEY, TRIGGER_KEY};
use crate::redis::{Redis, RedisOptions};
use crate::wait::{ensure, wait_until};
use crate::{Etcd, dns};

/// How long a trigger may take to reach DNS in a test.
pub const PUBLISHED_DEADLINE: Duration = Duration::from_secs(30);

/// How to start the loop.
#[derive(Clone, Debug)]
pub struct WholeOptions {
    /// How many redis nodes.
    pub nodes: usize,
    /// How they are configured.
    pub redis: RedisOptions,
    /// What the dictator is told.
    pub dictator: DaemonOptions,
    /// What dnsd is told.
    pub dnsd: DaemonOptions,
    /// What the observer is told.
    pub observer: DaemonOptions,
}

impl Default for WholeOptions {
    fn default() -> Self {
        Self {
            nodes: 3,
            redis: RedisOptions::default(),
            dictator: DaemonOptions::new(),
            dnsd: DaemonOptions::new(),
            observer: DaemonOptions::new(),
        }
    }
}

/// The running loop.
#[derive(Debug)]
pub struct Whole {
    /// Watches etcd, notifies dictator and dnsd.
    pub observer: Daemon,
    /// Moves the master.
    pub dictator: Daemon,
    /// Publishes it.
    pub dnsd: Daemon,
    /// Holds topology and trigger.
    pub etcd: Etcd,
    /// The nodes.
    pub nodes: Vec<Redis>,
}

impl Whole {
    /// Starts everything; no topology is defined yet.
    ///
    /// # Panics
    /// When something does not start.
    pub fn start(options: &WholeOptions) -> Self {
        let nodes = Redis::start_many(options.nodes, &options.redis);
        Self::start_around(nodes, Etcd::start(), options)
    }

    /// Starts the daemons around nodes and an etcd that are there, whatever their state.
    ///
    /// # Panics
    /// When something does not start.
    pub fn start_around(nodes: Vec<Redis>, etcd: Etcd, options: &WholeOptions) -> Self {
        let dictator = Daemon::dictator(&options.dictator);
        let dnsd = Daemon::dnsd(&options.dnsd);
        let notify = [dictator.url("/master"), dnsd.url("/dns")];
        let observer = Daemon::observer(&etcd.url(), &notify, &options.observer);
        Self { observer, dictator, dnsd, etcd, nodes }
    }

    /// The document that makes the node with this index master and all others its slaves.
    pub fn document(&self, master: usize) -> Value {
        document(&self.nodes, master)
    }

    /// Writes the topology key.
    pub fn define(&self, document: &Value) {
        self.etcd.put(TOPOLOGY_KEY, &document.to_string());
    }

    /// Writes the trigger key and returns its revision.
    pub fn trigger(&self) -> u64 {
        self.etcd.put(TRIGGER_KEY, "1")
    }

    /// Defines, triggers and waits until DNS names the node with this index; returns the revision.
    ///
    /// # Panics
    /// When DNS does not name it in time.
    pub fn move_to(&self, master: usize) -> u64 {
        self.define(&self.document(master));
        let revision = self.trigger();
        self.wait_published(master);
        revision
    }

    /// Waits until DNS names the node with this index as the master.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_published(&self, master: usize) {
        let wanted = self.nodes[master].address();
        wait_until("DNS to name the new master", PUBLISHED_DEADLINE, || {
            match dns::find_master(self.dnsd.dns_address(), crate::daemon::DOMAIN) {
                Ok(found) => ensure(found == wanted, format!("{found} instead of {wanted}")),
                Err(error) => Err(error.to_string()),
            }
        });
    }
}

/// The document that makes the node with this index master and all others its slaves, in order.
pub fn document(nodes: &[Redis], master: usize) -> Value {
    let slaves = nodes.iter().enumerate().filter(|(index, _)| *index != master);
    json!({
        "master": nodes[master].json(),
        "slaves": slaves.map(|(_, node)| node.json()).collect::<Vec<_>>(),
    })
}
