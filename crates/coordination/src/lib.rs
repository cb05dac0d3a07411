//! etcd v3: one key watched for ever, reads at a revision, and a lock that knows when it is lost.
//!
//! This is the only crate that imports `etcd_client`, and none of its types leave here. That client
//! is a thin layer over gRPC: a watch whose connection died may hang for ever, a stream is never
//! resumed, a lease keeps itself alive only as long as somebody reads its stream, and a failing member
//! is left only by new connections. What is missing is built here, once, for the observer (which
//! watches a trigger) and for dictators that share a cluster (which hold a lock).
//!
//! * [`watch_key`] is level-triggered: what counts is the present state of the key, read again after
//!   every reconnect. A missed event costs delay, never correctness.
//! * [`Etcd`] asks one question at a time, of every member in turn, by a deadline.
//! * [`Leadership`] holds a lock under a lease and reports its loss by its own clock.
//! * [`KeptKeys`] keeps a set of keys as wanted, under a lease, whatever happens to them or to etcd.
//!
//! Rejected: the balanced channel of the client (it spreads calls over members at random, so a read and
//! the watch that follows it may come from different members, and one dead member fails every n-th
//! call); resuming a watch from the revision of a progress notification (etcd before 3.4.25 and 3.5.8
//! could send one ahead of the events it claims to cover); election recipes of the server (their epoch
//! cannot be compared in a transaction on another key).
//!
//! Works with etcd 3.4 and later: earlier ones do not answer progress requests.

mod backoff;
mod client;
mod endpoint;
mod error;
mod kept;
mod key;
mod leadership;
mod security;
mod set;
mod watch;

pub use backoff::Backoff;
pub use client::Etcd;
pub use endpoint::{Endpoint, EndpointError, Endpoints};
pub use error::EtcdError;
pub use kept::{KeptKeys, Keys, Upkeep};
pub use key::{KeyState, KeyVersion, ReadAt};
pub use leadership::{Holder, Holding, LEASE_TTL_DEFAULT, Leadership, PutIfHeldError};
pub use security::{ReadFiles, ReadPassword, Security};
pub use watch::{Health, KeyWatch, Phase, watch_key};
