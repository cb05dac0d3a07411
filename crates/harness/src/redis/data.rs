//! The data of a node: written, waited for until it is on its disk, backed up and put back.
//!
//! A backup is what an operator has of a node that was stopped: the folder of its append-only files. It is kept
//! beside the live one, so that it goes with the node.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::Redis;
use crate::wait::{ensure, wait_until};

/// How long redis may take to write the append-only file of what a sync brought.
const ON_DISK_DEADLINE: Duration = Duration::from_secs(30);

impl Redis {
    /// Sets `key:N` for each of these numbers.
    ///
    /// # Panics
    /// When the node takes no writes.
    pub fn fill(&self, keys: Range<u64>) {
        let mut connection = self.connect();
        for key in keys {
            connection.command(&["SET", &format!("key:{key}"), "1"]).expect("a write");
        }
    }

    /// Waits until what the node got by its first sync is on its disk: redis writes a new append-only file then,
    /// and one that is killed before comes back with the old one, empty.
    ///
    /// # Panics
    /// When that does not come true.
    pub fn wait_on_disk(&self) {
        wait_until("the first append-only file to be written", ON_DISK_DEADLINE, || {
            let info = self.info();
            let busy = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"];
            ensure(
                busy.iter().all(|name| info.get(*name).is_some_and(|value| value == "0")),
                "it is being written",
            )
        });
    }

    /// Stops it, copies its append-only files, and starts it again.
    ///
    /// # Panics
    /// When it has none, or something cannot be done.
    pub fn back_up(&mut self) {
        self.stop();
        copy_folder(&self.folder().join("appendonlydir"), &self.folder().join("backup"));
        self.start_again();
    }

    /// Kills it and starts it with what [`Redis::back_up`] copied, and nothing else.
    ///
    /// # Panics
    /// When there is no backup, or something cannot be done.
    pub fn put_back(&mut self) {
        self.kill();
        self.lose_data();
        copy_folder(&self.folder().join("backup"), &self.folder().join("appendonlydir"));
        self.start_again();
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a readable folder") {
        let entry = entry.expect("a readable entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copied file");
    }
}
