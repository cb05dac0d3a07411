//! What the tests, examples and benches stand on: real `redis-server`, real etcd, our daemons as
//! real processes, a load whose every write is accounted for, and small clients to look at it all.
//!
//! Nothing here is asynchronous. A test that waits for another process gains nothing from a
//! runtime, the load's writers need timing finer than a runtime's timer wheel (a thread sleeps 1 ms
//! in 1.06 ms), and a harness without a runtime cannot share a bug with the daemons it judges. For
//! the same reason it speaks RESP, HTTP and DNS by its own few hundred lines instead of through the
//! libraries the daemons are built on.
//!
//! Everything is listened for on 127.0.0.1 and kept in temporary folders. Whatever is dropped is
//! killed and reaped, also while a test unwinds; should the test process itself be killed, the
//! kernel kills its children ([`process`]). A daemon's log is read when it is dropped: a WARN or
//! ERROR line that the test did not announce fails the test ([`logs`]).
//!
//! Waiting is always for a condition with a deadline ([`wait_until`]), never for time to pass.

// The bans of clippy.toml keep daemons honest; this crate is the outside of the daemons.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "the harness blocks, reads its own environment and prints the logs of a failed test"
)]

pub mod binaries;
pub mod certificates;
pub mod cluster;
pub mod daemon;
pub mod dns;
pub mod etcd;
pub mod hosts;
pub mod http;
pub mod load;
pub mod logs;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod resp;
pub mod servers;
pub mod several;
pub mod wait;
pub mod whole;

pub use cluster::Cluster;
pub use daemon::{Daemon, DaemonOptions};
pub use etcd::Etcd;
pub use http::{Http, HttpAnswer};
pub use load::{Load, LoadOptions};
pub use proxy::Proxy;
pub use redis::{Persistence, Redis, RedisOptions, topology};
pub use several::Several;
pub use wait::wait_until;
pub use whole::{Whole, WholeOptions};
