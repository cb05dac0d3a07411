//! A certificate authority that lives as long as a test, and the certificates it signs, as PEM files.
//!
//! Everything is made anew in each test: a key in the repository would be found by every scanner, and a certificate
//! in it would expire on the day nobody has time.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, RootCertStore};

/// What is trusted by a client of the harness. Made once in a test and never freed.
pub type Trust = &'static Arc<ClientConfig>;

/// An authority with a folder for what it signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: RootCertStore,
    trust: Trust,
    folder: TempDir,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl Pair {
    /// The certificate's file as an argument.
    ///
    /// # Panics
    /// When its path is not Unicode.
    pub fn certificate(&self) -> &str {
        self.certificate.to_str().expect("Unicode")
    }

    /// The key's file as an argument.
    ///
    /// # Panics
    /// When its path is not Unicode.
    pub fn key(&self) -> &str {
        self.key.to_str().expect("Unicode")
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When keys cannot be made or files cannot be written.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().expect("a key");
        let own = parameters.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("ca.pem"), own.pem()).expect("a written file");
        let mut roots = RootCertStore::empty();
        roots.add(own.der().clone()).expect("an authority");
        let trust = kept(believing(roots.clone()).with_no_client_auth());
        Self { issuer: Issuer::new(parameters, key), roots, trust, folder }
    }

    /// The file with its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// That file as an argument.
    ///
    /// # Panics
    /// When its path is not Unicode.
    pub fn path(&self) -> String {
        self.file().to_str().expect("Unicode").to_owned()
    }

    /// What a client of the harness needs to believe its certificates.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// The same of a client that shows this certificate.
    ///
    /// # Panics
    /// When the pair cannot be read.
    pub fn trust_as(&self, pair: &Pair) -> Trust {
        let certificate = CertificateDer::from_pem_file(&pair.certificate).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
        let config = believing(self.roots.clone()).with_client_auth_cert(vec![certificate], key);
        kept(config.expect("a pair that fits"))
    }

    /// Signs a certificate with this common name for these names and addresses, into files named `file`.
    ///
    /// # Panics
    /// When a name cannot be in a certificate or files cannot be written.
    pub fn issue(&self, file: &str, common_name: &str, names: &[&str]) -> Pair {
        self.issue_until(file, common_name, names, (2049, 1, 1))
    }

    /// The same, but its time is over.
    ///
    /// # Panics
    /// As [`Self::issue`].
    pub fn issue_expired(&self, file: &str, common_name: &str, names: &[&str]) -> Pair {
        self.issue_until(file, common_name, names, (2001, 1, 1))
    }

    /// The same with an end: a year, a month, a day.
    ///
    /// # Panics
    /// As [`Self::issue`], and where there is no such day.
    pub fn issue_until(&self, file: &str, common_name: &str, names: &[&str], end: (i32, u8, u8)) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        parameters.not_before = date_time_ymd(2000, 1, 1);
        parameters.not_after = date_time_ymd(end.0, end.1, end.2);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        let place = |ending: &str| self.folder.path().join(format!("{file}.{ending}"));
        let pair = Pair { certificate: place("pem"), key: place("key") };
        std::fs::write(&pair.key, key.serialize_pem()).expect("a written file");
        std::fs::write(&pair.certificate, certificate.pem()).expect("a written file");
        pair
    }
}

fn believing(roots: RootCertStore) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
}

fn kept(config: ClientConfig) -> Trust {
    Box::leak(Box::new(Arc::new(config)))
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("folder", &self.folder).finish_non_exhaustive()
    }
}
