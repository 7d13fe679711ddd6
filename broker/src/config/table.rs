//! The one table of broker keys: Kafka's name, type, default, bound, when it may change, meaning.
//!
//! Defaults are Kafka 3.9's, but for the limits that Kafka leaves open; those rows say so. A row
//! makes a field of `Settings` and a line in `DescribeConfigs`. One of our own ("own key"), or with another
//! default ("Kafka's default"), stands in the README too, as a test demands. What keys mean for each other is
//! checked in `settings.rs`.

use super::key::{Bound, Change, Key, Setting};
use super::settings::{Layers, Reading};
use super::values::{CleanupPolicy, CompressionType, TimestampType};

use Bound::{Any, AtLeast, Between, Fraction, GzipLevel, OneOf, Version};

const PROTOCOL_MAP: &str =
    "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT";

macro_rules! default {
    (unset) => {
        None
    };
    ($text:expr) => {
        Some($text)
    };
}

macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $field:ident: $type:ty, $name:literal = $default:tt, $bound:expr, $change:ident; )*) => {
        /// Every broker setting, typed and checked. Immutable: a change makes a new one.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            pub(super) layers: Layers,
        }

        /// Every broker key.
        pub static KEYS: &[Key] = &[
            $( Key {
                name: $name,
                kind: <$type as Setting>::KIND,
                default: default!($default),
                bound: $bound,
                change: Change::$change,
                doc: concat!($($doc),+),
            }, )*
        ];

        impl Settings {
            /// Reads each field; faults gather in `reading`, and the result counts only without any.
            pub(super) fn read(reading: &mut Reading<'_>, layers: Layers) -> Option<Self> {
                $( let $field: Option<$type> = reading.take($name); )*
                Some(Self { $( $field: $field?, )* layers })
            }

            /// The text that stands for the current value of a key.
            pub(super) fn show(&self, name: &str) -> Option<String> {
                match name {
                    $( $name => self.$field.show(), )*
                    _ => None,
                }
            }
        }
    };
}

settings! {
    /// Number of this broker, unique in the cluster; -1: taken from a sequence in ZooKeeper.
    broker_id: i32, "broker.id" = "-1", AtLeast(-1), Fixed;
    /// Whether a broker without `broker.id` gets one from ZooKeeper.
    broker_id_generation_enable: bool, "broker.id.generation.enable" = "true", Any, Fixed;
    /// Greatest number that may be given by hand; generated ones start above.
    reserved_broker_max_id: i32, "reserved.broker.max.id" = "1000", AtLeast(0), Fixed;
    /// Rack of this broker, for placement of replicas.
    broker_rack: Option<String>, "broker.rack" = unset, Any, Fixed;
    /// Addresses to listen on, NAME://host:port, comma-separated; no host: every address.
    listeners: String, "listeners" = "PLAINTEXT://:9092", Any, Fixed;
    /// Addresses to tell clients, if others than `listeners`.
    advertised_listeners: Option<String>, "advertised.listeners" = unset, Any, Fixed;
    /// Protocol of each listener name.
    listener_security_protocol_map: String, "listener.security.protocol.map" = PROTOCOL_MAP, Any, Fixed;
    /// Listener between brokers; unset: the one whose protocol is `security.inter.broker.protocol`.
    inter_broker_listener_name: Option<String>, "inter.broker.listener.name" = unset, Any, Fixed;
    /// Listener for the controller's requests; unset: the one between brokers.
    control_plane_listener_name: Option<String>, "control.plane.listener.name" = unset, Any, Fixed;
    /// Protocol between brokers.
    security_inter_broker_protocol: String, "security.inter.broker.protocol" = "PLAINTEXT", OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), Fixed;

    /// ZooKeeper as host:port[,host:port...][/chroot].
    zookeeper_connect: Option<String>, "zookeeper.connect" = unset, Any, Fixed;
    /// ZooKeeper forgets this broker after so long without a sign of life.
    zookeeper_session_timeout_ms: i32, "zookeeper.session.timeout.ms" = "18000", AtLeast(1), Fixed;
    /// Longest wait for ZooKeeper at start; unset: the session timeout.
    zookeeper_connection_timeout_ms: Option<i32>, "zookeeper.connection.timeout.ms" = unset, AtLeast(1), Fixed;
    /// Kept for files that set it, without effect here: most requests to ZooKeeper that wait for an answer.
    zookeeper_max_in_flight_requests: i32, "zookeeper.max.in.flight.requests" = "10", AtLeast(1), Fixed;
    /// Whether znodes are made so that only brokers that log in may write them; refused, as this version does not log in.
    zookeeper_set_acl: bool, "zookeeper.set.acl" = "false", Any, Fixed;
    /// Release whose versions brokers speak among themselves: they do not ask each other.
    inter_broker_protocol_version: String, "inter.broker.protocol.version" = "3.9-IV0", Version, Fixed;

    /// Folder of the logs, when `log.dirs` is unset.
    log_dir: String, "log.dir" = "/tmp/kafka-logs", Any, Fixed;
    /// Folders of the logs, comma-separated.
    log_dirs: Option<Vec<String>>, "log.dirs" = unset, Any, Fixed;
    /// Threads a log folder that read logs at start and flush them at the end.
    num_recovery_threads_per_data_dir: i32, "num.recovery.threads.per.data.dir" = "1", AtLeast(1), Fixed;
    /// Free bytes of a file system below which produce is refused (own key); -1: the greater of 2% and 256 MiB, at most 10%.
    min_free_bytes: i64, "min.free.bytes" = "-1", AtLeast(-1), Fixed;

    /// Partitions of a topic that is created without a number.
    num_partitions: i32, "num.partitions" = "1", AtLeast(1), Fixed;
    /// Replicas of a topic that is created without a number.
    default_replication_factor: i32, "default.replication.factor" = "1", AtLeast(1), Fixed;
    /// Whether asking for a topic creates it.
    auto_create_topics_enable: bool, "auto.create.topics.enable" = "true", Any, Fixed;
    /// Whether topics may be deleted.
    delete_topic_enable: bool, "delete.topic.enable" = "true", Any, Fixed;
    /// Whether leadership goes back to preferred replicas by itself.
    auto_leader_rebalance_enable: bool, "auto.leader.rebalance.enable" = "true", Any, Fixed;
    /// How often the balance of leaders is looked at.
    leader_imbalance_check_interval_seconds: i64, "leader.imbalance.check.interval.seconds" = "300", AtLeast(1), Fixed;
    /// Share of leaders away from home, in percent, that a broker may have.
    leader_imbalance_per_broker_percentage: i32, "leader.imbalance.per.broker.percentage" = "10", AtLeast(0), Fixed;
    /// Whether a stopping broker moves its leaders away first.
    controlled_shutdown_enable: bool, "controlled.shutdown.enable" = "true", Any, Fixed;
    /// How often it asks the controller again when that could not move them.
    controlled_shutdown_max_retries: i32, "controlled.shutdown.max.retries" = "3", Any, Fixed;
    /// Pause before it asks again.
    controlled_shutdown_retry_backoff_ms: i64, "controlled.shutdown.retry.backoff.ms" = "5000", AtLeast(0), Fixed;

    /// Largest record batch, in bytes, after compression.
    message_max_bytes: i32, "message.max.bytes" = "1048588", AtLeast(0), Dynamic;
    /// What the log keeps: as sent (`producer`) or recompressed.
    compression_type: CompressionType, "compression.type" = "producer", OneOf(CompressionType::WORDS), Dynamic;
    /// Level when recompressing with gzip.
    compression_gzip_level: i32, "compression.gzip.level" = "-1", GzipLevel, Dynamic;
    /// Level when recompressing with lz4.
    compression_lz4_level: i32, "compression.lz4.level" = "9", Between(1, 17), Dynamic;
    /// Level when recompressing with zstd.
    compression_zstd_level: i32, "compression.zstd.level" = "3", Between(-131_072, 22), Dynamic;
    /// Replicas that must have a record before acks=all is answered.
    min_insync_replicas: i32, "min.insync.replicas" = "1", AtLeast(1), Dynamic;
    /// Whether a replica that is behind may lead when no other is left.
    unclean_leader_election_enable: bool, "unclean.leader.election.enable" = "false", Any, Dynamic;

    /// Largest segment, in bytes.
    log_segment_bytes: i32, "log.segment.bytes" = "1073741824", AtLeast(14), Dynamic;
    /// Age at which a segment is closed, in ms; unset: `log.roll.hours`.
    log_roll_ms: Option<i64>, "log.roll.ms" = unset, AtLeast(1), Dynamic;
    /// Age at which a segment is closed, in hours.
    log_roll_hours: i32, "log.roll.hours" = "168", AtLeast(1), Fixed;
    /// Most that chance takes off that age, in ms; unset: `log.roll.jitter.hours`.
    log_roll_jitter_ms: Option<i64>, "log.roll.jitter.ms" = unset, AtLeast(0), Dynamic;
    /// Most that chance takes off that age, in hours.
    log_roll_jitter_hours: i32, "log.roll.jitter.hours" = "0", AtLeast(0), Fixed;
    /// Age at which records may go, in ms, -1: never; unset: `log.retention.minutes`.
    log_retention_ms: Option<i64>, "log.retention.ms" = unset, AtLeast(-1), Dynamic;
    /// Age at which records may go, in minutes, -1: never; unset: `log.retention.hours`.
    log_retention_minutes: Option<i32>, "log.retention.minutes" = unset, AtLeast(-1), Fixed;
    /// Age at which records may go, in hours, -1: never.
    log_retention_hours: i32, "log.retention.hours" = "168", AtLeast(-1), Fixed;
    /// Size of a partition above which its oldest segments go, in bytes, -1: any size.
    log_retention_bytes: i64, "log.retention.bytes" = "-1", AtLeast(-1), Dynamic;
    /// How often retention is applied.
    log_retention_check_interval_ms: i64, "log.retention.check.interval.ms" = "300000", AtLeast(1), Fixed;
    /// How old records go: delete, compact or both. Nothing is compacted yet: with compact alone all records stay.
    log_cleanup_policy: CleanupPolicy, "log.cleanup.policy" = "delete", OneOf(&["compact", "delete"]), Dynamic;
    /// Kept for files that set it, without effect here: whether logs are compacted at all.
    log_cleaner_enable: bool, "log.cleaner.enable" = "true", Any, Fixed;
    /// Kept for files that set it, without effect here: how long a compacted log keeps a tombstone.
    log_cleaner_delete_retention_ms: i64, "log.cleaner.delete.retention.ms" = "86400000", AtLeast(0), Dynamic;
    /// Kept for files that set it, without effect here: age before which a record is not compacted away.
    log_cleaner_min_compaction_lag_ms: i64, "log.cleaner.min.compaction.lag.ms" = "0", AtLeast(0), Dynamic;
    /// Kept for files that set it, without effect here: age after which a record must be compacted.
    log_cleaner_max_compaction_lag_ms: i64, "log.cleaner.max.compaction.lag.ms" = "9223372036854775807", AtLeast(1), Dynamic;
    /// Kept for files that set it, without effect here: share of a log that must be new before it is compacted.
    log_cleaner_min_cleanable_ratio: f64, "log.cleaner.min.cleanable.ratio" = "0.5", Fraction, Dynamic;
    /// Kept for files that set it, without effect here: pause of the cleaner when nothing is to do.
    log_cleaner_backoff_ms: i64, "log.cleaner.backoff.ms" = "15000", AtLeast(0), Dynamic;
    /// Kept for files that set it, without effect here: threads that compact.
    log_cleaner_threads: i32, "log.cleaner.threads" = "1", AtLeast(0), Dynamic;
    /// Kept for files that set it, without effect here: memory of the cleaner's key maps, in bytes.
    log_cleaner_dedupe_buffer_size: i64, "log.cleaner.dedupe.buffer.size" = "134217728", AtLeast(1), Dynamic;
    /// Bytes of log between two entries of an index.
    log_index_interval_bytes: i32, "log.index.interval.bytes" = "4096", AtLeast(0), Dynamic;
    /// Largest index of a segment, in bytes.
    log_index_size_max_bytes: i32, "log.index.size.max.bytes" = "10485760", AtLeast(4), Dynamic;
    /// How long a deleted file stays on disk.
    log_segment_delete_delay_ms: i64, "log.segment.delete.delay.ms" = "60000", AtLeast(0), Dynamic;
    /// Kept for files that set it: segments are always allocated ahead here.
    log_preallocate: bool, "log.preallocate" = "false", Any, Dynamic;
    /// Records of a partition after which it is flushed.
    log_flush_interval_messages: i64, "log.flush.interval.messages" = "9223372036854775807", AtLeast(1), Dynamic;
    /// Age of an unflushed record at which its partition is flushed; unset: the scheduler's interval.
    log_flush_interval_ms: Option<i64>, "log.flush.interval.ms" = unset, AtLeast(0), Dynamic;
    /// How often partitions are looked at for flushing.
    log_flush_scheduler_interval_ms: i64, "log.flush.scheduler.interval.ms" = "9223372036854775807", AtLeast(1), Fixed;
    /// How often recovery points are written.
    log_flush_offset_checkpoint_interval_ms: i32, "log.flush.offset.checkpoint.interval.ms" = "60000", AtLeast(0), Fixed;
    /// How often log start offsets are written.
    log_flush_start_offset_checkpoint_interval_ms: i32, "log.flush.start.offset.checkpoint.interval.ms" = "60000", AtLeast(0), Fixed;
    /// How often high watermarks are written.
    replica_high_watermark_checkpoint_interval_ms: i64, "replica.high.watermark.checkpoint.interval.ms" = "5000", AtLeast(1), Fixed;
    /// Whether a record is on disk before it is acknowledged (own key); writers share one flush.
    flush_before_ack: bool, "flush.before.ack" = "false", Any, Dynamic;
    /// Whose clock stamps records.
    log_message_timestamp_type: TimestampType, "log.message.timestamp.type" = "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), Dynamic;
    /// Deprecated in Kafka: both of the following at once.
    log_message_timestamp_difference_max_ms: i64, "log.message.timestamp.difference.max.ms" = "9223372036854775807", AtLeast(0), Dynamic;
    /// How far a record's time may lie behind the broker's.
    log_message_timestamp_before_max_ms: i64, "log.message.timestamp.before.max.ms" = "9223372036854775807", AtLeast(0), Dynamic;
    /// How far a record's time may lie ahead of the broker's.
    log_message_timestamp_after_max_ms: i64, "log.message.timestamp.after.max.ms" = "9223372036854775807", AtLeast(0), Dynamic;
    /// Kept for files that set it: the format is always that of Kafka 3.
    log_message_format_version: String, "log.message.format.version" = "3.0-IV1", Version, Fixed;
    /// Kept for files that set it: old formats are not made.
    log_message_downconversion_enable: bool, "log.message.downconversion.enable" = "true", Any, Dynamic;

    /// Partitions of `__consumer_offsets`; not to be changed later.
    offsets_topic_num_partitions: i32, "offsets.topic.num.partitions" = "50", AtLeast(1), Fixed;
    /// Replicas of `__consumer_offsets`.
    offsets_topic_replication_factor: i16, "offsets.topic.replication.factor" = "3", AtLeast(1), Fixed;
    /// Segment size of `__consumer_offsets`.
    offsets_topic_segment_bytes: i32, "offsets.topic.segment.bytes" = "104857600", AtLeast(1), Fixed;
    /// Compression of `__consumer_offsets`: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    offsets_topic_compression_codec: i32, "offsets.topic.compression.codec" = "0", Between(0, 4), Fixed;
    /// How long offsets outlive the last member of their group.
    offsets_retention_minutes: i32, "offsets.retention.minutes" = "10080", AtLeast(1), Fixed;
    /// How often offsets are looked at for expiry.
    offsets_retention_check_interval_ms: i64, "offsets.retention.check.interval.ms" = "600000", AtLeast(1), Fixed;
    /// Longest wait of a commit for its replicas.
    offsets_commit_timeout_ms: i32, "offsets.commit.timeout.ms" = "5000", AtLeast(1), Fixed;
    /// Deprecated in Kafka: replicas that a commit waits for.
    offsets_commit_required_acks: i16, "offsets.commit.required.acks" = "-1", AtLeast(-1), Fixed;
    /// Bytes read at a time when offsets are replayed.
    offsets_load_buffer_size: i32, "offsets.load.buffer.size" = "5242880", AtLeast(1), Fixed;
    /// Longest text that a commit may carry, in bytes.
    offset_metadata_max_bytes: i32, "offset.metadata.max.bytes" = "4096", AtLeast(0), Fixed;
    /// Shortest session timeout that a member may ask for.
    group_min_session_timeout_ms: i32, "group.min.session.timeout.ms" = "6000", AtLeast(1), Fixed;
    /// Longest session timeout that a member may ask for.
    group_max_session_timeout_ms: i32, "group.max.session.timeout.ms" = "1800000", AtLeast(1), Fixed;
    /// Wait for more members before the first rebalance of a group.
    group_initial_rebalance_delay_ms: i32, "group.initial.rebalance.delay.ms" = "3000", AtLeast(0), Fixed;
    /// Most members of a group.
    group_max_size: i32, "group.max.size" = "2147483647", AtLeast(1), Fixed;
    /// Most bytes of metadata in one JoinGroup, and of assignments in one SyncGroup (own key).
    group_metadata_max_bytes: i32, "group.metadata.max.bytes" = "4194304", AtLeast(1), Fixed;

    /// Kept for files that set it, without effect here: threads of the network (the runtime sizes itself).
    num_network_threads: i32, "num.network.threads" = "3", AtLeast(1), Fixed;
    /// Kept for files that set it, without effect here: threads for requests (the runtime sizes itself).
    num_io_threads: i32, "num.io.threads" = "8", AtLeast(1), Fixed;
    /// Kept for files that set it, without effect here: threads for background work.
    background_threads: i32, "background.threads" = "10", AtLeast(1), Fixed;
    /// SO_SNDBUF; -1: the system's.
    socket_send_buffer_bytes: i32, "socket.send.buffer.bytes" = "102400", AtLeast(-1), Fixed;
    /// SO_RCVBUF; -1: the system's.
    socket_receive_buffer_bytes: i32, "socket.receive.buffer.bytes" = "-1", AtLeast(-1), Fixed;
    /// Largest request, in bytes.
    socket_request_max_bytes: i32, "socket.request.max.bytes" = "104857600", AtLeast(1), Fixed;
    /// Kept for files that set it, without effect here: connections that may wait to be accepted.
    socket_listen_backlog_size: i32, "socket.listen.backlog.size" = "50", AtLeast(1), Fixed;
    /// Kept for files that set it, without effect here: requests that may wait for their answer (what is bounded are bytes: `queued.max.request.bytes`).
    queued_max_requests: i32, "queued.max.requests" = "500", AtLeast(1), Fixed;
    /// Bytes of requests in memory before no more are read; -1: any number (Kafka's default: -1).
    queued_max_request_bytes: i64, "queued.max.request.bytes" = "268435456", AtLeast(-1), Fixed;
    /// A connection that is idle for so long is closed.
    connections_max_idle_ms: i64, "connections.max.idle.ms" = "600000", AtLeast(-1), Fixed;
    /// A request of which only a part arrived for so long closes its connection (own key).
    connections_max_partial_request_ms: i64, "connections.max.partial.request.ms" = "60000", AtLeast(1), Fixed;
    /// Most connections (Kafka's default: any number).
    max_connections: i32, "max.connections" = "4096", AtLeast(0), Fixed;
    /// Most connections of one address (Kafka's default: any number).
    max_connections_per_ip: i32, "max.connections.per.ip" = "1024", AtLeast(0), Fixed;
    /// Most connections of named addresses, host:number, comma-separated.
    max_connections_per_ip_overrides: String, "max.connections.per.ip.overrides" = "", Any, Fixed;
    /// New connections a second; more wait to be accepted (Kafka's default: any number).
    max_connection_creation_rate: i32, "max.connection.creation.rate" = "200", AtLeast(0), Fixed;
    /// Longest wait of a broker's own request.
    request_timeout_ms: i32, "request.timeout.ms" = "30000", AtLeast(1), Fixed;
    /// Most bytes that a fetch may return.
    fetch_max_bytes: i32, "fetch.max.bytes" = "57671680", AtLeast(1024), Fixed;
    /// Fetch sessions kept (KIP-227).
    max_incremental_fetch_session_cache_slots: i32, "max.incremental.fetch.session.cache.slots" = "1000", AtLeast(0), Fixed;
    /// How long the state of a silent producer is kept.
    producer_id_expiration_ms: i32, "producer.id.expiration.ms" = "86400000", AtLeast(1), Dynamic;
    /// Kept for files that set it, without effect here: how often silent producers are looked for.
    producer_id_expiration_check_interval_ms: i32, "producer.id.expiration.check.interval.ms" = "600000", AtLeast(1), Fixed;
    /// Threads that fetch from other brokers, each.
    num_replica_fetchers: i32, "num.replica.fetchers" = "1", AtLeast(1), Fixed;
    /// Sends consumers to a replica in their rack where it is
    /// `org.apache.kafka.common.replica.RackAwareReplicaSelector` (KIP-392).
    replica_selector_class: Option<String>, "replica.selector.class" = unset, Any, Fixed;
    /// A follower that did not catch up for so long leaves the in-sync replicas.
    replica_lag_time_max_ms: i64, "replica.lag.time.max.ms" = "30000", AtLeast(1), Fixed;
    /// Longest wait of a follower's fetch.
    replica_fetch_wait_max_ms: i32, "replica.fetch.wait.max.ms" = "500", AtLeast(0), Fixed;
    /// Bytes of each partition in a follower's fetch.
    replica_fetch_max_bytes: i32, "replica.fetch.max.bytes" = "1048576", AtLeast(0), Fixed;
    /// Bytes that a follower's fetch waits for.
    replica_fetch_min_bytes: i32, "replica.fetch.min.bytes" = "1", AtLeast(0), Fixed;
    /// Bytes of all partitions in a follower's fetch.
    replica_fetch_response_max_bytes: i32, "replica.fetch.response.max.bytes" = "10485760", AtLeast(0), Fixed;
    /// Longest pause of a partition after a failed fetch; the first pauses are shorter.
    replica_fetch_backoff_ms: i32, "replica.fetch.backoff.ms" = "1000", AtLeast(0), Fixed;
    /// Longest wait of a follower for an answer of its leader.
    replica_socket_timeout_ms: i32, "replica.socket.timeout.ms" = "30000", AtLeast(1), Fixed;
    /// Receive buffer of a follower's socket; -1: as the system likes (Kafka's default: 65536).
    replica_socket_receive_buffer_bytes: i32, "replica.socket.receive.buffer.bytes" = "-1", AtLeast(-1), Fixed;
    /// Longest wait of the controller for a broker's answer.
    controller_socket_timeout_ms: i32, "controller.socket.timeout.ms" = "30000", AtLeast(1), Fixed;
    /// Bytes a second that throttled replicas of this broker's leaders may send; unset: any number.
    leader_replication_throttled_rate: Option<i64>, "leader.replication.throttled.rate" = unset, AtLeast(0), Dynamic;
    /// Bytes a second that throttled replicas of this broker may fetch; unset: any number.
    follower_replication_throttled_rate: Option<i64>, "follower.replication.throttled.rate" = unset, AtLeast(0), Dynamic;
    /// Windows that the rate of replication is measured over.
    replication_quota_window_num: i32, "replication.quota.window.num" = "11", AtLeast(1), Fixed;
    /// Length of each of them.
    replication_quota_window_size_seconds: i32, "replication.quota.window.size.seconds" = "1", AtLeast(1), Fixed;
    /// Kept for files that set it, without effect here: whether transactions are verified before their first append (KIP-890).
    transaction_partition_verification_enable: bool, "transaction.partition.verification.enable" = "true", Any, Dynamic;
}
