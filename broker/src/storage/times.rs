//! From timestamps to offsets, for ListOffsets: the time index narrows it to a batch, then its records are
//! looked at.

use std::os::unix::fs::FileExt;

use nyala_client::wire::batch::{BatchView, Record};

use super::log::Log;
use super::read::TimestampOffset;
use super::segment::{Placed, Segment};
use super::{ReadError, StorageError};

/// A batch is decompressed up to this size; one that grows further counts as a whole.
const RECORDS_BYTES_MAX: usize = 128 << 20;

impl Log {
    /// The first record whose timestamp is `timestamp_ms` or later, below `upper_bound`. Reads the disk.
    pub fn offset_for_timestamp(
        &self,
        timestamp_ms: i64,
        upper_bound: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        self.syncer.ok()?;
        for segment in self
            .segments
            .get(self.segment_of(self.log_start)..)
            .unwrap_or_default()
        {
            if segment.base_offset >= upper_bound {
                break;
            }
            let reaches =
                |largest: super::time_index::TimeEntry| largest.timestamp_ms >= timestamp_ms;
            if !segment.largest()?.is_some_and(reaches) {
                continue;
            }
            if let Some(found) = self.search(segment, timestamp_ms)? {
                return Ok(Some(found).filter(|f| f.offset < upper_bound));
            }
        }
        Ok(None)
    }

    /// The record with the largest timestamp (ListOffsets -3). Reads the disk.
    pub fn offset_of_max_timestamp(&self) -> Result<Option<TimestampOffset>, ReadError> {
        self.syncer.ok()?;
        let mut best: Option<(&Segment, super::time_index::TimeEntry)> = None;
        for segment in &self.segments {
            if let Some(largest) = segment.largest()?
                && largest.offset >= self.log_start
                && best.is_none_or(|(_, b)| largest.timestamp_ms > b.timestamp_ms)
            {
                best = Some((segment, largest));
            }
        }
        let Some((segment, largest)) = best else {
            return Ok(None);
        };
        let Some(placed) = segment.locate(largest.offset)? else {
            return Ok(None);
        };
        let is_it = |record: &Record<'_>| record.timestamp_ms >= largest.timestamp_ms;
        Ok(Some(
            self.first_record(segment, &placed, is_it)?
                .unwrap_or_else(|| self.answer(largest.timestamp_ms, largest.offset)),
        ))
    }

    fn search(
        &self,
        segment: &Segment,
        timestamp_ms: i64,
    ) -> Result<Option<TimestampOffset>, StorageError> {
        // No batch up to the last entry below the time asked for has a record that late.
        let entry = segment.time_index().below(timestamp_ms)?;
        let from = entry.map_or(self.log_start, |e| e.offset.max(self.log_start));
        let Some(start) = segment.locate(from)? else {
            return Ok(None);
        };
        let mut heads = segment.heads(start.position)?;
        while let Some(placed) = heads.next()? {
            if placed.head.max_timestamp < timestamp_ms {
                continue;
            }
            let wanted = |record: &Record<'_>| {
                record.timestamp_ms >= timestamp_ms && record.offset >= self.log_start
            };
            if let Some(found) = self.first_record(segment, &placed, wanted)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first record of the batch that is `wanted`.
    fn first_record(
        &self,
        segment: &Segment,
        placed: &Placed,
        wanted: impl Fn(&Record<'_>) -> bool,
    ) -> Result<Option<TimestampOffset>, StorageError> {
        let mut bytes = vec![0; placed.head.size];
        segment
            .file()?
            .read_exact_at(&mut bytes, placed.position)
            .map_err(|e| StorageError::io("read", &segment.path(), e))?;
        let corrupt = |what| StorageError::Corrupt {
            path: segment.path(),
            position: placed.position,
            what,
        };
        let view = BatchView::parse(&bytes).map_err(|_| corrupt("not a record batch"))?;
        let Ok(body) = view.decompress(RECORDS_BYTES_MAX) else {
            // Records that cannot be looked at: the batch as a whole is the best answer.
            let head = &placed.head;
            let offset = head.base_offset.max(self.log_start);
            return Ok(Some(self.answer(head.max_timestamp, offset)));
        };
        for record in view.records(&body) {
            let record = record.map_err(|_| corrupt("not a record"))?;
            if wanted(&record) {
                return Ok(Some(self.answer(record.timestamp_ms, record.offset)));
            }
        }
        Ok(None)
    }

    fn answer(&self, timestamp_ms: i64, offset: i64) -> TimestampOffset {
        TimestampOffset {
            timestamp_ms,
            offset,
            leader_epoch: self.epoch_at(offset),
        }
    }
}
