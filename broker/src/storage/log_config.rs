//! Settings of one log: the part of a topic's configuration that storage needs, under Kafka's names.
//!
//! `broker::config` makes one from the topic's overrides and the broker's defaults; a change is
//! handed to the log as a new `Arc`.

/// Settings of one log. The defaults are Kafka 3.9's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is never larger.
    pub segment_bytes_max: u64,
    /// `segment.ms`: age at which a segment that holds records is rolled.
    pub segment_ms_max: i64,
    /// `segment.jitter.ms`: at most so much is taken off `segment.ms`, by chance, so that the segments
    /// of a broker do not all roll at once.
    pub segment_jitter_ms_max: i64,
    /// `segment.index.bytes`: the segment rolls when one of its indexes is that large.
    pub segment_index_bytes_max: u64,
    /// `index.interval.bytes`: bytes of log between two index entries.
    pub index_interval_bytes: u64,
    /// `retention.ms`; `None` (-1 in Kafka): never by time.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; `None` (-1 in Kafka): never by size.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy` has `delete`.
    pub cleanup_delete: bool,
    /// `cleanup.policy` has `compact`.
    pub cleanup_compact: bool,
    /// `flush.messages`: records after which the log is synced; `None`: left to the checkpoints.
    pub flush_messages: Option<u64>,
    /// `flush.ms`: age of an unsynced record at which the log is synced.
    pub flush_ms: Option<i64>,
    /// `flush.before.ack` (ours): an append is acknowledged once it is synced.
    pub flush_before_ack: bool,
    /// `fence.enable` (ours): records that carry an old fencing token are refused.
    pub fence_enable: bool,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes_max: 1 << 30,
            segment_ms_max: 7 * 24 * 3_600_000,
            segment_jitter_ms_max: 0,
            segment_index_bytes_max: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: Some(7 * 24 * 3_600_000),
            retention_bytes: None,
            cleanup_delete: true,
            cleanup_compact: false,
            flush_messages: None,
            flush_ms: None,
            flush_before_ack: false,
            fence_enable: false,
            file_delete_delay_ms: 60_000,
            producer_id_expiration_ms: 86_400_000,
        }
    }
}
