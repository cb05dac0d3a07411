//! Who may do what at the nodes and in etcd, to be pasted.

use super::Context;
use crate::exit::{Code, Failure};
use crate::permissions::{Server, dictator_rules, etcd_commands};

/// Where SkyDNS and CoreDNS keep names, by their convention.
const SKYDNS_ROOT: &str = "/skydns";
/// The cluster in the names of roles if none is named.
const CLUSTER_DEFAULT: &str = "redis-1";

pub(super) fn acl(context: Context<'_>) -> Result<Code, Failure> {
    match context.matches.subcommand() {
        Some(("print", matches)) => print(Context { matches, ..context }),
        Some(("etcd", matches)) => etcd(Context { matches, ..context }),
        _ => Err(Failure::usage("name what to do: dictatorctl acl print, or dictatorctl acl etcd")),
    }
}

fn print(context: Context<'_>) -> Result<Code, Failure> {
    let user = context.text("user").unwrap_or("dictator");
    if user.is_empty() || user.contains(|character: char| character.is_whitespace() || character.is_control())
    {
        return Err(Failure::usage(format!("--user {user:?}: a user name has no blanks")));
    }
    if let Some(server) = context.text("for") {
        server.parse::<Server>().map_err(|error| Failure::usage(format!("--for: {error}")))?;
    }
    let rules = dictator_rules(context.matches.get_flag("observing"));
    context.output.print(&format!("ACL SETUSER {user} on >PASSWORD {rules}\n"))?;
    Ok(Code::Done)
}

fn etcd(context: Context<'_>) -> Result<Code, Failure> {
    let settings = context.settings;
    let cluster = settings.cluster.as_deref().unwrap_or(CLUSTER_DEFAULT);
    let skydns = context.text("domain").map(skydns_path).transpose()?;
    let keys = (settings.topology_key.as_str(), settings.trigger_key.as_str());
    for key in [keys.0, keys.1] {
        let plain =
            |character: char| character.is_ascii_graphic() && !"'\"\\$`&|;<>()*?[]{}!~#".contains(character);
        if !key.chars().all(plain) {
            return Err(Failure::usage(format!("the key {key:?} has characters that a shell would change")));
        }
    }
    context.output.print(&etcd_commands(cluster, keys.0, keys.1, skydns.as_deref()))?;
    Ok(Code::Done)
}

/// `redis-1.docker` as `/skydns/docker/redis-1`.
fn skydns_path(domain: &str) -> Result<String, Failure> {
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !label.is_empty() && label.bytes().all(known)
    };
    if !domain.split('.').all(is_label) {
        return Err(Failure::usage(format!("--domain {domain:?}: write it as redis-1.docker")));
    }
    Ok(domain.rsplit('.').fold(SKYDNS_ROOT.to_owned(), |path, label| format!("{path}/{label}")))
}
