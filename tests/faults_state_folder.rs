//! State folders that are full or read-only: without a record there is no hand-over, without a durable
//! publication DNS stays as it was, and when there is room again the trigger arrives by itself.
//!
//! A small file system is mounted over the folder of a running daemon, since permissions do not stop a
//! test that runs as root. Where nothing can be mounted the tests say so and end.

#![allow(clippy::print_stderr, reason = "a test that cannot be made here says so")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::cluster::{assert_takes_writes, assert_untouched};
use harness::wait::ensure;
use harness::{Daemon, DaemonOptions, Whole, WholeOptions, wait_until};

/// Deadline of everything that is waited for.
const SOON: Duration = Duration::from_secs(40);
/// Size of the small file system.
const SIZE: &str = "size=64k";

/// A small file system over a folder, with a copy of its files, until it is dropped.
struct SmallDisk {
    folder: PathBuf,
    mounted: bool,
}

impl SmallDisk {
    /// `None` where nothing can be mounted.
    fn over(folder: PathBuf) -> Option<Self> {
        let files: Vec<(PathBuf, Vec<u8>)> = std::fs::read_dir(&folder)
            .expect("the state folder")
            .map(|entry| entry.expect("an entry").path())
            // What is being written would be written over, and so needs no room.
            .filter(|path| path.extension().is_none_or(|extension| extension != "new"))
            .map(|path| (path.clone(), std::fs::read(&path).expect("a file of the daemon")))
            .collect();
        if !run("mount", &["-t", "tmpfs", "-o", SIZE, "none"], &folder) {
            eprintln!("skipped: nothing can be mounted here");
            return None;
        }
        for (path, content) in files {
            fill(&path, &content).expect("a copy of the state");
        }
        Some(Self { folder, mounted: true })
    }

    /// Leaves no byte free.
    fn fill_up(&self) {
        const CHUNK: [u8; 1024] = [0; 1024];
        let mut file = std::fs::File::create(self.folder.join("ballast")).expect("a file");
        while file.write_all(&CHUNK).is_ok() {}
    }

    fn make_read_only(&self) {
        assert!(run("mount", &["-o", "remount,ro"], &self.folder), "it can be remounted");
    }

    /// There is room again. The state is the one from before the disk was small.
    fn lift(mut self) {
        self.unmount();
    }

    fn unmount(&mut self) {
        if std::mem::take(&mut self.mounted) {
            assert!(run("umount", &["--lazy"], &self.folder), "it can be unmounted");
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn fill(path: &Path, content: &[u8]) -> std::io::Result<()> {
    std::fs::File::create(path)?.write_all(content)
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> bool {
    let status =
        Command::new(program).args(arguments).arg(folder).stderr(std::process::Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// How a folder stops being of use: a name for messages, and what does it.
type Spoiling = (&'static str, fn(&SmallDisk));

/// All ways.
const TROUBLES: [Spoiling; 2] = [("full", SmallDisk::fill_up), ("read-only", SmallDisk::make_read_only)];

fn expecting(reason: &str) -> DaemonOptions {
    DaemonOptions::new().allow_log("", reason)
}

fn whole() -> Whole {
    let whole = Whole::start(&WholeOptions {
        nodes: 2,
        dictator: expecting("its state folder is of no use for a while").flag("--enforce-interval", "0"),
        dnsd: expecting("its state folder is of no use for a while"),
        observer: expecting("it is told no by those who cannot write"),
        ..WholeOptions::default()
    });
    let revision = whole.move_to(0);
    wait_delivered(&whole.observer, revision);
    whole
}

/// Waits until the observer has told everybody and has remembered it, as far as it can.
fn wait_delivered(observer: &Daemon, revision: u64) {
    wait_until("the delivery to be done", SOON, || {
        let status = observer.status();
        ensure(status["delivered"]["revision"] == revision, status.to_string())
    });
}

/// What the observer was last told by the one it notifies at this place.
fn wait_told(observer: &Daemon, place: usize, slug: &str) {
    wait_until("the observer to be told why", SOON, || {
        let status = observer.status();
        ensure(status["notify"][place]["last"]["problem"] == slug, status.to_string())
    });
}

#[test]
fn without_a_record_no_hand_over() {
    let whole = whole();
    let nodes: Vec<_> = whole.nodes.iter().collect();
    for (name, spoil) in TROUBLES {
        let Some(disk) = SmallDisk::over(whole.dictator.state_folder()) else { return };
        spoil(&disk);
        let master = usize::from(nodes[0].role() != "master");
        let target = 1 - master;
        assert_untouched(&nodes, || {
            let answer = whole.dictator.put_master(&whole.document(target));
            assert_eq!((answer.status, answer.slug().as_str()), (503, "record-not-writable"), "{name}");
            whole.define(&whole.document(target));
            whole.trigger();
            wait_told(&whole.observer, 0, "record-not-writable");
        });
        assert_takes_writes(nodes[master]);
        assert_eq!(whole.dnsd.published_master(), Some(nodes[master].address()), "{name}");
        disk.lift();
        // The observer asks again, and nobody has to.
        whole.wait_published(target);
        assert_eq!(nodes[target].role(), "master");
    }
}

#[test]
fn dnsd_serves_what_it_could_keep() {
    let whole = whole();
    for (target, (name, spoil)) in [1, 0].into_iter().zip(TROUBLES) {
        let before = whole.dnsd.published_master();
        let Some(disk) = SmallDisk::over(whole.dnsd.state_folder()) else { return };
        spoil(&disk);
        whole.define(&whole.document(target));
        whole.trigger();
        wait_told(&whole.observer, 1, "record-not-writable");
        assert_eq!(whole.nodes[target].role(), "master", "{name}: the nodes come first");
        assert_eq!(whole.dnsd.published_master(), before, "{name}");
        disk.lift();
        whole.wait_published(target);
    }
}

#[test]
fn an_observer_that_cannot_remember_delivers_and_does_so_again_after_a_restart() {
    let mut whole = whole();
    for (target, (name, spoil)) in [1, 0].into_iter().zip(TROUBLES) {
        let Some(disk) = SmallDisk::over(whole.observer.state_folder()) else { return };
        spoil(&disk);
        let revision = whole.move_to(target);
        wait_delivered(&whole.observer, revision);
        let generation = whole.dictator.status()["generation"].clone();
        whole.observer.kill();
        disk.lift();
        whole.observer.start_again();
        wait_delivered(&whole.observer, revision);
        assert_eq!(
            whole.dictator.status()["generation"],
            generation,
            "{name}: the second time changes nothing"
        );
        assert_eq!(whole.dnsd.published_master(), Some(whole.nodes[target].address()));
    }
}
