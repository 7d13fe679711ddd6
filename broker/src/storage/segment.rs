//! One segment: a `.log` file with its indexes. Sealed ones are not mapped and opened when first read.
//!
//! The active one is written through `tail.rs`; here is what both share: finding a batch, walking heads,
//! noting an appended batch in the indexes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::batch_head::{BatchHead, HEAD_BYTES};
use super::offset_index::{IndexEntry, OffsetIndex};
use super::time_index::{TimeEntry, TimeIndex};
use super::{StorageError, durable, names};

const NO_TIME: TimeEntry = TimeEntry {
    timestamp_ms: -1,
    offset: -1,
};

/// Heads read at a time when indexes are rebuilt.
const REBUILD_BATCHES: usize = 1024;

/// A batch and where it starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) position: u64,
    pub(crate) head: BatchHead,
}

impl Placed {
    pub(crate) fn end(&self) -> u64 {
        self.position + self.head.size as u64
    }
}

/// One segment. Owner: its log.
///
/// Invariant: bytes `0..size` of the file are whole batches of increasing offsets, the first at or behind
/// `base_offset`.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    pub(crate) size: u64,
    pub(crate) created_ms: i64,
    dir: Arc<Path>,
    file: OnceLock<Arc<File>>,
    largest: OnceLock<TimeEntry>,
    first_timestamp_ms: OnceLock<i64>,
    index: OffsetIndex,
    time_index: TimeIndex,
    bytes_since_index: u64,
    /// The index misled a reader: rebuilt by the next retention round.
    index_damaged: AtomicBool,
}

impl Segment {
    /// A segment whose file has `size` bytes; touches no disk.
    pub(crate) fn new(dir: Arc<Path>, base_offset: i64, size: u64, created_ms: i64) -> Self {
        Self {
            base_offset,
            size,
            created_ms,
            file: OnceLock::new(),
            largest: OnceLock::new(),
            first_timestamp_ms: OnceLock::new(),
            index: OffsetIndex::new(Arc::clone(&dir), base_offset),
            time_index: TimeIndex::new(Arc::clone(&dir), base_offset),
            bytes_since_index: 0,
            index_damaged: AtomicBool::new(false),
            dir,
        }
    }

    /// Makes the empty file of a new segment. An older file of that name (from before a crash) goes.
    pub(crate) fn create(
        dir: Arc<Path>,
        base_offset: i64,
        now_ms: i64,
    ) -> Result<Self, StorageError> {
        for extension in [names::INDEX, names::TIME_INDEX, names::TXN_INDEX] {
            durable::remove(&names::segment_file(&dir, base_offset, extension))?;
        }
        let path = names::segment_file(&dir, base_offset, names::LOG);
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| StorageError::io("create", &path, e))?;
        let mut segment = Self::new(dir, base_offset, 0, now_ms);
        segment.file = OnceLock::from(Arc::new(file));
        segment.largest = OnceLock::from(NO_TIME);
        Ok(segment)
    }

    pub(crate) fn path(&self) -> PathBuf {
        names::segment_file(&self.dir, self.base_offset, names::LOG)
    }

    /// The file, opened if it was not yet.
    pub(crate) fn file(&self) -> Result<&Arc<File>, StorageError> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let path = self.path();
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| StorageError::io("open", &path, e))?;
        Ok(self.file.get_or_init(|| Arc::new(file)))
    }

    pub(crate) fn index(&self) -> &OffsetIndex {
        &self.index
    }

    pub(crate) fn time_index(&self) -> &TimeIndex {
        &self.time_index
    }

    pub(crate) fn is_index_damaged(&self) -> bool {
        self.index_damaged.load(Ordering::Relaxed)
    }

    // ---- finding ----

    /// Walks the heads from `position` on.
    pub(crate) fn heads(&self, position: u64) -> Result<Heads<'_>, StorageError> {
        Ok(Heads {
            segment: self,
            file: self.file()?,
            position,
            buffer: [0; BUFFER_BYTES],
            buffer_at: 0,
            buffer_len: 0,
        })
    }

    /// The first batch that ends at or behind `offset`.
    pub(crate) fn locate(&self, offset: i64) -> Result<Option<Placed>, StorageError> {
        let mut heads = self.heads_from(self.index.floor(offset))?;
        while let Some(placed) = heads.next()? {
            if placed.head.last_offset() >= offset {
                return Ok(Some(placed));
            }
        }
        Ok(None)
    }

    /// Where the last whole batch ends that ends at or before `limit`, from the batch start `start` on,
    /// and the offset behind it. `None`: not even the first one does.
    pub(crate) fn last_end(
        &self,
        start: u64,
        limit: u64,
    ) -> Result<Option<(u64, i64)>, StorageError> {
        let mut heads = self.heads_from(self.index.floor_position(limit))?;
        if heads.position < start {
            heads = self.heads(start)?;
        }
        let mut last = None;
        while let Some(placed) = heads.next()? {
            if placed.end() > limit {
                // Where this one starts, the one before it ends.
                let end = (placed.position, placed.head.base_offset);
                return Ok(Some(end).filter(|_| placed.position > start));
            }
            last = Some((placed.end(), placed.head.last_offset() + 1));
        }
        Ok(last)
    }

    /// Walks the heads from an index entry on; from 0 when there is none or when what lies there is not
    /// the batch that the entry names: then the whole segment is searched, and the index is rebuilt later.
    fn heads_from(
        &self,
        hint: Result<Option<IndexEntry>, StorageError>,
    ) -> Result<Heads<'_>, StorageError> {
        let Ok(hint) = hint else {
            self.index_damaged.store(true, Ordering::Relaxed);
            return self.heads(0);
        };
        let Some(entry) = hint else {
            return self.heads(0);
        };
        let position = u64::from(entry.position);
        let mut heads = self.heads(position)?;
        let named = heads.peek()?.is_some_and(|head| {
            head.base_offset >= self.base_offset
                && head.last_offset() <= entry.last_offset
                && position + head.size as u64 <= self.size
        });
        if named {
            return Ok(heads);
        }
        self.index_damaged.store(true, Ordering::Relaxed);
        self.heads(0)
    }

    fn head_at(&self, position: u64) -> Result<Option<BatchHead>, StorageError> {
        if position + HEAD_BYTES as u64 > self.size {
            return Ok(None);
        }
        let mut bytes = [0; HEAD_BYTES];
        self.file()?
            .read_exact_at(&mut bytes, position)
            .map_err(|e| StorageError::io("read", &self.path(), e))?;
        Ok(BatchHead::parse(&bytes))
    }

    /// Largest timestamp and its batch; `None` when no record has one.
    pub(crate) fn largest(&self) -> Result<Option<TimeEntry>, StorageError> {
        if self.size == 0 {
            return Ok(None);
        }
        if self.largest.get().is_none() {
            // Written at seal and at close, so the last entry is the largest; without any, the index was
            // lost or no record has a timestamp.
            let found = match self.time_index.last()? {
                Some(last) => last,
                None => self.walk_for_largest()?,
            };
            self.largest.get_or_init(|| found);
        }
        Ok(self.largest.get().copied().filter(|e| e.timestamp_ms >= 0))
    }

    fn walk_for_largest(&self) -> Result<TimeEntry, StorageError> {
        let mut largest = NO_TIME;
        let mut heads = self.heads(0)?;
        while let Some(Placed { head, .. }) = heads.next()? {
            if head.max_timestamp > largest.timestamp_ms {
                largest = TimeEntry {
                    timestamp_ms: head.max_timestamp,
                    offset: head.last_offset(),
                };
            }
        }
        Ok(largest)
    }

    fn largest_known_ms(&self) -> i64 {
        self.largest.get().unwrap_or(&NO_TIME).timestamp_ms
    }

    /// Timestamp of the first batch: `segment.ms` counts from it.
    pub(crate) fn first_timestamp_ms(&self) -> Result<Option<i64>, StorageError> {
        if let Some(first) = self.first_timestamp_ms.get() {
            return Ok(Some(*first));
        }
        if self.size == 0 {
            return Ok(None);
        }
        let first = self
            .heads(0)?
            .next()?
            .map(|placed| placed.head.max_timestamp);
        Ok(first.map(|first| *self.first_timestamp_ms.get_or_init(|| first)))
    }

    // ---- appending ----

    /// Notes a batch that was written at the end. The indexes' memory was checked before.
    pub(crate) fn note(
        &mut self,
        head: &BatchHead,
        index_interval_bytes: u64,
    ) -> Result<(), StorageError> {
        let position = self.size;
        let largest = self.largest()?.unwrap_or(NO_TIME);
        if head.max_timestamp > largest.timestamp_ms {
            self.largest = OnceLock::from(TimeEntry {
                timestamp_ms: head.max_timestamp,
                offset: head.last_offset(),
            });
        }
        if position == 0 {
            self.first_timestamp_ms = OnceLock::from(head.max_timestamp);
        }
        if self.bytes_since_index > index_interval_bytes {
            self.index.push(IndexEntry {
                last_offset: head.last_offset(),
                position: u32::try_from(position).unwrap_or(u32::MAX),
            });
            if let Some(largest) = self.largest()? {
                self.time_index.push(largest)?;
            }
            self.bytes_since_index = 0;
        }
        self.bytes_since_index += head.size as u64;
        self.size = position + head.size as u64;
        Ok(())
    }

    /// Writes index entries that are due. Before an append, so that a full disk is met before any byte
    /// of the batch is.
    pub(crate) fn write_due_entries(&mut self) -> Result<(), StorageError> {
        if self.index.file().is_due() || self.time_index.file().is_due() {
            self.write_entries()?;
        }
        Ok(())
    }

    /// Writes the index entries that are in memory: those of the time index first, so that after a kill it
    /// never knows less than the offset index, from whose end on recovery goes on.
    pub(crate) fn write_entries(&mut self) -> Result<(), StorageError> {
        self.time_index.file_mut().write_out()?;
        self.index.file_mut().write_out()
    }

    /// Writes all index entries, the final one of the time index included; makes the files if there are
    /// none, for a real Kafka would rebuild the indexes where they miss.
    pub(crate) fn seal_indexes(&mut self) -> Result<(), StorageError> {
        if let Some(largest) = self.largest()? {
            self.time_index.push(largest)?;
        }
        self.index.file_mut().seal()?;
        self.time_index.file_mut().seal()
    }

    /// Syncs the index files that were written (or read) since the log was opened.
    pub(crate) fn sync_indexes_if_open(&self) -> Result<(), StorageError> {
        self.index.file().sync_if_open()?;
        self.time_index.file().sync_if_open()
    }

    /// Closes the index files until they are needed again.
    pub(crate) fn release_indexes(&mut self) {
        self.index.file_mut().release();
        self.time_index.file_mut().release();
    }

    /// Closes all files until they are needed again. Slices that were handed out stay readable.
    pub(crate) fn release_files(&mut self) {
        self.release_indexes();
        self.file = OnceLock::new();
    }

    /// Cuts the file to `size`. No window over it may live.
    pub(crate) fn cut(&self, size: u64) -> Result<(), StorageError> {
        self.file()?
            .set_len(size)
            .map_err(|e| StorageError::io("cut", &self.path(), e))
    }

    /// Makes both indexes anew from the heads below `self.size`.
    pub(crate) fn rebuild_indexes(
        &mut self,
        index_interval_bytes: u64,
    ) -> Result<(), StorageError> {
        self.begin_rebuild()?;
        let size = self.size;
        let mut position = 0;
        while position < size {
            let mut some = Vec::with_capacity(REBUILD_BATCHES);
            let mut heads = self.heads(position)?;
            while some.len() < REBUILD_BATCHES
                && let Some(placed) = heads.next()?
            {
                some.push(placed);
            }
            position = some.last().map_or(size, Placed::end);
            for placed in some {
                self.size = placed.position;
                self.note(&placed.head, index_interval_bytes)?;
            }
            self.write_due_entries()?;
            self.size = size;
        }
        Ok(())
    }

    /// Empties both indexes.
    pub(crate) fn begin_rebuild(&mut self) -> Result<(), StorageError> {
        self.index.file_mut().truncate(0)?;
        self.time_index.file_mut().truncate(0)?;
        self.largest = OnceLock::from(NO_TIME);
        self.bytes_since_index = 0;
        self.index_damaged.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Drops index entries that cannot be true for a segment that ends at `offset` and `size`, and takes
    /// the largest timestamp from what is left.
    pub(crate) fn trim_indexes(&mut self, offset: i64, size: u64) -> Result<(), StorageError> {
        self.index.keep_below(offset, size)?;
        self.time_index.keep_below(offset)?;
        self.largest = OnceLock::from(self.time_index.last()?.unwrap_or(NO_TIME));
        self.bytes_since_index = 0;
        Ok(())
    }

    /// Where a recovery scan starts: the last indexed batch below the recovery point, or the segment's
    /// start when the index does not name one. The indexes are cut to what is below it.
    pub(crate) fn resume_at(&mut self, recovery_point: i64) -> Result<u64, StorageError> {
        self.trim_indexes(recovery_point, self.size)?;
        let hint = self.index.last();
        let position = self.heads_from(hint)?.position;
        // A power cut may have taken more of the time index than of the offset index.
        let newer = |head: BatchHead| head.max_timestamp > self.largest_known_ms();
        if position == 0 || self.head_at(position)?.is_some_and(newer) {
            self.begin_rebuild()?;
            return Ok(0);
        }
        Ok(position)
    }

    /// Notes that a batch (met by a scan) has this timestamp.
    pub(crate) fn raise_largest(&mut self, head: &BatchHead) -> Result<(), StorageError> {
        if head.max_timestamp > self.largest()?.unwrap_or(NO_TIME).timestamp_ms {
            self.largest = OnceLock::from(TimeEntry {
                timestamp_ms: head.max_timestamp,
                offset: head.last_offset(),
            });
        }
        Ok(())
    }
}

const BUFFER_BYTES: usize = 4096;

/// Walks the batch heads of a segment: small batches a buffer at a time, large ones one read each.
#[derive(Debug)]
pub(crate) struct Heads<'a> {
    segment: &'a Segment,
    file: &'a File,
    position: u64,
    buffer: [u8; BUFFER_BYTES],
    buffer_at: u64,
    buffer_len: usize,
}

impl Heads<'_> {
    /// The head at the current position, if it is one.
    fn peek(&mut self) -> Result<Option<BatchHead>, StorageError> {
        if self.position + HEAD_BYTES as u64 > self.segment.size {
            return Ok(None);
        }
        Ok(BatchHead::parse(self.head_bytes()?))
    }

    /// The next batch, `None` at the end. What is no batch there is damage.
    pub(crate) fn next(&mut self) -> Result<Option<Placed>, StorageError> {
        if self.position >= self.segment.size {
            return Ok(None);
        }
        let position = self.position;
        let head = BatchHead::parse(self.head_bytes()?);
        let placed = head.map(|head| Placed { position, head });
        match placed.filter(|p| p.end() <= self.segment.size) {
            Some(placed) => {
                self.position = placed.end();
                Ok(Some(placed))
            }
            None => Err(StorageError::Corrupt {
                path: self.segment.path(),
                position,
                what: "no record batch v2 starts there",
            }),
        }
    }

    fn head_bytes(&mut self) -> Result<&[u8], StorageError> {
        let inside = |at: u64, len: usize, position: u64| {
            position >= at && position + HEAD_BYTES as u64 <= at + len as u64
        };
        if !inside(self.buffer_at, self.buffer_len, self.position) {
            let left = self.segment.size - self.position;
            let want = usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
            let room = self.buffer.get_mut(..want).unwrap_or_default();
            self.file
                .read_exact_at(room, self.position)
                .map_err(|e| StorageError::io("read", &self.segment.path(), e))?;
            self.buffer_at = self.position;
            self.buffer_len = want;
        }
        let from = usize::try_from(self.position - self.buffer_at).unwrap_or(usize::MAX);
        Ok(self
            .buffer
            .get(..self.buffer_len)
            .and_then(|b| b.get(from..))
            .unwrap_or_default())
    }
}
