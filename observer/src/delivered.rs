//! The one thing the observer remembers: which revision everybody got.
//!
//! Written after the last URL answered, so that it can only be too old, never too new; too old costs one
//! delivery that changes nothing. It also names who was notified from which source: with another list of
//! URLs, "everybody got it" is no longer sure, and the numbers of another source say nothing at all.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service::{clock, durable};

use crate::notify_url::NotifyUrl;
use crate::settings::SourceConfig;

/// The file in the state folder.
const FILE: &str = "delivered.json";
/// The layout of that file.
const VERSION: u32 = 1;

/// The file, and what this configuration would write into it.
#[derive(Clone, Debug)]
pub struct DeliveredFile {
    path: PathBuf,
    source: String,
    notify: Vec<String>,
}

/// What is known from earlier lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The revision that was delivered last, from this source.
    pub revision: Option<u64>,
    /// Whether everybody who is notified today got it.
    pub sure: bool,
    /// Whether its document had groups, whose members may have changed since.
    pub has_groups: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    version: u32,
    source: String,
    notify: Vec<String>,
    revision: u64,
    delivered_at_unix_ms: u64,
    /// Files of versions that knew no groups do not have it.
    #[serde(default)]
    has_groups: bool,
}

impl DeliveredFile {
    /// The file of this configuration.
    pub fn new(state_dir: &std::path::Path, source: &SourceConfig, notify: &[NotifyUrl]) -> Self {
        let source = match source {
            SourceConfig::Etcd { trigger, .. } => format!("etcd {trigger}"),
            SourceConfig::File { path } => format!("file {}", path.display()),
        };
        Self { path: state_dir.join(FILE), source, notify: notify.iter().map(NotifyUrl::to_string).collect() }
    }

    /// What earlier lives wrote. A file that cannot be understood is reported and counts as none: the
    /// price is one delivery.
    ///
    /// # Errors
    /// When the file is there and cannot be read at all.
    pub async fn read(&self) -> std::io::Result<Remembered> {
        let Some(bytes) = durable::read(&self.path).await? else { return Ok(Remembered::default()) };
        match serde_json::from_slice::<Stored>(&bytes) {
            Ok(stored) if stored.version == VERSION => Ok(self.judge(&stored)),
            Ok(Stored { version, .. }) => {
                tracing::warn!(
                    path = %self.path.display(), version,
                    "the file with the last delivered revision has an unknown version; the trigger is delivered again"
                );
                Ok(Remembered::default())
            }
            Err(error) => {
                tracing::warn!(
                    path = %self.path.display(), %error,
                    "the file with the last delivered revision is damaged; the trigger is delivered again"
                );
                Ok(Remembered::default())
            }
        }
    }

    fn judge(&self, stored: &Stored) -> Remembered {
        if stored.source != self.source {
            return Remembered::default();
        }
        Remembered {
            revision: Some(stored.revision),
            sure: stored.notify == self.notify,
            has_groups: stored.has_groups,
        }
    }

    /// Remembers durably that everybody got `revision`, and whether its document has groups.
    ///
    /// # Errors
    /// Whatever the file system says; the delivery then has to be repeated after a restart.
    pub async fn write(&self, revision: u64, has_groups: bool) -> std::io::Result<()> {
        let stored = Stored {
            version: VERSION,
            source: self.source.clone(),
            notify: self.notify.clone(),
            revision,
            delivered_at_unix_ms: clock::unix_millis(),
            has_groups,
        };
        let mut bytes = serde_json::to_vec(&stored).map_err(std::io::Error::other)?;
        bytes.push(b'\n');
        durable::write(&self.path, bytes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &std::path::Path, trigger: &str, urls: &[&str]) -> DeliveredFile {
        let source = SourceConfig::Etcd {
            endpoints: coordination::Endpoints::parse(&["127.0.0.1:2379"]).unwrap(),
            trigger: trigger.to_owned(),
            read: trigger.to_owned(),
            retrigger: None,
        };
        let urls: Vec<NotifyUrl> = urls.iter().map(|url| url.parse().unwrap()).collect();
        DeliveredFile::new(folder, &source, &urls)
    }

    #[tokio::test]
    async fn a_revision_is_sure_only_for_the_same_source_and_urls() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let one = file(path, "/t", &["http://a/", "http://b/"]);
        assert_eq!(one.read().await.unwrap(), Remembered::default());
        one.write(7, true).await.unwrap();
        let seven = Remembered { revision: Some(7), sure: true, has_groups: true };
        assert_eq!(one.read().await.unwrap(), seven);
        let other_urls = file(path, "/t", &["http://a/", "http://c/"]);
        assert_eq!(other_urls.read().await.unwrap(), Remembered { sure: false, ..seven });
        let other_source = file(path, "/u", &["http://a/", "http://b/"]);
        assert_eq!(other_source.read().await.unwrap(), Remembered::default());
    }

    #[tokio::test]
    async fn a_damaged_file_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let one = file(folder.path(), "/t", &["http://a/"]);
        for damage in [
            "",
            "{",
            "[]",
            r#"{"version":2,"source":"etcd /t","notify":[],"revision":1,"delivered_at_unix_ms":1}"#,
        ] {
            durable::write(folder.path().join(FILE), damage).await.unwrap();
            assert_eq!(one.read().await.unwrap(), Remembered::default(), "{damage}");
        }
    }
}
