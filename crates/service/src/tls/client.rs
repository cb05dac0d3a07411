//! The side that connects.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, CertificateError, ClientConfig, Error, InvalidMessage};

use super::{authorities, certificates, pair_problem, private_key, provider};

/// Whom to believe, and who we are.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientTls")
    }
}

impl ClientTls {
    /// Of the content of PEM files: the authorities, and then, if there is one, our certificate and its key;
    /// `paths` are their names in the same order.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn new<P: AsRef<Path>>(paths: &[P], files: &[Vec<u8>]) -> Result<Self, String> {
        let roots = authorities(paths[0].as_ref(), &files[0])?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match (files.get(1), files.get(2)) {
            (Some(certificate), Some(key)) => {
                let (path, key_path) = (paths[1].as_ref(), paths[2].as_ref());
                builder
                    .with_client_auth_cert(certificates(path, certificate)?, private_key(key_path, key)?)
                    .map_err(|error| pair_problem(path, key_path, &error))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Makes a connection private, and sure that the other side is `name`: a host name, or a numeric address that
    /// stands in its certificate. The caller sets the deadline.
    ///
    /// # Errors
    /// What is wrong, as a part of a sentence.
    pub async fn connect<S>(&self, stream: S, name: &str) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{name:?} can be in no certificate"))?;
        self.connector.connect(server, stream).await.map_err(|error| handshake_reason(&error, name))
    }
}

/// Why a handshake failed, for a person; also why an established connection was ended by the other side, which in
/// TLS 1.3 judges our certificate only after we believe to be connected.
pub fn handshake_reason(error: &io::Error, name: &str) -> String {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) else {
        return format!("TLS: {error}");
    };
    match cause {
        Error::InvalidCertificate(reason) => match reason {
            // A bad signature is an authority of the same name with another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "TLS: its certificate is signed by no authority of the CA file".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "TLS: its certificate has expired".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("TLS: its certificate is not for {name}")
            }
            other => format!("TLS: its certificate is not accepted: {other}"),
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS at this port".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "TLS: it asks for a client certificate".to_owned()
        }
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::DecryptError,
        ) => format!("TLS: it does not accept our client certificate ({cause})"),
        other => format!("TLS: {other}"),
    }
}
