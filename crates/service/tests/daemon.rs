//! What systemd hears from a daemon.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

/// Set in the child process: this test binary then plays the daemon.
const ROLE: &str = "SERVICE_TEST_ROLE";

/// A daemon that is ready at once and stops when it is told to.
#[tokio::test]
async fn plays_the_daemon_when_started_as_a_child() {
    if !service::config::environment().contains_key(ROLE) {
        return;
    }
    let signals = service::shutdown::on_signals().unwrap();
    tokio::spawn(service::notify::watchdog(signals.first.clone()));
    service::notify::ready("serving revision 7");
    tokio::time::timeout(Duration::from_secs(20), signals.first.cancelled()).await.expect("a signal");
    service::notify::stopping();
}

#[test]
fn ready_status_watchdog_and_stopping_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "plays_the_daemon_when_started_as_a_child"])
        .env(ROLE, "daemon")
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .env_remove("WATCHDOG_PID")
        .spawn()
        .unwrap();
    let mut heard = String::new();
    let mut signalled = false;
    while !heard.contains("STOPPING=1") {
        let mut buffer = [0; 4096];
        let bytes =
            socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}; heard so far:\n{heard}"));
        heard.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
        heard.push('\n');
        if !signalled && heard.contains("READY=1") && heard.matches("WATCHDOG=1").count() >= 2 {
            signalled = true;
            let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
            assert!(killed.success());
        }
    }
    assert!(heard.contains("STATUS=serving revision 7"), "{heard}");
    assert!(child.wait().unwrap().success());
}
