//! The settings of connecting by TLS, which several programs and several of their peers have alike.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Reader, Setting};
use crate::files::{self, FromFiles};
use crate::tls::ClientTls;

/// The flags of one kind of peer.
#[derive(Clone, Copy, Debug)]
pub struct ClientTlsFlags {
    /// What the files are for, in messages: "certificates for redis".
    pub what: &'static str,
    /// The authorities that are believed.
    pub authority: &'static str,
    /// Our own certificate.
    pub certificate: &'static str,
    /// Its key.
    pub key: &'static str,
}

/// How to connect to one kind of peer.
#[derive(Clone, Debug)]
pub struct ClientTlsFiles {
    /// The files, as the flags name them.
    pub paths: Vec<PathBuf>,
    /// What they make; renewed when they change.
    pub tls: Arc<FromFiles<ClientTls>>,
}

/// Reads PEM files: the authority, and then, if there is one, our certificate and its key.
pub type ReadFiles = Arc<dyn Fn() -> Result<Vec<Vec<u8>>, String> + Send + Sync>;
/// Reads a password.
pub type ReadPassword = Arc<dyn Fn() -> String + Send + Sync>;

impl ClientTlsFiles {
    /// The files themselves, for a client that makes its own configuration of them.
    pub fn reader(&self) -> ReadFiles {
        let paths = self.paths.clone();
        Arc::new(move || paths.iter().map(|path| files::read(path)).collect())
    }
}

/// The settings of connecting to etcd, which every program has alike; each lists them in its table.
pub const ETCD_SETTINGS: [Setting; 5] = [
    Setting {
        flag: "etcd-ca-file",
        value_name: "PATH",
        help: "PEM file with the authority whose certificates are believed at https:// members of etcd",
        ..Setting::BLANK
    },
    Setting {
        flag: "etcd-cert",
        value_name: "PATH",
        help: "PEM file with our certificate for etcd",
        ..Setting::BLANK
    },
    Setting {
        flag: "etcd-key",
        value_name: "PATH",
        help: "PEM file with that certificate's key",
        ..Setting::BLANK
    },
    Setting { flag: "etcd-username", value_name: "NAME", help: "User of etcd", ..Setting::BLANK },
    Setting {
        flag: "etcd-password-file",
        value_name: "PATH",
        help: "File with that user's password; a final line break is not part of it",
        ..Setting::BLANK
    },
];

/// The flags among them that name certificates.
const ETCD_TLS: ClientTlsFlags = ClientTlsFlags {
    what: "certificates for etcd",
    authority: "etcd-ca-file",
    certificate: "etcd-cert",
    key: "etcd-key",
};
/// The systemd credential with the password of etcd's user.
const ETCD_CREDENTIAL: &str = "etcd-password";

/// How etcd and we know each other.
#[derive(Clone, Default)]
pub struct EtcdProof {
    /// The certificates' files, if connections are private.
    pub files: Option<ReadFiles>,
    /// The user and the way to its password.
    pub user: Option<(String, ReadPassword)>,
}

impl Reader {
    /// How etcd and we know each other, from [`ETCD_SETTINGS`]. What is wrong is remembered.
    pub fn etcd_proof(&mut self) -> EtcdProof {
        let files = self.client_tls(ETCD_TLS, None).map(|files| files.reader());
        let name = self.take::<String>("etcd-username");
        let variable = format!("{}_ETCD_PASSWORD", self.program().env_prefix);
        let password = self.secret_source("etcd-password-file", ETCD_CREDENTIAL, &variable);
        let user = match (name, password) {
            (Some(name), Some(password)) => {
                let read: ReadPassword = Arc::new(move || password.get().expose().to_owned());
                Some((name, read))
            }
            (Some(name), None) => {
                self.mistake(format!("--etcd-username {name}: no password is given (--etcd-password-file)"));
                None
            }
            // A credential or variable that others use as well is no mistake.
            (None, _) => None,
        };
        EtcdProof { files, user }
    }

    /// How to connect by TLS, if any of the flags is given; `None` as well if they cannot be used, which is
    /// remembered. `needed_for` names what cannot be had without it, such as a URL with `https://`.
    pub fn client_tls(&mut self, flags: ClientTlsFlags, needed_for: Option<&str>) -> Option<ClientTlsFiles> {
        let authority = self.take::<PathBuf>(flags.authority);
        let certificate = self.take::<PathBuf>(flags.certificate);
        let key = self.take::<PathBuf>(flags.key);
        let pair = match (certificate, key) {
            (Some(certificate), Some(key)) => vec![certificate, key],
            (None, None) => Vec::new(),
            _ => {
                self.mistake(format!("--{} and --{} belong together", flags.certificate, flags.key));
                return None;
            }
        };
        let mut paths = match (authority, needed_for) {
            (Some(authority), _) => vec![authority],
            (None, None) if pair.is_empty() => return None,
            (None, needed_for) => {
                let needed_for = needed_for.map_or_else(|| format!("--{}", flags.certificate), str::to_owned);
                self.mistake(format!(
                    "{needed_for} needs --{}, a PEM file with the authority whose certificates are believed: none \
                     is built in",
                    flags.authority
                ));
                return None;
            }
        };
        paths.extend(pair);
        let named = paths.clone();
        let tls = self.from_files(flags.what, paths.clone(), move |files| ClientTls::new(&named, files))?;
        Some(ClientTlsFiles { paths, tls })
    }
}
