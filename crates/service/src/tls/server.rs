//! The side that is connected to.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;

use super::certificate::Certificate;
use super::{authorities, certificates, pair_problem, private_key, provider};

/// Whose client certificates are taken, and whether one has to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nobody is asked for one.
    None,
    /// Who shows one is known by it, who does not must show a token.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// What a connection is accepted with.
pub struct ServerTls {
    acceptor: TlsAcceptor,
    not_after_unix_s: Option<u64>,
}

impl ServerTls {
    /// Of the content of PEM files: the certificate with its chain, its key, and the authority of clients where
    /// there is one; `paths` are their names in the same order.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn new<P: AsRef<Path>>(
        paths: &[P],
        files: &[Vec<u8>],
        clients: ClientCertificates,
    ) -> Result<Self, String> {
        let (path, key_path) = (paths[0].as_ref(), paths[1].as_ref());
        let chain = certificates(path, &files[0])?;
        let key = private_key(key_path, &files[1])?;
        let not_after_unix_s = Certificate::read(&chain[0]).map(|certificate| certificate.not_after_unix_s);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match (clients, paths.get(2).zip(files.get(2))) {
            (ClientCertificates::None, _) | (_, None) => builder.with_no_client_auth(),
            (_, Some((path, pem))) => {
                builder.with_client_cert_verifier(verifier(path.as_ref(), pem, clients)?)
            }
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| pair_problem(path, key_path, &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), not_after_unix_s })
    }

    /// What connections are accepted with.
    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// When the certificate ends, in seconds since 1970.
    pub fn not_after_unix_s(&self) -> Option<u64> {
        self.not_after_unix_s
    }
}

fn verifier(
    path: &Path,
    pem: &[u8],
    clients: ClientCertificates,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let roots = authorities(path, pem)?;
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let builder =
        if clients == ClientCertificates::Optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(|error| format!("{} cannot be used as an authority: {error}", path.display()))
}

/// The answer to a request in clear text at a port that speaks TLS: what a person with curl needs to read.
pub(crate) fn wrong_protocol_answer() -> String {
    let body = concat!(
        r#"{"type":"urn:redis-dictator:bad-request","title":"Bad Request","status":400,"#,
        r#""detail":"this port speaks TLS, and the request came in clear text","do":"use https://"}"#,
        "\n"
    );
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
