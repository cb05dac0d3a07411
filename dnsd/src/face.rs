//! The DNS sockets. They move bytes; what the bytes mean is `answer`'s business.

pub mod tcp;
pub mod udp;
