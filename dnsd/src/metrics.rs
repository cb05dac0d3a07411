//! What dnsd counts. Labels are closed lists: a client chooses what it asks, never how many series exist.
//!
//! Queries are counted in a plain table of atomics and turned into series only when somebody reads them:
//! a labelled family takes a lock and hashes its labels on every query, which would cost more than the
//! answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::answer::{Outcome, Transport};

/// Query types that have a series of their own; all others share `other`.
const QTYPES: [RecordType; 7] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::SRV,
    RecordType::TXT,
    RecordType::SOA,
    RecordType::NS,
    RecordType::ANY,
];
/// Response codes that are ever sent; the last one stands for any other.
const RCODES: [(ResponseCode, &str); 7] = [
    (ResponseCode::NoError, "NOERROR"),
    (ResponseCode::NXDomain, "NXDOMAIN"),
    (ResponseCode::Refused, "REFUSED"),
    (ResponseCode::ServFail, "SERVFAIL"),
    (ResponseCode::FormErr, "FORMERR"),
    (ResponseCode::NotImp, "NOTIMP"),
    (ResponseCode::BADVERS, "BADVERS"),
];
const PROTOS: [&str; 2] = ["udp", "tcp"];
const CELLS: usize = (QTYPES.len() + 1) * RCODES.len() * PROTOS.len();

/// Queries by type, response code and protocol.
#[derive(Debug)]
pub struct Queries {
    cells: [AtomicU64; CELLS],
}

impl Default for Queries {
    fn default() -> Self {
        Self { cells: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Queries {
    /// Counts one answer.
    pub fn count(&self, outcome: Outcome, transport: Transport) {
        let qtype =
            QTYPES.iter().position(|known| u16::from(*known) == outcome.qtype).unwrap_or(QTYPES.len());
        let rcode = RCODES
            .iter()
            .position(|(known, _)| u16::from(*known) == outcome.rcode)
            .unwrap_or(RCODES.len() - 1);
        let proto = usize::from(transport == Transport::Tcp);
        self.cells[cell(qtype, rcode, proto)].fetch_add(1, Ordering::Relaxed);
    }
}

fn cell(qtype: usize, rcode: usize, proto: usize) -> usize {
    (qtype * RCODES.len() + rcode) * PROTOS.len() + proto
}

/// Makes series of a [`Queries`]; those that were never counted are left out.
#[derive(Debug)]
struct QueriesCollector(Arc<Queries>);

impl Collector for QueriesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "queries",
            "DNS queries that were answered",
            None,
            MetricType::Counter,
        )?;
        for qtype in 0..=QTYPES.len() {
            let qtype_name = QTYPES.get(qtype).map_or_else(|| "other".to_owned(), ToString::to_string);
            for (rcode, (_, rcode_name)) in RCODES.iter().enumerate() {
                for (proto, proto_name) in PROTOS.iter().enumerate() {
                    let count = self.0.cells[cell(qtype, rcode, proto)].load(Ordering::Relaxed);
                    if count > 0 {
                        let labels =
                            [("qtype", qtype_name.as_str()), ("rcode", rcode_name), ("proto", proto_name)];
                        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Everything dnsd feels. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Answers.
    pub queries: Arc<Queries>,
    /// Packets that got no answer: responses, fragments of a header, no room to send.
    pub dropped: Counter,
    /// DNS connections that are open.
    pub connections: Gauge,
    /// DNS connections that were closed at once because too many were open.
    pub connections_refused: Counter,
    /// The SOA serial.
    pub serial: Gauge<i64, AtomicI64>,
    /// The revision in force.
    pub revision: Gauge<i64, AtomicI64>,
    /// Publications since the start of the process.
    pub publications: Counter,
    /// Names of the document that could not be looked up the last time.
    pub unresolved: Gauge,
}

impl Counters {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(QueriesCollector(Arc::clone(&self.queries))));
        registry.register("dropped_packets", "Packets that got no answer", self.dropped.clone());
        registry.register("tcp_connections", "DNS connections that are open", self.connections.clone());
        registry.register(
            "tcp_connections_refused",
            "DNS connections closed at once because too many were open",
            self.connections_refused.clone(),
        );
        registry.register("zone_serial", "Serial of the zone; 0 before the first", self.serial.clone());
        registry.register("zone_revision", "Revision of the document in force", self.revision.clone());
        registry.register("publications", "Changes of what is served", self.publications.clone());
        registry.register(
            "unresolved_names",
            "Names of the document whose last look-up failed",
            self.unresolved.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_closed() {
        let counters = Counters::default();
        for (qtype, rcode, transport) in [
            (33, 0, Transport::Udp),
            (33, 0, Transport::Udp),
            (1000, 3, Transport::Tcp),
            (0, 1, Transport::Udp),
        ] {
            counters.queries.count(Outcome { qtype, rcode }, transport);
        }
        let mut registry = Registry::with_prefix("dnsd");
        counters.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"dnsd_queries_total{qtype="SRV",rcode="NOERROR",proto="udp"} 2"#,
            r#"dnsd_queries_total{qtype="other",rcode="NXDOMAIN",proto="tcp"} 1"#,
            r#"dnsd_queries_total{qtype="other",rcode="FORMERR",proto="udp"} 1"#,
            "dnsd_zone_serial 0",
        ] {
            assert!(text.contains(line), "{line} is missing:\n{text}");
        }
    }
}
