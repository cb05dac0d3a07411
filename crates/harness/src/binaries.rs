//! Finding our own programs, built once.
//!
//! `cargo test` of one package builds no binaries of another, and `CARGO_BIN_EXE_*` exists only
//! inside the package that owns the binary. So the first test of a process that needs a daemon runs
//! `cargo build --workspace --bins` in the profile the test itself was built in. Test processes that
//! do so at once queue at cargo's own lock, and all but the first find nothing to do.
//! `HARNESS_BINARIES=built` skips the build for those who have just done it, and `HARNESS_BINARIES=FOLDER` takes
//! programs from elsewhere, such as a bench that shall measure a release without building one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of our program `name`, built if need be.
///
/// # Panics
/// When the build fails, with cargo's own words on standard error.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let path = FOLDER.get_or_init(build).join(name);
    assert!(path.exists(), "{} does not exist; the workspace builds no program of that name", path.display());
    path
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn build() -> PathBuf {
    let folder = profile_folder();
    match std::env::var_os("HARNESS_BINARIES").filter(|value| !value.is_empty()) {
        Some(value) if value == "built" => return folder,
        Some(elsewhere) => return elsewhere.into(),
        None => {}
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--workspace", "--bins"]).current_dir(workspace());
    match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            command.args(["--profile", profile]);
        }
    }
    let status = command.status().expect("cargo can be started");
    assert!(status.success(), "cargo build --workspace --bins failed: {status}");
    folder
}

/// `target/<profile>`: the folder above `deps` or `examples`, where the running test lies.
fn profile_folder() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program");
    own.ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps") && !folder.ends_with("examples"))
        .expect("a folder above the program")
        .to_path_buf()
}
