//! What the scenarios of authentication share: tokens made by the operator's tool, and files of them.
#![allow(dead_code, unreachable_pub, reason = "each scenario uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::DaemonOptions;
use harness::binaries::binary;
use serde_json::Value;
use tempfile::TempDir;

/// A token and its line, as `dictatorctl token new` made them.
pub struct Issued {
    pub token: String,
    pub line: String,
}

/// Makes a token.
pub fn issue(name: &str, role: &str) -> Issued {
    let made = Command::new(binary("dictatorctl"))
        .args(["token", "new", "--name", name, "--role", role, "-o", "json"])
        .output()
        .expect("dictatorctl runs");
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    Issued { token: text("token"), line: text("line") }
}

impl Issued {
    /// The value of `Authorization`.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

/// A folder of files that daemons are told of.
pub struct Files {
    folder: TempDir,
}

impl Files {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file whole, as a careful operator does: a new one under another name, then the rename.
    #[allow(clippy::disallowed_methods, reason = "a test's file need not be durable")]
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let new = self.path(&format!("{name}.new"));
        std::fs::write(&new, text).expect("a written file");
        std::fs::rename(&new, &path).expect("a renamed file");
        path
    }
}

/// With a flag that names a file.
pub fn file_flag(options: DaemonOptions, flag: &str, path: &Path) -> DaemonOptions {
    options.flag(flag, path.to_str().expect("UTF-8"))
}
