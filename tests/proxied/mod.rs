//! Two nodes behind proxies, a dictator that knows only the proxies, and writers that know the nodes.

use std::time::Duration;

use harness::load::{Ledger, LoadOptions};
use harness::redis::{RedisOptions, masters, wait_equal_data};
use harness::wait::ensure;
use harness::{Daemon, DaemonOptions, Load, Proxy, Redis, wait_until};
use serde_json::{Value, json};

/// How long enforcement may take to resolve what became resolvable.
const RESOLVED_DEADLINE: Duration = Duration::from_secs(20);

/// The dictator goes first, the nodes last.
pub(crate) struct Proxied {
    pub(crate) dictator: Daemon,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) nodes: Vec<Redis>,
    load: Option<Load>,
}

/// Deadlines as short as the settings allow: shorter than a command without reply is waited for.
pub(crate) fn hasty() -> DaemonOptions {
    deadlines("2s")
}

fn deadlines(apply_timeout: &str) -> DaemonOptions {
    DaemonOptions::new()
        .flag("--enforce-interval", "100ms")
        .flag("--apply-timeout", apply_timeout)
        .flag("--max-write-pause", "500ms")
        .allow_log("the topology cannot be kept", "an outcome is unknown while a node sleeps")
}

/// Time enough to learn what became of a command within the change itself.
pub(crate) fn patient() -> DaemonOptions {
    deadlines("8s")
}

impl Proxied {
    /// Node 0 is master, node 1 its slave, and writers write.
    pub(crate) fn under_load(options: &DaemonOptions) -> Self {
        let nodes = Redis::start_many(2, &RedisOptions::default());
        let proxies: Vec<Proxy> = nodes.iter().map(Proxy::before).collect();
        let dictator = Daemon::dictator(options);
        let mut proxied = Self { dictator, proxies, nodes, load: None };
        proxied.dictator.http().put("/master?wait=links", &proxied.document(0)).expect(200);
        proxied.nodes[0].command("SET a 1");
        proxied.assert_settled(0);
        let mut options = LoadOptions::on(&proxied.nodes.iter().collect::<Vec<_>>());
        options.writers = 4;
        options.interval = Duration::from_millis(2);
        let load = Load::start(options);
        load.wait_acknowledged(200);
        proxied.load = Some(load);
        proxied
    }

    /// The document that names the proxy of this node as master.
    pub(crate) fn document(&self, master: usize) -> Value {
        json!({"master": self.proxies[master].json(), "slaves": [self.proxies[1 - master].json()]})
    }

    /// Waits until this node is the only master, the other one is linked, and both hold the same data.
    pub(crate) fn assert_settled(&self, master: usize) {
        let (one, other) = (&self.nodes[master], &self.nodes[1 - master]);
        wait_until("one master and one linked slave", RESOLVED_DEADLINE, || {
            let roles = (one.role(), other.info_field("master_link_status"));
            ensure(roles == ("master".into(), "up".into()), format!("{roles:?}"))
        });
        assert_eq!(masters(&[one, other]).len(), 1);
    }

    /// Waits until somebody resolved everything, and says who is master.
    pub(crate) fn wait_resolved(&self) -> usize {
        wait_until("exactly one master with a linked slave", RESOLVED_DEADLINE, || {
            let state: Vec<_> =
                self.nodes.iter().map(|node| (node.role(), node.info_field("master_link_status"))).collect();
            let master = state
                .iter()
                .position(|(role, _)| role == "master")
                .filter(|master| state[1 - master] == ("slave".to_owned(), "up".to_owned()));
            master.ok_or_else(|| format!("{state:?}"))
        })
    }

    /// Writes go on; then no write was lost, invented or acknowledged by two masters at once.
    pub(crate) fn assert_nothing_lost(mut self, master: usize) {
        self.load_ref().wait_acknowledged(200);
        let ledger: Ledger = self.load.take().expect("a load").stop();
        let tally = ledger.verify(self.nodes[master].address());
        assert!(tally.is_clean(), "{tally}: missing {:?}, phantom {:?}", tally.missing, tally.phantom);
        for switch in ledger.switches() {
            assert_eq!(switch.overlaps, 0, "{switch:?}");
        }
        wait_equal_data(&self.nodes.iter().collect::<Vec<_>>());
    }

    pub(crate) fn load_ref(&self) -> &Load {
        self.load.as_ref().expect("a load")
    }
}
