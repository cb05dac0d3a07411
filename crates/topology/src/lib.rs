//! The pure vocabulary and decisions of moving a redis master without losing a write.
//!
//! Nothing here does I/O: no runtime, no redis client, no clock, no environment, no files, no
//! randomness. Time and the outcome of every command come in as arguments, so that the same code
//! runs against redis (in the dictator) and against a model of redis (in the simulation).

pub mod address;
pub mod audit;
pub mod basis;
pub mod command;
pub mod conduct;
pub mod document;
pub mod grant;
pub mod handover;
pub mod heartbeat;
pub mod membership;
pub mod mutant;
pub mod observation;
pub mod plan;
pub mod receipt;
pub mod record;
pub mod refusal;

pub use address::{Address, NodeName};
pub use document::{Discard, Document, DocumentError};
