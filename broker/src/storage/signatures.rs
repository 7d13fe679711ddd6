//! The signatures that the rest of the broker builds on; the bodies land file by file and replace
//! this one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use nyala_coordinator::ids::{BrokerId, LeaderEpoch, TopicId, TopicName, TopicPartition};

use super::{AppendError, IdentityError, LogConfig, LogDirsError, ReadError, StorageError};

/// One partition's log. Owner: its partition (and `LogDirs`), under this one short lock.
pub type SharedLog = Arc<parking_lot::Mutex<Log>>;

/// One partition's log: segments, indexes, leader epochs, producers' state.
///
/// Thread rule: all methods are called under the partition's lock; none blocks on the disk unless
/// its comment says so. `log_start <= high_watermark <= next_offset`.
#[derive(Debug)]
pub struct Log(());

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A producer: sequence and epoch are checked, `min.free.bytes` holds.
    Client,
    /// This broker's own coordinators (offsets, transactions): not held back by `min.free.bytes`.
    Coordinator,
}

/// How a leader appends a batch.
#[derive(Clone, Copy, Debug)]
pub struct AppendAs {
    /// Epoch of the leader, stamped into the batch.
    pub leader_epoch: LeaderEpoch,
    /// Who appends.
    pub origin: Origin,
    /// Wall time.
    pub now_ms: i64,
    /// `message.timestamp.type=LogAppendTime`: `now_ms` becomes the batch's timestamp (and its CRC is
    /// made anew).
    pub log_append_time: bool,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The broker's timestamp under LogAppendTime, else -1: as the produce response carries it.
    pub log_append_time_ms: i64,
    /// First offset of the log.
    pub log_start: i64,
    /// The producer had sent this batch before: nothing was appended, the offsets are the first one's.
    pub duplicate: bool,
}

/// Room at the end of a log, to be filled (outside of the lock) and then committed (under it).
///
/// Invisible until committed. Revocable: an append that comes first moves what is filled so far to the
/// heap and goes ahead; filling and committing go on as before. Dropping it gives the room back.
#[derive(Debug)]
pub struct Reservation(());

impl Reservation {
    /// Bytes still to fill.
    #[must_use]
    pub fn remaining(&self) -> usize {
        unreachable!("lands next")
    }

    /// Adds `bytes`; at most [`Self::remaining`] of them are taken. Returns how many.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let _ = bytes;
        unreachable!("lands next")
    }

    /// Lets `read` (a socket's non-blocking read, say) put bytes into the room that remains; it answers
    /// how many it put. Keep it short: a second writer waits for it.
    pub fn fill_with<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let _ = read;
        unreachable!("lands next")
    }

    /// Looks at the bytes filled so far (to check the batch's CRC, say).
    pub fn with_filled<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        let _ = look;
        unreachable!("lands next")
    }
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadAt {
    /// First offset wanted; the slice starts with the batch that holds it.
    pub offset: i64,
    /// At most so many bytes, whole batches only ...
    pub max_bytes: usize,
    /// ... unless the first batch is larger and this is set: then that one batch (KIP-74).
    pub at_least_one: bool,
    /// No batch at or behind this offset: the high watermark, the last stable offset, or the log end.
    pub upper_bound: i64,
}

/// Whole batches of a log as a range of a file: for `sendfile`, or to be read with [`Self::read_all`].
///
/// Stays readable after the segment was deleted.
#[derive(Clone, Debug)]
pub struct FileSlice {
    /// The segment.
    pub file: Arc<File>,
    /// Where the slice starts.
    pub position: u64,
    /// Its length; 0: nothing at that offset yet.
    pub len: usize,
    /// Offset right behind the last batch of the slice.
    pub next_offset: i64,
}

impl FileSlice {
    /// The bytes (blocks on a cold page).
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        unreachable!("lands next")
    }
}

/// Answer to "the first record at or after this time".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Timestamp of the record.
    pub timestamp_ms: i64,
    /// Its offset.
    pub offset: i64,
    /// Epoch of the leader that wrote it, if known.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Answer to OffsetForLeaderEpoch (KIP-101, KIP-279).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch of the log that is not above the one asked for.
    pub leader_epoch: LeaderEpoch,
    /// Offset at which that epoch ends.
    pub end_offset: i64,
}

/// Becomes ready when the log is on disk up to an offset. Dropping it is fine. No runtime is needed: a
/// flush thread wakes it; many waiters share one sync.
#[derive(Debug)]
pub struct Durable(());

impl Future for Durable {
    type Output = Result<(), StorageError>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let _ = cx;
        unreachable!("lands next")
    }
}

impl Log {
    /// Appends one batch as its leader: checks the producer's sequence, gives offsets, stamps base offset
    /// and leader epoch while the bytes are copied into the map. The caller has checked the CRC.
    pub fn append(&mut self, batch: &[u8], how: &AppendAs) -> Result<Appended, AppendError> {
        let _ = (batch, how);
        unreachable!("lands next")
    }

    /// Reserves `len` bytes at the end for one batch. Fill it, then [`Self::commit`] it.
    pub fn reserve(&mut self, len: usize, now_ms: i64) -> Result<Reservation, AppendError> {
        let _ = (len, now_ms);
        unreachable!("lands next")
    }

    /// Makes a filled reservation (one whole batch, CRC checked by the caller) part of the log.
    pub fn commit(
        &mut self,
        reservation: Reservation,
        how: &AppendAs,
    ) -> Result<Appended, AppendError> {
        let _ = (reservation, how);
        unreachable!("lands next")
    }

    /// Appends whole batches that a leader wrote, offsets and epochs as they are (a follower's way).
    /// Returns the next offset.
    pub fn append_replicated(&mut self, batches: &[u8], now_ms: i64) -> Result<i64, AppendError> {
        let _ = (batches, now_ms);
        unreachable!("lands next")
    }

    /// Finds the batches to send for a fetch. `offset == next_offset` gives an empty slice.
    pub fn read(&self, at: ReadAt) -> Result<FileSlice, ReadError> {
        let _ = at;
        unreachable!("lands next")
    }

    /// The first record whose timestamp is `timestamp_ms` or later, below `upper_bound`. Reads the disk.
    pub fn offset_for_timestamp(
        &self,
        timestamp_ms: i64,
        upper_bound: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let _ = (timestamp_ms, upper_bound);
        unreachable!("lands next")
    }

    /// The record with the largest timestamp (ListOffsets -3). Reads the disk.
    pub fn offset_of_max_timestamp(&self) -> Result<Option<TimestampOffset>, ReadError> {
        unreachable!("lands next")
    }

    /// Epoch that wrote `offset`, if known.
    #[must_use]
    pub fn epoch_at(&self, offset: i64) -> Option<LeaderEpoch> {
        let _ = offset;
        unreachable!("lands next")
    }

    /// Newest epoch of the log.
    #[must_use]
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        unreachable!("lands next")
    }

    /// Where `epoch`, or the largest one below it, ends. `None`: nothing known at or below it.
    #[must_use]
    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        let _ = epoch;
        unreachable!("lands next")
    }

    /// Notes that `epoch` starts at the log's end (on becoming leader, even without data).
    pub fn start_epoch(&mut self, epoch: LeaderEpoch) -> Result<(), StorageError> {
        let _ = epoch;
        unreachable!("lands next")
    }

    /// Removes everything at or behind `offset` (whole batches). Touches the disk.
    pub fn truncate_to(&mut self, offset: i64) -> Result<(), StorageError> {
        let _ = offset;
        unreachable!("lands next")
    }

    /// Moves the log's start up to `offset` (DeleteRecords); segments wholly below go with the next
    /// retention round. `offset` is at most the high watermark.
    pub fn delete_before(&mut self, offset: i64) -> Result<i64, ReadError> {
        let _ = offset;
        unreachable!("lands next")
    }

    /// Starts a new segment if the active one holds records. Touches the disk.
    pub fn roll(&mut self, now_ms: i64) -> Result<(), AppendError> {
        let _ = now_ms;
        unreachable!("lands next")
    }

    /// Syncs the log to the disk, here and now (blocks).
    pub fn flush(&mut self) -> Result<(), StorageError> {
        unreachable!("lands next")
    }

    /// Waits (as a future) until everything below `offset` is on disk; asks the flush thread for it.
    #[must_use]
    pub fn durable(&self, offset: i64) -> Durable {
        let _ = offset;
        unreachable!("lands next")
    }

    /// First offset of the log.
    #[must_use]
    pub fn log_start(&self) -> i64 {
        unreachable!("lands next")
    }

    /// Offset of the next record: the log end offset.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        unreachable!("lands next")
    }

    /// High watermark: kept here for retention and the checkpoint.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        unreachable!("lands next")
    }

    /// Sets the high watermark, clamped to `log_start..=next_offset`. Returns what it is now.
    pub fn set_high_watermark(&mut self, offset: i64) -> i64 {
        let _ = offset;
        unreachable!("lands next")
    }

    /// First offset of the oldest open transaction: the bound of the last stable offset.
    #[must_use]
    pub fn first_unstable_offset(&self) -> Option<i64> {
        unreachable!("lands next")
    }

    /// Everything below is on disk.
    #[must_use]
    pub fn recovery_point(&self) -> i64 {
        unreachable!("lands next")
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        unreachable!("lands next")
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &Arc<LogConfig> {
        unreachable!("lands next")
    }

    /// Changes its settings.
    pub fn set_config(&mut self, config: Arc<LogConfig>) {
        let _ = config;
        unreachable!("lands next")
    }

    /// Topic id of `partition.metadata`.
    #[must_use]
    pub fn topic_id(&self) -> Option<TopicId> {
        unreachable!("lands next")
    }

    /// Folder of the log.
    #[must_use]
    pub fn dir(&self) -> &Path {
        unreachable!("lands next")
    }

    /// Why the log is offline, if it is.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<StorageError>> {
        unreachable!("lands next")
    }
}

/// Settings of all log dirs.
#[derive(Clone, Debug)]
pub struct LogDirsConfig {
    /// `log.dirs`.
    pub dirs: Vec<PathBuf>,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads_per_dir: usize,
    /// `min.free.bytes` (ours): below it clients' appends are refused; 0: off.
    pub min_free_bytes: u64,
}

/// What `meta.properties` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `broker.id`.
    pub broker_id: Option<BrokerId>,
    /// `cluster.id`.
    pub cluster_id: Option<String>,
}

/// One folder of `log.dirs`.
#[derive(Clone, Debug)]
pub struct DirState {
    /// The folder.
    pub path: PathBuf,
    /// Why it is offline.
    pub offline: Option<Arc<StorageError>>,
    /// Size of its file system, as of the last look.
    pub total_bytes: u64,
    /// Bytes free on it, as of the last look.
    pub usable_bytes: u64,
}

/// What opening found: for the start-up message.
#[derive(Debug, Default)]
pub struct OpenReport {
    /// Logs opened.
    pub logs: usize,
    /// Bytes of log read to recover after an unclean stop; 0 after a clean one.
    pub bytes_scanned: u64,
    /// Bytes cut because they were no whole batch.
    pub bytes_cut: u64,
    /// Folders (of partitions, or whole log dirs) that cannot be used, with their reason.
    pub offline: Vec<(PathBuf, StorageError)>,
}

/// What a round (retention, flush, checkpoint) did and what failed; the caller logs it.
#[derive(Debug, Default)]
pub struct RoundReport {
    /// Segments (retention) or logs (flush) handled.
    pub done: usize,
    /// Failures, each once.
    pub failed: Vec<(PathBuf, StorageError)>,
}

/// All folders of `log.dirs`, and every log in them.
#[derive(Debug)]
pub struct LogDirs(());

impl LogDirs {
    /// Locks and opens all folders and all logs in them (blocks; recovers after an unclean stop).
    /// `config_of` gives the settings of a topic.
    pub fn open(
        config: LogDirsConfig,
        config_of: &(dyn Fn(&TopicName) -> Arc<LogConfig> + Sync),
        now_ms: i64,
    ) -> Result<(Arc<Self>, OpenReport), LogDirsError> {
        let _ = (config, config_of, now_ms);
        unreachable!("lands next")
    }

    /// What the folders' `meta.properties` say, before the broker has an id.
    #[must_use]
    pub fn identity(&self) -> Identity {
        unreachable!("lands next")
    }

    /// Writes (or checks) `meta.properties` in every folder.
    pub fn set_identity(&self, broker_id: BrokerId, cluster_id: &str) -> Result<(), IdentityError> {
        let _ = (broker_id, cluster_id);
        unreachable!("lands next")
    }

    /// The log of a partition, if this broker has it.
    #[must_use]
    pub fn log(&self, partition: &TopicPartition) -> Option<SharedLog> {
        let _ = partition;
        unreachable!("lands next")
    }

    /// All logs.
    #[must_use]
    pub fn logs(&self) -> BTreeMap<TopicPartition, SharedLog> {
        unreachable!("lands next")
    }

    /// Opens the partition's log, or makes it in the folder with the fewest partitions (blocks shortly).
    /// A log with another topic id is an old topic's: it is moved away first.
    pub fn create(
        &self,
        partition: &TopicPartition,
        topic_id: Option<TopicId>,
        config: Arc<LogConfig>,
        now_ms: i64,
    ) -> Result<SharedLog, StorageError> {
        let _ = (partition, topic_id, config, now_ms);
        unreachable!("lands next")
    }

    /// Renames the partition's folder to `T-P.<uuid>-delete`; [`Self::remove_deleted`] removes it after
    /// `file.delete.delay.ms`. Every later call on the log fails. False: there was none.
    pub fn delete(&self, partition: &TopicPartition, now_ms: i64) -> Result<bool, StorageError> {
        let _ = (partition, now_ms);
        unreachable!("lands next")
    }

    /// Removes folders whose delay is over. To be called every few seconds.
    pub fn remove_deleted(&self, now_ms: i64) -> RoundReport {
        let _ = now_ms;
        unreachable!("lands next")
    }

    /// Retention by time, size and log start, segment.ms, producers' expiry, idle windows: every
    /// `log.retention.check.interval.ms`.
    pub fn retain(&self, now_ms: i64) -> RoundReport {
        let _ = now_ms;
        unreachable!("lands next")
    }

    /// Syncs the logs whose `flush.ms` is over: every `log.flush.scheduler.interval.ms`, or at most a
    /// second where some topic has a `flush.ms`.
    pub fn flush_round(&self, now_ms: i64) -> RoundReport {
        let _ = now_ms;
        unreachable!("lands next")
    }

    /// Bounds what a crash would make us scan, then writes the checkpoints (recovery point, high
    /// watermark, log start): every `log.flush.offset.checkpoint.interval.ms`.
    pub fn checkpoint_round(&self, now_ms: i64) -> RoundReport {
        let _ = now_ms;
        unreachable!("lands next")
    }

    /// Folders and how they fare.
    #[must_use]
    pub fn states(&self) -> Vec<DirState> {
        unreachable!("lands next")
    }

    /// Closes every log and marks each folder whose logs all closed clean. Later calls on logs fail.
    pub fn close(&self, now_ms: i64) -> RoundReport {
        let _ = now_ms;
        unreachable!("lands next")
    }
}
