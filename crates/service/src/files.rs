//! Values that are made of files, and made anew when the files change.
//!
//! Tokens are revoked and certificates run out while a daemon runs; restarting it for that would cost the
//! very availability they protect. So the files are looked at every few seconds and at once on SIGHUP. What
//! is in force is replaced only by something that is sound: a file that is gone, or half written, is told and
//! changes nothing.
//!
//! Certificates are files, too, which are read with their keys; see [`crate::tls`].
//!
//! Watching by inotify was left out: mounts of secrets replace a link two folders up, network file systems
//! tell nothing, and reading a few kilobytes every few seconds costs less than the exceptions would.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::digest::{Context, SHA256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Larger files are a mistake: somebody named the wrong one.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

type Make<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync>;

/// A value made of files.
pub struct FromFiles<T> {
    /// What the value is, for messages: "tokens", "certificate".
    what: &'static str,
    paths: Vec<PathBuf>,
    make: Make<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    /// The digest of what it is made of.
    in_force: Digest,
    /// The digest of what was found since and is not sound, and whether that was told.
    unsound: Option<(Digest, bool)>,
}

type Digest = Vec<u8>;

/// What a look at the files found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing new.
    Unchanged,
    /// A new value is in force.
    Renewed,
    /// The files have changed and are not sound; the old value stays in force.
    Unsound(String),
}

impl<T> FromFiles<T> {
    /// Reads the files and makes the value; `make` gets their bytes in the same order.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn open(
        what: &'static str,
        paths: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let make: Make<T> = Box::new(make);
        let contents = read_all(&paths)?;
        let value = Arc::new(make(&contents)?);
        let state = State { value, in_force: digest(&Ok(contents)), unsound: None };
        Ok(Self { what, paths, make, state: Mutex::new(state) })
    }

    /// The value in force.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.lock().value)
    }

    /// Looks at the files again. With `at_once` unsound files are told at the first look; otherwise at the
    /// second that finds them so, because two files are replaced one after the other.
    pub fn look(&self, at_once: bool) -> Look {
        let contents = read_all(&self.paths);
        let seen = digest(&contents);
        if self.lock().in_force == seen {
            self.lock().unsound = None;
            return Look::Unchanged;
        }
        let made = contents.and_then(|contents| (self.make)(&contents));
        let mut state = self.lock();
        let reason = match made {
            Ok(value) => {
                *state = State { value: Arc::new(value), in_force: seen, unsound: None };
                return Look::Renewed;
            }
            Err(reason) => reason,
        };
        let before = state.unsound.take().filter(|(unsound, _)| *unsound == seen);
        let was_told = before.as_ref().is_some_and(|(_, told)| *told);
        let tell = at_once || (before.is_some() && !was_told);
        state.unsound = Some((seen, tell || was_told));
        if tell { Look::Unsound(reason) } else { Look::Unchanged }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for FromFiles<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FromFiles").field("what", &self.what).field("paths", &self.paths).finish()
    }
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    paths.iter().map(|path| read(path)).collect()
}

/// Reads one file of bounded size.
///
/// # Errors
/// A sentence that names it.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!(
            "{} is larger than {FILE_BYTES_MAX} bytes; is it the right file?",
            path.display()
        ));
    }
    Ok(bytes)
}

/// What is compared: not the bytes themselves, for private keys are among them.
fn digest(contents: &Result<Vec<Vec<u8>>, String>) -> Digest {
    let mut context = Context::new(&SHA256);
    match contents {
        Ok(files) => {
            for file in files {
                context.update(&(file.len() as u64).to_be_bytes());
                context.update(file);
            }
        }
        Err(reason) => context.update(reason.as_bytes()),
    }
    context.finish().as_ref().to_vec()
}

/// Something that can look at its files again.
trait Looks: Send + Sync {
    fn look(&self, at_once: bool) -> Look;
    fn name(&self) -> String;
}

impl<T: Send + Sync> Looks for FromFiles<T> {
    fn look(&self, at_once: bool) -> Look {
        FromFiles::look(self, at_once)
    }

    fn name(&self) -> String {
        let paths: Vec<String> = self.paths.iter().map(|path| path.display().to_string()).collect();
        format!("{} ({})", self.what, paths.join(", "))
    }
}

/// Every value of a daemon that is made of files. Clones are one list.
#[derive(Clone, Default)]
pub struct KeptFiles {
    list: Arc<Mutex<Vec<Arc<dyn Looks>>>>,
}

impl KeptFiles {
    /// Keeps one more fresh.
    pub fn add<T: Send + Sync + 'static>(&self, value: &Arc<FromFiles<T>>) {
        let value: Arc<dyn Looks> = Arc::<FromFiles<T>>::clone(value);
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(value);
    }

    /// Looks at all files every few seconds, and at once on SIGHUP, until shutdown. SIGHUP is taken even
    /// where there are no files: its default would end the daemon.
    pub async fn keep_fresh(self, shutdown: CancellationToken) {
        let Ok(mut hang_up) = signal(SignalKind::hangup()) else {
            tracing::warn!("SIGHUP cannot be listened to; files are looked at every few seconds only");
            return self.keep_looking(shutdown).await;
        };
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let at_once = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => false,
                _ = hang_up.recv() => true,
            };
            if at_once {
                tracing::info!("SIGHUP: looking at the files again");
            }
            self.look(at_once).await;
        }
    }

    async fn keep_looking(self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            self.look(false).await;
        }
    }

    async fn look(&self, at_once: bool) {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for value in list {
            // Reading blocks; a disk that hangs must not hold up the rest of the daemon.
            let looked = tokio::task::spawn_blocking(move || (value.look(at_once), value.name())).await;
            match looked {
                Ok((Look::Renewed, name)) => tracing::info!("{name} taken anew"),
                Ok((Look::Unsound(reason), name)) => {
                    tracing::warn!("{name} not taken anew, what was in force before stays so: {reason}");
                }
                Ok((Look::Unchanged, _)) | Err(_) => {}
            }
        }
    }
}

impl fmt::Debug for KeptFiles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self
            .list
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|value| value.name())
            .collect();
        formatter.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test's file need not be durable")]
    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
    }

    fn number(files: &[Vec<u8>]) -> Result<u32, String> {
        String::from_utf8_lossy(&files[0]).trim().parse().map_err(|_| "no number".to_owned())
    }

    #[test]
    fn only_what_is_sound_replaces_what_is_in_force_and_trouble_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        write(&path, "1");
        let value = FromFiles::open("number", vec![path.clone()], number).unwrap();
        assert_eq!((value.look(false), *value.get()), (Look::Unchanged, 1));
        write(&path, "2");
        assert_eq!((value.look(false), *value.get()), (Look::Renewed, 2));
        write(&path, "half");
        assert_eq!(value.look(false), Look::Unchanged, "it may be in the middle of being replaced");
        assert_eq!(value.look(false), Look::Unsound("no number".to_owned()));
        assert_eq!((value.look(false), *value.get()), (Look::Unchanged, 2), "told once");
        assert_eq!(value.look(true), Look::Unsound("no number".to_owned()), "who asks is told again");
        write(&path, "2");
        assert_eq!(value.look(false), Look::Unchanged, "back as it was");
        std::fs::remove_file(&path).unwrap();
        assert!(
            matches!(value.look(true), Look::Unsound(reason) if reason.contains("number cannot be read"))
        );
        write(&path, "3");
        assert_eq!((value.look(false), *value.get()), (Look::Renewed, 3));
    }

    #[test]
    fn a_start_without_a_sound_file_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing");
        let error = FromFiles::open("number", vec![path.clone()], number).unwrap_err();
        assert!(error.contains("missing cannot be read"), "{error}");
        write(&path, &"9".repeat(1024 * 1024 + 1));
        assert!(FromFiles::open("number", vec![path], number).unwrap_err().contains("larger than"));
    }
}
