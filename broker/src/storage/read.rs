//! Finding what to send: an offset range becomes a range of one segment's file. No record is read.
//!
//! A sequential reader's next start is remembered (`Boundary`), so in the common case the only search is
//! for the last whole batch that still fits, and at the log's end there is none at all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use nyala_coordinator::ids::LeaderEpoch;

use super::boundaries::Boundary;
use super::log::Log;
use super::segment::Segment;
use super::{ReadError, StorageError};

/// What to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadAt {
    /// First offset wanted; the slice starts with the batch that holds it.
    pub offset: i64,
    /// At most so many bytes, whole batches only ...
    pub max_bytes: usize,
    /// ... unless the first batch is larger and this is set: then that one batch (KIP-74).
    pub at_least_one: bool,
    /// No batch that reaches this offset: the high watermark, the last stable offset, or the log end.
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
        let mut bytes = vec![0; self.len];
        self.file.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes)
    }

    fn empty(next_offset: i64) -> Result<Self, StorageError> {
        static NOTHING: OnceLock<Arc<File>> = OnceLock::new();
        let file = match NOTHING.get() {
            Some(file) => Arc::clone(file),
            None => {
                let path = std::path::Path::new("/dev/null");
                let file = File::open(path).map_err(|e| StorageError::io("open", path, e))?;
                Arc::clone(NOTHING.get_or_init(|| Arc::new(file)))
            }
        };
        Ok(Self {
            file,
            position: 0,
            len: 0,
            next_offset,
        })
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

impl Log {
    /// Finds the batches to send for a fetch. `offset == next_offset` gives an empty slice.
    pub fn read(&self, at: ReadAt) -> Result<FileSlice, ReadError> {
        self.syncer.ok()?;
        if at.offset < self.log_start || at.offset > self.next_offset {
            return Err(self.out_of_range(at.offset));
        }
        let upper = at.upper_bound.min(self.next_offset);
        let first = self.segment_of(at.offset);
        let candidates = self.segments.iter().enumerate().skip(first);
        for (i, segment) in candidates.take_while(|(_, s)| s.base_offset < upper) {
            if at.offset >= upper {
                break;
            }
            if let Some(start) = self.start_of(segment, at.offset)? {
                return Ok(self.slice(i, start.position, upper, &at)?);
            }
            // The rest of the segment was compacted away: the offset lives on in the next one.
        }
        Ok(FileSlice::empty(at.offset)?)
    }

    pub(crate) fn out_of_range(&self, offset: i64) -> ReadError {
        ReadError::OffsetOutOfRange {
            offset,
            log_start: self.log_start,
            next_offset: self.next_offset,
        }
    }

    /// Place in `segments` of the one that holds `offset`, if any does.
    pub(crate) fn segment_of(&self, offset: i64) -> usize {
        self.segments
            .partition_point(|s| s.base_offset <= offset)
            .saturating_sub(1)
    }

    /// Offset behind the segment's last one.
    pub(crate) fn end_of(&self, i: usize) -> i64 {
        self.segments
            .get(i + 1)
            .map_or(self.next_offset, |next| next.base_offset)
    }

    /// Where the first batch that ends at or behind `offset` starts.
    fn start_of(&self, segment: &Segment, offset: i64) -> Result<Option<Boundary>, StorageError> {
        if let Some(boundary) = self.boundaries.find(segment.base_offset, offset) {
            return Ok(Some(boundary).filter(|b| b.position < segment.size));
        }
        let boundary = |offset, position| Boundary {
            segment: segment.base_offset,
            offset,
            position,
        };
        if offset <= segment.base_offset {
            let first = boundary(segment.base_offset, 0);
            return Ok(Some(first).filter(|_| segment.size > 0));
        }
        let found = segment.locate(offset)?;
        Ok(found.map(|placed| boundary(placed.head.base_offset, placed.position)))
    }

    /// The whole batches from `start` on, within the bounds.
    fn slice(
        &self,
        i: usize,
        start: u64,
        upper: i64,
        at: &ReadAt,
    ) -> Result<FileSlice, StorageError> {
        let Some(segment) = self.segments.get(i) else {
            return FileSlice::empty(at.offset);
        };
        let segment_end = self.end_of(i);
        // Position and offset of the end that the upper bound allows.
        let (bound, bound_offset) = if upper >= segment_end {
            (segment.size, segment_end)
        } else {
            match self.start_of(segment, upper)? {
                Some(bound) => (bound.position, bound.offset),
                None => (segment.size, segment_end),
            }
        };
        let (end, next_offset) = if bound - start.min(bound) <= at.max_bytes as u64 {
            (bound, bound_offset)
        } else {
            match self.fitting_end(segment, start, at)? {
                Some(end) => end,
                None => (start, at.offset),
            }
        };
        if end <= start {
            return FileSlice::empty(at.offset);
        }
        self.boundaries.remember(Boundary {
            segment: segment.base_offset,
            offset: next_offset,
            position: end,
        });
        Ok(FileSlice {
            file: Arc::clone(segment.file()?),
            position: start,
            len: usize::try_from(end - start).unwrap_or(usize::MAX),
            next_offset,
        })
    }

    fn fitting_end(
        &self,
        segment: &Segment,
        start: u64,
        at: &ReadAt,
    ) -> Result<Option<(u64, i64)>, StorageError> {
        let limit = start.saturating_add(at.max_bytes as u64);
        match segment.last_end(start, limit)? {
            None if at.at_least_one => {
                let first = segment.heads(start)?.next()?;
                Ok(first.map(|first| (first.end(), first.head.last_offset() + 1)))
            }
            found => Ok(found),
        }
    }
}
