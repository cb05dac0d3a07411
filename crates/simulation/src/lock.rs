//! The lock of a cluster: who may give orders, by epoch.
//!
//! As etcd gives it: a lease that must be renewed, an epoch that grows with every holder. The service
//! is never wrong about who holds the lock; the holder may be, for as long as it has not asked.

use crate::world::Time;

/// The lock service.
#[derive(Clone, Debug, Default)]
pub struct LockService {
    /// The dictator and the life of its process that holds the lock.
    holder: Option<(usize, u32)>,
    /// Grows with every holder.
    epoch: u64,
    expires: Time,
}

impl LockService {
    /// Takes the lock if nobody holds it, or renews it; gives the epoch.
    pub fn take(&mut self, dictator: usize, life: u32, now: Time, lease: Time) -> Option<u64> {
        let own = self.holder == Some((dictator, life)) && now < self.expires;
        if !own && self.holder.is_some() && now < self.expires {
            return None;
        }
        if !own {
            self.epoch += 1;
            self.holder = Some((dictator, life));
        }
        self.expires = now + lease;
        Some(self.epoch)
    }

    /// Whether an epoch is the current one.
    pub fn is_current(&self, epoch: u64, now: Time) -> bool {
        self.epoch == epoch && now < self.expires
    }

    /// Whether nobody has taken the lock since this epoch: what a transaction on the lock key checks.
    pub fn owns_key(&self, epoch: u64) -> bool {
        self.epoch == epoch
    }
}
