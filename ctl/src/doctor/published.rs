//! Whether DNS sends clients to the node that takes writes.

use serde_json::Value;

use super::{Finding, Level};
use crate::answer::Node;

/// What it takes to publish what is in force.
const CURE: &str = "dictatorctl trigger, if an observer delivers the topology; else dictatorctl apply with the document \
                    in force and this URL as --notify";

/// Compares what dnsd answers to `GET /dns` at `url` with the node that takes writes.
pub fn examine(url: &str, view: &Value, master: &Node) -> Option<Finding> {
    let danger = |what: String| Some(Finding::new(Level::Danger, url, what, CURE));
    let published = &view["master"];
    let Some(ips) = published["ips"].as_array() else {
        return danger("it does not say which master it publishes; is that dnsd's /dns?".to_owned());
    };
    let same_ip = ips.iter().any(|ip| ip.as_str() == master.ip.as_deref());
    if same_ip && published["port"].as_u64() == master.port.map(u64::from) {
        return None;
    }
    let name = published["address"].as_str().unwrap_or("an unknown node");
    let (port, takes_writes) = (&published["port"], master.endpoint().unwrap_or_default());
    danger(format!(
        "it sends clients to {name} port {port}, but {takes_writes} takes the writes: clients that ask DNS get READONLY"
    ))
}

/// A publisher that cannot say what it publishes.
pub fn silent(url: &str, reason: &str) -> Finding {
    let what = format!("it does not tell what it publishes: {reason}");
    Finding::new(Level::Danger, url, what, CURE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dns_must_name_the_node_that_takes_writes() {
        let master = Node { ip: Some("10.0.0.2".into()), port: Some(6379), ..Node::default() };
        let view = |ip: &str, port: u16| json!({"master": {"address": "core-01", "port": port, "ips": [ip]}});
        assert_eq!(examine("http://d/dns", &view("10.0.0.2", 6379), &master), None);
        for wrong in [view("10.0.0.1", 6379), view("10.0.0.2", 6380)] {
            let finding = examine("http://d/dns", &wrong, &master).unwrap();
            assert_eq!((finding.level, finding.place.as_str()), (Level::Danger, "http://d/dns"));
            assert!(
                finding.what.contains("core-01") && finding.what.contains("10.0.0.2:6379"),
                "{finding:?}"
            );
        }
        assert!(examine("http://d/dns", &json!({}), &master).unwrap().what.contains("is that dnsd's"));
    }
}
