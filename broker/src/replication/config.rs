//! What of a topic's configuration a partition needs besides its log's.

use std::time::Duration;

use nyala_client::wire::compression::Codec;

use super::{Lease, ThrottledReplicas};

/// `message.timestamp.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's.
    LogAppendTime,
}

/// What of a topic's configuration concerns appends and reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionConfig {
    /// `max.message.bytes`: largest batch.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far back a record's timestamp may lie.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far ahead a record's timestamp may lie.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`; `None`: the producer's.
    pub compression: Option<Codec>,
    /// `cleanup.policy` has `compact`: records need keys.
    pub compact: bool,
    /// `fence.enable` (ours): headers `x-fence` are looked at.
    pub fence_enable: bool,
    /// `min.insync.replicas`: needed for acks=all.
    pub min_insync_replicas: usize,
    /// `leader.replication.throttled.replicas`.
    pub leader_throttled: ThrottledReplicas,
    /// `follower.replication.throttled.replicas`.
    pub follower_throttled: ThrottledReplicas,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
            compression: None,
            compact: false,
            fence_enable: false,
            min_insync_replicas: 1,
            leader_throttled: ThrottledReplicas::None,
            follower_throttled: ThrottledReplicas::None,
        }
    }
}

/// What of the broker's settings replication works by.
#[derive(Debug, Clone)]
pub struct ReplicaSettings {
    /// `replica.lag.time.max.ms`: a follower that was not caught up for so long is out of sync.
    pub lag_max: Duration,
    /// How long its leaders believe that they lead.
    pub lease: Lease,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            lag_max: Duration::from_secs(30),
            lease: Lease::default(),
        }
    }
}
