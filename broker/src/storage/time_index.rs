//! `.timeindex`: the largest timestamp so far and the batch that brought it, one entry every
//! `index.interval.bytes` in which it grew.
//!
//! Entry: u64 timestamp, u32 offset - base (the batch's last). All batches up to the next entry have
//! timestamps at or below that entry's.

use std::path::Path;
use std::sync::Arc;

use super::StorageError;
use super::index_file::IndexFile;
use super::names;

/// Bytes of an entry.
pub(crate) const ENTRY_BYTES: u64 = 12;

/// A timestamp and the last offset of the batch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp_ms: i64,
    pub(crate) offset: i64,
}

/// The time index of one segment.
#[derive(Debug)]
pub(crate) struct TimeIndex {
    file: IndexFile<12>,
    base_offset: i64,
}

impl TimeIndex {
    pub(crate) fn new(dir: Arc<Path>, base_offset: i64) -> Self {
        Self {
            file: IndexFile::new(dir, base_offset, names::TIME_INDEX),
            base_offset,
        }
    }

    /// Notes the largest timestamp so far, if it is larger than the one noted last.
    pub(crate) fn push(&mut self, entry: TimeEntry) -> Result<(), StorageError> {
        let Ok(relative) = u32::try_from(entry.offset - self.base_offset) else {
            return Ok(());
        };
        let grew = |last: TimeEntry| entry.timestamp_ms > last.timestamp_ms;
        if entry.timestamp_ms < 0 || !self.last()?.is_none_or(grew) {
            return Ok(());
        }
        let mut bytes = [0; 12];
        let (timestamp, offset) = bytes.split_at_mut(8);
        timestamp.copy_from_slice(&entry.timestamp_ms.to_be_bytes());
        offset.copy_from_slice(&relative.to_be_bytes());
        self.file.push(bytes);
        Ok(())
    }

    fn decode(&self, bytes: [u8; 12]) -> TimeEntry {
        let bits = bytes
            .iter()
            .fold(0_u128, |bits, b| (bits << 8) | u128::from(*b));
        let relative = i64::try_from(bits & u128::from(u32::MAX)).unwrap_or(i64::MAX);
        TimeEntry {
            timestamp_ms: i64::try_from(bits >> 32).unwrap_or(-1),
            offset: self.base_offset + relative,
        }
    }

    /// The last entry whose timestamp is below `timestamp_ms`: no batch before its offset is wanted.
    pub(crate) fn below(&self, timestamp_ms: i64) -> Result<Option<TimeEntry>, StorageError> {
        let found = self
            .file
            .last_where(|bytes| self.decode(*bytes).timestamp_ms < timestamp_ms)?;
        Ok(found.map(|bytes| self.decode(bytes)))
    }

    pub(crate) fn last(&self) -> Result<Option<TimeEntry>, StorageError> {
        Ok(self.file.last()?.map(|bytes| self.decode(bytes)))
    }

    /// Drops entries from the first on that is at or behind `offset` or out of order.
    pub(crate) fn keep_below(&mut self, offset: i64) -> Result<(), StorageError> {
        let entries = self.file.all()?;
        let mut kept = 0_u32;
        let mut last: Option<TimeEntry> = None;
        for bytes in entries {
            let entry = self.decode(bytes);
            let follows = last.is_none_or(|last| {
                entry.timestamp_ms > last.timestamp_ms && entry.offset >= last.offset
            });
            // Kafka's preallocated tail is zeros.
            if !follows || bytes == [0; 12] || entry.offset >= offset {
                break;
            }
            last = Some(entry);
            kept += 1;
        }
        self.file.truncate(kept)
    }

    pub(crate) fn file(&self) -> &IndexFile<12> {
        &self.file
    }

    pub(crate) fn file_mut(&mut self) -> &mut IndexFile<12> {
        &mut self.file
    }
}
