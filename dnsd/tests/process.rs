//! The program itself: what it tells its starter, and how it ends.
#![allow(missing_docs)]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_proto::rr::{Name, RecordType, TSigner};

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
fn start(state_dir: &str, more: &[&str]) -> (Child, SocketAddr, SocketAddr) {
    for _ in 0..10 {
        let (http, dns) = (free_address(), free_address());
        let (listen, dns_listen) = (http.to_string(), dns.to_string());
        let mut child =
            command(&["--listen", &listen, "--dns-listen", &dns_listen, "--state-dir", state_dir])
                .args(more)
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
    let (child, _, dns) = start(folder.path().to_str().unwrap(), &[]);
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

/// The answer to a question for the SOA record that is signed: the response code and the reason in its TSIG
/// record.
fn ask_signed(dns: SocketAddr, secret: &[u8]) -> (ResponseCode, Option<TsigError>) {
    let name = Name::from_ascii("dnsd").unwrap();
    let signer = TSigner::new(secret.to_vec(), TsigAlgorithm::HmacSha256, name, 300).unwrap();
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii("redis-1.docker.").unwrap(), RecordType::SOA));
    message.finalize(&signer, service::clock::unix_seconds()).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.send_to(&message.to_vec().unwrap(), dns).unwrap();
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).unwrap();
    let answer = Message::from_vec(&answer[..length]).unwrap();
    (answer.metadata.response_code, answer.signature().unwrap().data.error)
}

#[test]
fn keys_are_taken_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, new) = (folder.path().join("keys"), folder.path().join("keys.new"));
    let (first, second) = (*b"the first secret of this test", *b"the other secret of this test");
    #[allow(clippy::disallowed_methods, reason = "a file of the test")]
    let write = |text: &str| {
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
    };
    let key = |secret: &[u8]| {
        let secret = data_encoding::BASE64.encode(secret);
        format!("key \"dnsd\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n")
    };
    write(&key(&first));
    let settings = ["--tsig-keys-file", path.to_str().unwrap(), "--transfer-to", "127.0.0.1=dnsd"];
    let (child, _, dns) = start(folder.path().join("state").to_str().unwrap(), &settings);
    let hang_up = || {
        let signal = Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap();
        assert!(signal.success());
    };
    let becomes = |secret: &[u8], expected: (ResponseCode, Option<TsigError>)| {
        let began = Instant::now();
        while ask_signed(dns, secret) != expected {
            assert!(began.elapsed() < DEADLINE, "{expected:?} in vain: {:?}", ask_signed(dns, secret));
            nap();
        }
    };
    // Nothing is published yet; who has the key is told so.
    let (known, unknown) = ((ResponseCode::ServFail, None), (ResponseCode::NotAuth, Some(TsigError::BadSig)));
    assert_eq!((ask_signed(dns, &first), ask_signed(dns, &second)), (known, unknown));
    write(&key(&second));
    hang_up();
    becomes(&second, known);
    assert_eq!(ask_signed(dns, &first), unknown);
    write(&key(&first));
    hang_up();
    becomes(&first, known);
    let (_, log) = stop(child);
    assert!(log.contains("TSIG keys"), "{log}");
    for secret in [first, second] {
        assert!(!log.contains(&data_encoding::BASE64.encode(&secret)[..10]), "{log}");
    }
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
