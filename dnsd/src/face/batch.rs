//! Many datagrams per system call, without `unsafe` of our own: where queries arrive.
//!
//! Answering costs a tenth of what the two system calls around it cost, so what counts is how many packets
//! share them: recvmmsg(2) takes a whole batch, and the [outbox](super::outbox) sends one.
//!
//! All memory is taken once. What is built per batch (the tables of pointers that the kernel wants) lives on
//! the stack, because a table that outlives the call would have to borrow from itself.

use std::array;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};

/// Most packets per system call. Beyond this the system calls no longer show.
pub(super) const PACKETS_MAX: usize = 64;
/// Longest query that is read, in bytes; longer ones are cut and thereby malformed. A cache line more than a
/// power of two: otherwise the beginnings of all packets would fall into the same few places of the cache.
const QUERY_BYTES_MAX: usize = 4096 + 64;

/// Where queries arrive.
pub(super) struct Inbox {
    bytes: Box<[u8]>,
    headers: MultiHeaders<SockaddrStorage>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        let bytes = vec![0; QUERY_BYTES_MAX * PACKETS_MAX].into_boxed_slice();
        Self { bytes, headers: MultiHeaders::preallocate(PACKETS_MAX, None) }
    }

    /// Waits for the first packet, as long as the socket's read timeout permits, then takes what else has
    /// arrived. A wait in vain is no error.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut take: impl FnMut(&[u8], SocketAddr),
    ) -> io::Result<()> {
        let mut rooms = self.bytes.chunks_exact_mut(QUERY_BYTES_MAX);
        let mut slices: [[IoSliceMut<'_>; 1]; PACKETS_MAX] =
            array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
        let flags = MsgFlags::MSG_WAITFORONE;
        let packets = match recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(packets) => packets,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for packet in packets {
            let bytes = packet.iovs().next().unwrap_or_default();
            if let Some(client) = packet.address.as_ref().and_then(address) {
                take(bytes, client);
            }
        }
        Ok(())
    }
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    match address.as_sockaddr_in() {
        Some(&address) => Some(address.into()),
        None => address.as_sockaddr_in6().map(|&address| address.into()),
    }
}
