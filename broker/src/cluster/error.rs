//! Why an administrative call failed: one enum for topics, one for overrides.
//!
//! The messages are Kafka's where Kafka has one; `api/error_code.rs` maps them to codes.

use std::time::Duration;

use nyala_coordinator::ids::{TopicId, TopicName};
use nyala_coordinator::registry::RegistryError;

use crate::config::Faults;

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
}
