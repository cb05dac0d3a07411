//! The program itself: what it tells its starter, and how it ends.
#![allow(missing_docs)]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(10);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnsd"));
    command.args(arguments).env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Between two looks at another process.
#[allow(clippy::disallowed_methods, reason = "there is no runtime here whose worker it could block")]
fn nap() {
    std::thread::sleep(Duration::from_millis(5));
}

/// Starts it and waits until HTTP answers; a port may be taken meanwhile, then again.
fn start(state_dir: &str) -> (Child, SocketAddr, SocketAddr) {
    for _ in 0..10 {
        let (http, dns) = (free_address(), free_address());
        let (listen, dns_listen) = (http.to_string(), dns.to_string());
        let mut child =
            command(&["--listen", &listen, "--dns-listen", &dns_listen, "--state-dir", state_dir])
                .spawn()
                .unwrap();
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if TcpStream::connect(http).is_ok() {
                return (child, http, dns);
            }
            assert!(began.elapsed() < DEADLINE, "it neither starts nor ends");
            nap();
        }
    }
    panic!("no free ports");
}

fn stop(mut child: Child) -> (Option<i32>, String) {
    let signal = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < DEADLINE, "it does not stop");
        nap();
    }
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    (child.wait().unwrap().code(), log)
}

#[test]
fn it_starts_answers_and_stops_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let (child, _, dns) = start(folder.path().to_str().unwrap());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    // SRV master.redis-1.docker, before anything was published.
    let mut query = vec![7, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend(b"\x06master\x07redis-1\x06docker\x00\x00\x21\x00\x01");
    socket.send_to(&query, dns).unwrap();
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).unwrap();
    assert_eq!((answer[..2].to_vec(), answer[3] & 0x0f, length), (vec![7, 7], 2, query.len()), "SERVFAIL");
    let (code, log) = stop(child);
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn wrong_settings_are_64_and_a_failed_start_is_1() {
    let wrong = output(&["--domain", "a b", "--ttl", "never"]);
    assert_eq!(wrong.status.code(), Some(64));
    let told = BufReader::new(&wrong.stderr[..]).lines().map_while(Result::ok).collect::<Vec<_>>().join("\n");
    assert!(told.contains("--domain") && told.contains("--ttl"), "{told}");

    assert_eq!(output(&["--check-config"]).status.code(), Some(0));

    let folder = tempfile::tempdir().unwrap();
    let state_dir = folder.path().to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let busy = output(&["--listen", "127.0.0.1:0", "--dns-listen", &address, "--state-dir", state_dir]);
    assert_eq!(busy.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&busy.stderr).contains(&address), "{busy:?}");
    let file = folder.path().join("file");
    std::fs::File::create(&file).unwrap();
    let no_folder = output(&[
        "--listen",
        "127.0.0.1:0",
        "--dns-listen",
        "127.0.0.1:0",
        "--state-dir",
        file.to_str().unwrap(),
    ]);
    assert_eq!(no_folder.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&no_folder.stderr).contains("--state-dir"), "{no_folder:?}");
}
