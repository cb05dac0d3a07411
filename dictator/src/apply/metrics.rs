//! What the owner counts and measures. Labels come from closed lists only, and from the document.

mod nodes;

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use topology::receipt::Receipt;

pub(crate) use nodes::{Nodes, Reign};

/// Label of changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// `put` or `enforcement`.
    pub cause: &'static str,
    /// `switched` and so on, or the slug of the refusal.
    pub outcome: String,
}

/// Label of steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepLabel {
    /// The step's name.
    pub step: String,
}

/// Bounds of durations in seconds, from a tenth of a millisecond to half a minute.
const SECONDS: [f64; 15] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0, 30.0];

/// The owner's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Changes by outcome.
    pub changes: Family<OutcomeLabel, Counter>,
    /// How long writes waited at each hand-over.
    pub write_gap: Histogram,
    /// How long each step took.
    pub steps: Family<StepLabel, Histogram, fn() -> Histogram>,
    /// Revision of the document in force.
    pub revision: Gauge,
    /// Generation of the granted master.
    pub generation: Gauge,
    /// 1 while the topology is not as wanted.
    pub drift: Gauge,
    /// 1 while a hand-over is open.
    pub open_handover: Gauge,
    /// 1 while enforcement is paused.
    pub enforcement_paused: Gauge,
    /// When a change or a pass of enforcement last succeeded, in seconds since the Unix epoch.
    pub last_success: Gauge<f64, AtomicU64>,
    /// How long changes took, from the first look to the last step.
    pub durations: Histogram,
    /// The nodes as they were seen last.
    pub(crate) nodes: Nodes,
}

fn seconds_histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    /// Registers everything; the registry puts the daemon's name before each.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            changes: Family::default(),
            write_gap: seconds_histogram(),
            steps: Family::new_with_constructor(seconds_histogram),
            revision: Gauge::default(),
            generation: Gauge::default(),
            drift: Gauge::default(),
            open_handover: Gauge::default(),
            enforcement_paused: Gauge::default(),
            last_success: Gauge::default(),
            durations: seconds_histogram(),
            nodes: Nodes::default(),
        };
        let seconds = || Unit::Seconds;
        registry.register("apply", "Changes by cause and outcome", metrics.changes.clone());
        registry.register_with_unit(
            "write_pause",
            "Time from the pause of writes to the acknowledged promotion",
            seconds(),
            metrics.write_gap.clone(),
        );
        registry.register_with_unit(
            "apply_duration",
            "Time from the first look at the nodes to the end of the last step, for changes that did something",
            seconds(),
            metrics.durations.clone(),
        );
        registry.register_with_unit(
            "step_duration",
            "Time of each step of a change",
            seconds(),
            metrics.steps.clone(),
        );
        registry.register("topology_revision", "Revision of the document in force", metrics.revision.clone());
        registry.register("generation", "Generation of the granted master", metrics.generation.clone());
        registry.register("drift", "1 while the topology is not as wanted", metrics.drift.clone());
        registry.register(
            "open_handover",
            "1 while the outcome of a hand-over is not known",
            metrics.open_handover.clone(),
        );
        registry.register(
            "enforcement_paused",
            "1 while enforcement is paused",
            metrics.enforcement_paused.clone(),
        );
        registry.register_with_unit(
            "last_success_timestamp",
            "When a change or a pass of enforcement last succeeded",
            seconds(),
            metrics.last_success.clone(),
        );
        metrics.nodes.register(registry);
        metrics
    }

    /// Begins to tell of the nodes, until what is returned is dropped.
    pub(super) fn reign(&self) -> Reign {
        Reign::new(self.nodes.clone(), self.drift.clone())
    }

    /// Notes how a change ended.
    pub(super) fn ended(&self, cause: &'static str, outcome: &str, receipt: Option<&Receipt>) {
        self.changes.get_or_create(&OutcomeLabel { cause, outcome: outcome.to_owned() }).inc();
        let Some(receipt) = receipt else { return };
        if let Some(gap_us) = receipt.write_gap_us {
            self.write_gap.observe(seconds(gap_us));
        }
        if let Some(end_us) = receipt.steps.iter().map(|step| step.at_us + step.took_us).max() {
            self.durations.observe(seconds(end_us));
        }
        for step in &receipt.steps {
            self.steps.get_or_create(&StepLabel { step: step.step.clone() }).observe(seconds(step.took_us));
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "durations of a change are far below 2^52 microseconds")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
