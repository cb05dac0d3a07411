//! Small files that survive a power cut.
//!
//! A file is written under a temporary name in the same folder, synced, renamed over the old one, and then
//! the folder is synced. Afterwards the name leads to the old bytes or to the new bytes, whatever happens
//! in between, and once `write` returned, to the new ones.
//!
//! What was considered. Writing in place: a crash leaves half a file. Renaming without syncing the file
//! first: after a power cut some file systems show the new name with no content, because the rename was
//! journalled before the data. Not syncing the folder: the rename itself may be undone by the power cut,
//! and then a restart sees an older grant than the one that was acted upon. Syncing the file again after
//! the rename, as PostgreSQL does for its relation files: needed where the name exists before the data is
//! complete, which is never so here. Retrying a failed fsync: wrong, the kernel may have dropped the dirty
//! pages and the second call then lies; a failure is reported and the old file stays in force. A journal or
//! an embedded database: these files are a few KiB and rewritten whole. A temporary file left behind by a
//! crash is overwritten by the next write, as its name is fixed; one owner task per file makes that safe.
//!
//! Disk calls block, so the public functions are asynchronous and run them on the blocking pool.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Larger files are not ours: reading stops with an error.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the temporary name has appended.
const TEMPORARY_SUFFIX: &str = ".new";

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the state folder {path} cannot be used ({step}); {fix}")]
pub struct FolderError {
    /// Which folder.
    pub path: PathBuf,
    /// What was tried.
    pub step: &'static str,
    /// What to do about it.
    pub fix: String,
    /// What the system said.
    pub source: io::Error,
}

/// Replaces the file's content.
///
/// # Errors
/// Whatever the file system says; the old content is then still in force, unless the last step (syncing
/// the folder) failed, when either may be.
pub async fn write(path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> io::Result<()> {
    let (path, bytes) = (path.into(), bytes.into());
    blocking(move || write_now(&path, &bytes)).await
}

/// Removes the file. That there is none is no error.
///
/// # Errors
/// Whatever the file system says.
pub async fn remove(path: impl Into<PathBuf>) -> io::Result<()> {
    let path = path.into();
    blocking(move || remove_now(&path)).await
}

/// The file's content, or `None` if there is no such file.
///
/// # Errors
/// Whatever the file system says, and `InvalidData` for a file larger than [`FILE_BYTES_MAX`].
pub async fn read(path: impl Into<PathBuf>) -> io::Result<Option<Vec<u8>>> {
    let path = path.into();
    blocking(move || read_now(&path)).await
}

/// The same on this thread, for those who read thousands of files on threads of their own.
///
/// # Errors
/// As from [`read`].
pub fn read_blocking(path: &Path) -> io::Result<Option<Vec<u8>>> {
    read_now(path)
}

/// Makes the folder if it is missing, and proves by writing a file that it can be written to.
///
/// # Errors
/// [`FolderError`], which names the folder and the fix.
pub async fn prepare_folder(path: impl Into<PathBuf>) -> Result<(), FolderError> {
    let path = path.into();
    let probe = path.clone();
    let checked = tokio::task::spawn_blocking(move || prepare_folder_now(&probe)).await;
    checked.unwrap_or_else(|error| Err(folder_error(&path, "check it", io::Error::other(error))))
}

fn prepare_folder_now(path: &Path) -> Result<(), FolderError> {
    fs::create_dir_all(path).map_err(|source| folder_error(path, "make it", source))?;
    let probe = path.join(".probe");
    write_now(&probe, b"").map_err(|source| folder_error(path, "write a file in it", source))?;
    fs::remove_file(&probe).map_err(|source| folder_error(path, "remove a file in it", source))
}

fn folder_error(path: &Path, step: &'static str, source: io::Error) -> FolderError {
    let fix = match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "make it and give it to the daemon's user, or choose another with --state-dir".to_owned()
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "it is on a read-only file system: use systemd's StateDirectory= or another --state-dir"
                .to_owned()
        }
        io::ErrorKind::StorageFull => "the disk is full: make room".to_owned(),
        _ => "choose another with --state-dir".to_owned(),
    };
    FolderError { path: path.to_owned(), step, fix, source }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[allow(clippy::disallowed_methods, reason = "this module is the one that makes renames durable")]
fn write_now(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(TEMPORARY_SUFFIX);
    let temporary = folder.join(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

fn remove_now(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // Synced in any case: an earlier removal may have failed after the first of the two steps.
        _ => File::open(folder_of(path))?.sync_all(),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn read_now(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is larger than any of ours"));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_is_read_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        assert_eq!(read(&path).await.unwrap(), None);
        write(&path, "a much longer first content").await.unwrap();
        write(&path, "second").await.unwrap();
        assert_eq!(read(&path).await.unwrap().unwrap(), b"second");
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["record.json"], "nothing temporary is left");
    }

    #[tokio::test]
    async fn what_was_removed_is_not_there_and_can_be_removed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        write(&path, "content").await.unwrap();
        for _ in 0..2 {
            remove(&path).await.unwrap();
            assert_eq!(read(&path).await.unwrap(), None);
        }
        assert!(remove(folder.path()).await.is_err(), "a folder is no file of ours");
    }

    #[tokio::test]
    async fn a_temporary_file_of_a_crash_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        fs::create_dir_all(folder.path()).unwrap();
        File::create(folder.path().join("record.json.new"))
            .unwrap()
            .write_all(b"half of something long")
            .unwrap();
        write(&path, "whole").await.unwrap();
        assert_eq!(read(&path).await.unwrap().unwrap(), b"whole");
    }

    #[tokio::test]
    async fn a_failed_write_leaves_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        write(&path, "old").await.unwrap();
        fs::create_dir(folder.path().join("record.json.new")).unwrap();
        assert!(write(&path, "new").await.is_err());
        assert_eq!(read(&path).await.unwrap().unwrap(), b"old");
    }

    #[tokio::test]
    async fn a_folder_is_made_and_a_file_in_its_place_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("a/b");
        prepare_folder(&wanted).await.unwrap();
        assert_eq!(fs::read_dir(&wanted).unwrap().count(), 0);
        let file = folder.path().join("file");
        File::create(&file).unwrap();
        let error = prepare_folder(&file).await.unwrap_err();
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
        assert!(error.to_string().contains("--state-dir"), "{error}");
    }
}
