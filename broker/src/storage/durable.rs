//! Making things last: sync of files and directories, replacement of a file in one step.
//!
//! The only place that renames. A name is durable once its directory was synced (KAFKA-9892: closing a
//! file is no flush).

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::StorageError;

/// Syncs the names in `dir`.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    let opened = File::open(dir).map_err(|e| StorageError::io("open", dir, e))?;
    opened
        .sync_all()
        .map_err(|e| StorageError::io("sync", dir, e))
}

/// Syncs what is needed to read the file's bytes back. The caller never retries a failed one: the kernel
/// has dropped the error with the pages, so the next sync would say success (measured).
pub(crate) fn sync_data(file: &File, path: &Path) -> Result<(), StorageError> {
    file.sync_data()
        .map_err(|e| StorageError::io("sync", path, e))
}

/// Renames; the caller syncs the directory where that matters.
#[expect(clippy::disallowed_methods, reason = "the one place that renames")]
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StorageError> {
    fs::rename(from, to).map_err(|e| StorageError::io("rename", from, e))
}

/// Replaces `path` by `bytes`: after a crash it holds either the old or the new ones.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let tmp = with_suffix(path, ".tmp");
    let written = write_synced(&tmp, bytes).and_then(|()| rename(&tmp, path));
    if let Err(error) = written {
        // On a full disk the half-written file must not take the last bytes.
        let _ = fs::remove_file(&tmp);
        return Err(error);
    }
    path.parent().map_or(Ok(()), sync_dir)
}

/// As [`replace`], without the syncs: for files that carry a checksum and can be done without.
pub(crate) fn replace_unsynced(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let tmp = with_suffix(path, ".tmp");
    let written = fs::write(&tmp, bytes)
        .map_err(|e| StorageError::io("write", &tmp, e))
        .and_then(|()| rename(&tmp, path));
    if written.is_err() {
        let _ = fs::remove_file(&tmp);
    }
    written
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let mut file = File::create(path).map_err(|e| StorageError::io("create", path, e))?;
    file.write_all(bytes)
        .map_err(|e| StorageError::io("write", path, e))?;
    file.sync_all()
        .map_err(|e| StorageError::io("sync", path, e))
}

/// The whole file, or `None` if there is none. `limit` keeps a damaged disk from filling our memory.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StorageError> {
    let len = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StorageError::io("read", path, e)),
    };
    if len > limit {
        return Err(StorageError::Corrupt {
            path: path.to_path_buf(),
            position: limit,
            what: "file is longer than any that a broker writes",
        });
    }
    fs::read(path)
        .map(Some)
        .map_err(|e| StorageError::io("read", path, e))
}

/// Removes a file; fine if there is none.
pub(crate) fn remove(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StorageError::io("remove", path, e)),
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}
