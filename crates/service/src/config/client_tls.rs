//! The settings of connecting by TLS, which several programs and several of their peers have alike.

use std::path::PathBuf;
use std::sync::Arc;

use super::Reader;
use crate::files::FromFiles;
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

impl Reader {
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
