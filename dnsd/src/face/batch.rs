//! Many datagrams per system call, without `unsafe` of our own.
//!
//! Answering costs a tenth of what the two system calls around it cost, so what counts is how many packets
//! share them: recvmmsg(2) and sendmmsg(2) take a whole batch. Each of the two comes from the crate that
//! wraps it soundly: nix for receiving (rustix has no recvmmsg), rustix for sending (nix tells the number of
//! messages sent only through an iterator that reads addresses nobody has written).
//!
//! All memory is taken once. What is built per batch (the tables of pointers that the kernel wants) lives on
//! the stack, because a table that outlives the call would have to borrow from itself.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

use crate::answer::UDP_BYTES_MAX;

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

/// Where answers wait to be sent together.
pub(super) struct Outbox<T> {
    answers: Box<[Vec<u8>]>,
    clients: Vec<SocketAddrAny>,
    labels: Vec<T>,
}

impl<T> Outbox<T> {
    pub(super) fn new() -> Self {
        Self {
            answers: (0..PACKETS_MAX).map(|_| Vec::with_capacity(UDP_BYTES_MAX.into())).collect(),
            clients: Vec::with_capacity(PACKETS_MAX),
            labels: Vec::with_capacity(PACKETS_MAX),
        }
    }

    /// Lets an answer be written for a client; what `write` returns comes back when it has been sent.
    /// False if nothing was written, or there is no room, which does not happen within one batch received.
    pub(super) fn add(&mut self, client: SocketAddr, write: impl FnOnce(&mut Vec<u8>) -> Option<T>) -> bool {
        let Some(answer) = self.answers.get_mut(self.clients.len()) else { return false };
        let Some(label) = write(answer) else { return false };
        self.clients.push(client.into());
        self.labels.push(label);
        true
    }

    /// Sends everything. An answer that cannot be sent is dropped: the client asks again, as it must anyway.
    /// `sent` is told what was sent; returned is how many were not.
    pub(super) fn send(&mut self, socket: &UdpSocket, mut sent: impl FnMut(&T)) -> usize {
        let Self { answers, clients, labels } = self;
        let mut slices = [[IoSlice::new(&[])]; PACKETS_MAX];
        for (slice, answer) in slices.iter_mut().zip(answers.iter()).take(clients.len()) {
            *slice = [IoSlice::new(answer)];
        }
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; PACKETS_MAX] =
            array::from_fn(|_| SendAncillaryBuffer::default());
        let mut addressed = slices.iter().zip(clients.iter());
        let mut messages = controls.each_mut().map(|control| match addressed.next() {
            Some((slice, client)) => MMsgHdr::new_with_addr(client, slice, control),
            None => MMsgHdr::new(&[], control),
        });
        let (mut at, mut dropped) = (0, 0);
        while at < labels.len() {
            match sendmmsg(socket, &mut messages[at..labels.len()], SendFlags::empty()) {
                Ok(count) => {
                    labels[at..at + count].iter().for_each(&mut sent);
                    at += count;
                }
                Err(rustix::io::Errno::INTR) => {}
                // The network takes nothing more for now, not from anyone.
                Err(rustix::io::Errno::AGAIN) => {
                    dropped += labels.len() - at;
                    break;
                }
                // This one client cannot be reached.
                Err(_) => {
                    dropped += 1;
                    at += 1;
                }
            }
        }
        clients.clear();
        labels.clear();
        dropped
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    #[test]
    fn packets_keep_their_bytes_and_their_senders() {
        let (server, clients) = (socket(), [socket(), socket(), socket()]);
        let (mut inbox, mut outbox) = (Inbox::new(), Outbox::new());
        for round in 0..100_u8 {
            for (index, client) in clients.iter().enumerate() {
                // An empty datagram is a datagram, too.
                let query = vec![round; index * 100];
                client.send_to(&query, server.local_addr().unwrap()).unwrap();
            }
            let mut waiting = clients.len();
            while waiting > 0 {
                inbox
                    .receive(&server, |packet, client| {
                        waiting -= 1;
                        assert!(outbox.add(client, |answer| {
                            answer.clear();
                            answer.extend_from_slice(packet);
                            answer.push(7);
                            Some(packet.len())
                        }));
                    })
                    .unwrap();
                let mut lengths = Vec::new();
                assert_eq!(outbox.send(&server, |length| lengths.push(*length)), 0);
                assert!(!lengths.is_empty());
            }
            for (index, client) in clients.iter().enumerate() {
                let mut answer = [0; 512];
                let length = client.recv(&mut answer).unwrap();
                assert_eq!(length, index * 100 + 1);
                assert!(answer[..length - 1].iter().all(|byte| *byte == round) && answer[length - 1] == 7);
            }
        }
    }

    /// An IPv6 socket hears both families; on a host without IPv6 there is nothing to see.
    #[test]
    fn both_families() {
        let Ok(server) = UdpSocket::bind("[::]:0") else { return };
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut inbox, mut outbox) = (Inbox::new(), Outbox::new());
        for (own, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
            let Ok(client) = UdpSocket::bind(own) else { continue };
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            client.send_to(b"query", SocketAddr::new(to.parse().unwrap(), port)).unwrap();
            let mut from = None;
            while from.is_none() {
                inbox
                    .receive(&server, |packet, client| {
                        from = Some(client);
                        outbox.add(client, |answer| {
                            answer.clear();
                            answer.extend_from_slice(packet);
                            Some(())
                        });
                    })
                    .unwrap();
            }
            assert_eq!(from.unwrap().ip().to_canonical().to_string(), to);
            assert_eq!(outbox.send(&server, |()| {}), 0);
            let mut answer = [0; 16];
            let length = client.recv(&mut answer).unwrap();
            assert_eq!(&answer[..length], b"query");
        }
    }

    #[test]
    fn one_client_that_cannot_be_reached_costs_only_its_own_answer() {
        let (server, client) = (socket(), socket());
        let mut outbox = Outbox::new();
        let reachable = client.local_addr().unwrap();
        // Port 0 is nobody.
        let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
        for (to, byte) in [(reachable, 1_u8), (nobody, 2), (nobody, 3), (reachable, 4)] {
            outbox.add(to, |answer| {
                answer.clear();
                answer.push(byte);
                Some(byte)
            });
        }
        let mut sent = Vec::new();
        assert_eq!(outbox.send(&server, |label| sent.push(*label)), 2);
        assert_eq!(sent, [1, 4]);
        let mut answer = [0; 16];
        for byte in sent {
            assert_eq!(client.recv(&mut answer).unwrap(), 1);
            assert_eq!(answer[0], byte);
        }
    }

    #[test]
    fn a_full_batch_fits_and_a_wait_in_vain_is_no_error() {
        let (server, client) = (socket(), socket());
        server.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut inbox = Inbox::new();
        inbox.receive(&server, |_, _| panic!("nobody sent anything")).unwrap();
        let mut outbox = Outbox::new();
        for index in 0..PACKETS_MAX {
            assert!(outbox.add(client.local_addr().unwrap(), |answer| {
                answer.clear();
                answer.extend_from_slice(&index.to_be_bytes());
                Some(())
            }));
        }
        assert!(!outbox.add(client.local_addr().unwrap(), |_| Some(())), "there is no room for more");
        assert_eq!(outbox.send(&server, |()| {}), 0);
        let mut answer = [0; 16];
        for index in 0..PACKETS_MAX {
            let length = client.recv(&mut answer).unwrap();
            assert_eq!(answer[..length], index.to_be_bytes());
        }
    }
}
