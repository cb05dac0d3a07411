//! How the daemons know us, and we them: the token, and certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use coordination::{ReadFiles, ReadPassword, Security};
use service::config::Secret;
use service::files;
use service::tls::ClientTls;

use super::{Sources, TOKEN_VARIABLE};
use crate::client::Endpoint;

/// The variable with the password of etcd's user.
pub(super) const ETCD_PASSWORD_VARIABLE: &str = "DICTATORCTL_ETCD_PASSWORD";

impl Sources<'_> {
    pub(super) fn token(&mut self) -> Option<Secret> {
        let (place, secret) = if let Some((_, path)) = self.written("token-file").pop() {
            (path.clone(), Secret::from_file(Path::new(&path)))
        } else {
            let text = self.environment.get(TOKEN_VARIABLE).or_else(|| self.file.get(TOKEN_VARIABLE));
            let text = text.filter(|text| !text.is_empty())?;
            (TOKEN_VARIABLE.to_owned(), Secret::new(text))
        };
        let secret = match secret {
            Ok(secret) if secret.expose().bytes().all(|byte| byte.is_ascii_graphic()) => return Some(secret),
            Ok(_) => "holds a blank or another character that no token has".to_owned(),
            Err(error) => match std::error::Error::source(&error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            },
        };
        self.mistakes.push(format!("the token in {place} {secret}"));
        None
    }

    /// How etcd and we know each other. What is wrong is remembered.
    pub(super) fn etcd_security(&mut self) -> Security {
        let paths = ["etcd-ca-file", "etcd-cert", "etcd-key"]
            .map(|flag| self.written(flag).pop().map(|(_, path)| PathBuf::from(path)));
        if paths[1].is_some() != paths[2].is_some() || (paths[0].is_none() && paths[1].is_some()) {
            self.mistakes
                .push("--etcd-cert and --etcd-key belong together, and to --etcd-ca-file".to_owned());
        }
        let paths: Vec<PathBuf> = paths.into_iter().flatten().collect();
        let read: Result<Vec<_>, String> = paths.iter().map(|path| files::read(path)).collect();
        if let Some(Err(sentence)) =
            (!paths.is_empty()).then(|| read.and_then(|files| ClientTls::new(&paths, &files)))
        {
            self.mistakes.push(sentence);
        }
        let files: ReadFiles = {
            let paths = paths.clone();
            Arc::new(move || paths.iter().map(|path| files::read(path)).collect())
        };
        Security::new(Some(files).filter(|_| !paths.is_empty()), self.etcd_user())
    }

    fn etcd_user(&mut self) -> Option<(String, ReadPassword)> {
        let (_, name) = self.written("etcd-username").pop()?;
        let secret = if let Some((_, path)) = self.written("etcd-password-file").pop() {
            Secret::from_file(Path::new(&path)).map_err(|error| format!("the secret file {path} {error}"))
        } else {
            let text = self
                .environment
                .get(ETCD_PASSWORD_VARIABLE)
                .or_else(|| self.file.get(ETCD_PASSWORD_VARIABLE));
            match text.filter(|text| !text.is_empty()) {
                Some(text) => Secret::new(text).map_err(|error| format!("{ETCD_PASSWORD_VARIABLE} {error}")),
                None => Err(format!("--etcd-username {name}: no password is given (--etcd-password-file)")),
            }
        };
        match secret {
            Ok(secret) => Some((name, Arc::new(move || secret.expose().to_owned()))),
            Err(sentence) => {
                self.mistakes.push(sentence);
                None
            }
        }
    }

    /// How to connect by TLS, if anything says so; `private` is an endpoint that cannot be reached without.
    pub(super) fn tls(&mut self, private: Option<&Endpoint>) -> Option<ClientTls> {
        let [authority, certificate, key] = ["ca-file", "client-cert", "client-key"]
            .map(|flag| self.written(flag).pop().map(|(_, path)| PathBuf::from(path)));
        let mistake = match (&authority, certificate.is_some(), key.is_some()) {
            (_, false, true) | (_, true, false) => {
                "--client-cert and --client-key belong together".to_owned()
            }
            (None, has_certificate, _) => {
                let needed_for = private.map(ToString::to_string);
                let needed_for =
                    needed_for.or_else(|| has_certificate.then(|| "--client-cert".to_owned()))?;
                format!(
                    "{needed_for} needs --ca-file, a PEM file with the authority whose certificates are believed: \
                     none is built in"
                )
            }
            (Some(_), ..) => {
                let paths: Vec<PathBuf> = [authority, certificate, key].into_iter().flatten().collect();
                let read: Result<Vec<_>, String> = paths.iter().map(|path| files::read(path)).collect();
                match read.and_then(|files| ClientTls::new(&paths, &files)) {
                    Ok(tls) => return Some(tls),
                    Err(sentence) => sentence,
                }
            }
        };
        self.mistakes.push(mistake);
        None
    }
}
