//! Why the group side says no: one type for all group operations, in Kafka's words.
//!
//! `api/error_code.rs` maps each variant to its wire code; nothing here knows the numbers.

/// The refusals of group membership and offset storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GroupError {
    /// The member is not (or no longer) part of the group.
    #[error("the coordinator is not aware of this member")]
    UnknownMemberId,
    /// The caller speaks for another generation than the current one.
    #[error("specified group generation id is not valid")]
    IllegalGeneration,
    /// Another member id holds the `group.instance.id` (KIP-345).
    #[error("a newer member has registered with this group.instance.id")]
    FencedInstanceId,
    /// The group is rebalancing: rejoin.
    #[error("the group is rebalancing, so a rejoin is needed")]
    RebalanceInProgress,
    /// Protocol type or protocols do not fit those of the group.
    #[error("the member's protocols are not compatible with those of the existing members")]
    InconsistentGroupProtocol,
    /// Join again with the member id given (KIP-394).
    #[error("the group member needs to have a valid member id before joining")]
    MemberIdRequired,
    /// `group.max.size` members are there already.
    #[error("the group has reached its maximum size")]
    GroupMaxSizeReached,
    /// Session timeout outside `group.min/max.session.timeout.ms`.
    #[error("the session timeout is not within the allowed range")]
    InvalidSessionTimeout,
    /// An empty group id where one is needed.
    #[error("the configured group id is invalid")]
    InvalidGroupId,
    /// More metadata or assignment bytes than the limits allow.
    #[error("the request holds more metadata than allowed")]
    TooLarge,
    /// The group's partition is being replayed.
    #[error("the coordinator is loading and hence can't process requests")]
    CoordinatorLoadInProgress,
    /// The group is going away, or its partition cannot take records now.
    #[error("the coordinator is not available")]
    CoordinatorNotAvailable,
    /// Another broker leads the group's partition.
    #[error("this is not the correct coordinator")]
    NotCoordinator,
    /// The group still has members.
    #[error("the group is not empty")]
    NonEmptyGroup,
    /// There is no such group.
    #[error("the group id does not exist")]
    GroupIdNotFound,
    /// A member subscribes to the topic whose offsets should go.
    #[error("the consumer group is actively subscribed to the topic")]
    GroupSubscribedToTopic,
    /// Commit metadata longer than `offset.metadata.max.bytes`.
    #[error("the metadata field of the offset request was too large")]
    OffsetMetadataTooLarge,
    /// The commit does not fit one batch of the offsets partition.
    #[error("the committing offset data size is not valid")]
    InvalidCommitOffsetSize,
    /// An append of this partition's offset is not finished (KIP-447).
    #[error("there are unstable offsets that need to be cleared")]
    UnstableOffsetCommit,
    /// The commit was not replicated within `offsets.commit.timeout.ms`.
    #[error("the offsets were not replicated in time")]
    CommitTimedOut,
    /// A commit of a negative offset.
    #[error("an offset to commit is negative")]
    InvalidOffset,
    /// The disk of the offsets partition failed, or a record was refused for good.
    #[error("the group's record could not be written")]
    NotWritten,
}
