//! What subscribers are told when a publication takes another's place. Pure.
//!
//! A message to a channel is the same for all its subscribers, but for the protocol version: it is encoded
//! once for each of the two and then only copied.

use crate::directory::Change;
use crate::publication::Publication;
use crate::zone::Member;

use super::resp::Reply;
use super::view::COMMON_NAME;

/// One message on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The channel.
    pub channel: &'static str,
    /// The text.
    pub payload: String,
    resp2: Vec<u8>,
    resp3: Vec<u8>,
}

impl Message {
    fn new(channel: &'static str, payload: String) -> Self {
        let reply = Reply::Push(vec![Reply::bulk("message"), Reply::bulk(channel), Reply::bulk(&payload)]);
        let (mut resp2, mut resp3) = (Vec::new(), Vec::new());
        reply.encode(2, &mut resp2);
        reply.encode(3, &mut resp3);
        Self { channel, payload, resp2, resp3 }
    }

    /// As a subscriber of the channel gets it.
    pub fn encoded(&self, version: u8) -> &[u8] {
        if version >= 3 { &self.resp3 } else { &self.resp2 }
    }
}

/// The messages about a change of one cluster, first those about its master.
pub fn between(change: &Change<'_>) -> Vec<Message> {
    let own_name = change.slot.settings.cluster.as_str();
    let mut names = vec![own_name];
    if change.is_only && own_name != COMMON_NAME {
        names.push(COMMON_NAME);
    }
    let master = |publication: &Publication| publication.members.master.endpoint();
    let slaves = |publication: &Publication| {
        publication.members.slaves.iter().filter_map(Member::endpoint).collect::<Vec<_>>()
    };
    let Some((now, new_master)) = change.now.and_then(|now| Some((now, master(now)?))) else {
        return Vec::new();
    };
    let old_master = change.before.and_then(|before| master(before)).filter(|old| *old != new_master);
    let known = change.before.map(|before| slaves(before)).unwrap_or_default();
    let joined: Vec<_> = slaves(now).into_iter().filter(|slave| !known.contains(slave)).collect();
    let (ip, port) = (new_master.ip(), new_master.port());
    let mut messages = Vec::new();
    for name in names {
        if let Some(old) = old_master {
            let payload = format!("{name} {} {} {ip} {port}", old.ip(), old.port());
            messages.push(Message::new("+switch-master", payload));
        }
        for slave in &joined {
            let payload = format!("slave {slave} {} {} @ {name} {ip} {port}", slave.ip(), slave.port());
            messages.push(Message::new("+slave", payload));
        }
    }
    messages
}
