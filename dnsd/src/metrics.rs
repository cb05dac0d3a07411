//! What dnsd counts. Labels are closed lists: a client chooses what it asks, never how many series exist.
//!
//! Queries are counted in plain tables of atomics and turned into series only when somebody reads them: a
//! labelled family takes a lock and hashes its labels on every query, which would cost more than the
//! answer. Every thread that answers has a table of its own, because cores that write to the same few bytes
//! wait for each other; the tables are added up when they are read.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::answer::{Outcome, Transport};

/// Query types that have a series of their own, as numbers and names; all others share `other`.
const QTYPES: [(u16, &str); 9] = [
    (1, "A"),
    (28, "AAAA"),
    (33, "SRV"),
    (16, "TXT"),
    (6, "SOA"),
    (2, "NS"),
    (255, "ANY"),
    (252, "AXFR"),
    (251, "IXFR"),
];
/// Response codes that are ever sent; the last one stands for any other.
const RCODES: [(u16, &str); 8] = [
    (0, "NOERROR"),
    (3, "NXDOMAIN"),
    (5, "REFUSED"),
    (2, "SERVFAIL"),
    (1, "FORMERR"),
    (4, "NOTIMP"),
    (9, "NOTAUTH"),
    (16, "BADVERS"),
];
const PROTOS: [&str; 2] = ["udp", "tcp"];
const CELLS: usize = (QTYPES.len() + 1) * RCODES.len() * PROTOS.len();

/// One table: queries by type, response code and protocol. Alone on its cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct Cells([AtomicU64; CELLS]);

/// The table of one thread.
#[derive(Debug)]
pub struct Tally(Arc<Cells>);

impl Tally {
    /// Counts one answer.
    pub fn count(&self, outcome: Outcome, transport: Transport) {
        let qtype = QTYPES.iter().position(|(known, _)| *known == outcome.qtype).unwrap_or(QTYPES.len());
        let rcode = RCODES.iter().position(|(known, _)| *known == outcome.rcode).unwrap_or(RCODES.len() - 1);
        let proto = usize::from(transport == Transport::Tcp);
        self.0.0[cell(qtype, rcode, proto)].fetch_add(1, Ordering::Relaxed);
    }
}

/// Queries by type, response code and protocol, of all threads. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Queries {
    tables: Arc<Mutex<Vec<Arc<Cells>>>>,
}

impl Queries {
    /// A table for one more thread.
    pub fn tally(&self) -> Tally {
        let cells = Arc::new(Cells(std::array::from_fn(|_| AtomicU64::new(0))));
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&cells));
        Tally(cells)
    }

    /// What all tables say together.
    fn sums(&self) -> [u64; CELLS] {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |index: usize| tables.iter().map(|cells| cells.0[index].load(Ordering::Relaxed)).sum();
        std::array::from_fn(sum)
    }
}

fn cell(qtype: usize, rcode: usize, proto: usize) -> usize {
    (qtype * RCODES.len() + rcode) * PROTOS.len() + proto
}

/// Makes series of a [`Queries`]; those that were never counted are left out.
#[derive(Debug)]
struct QueriesCollector(Queries);

impl Collector for QueriesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "queries",
            "DNS queries that were answered",
            None,
            MetricType::Counter,
        )?;
        let sums = self.0.sums();
        for qtype in 0..=QTYPES.len() {
            let qtype_name = QTYPES.get(qtype).map_or("other", |(_, name)| name);
            for (rcode, (_, rcode_name)) in RCODES.iter().enumerate() {
                for (proto, proto_name) in PROTOS.iter().enumerate() {
                    let count = sums[cell(qtype, rcode, proto)];
                    if count > 0 {
                        let labels = [("qtype", qtype_name), ("rcode", rcode_name), ("proto", proto_name)];
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
    pub queries: Queries,
    /// Packets that got no answer: responses, fragments of a header, no room to send.
    pub dropped: Counter,
    /// Queries that were not answered, or only with "ask over TCP", because of the rate limit.
    pub rate_limited: Counter,
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
    /// Clusters that are served.
    pub clusters: Gauge,
    /// How much later than it should the latest look-up of a cluster's names began, in seconds.
    pub refresh_late: Gauge<f64, AtomicU64>,
}

/// How many zones there are to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zones {
    /// One, of which serial and revision are told.
    One,
    /// Any number. A series for each would be thousands, so they are only counted; `GET /clusters` has the
    /// rest.
    Many,
}

impl Counters {
    /// Registers those that mean something.
    pub fn register(&self, registry: &mut Registry, zones: Zones) {
        registry.register_collector(Box::new(QueriesCollector(self.queries.clone())));
        registry.register("dropped_packets", "Packets that got no answer", self.dropped.clone());
        registry.register(
            "rate_limited",
            "Queries above the rate limit, not answered or told to use TCP",
            self.rate_limited.clone(),
        );
        registry.register("tcp_connections", "DNS connections that are open", self.connections.clone());
        registry.register(
            "tcp_connections_refused",
            "DNS connections closed at once because too many were open",
            self.connections_refused.clone(),
        );
        match zones {
            Zones::One => {
                let help = "Serial of the zone; 0 before the first";
                registry.register("zone_serial", help, self.serial.clone());
                registry.register(
                    "zone_revision",
                    "Revision of the document in force",
                    self.revision.clone(),
                );
            }
            Zones::Many => {
                registry.register("clusters", "Clusters that are answered for", self.clusters.clone());
                let help = "How late the last look-up of the names of a cluster began";
                registry.register("refresh_late_seconds", help, self.refresh_late.clone());
            }
        }
        registry.register("publications", "Changes of what is served", self.publications.clone());
        registry.register(
            "unresolved_names",
            "Names of the documents in force whose last look-up failed",
            self.unresolved.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::RecordType;

    use super::*;

    #[test]
    fn numbers_and_names_belong_together() {
        for (number, name) in QTYPES {
            assert_eq!(RecordType::from(number).to_string(), name);
        }
        let known = [
            ResponseCode::NoError,
            ResponseCode::NXDomain,
            ResponseCode::Refused,
            ResponseCode::ServFail,
            ResponseCode::FormErr,
            ResponseCode::NotImp,
            ResponseCode::NotAuth,
            ResponseCode::BADVERS,
        ];
        assert_eq!(RCODES.map(|(number, _)| number), known.map(u16::from));
    }

    #[test]
    fn labels_are_closed() {
        let counters = Counters::default();
        for (qtype, rcode, transport) in [
            (33, 0, Transport::Udp),
            (33, 0, Transport::Udp),
            (1000, 3, Transport::Tcp),
            (0, 1, Transport::Udp),
        ] {
            // Each in a table of its own, as if by threads.
            counters.queries.tally().count(Outcome { qtype, rcode }, transport);
        }
        let mut registry = Registry::with_prefix("dnsd");
        counters.register(&mut registry, Zones::One);
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
