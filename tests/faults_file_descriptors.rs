//! Strangers take every file that a daemon may open: it says so once, changes nothing, keeps its master, and goes on
//! when they have left.

use std::net::TcpStream;
use std::time::Duration;

use harness::cluster::{assert_takes_writes, quick};
use harness::daemon::Daemon;
use harness::{Redis, RedisOptions, topology, wait_until};

/// Files that the dictator may have open at once; it needs some forty itself.
const FILES: &str = "--nofile=64:64";
/// Connections of strangers, more than that.
const STRANGERS: usize = 120;
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_dictator_without_files_to_open_waits_for_better_times() {
    let nodes = Redis::start_many(2, &RedisOptions::default());
    let options = quick()
        .allow_log("connections cannot be accepted", "there are no files left")
        .allow_log("the record", "there are no files left")
        .allow_log("the history", "there are no files left")
        .allow_log("the topology cannot be kept", "there are no files left");
    let mut dictator = Daemon::dictator(&options);
    dictator.kill();
    let recipe = dictator.process().recipe_mut();
    let program = std::mem::replace(&mut recipe.program, "prlimit".into());
    recipe.arguments.splice(0..0, [FILES.to_owned(), program.display().to_string()]);
    dictator.start_again();
    let document = |master: usize| topology(&nodes[master], &[&nodes[1 - master]]);
    dictator.http().put("/master?wait=links", &document(0)).expect(200);

    let strangers: Vec<TcpStream> = (0..STRANGERS)
        .map(|_| TcpStream::connect(dictator.http().address()).expect("the listener's queue takes it"))
        .collect();
    wait_until("the dictator to say that it takes no connection", SOON, || {
        let log = harness::logs::read(dictator.log());
        let said = log.matches("connections cannot be accepted").count();
        if said > 0 { Ok(()) } else { Err(log) }
    });
    assert_takes_writes(&nodes[0]);
    assert_eq!(nodes[1].role(), "slave");

    drop(strangers);
    wait_until("the master to move when there are files again", SOON, || {
        let body = document(1).to_string();
        let answer = dictator.http().try_request("PUT", "/master", &[], body.as_bytes());
        match answer {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.text()),
            Err(error) => Err(error.to_string()),
        }
    });
    assert_takes_writes(&nodes[1]);
    let log = harness::logs::read(dictator.log());
    let said = log.matches("connections cannot be accepted").count();
    assert!(said <= 3, "said {said} times:\n{log}");
}
