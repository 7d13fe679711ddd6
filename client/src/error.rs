//! What can go wrong at this end of the wire, one type an operation.
//!
//! All of them are `Clone`: a connection that breaks tells everyone who waits on it, and a batch
//! that is refused tells every record's sender.

use std::time::Duration;

use nyala_coordinator::ids::{BrokerId, TopicName, TopicPartition};
use nyala_coordinator::registry::RegistryError;
use nyala_coordinator::session::SessionError;

use crate::wire::batch::BatchError;
use crate::wire::frame::FrameError;
use crate::wire::{ApiKey, DecodeError, EncodeError, ErrorCode};

/// Why a connection, or a request on it, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// No connection could be had.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// `host:port`.
        address: String,
        /// The operating system's words.
        reason: String,
    },
    /// The socket failed, or the peer closed it.
    #[error("connection to {address} broke: {reason}")]
    Broken {
        /// `host:port`.
        address: String,
        /// What happened.
        reason: String,
    },
    /// No answer came in time; the connection was given up, as replies come in order.
    #[error("no answer to {} from {address} within {} ms", api.name(), waited.as_millis())]
    Deadline {
        /// `host:port`.
        address: String,
        /// The request.
        api: ApiKey,
        /// The limit that ran out.
        waited: Duration,
    },
    /// The peer does not keep to the framing.
    #[error("{address} sent a frame that is none: {error}")]
    Frame {
        /// `host:port`.
        address: String,
        /// The fault.
        error: FrameError,
    },
    /// The peer's message is malformed.
    #[error("malformed {} response: {error}", api.name())]
    Decode {
        /// API of the message.
        api: ApiKey,
        /// The fault.
        error: DecodeError,
    },
    /// The request cannot be put into bytes.
    #[error("cannot encode {} request: {error}", api.name())]
    Encode {
        /// API of the message.
        api: ApiKey,
        /// The fault.
        error: EncodeError,
    },
    /// The peer answered another request than it was asked.
    #[error("{address} answered request {got}, but {expected} was next")]
    OutOfStep {
        /// `host:port`.
        address: String,
        /// Correlation id that was due.
        expected: i32,
        /// Correlation id that came.
        got: i32,
    },
    /// The two sides have no version of an API in common.
    #[error("{} in versions {} to {} is not served by the broker, which has {theirs}", api.name(), ours.0, ours.1)]
    Unsupported {
        /// The API.
        api: ApiKey,
        /// Lowest and highest version of this side.
        ours: (i16, i16),
        /// The broker's versions, as text.
        theirs: String,
    },
    /// The broker refused the version exchange.
    #[error("the broker refused ApiVersions: {0}")]
    Refused(ErrorCode),
    /// More requests wait for an answer than the connection allows.
    #[error("{limit} requests are in flight already")]
    TooManyInFlight {
        /// The limit.
        limit: usize,
    },
    /// This side closed the connection.
    #[error("connection is closed")]
    Closed,
}

/// Why the cluster could not be reached or described.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClusterError {
    /// An address is not `host:port`.
    #[error("{0:?} is not an address: expected HOST:PORT")]
    Address(String),
    /// None of the addresses answered.
    #[error("no broker answered at {addresses}: {reason}")]
    Unreachable {
        /// All that were tried.
        addresses: String,
        /// The last failure.
        reason: String,
    },
    /// ZooKeeper could not be reached.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// ZooKeeper did not describe the cluster.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The cluster has no such broker now.
    #[error("broker {0} is not in the cluster")]
    NoBroker(BrokerId),
    /// No broker is registered.
    #[error("the cluster has no broker")]
    NoBrokers,
    /// The request to a broker failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// A broker answered with an error.
    #[error("{code}: {message}")]
    Refused {
        /// Kafka's code.
        code: ErrorCode,
        /// The broker's words, or Kafka's for the code.
        message: String,
    },
    /// Nothing came of it in time.
    #[error("not done within {} ms: {reason}", waited.as_millis())]
    Timeout {
        /// The limit that ran out.
        waited: Duration,
        /// The last obstacle.
        reason: String,
    },
}

impl ClusterError {
    /// The error for `code`, with the broker's own message if it sent one.
    #[must_use]
    pub fn refused(code: ErrorCode, message: Option<String>) -> Self {
        let message = message.filter(|m| !m.is_empty());
        let message = message.unwrap_or_else(|| code.message().to_owned());
        Self::Refused { code, message }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {value}, but {rule}")]
pub struct ConfigError {
    /// Kafka's name of the setting.
    pub key: &'static str,
    /// The refused value.
    pub value: String,
    /// What it has to be.
    pub rule: &'static str,
}

/// Why a producer could not be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProducerError {
    /// A setting is out of bounds.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The cluster cannot be reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Not all records were settled in time.
    #[error("{unsettled} batches were not settled within {} ms", waited.as_millis())]
    Timeout {
        /// Batches that are still out.
        unsettled: usize,
        /// The limit that ran out.
        waited: Duration,
    },
}

/// Why a record was not sent, or not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The record alone is larger than a request may be.
    #[error("record has {bytes} bytes, at most {limit} are allowed (max.request.size)")]
    TooLarge {
        /// Size of the record.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// `buffer.memory` stayed full.
    #[error("no room in the buffer of {limit} bytes within {} ms (buffer.memory, max.block.ms)", waited.as_millis())]
    BufferFull {
        /// The limit of the buffer.
        limit: usize,
        /// The limit that ran out.
        waited: Duration,
    },
    /// The topic did not show up in the cluster.
    #[error("topic {topic} is not in the cluster after {} ms{}", waited.as_millis(), code.map(|c| format!(": {c}")).unwrap_or_default())]
    UnknownTopic {
        /// The topic.
        topic: TopicName,
        /// The limit that ran out.
        waited: Duration,
        /// What the broker said about it.
        code: Option<ErrorCode>,
    },
    /// The topic has no such partition.
    #[error("topic {} has no partition {}", target.topic, target.partition)]
    UnknownPartition {
        /// What was asked for.
        target: TopicPartition,
    },
    /// The broker refused the batch.
    #[error("{target}: {code}: {message}")]
    Refused {
        /// Where it was to go.
        target: TopicPartition,
        /// Kafka's code.
        code: ErrorCode,
        /// The broker's words, or Kafka's for the code.
        message: String,
    },
    /// Retries came to an end; [`Self::may_be_written`] says whether the record may be in the log.
    #[error("{target}: not acknowledged within {} ms (delivery.timeout.ms): {reason}", waited.as_millis())]
    Undelivered {
        /// Where it was to go.
        target: TopicPartition,
        /// The limit that ran out.
        waited: Duration,
        /// The last failure.
        reason: String,
        /// It was sent at least once without an answer that rules out that it was written.
        doubtful: bool,
    },
    /// The batch cannot be put into bytes.
    #[error("{target}: {error}")]
    Batch {
        /// Where it was to go.
        target: TopicPartition,
        /// The fault.
        error: BatchError,
    },
    /// The producer was closed before the record was sent.
    #[error("the producer is closed")]
    Closed,
}

impl SendError {
    /// Whether the record may be in the log all the same: who sends it again may double it.
    #[must_use]
    pub fn may_be_written(&self) -> bool {
        match self {
            Self::Undelivered { doubtful, .. } => *doubtful,
            // The first four are only passed on of a batch that was sent before without an answer.
            Self::Refused { code, .. } => matches!(
                code,
                ErrorCode::OutOfOrderSequenceNumber
                    | ErrorCode::UnknownProducerId
                    | ErrorCode::InvalidProducerEpoch
                    | ErrorCode::ProducerFenced
                    | ErrorCode::UnknownServerError
            ),
            _ => false,
        }
    }

    /// Whether the record will never fit, whoever is asked.
    pub(crate) fn is_too_large(&self) -> bool {
        match self {
            Self::TooLarge { .. } => true,
            Self::Refused { code, .. } => matches!(
                code,
                ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge
            ),
            _ => false,
        }
    }
}

/// Why a consumer could not start, or what it met on its way.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConsumerError {
    /// A setting is out of bounds.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The cluster cannot be reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A broker refused a request for the partition.
    #[error("{target}: {code}: {}", code.message())]
    Refused {
        /// The partition.
        target: TopicPartition,
        /// Kafka's code.
        code: ErrorCode,
    },
    /// A batch is not whole: wrong checksum, wrong length, a codec's data that does not decode.
    #[error("{target}: corrupt batch at offset {offset}: {error}")]
    Corrupt {
        /// The partition.
        target: TopicPartition,
        /// Where it was found.
        offset: i64,
        /// The fault.
        error: BatchError,
    },
    /// There is no committed offset in range, and `auto.offset.reset` is `none`.
    #[error("{target}: no valid offset to start from (auto.offset.reset=none)")]
    NoOffset {
        /// The partition.
        target: TopicPartition,
    },
    /// Someone else has written the partition's offset: this member does not own it any more.
    #[error("{target}: the offset was written by another: the partition is not owned any more")]
    Fenced {
        /// The partition.
        target: TopicPartition,
    },
    /// The group's coordinator refused.
    #[error("group {group}: {code}: {}", code.message())]
    Group {
        /// The group.
        group: String,
        /// Kafka's code.
        code: ErrorCode,
    },
    /// ZooKeeper refused an operation of the group.
    #[error("group {group}: {error}")]
    Registry {
        /// The group.
        group: String,
        /// The fault.
        error: RegistryError,
    },
    /// The session of the group ended before the answer: it is not known whether it was done.
    #[error("the session with the group ended before the answer came")]
    Interrupted,
    /// The consumer has no group, so there is nothing to commit to.
    #[error("the consumer has no group to commit to")]
    NoGroup,
    /// The consumer was closed.
    #[error("the consumer is closed")]
    Closed,
}
