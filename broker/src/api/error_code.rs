//! From the domain's errors to Kafka's codes: the only place, every match exhaustive.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::batch::BatchError;
use nyala_client::wire::compression::CompressionError;
use nyala_coordinator::registry::RegistryError;

use super::record_check::BatchRefusal;
use crate::cluster::{
    ConfigError, ControlError, ControllerError, ElectionError, FactError, IsrError,
    ProducerIdBlockError, ProducerIdError, ReassignError, StopError, TopicError,
};
use crate::groups::GroupError;
use crate::replication::{AppendError, ReadError, WaitError};
use crate::storage;

impl From<&BatchRefusal> for ErrorCode {
    fn from(refusal: &BatchRefusal) -> Self {
        match refusal {
            BatchRefusal::Empty
            | BatchRefusal::SeveralBatches
            | BatchRefusal::Control
            | BatchRefusal::Producer { .. }
            | BatchRefusal::OffsetSpan { .. }
            | BatchRefusal::NoKey { .. } => Self::InvalidRecord,
            BatchRefusal::ZstdTooEarly => Self::UnsupportedCompressionType,
            BatchRefusal::NoTransaction { .. } => Self::InvalidTxnState,
            BatchRefusal::TooLarge { .. } => Self::MessageTooLarge,
            BatchRefusal::Timestamp { .. } => Self::InvalidTimestamp,
            BatchRefusal::Batch(error) => error_of_batch(error),
        }
    }
}

fn error_of_batch(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::Truncated { .. } | BatchError::Length(_) | BatchError::Crc { .. } => {
            ErrorCode::CorruptMessage
        }
        BatchError::Magic(_)
        | BatchError::RecordCount { .. }
        | BatchError::Record(_)
        | BatchError::OffsetDelta { .. }
        | BatchError::Full => ErrorCode::InvalidRecord,
        BatchError::Compression(error) => match error {
            CompressionError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            CompressionError::Malformed(_) => ErrorCode::CorruptMessage,
            CompressionError::Compress(_) => ErrorCode::UnknownServerError,
            CompressionError::Unknown(_) => ErrorCode::UnsupportedCompressionType,
        },
    }
}

impl From<&AppendError> for ErrorCode {
    fn from(error: &AppendError) -> Self {
        match error {
            AppendError::NotLeader(_) => Self::NotLeaderOrFollower,
            AppendError::NotEnoughReplicas { .. } => Self::NotEnoughReplicas,
            AppendError::Log(error) => match error {
                storage::AppendError::Malformed(_) | storage::AppendError::Fence(_) => {
                    Self::InvalidRecord
                }
                storage::AppendError::LargerThanSegment { .. } => Self::RecordListTooLarge,
                storage::AppendError::OutOfOrderSequence { .. } => Self::OutOfOrderSequenceNumber,
                storage::AppendError::InvalidProducerEpoch { .. } => Self::InvalidProducerEpoch,
                storage::AppendError::OffsetOutOfOrder { .. } => Self::UnknownServerError,
                storage::AppendError::LowSpace { .. }
                | storage::AppendError::NoSpace(_)
                | storage::AppendError::Storage(_) => Self::KafkaStorageError,
            },
        }
    }
}

impl From<&ReadError> for ErrorCode {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::NotLeader(_) => Self::NotLeaderOrFollower,
            ReadError::FencedEpoch { .. } => Self::FencedLeaderEpoch,
            ReadError::UnknownEpoch { .. } => Self::UnknownLeaderEpoch,
            ReadError::NotReplica {
                knows_epoch: true, ..
            } => Self::UnknownLeaderEpoch,
            ReadError::NotReplica { .. } | ReadError::StaleBroker { .. } => {
                Self::NotLeaderOrFollower
            }
            ReadError::OffsetNotAvailable(_) => Self::OffsetNotAvailable,
            ReadError::Log(error) => error.into(),
        }
    }
}

impl From<&storage::ReadError> for ErrorCode {
    fn from(error: &storage::ReadError) -> Self {
        match error {
            storage::ReadError::OffsetOutOfRange { .. } => Self::OffsetOutOfRange,
            storage::ReadError::Storage(_) => Self::KafkaStorageError,
        }
    }
}

impl From<&WaitError> for ErrorCode {
    fn from(error: &WaitError) -> Self {
        match error {
            WaitError::TimedOut => Self::RequestTimedOut,
            WaitError::NotLeader(_) => Self::NotLeaderOrFollower,
            WaitError::NotEnoughReplicas(_) => Self::NotEnoughReplicasAfterAppend,
            WaitError::Storage(_) => Self::KafkaStorageError,
        }
    }
}

impl From<GroupError> for ErrorCode {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::UnknownMemberId => Self::UnknownMemberId,
            GroupError::IllegalGeneration => Self::IllegalGeneration,
            GroupError::FencedInstanceId => Self::FencedInstanceId,
            GroupError::RebalanceInProgress => Self::RebalanceInProgress,
            GroupError::InconsistentGroupProtocol => Self::InconsistentGroupProtocol,
            GroupError::MemberIdRequired => Self::MemberIdRequired,
            GroupError::GroupMaxSizeReached => Self::GroupMaxSizeReached,
            GroupError::InvalidSessionTimeout => Self::InvalidSessionTimeout,
            GroupError::InvalidGroupId => Self::InvalidGroupId,
            GroupError::TooLarge | GroupError::InvalidOffset => Self::InvalidRequest,
            GroupError::CoordinatorLoadInProgress => Self::CoordinatorLoadInProgress,
            GroupError::CoordinatorNotAvailable => Self::CoordinatorNotAvailable,
            GroupError::NotCoordinator => Self::NotCoordinator,
            GroupError::NonEmptyGroup => Self::NonEmptyGroup,
            GroupError::GroupIdNotFound => Self::GroupIdNotFound,
            GroupError::GroupSubscribedToTopic => Self::GroupSubscribedToTopic,
            GroupError::OffsetMetadataTooLarge => Self::OffsetMetadataTooLarge,
            GroupError::InvalidCommitOffsetSize => Self::InvalidCommitOffsetSize,
            GroupError::UnstableOffsetCommit => Self::UnstableOffsetCommit,
            GroupError::CommitTimedOut => Self::RequestTimedOut,
            GroupError::NotWritten => Self::UnknownServerError,
        }
    }
}

/// The code of a result: `None` for success.
pub(super) fn code_of<T>(result: &Result<T, GroupError>) -> i16 {
    match result {
        Ok(_) => ErrorCode::None.code(),
        Err(error) => ErrorCode::from(*error).code(),
    }
}

impl From<&TopicError> for ErrorCode {
    fn from(error: &TopicError) -> Self {
        match error {
            TopicError::NotController => Self::NotController,
            TopicError::InvalidName(_) => Self::InvalidTopicException,
            TopicError::Exists(_) | TopicError::BeingDeleted(_) => Self::TopicAlreadyExists,
            TopicError::Unknown(_) => Self::UnknownTopicOrPartition,
            TopicError::UnknownId(_) => Self::UnknownTopicId,
            TopicError::InvalidPartitions(_) => Self::InvalidPartitions,
            TopicError::InvalidReplicationFactor(_) => Self::InvalidReplicationFactor,
            TopicError::InvalidAssignment(_) => Self::InvalidReplicaAssignment,
            TopicError::InvalidRequest(_) => Self::InvalidRequest,
            TopicError::InvalidConfig(_) => Self::InvalidConfig,
            TopicError::Moving(_) => Self::ReassignmentInProgress,
            TopicError::DeletionDisabled => Self::TopicDeletionDisabled,
            // Whether it was done is unknown: the client may look and ask again.
            TopicError::TimedOut(_) => Self::RequestTimedOut,
            TopicError::Registry(error) => of_registry(error),
        }
    }
}

impl From<&ConfigError> for ErrorCode {
    fn from(error: &ConfigError) -> Self {
        match error {
            ConfigError::UnknownTopic(_) => Self::UnknownTopicOrPartition,
            ConfigError::InvalidRequest(_) => Self::InvalidRequest,
            ConfigError::InvalidConfig(_) | ConfigError::Refused(_) => Self::InvalidConfig,
            ConfigError::Registry(error) => of_registry(error),
        }
    }
}

/// ZooKeeper is away, so the client may ask again; or a node is unreadable, which asking again does not mend.
fn of_registry(error: &RegistryError) -> ErrorCode {
    match error {
        RegistryError::Zk { .. } => ErrorCode::RequestTimedOut,
        RegistryError::Payload { .. } => ErrorCode::UnknownServerError,
    }
}

impl From<&ProducerIdError> for ErrorCode {
    fn from(error: &ProducerIdError) -> Self {
        match error {
            ProducerIdError::Exhausted => Self::UnknownServerError,
            // What Kafka answers while it takes a new block: producers ask again.
            ProducerIdError::Registry(_) => Self::CoordinatorLoadInProgress,
        }
    }
}

impl From<&ProducerIdBlockError> for ErrorCode {
    fn from(error: &ProducerIdBlockError) -> Self {
        match error {
            ProducerIdBlockError::Controller(ControllerError::UnknownBroker(_)) => {
                Self::BrokerIdNotRegistered
            }
            ProducerIdBlockError::Controller(error) => error.into(),
            ProducerIdBlockError::Ids(_) => Self::UnknownServerError,
        }
    }
}

impl From<&ControlError> for ErrorCode {
    fn from(error: &ControlError) -> Self {
        match error {
            ControlError::StaleController { .. } => Self::StaleControllerEpoch,
            ControlError::StaleBroker { .. } => Self::StaleBrokerEpoch,
            // The controller asks until an incarnation answers or is gone.
            ControlError::Stopping => Self::UnknownServerError,
        }
    }
}

impl From<&FactError> for ErrorCode {
    fn from(error: &FactError) -> Self {
        match error {
            FactError::Stale(_) => Self::StaleControllerEpoch,
            // What no Kafka broker answers here, so that our controller knows it.
            FactError::SetBack { .. } => Self::FencedLeaderEpoch,
            FactError::Impossible { .. } => Self::InvalidRequest,
            FactError::NotReplica(_) => Self::UnknownTopicOrPartition,
            FactError::OtherTopic { .. } => Self::InconsistentTopicId,
            FactError::Storage { .. } => Self::KafkaStorageError,
        }
    }
}

impl From<&StopError> for ErrorCode {
    fn from(error: &StopError) -> Self {
        match error {
            StopError::Fenced { .. } => Self::FencedLeaderEpoch,
            StopError::Storage { .. } => Self::KafkaStorageError,
        }
    }
}

impl From<&ControllerError> for ErrorCode {
    fn from(error: &ControllerError) -> Self {
        match error {
            ControllerError::NotController => Self::NotController,
            ControllerError::StaleBroker => Self::StaleBrokerEpoch,
            ControllerError::UnknownBroker(_) => Self::BrokerNotAvailable,
        }
    }
}

impl From<&IsrError> for ErrorCode {
    fn from(error: &IsrError) -> Self {
        match error {
            IsrError::Unknown => Self::UnknownTopicOrPartition,
            IsrError::NotController => Self::NotController,
            IsrError::FencedLeader => Self::FencedLeaderEpoch,
            IsrError::OldVersion => Self::InvalidUpdateVersion,
            IsrError::Ineligible => Self::IneligibleReplica,
            IsrError::Invalid => Self::InvalidRequest,
        }
    }
}

impl From<&ElectionError> for ErrorCode {
    fn from(error: &ElectionError) -> Self {
        match error {
            ElectionError::NotController => Self::NotController,
            ElectionError::Unknown => Self::UnknownTopicOrPartition,
            ElectionError::BeingDeleted => Self::InvalidTopicException,
            ElectionError::NotNeeded => Self::ElectionNotNeeded,
            ElectionError::PreferredNotAvailable(_) => Self::PreferredLeaderNotAvailable,
            ElectionError::NoneEligible(_) => Self::EligibleLeadersNotAvailable,
            ElectionError::TimedOut => Self::RequestTimedOut,
        }
    }
}

impl From<&ReassignError> for ErrorCode {
    fn from(error: &ReassignError) -> Self {
        match error {
            ReassignError::Unknown | ReassignError::BeingDeleted => Self::UnknownTopicOrPartition,
            ReassignError::InvalidReplicas(_) | ReassignError::NoneInSync(_) => {
                Self::InvalidReplicaAssignment
            }
            ReassignError::NotMoving => Self::NoReassignmentInProgress,
            ReassignError::NotWritten => Self::RequestTimedOut,
        }
    }
}
