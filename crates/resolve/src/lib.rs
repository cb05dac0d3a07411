//! Names to addresses: what a node name of a topology leads to, right now.
//!
//! Redis never gets to see a name. It would look it up by itself, at a time of its own choosing,
//! without SRV records, and write whatever text it was given into its configuration file. So every
//! name of a document is looked up here, once per change, into a frozen map, and only numeric
//! addresses travel further.
//!
//! The order of a name without a port: SRV at the name, then SRV at `_redis._tcp.` and the name, then
//! A and AAAA with port 6379. Only "there is no such record" leads to the next step. A server that
//! fails or is silent ends the lookup with an error: falling through would turn a lost packet into
//! another port, or, with a search list, into another host.
//!
//! Rejected: `hickory_resolver::Resolver`. Its search list goes on after any failure, its answer cache
//! cannot be left out, it loses SRV records that stand behind a CNAME in one message, and a CNAME loop
//! looks like a missing name. The name server pool below it has none of that, and what is wanted on
//! top (search list, CNAME chain, next server) is little. Rejected too: `getaddrinfo`, which knows no
//! SRV, takes its servers from nowhere but `/etc/resolv.conf`, and has no deadline.

mod client;
mod error;
mod hosts;
mod resolver;
mod settings;

pub use error::{Reason, ResolveError};
pub use resolver::{Resolved, Resolver, Target};
pub use settings::{NameServerError, Settings, SettingsError, parse_name_server};
