//! TLS to the nodes.
//!
//! Nodes are connected to by numeric address, for a name may lead elsewhere between two looks; so a certificate is
//! either for the address, or all nodes have certificates with one common name (`--redis-tls-name`), as those made for
//! a whole cluster have. redis itself judges its peers by the authority alone.

use std::sync::Arc;

use node::{Secure, Securing, Transport};
use service::config::{ClientTlsFlags, Reader};
use service::files::FromFiles;
use service::tls::ClientTls;
use tokio::net::TcpStream;

const FLAGS: ClientTlsFlags = ClientTlsFlags {
    what: "certificates for the nodes",
    authority: "redis-ca-file",
    certificate: "redis-cert",
    key: "redis-key",
};

/// How to connect to the nodes.
#[derive(Clone, Debug)]
pub struct RedisTls {
    tls: Arc<FromFiles<ClientTls>>,
    name: Option<String>,
}

/// Reads the flags. What is wrong is remembered by the reader.
pub(super) fn take(reader: &mut Reader) -> Option<RedisTls> {
    let wanted = reader.take_switch("redis-tls");
    let name = reader.take_with("redis-tls-name", |text| match text.parse::<topology::Address>() {
        Ok(address) => Ok(address.to_string()),
        Err(error) => Err(error.to_string()),
    });
    if !wanted {
        let others = ["redis-tls-name", FLAGS.authority, FLAGS.certificate, FLAGS.key];
        let without_effect: Vec<&str> = others.into_iter().filter(|flag| reader.is_set(flag)).collect();
        for flag in without_effect {
            reader.mistake(format!(
                "--{flag} is for nodes that are connected to by TLS: give --redis-tls as well"
            ));
        }
        return None;
    }
    let tls = reader.client_tls(FLAGS, Some("--redis-tls"))?.tls;
    Some(RedisTls { tls, name })
}

impl RedisTls {
    /// What makes a connection to a node private.
    pub(crate) fn secure(&self) -> Secure {
        let (files, name) = (Arc::clone(&self.tls), self.name.clone());
        Arc::new(move |stream: TcpStream| -> Securing {
            let (tls, name) = (files.get(), name.clone());
            Box::pin(async move {
                let address = stream.peer_addr().map_err(|error| error.to_string())?;
                let name = name.unwrap_or_else(|| address.ip().to_string());
                let stream = tls.connect(stream, &name).await?;
                Ok(Box::new(stream) as Box<dyn Transport>)
            })
        })
    }
}
