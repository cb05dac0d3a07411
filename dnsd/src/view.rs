//! A publication as people and programs read it over HTTP. Pure.

use std::sync::Arc;

use hickory_proto::rr::{RData, Record};
use serde_json::{Value, json};

use crate::directory::Slot;
use crate::labels::short_labels;
use crate::publication::Publication;
use crate::publisher::Published;
use crate::timestamp::rfc3339;
use crate::zone::{LeftOut, Member};

/// The answer to `PUT /dns`.
pub fn receipt(published: &Published, warnings: &[String], request_id: &str) -> Value {
    let mut view = summary(&published.publication);
    view["outcome"] = json!(if published.changed { "published" } else { "unchanged" });
    view["warnings"] = json!(warnings);
    view["request_id"] = json!(request_id);
    view
}

/// The answer to `GET /dns`.
pub fn publication(publication: &Publication) -> Value {
    let mut view = summary(publication);
    view["document"] = publication.document.to_json();
    view["records"] = publication.all_records().iter().map(record_view).collect();
    view
}

/// The zone in the master file format of RFC 1035 section 5.
pub fn zone_file(publication: &Publication) -> String {
    let mut text = String::new();
    for record in publication.all_records() {
        text.push_str(&format!(
            "{} {} IN {} {}\n",
            record.name,
            record.ttl,
            record.record_type(),
            data_text(&record.data)
        ));
    }
    text
}

/// The answer to `GET /clusters`: a line for each, for who wants to know which are behind.
pub fn clusters(slots: &[Arc<Slot>]) -> Value {
    let line = |slot: &Arc<Slot>| {
        let publication = slot.publication();
        let publication = publication.as_ref();
        json!({
            "cluster": slot.settings.cluster,
            "domain": slot.settings.domain.to_ascii().trim_end_matches('.'),
            "revision": publication.map(|publication| publication.stamp.revision),
            "serial": publication.map(|publication| publication.serial),
            "master": publication.and_then(|publication| publication.members.master.endpoint()),
        })
    };
    json!({"clusters": slots.iter().map(line).collect::<Vec<_>>()})
}

/// The answer to `DELETE /clusters/{cluster}/dns`.
pub fn removed(cluster: &str, request_id: &str) -> Value {
    json!({"outcome": "removed", "cluster": cluster, "request_id": request_id})
}

fn summary(publication: &Publication) -> Value {
    let members = &publication.members;
    let domain = publication.settings.domain.to_ascii();
    let domain = domain.trim_end_matches('.');
    let slaves: Vec<_> = members.slaves.iter().map(|slave| (&slave.name, slave.port)).collect();
    let slaves: Vec<Value> = members
        .slaves
        .iter()
        .zip(short_labels(&slaves))
        .map(|(slave, label)| member_view(slave, &format!("{label}.slaves.{domain}")))
        .collect();
    json!({
        "cluster": publication.settings.cluster,
        "domain": domain,
        "revision": publication.stamp.revision,
        "generation": publication.stamp.generation,
        "serial": publication.serial,
        "since": rfc3339(publication.stamp.since),
        "ttl_s": publication.settings.ttl_s,
        "master": member_view(&members.master, &format!("master.{domain}")),
        "slaves": slaves,
        "left_out": members.left_out.iter().map(left_out_view).collect::<Vec<_>>(),
    })
}

fn member_view(member: &Member, target: &str) -> Value {
    json!({
        "address": member.name.address,
        "port": member.port,
        "ips": member.ips,
        "target": target,
    })
}

fn left_out_view(left_out: &LeftOut) -> Value {
    json!({
        "address": left_out.name.address,
        "port": left_out.name.port,
        "reason": left_out.reason,
    })
}

fn record_view(record: &Record) -> Value {
    json!({
        "name": record.name.to_ascii().trim_end_matches('.'),
        "ttl_s": record.ttl,
        "type": record.record_type().to_string(),
        "data": data_text(&record.data),
    })
}

/// Like the presentation format of zone files; the strings of TXT are quoted.
fn data_text(data: &RData) -> String {
    match data {
        RData::TXT(text) => {
            let strings = text.txt_data.iter().map(|part| format!("\"{}\"", String::from_utf8_lossy(part)));
            strings.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}
