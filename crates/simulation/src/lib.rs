//! A deterministic simulation of redis nodes, a network, clients and dictators.
//!
//! "No acknowledged write is ever lost in a planned change" cannot be shown by the cases somebody
//! thought of. Here the code that decides in the shipped dictator (the crate `topology`: plan, audit,
//! hand-over, record, conductor) runs against a model of redis, over schedules of faults drawn from a
//! seed, and after every step the world is compared with what was promised. The same seed gives the
//! same history on every machine.
//!
//! How far to trust it: the model of redis is compared with real servers (`tests/differential.rs`) and
//! with measured numbers of resyncs (`tests/model.rs`); the promises are compared with deliberate
//! faults, each of which must be found (`tests/mutants.rs`). What the model leaves out is said where it
//! does: memory, values, reads, authentication, clocks that jump.
//!
//! * [`world`]: time and the queue of events; everything else is an `impl` of [`world::World`].
//! * [`redis`], [`replication`], [`link`], [`process`], [`session`], [`info`]: the model of redis.
//! * [`driver`], [`lock`]: the dictator's process around the real conductor.
//! * [`clients`], [`operator`], [`faults`]: what happens to them.
//! * [`ledger`], [`excuses`]: the promises, and their limits.
//! * [`schedule`], [`draw`], [`explore`], [`report`]: schedules, random or exhaustive, and their sums.

pub mod chance;
pub mod clients;
pub mod command_line;
pub mod data;
pub mod draw;
pub mod driver;
pub mod event;
pub mod excuses;
pub mod explore;
pub mod faults;
pub mod info;
pub mod ledger;
pub mod link;
pub mod lock;
pub mod mutation;
pub mod operator;
pub mod process;
pub mod redis;
pub mod replication;
pub mod report;
pub mod schedule;
pub mod session;
pub mod world;
