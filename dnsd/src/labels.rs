//! Short names of slaves: the `<short>` of `<short>.slaves.D`.
//!
//! A short name has to be readable (`core-02`), unique within the zone, and the same however the
//! document orders its slaves; consumers keep it in dashboards. So uniqueness is bought in steps, each
//! uglier than the one before, and only those that collide pay: the first label; with the port; the
//! whole name with hyphens for dots and the port; and, where names of 63 bytes leave no room, the place
//! in the sorted list. A hash was rejected: it is unique at once, and nobody can read it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use topology::{Address, NodeName};

/// Longest label of DNS, in bytes (RFC 1035 section 2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;
/// The last step of [`spell`].
const STEP_MAX: u8 = 3;

/// A unique label for each node, in the order of `nodes`, which must be sorted and carry the port that
/// is published.
pub fn short_labels(nodes: &[(&NodeName, u16)]) -> Vec<String> {
    let mut steps = vec![0_u8; nodes.len()];
    loop {
        let labels: Vec<String> = nodes
            .iter()
            .zip(&steps)
            .enumerate()
            .map(|(index, ((node, port), step))| spell(node, *port, index, *step))
            .collect();
        let mut holders = BTreeMap::<&str, Vec<usize>>::new();
        for (index, label) in labels.iter().enumerate() {
            holders.entry(label).or_default().push(index);
        }
        let colliding: Vec<usize> = holders
            .values()
            .filter(|holders| holders.len() > 1)
            .flatten()
            .copied()
            .filter(|&index| steps[index] < STEP_MAX)
            .collect();
        if colliding.is_empty() {
            return labels;
        }
        for index in colliding {
            steps[index] += 1;
        }
    }
}

/// One label at one step; steps above 0 carry the port, the last one the index as well.
fn spell(node: &NodeName, port: u16, index: usize, step: u8) -> String {
    let stem = match (&node.address, step) {
        (Address::Ip(ip), _) => literal(*ip),
        (Address::Name(name), 0 | 1) => name.split('.').next().unwrap_or(name).to_owned(),
        (Address::Name(name), _) => name.replace('.', "-"),
    };
    let suffix = match step {
        0 => String::new(),
        1 | 2 => format!("-{port}"),
        _ => format!("-{port}-{index}"),
    };
    let room = LABEL_BYTES_MAX - suffix.len();
    let stem = stem.get(..room).unwrap_or(&stem);
    format!("{stem}{suffix}")
}

/// `ip-10-0-0-4`; IPv6 in eight groups, because `::` would leave a hyphen at an end or two in a row.
fn literal(ip: IpAddr) -> String {
    let groups: Vec<String> = match ip {
        IpAddr::V4(ip) => ip.octets().iter().map(ToString::to_string).collect(),
        IpAddr::V6(ip) => ip.segments().iter().map(|segment| format!("{segment:x}")).collect(),
    };
    format!("ip-{}", groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nodes: &[(&str, u16)], expected: &[&str]) {
        let names: Vec<(NodeName, u16)> = nodes
            .iter()
            .map(|(address, port)| {
                (NodeName { address: address.parse().unwrap(), port: std::num::NonZero::new(*port) }, *port)
            })
            .collect();
        let nodes: Vec<(&NodeName, u16)> = names.iter().map(|(name, port)| (name, *port)).collect();
        assert_eq!(short_labels(&nodes), expected);
    }

    #[test]
    fn the_first_label_is_enough_where_it_is_unique() {
        check(&[("core-02.redis-1.docker", 6379), ("10.0.0.4", 6379)], &["core-02", "ip-10-0-0-4"]);
        check(&[("::1", 6379), ("2001:db8::4", 1)], &["ip-0-0-0-0-0-0-0-1", "ip-2001-db8-0-0-0-0-0-4"]);
    }

    #[test]
    fn only_those_that_collide_get_longer() {
        check(
            &[("127.0.0.1", 7001), ("127.0.0.1", 7002), ("b", 1)],
            &["ip-127-0-0-1-7001", "ip-127-0-0-1-7002", "b"],
        );
        check(&[("a.x", 1), ("a.y", 1), ("a.y", 2)], &["a-x-1", "a-y-1", "a-2"]);
        // A name that looks like somebody else's way out.
        check(&[("a", 1), ("a", 2), ("a-1", 5)], &["a-1", "a-2", "a-1-5"]);
    }

    #[test]
    fn labels_stay_within_dns_and_unique_even_where_there_is_no_room() {
        let long = "a".repeat(63);
        let (first, second) = (format!("{long}.x"), format!("{long}.y"));
        let names: Vec<NodeName> = [&first, &second]
            .iter()
            .map(|name| NodeName { address: name.parse().unwrap(), port: None })
            .collect();
        let labels = short_labels(&[(&names[0], 6379), (&names[1], 6379)]);
        assert_ne!(labels[0], labels[1]);
        assert!(labels.iter().all(|label| label.len() <= 63), "{labels:?}");
    }
}
