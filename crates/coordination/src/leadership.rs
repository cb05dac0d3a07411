//! A lock that one process at a time holds, and that knows when it is lost.
//!
//! The lock is one etcd key that lives by a lease. Its `create_revision` is the **epoch**: every holder has
//! a higher one than all before it, and a transaction can demand that the key still has it.
//!
//! A lease proves nothing to its holder by itself: the server ends it by the server's clock, and the
//! holder learns of it late or never. So the holder counts on its own: a lease of lifetime L that was
//! asked for, or renewed, by a request **sent** at time t is alive until t + L at least, because the server
//! starts counting when the request arrives, which is later. A twentieth of L is given away for clocks that
//! run at different speeds. After that moment [`Holding`] is `Lost`, whatever etcd may say later.
//!
//! What this cannot give: a process that is stopped between looking at [`Holding`] and acting on it acts
//! late. Whoever acts must be fenced where the action lands, by the epoch; and a machine that is suspended
//! stops its monotonic clock too.
//!
//! Rejected: etcd's own lock service (its key is chosen by the server, and its waiters queue behind keys of
//! processes that may be gone); one long keep-alive stream (it hides when the last renewal was sent).

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::client::Etcd;
use crate::error::EtcdError;
use crate::key::KeyState;
use crate::watch::{KeyWatch, watch_key};

/// Lifetime of the lease unless told otherwise; etcd counts in whole seconds.
pub const LEASE_TTL_DEFAULT: Duration = Duration::from_secs(5);
/// The lease is renewed this often within its lifetime.
const RENEWALS_PER_TTL: u32 = 3;
/// The share of the lifetime given away for clocks of different speed: one part in twenty.
const CLOCK_MARGIN_DIVISOR: u32 = 20;
/// First wait after etcd could not be asked.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest such wait.
const BACKOFF_LONGEST: Duration = Duration::from_secs(2);
/// Deadline of giving the lease back; it ends by itself if this fails.
const REVOKE_DEADLINE: Duration = Duration::from_secs(1);
/// Deadline of [`Leadership::resign`].
const RESIGN_DEADLINE: Duration = Duration::from_secs(2);

/// Who holds the lock, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The `create_revision` of the lock key.
    pub epoch: u64,
    /// What the holder wrote into the key: the address under which it takes requests.
    pub advertised: String,
}

/// Where this process stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Not known yet, or nobody holds the lock and it is being tried for.
    Contending,
    /// Somebody else holds it (or this process did, in a lease it has given up).
    Following(Holder),
    /// This process holds it.
    Held {
        /// The epoch, for fencing and for [`Leadership::put_if_held`].
        epoch: u64,
        /// Until when this is certain without another renewal, by the monotonic clock.
        valid_until: Instant,
    },
    /// This process held it and can no longer be sure to. Nothing irreversible may follow.
    Lost {
        /// The epoch that is over.
        epoch: u64,
        /// Why.
        reason: String,
    },
}

/// Why a guarded write was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutIfHeldError {
    /// The lock is not held in that epoch; nothing was written.
    #[error("the lock {lock_key} is not held in epoch {epoch}")]
    NotHeld {
        /// The lock.
        lock_key: String,
        /// The epoch for which the write was meant.
        epoch: u64,
    },
    /// etcd did not do it, or may have done it.
    #[error("a write under the lock {lock_key} failed")]
    Etcd {
        /// The lock.
        lock_key: String,
        /// What happened.
        source: EtcdError,
    },
}

/// A campaign for one lock, running until it is dropped or resigned.
pub struct Leadership {
    etcd: Etcd,
    lock_key: String,
    holding: watch::Receiver<Holding>,
    stop: CancellationToken,
}

impl Leadership {
    /// The lock key of a cluster.
    pub fn lock_key(cluster: &str) -> String {
        format!("/dictator/{cluster}/lock")
    }

    /// Begins to campaign for the lock of `cluster`. `advertised` is what followers read; `ttl` is the
    /// lifetime of the lease, whole seconds.
    pub fn campaign(etcd: Etcd, cluster: &str, advertised: &str, ttl: Duration) -> Self {
        let lock_key = Self::lock_key(cluster);
        let stop = CancellationToken::new();
        let (sender, holding) = watch::channel(Holding::Contending);
        let campaign = Campaign {
            lock: watch_key(etcd.endpoints().clone(), &lock_key, stop.clone()),
            etcd: etcd.clone(),
            lock_key: lock_key.clone(),
            advertised: advertised.to_owned(),
            ttl,
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_LONGEST),
            refused: false,
            holding: sender,
        };
        tokio::spawn(campaign.run(stop.clone()));
        Self { etcd, lock_key, holding, stop }
    }

    /// Where this process stands; changes arrive here.
    pub fn holding(&self) -> watch::Receiver<Holding> {
        self.holding.clone()
    }

    /// The epoch, if the lock is certainly held at this moment.
    pub fn held_epoch(&self) -> Option<u64> {
        match &*self.holding.borrow() {
            // The task that publishes the loss may not have run yet; the clock decides.
            Holding::Held { epoch, valid_until } if Instant::now() < *valid_until => Some(*epoch),
            _ => None,
        }
    }

    /// Writes a key in a transaction that demands that the lock still has `epoch`. Returns the revision.
    ///
    /// # Errors
    /// [`PutIfHeldError`]; after an [`EtcdError::OutcomeUnknown`] within it the write may have happened.
    pub async fn put_if_held(
        &self,
        epoch: u64,
        key: &str,
        value: &[u8],
        deadline: Duration,
    ) -> Result<u64, PutIfHeldError> {
        let not_held = || PutIfHeldError::NotHeld { lock_key: self.lock_key.clone(), epoch };
        if self.held_epoch() != Some(epoch) {
            return Err(not_held());
        }
        let write = self.etcd.put_if_created_at(&self.lock_key, epoch, (key, value, 0), deadline);
        match write.await {
            Ok(Some(revision)) => Ok(revision),
            Ok(None) => Err(not_held()),
            Err(source) => Err(PutIfHeldError::Etcd { lock_key: self.lock_key.clone(), source }),
        }
    }

    /// Stops campaigning and gives the lock back, so that the next holder need not wait for the lease.
    pub async fn resign(&self) {
        self.stop.cancel();
        let mut holding = self.holding();
        // The campaign drops its end of the channel when it is over.
        let over = async { while holding.changed().await.is_ok() {} };
        if timeout(RESIGN_DEADLINE, over).await.is_err() {
            tracing::warn!(
                key = self.lock_key,
                "the lock was not given back in time; its lease will end by itself"
            );
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The one owner of the lease.
struct Campaign {
    etcd: Etcd,
    lock_key: String,
    advertised: String,
    ttl: Duration,
    lock: KeyWatch,
    backoff: Backoff,
    /// Whether it was told that etcd refuses the lock.
    refused: bool,
    holding: watch::Sender<Holding>,
}

/// A lease as its holder knows it.
#[derive(Clone, Copy)]
struct Lease {
    id: i64,
    lifetime: Duration,
    valid_until: Instant,
}

impl Lease {
    fn asked_for_at(id: i64, lifetime: Duration, sent_at: Instant) -> Self {
        let certain = lifetime - lifetime / CLOCK_MARGIN_DIVISOR;
        Self { id, lifetime, valid_until: sent_at + certain }
    }
}

impl Campaign {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let held = tokio::select! {
                held = self.contend() => held,
                () = stop.cancelled() => return,
            };
            let Some((epoch, lease)) = held else { continue };
            tracing::info!(key = self.lock_key, epoch, "holding the lock");
            let reason = tokio::select! {
                reason = self.hold(epoch, lease) => reason,
                () = stop.cancelled() => "it was given back".to_owned(),
            };
            // First everybody here is told, then the lease is given up: never the other way round.
            tracing::info!(key = self.lock_key, epoch, reason, "the lock is no longer held");
            self.holding.send_replace(Holding::Lost { epoch, reason });
            self.give_back(lease).await;
            if stop.is_cancelled() {
                return;
            }
        }
    }

    /// Waits until the lock is free and tries for it once.
    async fn contend(&mut self) -> Option<(u64, Lease)> {
        self.until_free().await;
        match self.acquire().await {
            Ok(held) => {
                self.backoff.reset();
                self.refused = false;
                held
            }
            Err(error) => {
                // An etcd that is away is told of by the watch, and a lease that ran out meanwhile is no news; what is
                // not permitted is told here alone.
                if error.is_permission() && !std::mem::replace(&mut self.refused, true) {
                    tracing::warn!(key = self.lock_key, %error, "the lock cannot be had");
                } else {
                    tracing::debug!(key = self.lock_key, %error, "the lock could not be tried for");
                }
                sleep(self.backoff.next_wait()).await;
                None
            }
        }
    }

    async fn until_free(&mut self) {
        loop {
            let state = self.lock.state.borrow_and_update().clone();
            match state {
                Some(KeyState::Absent { .. }) => return,
                Some(KeyState::Present(lock)) => {
                    let advertised = String::from_utf8_lossy(&lock.value).into_owned();
                    let holder = Holder { epoch: lock.create_revision, advertised };
                    self.holding.send_replace(Holding::Following(holder));
                }
                None => {}
            }
            if self.lock.state.changed().await.is_err() {
                // The watch ends only with the campaign itself.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Tries for the free lock under a fresh lease. `None` if somebody was faster.
    async fn acquire(&self) -> Result<Option<(u64, Lease)>, EtcdError> {
        let sent_at = Instant::now();
        let (id, lifetime) = self.etcd.grant_lease(self.ttl, self.ttl / 2).await?;
        let lease = Lease::asked_for_at(id, lifetime, sent_at);
        let lock = (self.lock_key.as_str(), self.advertised.as_bytes(), id);
        let taken = self.etcd.put_if_created_at(&self.lock_key, 0, lock, self.ttl / 2).await;
        match taken {
            Ok(Some(epoch)) if Instant::now() < lease.valid_until => {
                self.holding.send_replace(Holding::Held { epoch, valid_until: lease.valid_until });
                Ok(Some((epoch, lease)))
            }
            // Lost, too late, or unknown: ending the lease ends whatever may have been written with it.
            Ok(_) => {
                self.give_back(lease).await;
                // The watch tells who was faster; contending again before it does would only spin.
                sleep(BACKOFF_FIRST).await;
                Ok(None)
            }
            Err(error) => {
                self.give_back(lease).await;
                Err(error)
            }
        }
    }

    /// Renews the lease until it cannot, and says why.
    async fn hold(&mut self, epoch: u64, mut lease: Lease) -> String {
        let mut renew_at = Instant::now() + lease.lifetime / RENEWALS_PER_TTL;
        loop {
            let renewal = async {
                sleep_until(renew_at).await;
                let sent_at = Instant::now();
                (sent_at, self.etcd.renew_lease(lease.id, lease.lifetime / RENEWALS_PER_TTL).await)
            };
            tokio::select! {
                (sent_at, outcome) = renewal => match outcome {
                    Ok(()) => {
                        lease = Lease::asked_for_at(lease.id, lease.lifetime, sent_at);
                        renew_at = sent_at + lease.lifetime / RENEWALS_PER_TTL;
                        self.holding.send_replace(Holding::Held { epoch, valid_until: lease.valid_until });
                    }
                    Err(error @ EtcdError::Refused { .. }) => return error.to_string(),
                    Err(error) => {
                        tracing::debug!(key = self.lock_key, epoch, %error, "the lease was not renewed");
                        renew_at = Instant::now() + BACKOFF_FIRST;
                    }
                },
                () = sleep_until(lease.valid_until) => {
                    return "the lease could not be renewed in time".to_owned();
                }
                changed = self.lock.state.changed() => {
                    let state = self.lock.state.borrow_and_update().clone();
                    if changed.is_err() || state.is_some_and(|state| has_moved_on(&state, epoch)) {
                        return "the lock key was deleted or taken".to_owned();
                    }
                }
            }
        }
    }

    async fn give_back(&self, lease: Lease) {
        if let Err(error) = self.etcd.revoke_lease(lease.id, REVOKE_DEADLINE).await {
            tracing::debug!(key = self.lock_key, %error, "the lease was not ended; it will end by itself");
        }
    }
}

/// Whether the watched key shows that the lock of `epoch` is gone. The watch may lag behind our own
/// transaction and still show what was before it.
fn has_moved_on(state: &KeyState, epoch: u64) -> bool {
    match state {
        KeyState::Present(lock) => lock.create_revision > epoch,
        KeyState::Absent { revision } => *revision > epoch,
    }
}
