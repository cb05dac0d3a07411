//! How the members of etcd know us, and we them: TLS, and a user with a password.
//!
//! What is here are ways to read, not what was read: a certificate that is renewed and a password that is changed
//! are used by the next connection, without a restart. Connections are opened anew whenever etcd does not answer,
//! or does not accept what it is shown any more.

use std::fmt;
use std::sync::Arc;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

/// Reads PEM files: the authority, and then, if we have one, our certificate and its key.
pub type ReadFiles = Arc<dyn Fn() -> Result<Vec<Vec<u8>>, String> + Send + Sync>;
/// Reads a password.
pub type ReadPassword = Arc<dyn Fn() -> String + Send + Sync>;

/// How members know us, and we them. Without anything: clear text, and no user.
#[derive(Clone, Default)]
pub struct Security {
    files: Option<ReadFiles>,
    user: Option<(String, ReadPassword)>,
}

impl Security {
    /// By TLS if there are files, as a user if there is one.
    pub fn new(files: Option<ReadFiles>, user: Option<(String, ReadPassword)>) -> Self {
        Self { files, user }
    }

    /// Whether members are connected to by TLS.
    pub(crate) fn is_private(&self) -> bool {
        self.files.is_some()
    }

    /// The user, if we are one.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|(name, _)| name.as_str())
    }

    /// What a connection is made with.
    ///
    /// # Errors
    /// A sentence that names the file that cannot be read.
    pub(crate) fn apply(&self, mut options: ConnectOptions) -> Result<ConnectOptions, String> {
        if let Some(files) = &self.files {
            let mut files = files()?.into_iter();
            let mut tls = TlsOptions::new();
            tls = files.next().map_or(tls.clone(), |pem| tls.ca_certificate(Certificate::from_pem(pem)));
            if let (Some(certificate), Some(key)) = (files.next(), files.next()) {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            options = options.with_tls(tls);
        }
        if let Some((name, password)) = &self.user {
            // etcd forgets tokens after five minutes; the client then shows the password again.
            options = options.with_user(name.clone(), password()).with_auto_token_refresh(true);
        }
        Ok(options)
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map(|(name, _)| name);
        formatter.debug_struct("Security").field("tls", &self.is_private()).field("user", &user).finish()
    }
}
