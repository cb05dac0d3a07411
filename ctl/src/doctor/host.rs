//! The host a redis node runs on: what the kernel says, and what redis needs of it.
//!
//! Sources: the warnings that redis itself writes at start (`src/syscheck.c`, `src/server.c` of redis 7), and
//! the kernel's documentation of the files named below.

use std::path::Path;

use super::{Finding, Level};

/// What redis listens with (`tcp-backlog`); the kernel cuts it down to somaxconn.
const BACKLOG_WANTED: u64 = 511;
/// Open files for redis' default of 10 000 clients, with the 32 it keeps for itself.
const FILES_WANTED: u64 = 10_032;
/// Processes looked at; a host has fewer.
const PROCESSES_MAX: usize = 100_000;

const SYSCTL_CURE: &str = "cp units/sysctl.d/60-redis.conf /etc/sysctl.d/ && sysctl --system";

/// Looks at the host whose `/proc` and `/sys` are below `root`.
pub fn examine(root: &Path) -> Vec<Finding> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let mut findings = Vec::new();
    findings.extend(read("proc/sys/net/core/somaxconn").and_then(|text| somaxconn(&text)));
    findings.extend(read("proc/sys/vm/overcommit_memory").and_then(|text| overcommit(&text)));
    findings.extend(read("sys/kernel/mm/transparent_hugepage/enabled").and_then(|text| huge_pages(&text)));
    findings.extend(redis_limits(root));
    findings
}

fn somaxconn(text: &str) -> Option<Finding> {
    let size: u64 = text.trim().parse().ok()?;
    (size < BACKLOG_WANTED).then(|| {
        let what = format!(
            "net.core.somaxconn is {size}: when many clients come at once, as after a change of the master, \
             connections beyond that are dropped"
        );
        Finding::new(Level::Warning, "this host", what, SYSCTL_CURE)
    })
}

fn overcommit(text: &str) -> Option<Finding> {
    (text.trim() != "1").then(|| {
        let what = format!(
            "vm.overcommit_memory is {}: redis may fail to fork for a first sync of a slave, or to save, while \
             memory is there",
            text.trim()
        );
        Finding::new(Level::Warning, "this host", what, SYSCTL_CURE)
    })
}

fn huge_pages(text: &str) -> Option<Finding> {
    text.contains("[always]").then(|| {
        let what = "transparent huge pages are on for every process: after a fork each write copies 2 MiB, which \
                    stalls redis and lengthens the write gap";
        let cure = "cp units/redis-no-thp.service /etc/systemd/system/ && systemctl enable --now redis-no-thp, \
                    then restart the nodes, slaves first";
        Finding::new(Level::Warning, "this host", what, cure)
    })
}

/// Every redis that runs here and may open too few files.
fn redis_limits(root: &Path) -> Vec<Finding> {
    let Ok(processes) = std::fs::read_dir(root.join("proc")) else { return Vec::new() };
    let mut findings = Vec::new();
    for process in processes.flatten().take(PROCESSES_MAX) {
        let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        if !matches!(name.trim(), "redis-server" | "valkey-server") {
            continue;
        }
        let limits = std::fs::read_to_string(process.path().join("limits")).unwrap_or_default();
        let process = format!("{} (pid {})", name.trim(), process.file_name().to_string_lossy());
        findings.extend(open_files(&limits).filter(|files| *files < FILES_WANTED).map(|files| {
            let what = format!("it may open {files} files, so it takes fewer than 10 000 clients");
            let cure =
                "systemctl edit redis-node@.service: [Service] LimitNOFILE=65536; then restart the node";
            Finding::new(Level::Warning, &process, what, cure)
        }));
    }
    findings
}

/// The soft limit in `/proc/<pid>/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_told_from_its_file() {
        assert!(somaxconn("128\n").unwrap().what.contains("somaxconn is 128"));
        assert_eq!(somaxconn("4096\n"), None);
        assert!(overcommit("0\n").is_some() && overcommit("2").is_some());
        assert_eq!(overcommit("1\n"), None);
        assert!(huge_pages("[always] madvise never\n").is_some());
        assert_eq!(huge_pages("always [madvise] never\n"), None);
        assert_eq!(open_files("Max cpu time  unlimited\nMax open files   1024   4096  files\n"), Some(1024));
        assert_eq!(open_files("Max open files   unlimited unlimited files\n"), Some(u64::MAX));
        assert_eq!(open_files("nothing"), None);
    }

    #[test]
    fn a_host_without_these_files_has_no_findings() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(examine(folder.path()), []);
    }
}
