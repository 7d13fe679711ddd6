//! Sealing the active segment and starting the next one.
//!
//! The order keeps the log whole on a full disk: what needs space comes first (index entries, snapshot, the
//! new file), and only then the old segment is unmapped and cut to its size.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::log::Log;
use super::log_config::LogConfig;
use super::segment::Segment;
use super::{AppendError, StorageError, names, offset_index, snapshot, time_index};

/// Offsets in the indexes are relative to the segment's base and, in Kafka, signed.
const RELATIVE_OFFSET_MAX: i64 = i32::MAX as i64;

impl Log {
    /// Starts a new segment if the active one holds records. Touches the disk.
    pub fn roll(&mut self, now_ms: i64) -> Result<(), AppendError> {
        self.syncer.ok()?;
        if self.active().size > 0 {
            self.roll_active(now_ms)?;
        }
        Ok(())
    }

    /// Whether a batch of `len` bytes that ends at `last_offset` belongs into a new segment.
    pub(crate) fn is_roll_due(
        &self,
        len: usize,
        now_ms: i64,
        last_offset: i64,
        timestamp_ms: Option<i64>,
    ) -> Result<bool, StorageError> {
        let (active, config) = (self.active(), &self.config);
        if active.size == 0 {
            return Ok(last_offset - active.base_offset > RELATIVE_OFFSET_MAX);
        }
        let index_bytes_max = config.segment_index_bytes_max;
        Ok(active.size + len as u64 > config.segment_bytes_max
            || last_offset - active.base_offset > RELATIVE_OFFSET_MAX
            || active.index().file().size()? + offset_index::ENTRY_BYTES > index_bytes_max
            || active.time_index().file().size()? + time_index::ENTRY_BYTES > index_bytes_max
            || self.age_ms(now_ms, timestamp_ms)? > config.segment_ms_max - self.jitter_ms)
    }

    /// Kafka's clock of `segment.ms`: from the first batch's timestamp to the one being appended, or by
    /// the wall where there are no timestamps.
    fn age_ms(&self, now_ms: i64, timestamp_ms: Option<i64>) -> Result<i64, StorageError> {
        let active = self.active();
        let first_ms = active.first_timestamp_ms()?.filter(|first| *first >= 0);
        Ok(match (first_ms, timestamp_ms.filter(|t| *t >= 0)) {
            (Some(first_ms), Some(timestamp_ms)) => timestamp_ms.saturating_sub(first_ms),
            _ => now_ms.saturating_sub(active.created_ms),
        })
    }

    pub(crate) fn roll_active(&mut self, now_ms: i64) -> Result<(), StorageError> {
        let base_offset = self.next_offset;
        let begun = self
            .active_mut()
            .seal_indexes()
            .and_then(|()| self.snapshot())
            .and_then(|()| Segment::create(Arc::clone(&self.dir), base_offset, now_ms));
        let next = begun.map_err(|error| self.broken(error))?;
        self.release_tail();
        let active = self.active();
        if active.size > 0 {
            let cut = active.cut(active.size);
            cut.map_err(|error| self.syncer.fail(error))?;
            self.active_mut().release_indexes();
            self.segments.push(next);
        } else {
            // Only its base was too far below; an empty segment is replaced, not kept.
            let path = active.path();
            let replaced = active.base_offset != base_offset;
            self.segments.pop();
            self.segments.push(next);
            if replaced {
                super::durable::remove(&path).map_err(|error| self.syncer.fail(error))?;
            }
        }
        self.jitter_ms = jitter_ms(&self.config, &self.dir.join(base_offset.to_string()));
        self.syncer.request();
        Ok(())
    }

    /// Writes the producers' state as of the log's end. Not synced: it carries a CRC, and one that a
    /// power cut spoilt only means a longer replay. The fencing tokens go with it, synced: nothing else
    /// tells them once retention has taken their records.
    pub(crate) fn snapshot(&mut self) -> Result<(), StorageError> {
        self.store_fences()?;
        if self.snapshot_offset == Some(self.next_offset) || self.next_offset == 0 {
            return Ok(());
        }
        let path = names::segment_file(&self.dir, self.next_offset, names::SNAPSHOT);
        snapshot::write(&path, &snapshot::encode(&self.producers))?;
        // One that belongs to no segment's start was made to bound recovery; the new one takes over.
        if let Some(old) = self.snapshot_offset.replace(self.next_offset)
            && !self.segments.iter().any(|s| s.base_offset == old)
        {
            let old = names::segment_file(&self.dir, old, names::SNAPSHOT);
            super::durable::remove(&old)?;
        }
        Ok(())
    }

    /// Unmaps the end. The file may be cut afterwards.
    pub(crate) fn release_tail(&mut self) {
        if let Some(tail) = self.tail.take() {
            tail.release();
        }
    }
}

/// What `segment.ms` is shortened by for the segment at `path`: as good as random, and the same every
/// time.
pub(crate) fn jitter_ms(config: &LogConfig, path: &std::path::Path) -> i64 {
    let bound = config.segment_jitter_ms_max.min(config.segment_ms_max);
    if bound <= 0 {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    let hash = i64::try_from(hasher.finish() >> 1).unwrap_or(0);
    hash % bound
}
