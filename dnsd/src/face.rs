//! The sockets. They move bytes; what the bytes mean is the business of `answer` and `sentinel`.

mod batch;
mod gather;
pub mod limit;
pub mod notify;
mod outbox;
mod places;
pub mod sentinel;
pub mod tcp;
pub mod udp;
