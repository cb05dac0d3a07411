//! Many clients of the Sentinel face.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::fleet::{Fleet, master, name};

const SUBSCRIBE: &[u8] = b"*2\r\n$9\r\nSUBSCRIBE\r\n$14\r\n+switch-master\r\n";
/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(10);
/// The cluster that moves.
const CLUSTER: usize = 1;

/// How long it took until all were told, of each switch.
pub(crate) struct Told {
    /// Since the PUT was sent.
    pub(crate) last: Vec<Duration>,
    /// Since it was answered; 0 if the last was told before.
    pub(crate) after_answer: Vec<Duration>,
}

fn connect(fleet: &Fleet) -> TcpStream {
    let stream = TcpStream::connect(fleet.sentinel).expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
    stream
}

fn until(stream: &mut TcpStream, end: &[u8]) {
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    while !text.ends_with(end) {
        let bytes = stream.read(&mut chunk).expect("it comes in time");
        assert!(bytes > 0, "closed after {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&chunk[..bytes]);
    }
}

/// Lets a master move before the eyes of many. They are read one after the other, so that the last is seen
/// not earlier than it was told, and nobody takes processor time while waiting.
pub(crate) fn switches(fleet: &Fleet, subscribers: usize, switches: usize) -> Told {
    fleet.put(CLUSTER, 0);
    let mut streams: Vec<TcpStream> = (0..subscribers)
        .map(|_| {
            let mut stream = connect(fleet);
            stream.write_all(SUBSCRIBE).expect("it can be written");
            until(&mut stream, b":1\r\n");
            stream
        })
        .collect();
    let mut told = Told { last: Vec::new(), after_answer: Vec::new() };
    for generation in 1..=switches {
        let (old, new) = (master(CLUSTER, generation - 1), master(CLUSTER, generation));
        let message = format!("{} {old} 6379 {new} 6379\r\n", name(CLUSTER));
        let (http, path) = (fleet.http, format!("/clusters/{}/dns", name(CLUSTER)));
        let document = crate::fleet::document(CLUSTER, generation);
        let begin = Instant::now();
        let putting = thread::spawn(move || {
            assert_eq!(http.put(&path, &document).status, 200);
            Instant::now()
        });
        for stream in &mut streams {
            until(stream, message.as_bytes());
        }
        let last = Instant::now();
        let answered = putting.join().expect("an answer");
        told.last.push(last - begin);
        told.after_answer.push(last.saturating_duration_since(answered));
    }
    told
}

/// Asks for a master again and again.
pub(crate) fn questions(fleet: &Fleet, questions: usize) -> Vec<Duration> {
    let mut stream = connect(fleet);
    let name = name(CLUSTER);
    let question =
        format!("*3\r\n$8\r\nSENTINEL\r\n$23\r\nget-master-addr-by-name\r\n${}\r\n{name}\r\n", name.len());
    (0..questions)
        .map(|_| {
            let begin = Instant::now();
            stream.write_all(question.as_bytes()).expect("it can be written");
            until(&mut stream, b"$4\r\n6379\r\n");
            begin.elapsed()
        })
        .collect()
}
