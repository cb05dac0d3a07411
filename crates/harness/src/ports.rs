//! Free ports for servers that cannot be handed a listener.
//!
//! A port is found by binding it and letting it go, so another process may take it in between; who
//! starts a server retries with another port when the server dies at once. Ports are drawn at
//! random below the kernel's ephemeral range (32768–60999 on Linux): an outgoing connection can
//! then never sit on the port of a server that a test has stopped and is about to start again.
//! Other tests cannot either: who draws a port locks a file of its name for as long as its process
//! lives, whether or not anything listens there.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Mutex;

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
        if claim(address.port()) && is_free(address) {
            return address;
        }
    }
    panic!("no free port on 127.0.0.1 between {PORT_MIN} and {PORT_MAX}");
}

/// Locks a port against other tests. Where there is nowhere to write, chance has to do.
fn claim(port: u16) -> bool {
    static CLAIMED: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("redis-dictator-test-ports");
    if std::fs::create_dir_all(&folder).is_err() {
        return true;
    }
    let Ok(file) = File::create(folder.join(port.to_string())) else { return true };
    let claimed = file.try_lock().is_ok();
    if claimed && let Ok(mut files) = CLAIMED.lock() {
        files.push(file);
    }
    claimed
}

/// Whether TCP and UDP can both be bound at `address` now.
pub fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}
