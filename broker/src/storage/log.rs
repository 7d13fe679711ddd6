//! One partition's log: the hub of this folder. State, and what is known without touching the disk.
//!
//! What it does lies beside it: `append.rs`, `read.rs`, `roll.rs`, `truncate.rs`, `open.rs`, `close.rs`,
//! `guard.rs`.

use std::path::Path;
use std::sync::Arc;

use nyala_coordinator::ids::{LeaderEpoch, TopicId};

use super::boundaries::Boundaries;
use super::epochs::{EpochEnd, Epochs};
use super::fences::Fences;
use super::flush::{Durable, Syncer};
use super::log_config::LogConfig;
use super::producers::{Producers, Transactions};
use super::segment::Segment;
use super::space::DirSpace;
use super::tail::Tail;
use super::workers::Workers;
use super::{StorageError, checkpoint, names};

/// One partition's log. Owner: its partition (and `LogDirs`), under this one short lock.
pub type SharedLog = Arc<parking_lot::Mutex<Log>>;

/// What a log has from its log dir.
#[derive(Clone, Debug)]
pub(crate) struct LogRuntime {
    /// `None` (in tests): windows grow in line, syncs run in line.
    pub(crate) workers: Option<Arc<Workers>>,
    pub(crate) space: Arc<DirSpace>,
}

/// One partition's log: segments, indexes, leader epochs, producers' state.
///
/// Thread rule: all methods are called under the partition's lock; none blocks on the disk unless
/// its comment says so.
///
/// Invariant: `log_start <= high_watermark <= next_offset`. Invariant: there is always an active segment,
/// the last one, and bases strictly increase.
#[derive(Debug)]
pub struct Log {
    pub(crate) dir: Arc<Path>,
    pub(crate) config: Arc<LogConfig>,
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) runtime: LogRuntime,
    pub(crate) segments: Vec<Segment>,
    /// The mapped end of the active segment, from its first append on.
    pub(crate) tail: Option<Arc<Tail>>,
    pub(crate) log_start: i64,
    pub(crate) next_offset: i64,
    pub(crate) high_watermark: i64,
    pub(crate) epochs: Epochs,
    pub(crate) producers: Producers,
    /// Under the produce guard, on or switched off while the broker was down.
    pub(crate) fences: Option<Fences>,
    pub(crate) syncer: Arc<Syncer>,
    pub(crate) boundaries: Boundaries,
    /// Taken off `segment.ms` for the active segment.
    pub(crate) jitter_ms: i64,
    pub(crate) last_append_ms: i64,
    /// When the oldest unsynced record came.
    pub(crate) unsynced_since_ms: Option<i64>,
    /// Position in the log's bytes up to which it was synced: bounds what a crash makes us scan.
    pub(crate) unsynced_bytes: u64,
    /// Something happened that closing has to write down.
    pub(crate) unsettled: bool,
    /// Offset of the newest snapshot on disk.
    pub(crate) snapshot_offset: Option<i64>,
}

impl Log {
    /// First offset of the log.
    #[must_use]
    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// Offset of the next record: the log end offset.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// High watermark: kept here for retention and the checkpoint.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// Sets the high watermark, clamped to `log_start..=next_offset`. Returns what it is now.
    pub fn set_high_watermark(&mut self, offset: i64) -> i64 {
        self.high_watermark = offset.clamp(self.log_start, self.next_offset);
        self.high_watermark
    }

    /// First offset of the oldest open transaction: the bound of the last stable offset.
    #[must_use]
    pub fn first_unstable_offset(&self) -> Option<i64> {
        self.producers.first_unstable_offset()
    }

    /// What was seen of transactions in it.
    #[must_use]
    pub fn transactions(&self) -> Transactions {
        self.producers.transactions()
    }

    /// Everything below is on disk.
    #[must_use]
    pub fn recovery_point(&self) -> i64 {
        self.syncer.synced()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.size).sum()
    }

    /// Number of segments.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &Arc<LogConfig> {
        &self.config
    }

    /// Topic id of `partition.metadata`.
    #[must_use]
    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    /// Folder of the log.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Why the log is offline, if it is.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<StorageError>> {
        self.syncer.failure()
    }

    /// Takes the log offline: every later call fails with the first reason given.
    pub fn fail(&self, reason: StorageError) -> StorageError {
        self.syncer.fail(reason)
    }

    /// Syncs the log to the disk, here and now (blocks).
    pub fn flush(&mut self) -> Result<(), StorageError> {
        let written = self.active_mut().write_entries();
        written.map_err(|error| self.broken(error))?;
        self.syncer.sync()?;
        self.note_synced();
        Ok(())
    }

    /// Waits (as a future) until everything below `offset` is on disk; asks the flush thread for it.
    #[must_use]
    pub fn durable(&self, offset: i64) -> Durable {
        Durable::new(Arc::clone(&self.syncer), offset)
    }

    // ---- leader epochs ----

    /// Epoch that wrote `offset`, if known.
    #[must_use]
    pub fn epoch_at(&self, offset: i64) -> Option<LeaderEpoch> {
        self.epochs.at(offset)
    }

    /// Newest epoch of the log.
    #[must_use]
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest()
    }

    /// Where `epoch` ends, by Kafka's rules: one between two known epochs ends where the next starts, one
    /// above all that are known is `None`.
    #[must_use]
    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs.end_offset(epoch, self.next_offset)
    }

    /// Notes that `epoch` starts at the log's end (on becoming leader, even without data; KAFKA-10706).
    /// Touches the disk when that is news.
    pub fn start_epoch(&mut self, epoch: LeaderEpoch) -> Result<(), StorageError> {
        self.syncer.ok()?;
        if self.epochs.assign(epoch, self.next_offset) {
            self.write_epochs()?;
        }
        Ok(())
    }

    pub(crate) fn write_epochs(&self) -> Result<(), StorageError> {
        let path = self.dir.join(names::LEADER_EPOCH_CHECKPOINT);
        let written = checkpoint::write_epochs(&path, self.epochs.entries());
        written.map_err(|error| self.broken(error))
    }

    // ---- shared by the files beside ----

    /// The last segment.
    pub(crate) fn active(&self) -> &Segment {
        self.segments
            .last()
            .expect("a log always has an active segment")
    }

    pub(crate) fn active_mut(&mut self) -> &mut Segment {
        self.segments
            .last_mut()
            .expect("a log always has an active segment")
    }

    /// A full disk leaves the log as it is; any other failure takes it offline.
    pub(crate) fn broken(&self, error: StorageError) -> StorageError {
        if error.is_no_space() {
            error
        } else {
            self.syncer.fail(error)
        }
    }

    /// Forgets what counts unsynced records once a sync has caught up.
    pub(crate) fn note_synced(&mut self) {
        if self.syncer.synced() >= self.next_offset {
            self.unsynced_since_ms = None;
            self.unsynced_bytes = 0;
        }
    }

    /// For tests and assertions: the order of offsets that this module promises.
    pub(crate) fn assert_order(&self) {
        debug_assert!(
            self.log_start <= self.high_watermark && self.high_watermark <= self.next_offset,
            "log start {} <= high watermark {} <= next offset {}",
            self.log_start,
            self.high_watermark,
            self.next_offset
        );
        debug_assert!(self.active().base_offset <= self.next_offset);
    }
}

#[cfg(test)]
mod tests;
