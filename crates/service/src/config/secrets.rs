//! Taking secrets out of the settings: from a file, from a systemd credential, from the environment.

use std::path::{Path, PathBuf};

use super::reader::Reader;
use super::{Secret, SecretError, SecretSource};

/// Where systemd puts a service's credentials (systemd.exec(5), LoadCredential=).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

impl Reader {
    /// A secret: from the file that the setting `file_flag` names, else from the systemd credential
    /// `credential`, else from the variable `variable`. `None` if there is none, or it is wrong.
    pub fn secret(&mut self, file_flag: &'static str, credential: &str, variable: &str) -> Option<Secret> {
        self.expect_variable(variable);
        match self.take_file(file_flag, credential) {
            Some(path) => self.secret_file(&path),
            None => self.secret_variable(variable),
        }
    }

    /// A bearer token from the same places; one in a file is kept fresh while the daemon runs.
    pub fn token_source(
        &mut self,
        file_flag: &'static str,
        credential: &str,
        variable: &str,
    ) -> Option<SecretSource> {
        self.source(file_flag, credential, variable, Secret::into_token)
    }

    /// Like [`Reader::secret`], but one in a file is kept fresh while the daemon runs.
    pub fn secret_source(
        &mut self,
        file_flag: &'static str,
        credential: &str,
        variable: &str,
    ) -> Option<SecretSource> {
        self.source(file_flag, credential, variable, Ok)
    }

    fn source(
        &mut self,
        file_flag: &'static str,
        credential: &str,
        variable: &str,
        judge: fn(Secret) -> Result<Secret, SecretError>,
    ) -> Option<SecretSource> {
        self.expect_variable(variable);
        let Some(path) = self.take_file(file_flag, credential) else {
            let judged = judge(self.secret_variable(variable)?);
            return judged
                .map_err(|error| self.mistake(format!("{variable} {error}")))
                .ok()
                .map(SecretSource::Fixed);
        };
        let shown = path.display().to_string();
        let secret = self.from_files("secret", vec![path], move |files| {
            let secret = Secret::from_bytes(&files[0]).and_then(judge);
            secret.map_err(|error| format!("the secret file {shown} {error}"))
        });
        secret.map(SecretSource::File)
    }

    /// The file that the setting `file_flag` names, else the systemd credential `credential` if there is one.
    pub fn take_file(&mut self, file_flag: &'static str, credential: &str) -> Option<PathBuf> {
        self.take::<PathBuf>(file_flag).or_else(|| {
            let folder = self.environment().get(CREDENTIALS_DIRECTORY)?;
            Some(Path::new(folder).join(credential)).filter(|path| !folder.is_empty() && path.exists())
        })
    }

    fn secret_variable(&mut self, variable: &str) -> Option<Secret> {
        let text = self.environment().get(variable).filter(|text| !text.is_empty())?;
        match Secret::new(text) {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.mistake(format!("{variable} {error}"));
                None
            }
        }
    }

    fn secret_file(&mut self, path: &Path) -> Option<Secret> {
        match Secret::from_file(path) {
            Ok(secret) => Some(secret),
            Err(error) => {
                let cause =
                    std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                self.mistake(format!("the secret file {} {error}{cause}", path.display()));
                None
            }
        }
    }
}
