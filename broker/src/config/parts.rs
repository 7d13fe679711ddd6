//! The parts of a topic's configuration that logs and partitions need, as they want them.
//!
//! Kafka's -1 ("no bound") becomes `None` here, so that nobody compares with it later.

use std::time::Duration;

use nyala_client::wire::compression::Codec;

use super::{CompressionType, Settings, TimestampType, TopicConfig};
use crate::replication::{self, Lease, PartitionConfig, ReplicaSettings, ThrottledReplicas};
use crate::storage::LogConfig;

/// `None` for a negative number.
fn bound(number: i64) -> Option<i64> {
    (number >= 0).then_some(number)
}

/// `None` for Kafka's "never", the greatest number.
fn sooner_than_never(number: i64) -> Option<i64> {
    (number != i64::MAX).then_some(number)
}

fn unsigned(number: impl Into<i64>) -> u64 {
    u64::try_from(number.into()).unwrap_or(0)
}

/// The replica selector that there is besides the leader.
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

impl Settings {
    /// What partitions replicate by; `lease` says how long they lead when nothing is heard.
    #[must_use]
    pub fn replication(&self, lease: Lease) -> ReplicaSettings {
        ReplicaSettings {
            lag_max: Duration::from_millis(unsigned(self.replica_lag_time_max_ms)),
            lease,
        }
    }

    /// Whether consumers are sent to a replica in their rack (KIP-392).
    #[must_use]
    pub fn reads_from_nearest(&self) -> bool {
        self.replica_selector_class.as_deref() == Some(RACK_AWARE)
    }
}

impl TopicConfig {
    /// Settings of this topic's logs.
    #[must_use]
    pub fn log_config(&self, settings: &Settings) -> LogConfig {
        LogConfig {
            segment_bytes_max: unsigned(self.segment_bytes),
            segment_ms_max: self.segment_ms,
            segment_jitter_ms_max: self.segment_jitter_ms,
            segment_index_bytes_max: unsigned(self.segment_index_bytes),
            index_interval_bytes: unsigned(self.index_interval_bytes),
            retention_ms: bound(self.retention_ms),
            retention_bytes: bound(self.retention_bytes).map(unsigned),
            cleanup_delete: self.cleanup_policy.delete,
            cleanup_compact: self.cleanup_policy.compact,
            flush_messages: sooner_than_never(self.flush_messages).map(unsigned),
            flush_ms: sooner_than_never(self.flush_ms),
            flush_before_ack: self.flush_before_ack,
            fence_enable: self.fence_enable,
            file_delete_delay_ms: self.file_delete_delay_ms,
            producer_id_expiration_ms: i64::from(settings.producer_id_expiration_ms),
        }
    }

    /// Settings of this topic's partitions.
    #[must_use]
    pub fn partition_config(&self) -> PartitionConfig {
        PartitionConfig {
            max_message_bytes: usize::try_from(self.max_message_bytes).unwrap_or(0),
            timestamp_type: match self.message_timestamp_type {
                TimestampType::CreateTime => replication::TimestampType::CreateTime,
                TimestampType::LogAppendTime => replication::TimestampType::LogAppendTime,
            },
            timestamp_before_max_ms: self.timestamp_before_max_ms(),
            timestamp_after_max_ms: self.timestamp_after_max_ms(),
            compression: match self.compression_type {
                CompressionType::Producer => None,
                CompressionType::Uncompressed => Some(Codec::None),
                CompressionType::Gzip => Some(Codec::Gzip),
                CompressionType::Snappy => Some(Codec::Snappy),
                CompressionType::Lz4 => Some(Codec::Lz4),
                CompressionType::Zstd => Some(Codec::Zstd),
            },
            compact: self.cleanup_policy.compact,
            fence_enable: self.fence_enable,
            min_insync_replicas: usize::try_from(self.min_insync_replicas).unwrap_or(1),
            leader_throttled: ThrottledReplicas::parse(&self.leader_replication_throttled_replicas),
            follower_throttled: ThrottledReplicas::parse(
                &self.follower_replication_throttled_replicas,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Properties, Values};

    #[test]
    fn no_bound_is_none_and_defaults_agree_with_storage() {
        let (settings, _) = Settings::load(&Properties::default()).expect("legal");
        let config = TopicConfig::defaults(&settings);
        assert_eq!(config.log_config(&settings), LogConfig::default());
        assert_eq!(config.partition_config(), PartitionConfig::default());
        let over: Values = [("retention.ms".to_owned(), "-1".to_owned())].into();
        let config = TopicConfig::resolve(&settings, &over).expect("legal");
        assert_eq!(config.log_config(&settings).retention_ms, None);
    }
}
