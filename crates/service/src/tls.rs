//! TLS, as server and as client, by rustls with ring.
//!
//! No authority is built in and the system's list is not read: whoever may sign for these daemons may move
//! masters, and that is not every authority of the web. So a client always names its own (`--ca-file`). There is
//! no switch that leaves certificates unjudged; it would be set once, in a hurry, and stay.
//!
//! Certificates and keys are PEM files. They are made into a configuration as a whole, so a key that does not
//! fit its certificate is found at the start, or when the files change, and not by the next client.

pub mod certificate;
mod client;
mod server;

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, RootCertStore};

pub use client::{ClientTls, handshake_reason};
pub(crate) use server::wrong_protocol_answer;
pub use server::{ClientCertificates, ServerTls};

/// A certificate that ends sooner than this is told at the start, in seconds.
pub(crate) const EXPIRY_NOTICE_S: u64 = 14 * 24 * 60 * 60;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates of a PEM file, its own first.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("{} is no PEM file: {error}", path.display()))?;
    if found.is_empty() {
        return Err(format!("{} holds no certificate (-----BEGIN CERTIFICATE-----)", path.display()));
    }
    Ok(found)
}

/// The private key of a PEM file: PKCS #8, PKCS #1 or SEC1.
fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        format!("{} holds no private key without a passphrase (-----BEGIN PRIVATE KEY-----)", path.display())
    })
}

/// Those whose signatures are believed.
fn authorities(path: &Path, pem: &[u8]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots.add(certificate).map_err(|error| {
            format!("{} holds a certificate that can be no authority's: {error}", path.display())
        })?;
    }
    Ok(Arc::new(roots))
}

/// What is wrong with a certificate and a key.
fn pair_problem(certificate: &Path, key: &Path, error: &rustls::Error) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("the key {key} does not belong to the certificate {certificate}")
        }
        error => format!("the certificate {certificate} with the key {key} cannot be used: {error}"),
    }
}
