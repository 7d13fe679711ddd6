//! The settings of the group side, taken from the broker's, in the units that it works with.

use std::ops::RangeInclusive;
use std::time::Duration;

use nyala_client::wire::compression::Codec;

use super::state::Rules;
use crate::config::Settings;

/// Settings of the group side.
#[derive(Clone, Debug)]
pub(crate) struct GroupSettings {
    /// `group.max.size`, `group.initial.rebalance.delay.ms`.
    pub(crate) rules: Rules,
    /// `group.min.session.timeout.ms` to `group.max.session.timeout.ms`.
    pub(crate) session_timeout_ms: RangeInclusive<i32>,
    /// `group.metadata.max.bytes`: metadata of one JoinGroup, assignments of one SyncGroup.
    pub(crate) metadata_bytes_max: usize,
    /// `offset.metadata.max.bytes`, which Kafka counts in UTF-16 units.
    pub(crate) offset_metadata_max: usize,
    /// `offsets.topic.num.partitions`, until the topic itself is known.
    pub(crate) offsets_partitions: i32,
    /// `offsets.topic.compression.codec`.
    pub(crate) codec: Codec,
    /// `offsets.retention.minutes`.
    pub(crate) retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub(crate) retention_check: Duration,
    /// `offsets.load.buffer.size`.
    pub(crate) load_bytes: usize,
}

impl GroupSettings {
    /// What the broker's settings say about groups.
    pub(crate) fn of(settings: &Settings) -> Self {
        let size = |n: i32| usize::try_from(n).unwrap_or(0);
        let millis = |n: i64| u64::try_from(n).unwrap_or(1).max(1);
        let codec = i16::try_from(settings.offsets_topic_compression_codec);
        Self {
            rules: Rules {
                members_max: size(settings.group_max_size),
                initial_rebalance_delay_ms: u64::try_from(
                    settings.group_initial_rebalance_delay_ms,
                )
                .unwrap_or(0),
            },
            session_timeout_ms: settings.group_min_session_timeout_ms
                ..=settings.group_max_session_timeout_ms,
            metadata_bytes_max: size(settings.group_metadata_max_bytes),
            offset_metadata_max: size(settings.offset_metadata_max_bytes),
            offsets_partitions: settings.offsets_topic_num_partitions.max(1),
            codec: codec.map_or(Codec::None, |c| {
                Codec::from_attributes(c).unwrap_or(Codec::None)
            }),
            retention_ms: i64::from(settings.offsets_retention_minutes) * 60_000,
            retention_check: Duration::from_millis(millis(
                settings.offsets_retention_check_interval_ms,
            )),
            load_bytes: size(settings.offsets_load_buffer_size),
        }
    }
}
