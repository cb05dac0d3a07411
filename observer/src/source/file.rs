//! The file source: a document in a file, applied whenever its content changes.
//!
//! The content is read a few times a second and compared as a whole. inotify would notice sooner but is blind
//! on network file systems and needs its own care for files that are renamed into place, symbolic links
//! that are switched (as container platforms do) and folders that do not exist yet; looking at size and
//! time first would miss a second change within the granularity of the clock. Reading a few hundred bytes
//! that are in memory anyway costs less than being clever.
//!
//! An editor that writes in place may be caught half way. Half a JSON object is never a JSON object, so
//! content that parses is taken at once, and content that does not is taken (to be reported) only when
//! two looks in a row found the same.
//!
//! The revision is a counter, kept in the state folder together with the content it was given to, and
//! written there **before** anybody is told: one number never means two documents.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use service::durable;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use topology::Document;

use super::{DOCUMENT_BYTES_MAX, SourceHealth};
use crate::trigger::{Level, Trigger};

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Deadline of one look; a file system that hangs is reported and looked at again.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// The file in the state folder.
const MEMORY_FILE: &str = "file-source";

/// A watched file.
pub struct FileSource {
    level: watch::Receiver<Option<Level>>,
    health: watch::Receiver<SourceHealth>,
}

impl FileSource {
    pub(super) fn start(path: PathBuf, state_dir: &Path, shutdown: CancellationToken) -> Self {
        let (level_sender, level) = watch::channel(None);
        let (health_sender, health) = watch::channel(SourceHealth {
            watching: false,
            phase: "reading".to_owned(),
            place: path.display().to_string(),
            reconnects: 0,
            failure: None,
        });
        let watcher = Watcher {
            path,
            memory_path: state_dir.join(MEMORY_FILE),
            memory: None,
            previous: None,
            level: level_sender,
            health: health_sender,
        };
        tokio::spawn(async move { shutdown.run_until_cancelled(watcher.run()).await });
        Self { level, health }
    }

    pub(super) fn level(&mut self) -> Option<Level> {
        self.level.borrow_and_update().clone()
    }

    pub(super) async fn changed(&mut self) {
        if self.level.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn health(&self) -> watch::Receiver<SourceHealth> {
        self.health.clone()
    }
}

/// The counter, and the content it was given to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Memory {
    counter: u64,
    content: Vec<u8>,
}

impl Memory {
    /// The counter in digits, a line break, the content as it is.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\n", self.counter).into_bytes();
        bytes.extend_from_slice(&self.content);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let split = bytes.iter().position(|byte| *byte == b'\n')?;
        let counter = std::str::from_utf8(&bytes[..split]).ok()?.parse().ok()?;
        Some(Self { counter, content: bytes[split + 1..].to_vec() })
    }
}

/// The one owner of the counter.
struct Watcher {
    path: PathBuf,
    memory_path: PathBuf,
    /// `None` until it was read.
    memory: Option<Memory>,
    /// What the look before found: the content, or that there is no file.
    previous: Option<Option<Vec<u8>>>,
    level: watch::Sender<Option<Level>>,
    health: watch::Sender<SourceHealth>,
}

impl Watcher {
    async fn run(mut self) {
        loop {
            let outcome = self.look().await;
            self.report(outcome.err());
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// One look; `Err` says what is in the way.
    async fn look(&mut self) -> Result<(), String> {
        let path = self.path.clone();
        let reading = tokio::task::spawn_blocking(move || read_document(&path));
        let found = timeout(LOOK_DEADLINE, reading)
            .await
            .map_err(|_| format!("it was not read within {} s", LOOK_DEADLINE.as_secs()))?
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let stood_still = self.previous.as_ref() == Some(&found);
        self.previous = Some(found.clone());
        match found {
            // A file that is replaced by remove-and-write is away for a moment.
            None if stood_still || self.level.borrow().is_none() => {
                self.publish(Level::Absent);
                Ok(())
            }
            None => Ok(()),
            Some(content) => {
                let whole = Document::parse(&content, usize::MAX).is_ok();
                if whole || stood_still { self.take(content).await } else { Ok(()) }
            }
        }
    }

    async fn take(&mut self, content: Vec<u8>) -> Result<(), String> {
        let memory = match self.memory.take() {
            Some(memory) => memory,
            None => self.remember().await?,
        };
        let memory = if memory.counter > 0 && memory.content == content {
            memory
        } else {
            let newer = Memory { counter: memory.counter + 1, content };
            let written = durable::write(&self.memory_path, newer.to_bytes()).await;
            if let Err(error) = written {
                // Which of the two is on the disk is not known: read it again before the next try.
                return Err(format!(
                    "its revision cannot be kept in {}: {error}",
                    self.memory_path.display()
                ));
            }
            newer
        };
        let trigger = Trigger { revision: memory.counter, value: Arc::from(memory.content.as_slice()) };
        self.memory = Some(memory);
        self.publish(Level::Present(trigger));
        Ok(())
    }

    async fn remember(&self) -> Result<Memory, String> {
        let place = self.memory_path.display();
        let stored = durable::read(&self.memory_path)
            .await
            .map_err(|error| format!("its revision cannot be read from {place}: {error}"))?;
        match stored {
            None => Ok(Memory::default()),
            Some(bytes) => Memory::from_bytes(&bytes).ok_or_else(|| {
                format!("{place} is damaged; write a number above all used ones and a line break into it")
            }),
        }
    }

    fn publish(&self, level: Level) {
        self.level.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&level);
            if changed {
                *known = Some(level);
            }
            changed
        });
    }

    fn report(&self, failure: Option<String>) {
        let was_failing = self.health.borrow().failure.is_some();
        if let Some(reason) = &failure
            && !was_failing
        {
            tracing::warn!(path = %self.path.display(), reason, "the document's file cannot be used");
        }
        self.health.send_if_modified(|health| {
            let now = SourceHealth {
                watching: failure.is_none(),
                phase: if failure.is_none() { "watching" } else { "waiting" }.to_owned(),
                reconnects: health.reconnects + u64::from(was_failing && failure.is_none()),
                failure,
                place: health.place.clone(),
            };
            let changed = *health != now;
            *health = now;
            changed
        });
    }
}

/// The content, `None` if there is no such file.
fn read_document(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(std::io::Error::other(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes")));
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_survives_any_content() {
        for content in [&b""[..], b"\n", b"{}\n", b"\xff\x00\n7\n"] {
            let memory = Memory { counter: 42, content: content.to_vec() };
            assert_eq!(Memory::from_bytes(&memory.to_bytes()), Some(memory));
        }
        for damaged in [&b""[..], b"7", b"x\n", b"-1\n", b"\n{}"] {
            assert_eq!(Memory::from_bytes(damaged), None, "{damaged:?}");
        }
    }
}
