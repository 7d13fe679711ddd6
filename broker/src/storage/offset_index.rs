//! `.index`: where in the segment an offset lies, one entry every `index.interval.bytes`.
//!
//! Entry: u32 offset - base, u32 position. As in Kafka the offset is the *last* one of the batch that
//! starts at the position. The active segment's last entries are in memory (`index_file.rs`).

use std::path::Path;
use std::sync::Arc;

use super::StorageError;
use super::index_file::IndexFile;
use super::names;

/// Bytes of an entry.
pub(crate) const ENTRY_BYTES: u64 = 8;

/// A batch: its last offset, and where it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) last_offset: i64,
    pub(crate) position: u32,
}

/// The offset index of one segment.
#[derive(Debug)]
pub(crate) struct OffsetIndex {
    file: IndexFile<8>,
    base_offset: i64,
}

impl OffsetIndex {
    pub(crate) fn new(dir: Arc<Path>, base_offset: i64) -> Self {
        Self {
            file: IndexFile::new(dir, base_offset, names::INDEX),
            base_offset,
        }
    }

    /// Notes the batch. The caller keeps offsets within u32 of the base (it rolls before).
    pub(crate) fn push(&mut self, entry: IndexEntry) {
        let relative = entry.last_offset - self.base_offset;
        let Ok(relative) = u32::try_from(relative) else {
            return;
        };
        let mut bytes = [0; 8];
        let (offset, position) = bytes.split_at_mut(4);
        offset.copy_from_slice(&relative.to_be_bytes());
        position.copy_from_slice(&entry.position.to_be_bytes());
        self.file.push(bytes);
    }

    fn decode(&self, bytes: [u8; 8]) -> IndexEntry {
        let bits = u64::from_be_bytes(bytes);
        let (high, low) = ((bits >> 32), bits & u64::from(u32::MAX));
        IndexEntry {
            last_offset: self.base_offset + i64::try_from(high).unwrap_or(i64::MAX),
            position: u32::try_from(low).unwrap_or(u32::MAX),
        }
    }

    /// The last noted batch that ends at or before `offset`.
    pub(crate) fn floor(&self, offset: i64) -> Result<Option<IndexEntry>, StorageError> {
        let found = self
            .file
            .last_where(|bytes| self.decode(*bytes).last_offset <= offset)?;
        Ok(found.map(|bytes| self.decode(bytes)))
    }

    /// The last noted batch that starts at or before `position`.
    pub(crate) fn floor_position(&self, position: u64) -> Result<Option<IndexEntry>, StorageError> {
        let found = self
            .file
            .last_where(|bytes| u64::from(self.decode(*bytes).position) <= position)?;
        Ok(found.map(|bytes| self.decode(bytes)))
    }

    pub(crate) fn last(&self) -> Result<Option<IndexEntry>, StorageError> {
        Ok(self.file.last()?.map(|bytes| self.decode(bytes)))
    }

    /// Drops entries from the first on that ends at or behind `offset`, or that does not belong into a
    /// segment of `size` bytes, or does not follow its predecessor (rule: never trust an index).
    pub(crate) fn keep_below(&mut self, offset: i64, size: u64) -> Result<(), StorageError> {
        let entries = self.file.all()?;
        let mut kept = 0_u32;
        let mut last: Option<IndexEntry> = None;
        for bytes in entries {
            let entry = self.decode(bytes);
            let follows = last.is_none_or(|last| {
                entry.last_offset > last.last_offset && entry.position > last.position
            });
            // Kafka's preallocated tail is zeros; a true first entry lies behind position 0.
            let sound = entry.position > 0 && u64::from(entry.position) < size;
            if !follows || !sound || entry.last_offset >= offset {
                break;
            }
            last = Some(entry);
            kept += 1;
        }
        self.file.truncate(kept)
    }

    pub(crate) fn file(&self) -> &IndexFile<8> {
        &self.file
    }

    pub(crate) fn file_mut(&mut self) -> &mut IndexFile<8> {
        &mut self.file
    }
}
