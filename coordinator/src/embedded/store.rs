//! The data folder: finds the newest sound snapshot, replays the journals after it, drops a torn
//! tail, and refuses a folder with a hole or damage in its history.
//!
//! Runs once, before the server listens. Files: `.lock`, `snapshot.<zxid>`, `journal.<first zxid>`
//! (hexadecimal); what ends in `.tmp` is left over from a crash.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::config::ServerConfig;
use super::entry::{self, Action};
use super::journal::{self, Target};
use super::records::Stamp;
use super::snapshot::{self, State};

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server uses the folder.
    #[error("{} is in use by another server", path.display())]
    Locked {
        /// The data folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// What could not be read or written.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// Something that was acknowledged cannot be read any more.
    #[error(
        "{} is damaged at byte {at}, and what follows was acknowledged: put a copy of the folder back, \
         or cut the file to {at} bytes to go on without it",
        path.display()
    )]
    Damaged {
        /// The journal file.
        path: PathBuf,
        /// Where its sound part ends.
        at: usize,
    },
    /// Something that was acknowledged is missing.
    #[error(
        "{} does not follow on zxid {after:#x}: a part of the history is missing, or another version of \
         nyala wrote it: go on with that version, or start with an empty folder",
        path.display()
    )]
    Hole {
        /// The first file that cannot be used.
        path: PathBuf,
        /// Last zxid that could be recovered.
        after: i64,
    },
}

/// A folder, opened: its state and where to go on writing.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) state: State,
    pub(super) target: Target,
    /// Journal bytes that are not in a snapshot.
    pub(super) grown: usize,
    /// Holds the lock until it is dropped.
    pub(super) lock: File,
}

/// Names in a data folder, each list ascending.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) snapshots: Vec<i64>,
    pub(super) journals: Vec<i64>,
}

/// Opens `config.data_dir`, creating it when it is not there.
pub(super) fn open(config: &ServerConfig) -> Result<Store, OpenError> {
    let dir = config.data_dir.as_path();
    let failed = |source| OpenError::Io {
        path: dir.to_owned(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let lock = lock(dir)?;
    let files = list(dir).map_err(failed)?;
    let mut state = newest_snapshot(dir, &files.snapshots)?;
    let (grown, file) = replay(dir, &files.journals, &mut state)?;
    // The names tell how far the history once was: zxids must not go back.
    let journals_from = files.journals.last().map_or(0, |first| first - 1);
    let reached = files.snapshots.last().copied().unwrap_or(0);
    if state.zxid < reached.max(journals_from) {
        return Err(OpenError::Hole {
            path: dir.to_owned(),
            after: state.zxid,
        });
    }
    let is_new = file.is_none();
    let file = match file {
        Some(file) => file,
        None => journal::create(dir, state.zxid + 1).map_err(failed)?,
    };
    let target = Target {
        dir: dir.to_owned(),
        file,
        sync: config.sync,
        is_new,
        reserved: 0,
    };
    Ok(Store {
        state,
        target,
        grown,
        lock,
    })
}

/// Lists a data folder and removes what a crash left half-written.
pub(super) fn list(dir: &Path) -> io::Result<Files> {
    let mut files = Files::default();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let zxid = |hex: &str| i64::from_str_radix(hex, 16).ok();
        match name.split_once('.') {
            Some((_, "tmp")) => std::fs::remove_file(entry.path())?,
            Some(("snapshot", hex)) => files.snapshots.extend(zxid(hex)),
            Some(("journal", hex)) => files.journals.extend(zxid(hex)),
            _ => {}
        }
    }
    files.snapshots.sort_unstable();
    files.journals.sort_unstable();
    Ok(files)
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(".lock");
    let failed = |source| OpenError::Io {
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked {
            path: dir.to_owned(),
        }),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// The newest snapshot that is sound; a fresh state when there is none. Whether the journals
/// reach back far enough is checked by `replay`.
fn newest_snapshot(dir: &Path, zxids: &[i64]) -> Result<State, OpenError> {
    for &zxid in zxids.iter().rev() {
        let path = journal::snapshot_path(dir, zxid);
        let bytes = read(&path)?;
        match snapshot::decode(&bytes) {
            Ok(state) => return Ok(state),
            Err(_) => tracing::warn!(path = %path.display(), "ignoring a damaged snapshot"),
        }
    }
    Ok(State::fresh())
}

/// Replays what is newer than `state`; returns the bytes of that and the last journal, open at
/// its end with a torn tail cut off.
fn replay(
    dir: &Path,
    journals: &[i64],
    state: &mut State,
) -> Result<(usize, Option<File>), OpenError> {
    let covered = journals.iter().filter(|first| **first <= state.zxid + 1);
    let from = covered.count().saturating_sub(1);
    let mut grown = 0;
    let mut last = None;
    for &first in journals.get(from..).unwrap_or_default() {
        let path = journal::journal_path(dir, first);
        let bytes = read(&path)?;
        let whole = replay_file(&path, &bytes, state)?;
        grown += whole;
        last = Some((path, bytes.len(), whole));
    }
    let Some((path, length, whole)) = last else {
        return Ok((grown, None));
    };
    let failed = |source| OpenError::Io {
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .append(true)
        .open(&path)
        .map_err(failed)?;
    if whole < length {
        let dropped = length - whole;
        tracing::warn!(path = %path.display(), dropped, "dropping a torn tail of the journal");
    }
    if whole < length || whole == 0 {
        cut(&file, whole).map_err(failed)?;
    }
    Ok((grown, Some(file)))
}

/// Cuts a journal to its sound part, giving it a head if it has none.
fn cut(mut file: &File, whole: usize) -> io::Result<()> {
    file.set_len(whole as u64)?;
    if whole == 0 {
        file.write_all(journal::MAGIC)?;
    }
    file.sync_all()
}

/// Applies the entries of one journal; returns the length of its sound part.
fn replay_file(path: &Path, bytes: &[u8], state: &mut State) -> Result<usize, OpenError> {
    let hole = |state: &State| OpenError::Hole {
        path: path.to_owned(),
        after: state.zxid,
    };
    let Some(mut rest) = bytes.strip_prefix(journal::MAGIC) else {
        // A crash may leave a new file without its whole head, but nothing after it.
        return match bytes.len() <= journal::MAGIC.len() {
            true => Ok(0),
            false => Err(hole(state)),
        };
    };
    while let Some((record, behind)) = journal::split_record(rest) {
        let (stamp, action) = entry::decode(record).map_err(|_| hole(state))?;
        if stamp.zxid > state.zxid {
            if stamp.zxid != state.zxid + 1 || !apply(state, stamp, action) {
                return Err(hole(state));
            }
            state.zxid = stamp.zxid;
        }
        rest = behind;
    }
    let whole = bytes.len() - rest.len();
    if journal::goes_on_behind(bytes, whole) {
        return Err(OpenError::Damaged {
            path: path.to_owned(),
            at: whole,
        });
    }
    Ok(whole)
}

/// Applies one entry; false when it does not fit the state.
fn apply(state: &mut State, stamp: Stamp, action: Action) -> bool {
    match action {
        Action::Opened(session) => {
            state.session_id_last = state.session_id_last.max(session.id);
            state.sessions.push(session);
            true
        }
        Action::Changes { changes, closed } => {
            if let Some(closed) = closed {
                state.sessions.retain(|session| session.id != closed);
            }
            let mut events = Vec::new();
            changes.iter().all(|change| {
                events.clear();
                state.tree.apply(change, stamp, &mut events).is_ok()
            })
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|source| OpenError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
