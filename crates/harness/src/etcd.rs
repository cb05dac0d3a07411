//! A real etcd of one member, for a test's own use.
//!
//! Keys are written with `etcdctl`, as operators and unit files do, so that what the observer sees
//! is what it will see in earnest.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::http::Http;
use crate::logs;
use crate::ports::free_address;
use crate::process::{Process, Recipe};
use crate::wait::wait_until;

/// How long a member may take until it answers.
const READY_DEADLINE: Duration = Duration::from_secs(20);
/// Attempts to start on fresh ports, should another process take one in between.
const STARTS_MAX: usize = 5;

/// An etcd of one member.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    client: SocketAddr,
    /// What etcdctl has to show: certificates, a user.
    shown: Vec<String>,
    folder: TempDir,
}

impl Etcd {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When it cannot be started or does not answer.
    pub fn start() -> Self {
        for _ in 0..STARTS_MAX {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let (client, peer) = (free_address(), free_address());
            let process = Process::new(recipe(folder.path().to_path_buf(), client, peer));
            let mut etcd = Self { process, client, shown: Vec::new(), folder };
            etcd.process.start();
            if etcd.wait_ready() {
                return etcd;
            }
        }
        panic!("etcd did not start, {STARTS_MAX} times");
    }

    /// A member with its folder but not running, for a host of its own; [`Self::start_again`] starts it.
    ///
    /// # Panics
    /// When there is no temporary folder.
    pub fn prepare(client: SocketAddr, peer: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let process = Process::new(recipe(folder.path().to_path_buf(), client, peer));
        Self { process, client, shown: Vec::new(), folder }
    }

    /// Starts one that speaks TLS, asks clients for a certificate of the same authority, and lets nobody in but
    /// root and the users that are added with [`Self::add_user`].
    ///
    /// # Panics
    /// When it cannot be started or does not answer.
    pub fn start_guarded(authority: &Authority, root_password: &str) -> Self {
        Self::start_guarded_with(authority, root_password, &[])
    }

    /// The same with further arguments.
    ///
    /// # Panics
    /// As [`Self::start_guarded`].
    pub fn start_guarded_with(authority: &Authority, root_password: &str, arguments: &[&str]) -> Self {
        let pair = authority.issue("etcd", "etcd", &["127.0.0.1"]);
        let (ca, certificate, key) = (authority.path(), pair.certificate(), pair.key());
        for _ in 0..STARTS_MAX {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let (client, peer) = (free_address(), free_address());
            let mut recipe = recipe(folder.path().to_path_buf(), client, peer);
            for argument in &mut recipe.arguments {
                *argument = argument.replace(&format!("http://{client}"), &format!("https://{client}"));
            }
            let more = [
                "--cert-file",
                certificate,
                "--key-file",
                key,
                "--client-cert-auth",
                "--trusted-ca-file",
                &ca,
            ];
            recipe.arguments.extend(more.iter().chain(arguments).map(|argument| (*argument).to_owned()));
            let shown = ["--cacert", &ca, "--cert", certificate, "--key", key].map(str::to_owned).to_vec();
            let mut etcd = Self { process: Process::new(recipe), client, shown, folder };
            etcd.process.start();
            if etcd.wait_ready() {
                checked(etcd.etcdctl(&["user", "add", &format!("root:{root_password}")]));
                checked(etcd.etcdctl(&["auth", "enable"]));
                etcd.shown.extend(["--user".to_owned(), format!("root:{root_password}")]);
                return etcd;
            }
        }
        panic!("etcd did not start, {STARTS_MAX} times");
    }

    /// Adds a user who may read and write below `prefix`.
    ///
    /// # Panics
    /// When etcdctl fails.
    pub fn add_user(&self, name: &str, password: &str, prefix: &str) {
        checked(self.etcdctl(&["user", "add", &format!("{name}:{password}")]));
        checked(self.etcdctl(&["role", "add", name]));
        checked(self.etcdctl(&["role", "grant-permission", name, "--prefix=true", "readwrite", prefix]));
        checked(self.etcdctl(&["user", "grant-role", name, name]));
    }

    /// Its client URL, `http://127.0.0.1:port`, or `https`.
    pub fn url(&self) -> String {
        let scheme = if self.shown.is_empty() { "http" } else { "https" };
        format!("{scheme}://{}", self.client)
    }

    /// Where it listens for clients.
    pub fn address(&self) -> SocketAddr {
        self.client
    }

    /// The process, to freeze and thaw it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Writes a key and returns the revision of the store after that.
    ///
    /// # Panics
    /// When etcdctl fails.
    pub fn put(&self, key: &str, value: &str) -> u64 {
        let answer = self.etcdctl_json(&["put", key, value]);
        answer["header"]["revision"].as_u64().expect("a revision")
    }

    /// Writes a key with any bytes, more than a command line can carry, and returns the revision of the
    /// store after that.
    ///
    /// # Panics
    /// When etcdctl fails.
    pub fn put_bytes(&self, key: &str, value: &[u8]) -> u64 {
        let mut child = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.url(), "-w", "json", "put", key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("etcdctl can be started; is it installed?");
        child.stdin.take().expect("its standard input").write_all(value).expect("etcdctl reads the value");
        let output = checked(child.wait_with_output().expect("etcdctl ends"));
        let answer: Value = serde_json::from_slice(&output.stdout).expect("etcdctl prints JSON");
        answer["header"]["revision"].as_u64().expect("a revision")
    }

    /// The value of a key, if it has one.
    ///
    /// # Panics
    /// When etcdctl fails.
    pub fn get(&self, key: &str) -> Option<String> {
        let output = checked(self.etcdctl(&["get", "--print-value-only", key]));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (!text.is_empty()).then(|| text.trim_end_matches('\n').to_owned())
    }

    /// Deletes a key and returns the revision of the store after that.
    ///
    /// # Panics
    /// When etcdctl fails.
    pub fn delete(&self, key: &str) -> u64 {
        let answer = self.etcdctl_json(&["del", key]);
        answer["header"]["revision"].as_u64().expect("a revision")
    }

    /// Forgets everything before `revision`.
    ///
    /// # Panics
    /// When etcdctl fails.
    pub fn compact(&self, revision: u64) {
        checked(self.etcdctl(&["compact", &revision.to_string()]));
    }

    /// Stops the member; its data stays.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same ports with no data at all, as after a disk was replaced.
    ///
    /// # Panics
    /// When its data cannot be removed or it does not answer in time.
    pub fn start_empty(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.folder.path().join("data")).expect("etcd's data can be removed");
        self.start_again();
    }

    /// Starts it again with its data, on the same ports.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn start_again(&mut self) {
        self.process.start();
        assert!(self.wait_ready(), "etcd did not start again:\n{}", logs::tail(&self.process.recipe().log));
    }

    /// Runs etcdctl against this member and returns what it printed, whatever its exit code.
    pub fn etcdctl(&self, arguments: &[&str]) -> Output {
        Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.url()])
            .args(&self.shown)
            .args(arguments)
            .output()
            .expect("etcdctl can be started; is it installed?")
    }

    fn etcdctl_json(&self, arguments: &[&str]) -> Value {
        let with_format: Vec<&str> = ["-w", "json"].into_iter().chain(arguments.iter().copied()).collect();
        let output = checked(self.etcdctl(&with_format));
        serde_json::from_slice(&output.stdout).expect("etcdctl prints JSON")
    }

    /// False if the process ended, as it does when a port was taken.
    fn wait_ready(&mut self) -> bool {
        let http = Http::new(self.client);
        wait_until("etcd to answer", READY_DEADLINE, || {
            if !self.process.is_running() {
                return Ok(false);
            }
            if !self.shown.is_empty() {
                let output = self.etcdctl(&["endpoint", "health"]);
                let told = String::from_utf8_lossy(&output.stderr).into_owned();
                return if output.status.success() { Ok(true) } else { Err(told) };
            }
            match http.try_request("GET", "/health", &[], b"") {
                Ok(answer) if answer.status == 200 => Ok(true),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

fn checked(output: Output) -> Output {
    assert!(
        output.status.success(),
        "etcdctl: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    output
}

fn recipe(folder: PathBuf, client: SocketAddr, peer: SocketAddr) -> Recipe {
    let arguments = [
        ("--name", "member".to_owned()),
        ("--data-dir", folder.join("data").display().to_string()),
        ("--listen-client-urls", format!("http://{client}")),
        ("--advertise-client-urls", format!("http://{client}")),
        ("--listen-peer-urls", format!("http://{peer}")),
        ("--initial-advertise-peer-urls", format!("http://{peer}")),
        ("--initial-cluster", format!("member=http://{peer}")),
        ("--heartbeat-interval", "50".to_owned()),
        ("--election-timeout", "500".to_owned()),
        ("--logger", "zap".to_owned()),
        ("--log-level", "error".to_owned()),
    ];
    Recipe {
        name: format!("etcd at {client}"),
        program: "etcd".into(),
        arguments: arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect(),
        environment: Vec::new(),
        log: folder.join("etcd.log"),
        folder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_a_restart() {
        let mut etcd = Etcd::start();
        let first = etcd.put("/config/redis-1/topology", "one");
        let second = etcd.put("/config/redis-1/topology", "two");
        assert_eq!(second, first + 1);
        etcd.kill();
        etcd.start_again();
        assert_eq!(etcd.get("/config/redis-1/topology").as_deref(), Some("two"));
        etcd.delete("/config/redis-1/topology");
        assert_eq!(etcd.get("/config/redis-1/topology"), None);
    }
}
