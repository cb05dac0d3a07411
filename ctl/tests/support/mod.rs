//! Runs `dictatorctl` as an operator's shell would: as a process, without a terminal.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod calls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A way to call the program again and again.
pub struct Ctl {
    pub endpoint: String,
    pub variables: Vec<(String, String)>,
}

/// How a call ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ctl {
    /// Calls that go to this endpoint.
    pub fn of(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), variables: Vec::new() }
    }

    /// The same with an environment variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with_input(arguments, "")
    }

    /// Runs with this on standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        let mut child = command.spawn().expect("dictatorctl starts");
        let mut stdin = child.stdin.take().expect("standard input");
        // A call that reads nothing closes it early.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("dictatorctl ends");
        Ran {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// A call that is not started yet, all streams piped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dictatorctl"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DICTATORCTL_ENDPOINT", &self.endpoint)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

impl Ran {
    /// Asserts the exit code and returns itself.
    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that standard output has all these parts.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stdout.contains(part), "no {part:?} in\n{}", self.stdout);
        }
        self
    }

    /// Asserts that standard error has all these parts.
    #[track_caller]
    pub fn complains(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in\n{}", self.stderr);
        }
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// A document in a file of a temporary folder.
pub struct File {
    pub path: String,
    _folder: tempfile::TempDir,
}

impl File {
    #[allow(clippy::disallowed_methods, reason = "a test's file need not be durable")]
    pub fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("document.json");
        std::fs::write(&path, text).expect("a written file");
        Self { path: path.display().to_string(), _folder: folder }
    }
}

/// A server that answers every connection with these bytes and closes it; tells what it was asked.
pub fn server(answer: impl Into<Vec<u8>>) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let (asked, told) = std::sync::mpsc::channel();
    let answer = answer.into();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => request.extend_from_slice(&buffer[..count]),
                }
            }
            let _ = stream.write_all(&answer);
            if asked.send(String::from_utf8_lossy(&request).into_owned()).is_err() {
                return;
            }
        }
    });
    (address, told)
}

/// The answer of a daemon that refuses.
pub fn refusal(status: u16, slug: &str, detail: &str) -> String {
    let body = serde_json::json!({
        "type": format!("urn:redis-dictator:{slug}"), "title": slug, "status": status, "detail": detail,
        "do": "mend it",
    });
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status} No\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
