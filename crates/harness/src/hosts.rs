//! Hosts of their own: network namespaces on one bridge, which can be cut off from each other.
//!
//! Partitions are rules of the bridge, outside of every host, so none of them can notice one by anything
//! but silence: no reset, no error, as when a switch fails. The test itself sits on the bridge with an
//! address of its own and reaches every host all the time; rules apply to what the bridge forwards.
//!
//! This takes root, `ip` and `nft`. [`Network::lay`] answers `None`, with one line on standard error, where
//! it cannot be done. Everything is removed when the network is dropped.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::Process;

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";
/// The last number of the first host's address; the bridge itself is 1.
const FIRST_HOST: u8 = 10;
/// Port on which every host's one server listens.
pub const PORT: u16 = 7000;

/// One bridge with its hosts.
#[derive(Debug)]
pub struct Network {
    id: String,
    subnet: [u8; 3],
    hosts: u8,
}

/// Rules that are ready to be put in force at once.
#[derive(Debug)]
pub struct Partition(Child, String);

impl Network {
    /// A bridge with `hosts` hosts; `None` where that is not permitted.
    ///
    /// # Panics
    /// When it is permitted and fails half-way.
    pub fn lay(hosts: u8) -> Option<Self> {
        let id = format!("rd{:05x}", fastrand::u32(..) & 0xf_ffff);
        let network = Self { id, subnet: [10, fastrand::u8(64..128), fastrand::u8(..)], hosts };
        let (bridge, own) = (network.id.clone(), network.address(1));
        for attempt in [format!("ip link add {bridge} type bridge"), format!("nft add table bridge {bridge}")]
        {
            if let Err(why) = run(&attempt) {
                eprintln!("skipped: no network namespaces here ({attempt}: {why})");
                return None;
            }
        }
        must(&format!("ip addr add {own}/24 dev {bridge}"));
        must(&format!("ip link set {bridge} up"));
        must(&format!("nft add chain bridge {bridge} f {{ type filter hook forward priority 0; }}"));
        for host in 0..hosts {
            let (namespace, address) = (network.namespace(host), network.host(host));
            let (outside, inside) = (format!("{bridge}o{host}"), format!("{bridge}i{host}"));
            must(&format!("ip netns add {namespace}"));
            must(&format!("ip link add {outside} type veth peer name {inside} netns {namespace}"));
            must(&format!("ip link set {outside} master {bridge} up"));
            must(&format!("ip -n {namespace} addr add {address}/24 dev {inside}"));
            must(&format!("ip -n {namespace} link set {inside} up"));
            must(&format!("ip -n {namespace} link set lo up"));
        }
        Some(network)
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, last)
    }

    /// The address of a host.
    pub fn host(&self, host: u8) -> Ipv4Addr {
        self.address(FIRST_HOST + host)
    }

    /// Where a host's server listens.
    pub fn socket(&self, host: u8) -> SocketAddr {
        SocketAddr::from((self.host(host), PORT))
    }

    fn namespace(&self, host: u8) -> String {
        format!("{}-{host}", self.id)
    }

    /// Lets a process that is not running yet run on a host.
    pub fn settle(&self, host: u8, process: &mut Process) {
        let recipe = process.recipe_mut();
        let program = std::mem::replace(&mut recipe.program, "nsenter".into());
        let namespace = format!("--net={NAMESPACES}/{}", self.namespace(host));
        recipe.arguments.splice(0..0, [namespace, program.display().to_string()]);
    }

    /// Runs `action` on a host; threads that it starts are there too.
    ///
    /// # Panics
    /// When the host cannot be entered, or `action` panics.
    pub fn on<T: Send>(&self, host: u8, action: impl FnOnce() -> T + Send) -> T {
        let path = format!("{NAMESPACES}/{}", self.namespace(host));
        let enter = move || {
            let namespace = File::open(&path).expect("the namespace of a host");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("a namespace can be entered");
            action()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().expect("no panic on a host"))
    }

    /// Gets ready to drop what goes from one host to another, for each pair.
    ///
    /// # Panics
    /// When `nft` cannot be started.
    pub fn partition(&self, pairs: &[(u8, u8)]) -> Partition {
        let rule = |(from, to): &(u8, u8)| {
            let (from, to) = (self.host(*from), self.host(*to));
            format!("add rule bridge {} f ip saddr {from} ip daddr {to} drop\n", self.id)
        };
        self.ready(pairs.iter().map(rule).collect())
    }

    /// Gets ready to lose some of all packets.
    ///
    /// # Panics
    /// When `nft` cannot be started.
    pub fn loss(&self, percent: u8) -> Partition {
        self.ready(format!(
            "add rule bridge {} f ip version 4 numgen random mod 100 < {percent} drop\n",
            self.id
        ))
    }

    fn ready(&self, rules: String) -> Partition {
        let nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn();
        Partition(nft.expect("nft can be started"), rules)
    }

    /// Everybody reaches everybody again.
    ///
    /// # Panics
    /// When `nft` fails.
    pub fn heal(&self) {
        must(&format!("nft flush chain bridge {} f", self.id));
    }
}

impl Partition {
    /// Puts the rules in force.
    ///
    /// # Panics
    /// When `nft` fails.
    pub fn begin(mut self) {
        let mut input = self.0.stdin.take().expect("a pipe");
        input.write_all(self.1.as_bytes()).expect("nft reads");
        drop(input);
        let status = self.0.wait().expect("nft ends");
        assert!(status.success(), "nft: {status}: {}", self.1);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What was never made cannot be removed, which is as good.
        for host in 0..self.hosts {
            drop(run(&format!("ip netns del {}", self.namespace(host))));
        }
        drop(run(&format!("nft delete table bridge {}", self.id)));
        drop(run(&format!("ip link del {}", self.id)));
    }
}

fn run(line: &str) -> Result<(), String> {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap_or_default())
        .args(words)
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

fn must(line: &str) {
    if let Err(why) = run(line) {
        panic!("{line}: {why}");
    }
}
