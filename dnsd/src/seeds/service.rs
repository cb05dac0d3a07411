//! The peers of a Dynomite cluster as the SRV records of a headless Kubernetes service name them.
//!
//! Asked every second, as long as the daemon runs: the records have a TTL of a few seconds, and nobody
//! tells when they change. What is found counts only if this host is among it. A pod that has just started,
//! or a service of another name, sees others long before it is seen itself, and a list that was taken
//! from such an answer would be a list of somebody else's cluster. Nothing that fails takes a list away.

use std::time::Duration;

use resolve::{ResolveError, Resolver, Target};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use topology::Address;

use super::{Peer, Placement, is_own};

/// How often the records are asked for, in milliseconds.
const INTERVAL_MS: u64 = 1_000;

/// What was found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The peers of the last answer that counted, this host among them; empty before there was one.
    pub peers: Vec<Peer>,
    /// Why the last answer did not count, as a sentence.
    pub trouble: Option<String>,
}

/// The name whose SRV records are asked for: the service as it is, or within its namespace. The domain
/// behind `svc` comes from the search list of resolv.conf.
pub fn name(service: &Address, namespace: Option<&str>) -> Result<Address, topology::address::AddressError> {
    match namespace {
        Some(namespace) => format!("{service}.{namespace}.svc").parse(),
        None => Ok(service.clone()),
    }
}

/// Asks until shutdown.
pub async fn follow(
    name: Address,
    placement: Placement,
    resolver: Resolver,
    found: watch::Sender<Found>,
    shutdown: CancellationToken,
) {
    let mut ticks = interval(Duration::from_millis(INTERVAL_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let answer = tokio::select! {
            () = shutdown.cancelled() => return,
            answer = async {
                ticks.tick().await;
                resolver.targets(&name).await
            } => answer,
        };
        found.send_if_modified(|found| {
            let next = judge(&name, &placement, found, answer);
            if next == *found {
                return false;
            }
            tell(&name, found, &next);
            *found = next;
            true
        });
    }
}

/// What is to be believed after an answer. Pure.
fn judge(
    name: &Address,
    placement: &Placement,
    last: &Found,
    answer: Result<Vec<Target>, ResolveError>,
) -> Found {
    let kept = |trouble: String| Found { peers: last.peers.clone(), trouble: Some(trouble) };
    let targets = match answer {
        Ok(targets) => targets,
        // The reason alone: how long a server was waited for is another number every time.
        Err(error) => return kept(format!("the SRV records of {name} cannot be had: {}", kind(&error))),
    };
    let peers: Vec<Peer> =
        targets.into_iter().map(|target| Peer { name: target.host.clone(), host: target.host }).collect();
    if peers.iter().any(|peer| is_own(placement, peer)) {
        Found { peers, trouble: None }
    } else {
        kept(format!("this host, {}, is not among the SRV records of {name}", placement.own_host))
    }
}

fn kind(error: &ResolveError) -> String {
    match &error.reason {
        resolve::Reason::Timeout { .. } => "no name server answered in time".to_owned(),
        reason => reason.to_string(),
    }
}

fn tell(name: &Address, last: &Found, next: &Found) {
    match (&last.trouble, &next.trouble) {
        // A pod is not in the records of its service until it is ready: before the first list all is well.
        (_, Some(trouble)) if next.peers.is_empty() => tracing::info!("{trouble}; no seeds yet"),
        (None, Some(trouble)) => tracing::warn!("{trouble}; the last list of seeds stays"),
        (Some(_), Some(trouble)) => tracing::debug!("{trouble}"),
        (_, None) => tracing::info!(service = %name, peers = next.peers.len(), "the peers of this host"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_within_its_namespace() {
        let service: Address = "dynomite".parse().unwrap();
        assert_eq!(name(&service, Some("caches")).unwrap().to_string(), "dynomite.caches.svc");
        assert_eq!(name(&service, None).unwrap(), service);
        assert!(name(&service, Some("a b")).is_err());
    }
}
