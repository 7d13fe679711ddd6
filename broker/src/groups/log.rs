//! The seam between groups and the partitions of `__consumer_offsets`: append, wait, read.
//!
//! Two implementations: the broker's partitions (`partition_log.rs`), and a log in memory that
//! can be told to fail, for the driver's tests.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::error::GroupError;

/// An append that is not replicated yet.
pub(crate) type Replicated = Pin<Box<dyn Future<Output = Result<(), WriteError>> + Send>>;

/// A batch that is in the leader's log.
pub(crate) struct Written {
    /// Offset of its first record.
    pub(crate) base_offset: i64,
    /// What is left to wait for; `None` when every replica in sync has it.
    pub(crate) pending: Option<Replicated>,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Written");
        shown.field("base_offset", &self.base_offset);
        shown.field("pending", &self.pending.is_some()).finish()
    }
}

/// Why a batch is not in the log, or not known to be replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    /// Another broker leads the partition, or its disk failed.
    #[error("the offsets partition is not led by this broker")]
    NotLeader,
    /// Too few replicas, no space: it may work later.
    #[error("the offsets partition cannot take records now")]
    NotNow,
    /// Not replicated within `offsets.commit.timeout.ms`.
    #[error("the record was not replicated in time")]
    TimedOut,
    /// Larger than `max.message.bytes` or than a segment.
    #[error("the batch of {bytes} bytes is too large for the offsets partition")]
    TooLarge {
        /// Size of the batch.
        bytes: usize,
    },
    /// No bytes could be made of it.
    #[error("the record cannot be written")]
    Unwritable,
}

impl WriteError {
    /// What a member hears when the group's record was not stored.
    pub(crate) fn of_group(self) -> GroupError {
        match self {
            Self::NotLeader => GroupError::NotCoordinator,
            Self::NotNow => GroupError::CoordinatorNotAvailable,
            Self::TimedOut => GroupError::RebalanceInProgress,
            Self::TooLarge { .. } | Self::Unwritable => GroupError::NotWritten,
        }
    }

    /// What a committer hears when its offsets were not stored.
    pub(crate) fn of_offsets(self) -> GroupError {
        match self {
            Self::NotLeader => GroupError::NotCoordinator,
            Self::NotNow => GroupError::CoordinatorNotAvailable,
            Self::TimedOut => GroupError::CommitTimedOut,
            Self::TooLarge { .. } => GroupError::InvalidCommitOffsetSize,
            Self::Unwritable => GroupError::NotWritten,
        }
    }
}

/// Why a partition could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoadError {
    /// Another broker leads it.
    #[error("the offsets partition is not led by this broker")]
    NotLeader,
    /// The disk, most likely.
    #[error("the offsets partition could not be read: {0}")]
    Read(String),
}

/// A partition of `__consumer_offsets` as it is led in one epoch. Between two epochs that do not follow one another
/// another broker may have led: what was read in the first says nothing about the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Led {
    /// The partition.
    pub(crate) partition: i32,
    /// Its leader epoch.
    pub(crate) epoch: i32,
}

/// The partitions of `__consumer_offsets` that this broker leads. All of it is for one epoch only.
pub(crate) trait OffsetsLog: fmt::Debug + Send + Sync + 'static {
    /// Whether this broker leads the partition in that epoch, and may say so.
    fn leads(&self, led: Led) -> bool;

    /// What is left to wait for until all that was in the log when this broker came to lead it is
    /// replicated; `None`: nothing. The former leader may have acknowledged a record that this
    /// broker does not yet know to be replicated, so none of them may be passed over; and one that
    /// is not replicated may still be lost, so none may be used before.
    fn settled(&self, led: Led) -> Result<Option<Replicated>, LoadError>;

    /// Appends one batch.
    fn append(&self, led: Led, batch: &[u8], now_ms: i64) -> Result<Written, WriteError>;

    /// Whole batches from the one that holds `offset` on, about `bytes_max` of them, but one at
    /// least; empty at the end. May touch the disk.
    fn read(&self, led: Led, offset: i64, bytes_max: usize) -> Result<Vec<u8>, LoadError>;

    /// First offset of the partition.
    fn start(&self, led: Led) -> Result<i64, LoadError>;
}

#[cfg(test)]
pub(super) mod memory;
