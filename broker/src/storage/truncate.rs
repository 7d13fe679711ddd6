//! Taking records away: from the end (a follower that diverged), from the start (DeleteRecords, retention).
//!
//! Where a follower's log parts from its leader's is asked for in `replication/fetchers/cure.rs` and decided
//! in `replication/partition/follow.rs`.
//! A file is only ever cut after its window is gone (`release_tail`).

use std::path::PathBuf;
use std::sync::Arc;

use super::log::Log;
use super::retention;
use super::segment::Segment;
use super::{AppendError, ReadError, StorageError, durable, names};

impl Log {
    /// Removes everything at or behind `offset` (whole batches). Touches the disk.
    pub fn truncate_to(&mut self, offset: i64) -> Result<(), StorageError> {
        self.syncer.ok()?;
        if offset >= self.next_offset {
            // An epoch in which nothing was written may still be noted at the end: it is a former
            // leader's, and the log would seem to part from the new one's for ever (KAFKA-10706).
            if self.epochs.truncate_from_end(offset) {
                self.write_epochs()?;
            }
            return Ok(());
        }
        self.release_tail();
        let cut = self.cut_at(offset);
        cut.map_err(|error| self.syncer.fail(error))
    }

    /// Empties the log, which then starts at `offset` (a follower too far behind). Touches the disk.
    pub fn restart_at(&mut self, offset: i64, now_ms: i64) -> Result<(), StorageError> {
        self.syncer.ok()?;
        self.release_tail();
        let emptied = self.empty_at(offset, now_ms);
        emptied.map_err(|error| self.syncer.fail(error))
    }

    fn cut_at(&mut self, offset: i64) -> Result<(), StorageError> {
        if offset <= self.segments.first().map_or(0, |s| s.base_offset) {
            let created_ms = self.active().created_ms;
            return self.empty_at(offset, created_ms);
        }
        let keep = self.segment_of(offset - 1);
        for segment in self.segments.drain(keep + 1..) {
            remove_segment(&self.dir, segment.base_offset)?;
        }
        let end = match self.active().locate(offset)? {
            Some(placed) => {
                let segment = self.active_mut();
                segment.trim_indexes(placed.head.base_offset, placed.position)?;
                segment.size = placed.position;
                placed.head.base_offset.min(offset)
            }
            None => offset,
        };
        self.active().cut(self.active().size)?;
        let from = self.active().base_offset;
        self.raise_largest_from(from)?;
        self.end_at(end.max(self.log_start))
    }

    fn empty_at(&mut self, offset: i64, now_ms: i64) -> Result<(), StorageError> {
        for segment in self.segments.drain(..) {
            remove_segment(&self.dir, segment.base_offset)?;
        }
        let segment = Segment::create(Arc::clone(&self.dir), offset, now_ms)?;
        self.segments.push(segment);
        self.log_start = offset;
        self.epochs.clear();
        self.end_at(offset)
    }

    /// Everything else follows the new end.
    fn end_at(&mut self, offset: i64) -> Result<(), StorageError> {
        self.next_offset = offset;
        self.unsettled = true;
        self.high_watermark = self.high_watermark.clamp(self.log_start, offset);
        self.boundaries.forget();
        self.syncer.reset(offset);
        self.epochs.truncate_from_end(offset);
        self.write_epochs()?;
        self.rebuild_producers()?;
        self.recount_fences()?;
        self.assert_order();
        Ok(())
    }

    /// After a cut the time index knows the largest timestamp only up to its last entry.
    fn raise_largest_from(&mut self, base_offset: i64) -> Result<(), StorageError> {
        let active = self.active();
        let from = active.index().last()?.map_or(0, |e| u64::from(e.position));
        debug_assert_eq!(active.base_offset, base_offset);
        let mut heads = active.heads(from)?;
        let mut found = Vec::new();
        while let Some(placed) = heads.next()? {
            found.push(placed.head);
        }
        let active = self.active_mut();
        found.iter().try_for_each(|head| active.raise_largest(head))
    }

    /// Moves the log's start up to `offset` (DeleteRecords); segments wholly below go with the next
    /// retention round. `offset` is at most the high watermark. Returns the log's start.
    pub fn delete_before(&mut self, offset: i64) -> Result<i64, ReadError> {
        self.syncer.ok()?;
        if offset < 0 || offset > self.high_watermark {
            return Err(self.out_of_range(offset));
        }
        self.raise_log_start(offset)?;
        Ok(self.log_start)
    }

    pub(crate) fn raise_log_start(&mut self, offset: i64) -> Result<(), StorageError> {
        if offset > self.log_start {
            self.log_start = offset;
            if self.epochs.truncate_from_start(offset) {
                match self.write_epochs() {
                    Err(error) if !error.is_no_space() => return Err(error),
                    _ => {}
                }
            }
        }
        self.assert_order();
        Ok(())
    }

    /// Takes the segments that retention no longer keeps out of the log. Their files are renamed to
    /// `.deleted`; the caller removes them outside of the lock.
    pub(crate) fn retain(&mut self, now_ms: i64) -> Result<Vec<PathBuf>, AppendError> {
        self.syncer.ok()?;
        let facts = self.retention_facts()?;
        let bounds = retention::Bounds {
            log_start: self.log_start,
            high_watermark: self.high_watermark,
            now_ms,
        };
        let count = retention::choose(&facts, &self.config, &bounds);
        if count == 0 {
            return Ok(Vec::new());
        }
        if count == self.segments.len() {
            self.roll_active(now_ms)?;
        }
        let removed = self.remove_oldest(count);
        Ok(removed.map_err(|error| self.syncer.fail(error))?)
    }

    fn retention_facts(&self) -> Result<Vec<retention::SegmentFacts>, StorageError> {
        let facts = self.segments.iter().enumerate().map(|(i, segment)| {
            Ok(retention::SegmentFacts {
                size: segment.size,
                largest_timestamp_ms: match segment.largest()? {
                    Some(largest) => largest.timestamp_ms,
                    None => segment.created_ms,
                },
                end_offset: self.end_of(i),
            })
        });
        let facts: Result<Vec<_>, StorageError> = facts.collect();
        facts.map_err(|error| self.syncer.fail(error))
    }

    fn remove_oldest(&mut self, count: usize) -> Result<Vec<PathBuf>, StorageError> {
        let mut removed = Vec::new();
        for segment in self.segments.drain(..count) {
            self.syncer.forget(&segment.path());
            removed.extend(set_aside(&self.dir, segment.base_offset)?);
        }
        self.boundaries.forget();
        let first = self
            .segments
            .first()
            .map_or(self.next_offset, |s| s.base_offset);
        self.raise_log_start(first.min(self.high_watermark))?;
        Ok(removed)
    }
}

const SEGMENT_FILES: [&str; 5] = [
    names::LOG,
    names::INDEX,
    names::TIME_INDEX,
    names::TXN_INDEX,
    names::SNAPSHOT,
];

/// Renames a segment's files to `.deleted`. The `.log` goes first: without it the rest is nothing.
fn set_aside(dir: &std::path::Path, base_offset: i64) -> Result<Vec<PathBuf>, StorageError> {
    let mut aside = Vec::new();
    for extension in SEGMENT_FILES {
        let from = names::segment_file(dir, base_offset, extension);
        let to = durable::with_suffix(&from, names::DELETED_SUFFIX);
        match durable::rename(&from, &to) {
            Ok(()) => aside.push(to),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(aside)
}

/// Removes a segment's files.
pub(crate) fn remove_segment(dir: &std::path::Path, base_offset: i64) -> Result<(), StorageError> {
    SEGMENT_FILES
        .iter()
        .try_for_each(|ext| durable::remove(&names::segment_file(dir, base_offset, ext)))
}
