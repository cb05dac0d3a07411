//! Many answers per system call, and answers to one client that pass through the kernel as one packet.
//!
//! sendmmsg(2) spares the system calls, but the kernel still takes every answer through its whole stack by
//! itself, which costs more than all the rest. Answers of the same length to the same client and port go as one
//! packet instead, which the kernel cuts where it is handed over (UDP_SEGMENT, udp(7), Linux 4.18): so it is with a
//! balancer like dnsdist in front, which asks from one port, and never with resolvers that take a new port for
//! every question. To find such runs a client's answers are put in order by length; datagrams have no order.
//! What the kernel does not take as one, for a network whose packets are shorter than an answer or for want of
//! the feature, goes one by one.
//!
//! Each way comes from the crate that wraps it soundly: nix for segments, which rustix does not have, rustix for
//! sendmmsg (nix tells the number of messages sent only through an iterator that reads addresses nobody has
//! written).

use std::array;
use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

use super::batch::PACKETS_MAX;
use crate::answer::UDP_BYTES_MAX;

/// Fewest answers that are worth a system call of their own, as one packet.
const RUN_MIN: usize = 3;
/// Most bytes of answers in one packet; IPv6 and UDP have 65 535 with their headers.
const RUN_BYTES_MAX: usize = 65_000;

/// Where answers wait to be sent together.
pub(super) struct Outbox<T> {
    answers: Box<[Vec<u8>]>,
    waiting: Vec<Waiting<T>>,
}

/// An answer that waits.
struct Waiting<T> {
    client: SocketAddr,
    bytes: usize,
    /// Which of the outbox's answers it is.
    answer: usize,
    label: T,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Answers that could not be sent.
    pub(super) dropped: usize,
    /// Answers that went to their client in one packet with others.
    pub(super) joined: usize,
}

/// The kernel takes nothing more for now, not for anyone.
struct Full;

impl<T> Outbox<T> {
    pub(super) fn new() -> Self {
        Self {
            answers: (0..PACKETS_MAX).map(|_| Vec::with_capacity(UDP_BYTES_MAX.into())).collect(),
            waiting: Vec::with_capacity(PACKETS_MAX),
        }
    }

    /// Lets an answer be written for a client; what `write` returns comes back when it has been sent.
    /// False if nothing was written, or there is no room, which does not happen within one batch received.
    pub(super) fn add(&mut self, client: SocketAddr, write: impl FnOnce(&mut Vec<u8>) -> Option<T>) -> bool {
        let index = self.waiting.len();
        let Some(answer) = self.answers.get_mut(index) else { return false };
        let Some(label) = write(answer) else { return false };
        self.waiting.push(Waiting { client, bytes: answer.len(), answer: index, label });
        true
    }

    /// Sends everything. An answer that cannot be sent is dropped: the client asks again, as it must anyway.
    /// `sent` is told what was sent, in any order.
    pub(super) fn send(&mut self, socket: &UdpSocket, mut sent: impl FnMut(&T)) -> Sent {
        let Self { answers, waiting } = self;
        put_in_order(waiting);
        let mut slices = [[IoSlice::new(&[])]; PACKETS_MAX];
        for (slice, one) in slices.iter_mut().zip(waiting.iter()) {
            *slice = [IoSlice::new(&answers[one.answer])];
        }
        let mut result = Sent { dropped: waiting.len(), joined: 0 };
        let mut at = 0;
        while at < waiting.len() {
            let (count, together) = next_piece(&waiting[at..]);
            let (piece, slices) = (&waiting[at..at + count], &slices[at..at + count]);
            at += count;
            match if together { send_as_one(socket, piece[0].client, slices) } else { Ok(false) } {
                Ok(true) => {
                    piece.iter().for_each(|one| sent(&one.label));
                    result.dropped -= count;
                    result.joined += count;
                    continue;
                }
                Ok(false) => {}
                Err(Full) => break,
            }
            let each = send_each(socket, piece, slices, |one| {
                sent(&one.label);
                result.dropped -= 1;
            });
            if each.is_err() {
                break;
            }
        }
        waiting.clear();
        result
    }
}

/// Brings together what may go together. Answers to a client with too few of them keep the order of their queries.
fn put_in_order<T>(waiting: &mut [Waiting<T>]) {
    waiting.sort_unstable_by_key(|one| (one.client, one.answer));
    for of_client in waiting.chunk_by_mut(|one, next| one.client == next.client) {
        if of_client.len() >= RUN_MIN {
            of_client.sort_unstable_by_key(|one| (one.bytes, one.answer));
        }
    }
}

/// How many from the first on are sent by the next system call, and whether as one packet.
fn next_piece<T>(waiting: &[Waiting<T>]) -> (usize, bool) {
    let mut count = run(waiting);
    if count >= RUN_MIN {
        return (count, true);
    }
    while count < waiting.len() {
        match run(&waiting[count..]) {
            next if next >= RUN_MIN => break,
            next => count += next,
        }
    }
    (count, false)
}

/// How many from the first on may go as one packet, at least 1.
fn run<T>(waiting: &[Waiting<T>]) -> usize {
    let Some(first) = waiting.first() else { return 0 };
    let alike = |other: &&Waiting<T>| other.client == first.client && other.bytes == first.bytes;
    let count = waiting.iter().take_while(alike).count();
    RUN_BYTES_MAX.checked_div(first.bytes).map_or(1, |most| count.min(most))
}

/// Sends answers of one length to one client as one packet. False if the kernel does not do that here.
fn send_as_one(socket: &UdpSocket, client: SocketAddr, slices: &[[IoSlice<'_>; 1]]) -> Result<bool, Full> {
    let Ok(bytes) = u16::try_from(slices[0][0].len()) else { return Ok(false) };
    let (control, client) = ([ControlMessage::UdpGsoSegments(&bytes)], SockaddrStorage::from(client));
    loop {
        let flags = MsgFlags::empty();
        match sendmsg(socket.as_raw_fd(), slices.as_flattened(), &control, flags, Some(&client)) {
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(Full),
            Err(_) => return Ok(false),
        }
    }
}

/// Sends answers one by one, in as few system calls as they permit.
fn send_each<T>(
    socket: &UdpSocket,
    waiting: &[Waiting<T>],
    slices: &[[IoSlice<'_>; 1]],
    mut sent: impl FnMut(&Waiting<T>),
) -> Result<(), Full> {
    let clients: [Option<SocketAddrAny>; PACKETS_MAX] =
        array::from_fn(|index| waiting.get(index).map(|one| one.client.into()));
    let mut controls: [SendAncillaryBuffer<'_, '_, '_>; PACKETS_MAX] =
        array::from_fn(|_| SendAncillaryBuffer::default());
    let mut addressed = slices.iter().zip(clients.iter().flatten());
    let mut messages = controls.each_mut().map(|control| match addressed.next() {
        Some((slice, client)) => MMsgHdr::new_with_addr(client, slice, control),
        None => MMsgHdr::new(&[], control),
    });
    let mut at = 0;
    while at < waiting.len() {
        match sendmmsg(socket, &mut messages[at..waiting.len()], SendFlags::empty()) {
            Ok(count) => {
                waiting[at..at + count].iter().for_each(&mut sent);
                at += count;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Err(Full),
            // This one client cannot be reached.
            Err(_) => at += 1,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::batch::Inbox;
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
                assert_eq!(outbox.send(&server, |length| lengths.push(*length)).dropped, 0);
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
            assert_eq!(outbox.send(&server, |()| {}), Sent::default());
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
        assert_eq!(outbox.send(&server, |label| sent.push(*label)), Sent { dropped: 2, joined: 0 });
        sent.sort_unstable();
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
        assert_eq!(outbox.send(&server, |()| {}), Sent { dropped: 0, joined: PACKETS_MAX });
        let mut answer = [0; 16];
        let mut heard: Vec<usize> = (0..PACKETS_MAX)
            .map(|_| {
                let length = client.recv(&mut answer).unwrap();
                usize::from_be_bytes(answer[..length].try_into().unwrap())
            })
            .collect();
        heard.sort_unstable();
        assert!(heard.into_iter().eq(0..PACKETS_MAX));
    }

    /// Lengths of the answers that `client` hears, in order of length.
    fn heard(client: &UdpSocket, count: usize) -> Vec<usize> {
        let mut answer = [0; 2048];
        let mut lengths: Vec<usize> = (0..count).map(|_| client.recv(&mut answer).unwrap()).collect();
        lengths.sort_unstable();
        lengths
    }

    #[test]
    fn answers_of_one_length_to_one_client_go_together_and_arrive_apart() {
        let (server, clients) = (socket(), [socket(), socket()]);
        let mut outbox = Outbox::new();
        // Full-sized ones too, which are more than one packet holds, and two that are not worth it.
        let lengths = [&[1200; 40][..], &[0; 4], &[48; 5], &[60; 2]].concat();
        for (index, length) in lengths.iter().enumerate() {
            assert!(outbox.add(clients[index % 2].local_addr().unwrap(), |answer| {
                answer.clear();
                answer.resize(*length, 7);
                Some(*length)
            }));
        }
        let mut sent = Vec::new();
        // Of the five, three are for one client and two for the other.
        assert_eq!(outbox.send(&server, |length| sent.push(*length)), Sent { dropped: 0, joined: 40 + 3 });
        sent.sort_unstable();
        let mut all: Vec<usize> = clients
            .iter()
            .enumerate()
            .flat_map(|(index, client)| heard(client, (lengths.len() + 1 - index) / 2))
            .collect();
        all.sort_unstable();
        assert_eq!(all, sent);
        assert_eq!(all.len(), lengths.len());
    }

    #[test]
    fn more_than_a_packet_holds_goes_in_two() {
        let (server, client) = (socket(), socket());
        let mut outbox = Outbox::new();
        for _ in 0..PACKETS_MAX {
            outbox.add(client.local_addr().unwrap(), |answer| {
                answer.clear();
                answer.resize(UDP_BYTES_MAX.into(), 7);
                Some(())
            });
        }
        assert_eq!(outbox.send(&server, |()| {}), Sent { dropped: 0, joined: PACKETS_MAX });
        assert_eq!(heard(&client, PACKETS_MAX), [usize::from(UDP_BYTES_MAX); PACKETS_MAX]);
    }

    #[test]
    fn a_run_that_is_refused_costs_only_its_own_answers() {
        let (server, client) = (socket(), socket());
        let mut outbox = Outbox::new();
        let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
        // The kernel takes nothing for port 0, together or apart; the others get theirs.
        for (to, length) in [(nobody, 100), (nobody, 100), (nobody, 100), (client.local_addr().unwrap(), 10)]
        {
            outbox.add(to, |answer| {
                answer.clear();
                answer.resize(length, 7);
                Some(length)
            });
        }
        let mut sent = Vec::new();
        assert_eq!(outbox.send(&server, |length| sent.push(*length)), Sent { dropped: 3, joined: 0 });
        assert_eq!(sent, [10]);
        assert_eq!(heard(&client, 1), [10]);
    }

    #[test]
    fn few_answers_keep_the_order_of_their_queries() {
        let (server, clients) = (socket(), [socket(), socket()]);
        let mut outbox = Outbox::new();
        for (client, byte, length) in [(0, 1_u8, 30), (1, 2, 30), (0, 3, 20), (1, 4, 40)] {
            outbox.add(clients[client].local_addr().unwrap(), |answer| {
                answer.clear();
                answer.resize(length, byte);
                Some(())
            });
        }
        assert_eq!(outbox.send(&server, |()| {}), Sent::default());
        let mut answer = [0; 64];
        for (client, byte) in [(0, 1), (0, 3), (1, 2), (1, 4)] {
            clients[client].recv(&mut answer).unwrap();
            assert_eq!(answer[0], byte);
        }
    }

    /// On a host of its own, since it changes what the host's packets may hold.
    #[test]
    fn where_packets_are_shorter_answers_go_one_by_one() {
        let Some(network) = harness::hosts::Network::lay(1) else { return };
        network.on(0, || {
            let shorter =
                std::process::Command::new("ip").args(["link", "set", "dev", "lo", "mtu", "1000"]).status();
            assert!(shorter.unwrap().success());
            let (server, client) = (socket(), socket());
            let mut outbox = Outbox::new();
            for length in [1200, 1200, 1200, 1200, 900, 900, 900] {
                outbox.add(client.local_addr().unwrap(), |answer| {
                    answer.clear();
                    answer.resize(length, 7);
                    Some(())
                });
            }
            assert_eq!(outbox.send(&server, |()| {}), Sent { dropped: 0, joined: 3 });
            assert_eq!(heard(&client, 7), [900, 900, 900, 1200, 1200, 1200, 1200]);
        });
    }
}
