//! One set of series per node, as the owner saw it last, while this dictator has the say.
//!
//! They are made when somebody reads the metrics, from the same words as `GET /status`, so that the two can
//! never disagree about what a role is. No node is asked for a scrape: what is told is as old as the last
//! change or pass of enforcement, which `dictator_last_success_timestamp_seconds` dates. A dictator that has
//! lost the say tells nothing here, because another tells it better. Labels are names out of the document, so
//! their number is limited by `--nodes-max`, and of masters that nobody named.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use super::super::status::NodeStatus;

/// The roles of `GET /status`.
const ROLES: [&str; 4] = ["master", "slave", "parked", "unknown"];

/// What is told of one node.
#[derive(Clone, Debug)]
struct Sample {
    node: String,
    role: &'static str,
    link_up: Option<bool>,
    lag_bytes: Option<u64>,
}

/// The nodes as they were seen last. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nodes {
    samples: Arc<Mutex<Vec<Sample>>>,
    leading: Gauge,
}

impl Nodes {
    /// Registers the series.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(NodesCollector(self.clone())));
        registry.register(
            "leading",
            "1 while this dictator has the say; always, if it is alone",
            self.leading.clone(),
        );
    }

    /// Takes what was seen of each node, by the name the document gives it.
    pub(crate) fn observed(&self, nodes: impl IntoIterator<Item = (String, NodeStatus)>) {
        let sample = |(node, status): (String, NodeStatus)| Sample {
            node,
            role: status.role,
            link_up: (status.role == "slave").then_some(status.link == Some("up")),
            lag_bytes: status.lag_bytes,
        };
        *self.lock() = nodes.into_iter().map(sample).collect();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time in which a dictator has the say: when it is dropped, its nodes are told no more.
#[derive(Debug)]
pub(crate) struct Reign {
    nodes: Nodes,
    drift: Gauge,
}

impl Reign {
    /// Begins one.
    pub(super) fn new(nodes: Nodes, drift: Gauge) -> Self {
        nodes.leading.set(1);
        Self { nodes, drift }
    }
}

impl Drop for Reign {
    fn drop(&mut self) {
        self.nodes.leading.set(0);
        self.nodes.lock().clear();
        // Whoever has the say now knows; ours would stay as it was for ever.
        self.drift.set(0);
    }
}

/// Makes series of [`Nodes`].
#[derive(Debug)]
struct NodesCollector(Nodes);

impl Collector for NodesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let samples = self.0.lock().clone();
        let mut family =
            encoder.encode_descriptor("node_up", "1 if the node could be asked", None, MetricType::Gauge)?;
        for sample in &samples {
            let labels = [("node", sample.node.as_str())];
            let up = i64::from(sample.role != "unknown");
            ConstGauge::new(up).encode(family.encode_family(&labels)?)?;
        }
        let help = "1 for the role that the node has, 0 for all others";
        let mut family = encoder.encode_descriptor("node_role", help, None, MetricType::Gauge)?;
        for sample in &samples {
            for role in ROLES {
                let labels = [("node", sample.node.as_str()), ("role", role)];
                let has = i64::from(sample.role == role);
                ConstGauge::new(has).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "1 while the slave's link to its master is up";
        let mut family = encoder.encode_descriptor("node_link_up", help, None, MetricType::Gauge)?;
        for (sample, up) in samples.iter().filter_map(|sample| Some((sample, sample.link_up?))) {
            let labels = [("node", sample.node.as_str())];
            ConstGauge::new(i64::from(up)).encode(family.encode_family(&labels)?)?;
        }
        let help = "Bytes of the master's stream that the slave has not applied";
        let unit = Unit::Bytes;
        let mut family =
            encoder.encode_descriptor("replication_lag", help, Some(&unit), MetricType::Gauge)?;
        for (sample, lag) in samples.iter().filter_map(|sample| Some((sample, sample.lag_bytes?))) {
            let labels = [("node", sample.node.as_str())];
            let lag = i64::try_from(lag).unwrap_or(i64::MAX);
            ConstGauge::new(lag).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(
        address: &str,
        role: &'static str,
        link: Option<&'static str>,
        lag_bytes: Option<u64>,
    ) -> (String, NodeStatus) {
        let status = NodeStatus {
            address: address.parse().expect("an address"),
            ip: None,
            port: None,
            wanted: "slave",
            role,
            link,
            offset: None,
            lag_bytes,
            run_id: None,
            replid: None,
            version: None,
            problems: Vec::new(),
        };
        (address.to_owned(), status)
    }

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).expect("text");
        text
    }

    #[test]
    fn nodes_are_told_while_the_reign_lasts() {
        let (nodes, drift) = (Nodes::default(), Gauge::default());
        let mut registry = Registry::with_prefix("dictator");
        nodes.register(&mut registry);
        assert!(text(&registry).contains("dictator_leading 0"), "{}", text(&registry));
        let reign = Reign::new(nodes.clone(), drift.clone());
        drift.set(1);
        nodes.observed([
            node("core-01", "master", None, None),
            node("core-02", "slave", Some("up"), Some(14)),
            node("core-03", "slave", Some("syncing"), None),
            node("core-04", "unknown", None, None),
        ]);
        let told = text(&registry);
        for line in [
            "dictator_leading 1",
            r#"dictator_node_up{node="core-01"} 1"#,
            r#"dictator_node_up{node="core-04"} 0"#,
            r#"dictator_node_role{node="core-01",role="master"} 1"#,
            r#"dictator_node_role{node="core-01",role="slave"} 0"#,
            r#"dictator_node_role{node="core-04",role="unknown"} 1"#,
            r#"dictator_node_link_up{node="core-02"} 1"#,
            r#"dictator_node_link_up{node="core-03"} 0"#,
            r#"dictator_replication_lag_bytes{node="core-02"} 14"#,
        ] {
            assert!(told.contains(line), "{line} is missing in\n{told}");
        }
        assert!(!told.contains(r#"link_up{node="core-01"#), "a master has no link: {told}");
        drop(reign);
        let told = text(&registry);
        assert!(told.contains("dictator_leading 0") && !told.contains("core-01"), "{told}");
        assert_eq!(drift.get(), 0);
    }
}
