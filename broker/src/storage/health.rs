//! What is wrong with the logs as of now, for the broker to tell its operator.
//!
//! Storage says nothing itself: a log that breaks refuses its callers, and a disk that runs low is only
//! a code on the wire. Whoever asks here, now and then, can say it once and say why.

use std::path::PathBuf;
use std::sync::Arc;

use super::{LogDirs, StorageError};

/// What is wrong with the logs as of now.
#[derive(Debug, Default)]
pub struct Health {
    /// Logs, and whole log dirs, that are offline, each with its first reason.
    pub offline: Vec<(PathBuf, Arc<StorageError>)>,
    /// Log dirs on which producers are refused.
    pub low: Vec<LowDir>,
}

/// A log dir with less than `min.free.bytes` left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowDir {
    /// The folder.
    pub path: PathBuf,
    /// Bytes free.
    pub free: u64,
    /// `min.free.bytes`.
    pub limit: u64,
}

impl LogDirs {
    /// Looks at every log and every log dir; takes each log's lock for a moment.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut health = Health::default();
        for dir in &self.dirs {
            if let Some(reason) = dir.offline() {
                let found = (dir.path().to_path_buf(), Arc::clone(reason));
                health.offline.push(found);
            } else if let Err((free, limit)) = dir.space().check() {
                let path = dir.path().to_path_buf();
                health.low.push(LowDir { path, free, limit });
            }
        }
        for (_, placed) in self.placed() {
            let log = placed.log.lock();
            // One that was closed, or deleted since the look at the table, is not ill.
            let failure = log.failure();
            let ill = failure.filter(|reason| !matches!(**reason, StorageError::Closed { .. }));
            if let Some(reason) = ill {
                health.offline.push((log.dir().to_path_buf(), reason));
            }
        }
        health
    }
}
