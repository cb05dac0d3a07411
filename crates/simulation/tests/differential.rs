//! The model against real servers: the same random orders, writes and restarts on three redis-server
//! processes and on three simulated nodes must end in the same roles, links, data sets, relations
//! between replication ids and numbers of resyncs. After every operation the servers get a few
//! seconds to arrive where the model already is; where they never do, the model is wrong.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use simulation::chance::Chance;
use simulation::process::{Disk, Ending};
use simulation::redis::{Born, NodeIndex, Operation, Part, Persistence, Upstream};
use simulation::world::{SECOND, Settings, World};

const NODES: usize = 3;
const OPERATIONS: usize = 9;
/// Sequences compared; each takes about half a second. Some are kept because they found the model wrong.
const SEEDS: [u64; 6] = [1, 2, 3, 5, 8, 10];
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(12);
const SETTLE: u64 = 6 * SECOND;

/// What is compared of one node.
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    master: bool,
    linked: bool,
    data: BTreeSet<u16>,
    /// `master_replid` and `master_replid2`, by first appearance over all nodes.
    lineages: (usize, Option<usize>),
    counts: (u64, u64, u64),
}

struct Server {
    child: Child,
    port: u16,
    folder: std::path::PathBuf,
    persistence: Persistence,
    born: Born,
}

impl Server {
    fn start(index: usize, persistence: Persistence, born: Born) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("simulation-{}-{port}-{index}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let child = Self::spawn(port, &folder, persistence, born);
        let server = Self { child, port, folder, persistence, born };
        server.await_ready();
        server
    }

    fn spawn(port: u16, folder: &std::path::Path, persistence: Persistence, born: Born) -> Child {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(folder);
        command.args(["--save", "", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "3600"]);
        command.args(["--repl-timeout", "7200", "--shutdown-timeout", "1"]);
        command
            .args(["--appendonly", if persistence == Persistence::AppendOnly { "yes" } else { "no" }])
            .args(["--appendfsync", "always"]);
        if born == Born::Unassigned {
            command.args(["--replicaof", "127.0.0.1", "0"]);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn await_ready(&self) {
        let deadline = Instant::now() + ARRIVAL_DEADLINE;
        while self.try_ask(&["PING"]).is_none_or(|answer| answer != "+PONG") {
            assert!(Instant::now() < deadline, "redis-server on port {} does not come up", self.port);
            std::thread::yield_now();
        }
    }

    fn try_ask(&self, words: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(text.as_bytes()).ok()?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_owned();
        match line.strip_prefix('$').and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => {
                let mut body = vec![0; length];
                reader.read_exact(&mut body).ok()?;
                String::from_utf8(body).ok()
            }
            None if line.starts_with('*') => {
                let count: usize = line[1..].parse().ok()?;
                let mut items = Vec::new();
                for _ in 0..2 * count {
                    let mut part = String::new();
                    reader.read_line(&mut part).ok()?;
                    items.push(part.trim_end().to_owned());
                }
                Some(items.iter().skip(1).step_by(2).cloned().collect::<Vec<_>>().join(" "))
            }
            None => (!line.is_empty()).then_some(line),
        }
    }

    fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).unwrap_or_else(|| panic!("no answer to {words:?} on port {}", self.port))
    }

    fn restart(&mut self, ending: Ending) {
        let deadline = Instant::now() + ARRIVAL_DEADLINE;
        while ending == Ending::Shutdown && self.child.try_wait().unwrap().is_none() {
            // Refused while another child process saves; then it is asked again.
            let answer = self.try_ask(&["SHUTDOWN", "SAVE"]);
            assert!(Instant::now() < deadline, "redis-server does not shut down: {answer:?}");
        }
        let _ = self.child.kill();
        self.child.wait().unwrap();
        self.child = Self::spawn(self.port, &self.folder, self.persistence, self.born);
        self.await_ready();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn lineage(seen: &mut Vec<String>, id: &str) -> usize {
    seen.iter().position(|other| other == id).unwrap_or_else(|| {
        seen.push(id.to_owned());
        seen.len() - 1
    })
}

fn picture_of_servers(servers: &[Server]) -> Vec<Picture> {
    let mut seen = Vec::new();
    servers
        .iter()
        .map(|server| {
            let info = server.ask(&["INFO"]);
            let field = |name: &str| {
                info.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap_or("").to_owned()
            };
            let count = |name: &str| field(name).parse().unwrap();
            let keys = server.ask(&["SMEMBERS", "writes"]);
            let before = field("master_replid2");
            Picture {
                master: field("role") == "master",
                linked: field("master_link_status") == "up",
                data: keys.split_whitespace().filter_map(|id| id.parse().ok()).collect(),
                lineages: (
                    lineage(&mut seen, &field("master_replid")),
                    before.contains(|digit| digit != '0').then(|| lineage(&mut seen, &before)),
                ),
                counts: (count("sync_full"), count("sync_partial_ok"), count("sync_partial_err")),
            }
        })
        .collect()
}

fn picture_of_model(world: &World) -> Vec<Picture> {
    let mut seen = Vec::new();
    world
        .nodes
        .iter()
        .map(|node| Picture {
            master: node.part == Part::Master,
            linked: node.upstream == Upstream::Connected,
            data: node.data.ids().collect(),
            lineages: (
                lineage(&mut seen, &node.replid.to_string()),
                node.replid2.map(|id| lineage(&mut seen, &id.to_string())),
            ),
            counts: (node.full_syncs, node.partial_syncs, node.partial_errors),
        })
        .collect()
}

/// Whether a node leads, over however many others, to another.
fn follows(world: &World, node: NodeIndex, other: NodeIndex) -> bool {
    let mut at = node;
    for _ in 0..NODES {
        match world.nodes[at].part {
            Part::Slave(Some(next)) => at = next,
            _ => break,
        }
        if at == other {
            return true;
        }
    }
    false
}

fn operate(chance: &mut Chance, world: &mut World, servers: &mut [Server], next: &mut u16) -> String {
    let node = chance.index(NODES);
    let other = (node + 1 + chance.index(NODES - 1)) % NODES;
    match chance.below(10) {
        0..4 => {
            let Some(master) = (0..NODES).find(|at| world.nodes[*at].part == Part::Master) else {
                return "nothing, there is no master".to_owned();
            };
            let count = chance.between(1, 3);
            for _ in 0..count {
                world.write(master, Operation::Write(*next)).unwrap();
                assert_eq!(servers[master].ask(&["SADD", "writes", &next.to_string()]), ":1");
                *next += 1;
            }
            format!("{count} writes on {master}")
        }
        4..7 if !follows(world, other, node) => {
            world.assign(node, Part::Slave(Some(other))).unwrap();
            servers[node].ask(&["REPLICAOF", "127.0.0.1", &servers[other].port.to_string()]);
            format!("{node} follows {other}")
        }
        4..8 => {
            world.assign(node, Part::Master).unwrap();
            servers[node].ask(&["REPLICAOF", "NO", "ONE"]);
            format!("{node} follows no one")
        }
        8 => {
            world.assign(node, Part::Slave(None)).unwrap();
            servers[node].ask(&["REPLICAOF", "127.0.0.1", "0"]);
            format!("{node} is parked")
        }
        _ => {
            let ending = chance.pick(&[Ending::Killed, Ending::Shutdown]);
            world.crash_node(node, ending);
            world.damage_disk(node, Disk::Sound);
            world.start_node(node);
            servers[node].restart(ending);
            format!("{node} restarts ({ending:?})")
        }
    }
}

fn compare(seed: u64) {
    let mut chance = Chance::new(seed);
    let settings = Settings {
        delay_low: 20,
        delay_high: 60,
        ping_period: 3_600 * SECOND,
        repl_timeout: 7_200 * SECOND,
        ..Settings::default()
    };
    let mut world = World::new(seed, NODES, settings);
    let mut servers = Vec::new();
    for index in 0..NODES {
        let persistence =
            chance.pick(&[Persistence::AppendOnly, Persistence::Snapshot, Persistence::Nothing]);
        let born = chance.pick(&[Born::Unassigned, Born::Master]);
        let state = &mut world.nodes[index];
        // `save ""` writes no RDB by itself, so a server that persists nothing must not be shut down
        // with SAVE; it is run as one with snapshots that happen only then.
        let persistence =
            if persistence == Persistence::Nothing { Persistence::Snapshot } else { persistence };
        (state.persistence, state.born) = (persistence, born);
        if born == Born::Unassigned {
            state.part = Part::Slave(None);
        }
        servers.push(Server::start(index, persistence, born));
    }
    let (mut next, mut story) = (0, Vec::new());
    for _ in 0..OPERATIONS {
        story.push(operate(&mut chance, &mut world, &mut servers, &mut next));
        let until = world.now + SETTLE;
        world.run(until);
        let expected = picture_of_model(&world);
        let deadline = Instant::now() + ARRIVAL_DEADLINE;
        let mut found = picture_of_servers(&servers);
        while found != expected && Instant::now() < deadline {
            std::thread::yield_now();
            found = picture_of_servers(&servers);
        }
        assert_eq!(found, expected, "left: redis, right: model; seed {seed}, after {story:#?}");
    }
}

#[test]
fn the_model_does_what_redis_does() {
    for seed in SEEDS {
        compare(seed);
    }
}
