//! The client: as many queries as a core can bring, many per system call, so that it is the server that is
//! measured and not the client.

use std::array;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

/// Most packets per system call.
const BATCH: usize = 64;
/// Queries under way.
const OUTSTANDING: usize = 256;
/// Longest wait for an answer before it counts as lost.
const SILENCE: Duration = Duration::from_millis(100);
/// Wish for the kernel's queue of answers, in bytes: the client is not to lose any.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Longest answer, in bytes.
const ANSWER_BYTES: usize = 4096 + 64;
/// Connections over TCP, and queries under way on each.
const CONNECTIONS: usize = 8;
const PIPELINED: usize = 32;
/// How long to wait while no query is due at a given rate.
const TICK: Duration = Duration::from_micros(100);
/// How late a query may be sent at a given rate; later ones are not.
const LATE_MAX: Duration = Duration::from_millis(2);

/// What a measurement saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Queries sent.
    pub(crate) sent: u64,
    /// Answers received.
    pub(crate) answered: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
}

/// A UDP client that asks the same queries in turn, from one port or several.
pub(crate) struct Client {
    sockets: Vec<UdpSocket>,
    queries: Vec<Vec<u8>>,
    next: usize,
    headers: MultiHeaders<SockaddrStorage>,
    room: Vec<u8>,
    seen: Seen,
}

impl Client {
    pub(crate) fn new(server: SocketAddr, queries: &[Vec<u8>], ports: usize) -> Self {
        let sockets = (0..ports).map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.connect(server).expect("a connected socket");
            socket.set_read_timeout(Some(SILENCE)).expect("a deadline");
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, QUEUE_BYTES).expect("a larger queue");
            socket
        });
        let room = vec![0; ANSWER_BYTES * BATCH];
        let headers = MultiHeaders::preallocate(BATCH, None);
        let seen = Seen::default();
        Self { sockets: sockets.collect(), queries: queries.to_vec(), next: 0, headers, room, seen }
    }

    /// Keeps the same number of queries under way, the same from every port.
    pub(crate) fn closed_loop(mut self, length: Duration) -> Seen {
        let start = Instant::now();
        let ports = self.sockets.len();
        let (share, mut under_way, mut heard) = (OUTSTANDING / ports, vec![0; ports], start);
        // With several ports there is always one that may have heard something.
        let flags = if ports == 1 { MsgFlags::MSG_WAITFORONE } else { MsgFlags::MSG_DONTWAIT };
        while start.elapsed() < length {
            for (port, under_way) in under_way.iter_mut().enumerate() {
                while *under_way < share {
                    *under_way += self.send(port, share - *under_way);
                }
                let count = self.receive(port, flags);
                *under_way = under_way.saturating_sub(count);
                if count > 0 {
                    heard = Instant::now();
                }
            }
            if heard.elapsed() >= SILENCE {
                // Lost, all of them.
                under_way.fill(0);
                heard = Instant::now();
            }
        }
        self.seen.seconds = start.elapsed().as_secs_f64();
        // Those on their way are no losses.
        self.seen.sent -= under_way.iter().sum::<usize>() as u64;
        self.seen
    }

    /// Sends at a fixed rate from the first port, whatever the server does. What this client could not send in time,
    /// because the machine did not let it run, it does not make up for: that would be a flood, and not a rate.
    pub(crate) fn open_loop(mut self, length: Duration, per_second: f64) -> Seen {
        let start = Instant::now();
        let (late_max, mut skipped) = ((per_second * LATE_MAX.as_secs_f64()) as u64, 0);
        while start.elapsed() < length {
            let due = (start.elapsed().as_secs_f64() * per_second) as u64 - skipped;
            let waiting = due.saturating_sub(self.seen.sent);
            skipped += waiting.saturating_sub(late_max);
            match waiting.min(late_max) {
                0 => std::thread::sleep(TICK),
                count => {
                    self.send(0, count as usize);
                }
            }
            while self.receive(0, MsgFlags::MSG_DONTWAIT) > 0 {}
        }
        self.seen.seconds = start.elapsed().as_secs_f64();
        while self.seen.answered < self.seen.sent && self.receive(0, MsgFlags::MSG_WAITFORONE) > 0 {}
        self.seen
    }

    /// Sends at most one batch; returns how many.
    fn send(&mut self, port: usize, wanted: usize) -> usize {
        let count = wanted.min(BATCH);
        let queries = &self.queries;
        let slices: [[IoSlice<'_>; 1]; BATCH] =
            array::from_fn(|index| [IoSlice::new(&queries[(self.next + index) % queries.len()])]);
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
            array::from_fn(|_| SendAncillaryBuffer::default());
        let mut at = slices.iter();
        let mut messages = controls.each_mut().map(|control| match at.next() {
            Some(slice) => MMsgHdr::new(slice, control),
            None => MMsgHdr::new(&[], control),
        });
        let sent = sendmmsg(&self.sockets[port], &mut messages[..count], SendFlags::empty())
            .expect("queries go out");
        self.next += sent;
        self.seen.sent += sent as u64;
        sent
    }

    /// Takes at most one batch; returns how many.
    fn receive(&mut self, port: usize, flags: MsgFlags) -> usize {
        let mut rooms = self.room.chunks_exact_mut(ANSWER_BYTES);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
        match recvmmsg(self.sockets[port].as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(answers) => {
                let mut count = 0;
                for answer in answers {
                    self.seen.bytes += answer.bytes as u64;
                    count += 1;
                }
                self.seen.answered += count as u64;
                count
            }
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(error) => panic!("the server does not listen: {error}"),
        }
    }
}

/// Several connections, each with the same number of queries under way.
pub(crate) fn tcp(server: SocketAddr, query: &[u8], length: Duration) -> io::Result<Seen> {
    let mut framed = u16::try_from(query.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    framed.extend(query);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.write_all(&framed.repeat(PIPELINED))?;
        connections.push((stream, Vec::new()));
    }
    let mut seen = Seen { sent: (CONNECTIONS * PIPELINED) as u64, ..Seen::default() };
    let start = Instant::now();
    let mut room = vec![0; 256 * 1024];
    while start.elapsed() < length {
        for (stream, pending) in &mut connections {
            let count = stream.read(&mut room)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            pending.extend_from_slice(&room[..count]);
            let answers = take_answers(pending, &mut seen);
            stream.write_all(&framed.repeat(answers))?;
            seen.sent += answers as u64;
        }
    }
    seen.seconds = start.elapsed().as_secs_f64();
    seen.sent = seen.answered;
    Ok(seen)
}

/// Takes whole messages off the front; returns how many.
fn take_answers(pending: &mut Vec<u8>, seen: &mut Seen) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Some(length) = pending.get(at..at + 2) {
        let end = at + 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
        if end > pending.len() {
            break;
        }
        seen.bytes += (end - at - 2) as u64;
        at = end;
        count += 1;
    }
    pending.drain(..at);
    seen.answered += count as u64;
    count
}
