//! Free ports for servers that cannot be handed a listener.
//!
//! A port is found by binding it and letting it go, so another process may take it in between; who
//! starts a server retries with another port when the server dies at once. Ports are drawn at
//! random below the kernel's ephemeral range (32768–60999 on Linux): an outgoing connection can
//! then never sit on the port of a server that a test has stopped and is about to start again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// Lowest port drawn.
const PORT_MIN: u16 = 12_000;
/// Highest port drawn; stays below the ephemeral range.
const PORT_MAX: u16 = 32_000;
/// Draws before giving up: the machine would have to be nearly out of ports.
const DRAWS_MAX: usize = 1_000;

/// A loopback address that was free, for TCP and UDP, a moment ago.
///
/// # Panics
/// When a thousand random ports in a row are taken.
pub fn free_address() -> SocketAddr {
    for _ in 0..DRAWS_MAX {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(PORT_MIN..=PORT_MAX)));
        if is_free(address) {
            return address;
        }
    }
    panic!("no free port on 127.0.0.1 between {PORT_MIN} and {PORT_MAX}");
}

/// Whether TCP and UDP can both be bound at `address` now.
pub fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}
