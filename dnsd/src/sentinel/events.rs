//! What subscribers are told when a publication takes another's place. Pure.

use crate::zone::Member;

use super::view::{COMMON_NAME, Monitored, master};

/// One message on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The channel.
    pub channel: &'static str,
    /// The text.
    pub payload: String,
}

/// The events of one cluster between two states of it.
pub fn between(before: &Monitored, now: &Monitored, is_only: bool) -> Vec<Event> {
    let mut names = vec![now.name.as_str()];
    if is_only && now.name != COMMON_NAME {
        names.push(COMMON_NAME);
    }
    let (Some(master_now), before_master) = (master(now), master(before)) else { return Vec::new() };
    let mut events = Vec::new();
    for name in names {
        if let Some(old) = before_master.filter(|old| *old != master_now) {
            events.push(Event {
                channel: "+switch-master",
                payload: format!(
                    "{name} {} {} {} {}",
                    old.ip(),
                    old.port(),
                    master_now.ip(),
                    master_now.port()
                ),
            });
        }
        let slaves = |monitored: &Monitored| {
            monitored
                .publication
                .iter()
                .flat_map(|publication| publication.members.slaves.iter().filter_map(Member::endpoint))
                .collect::<Vec<_>>()
        };
        let known = slaves(before);
        for slave in slaves(now).into_iter().filter(|slave| !known.contains(slave)) {
            events.push(Event {
                channel: "+slave",
                payload: format!(
                    "slave {slave} {} {} @ {name} {} {}",
                    slave.ip(),
                    slave.port(),
                    master_now.ip(),
                    master_now.port()
                ),
            });
        }
    }
    events
}
