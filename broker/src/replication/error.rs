//! Why appending, reading or waiting gave nothing; one enum an operation.

use nyala_client::wire::batch::BatchError;
use nyala_coordinator::ids::{BrokerId, LeaderEpoch, TopicPartition};

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

impl AppendError {
    /// Position of the record that is at fault, where one is (KIP-467).
    pub(crate) fn record(&self) -> Option<i32> {
        match self {
            Self::Log(storage::AppendError::Fence(refusal)) => refusal.record(),
            Self::NotLeader(_) | Self::NotEnoughReplicas { .. } | Self::Log(_) => None,
        }
    }
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
    /// A follower that is no replica of this partition, as far as this leader knows.
    #[error("broker {broker} is no replica of {partition}")]
    NotReplica {
        /// Who fetches.
        broker: BrokerId,
        /// What.
        partition: TopicPartition,
        /// Whether it knew the leader's epoch: then it may know more than the leader.
        knows_epoch: bool,
    },
    /// A fetch from an earlier life of a follower (KIP-903).
    #[error("broker {broker} fetches with broker epoch {broker_epoch}, which has passed")]
    StaleBroker {
        /// Who fetches.
        broker: BrokerId,
        /// Epoch of the fetch.
        broker_epoch: i64,
    },
    /// A new leader does not know yet what was committed before its time (KIP-207).
    #[error("the high watermark of {0} lags behind the start of the leader's epoch")]
    OffsetNotAvailable(TopicPartition),
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
    /// Replicated, but to fewer replicas than `min.insync.replicas`, since the others fell out of
    /// sync meanwhile.
    #[error("{0} was replicated to fewer replicas than min.insync.replicas")]
    NotEnoughReplicas(TopicPartition),
    /// The log could not be synced.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a follower could not take in what its leader sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FollowError {
    /// The role changed meanwhile: what was fetched is of no use.
    #[error("{partition} does not follow in epoch {epoch} any more")]
    NotFollowing {
        /// Partition.
        partition: TopicPartition,
        /// Epoch in which it was fetched.
        epoch: LeaderEpoch,
    },
    /// A batch is damaged, or is none.
    #[error("{partition}: the leader sent a batch that is damaged: {error}")]
    Damaged {
        /// Partition.
        partition: TopicPartition,
        /// What is wrong with it.
        error: BatchError,
    },
    /// A batch of a later epoch than the one in which it was fetched: the sender has changed its
    /// role, and its log, since it planned what to send.
    #[error("{partition}: a batch of epoch {found} came in epoch {epoch}")]
    LaterEpoch {
        /// Partition.
        partition: TopicPartition,
        /// Epoch of the batch.
        found: i32,
        /// Epoch in which it was fetched.
        epoch: LeaderEpoch,
    },
    /// The log refused the batches: they do not follow its end, or the disk failed.
    #[error(transparent)]
    Append(#[from] storage::AppendError),
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
