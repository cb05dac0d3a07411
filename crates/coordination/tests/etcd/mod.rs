//! A real etcd of one member on a free loopback port, in a temporary folder.
//!
//! Also used by the observer's tests. Commands go through `etcdctl`, so that what is tested meets the
//! server as an operator's shell does and not through the client under test.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Deadline of every start of etcd.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// A free port may be taken by somebody else before etcd binds it.
const START_ATTEMPTS: usize = 5;

/// A running etcd; killed and swept away when dropped.
pub struct Etcd {
    folder: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
    child: Option<Child>,
}

impl Etcd {
    /// Starts an empty etcd and waits until it answers.
    pub fn start() -> Self {
        for _ in 0..START_ATTEMPTS {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let mut etcd = Self { folder, client_port: free_port(), peer_port: free_port(), child: None };
            if etcd.launch() {
                return etcd;
            }
        }
        panic!("etcd did not start in {START_ATTEMPTS} attempts");
    }

    /// The client URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// Kills it (SIGKILL). Its data stays.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill etcd");
            child.wait().expect("wait for etcd");
        }
    }

    /// Starts it again on the same port with the same data.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "etcd did not start again");
    }

    /// Starts it again on the same port with no data at all.
    pub fn restart_empty(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.folder.path().join("data")).expect("remove the data of etcd");
        assert!(self.launch(), "etcd did not start again");
    }

    /// Stops it as SIGSTOP does: its connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Runs `etcdctl` and returns what it printed.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.url()))
            .args(arguments)
            .output()
            .expect("run etcdctl");
        assert!(
            output.status.success(),
            "etcdctl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Writes a key and returns the revision of the write.
    pub fn put(&self, key: &str, value: &str) -> u64 {
        revision_in(&self.ctl(&["put", key, value, "-w", "json"]))
    }

    /// Writes a key from a file's bytes, for values that no command line can carry.
    pub fn put_bytes(&self, key: &str, value: &[u8]) -> u64 {
        let mut child = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.url()))
            .args(["put", key, "-w", "json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run etcdctl");
        child.stdin.take().expect("its input").write_all(value).expect("write the value");
        let output = child.wait_with_output().expect("wait for etcdctl");
        assert!(output.status.success(), "etcdctl put from stdin failed");
        revision_in(&String::from_utf8_lossy(&output.stdout))
    }

    /// Deletes a key and returns the revision of the deletion.
    pub fn delete(&self, key: &str) -> u64 {
        revision_in(&self.ctl(&["del", key, "-w", "json"]))
    }

    /// Compacts everything before `revision`.
    pub fn compact(&self, revision: u64) {
        self.ctl(&["compact", &revision.to_string()]);
    }

    /// The value of a key, or an empty text.
    pub fn get(&self, key: &str) -> String {
        self.ctl(&["get", key, "--print-value-only"]).trim_end().to_owned()
    }

    fn launch(&mut self) -> bool {
        let client = self.url();
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a log file");
        let child = Command::new("etcd")
            .args(["--name", "test", "--logger", "zap", "--log-level", "error"])
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .arg(format!("--initial-cluster=test={peer}"))
            .args(["--heartbeat-interval", "50", "--election-timeout", "250"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start etcd (is it installed?)");
        self.child = Some(child);
        let give_up_at = Instant::now() + START_DEADLINE;
        while Instant::now() < give_up_at {
            if self.child.as_mut().expect("just started").try_wait().expect("ask for etcd").is_some() {
                break;
            }
            if self.is_healthy() {
                return true;
            }
            #[allow(clippy::disallowed_methods, reason = "polling a process from synchronous test code")]
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        false
    }

    fn is_healthy(&self) -> bool {
        let address = SocketAddr::from(([127, 0, 0, 1], self.client_port));
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(200))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains(r#""health":"true""#))
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("etcd is running").id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("run kill");
        assert!(status.success(), "kill {signal} {pid}");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind a free port");
    listener.local_addr().expect("its address").port()
}

fn revision_in(json: &str) -> u64 {
    let after = json.split(r#""revision":"#).nth(1).expect("a revision in the output of etcdctl");
    after.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}
