//! The Sentinel face: for the many clients of redis that can find a master by asking a Sentinel and in no
//! other way.
//!
//! It reads the same publications as DNS does and keeps nothing of its own. `+switch-master` goes out the
//! moment the publication changes. It monitors nothing, elects nobody and takes no orders.

pub mod command;
pub mod events;
pub mod resp;
pub mod view;
