//! Why appending, reading or waiting gave nothing; one enum an operation.

use nyala_coordinator::ids::TopicPartition;

use crate::storage::{self, StorageError};

/// Why nothing was appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Another broker leads, or nobody.
    #[error("this broker does not lead {0}")]
    NotLeader(TopicPartition),
    /// Fewer replicas in sync than `min.insync.replicas`.
    #[error("{partition} has {in_sync} replicas in sync, min.insync.replicas is {needed}")]
    NotEnoughReplicas {
        /// Partition.
        partition: TopicPartition,
        /// Replicas in sync.
        in_sync: usize,
        /// `min.insync.replicas`.
        needed: usize,
    },
    /// The log refused it.
    #[error(transparent)]
    Log(#[from] storage::AppendError),
}

/// Why nothing was read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Another broker leads, or nobody.
    #[error("this broker does not lead {0}")]
    NotLeader(TopicPartition),
    /// The reader knows an older leader.
    #[error("leader epoch {asked} is older than {current}")]
    FencedEpoch {
        /// Epoch that the reader knows.
        asked: i32,
        /// Ours.
        current: i32,
    },
    /// The reader knows a newer leader.
    #[error("leader epoch {asked} is newer than {current}")]
    UnknownEpoch {
        /// Epoch that the reader knows.
        asked: i32,
        /// Ours.
        current: i32,
    },
    /// The log refused it.
    #[error(transparent)]
    Log(#[from] storage::ReadError),
}

/// Why a wait for an append ended without success.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WaitError {
    /// Not replicated in time.
    #[error("not replicated in time")]
    TimedOut,
    /// The leadership ended meanwhile.
    #[error("this broker does not lead {0} any more")]
    NotLeader(TopicPartition),
    /// The log could not be synced.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
