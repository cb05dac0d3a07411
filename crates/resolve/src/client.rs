//! One question to the name servers: which server, how long, and where a CNAME chain ends.
//!
//! Each server has a pool of its own with nothing but itself in it, because the pool of hickory takes
//! the first SERVFAIL for the answer of all. The server that answered last is asked first, so that a
//! dead first server of the list costs its timeout once and not with every question.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, Query};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use tokio::time::{Instant, timeout_at};

use crate::error::Reason;

/// Time one server gets for one question before the next is asked, in milliseconds.
const ATTEMPT_MS: u64 = 1_000;
/// How often the whole list of servers is tried when nobody answers.
const ROUNDS: usize = 2;
/// Longest chain of CNAME records that is followed; recursive servers stop between 8 and 16.
const CNAME_HOPS_MAX: usize = 8;

type Pool = NameServerPool<TokioRuntimeProvider>;

/// The name servers with their sockets.
pub(crate) struct Client {
    servers: Vec<(SocketAddr, Pool)>,
    /// Index of the server that answered last.
    preferred: AtomicUsize,
}

impl Client {
    pub(crate) fn new(servers: &[SocketAddr]) -> Self {
        let mut options = ResolverOpts::default();
        options.timeout = Duration::from_millis(ATTEMPT_MS);
        options.edns0 = true;
        let servers = servers.iter().filter_map(|server| Some((*server, pool(*server, &options)?))).collect();
        Self { servers, preferred: AtomicUsize::new(0) }
    }

    /// The records of `record_type` at `name`, through CNAME records, never empty.
    pub(crate) async fn lookup(
        &self,
        name: &Name,
        record_type: RecordType,
        deadline: Instant,
    ) -> Result<Vec<RData>, Reason> {
        let mut seen = vec![name.clone()];
        loop {
            let current = seen.last().cloned().unwrap_or_else(|| name.clone());
            let answers = self.ask(Query::query(current, record_type), deadline).await?;
            let asked_about = seen.len();
            follow(&mut seen, &answers)?;
            let end = seen.last().unwrap_or(name);
            let found: Vec<RData> = answers
                .iter()
                .filter(|record| record.name == *end && record.record_type() == record_type)
                .map(|record| record.data.clone())
                .collect();
            if !found.is_empty() {
                return Ok(found);
            }
            if seen.len() == asked_about {
                return Err(Reason::NotFound);
            }
        }
    }

    /// One question, to one server after the other until one knows. An empty answer is `NotFound`.
    async fn ask(&self, query: Query, deadline: Instant) -> Result<Vec<Record>, Reason> {
        let began = Instant::now();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failure = Reason::ServerFailed { detail: "no name server is configured".to_owned() };
        for _ in 0..ROUNDS {
            let mut silent = false;
            for offset in 0..self.servers.len() {
                let index = (first + offset) % self.servers.len();
                match self.ask_one(index, &query, deadline).await {
                    Err(Reason::Timeout { .. }) => {
                        failure = Reason::Timeout { after: began.elapsed() };
                        silent = true;
                    }
                    Err(reason @ Reason::ServerFailed { .. }) => failure = reason,
                    known => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return known;
                    }
                }
                if Instant::now() >= deadline {
                    return Err(failure);
                }
            }
            if !silent {
                break;
            }
        }
        Err(failure)
    }

    async fn ask_one(&self, index: usize, query: &Query, deadline: Instant) -> Result<Vec<Record>, Reason> {
        let (server, pool) = &self.servers[index];
        let until = deadline.min(Instant::now() + Duration::from_millis(ATTEMPT_MS));
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        options.recursion_desired = true;
        let answer = timeout_at(until, pool.lookup(query.clone(), options).first_answer()).await;
        let response = match answer {
            Err(_) | Ok(Err(NetError::Timeout)) => {
                return Err(Reason::Timeout { after: Duration::from_millis(ATTEMPT_MS) });
            }
            Ok(Err(error)) => return Err(failure_of(*server, error)),
            Ok(Ok(response)) => response,
        };
        let response = DnsError::from_response(response)
            .map_err(|error| failure_of(*server, NetError::from(error)))?
            .into_message();
        Ok(response.answers)
    }
}

fn pool(server: SocketAddr, options: &ResolverOpts) -> Option<Pool> {
    let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp]
        .into_iter()
        .map(|protocol| {
            let mut connection = ConnectionConfig::new(protocol);
            connection.port = server.port();
            connection
        })
        .collect();
    let config = NameServerConfig::new(server.ip(), true, connections);
    // Without TLS compiled in, there is nothing in this that can fail.
    let tls = TlsConfig::new().ok()?;
    let context = Arc::new(PoolContext::new(options.clone(), tls));
    Some(NameServerPool::from_config([config], context, TokioRuntimeProvider::default()))
}

fn failure_of(server: SocketAddr, error: NetError) -> Reason {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(_)) => Reason::NotFound,
        NetError::Dns(DnsError::ResponseCode(code)) => {
            Reason::ServerFailed { detail: format!("{server} answered {code}") }
        }
        other => Reason::ServerFailed { detail: format!("{server}: {other}") },
    }
}

/// Walks the CNAME records of one message, adding each name to `seen`.
fn follow(seen: &mut Vec<Name>, answers: &[Record]) -> Result<(), Reason> {
    while let Some(target) = answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if Some(&record.name) == seen.last() => Some(target.0.clone()),
        _ => None,
    }) {
        if seen.contains(&target) {
            return Err(Reason::BadAnswer { detail: format!("CNAME loop at {target}") });
        }
        if seen.len() > CNAME_HOPS_MAX {
            return Err(Reason::BadAnswer { detail: format!("more than {CNAME_HOPS_MAX} CNAME records") });
        }
        seen.push(target);
    }
    Ok(())
}
