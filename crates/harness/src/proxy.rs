//! A TCP proxy before a node, for what a network can do and a process cannot be made to do.
//!
//! A document names the proxy's port instead of the node's, so everything that is sent to the node
//! passes here, slaves' replication included. The proxy can
//!
//! - **hold** the bytes of one command: a test waits until it is held, freezes the node or does
//!   something else that has to happen at just this moment, and releases it;
//! - **stall replication**, so that slaves stay linked and learn nothing;
//! - **lose the reply** of a command that it let through;
//! - **cut** one direction or both, so that nothing arrives until the cut is healed, as TCP has it;
//! - **rewrite replies**, to make a node look older, or its clock wrong, than any installed server is.
//!
//! Replies are only taken apart when something is to be rewritten, and never on a connection that
//! carries replication, whose bytes are no replies.

mod rewriting;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Redis;
use crate::resp::{Connection, Reply};

pub use rewriting::{clock_ahead, info_field};

/// Bytes of the promotion of a node, as any client sends `REPLICAOF NO ONE`.
pub const PROMOTION: &[u8] = b"REPLICAOF\r\n$2\r\nNO\r\n";
/// Bytes of the demotion (and of every parking) of a node.
pub const DEMOTION: &[u8] = b"REPLICAOF\r\n$9\r\n127.0.0.1\r\n$1\r\n0\r\n";
/// Bytes of an attachment to a node of the harness, whose ports have five digits.
pub const ATTACHMENT: &[u8] = b"REPLICAOF\r\n$9\r\n127.0.0.1\r\n$5\r\n";
/// Bytes that begin a pause of writes.
pub const PAUSE: &[u8] = b"PAUSE\r\n";

/// How long the node may take to accept a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How long a command may take until it comes by and is held.
const HELD_DEADLINE: Duration = Duration::from_secs(20);
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

type Rewrite = Arc<dyn Fn(Reply) -> Reply + Send + Sync>;

/// What becomes of the bytes that are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Nothing is waited for.
    No,
    /// They have not come yet.
    Armed(&'static [u8]),
    /// They are here and wait.
    Holding,
    /// They may go on.
    Released { lose_reply: bool },
    /// They are thrown away, with their connection.
    Dropped,
}

/// What to do with bytes that came from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    PassAndMute,
    Drop,
}

/// A direction in which nothing arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// From whoever asks to the node.
    Towards,
    /// From the node to whoever asks.
    Back,
    /// Neither way.
    Both,
}

struct State {
    hold: Hold,
    cut: Option<Cut>,
    rewrite: Option<Rewrite>,
    stalled: bool,
    delay: Duration,
    /// Those that have not ended; a proxy that lives for an hour does not keep what is over.
    connections: Vec<Weak<Connected>>,
}

/// One connection: the client's side and the node's.
struct Connected {
    client: TcpStream,
    node: TcpStream,
}

impl Connected {
    /// Whichever side ended, both do; one that has ended already cannot be shut down, which is as good.
    fn end(&self) {
        drop(self.client.shutdown(Shutdown::Both));
        drop(self.node.shutdown(Shutdown::Both));
    }
}

struct Shared {
    node: SocketAddr,
    stopping: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

/// A running proxy; it ends, with all its connections, when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Proxy({} before {})", self.address, self.shared.node)
    }
}

impl Proxy {
    /// A proxy that passes everything to `node`.
    ///
    /// # Panics
    /// When no port can be listened on.
    pub fn before(node: &Redis) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the proxy");
        let address = listener.local_addr().expect("the proxy's address");
        let shared = Arc::new(Shared {
            node: node.address(),
            stopping: AtomicBool::new(false),
            state: Mutex::new(State {
                hold: Hold::No,
                cut: None,
                rewrite: None,
                stalled: false,
                delay: Duration::ZERO,
                connections: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The proxy as a document names a node.
    pub fn json(&self) -> Value {
        json!({"address": self.address.ip().to_string(), "port": self.address.port()})
    }

    /// The next bytes from a client that contain `pattern` are held; what comes after them on their
    /// connection waits behind them, other connections go on.
    pub fn hold_at(&self, pattern: &'static [u8]) {
        self.shared.set(Hold::Armed(pattern));
    }

    /// Waits until the bytes are held: they were sent, and the node has not got them.
    ///
    /// # Panics
    /// When they do not come within 20 seconds.
    pub fn wait_held(&self) {
        let state = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, HELD_DEADLINE, |state| state.hold != Hold::Holding)
            .expect("the proxy's lock");
        assert!(!waited.1.timed_out(), "{self:?}: the bytes to be held did not come in {HELD_DEADLINE:?}");
    }

    /// Passes the held bytes on.
    pub fn release(&self) {
        self.shared.set(Hold::Released { lose_reply: false });
    }

    /// Passes the held bytes on, and nothing that the node sends back on that connection from now on.
    pub fn release_and_lose_the_reply(&self) {
        self.shared.set(Hold::Released { lose_reply: true });
    }

    /// Throws the held bytes away and ends their connection: the node never gets them.
    pub fn throw_away(&self) {
        self.shared.set(Hold::Dropped);
    }

    /// Holds back what the node sends to its slaves, whose links stay up; or lets it go on.
    pub fn stall_replication(&self, stalled: bool) {
        self.shared.lock().stalled = stalled;
        self.shared.changed.notify_all();
    }

    /// Lets nothing arrive in a direction, or everything again. What was sent meanwhile arrives then.
    pub fn cut(&self, cut: Option<Cut>) {
        self.shared.lock().cut = cut;
        self.shared.changed.notify_all();
    }

    /// Lets everything arrive later by this much, in both directions, as over a long way.
    pub fn delay(&self, by: Duration) {
        self.shared.lock().delay = by;
    }

    /// Changes every reply of connections made from now on.
    pub fn rewrite(&self, rewrite: impl Fn(Reply) -> Reply + Send + Sync + 'static) {
        self.shared.lock().rewrite = Some(Arc::new(rewrite));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.set(Hold::Released { lose_reply: true });
        self.stall_replication(false);
        self.cut(None);
        for connection in self.shared.lock().connections.iter().filter_map(Weak::upgrade) {
            connection.end();
        }
        // Wakes the accepting thread, which then sees that it shall end.
        drop(TcpStream::connect_timeout(&self.address, CONNECT_DEADLINE));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the proxy's lock")
    }

    fn set(&self, hold: Hold) {
        self.lock().hold = hold;
        self.changed.notify_all();
    }

    /// Holds the calling thread while replication is stalled.
    fn wait_flowing(&self) {
        let state = self.lock();
        drop(self.changed.wait_while(state, |state| state.stalled).expect("the proxy's lock"));
    }

    /// Holds the calling thread while its direction is cut.
    fn wait_open(&self, direction: Cut) {
        let state = self.lock();
        let is_cut = |state: &mut State| state.cut.is_some_and(|cut| cut == Cut::Both || cut == direction);
        drop(self.changed.wait_while(state, is_cut).expect("the proxy's lock"));
    }

    /// Holds the calling thread if `bytes` are those waited for, and says what to do with them.
    fn pass(&self, bytes: &[u8]) -> Fate {
        let mut state = self.lock();
        let Hold::Armed(pattern) = state.hold else { return Fate::Pass };
        if !contains(bytes, pattern) {
            return Fate::Pass;
        }
        state.hold = Hold::Holding;
        self.changed.notify_all();
        loop {
            let fate = match state.hold {
                Hold::Released { lose_reply: true } => Some(Fate::PassAndMute),
                Hold::Released { lose_reply: false } => Some(Fate::Pass),
                Hold::Dropped => Some(Fate::Drop),
                Hold::No | Hold::Armed(_) | Hold::Holding => None,
            };
            if let Some(fate) = fate {
                state.hold = Hold::No;
                return fate;
            }
            state = self.changed.wait(state).expect("the proxy's lock");
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        // A node that is down looks so through the proxy, too: the client's connection ends at once.
        let Ok(node) = TcpStream::connect_timeout(&shared.node, CONNECT_DEADLINE) else { continue };
        if connect(shared, client, node).is_err() {
            continue;
        }
    }
}

/// What the two directions of one connection tell each other.
#[derive(Default)]
struct Between {
    mute: AtomicBool,
    replication: AtomicBool,
}

fn connect(shared: &Arc<Shared>, client: TcpStream, node: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    node.set_nodelay(true)?;
    let connected = Arc::new(Connected { client, node });
    let rewrite = {
        let mut state = shared.lock();
        state.connections.retain(|connection| connection.strong_count() > 0);
        state.connections.push(Arc::downgrade(&connected));
        state.rewrite.clone()
    };
    let between = Arc::new(Between::default());
    let (upward, told, commands) = (Arc::clone(shared), Arc::clone(&between), Arc::clone(&connected));
    let downward = Arc::clone(shared);
    std::thread::spawn(move || {
        // How it ended is no news to anyone: either side may leave at any time.
        drop(pump_commands(&commands, &upward, &told));
        commands.end();
    });
    std::thread::spawn(move || {
        drop(match rewrite {
            Some(rewrite) => pump_rewritten(&connected, &downward, &between, &rewrite),
            None => pump(&connected.node, &connected.client, &downward, &between),
        });
        connected.end();
    });
    Ok(())
}

fn pump_commands(connected: &Connected, shared: &Shared, between: &Between) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut from, mut to) = (&connected.client, &connected.node);
    // A command may come in two pieces: the end of what passed before is looked at together with it.
    let mut seen: Vec<u8> = Vec::new();
    loop {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        let delay = shared.lock().delay;
        std::thread::sleep(delay);
        let overlap = seen.len().min(DEMOTION.len());
        seen.drain(..seen.len() - overlap);
        seen.extend_from_slice(&chunk[..length]);
        if contains(&seen, b"PSYNC\r\n") {
            between.replication.store(true, Ordering::SeqCst);
        }
        match shared.pass(&seen) {
            Fate::Pass => {}
            Fate::PassAndMute => between.mute.store(true, Ordering::SeqCst),
            Fate::Drop => return Ok(()),
        }
        shared.wait_open(Cut::Towards);
        to.write_all(&chunk[..length])?;
    }
}

fn pump(mut from: impl Read, mut to: &TcpStream, shared: &Shared, between: &Between) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        let delay = shared.lock().delay;
        std::thread::sleep(delay);
        if between.replication.load(Ordering::SeqCst) {
            shared.wait_flowing();
        }
        shared.wait_open(Cut::Back);
        if !between.mute.load(Ordering::SeqCst) {
            to.write_all(&chunk[..length])?;
        }
    }
}

fn pump_rewritten(
    connected: &Connected,
    shared: &Shared,
    between: &Between,
    rewrite: &Rewrite,
) -> io::Result<()> {
    let mut replies = Connection::over(connected.node.try_clone()?);
    let mut to = &connected.client;
    while !between.replication.load(Ordering::SeqCst) {
        let reply = replies.receive()?;
        let reply = if between.replication.load(Ordering::SeqCst) { reply } else { rewrite(reply) };
        shared.wait_open(Cut::Back);
        if !between.mute.load(Ordering::SeqCst) {
            to.write_all(&reply.encode())?;
        }
    }
    pump(replies.into_reader(), &connected.client, shared, between)
}

fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.windows(pattern.len()).any(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(proxy: &Proxy) -> Connection {
        Connection::open(proxy.address()).expect("the proxy accepts")
    }

    #[test]
    fn a_held_command_reaches_the_node_when_it_is_released() {
        let node = Redis::start();
        let proxy = Proxy::before(&node);
        proxy.hold_at(PROMOTION);
        let mut client = open(&proxy);
        client.send(&["REPLICAOF", "NO", "ONE"]).expect("sent");
        proxy.wait_held();
        assert_eq!(node.role(), "slave", "the node has not got it");
        let mut other = open(&proxy);
        assert_eq!(other.command(&["PING"]).expect("others pass").text(), "PONG");
        proxy.release();
        assert_eq!(client.receive().expect("answered").text(), "OK");
        assert_eq!(node.role(), "master");
    }

    #[test]
    fn a_lost_reply_is_lost_and_the_command_executed() {
        let node = Redis::start();
        let proxy = Proxy::before(&node);
        proxy.hold_at(PROMOTION);
        let mut client = open(&proxy);
        client.set_reply_deadline(Duration::from_millis(100)).expect("a deadline");
        client.send(&["REPLICAOF", "NO", "ONE"]).expect("sent");
        proxy.wait_held();
        proxy.release_and_lose_the_reply();
        assert!(client.receive().is_err());
        crate::wait_until("the promotion", Duration::from_secs(5), || {
            crate::wait::ensure(node.role() == "master", node.role())
        });
    }

    #[test]
    fn replies_are_rewritten_and_replication_is_not() {
        let (master, slave) = (Redis::start(), Redis::start());
        let proxy = Proxy::before(&master);
        let (version, clock) = (info_field("redis_version", "6.2.0"), clock_ahead(Duration::from_secs(3600)));
        proxy.rewrite(move |reply| clock(version(reply)));
        let mut client = open(&proxy);
        client.command(&["REPLICAOF", "NO", "ONE"]).expect("answered");
        client.command(&["SET", "redis_version:", "kept"]).expect("answered");
        assert!(client.command(&["INFO"]).expect("answered").text().contains("redis_version:6.2.0\r\n"));
        let seconds = |reply: Reply| reply.elements()[0].text().parse::<u64>().expect("seconds");
        let ahead = seconds(client.command(&["TIME"]).expect("answered")) - seconds(master.command("TIME"));
        assert!((3599..=3601).contains(&ahead), "{ahead}");
        slave.command(&format!("REPLICAOF 127.0.0.1 {}", proxy.address().port()));
        crate::redis::wait_equal_data(&[&master, &slave]);
        crate::wait_until("the key", Duration::from_secs(5), || {
            crate::wait::ensure(slave.keys() == 1, format!("{} keys", slave.keys()))
        });
    }
}
