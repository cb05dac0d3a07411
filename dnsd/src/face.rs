//! The sockets. They move bytes; what the bytes mean is the business of `answer` and `sentinel`.

mod batch;
pub mod limit;
pub mod notify;
mod places;
pub mod sentinel;
pub mod tcp;
pub mod udp;
