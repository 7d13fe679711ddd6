//! The one table of topic keys, and a topic's configuration: overrides over broker settings.
//!
//! All of Kafka 3.9's topic keys are accepted and checked, also those whose effect comes with
//! later parts of the product. Pure; `cluster` keeps one `TopicConfig` a topic, current.

use super::key::{Bound, Fault, Faults, Key, Kind, Setting};
use super::settings::checked;
use super::values::{CleanupPolicy, CompressionType, TimestampType};
use super::{Settings, Values};

use Bound::{Any, AtLeast, Between, Fraction, GzipLevel, OneOf, ThrottledReplicas, Version};

/// One topic key and the broker keys that stand in for it.
#[derive(Clone, Copy, Debug)]
pub struct TopicKey {
    /// Kafka's name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// What is allowed.
    pub bound: Bound,
    /// Broker keys with the default, finest unit first; empty: the default is fixed.
    pub broker_keys: &'static [&'static str],
    /// One line on its meaning.
    pub doc: &'static str,
}

macro_rules! topic_config {
    ($( $(#[doc = $doc:literal])+ $field:ident: $type:ty, $name:literal, $bound:expr, [$($broker:literal),*], |$s:ident| $default:expr; )*) => {
        /// Configuration of one topic, resolved. Immutable: a change makes a new one.
        #[derive(Clone, Debug, PartialEq)]
        pub struct TopicConfig {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            pub(super) overrides: Values,
        }

        /// Every topic key.
        pub static TOPIC_KEYS: &[TopicKey] = &[
            $( TopicKey {
                name: $name,
                kind: <$type as Setting>::KIND,
                bound: $bound,
                broker_keys: &[$($broker),*],
                doc: concat!($($doc),+),
            }, )*
        ];

        impl TopicConfig {
            /// What a topic without overrides has.
            #[must_use]
            pub fn defaults(settings: &Settings) -> Self {
                Self {
                    $( $field: { let $s = settings; $default }, )*
                    overrides: Values::new(),
                }
            }

            /// Sets one field from text.
            fn set(&mut self, name: &str, text: &str) -> Result<(), Fault> {
                match name {
                    $( $name => self.$field = checked($name, text, $bound)?, )*
                    _ => return Err(Fault::new(name, text, "Unknown topic config name")),
                }
                Ok(())
            }

            /// The text that stands for the value of a key.
            pub(super) fn show(&self, name: &str) -> Option<String> {
                match name {
                    $( $name => self.$field.show(), )*
                    _ => None,
                }
            }
        }
    };
}

topic_config! {
    /// How old records go: delete, compact or both. Nothing is compacted yet: with compact alone all records stay.
    cleanup_policy: CleanupPolicy, "cleanup.policy", OneOf(&["compact", "delete"]), ["log.cleanup.policy"], |s| s.log_cleanup_policy;
    /// What the log keeps: as sent (`producer`) or recompressed.
    compression_type: CompressionType, "compression.type", OneOf(CompressionType::WORDS), ["compression.type"], |s| s.compression_type;
    /// Level when recompressing with gzip.
    compression_gzip_level: i32, "compression.gzip.level", GzipLevel, ["compression.gzip.level"], |s| s.compression_gzip_level;
    /// Level when recompressing with lz4.
    compression_lz4_level: i32, "compression.lz4.level", Between(1, 17), ["compression.lz4.level"], |s| s.compression_lz4_level;
    /// Level when recompressing with zstd.
    compression_zstd_level: i32, "compression.zstd.level", Between(-131_072, 22), ["compression.zstd.level"], |s| s.compression_zstd_level;
    /// Accepted, without effect here: how long a compacted log keeps a tombstone.
    delete_retention_ms: i64, "delete.retention.ms", AtLeast(0), ["log.cleaner.delete.retention.ms"], |s| s.log_cleaner_delete_retention_ms;
    /// Whether records with an old fencing token (header `x-fence`) are refused (own key).
    fence_enable: bool, "fence.enable", Any, [], |_s| false;
    /// How long a deleted file stays on disk.
    file_delete_delay_ms: i64, "file.delete.delay.ms", AtLeast(0), ["log.segment.delete.delay.ms"], |s| s.log_segment_delete_delay_ms;
    /// Whether a record is on disk before it is acknowledged (own key).
    flush_before_ack: bool, "flush.before.ack", Any, ["flush.before.ack"], |s| s.flush_before_ack;
    /// Records after which a partition is flushed.
    flush_messages: i64, "flush.messages", AtLeast(1), ["log.flush.interval.messages"], |s| s.log_flush_interval_messages;
    /// Age of an unflushed record at which its partition is flushed.
    flush_ms: i64, "flush.ms", AtLeast(0), ["log.flush.interval.ms", "log.flush.scheduler.interval.ms"], |s| s.flush_ms();
    /// Replicas whose follower side is throttled.
    follower_replication_throttled_replicas: Vec<String>, "follower.replication.throttled.replicas", ThrottledReplicas, [], |_s| Vec::new();
    /// Bytes of log between two entries of an index.
    index_interval_bytes: i32, "index.interval.bytes", AtLeast(0), ["log.index.interval.bytes"], |s| s.log_index_interval_bytes;
    /// Replicas whose leader side is throttled.
    leader_replication_throttled_replicas: Vec<String>, "leader.replication.throttled.replicas", ThrottledReplicas, [], |_s| Vec::new();
    /// Bytes kept locally with tiered storage; -2: as `retention.bytes`.
    local_retention_bytes: i64, "local.retention.bytes", AtLeast(-2), [], |_s| -2;
    /// Age kept locally with tiered storage; -2: as `retention.ms`.
    local_retention_ms: i64, "local.retention.ms", AtLeast(-2), [], |_s| -2;
    /// Accepted, without effect here: age after which a record must be compacted.
    max_compaction_lag_ms: i64, "max.compaction.lag.ms", AtLeast(1), ["log.cleaner.max.compaction.lag.ms"], |s| s.log_cleaner_max_compaction_lag_ms;
    /// Largest record batch, in bytes, after compression.
    max_message_bytes: i32, "max.message.bytes", AtLeast(0), ["message.max.bytes"], |s| s.message_max_bytes;
    /// Old formats are not made, whatever this says.
    message_downconversion_enable: bool, "message.downconversion.enable", Any, ["log.message.downconversion.enable"], |s| s.log_message_downconversion_enable;
    /// The format is always that of Kafka 3, whatever this says.
    message_format_version: String, "message.format.version", Version, ["log.message.format.version"], |s| s.log_message_format_version.clone();
    /// How far a record's time may lie ahead of the broker's.
    message_timestamp_after_max_ms: i64, "message.timestamp.after.max.ms", AtLeast(0), ["log.message.timestamp.after.max.ms"], |s| s.log_message_timestamp_after_max_ms;
    /// How far a record's time may lie behind the broker's.
    message_timestamp_before_max_ms: i64, "message.timestamp.before.max.ms", AtLeast(0), ["log.message.timestamp.before.max.ms"], |s| s.log_message_timestamp_before_max_ms;
    /// Deprecated in Kafka: both of the former at once.
    message_timestamp_difference_max_ms: i64, "message.timestamp.difference.max.ms", AtLeast(0), ["log.message.timestamp.difference.max.ms"], |s| s.log_message_timestamp_difference_max_ms;
    /// Whose clock stamps records.
    message_timestamp_type: TimestampType, "message.timestamp.type", OneOf(&["CreateTime", "LogAppendTime"]), ["log.message.timestamp.type"], |s| s.log_message_timestamp_type;
    /// Accepted, without effect here: share of a log that must be new before it is compacted.
    min_cleanable_dirty_ratio: f64, "min.cleanable.dirty.ratio", Fraction, ["log.cleaner.min.cleanable.ratio"], |s| s.log_cleaner_min_cleanable_ratio;
    /// Accepted, without effect here: age before which a record is not compacted away.
    min_compaction_lag_ms: i64, "min.compaction.lag.ms", AtLeast(0), ["log.cleaner.min.compaction.lag.ms"], |s| s.log_cleaner_min_compaction_lag_ms;
    /// Replicas that must have a record before acks=all is answered.
    min_insync_replicas: i32, "min.insync.replicas", AtLeast(1), ["min.insync.replicas"], |s| s.min_insync_replicas;
    /// Segments are always allocated ahead, whatever this says.
    preallocate: bool, "preallocate", Any, ["log.preallocate"], |s| s.log_preallocate;
    /// Tiered storage: stop copying.
    remote_log_copy_disable: bool, "remote.log.copy.disable", Any, [], |_s| false;
    /// Tiered storage: delete remote data when it is switched off.
    remote_log_delete_on_disable: bool, "remote.log.delete.on.disable", Any, [], |_s| false;
    /// Tiered storage is not there; only false is accepted.
    remote_storage_enable: bool, "remote.storage.enable", Any, [], |_s| false;
    /// Size of a partition above which its oldest segments go, in bytes, -1: any size.
    retention_bytes: i64, "retention.bytes", Any, ["log.retention.bytes"], |s| s.log_retention_bytes;
    /// Age at which records may go; -1: never.
    retention_ms: i64, "retention.ms", AtLeast(-1), ["log.retention.ms", "log.retention.minutes", "log.retention.hours"], |s| s.retention_ms();
    /// Largest segment, in bytes.
    segment_bytes: i32, "segment.bytes", AtLeast(14), ["log.segment.bytes"], |s| s.log_segment_bytes;
    /// Largest index of a segment, in bytes.
    segment_index_bytes: i32, "segment.index.bytes", AtLeast(4), ["log.index.size.max.bytes"], |s| s.log_index_size_max_bytes;
    /// Most that chance takes off `segment.ms`.
    segment_jitter_ms: i64, "segment.jitter.ms", AtLeast(0), ["log.roll.jitter.ms", "log.roll.jitter.hours"], |s| s.roll_jitter_ms();
    /// Age at which a segment is closed.
    segment_ms: i64, "segment.ms", AtLeast(1), ["log.roll.ms", "log.roll.hours"], |s| s.roll_ms();
    /// Whether a replica that is behind may lead when no other is left.
    unclean_leader_election_enable: bool, "unclean.leader.election.enable", Any, ["unclean.leader.election.enable"], |s| s.unclean_leader_election_enable;
}

/// The row of a topic key.
#[must_use]
pub fn topic_key(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.iter().find(|key| key.name == name)
}

impl TopicKey {
    /// The row of the broker key that it falls back to, if any.
    #[must_use]
    pub fn broker_key(&self) -> Option<&'static Key> {
        self.broker_keys
            .first()
            .and_then(|name| Settings::key(name))
    }
}

impl TopicConfig {
    /// Overrides over the broker's settings; every wrong one is named. For requests.
    pub fn resolve(settings: &Settings, overrides: &Values) -> Result<Self, Faults> {
        let mut config = Self::defaults(settings);
        let mut faults = Vec::new();
        for (name, text) in overrides {
            faults.extend(config.set(name, text).err());
        }
        faults.extend(config.cross_faults());
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        config.overrides.clone_from(overrides);
        Ok(config)
    }

    /// The same for what is stored already: a wrong value counts as absent, and is returned so
    /// that it can be logged. A znode must not keep a broker from serving its topic.
    #[must_use]
    pub fn resolve_stored(settings: &Settings, overrides: &Values) -> (Self, Vec<Fault>) {
        let mut config = Self::defaults(settings);
        let mut faults = Vec::new();
        for (name, text) in overrides {
            match config.set(name, text) {
                Ok(()) => {
                    config.overrides.insert(name.clone(), text.clone());
                }
                Err(fault) => faults.push(fault),
            }
        }
        (config, faults)
    }

    /// What was set for this topic, as text.
    #[must_use]
    pub fn overrides(&self) -> &Values {
        &self.overrides
    }

    fn cross_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.min_compaction_lag_ms > self.max_compaction_lag_ms {
            faults.push(Fault::new(
                "min.compaction.lag.ms",
                &self.min_compaction_lag_ms.to_string(),
                format!(
                    "conflict with topic config setting max.compaction.lag.ms ({})",
                    self.max_compaction_lag_ms
                ),
            ));
        }
        if self.remote_storage_enable {
            faults.push(Fault::new(
                "remote.storage.enable",
                "true",
                "Tiered Storage functionality is disabled in the broker",
            ));
        }
        faults
    }

    /// How far a record's time may lie behind the broker's, the deprecated key considered.
    #[must_use]
    pub fn timestamp_before_max_ms(&self) -> i64 {
        if self.message_timestamp_before_max_ms == i64::MAX {
            self.message_timestamp_difference_max_ms
        } else {
            self.message_timestamp_before_max_ms
        }
    }

    /// How far a record's time may lie ahead of the broker's, the deprecated key considered.
    #[must_use]
    pub fn timestamp_after_max_ms(&self) -> i64 {
        if self.message_timestamp_after_max_ms == i64::MAX {
            self.message_timestamp_difference_max_ms
        } else {
            self.message_timestamp_after_max_ms
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Properties;

    fn settings(text: &str) -> Settings {
        let properties = Properties::parse(text.as_bytes()).expect("syntax");
        Settings::load(&properties).expect("legal").0
    }

    fn values(pairs: &[(&str, &str)]) -> Values {
        let own = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn overrides_win_over_broker_keys() {
        let s = settings("log.retention.minutes=1\nlog.segment.bytes=1000");
        let c = TopicConfig::resolve(&s, &values(&[("segment.bytes", "2000")])).expect("legal");
        assert_eq!((c.segment_bytes, c.retention_ms), (2000, 60_000));
    }

    #[test]
    fn every_fault_is_named_and_stored_ones_are_survived() {
        let s = settings("");
        let bad = values(&[
            ("segment.bytes", "1"),
            ("cleanup.policy", "burn"),
            ("no.such", "1"),
            ("leader.replication.throttled.replicas", "0:1,x"),
            ("retention.ms", "5"),
        ]);
        let faults = TopicConfig::resolve(&s, &bad).expect_err("four").0;
        assert_eq!(faults.len(), 4, "{faults:?}");
        let (config, faults) = TopicConfig::resolve_stored(&s, &bad);
        assert_eq!((config.retention_ms, faults.len()), (5, 4));
        assert_eq!(config.overrides().len(), 1);
    }

    #[test]
    fn broker_keys_exist() {
        for key in TOPIC_KEYS {
            for broker in key.broker_keys {
                assert!(Settings::key(broker).is_some(), "{broker}");
            }
        }
    }
}
