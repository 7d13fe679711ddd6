//! Why an administrative call failed: one enum for topics, one for overrides, some for the controller.
//!
//! The messages are Kafka's where Kafka has one; `api/error_code.rs` maps them to codes.

use std::time::Duration;

use nyala_coordinator::ids::{BrokerId, TopicId, TopicName, TopicPartition};
use nyala_coordinator::registry::RegistryError;

use crate::config::Faults;
use crate::storage::IdentityError;

/// Why a topic was not created, changed or deleted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TopicError {
    /// Only the controller does this (NOT_CONTROLLER).
    #[error("This is not the correct controller for this cluster.")]
    NotController,
    /// Not a topic name, or one that collides with another's metrics (INVALID_TOPIC_EXCEPTION).
    #[error("{0}")]
    InvalidName(String),
    /// There is one by that name (TOPIC_ALREADY_EXISTS).
    #[error("Topic '{0}' already exists.")]
    Exists(TopicName),
    /// It is being deleted (TOPIC_ALREADY_EXISTS on create).
    #[error("Topic '{0}' is marked for deletion.")]
    BeingDeleted(TopicName),
    /// There is none by that name (UNKNOWN_TOPIC_OR_PARTITION).
    #[error("The topic '{0}' does not exist.")]
    Unknown(String),
    /// There is none with that id (UNKNOWN_TOPIC_ID).
    #[error("This server does not host this topic ID.")]
    UnknownId(TopicId),
    /// A number of partitions that cannot be (INVALID_PARTITIONS).
    #[error("{0}")]
    InvalidPartitions(String),
    /// A replication factor that cannot be (INVALID_REPLICATION_FACTOR).
    #[error("{0}")]
    InvalidReplicationFactor(String),
    /// An assignment that cannot be (INVALID_REPLICA_ASSIGNMENT).
    #[error("{0}")]
    InvalidAssignment(String),
    /// The request contradicts itself (INVALID_REQUEST).
    #[error("{0}")]
    InvalidRequest(String),
    /// Overrides that cannot be (INVALID_CONFIG).
    #[error("{0}")]
    InvalidConfig(Faults),
    /// Partitions are moving: none are added meanwhile (REASSIGNMENT_IN_PROGRESS).
    #[error("A partition reassignment is in progress for the topic '{0}'.")]
    Moving(String),
    /// `delete.topic.enable` is off (TOPIC_DELETION_DISABLED).
    #[error("Topic deletion is disabled.")]
    DeletionDisabled,
    /// Done or on its way, but not seen everywhere in time (REQUEST_TIMED_OUT).
    #[error("the change was not seen by all within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// ZooKeeper cannot be reached now, or holds something unreadable.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Why overrides were not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such topic (UNKNOWN_TOPIC_OR_PARTITION).
    #[error("The topic '{0}' does not exist.")]
    UnknownTopic(String),
    /// Another broker's overrides, or a bad name (INVALID_REQUEST).
    #[error("{0}")]
    InvalidRequest(String),
    /// A key or value that cannot be (INVALID_CONFIG).
    #[error("{0}")]
    InvalidConfig(Faults),
    /// A key that cannot be changed that way, or no key at all (INVALID_CONFIG, Kafka's words).
    #[error("{0}")]
    Refused(String),
    /// ZooKeeper cannot be reached now, or holds something unreadable.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Why no producer id could be given.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProducerIdError {
    /// All 2^63 are used up.
    #[error("all producer ids are used up")]
    Exhausted,
    /// ZooKeeper cannot be reached now (COORDINATOR_LOAD_IN_PROGRESS in Kafka: the client retries).
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Why this broker could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Registration failed for good.
    #[error(transparent)]
    Register(#[from] nyala_coordinator::registry::RegisterError),
    /// ZooKeeper cannot be reached now, or holds something unreadable.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A folder is another broker's.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Clients that are sent to one of two brokers with one address would meet the other (Kafka's words).
    #[error(
        "Configured end points {endpoints} in advertised listeners are already registered by broker {other}"
    )]
    EndpointTaken {
        /// Ours that are taken.
        endpoints: String,
        /// Who is there, or was until a moment ago.
        other: BrokerId,
    },
    /// Another live process has this id.
    #[error(
        "broker id {broker} is taken by a broker that is alive and listens on {endpoints}: give this one \
         another broker.id, or wait until that has ended"
    )]
    IdTaken {
        /// The id asked for.
        broker: BrokerId,
        /// Where its owner listens.
        endpoints: String,
    },
}

/// Why the controller did not even look at a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    /// Another broker is the controller, or nobody (NOT_CONTROLLER).
    #[error("This is not the correct controller for this cluster.")]
    NotController,
    /// The request is of another incarnation of its broker (STALE_BROKER_EPOCH).
    #[error("the broker's epoch is not that of its registration")]
    StaleBroker,
    /// A broker that is not registered (BROKER_NOT_AVAILABLE).
    #[error("Broker id {0} does not exist.")]
    UnknownBroker(BrokerId),
}

/// Why a broker does not get a block of producer ids.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProducerIdBlockError {
    /// As for all that is asked of the controller.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// There is none to be had.
    #[error(transparent)]
    Ids(#[from] ProducerIdError),
}

/// Why a leader does not get the in-sync replicas that it wishes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsrError {
    /// There is no such partition (UNKNOWN_TOPIC_OR_PARTITION).
    #[error("there is no such partition")]
    Unknown,
    /// The leader knows newer facts (NOT_CONTROLLER).
    #[error("the leader knows newer facts than this controller")]
    NotController,
    /// The leader leads in an older epoch (FENCED_LEADER_EPOCH).
    #[error("the partition is in a later leader epoch")]
    FencedLeader,
    /// The state has changed since (INVALID_UPDATE_VERSION).
    #[error("the partition's state has changed since")]
    OldVersion,
    /// A replica that may not be in sync (INELIGIBLE_REPLICA).
    #[error("a replica is not alive, or started again since")]
    Ineligible,
    /// The wish contradicts itself (INVALID_REQUEST).
    #[error("not the leader's wish, or not about replicas of the partition")]
    Invalid,
}

/// Why no leader was elected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElectionError {
    /// Another broker is the controller (NOT_CONTROLLER).
    #[error("This is not the correct controller for this cluster.")]
    NotController,
    /// There is no such partition (UNKNOWN_TOPIC_OR_PARTITION).
    #[error("The partition does not exist.")]
    Unknown,
    /// Its topic is on its way out (INVALID_TOPIC_EXCEPTION).
    #[error("The topic is being deleted")]
    BeingDeleted,
    /// The right leader leads already (ELECTION_NOT_NEEDED).
    #[error("Leader election not needed for topic partition.")]
    NotNeeded,
    /// The first replica is not alive or not in sync (PREFERRED_LEADER_NOT_AVAILABLE).
    #[error(
        "Failed to elect leader for partition {0} under strategy PreferredReplicaPartitionLeaderElectionStrategy"
    )]
    PreferredNotAvailable(TopicPartition),
    /// No replica is alive (ELIGIBLE_LEADERS_NOT_AVAILABLE).
    #[error(
        "Failed to elect leader for partition {0} under strategy OfflinePartitionLeaderElectionStrategy(true)"
    )]
    NoneEligible(TopicPartition),
    /// Not done, or not seen, in time (REQUEST_TIMED_OUT).
    #[error("The election was not seen in time.")]
    TimedOut,
}

/// Why a partition does not move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReassignError {
    /// There is no such partition (UNKNOWN_TOPIC_OR_PARTITION).
    #[error("The partition does not exist.")]
    Unknown,
    /// Its topic is on its way out (UNKNOWN_TOPIC_OR_PARTITION).
    #[error("The topic is being deleted.")]
    BeingDeleted,
    /// Replicas that cannot be (INVALID_REPLICA_ASSIGNMENT).
    #[error("{0}")]
    InvalidReplicas(String),
    /// There is no move to call off (NO_REASSIGNMENT_IN_PROGRESS).
    #[error("No partition reassignment is in progress.")]
    NotMoving,
    /// No replica that would stay is in sync (INVALID_REPLICA_ASSIGNMENT).
    #[error("None of the in-sync replicas of {0} would be left.")]
    NoneInSync(TopicPartition),
    /// Something changed meanwhile, or ZooKeeper did not answer (REQUEST_TIMED_OUT).
    #[error("The partition changed meanwhile, or ZooKeeper did not answer.")]
    NotWritten,
}
