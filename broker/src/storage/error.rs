//! What can go wrong in a log, one enum an operation.
//!
//! Three kinds: the writer's or reader's fault (`AppendError::OutOfOrderSequence`, ...), later
//! (`NoSpace`, `LowSpace`), broken (`StorageError`: the log is offline and keeps its first reason).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fences::FenceRefusal;

/// A disk or a file on it failed: the log (or the folder) is of no use until it is opened again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// The system refused an operation.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `allocate`, `sync` ...
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// A mapped page could not be brought in or written (SIGBUS): the file was cut by an outsider, or
    /// the disk failed.
    #[error("mapped file {} lost its pages", path.display())]
    Fault {
        /// The mapped file.
        path: PathBuf,
    },
    /// A file holds what no broker wrote there.
    #[error("{} is corrupt at {position}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Position in it.
        position: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The log was closed, or its partition deleted.
    #[error("{} is closed", dir.display())]
    Closed {
        /// Folder of the log.
        dir: PathBuf,
    },
    /// The log went offline before, for the reason given.
    #[error("{} is offline: {reason}", dir.display())]
    Offline {
        /// Folder of the log.
        dir: PathBuf,
        /// The first failure.
        #[source]
        reason: Arc<Self>,
    },
}

impl StorageError {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_path_buf(),
            source: Arc::new(source),
        }
    }

    /// Whether the file system has no such operation.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::Unsupported)
    }

    /// Whether the disk (or the quota) is full: nothing is broken, a retry may succeed later.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            Self::Fault { .. }
            | Self::Corrupt { .. }
            | Self::Closed { .. }
            | Self::Offline { .. } => false,
        }
    }

    /// Whether the file or folder was not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Why a batch was not appended. Nothing of it is visible then.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Not a record batch v2, or its lengths contradict one another.
    #[error("batch is malformed: {0}")]
    Malformed(&'static str),
    /// The batch does not fit a segment (`segment.bytes`).
    #[error("batch has {bytes} bytes, a segment takes at most {limit}")]
    LargerThanSegment {
        /// Size of the batch.
        bytes: usize,
        /// `segment.bytes`.
        limit: u64,
    },
    /// The sequence does not follow the producer's last one.
    #[error(
        "producer {producer_id} epoch {producer_epoch}: sequence {sequence} does not follow {last_sequence}"
    )]
    OutOfOrderSequence {
        /// Id of the producer.
        producer_id: i64,
        /// Epoch in the batch.
        producer_epoch: i16,
        /// First sequence of the batch.
        sequence: i32,
        /// Last sequence known of the producer, -1 for none.
        last_sequence: i32,
    },
    /// The producer has a newer epoch: this one is fenced.
    #[error("producer {producer_id}: epoch {producer_epoch} is older than {current_epoch}")]
    InvalidProducerEpoch {
        /// Id of the producer.
        producer_id: i64,
        /// Epoch in the batch.
        producer_epoch: i16,
        /// Newest epoch known.
        current_epoch: i16,
    },
    /// The produce guard refused it.
    #[error(transparent)]
    Fence(#[from] FenceRefusal),
    /// A replicated batch does not continue this log.
    #[error("batch starts at offset {found}, the log continues at {expected}")]
    OffsetOutOfOrder {
        /// Base offset of the batch.
        found: i64,
        /// Next offset of the log.
        expected: i64,
    },
    /// Less than `min.free.bytes` are free: clients' appends are refused until there is more again.
    #[error("{free} bytes free on the disk, min.free.bytes is {limit}")]
    LowSpace {
        /// Bytes free.
        free: u64,
        /// `min.free.bytes`.
        limit: u64,
    },
    /// The disk is full. The log is intact and takes appends again once there is space.
    #[error("disk full: {0}")]
    NoSpace(StorageError),
    /// The log is broken.
    #[error(transparent)]
    Storage(StorageError),
}

impl From<StorageError> for AppendError {
    fn from(error: StorageError) -> Self {
        if error.is_no_space() {
            Self::NoSpace(error)
        } else {
            Self::Storage(error)
        }
    }
}

/// Why a read gives nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is outside of what the log holds.
    #[error("offset {offset} is not within {log_start}..={next_offset}")]
    OffsetOutOfRange {
        /// Asked for.
        offset: i64,
        /// First offset of the log.
        log_start: i64,
        /// Next offset of the log.
        next_offset: i64,
    },
    /// The log is broken.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why the broker cannot start on its `log.dirs`.
#[derive(Debug, thiserror::Error)]
pub enum LogDirsError {
    /// No folder of `log.dirs` can be used; the reason of each.
    #[error("none of the log.dirs can be used: {}", reasons(.0))]
    NoneUsable(Vec<(PathBuf, StorageError)>),
    /// Another process holds the folder.
    #[error("log dir {} is locked by another process", .0.display())]
    Locked(PathBuf),
    /// The same partition lies in two folders.
    #[error("duplicate log of {name}: {} and {}", first.display(), second.display())]
    DuplicateLog {
        /// `topic-partition`.
        name: String,
        /// One folder.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The folder belongs to another broker or cluster.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// `meta.properties` of a folder names another broker or another cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: meta.properties says {key}={found}, this broker has {key}={expected}", path.display())]
pub struct IdentityError {
    /// The folder.
    pub path: PathBuf,
    /// `broker.id` or `cluster.id`.
    pub key: &'static str,
    /// Value in the file.
    pub found: String,
    /// Value of this broker.
    pub expected: String,
}

fn reasons(dirs: &[(PathBuf, StorageError)]) -> String {
    let texts: Vec<String> = dirs.iter().map(|(_, e)| e.to_string()).collect();
    texts.join("; ")
}
