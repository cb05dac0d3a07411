//! The settings of what is not DNS: seeds for Dynomite, keys for SkyDNS, nodes that are registered.

use coordination::{Endpoints, Security};
use service::config::Reader;
use topology::Address;

/// Longest name of a rack or datacenter, in bytes.
const PLACE_BYTES_MAX: usize = 64;
/// Most digits of a token's prefix.
const TOKEN_DIGITS_MAX: usize = 32;

/// Where the publication goes besides DNS and the Sentinel face.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// The list for Dynomite.
    pub seeds: Seeds,
    /// The etcd that a SkyDNS or CoreDNS reads.
    pub skydns_etcd: Option<Endpoints>,
    /// The etcd in which nodes are registered.
    pub nodes_etcd: Option<Endpoints>,
}

/// How the list for Dynomite is made.
#[derive(Clone, Debug)]
pub struct Seeds {
    /// The rack of all nodes.
    pub rack: String,
    /// The datacenter of all nodes.
    pub dc: String,
    /// What stands before the ordinal in a token.
    pub token_prefix: String,
    /// The host that Dynomite runs on; the system's own name if not set.
    pub own_host: Option<String>,
    /// The service whose SRV records name the peers; not set: they are those that are published.
    pub service: Option<Address>,
    /// Whether the list is the answer to `GET /` too.
    pub at_root: bool,
}

/// Takes them out of the table.
pub(super) fn take(reader: &mut Reader) -> Option<Discovery> {
    let seeds = seeds(reader);
    let proof = reader.etcd_proof();
    let security = Security::new(proof.files, proof.user);
    let skydns_etcd = members(reader, "skydns-etcd", &security);
    let nodes_etcd = members(reader, "nodes-etcd", &security);
    Some(Discovery { seeds: seeds?, skydns_etcd, nodes_etcd })
}

fn members(reader: &mut Reader, flag: &'static str, security: &Security) -> Option<Endpoints> {
    let members: Vec<String> = reader.take_list(flag);
    let secured = |endpoints: Endpoints| endpoints.secured(security.clone());
    let members = (!members.is_empty()).then(|| Endpoints::parse(&members).and_then(secured)).transpose();
    members.unwrap_or_else(|error| {
        reader.mistake(format!("--{flag}: {error}"));
        None
    })
}

fn seeds(reader: &mut Reader) -> Option<Seeds> {
    let rack = reader.take_with("seeds-rack", parse_place);
    let dc = reader.take_with("seeds-dc", parse_place);
    let token_prefix = if reader.is_set("seeds-token") {
        reader.take_with("seeds-token", parse_token_prefix)
    } else {
        Some(String::new())
    };
    // Not judged: it is only compared, and a container may have any name, digits alone included.
    let own_host = reader.take::<String>("seeds-host");
    let service = reader.take::<Address>("seeds-service");
    let namespace = reader.take::<String>("seeds-namespace");
    let at_root = reader.take_switch("seeds-at-root");
    if let Some(Address::Ip(ip)) = service {
        reader.mistake(format!("--seeds-service {ip}: expected the name of a service, such as dynomite"));
    }
    let service = service.map(|service| crate::seeds::service::name(&service, namespace.as_deref()));
    let service = service.transpose().unwrap_or_else(|error| {
        reader.mistake(format!("--seeds-namespace: {error}"));
        None
    });
    Some(Seeds { rack: rack?, dc: dc?, token_prefix: token_prefix?, own_host, service, at_root })
}

/// Dynomite's list has no way to quote its own separators.
fn parse_place(text: &str) -> Result<String, String> {
    let sound = |character: char| character.is_ascii_graphic() && !matches!(character, ':' | '|');
    if text.len() <= PLACE_BYTES_MAX && text.chars().all(sound) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected at most {PLACE_BYTES_MAX} letters, digits and signs other than `:` and `|`"))
    }
}

fn parse_token_prefix(text: &str) -> Result<String, String> {
    if text.len() <= TOKEN_DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected at most {TOKEN_DIGITS_MAX} digits, which the node's number is put behind"))
    }
}
