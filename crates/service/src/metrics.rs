//! One registry per daemon, in the OpenMetrics text format.
//!
//! No globals: each module registers what it feels, at start, on the [`Metrics`] it is handed, and keeps
//! the handles. Names get the daemon's name as prefix (`dictator_step_duration_seconds`). Every daemon has
//! `<daemon>_build_info`, `<daemon>_start_time_seconds` and `<daemon>_resident_memory_bytes`.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use crate::access::Access;
use crate::clock;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry of one daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    resident_memory: Gauge,
}

impl Metrics {
    /// A registry whose names begin with `daemon`.
    pub fn new(daemon: &str, version: &str) -> Self {
        let mut registry = Registry::with_prefix(daemon);
        let build: Family<Vec<(String, String)>, Gauge> = Family::default();
        build.get_or_create(&vec![("version".to_owned(), version.to_owned())]).set(1);
        registry.register("build_info", "Always 1; the labels say what runs", build);
        let start: Gauge = Gauge::default();
        start.set(i64::try_from(clock::unix_seconds()).unwrap_or(i64::MAX));
        registry.register_with_unit(
            "start_time",
            "When the process started, since 1970",
            Unit::Seconds,
            start,
        );
        let resident_memory = Gauge::default();
        registry.register_with_unit(
            "resident_memory",
            "Memory of the process that is in RAM",
            Unit::Bytes,
            resident_memory.clone(),
        );
        Metrics { registry, resident_memory }
    }

    /// Where a module registers its own families.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Tells when the certificate of the HTTP interface ends, if it has one: of the one that is in use when
    /// somebody reads the metrics, for it may be renewed at any time.
    pub fn tell_certificate(&mut self, access: &Access) {
        if access.is_private() {
            self.registry.register_collector(Box::new(CertificateCollector(access.clone())));
        }
    }

    /// The whole registry as text.
    pub fn encode(&self) -> String {
        if let Some(bytes) = resident_memory_bytes() {
            self.resident_memory.set(bytes);
        }
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        text
    }
}

/// The end of the certificate in use.
#[derive(Debug)]
struct CertificateCollector(Access);

impl Collector for CertificateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let end = self.0.tls().and_then(|tls| tls.not_after_unix_s());
        let Some(end) = end.and_then(|end| i64::try_from(end).ok()) else { return Ok(()) };
        let gauge = ConstGauge::new(end);
        let metric = encoder.encode_descriptor(
            "certificate_expiry_timestamp",
            "When the certificate of the HTTP interface ends",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        gauge.encode(metric)
    }
}

/// `VmRSS` of /proc/self/status (proc(5)), which is in KiB whatever the page size.
fn resident_memory_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_daemon_tells_its_version_and_memory() {
        let text = Metrics::new("dictator", "1.2.3").encode();
        assert!(text.contains("dictator_build_info{version=\"1.2.3\"} 1"), "{text}");
        assert!(text.contains("dictator_start_time_seconds 1"), "{text}");
        let memory = text.lines().find_map(|line| line.strip_prefix("dictator_resident_memory_bytes "));
        assert!(memory.unwrap().parse::<i64>().unwrap() > 100_000, "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
