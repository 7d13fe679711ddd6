//! Closing a log, keeping it small while it is idle, and bounding what a crash would cost it.

use super::log::Log;
use super::segment::Segment;
use super::{AppendError, StorageError};

/// A log without appends for so long gives its window and its allocated, unused end back.
pub(crate) const IDLE_MS: i64 = 30_000;

impl Log {
    /// Cuts the file to its real size, writes indexes and snapshot, syncs all. Every later call fails.
    pub(crate) fn close(&mut self) -> Result<(), StorageError> {
        self.syncer.ok()?;
        let closed = self.settle();
        // Whoever still holds the log learns that it is closed, or why it failed.
        let reason = match &closed {
            Ok(()) => StorageError::Closed {
                dir: self.dir.to_path_buf(),
            },
            Err(error) => error.clone(),
        };
        self.syncer.fail(reason);
        closed
    }

    /// Takes the log offline without writing anything: its partition was deleted.
    pub(crate) fn abandon(&mut self) {
        self.release_tail();
        self.syncer.fail(StorageError::Closed {
            dir: self.dir.to_path_buf(),
        });
    }

    fn settle(&mut self) -> Result<(), StorageError> {
        self.trim()?;
        if !self.unsettled {
            return Ok(());
        }
        self.active_mut().seal_indexes()?;
        self.snapshot()?;
        self.syncer.sync()?;
        for segment in &mut self.segments {
            segment.sync_indexes_if_open()?;
            segment.release_files();
        }
        self.syncer.forget_files();
        self.note_synced();
        self.unsettled = false;
        Ok(())
    }

    /// Unmaps the active segment and cuts its allocated, unused end off.
    fn trim(&mut self) -> Result<(), StorageError> {
        if let Some(tail) = self.tail.take() {
            tail.release();
            let active = self.active();
            active.cut(active.size)?;
        }
        Ok(())
    }

    /// What an idle or quiet log needs now and then: gives room back, rebuilds an index that misled a
    /// reader, forgets producers that were silent for too long. Touches the disk.
    pub(crate) fn maintain(&mut self, now_ms: i64) -> Result<(), AppendError> {
        self.syncer.ok()?;
        let expiration_ms = self.config.producer_id_expiration_ms;
        self.producers.expire(now_ms, expiration_ms);
        let idle = now_ms.saturating_sub(self.last_append_ms) > IDLE_MS;
        if idle && self.tail.as_ref().is_some_and(|tail| tail.is_idle()) {
            let trimmed = self.trim();
            trimmed.map_err(|error| self.broken(error))?;
        }
        if idle && self.tail.is_none() {
            // Thousands of quiet logs must not hold a descriptor for every file; one with unsynced bytes
            // stays open where the sync needs it.
            self.segments.iter_mut().for_each(Segment::release_files);
            if self.syncer.synced() == self.next_offset {
                self.syncer.forget_files();
            }
        }
        let interval = self.config.index_interval_bytes;
        for segment in &mut self.segments {
            if segment.is_index_damaged() {
                let rebuilt = segment.rebuild_indexes(interval);
                rebuilt.map_err(|error| self.syncer.fail(error))?;
            }
        }
        Ok(())
    }

    /// Before a sync that is to bound recovery: index entries and a snapshot, so that neither is missing
    /// where the recovery point is going to be.
    pub(crate) fn prepare_checkpoint(&mut self) -> Result<(), StorageError> {
        self.syncer.ok()?;
        let written = self
            .active_mut()
            .write_entries()
            .and_then(|()| self.snapshot());
        written.map_err(|error| self.broken(error))
    }

    /// Base offset of the oldest segment.
    pub(crate) fn first_base_offset(&self) -> i64 {
        self.segments.first().map_or(0, |s| s.base_offset)
    }

    /// Bytes that a crash would make us scan.
    pub(crate) fn unsynced_bytes(&mut self) -> u64 {
        self.note_synced();
        self.unsynced_bytes
    }

    /// Whether `flush.ms` is over for the oldest unsynced record.
    pub(crate) fn is_flush_due(&mut self, now_ms: i64) -> bool {
        self.note_synced();
        match (self.config.flush_ms, self.unsynced_since_ms) {
            (Some(flush_ms), Some(since_ms)) => now_ms.saturating_sub(since_ms) >= flush_ms,
            _ => false,
        }
    }
}
