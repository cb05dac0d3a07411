//! The servers: each started with the same zone, one thread, and no rate limit.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::binaries::workspace;
use harness::daemon::DOMAIN;
use harness::dns::{self, RecordType};
use harness::process::{Process, Recipe};
use harness::{Daemon, DaemonOptions, ports, wait_until};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use tempfile::TempDir;

/// How long a server may take until it answers.
const READY_DEADLINE: Duration = Duration::from_secs(10);

/// A server by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours.
    Dnsd,
    /// NSD of NLnet Labs.
    Nsd,
    /// Knot DNS of CZ.NIC.
    Knot,
    /// BIND of ISC.
    Bind,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Dnsd, Self::Nsd, Self::Knot, Self::Bind];

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dnsd => "dnsd",
            Self::Nsd => "nsd",
            Self::Knot => "knot",
            Self::Bind => "bind",
        }
    }

    /// Its program and the Debian package that has it.
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Dnsd => ("dnsd", ""),
            Self::Nsd => ("nsd", "nsd"),
            Self::Knot => ("knotd", "knot"),
            Self::Bind => ("named", "bind9"),
        }
    }

    /// Whether it can be measured; says so if not.
    pub(crate) fn is_installed(self) -> bool {
        let (program, package) = self.program();
        let installed = self == Self::Dnsd || find(program).is_some();
        if !installed {
            eprintln!(
                "{program} is not installed and left out: .ci/servers fetches it, Debian's {package} has it"
            );
        }
        installed
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let fetched = workspace().join("target/servers/dns/bin");
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into(), fetched]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A running server.
pub(crate) struct Server {
    /// Which.
    pub(crate) kind: Kind,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    running: Running,
}

enum Running {
    Ours(Box<Daemon>),
    Other(Process, #[expect(dead_code, reason = "goes when the server goes")] TempDir),
}

impl Server {
    /// A dnsd that publishes nothing yet.
    pub(crate) fn dnsd() -> Self {
        let daemon = Daemon::dnsd(&DaemonOptions::new().flag("--dns-threads", "1"));
        Self { kind: Kind::Dnsd, address: daemon.dns_address(), running: Running::Ours(Box::new(daemon)) }
    }

    /// Another server with a zone in the master file format.
    pub(crate) fn other(kind: Kind, zone: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = ports::free_address();
        let path = folder.path();
        fs::write(path.join("zone"), zone).expect("the zone file");
        let (text, arguments): (String, &[&str]) = match kind {
            Kind::Dnsd => unreachable!("ours is started by `dnsd`"),
            Kind::Nsd => (nsd(path, address), &["-d", "-c", "server.conf"]),
            Kind::Knot => (knot(path, address), &["-c", "server.conf"]),
            Kind::Bind => (bind(path, address), &["-g", "-n", "1", "-c", "server.conf"]),
        };
        fs::write(path.join("server.conf"), text).expect("the configuration");
        let program = find(kind.program().0).expect("it is installed");
        let mut process = Process::new(Recipe {
            name: format!("{} at {address}", kind.name()),
            program,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: Vec::new(),
            folder: path.into(),
            log: path.join("output"),
        });
        process.start();
        let server = Self { kind, address, running: Running::Other(process, folder) };
        wait_until(&format!("{} to answer", kind.name()), READY_DEADLINE, || {
            match dns::query(address, &format!("master.{DOMAIN}"), RecordType::Srv) {
                Ok(message) if message.rcode == 0 && !message.answers.is_empty() => Ok(()),
                Ok(message) => Err(format!("{message:?}")),
                Err(error) => Err(error.to_string()),
            }
        });
        server
    }

    /// Our daemon.
    ///
    /// # Panics
    /// For the others.
    pub(crate) fn daemon(&self) -> &Daemon {
        match &self.running {
            Running::Ours(daemon) => daemon,
            Running::Other(..) => panic!("{} is none of ours", self.kind.name()),
        }
    }

    /// Keeps all its threads on one core.
    pub(crate) fn pin(&mut self, core: usize) {
        for (_, thread) in self.threads() {
            pin(thread, core);
        }
    }

    /// The processor time that it has used so far, in nanoseconds: of all threads of all its processes.
    pub(crate) fn used_ns(&mut self) -> u64 {
        self.threads().iter().map(|(process, thread)| used_ns(*process, *thread)).sum()
    }

    /// Its threads, as process and thread. Its processes are those of its group.
    fn threads(&mut self) -> Vec<(u32, u32)> {
        let group = match &mut self.running {
            Running::Ours(daemon) => daemon.process().pid(),
            Running::Other(process, _) => process.pid(),
        };
        let processes =
            numbers(Path::new("/proc")).into_iter().filter(|process| group_of(*process) == Some(group));
        let threads = |process: u32| {
            let folder = format!("/proc/{process}/task");
            numbers(Path::new(&folder)).into_iter().map(move |thread| (process, thread))
        };
        processes.flat_map(threads).collect()
    }
}

/// Keeps a thread on one core; 0 is the calling one.
pub(crate) fn pin(thread: u32, core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    let thread = i32::try_from(thread).ok().and_then(Pid::from_raw);
    // A thread that has ended meanwhile needs no core.
    let _ = sched_setaffinity(thread, &cores);
}

fn numbers(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The process group, the fifth field of stat (proc(5)).
fn group_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The command's name stands in parentheses and may hold any character.
    stat.rsplit_once(") ")?.1.split(' ').nth(2)?.parse().ok()
}

/// The first field of schedstat (proc(5)): time on a core, in nanoseconds.
fn used_ns(process: u32, thread: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or_default()
}

fn nsd(folder: &Path, address: SocketAddr) -> String {
    let (path, port) = (folder.display(), address.port());
    format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{path}\"\n  \
         database: \"\"\n  pidfile: \"{path}/pid\"\n  xfrdfile: \"{path}/xfrd\"\n  xfrdir: \"{path}\"\n  \
         zonelistfile: \"{path}/zones\"\n  logfile: \"{path}/log\"\n  server-count: 1\n  rrl-ratelimit: 0\n  \
         rrl-whitelist-ratelimit: 0\nremote-control:\n  control-enable: no\n\
         zone:\n  name: {DOMAIN}\n  zonefile: zone\n"
    )
}

fn knot(folder: &Path, address: SocketAddr) -> String {
    let (path, port) = (folder.display(), address.port());
    format!(
        "server:\n  rundir: \"{path}\"\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\ndatabase:\n  storage: \"{path}/db\"\n\
         log:\n- target: \"{path}/log\"\n  any: warning\n\
         zone:\n- domain: {DOMAIN}\n  storage: \"{path}\"\n  file: zone\n"
    )
}

fn bind(folder: &Path, address: SocketAddr) -> String {
    let (path, port) = (folder.display(), address.port());
    format!(
        "options {{\n  directory \"{path}\";\n  listen-on port {port} {{ 127.0.0.1; }};\n  listen-on-v6 {{ none; }};\n  \
         recursion no;\n  notify no;\n  dnssec-validation no;\n  pid-file \"{path}/pid\";\n  \
         session-keyfile \"{path}/session.key\";\n  allow-query {{ any; }};\n}};\ncontrols {{ }};\n\
         zone \"{DOMAIN}\" {{ type primary; file \"zone\"; }};\n"
    )
}
