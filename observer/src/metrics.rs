//! What the observer counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::answer::Verdict;
use crate::deliver::Report;

/// The counters; clones are the same counters.
#[derive(Clone, Debug, Default)]
pub struct ObserverMetrics {
    /// Revision of the newest trigger seen.
    pub watch_revision: Gauge,
    /// 1 while changes of the trigger are being noticed.
    pub watch_up: Gauge,
    /// Watches lost and taken up again.
    pub watch_reconnects: Counter,
    /// Revision of the last trigger that every URL took.
    pub delivered_revision: Gauge,
    /// Documents that were reported and not forwarded.
    pub unfit: Counter,
    forward: Family<ForwardLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ForwardLabels {
    /// The URL's place in the chain, from 0.
    target: u32,
    /// One of [`RESULTS`].
    result: &'static str,
}

const ACCEPTED: &str = "accepted";
const REFUSED: &str = "refused";
const FAILED: &str = "failed";
const UNANSWERED: &str = "unanswered";
const RESULTS: [&str; 4] = [ACCEPTED, REFUSED, FAILED, UNANSWERED];

impl ObserverMetrics {
    /// Registers everything; the series of `targets` URLs begin at zero.
    pub fn register(registry: &mut Registry, targets: usize) -> Self {
        let metrics = Self::default();
        registry.register(
            "watch_revision",
            "Revision of the newest trigger seen",
            metrics.watch_revision.clone(),
        );
        registry.register("watch_up", "1 while changes of the trigger are noticed", metrics.watch_up.clone());
        let reconnects = metrics.watch_reconnects.clone();
        registry.register("watch_reconnects", "Watches lost and taken up again", reconnects);
        let delivered = metrics.delivered_revision.clone();
        registry.register(
            "delivered_revision",
            "Revision of the last trigger that every URL took",
            delivered,
        );
        let unfit = metrics.unfit.clone();
        registry.register(
            "unfit_documents",
            "Documents that were missing or malformed and not forwarded",
            unfit,
        );
        registry.register(
            "forward",
            "PUTs by place of the URL in the chain and by result",
            metrics.forward.clone(),
        );
        for target in 0..targets {
            for result in RESULTS {
                drop(metrics.forward.get_or_create(&labels(target, result)));
            }
        }
        metrics
    }

    /// Counts one PUT.
    pub fn forwarded(&self, target: usize, report: &Report) {
        let result = match (report.verdict, report.status) {
            (Verdict::Accepted, _) => ACCEPTED,
            (_, None) => UNANSWERED,
            (Verdict::RetrySlowly, _) => REFUSED,
            (Verdict::RetrySoon, _) => FAILED,
        };
        self.forward.get_or_create(&labels(target, result)).inc();
    }
}

fn labels(target: usize, result: &'static str) -> ForwardLabels {
    ForwardLabels { target: u32::try_from(target).unwrap_or(u32::MAX), result }
}

/// A revision as a gauge; etcd's are signed 64 bit too.
pub fn as_gauge(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
