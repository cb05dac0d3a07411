//! Nodes that are known by the names they announce in etcd: `dnsd register` beside each of them, and one dnsd
//! that answers for the names, and looks them up at itself.

use std::path::Path;
use std::time::Duration;

use harness::binaries::binary;
use harness::daemon::DOMAIN;
use harness::ports::free_address;
use harness::process::{Process, Recipe};
use harness::wait::ensure;
use harness::{Daemon, DaemonOptions, Etcd, Redis, dns, wait_until};

/// How long a name or a role may take to be told.
pub(crate) const TOLD_DEADLINE: Duration = Duration::from_secs(20);

/// The name of the node with this index.
pub(crate) fn name(index: usize) -> String {
    format!("core-{index:02}.{DOMAIN}")
}

/// `dnsd register` for each of these nodes, by their order.
pub(crate) fn register_all(etcd: &Etcd, nodes: &[Redis], folder: &Path) -> Vec<Process> {
    nodes.iter().enumerate().map(|(index, node)| register(etcd, node, index, folder)).collect()
}

/// `dnsd register` beside a node.
pub(crate) fn register(etcd: &Etcd, node: &Redis, index: usize, folder: &Path) -> Process {
    let arguments = [
        "register",
        "--etcd",
        &etcd.url(),
        "--name",
        &name(index),
        "--node",
        &node.address().to_string(),
        "--lease",
        "5s",
        "--listen",
        &free_address().to_string(),
    ];
    let mut process = Process::new(Recipe {
        name: format!("dnsd register for {}", name(index)),
        program: binary("dnsd"),
        arguments: arguments.map(str::to_owned).to_vec(),
        environment: Vec::new(),
        folder: folder.to_path_buf(),
        log: folder.join(format!("register-{index}.log")),
    });
    process.start();
    process
}

/// The name server of the nodes, which is its own name server. `why_away` says why it may miss a name.
pub(crate) fn start_dnsd(etcd: &Etcd, why_away: &str) -> Daemon {
    let options = DaemonOptions::new().flag("--nodes-etcd", &etcd.url()).flag("--ttl-refresh", "200ms");
    let options = options.allow_log("keeps its last addresses", why_away);
    Daemon::start("dnsd", &options, &|dns| {
        let dns = dns.to_string();
        ["--dns-listen", &dns, "--domain", DOMAIN, "--nameservers", &dns].map(str::to_owned).to_vec()
    })
}

/// Waits until dnsd answers for each of these nodes. It lists the names once a second; a master without a name
/// would be refused, and asked for slowly.
pub(crate) fn wait_named(dnsd: &Daemon, nodes: &[Redis]) {
    for (index, node) in nodes.iter().enumerate() {
        wait_until("dnsd to answer for the node", TOLD_DEADLINE, || {
            let answer = dns::query(dnsd.dns_address(), &name(index), dns::RecordType::Srv);
            let answer = answer.map_err(|error| error.to_string())?;
            ensure(answer.service() == Some(node.address()), format!("{answer:?}"))
        });
    }
}

/// Waits until DNS names this node as the master.
pub(crate) fn wait_master(dnsd: &Daemon, master: &Redis) {
    wait_until("DNS to name the master", TOLD_DEADLINE, || {
        match dns::find_master(dnsd.dns_address(), DOMAIN) {
            Ok(found) => ensure(found == master.address(), format!("{found}")),
            Err(error) => Err(error.to_string()),
        }
    });
}
