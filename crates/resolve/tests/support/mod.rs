//! A name server on loopback that answers from a script and remembers what it was asked.
//!
//! UDP and TCP on one port. It is no model of a good server: it does what the test tells it, silence,
//! SERVFAIL and truncation included.
#![allow(dead_code, reason = "the tests of several crates use a part each")]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, RwLock};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// What the server does with one question.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Records(Vec<(String, RData)>),
    /// Over UDP only TC, the records over TCP.
    TruncatedThen(Vec<(String, RData)>),
    Code(ResponseCode),
    Silence,
}

#[derive(Default)]
pub(crate) struct Script {
    replies: HashMap<(String, RecordType), Reply>,
}

impl Script {
    pub(crate) fn reply(mut self, name: &str, record_type: RecordType, reply: Reply) -> Self {
        self.replies.insert((name.to_owned(), record_type), reply);
        self
    }

    pub(crate) fn srv(self, name: &str, services: &[(u16, &str)]) -> Self {
        let records = services
            .iter()
            .map(|(port, target)| {
                (name.to_owned(), RData::SRV(SRV::new(10, 100, *port, Name::from_str(target).unwrap())))
            })
            .collect();
        self.reply(name, RecordType::SRV, Reply::Records(records))
    }

    pub(crate) fn address(self, name: &str, ips: &[&str]) -> Self {
        let mut by_type: HashMap<RecordType, Vec<(String, RData)>> = HashMap::new();
        for ip in ips {
            let data = match ip.parse().unwrap() {
                IpAddr::V4(ip) => RData::A(A(ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
            };
            by_type.entry(data.record_type()).or_default().push((name.to_owned(), data));
        }
        by_type
            .into_iter()
            .fold(self, |script, (kind, records)| script.reply(name, kind, Reply::Records(records)))
    }

    pub(crate) fn code(self, name: &str, record_type: RecordType, code: ResponseCode) -> Self {
        self.reply(name, record_type, Reply::Code(code))
    }

    pub(crate) async fn serve(self) -> Server {
        let (udp, tcp) = bind_both().await;
        let address = udp.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(RwLock::new(self));
        let tasks = vec![
            tokio::spawn(serve_udp(udp, script.clone(), asked.clone())),
            tokio::spawn(serve_tcp(tcp, script.clone(), asked.clone())),
        ];
        Server { address, script, asked, tasks }
    }
}

/// A running server; it ends when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    script: Arc<RwLock<Script>>,
    asked: Arc<Mutex<Vec<String>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Answers from another script from now on.
    pub(crate) fn replace(&self, script: Script) {
        *self.script.write().unwrap() = script;
    }

    /// How many questions came so far.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Questions in the order they came, each once.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut once = Vec::new();
        for question in self.asked.lock().unwrap().iter() {
            if !once.contains(question) {
                once.push(question.clone());
            }
        }
        once
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn bind_both() -> (UdpSocket, TcpListener) {
    for _ in 0..20 {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port free for both UDP and TCP");
}

async fn serve_udp(socket: UdpSocket, script: Arc<RwLock<Script>>, asked: Arc<Mutex<Vec<String>>>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        if let Some(answer) = answer(&script, &asked, &buffer[..length], true) {
            socket.send_to(&answer, peer).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, script: Arc<RwLock<Script>>, asked: Arc<Mutex<Vec<String>>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (script, asked) = (script.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut buffer = vec![0; usize::from(length)];
                stream.read_exact(&mut buffer).await.unwrap();
                if let Some(answer) = answer(&script, &asked, &buffer, false) {
                    stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
    }
}

fn answer(script: &RwLock<Script>, asked: &Mutex<Vec<String>>, packet: &[u8], udp: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(packet).unwrap();
    let question = query.queries[0].clone();
    let (name, kind) = (question.name().to_lowercase().to_ascii(), question.query_type());
    asked.lock().unwrap().push(format!("{kind} {name}"));
    let mut message = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message.add_query(question);
    let script = script.read().unwrap();
    let exists = script.replies.keys().any(|(known, _)| *known == name);
    let missing = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
    let reply = script.replies.get(&(name, kind)).cloned().unwrap_or(Reply::Code(missing));
    match reply {
        Reply::Silence => return None,
        Reply::Code(code) => message.metadata.response_code = code,
        Reply::TruncatedThen(_) if udp => message.metadata.truncation = true,
        Reply::Records(records) | Reply::TruncatedThen(records) => {
            for (owner, data) in records {
                message.add_answer(Record::from_rdata(Name::from_str(&owner).unwrap(), 5, data));
            }
        }
    }
    Some(message.to_vec().unwrap())
}

pub(crate) fn cname(owner: &str, target: &str) -> (String, RData) {
    (owner.to_owned(), RData::CNAME(CNAME(Name::from_str(target).unwrap())))
}
