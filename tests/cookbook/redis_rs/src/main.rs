//! redis-rs through the Sentinel face: writes as long as it is let. Without arguments it says its version.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::sentinel::{SentinelClient, SentinelServerType};
use redis::{Commands, Connection, RedisResult};

/// Of the client, as it was built in.
fn version() -> Option<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let (_, package) = lock.split_once("name = \"redis\"\nversion = \"")?;
    package.split('"').next()
}

fn push(
    client: &mut SentinelClient,
    connection: &mut Option<Connection>,
    key: &str,
    number: u64,
) -> RedisResult<()> {
    let open = match connection {
        Some(open) => open,
        None => {
            let open = client.get_connection()?;
            open.set_read_timeout(Some(Duration::from_secs(5)))?;
            connection.insert(open)
        }
    };
    open.rpush(key, number)
}

#[allow(clippy::disallowed_methods, reason = "there is no runtime here whose worker it could block")]
fn main() -> RedisResult<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [_, _, host, port, name, key] = arguments.as_slice() else {
        println!("{}", version().unwrap_or("?"));
        return Ok(());
    };
    let sentinels = vec![format!("redis://{host}:{port}")];
    let mut client = SentinelClient::build(sentinels, name.clone(), None, SentinelServerType::Master)?;
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
    });
    let mut connection = None;
    for number in 1.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        match push(&mut client, &mut connection, key, number) {
            Ok(()) => println!("ack {number}"),
            Err(error) => {
                println!("err {number} {}", error.code().unwrap_or("-"));
                // A master that became a slave keeps the connection: leave it, and ask again who is master.
                connection = None;
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
