//! What to do with a log that was not closed: scan from the recovery point, keep the whole batches, cut the
//! rest.
//!
//! The kernel writes mapped pages in any order, so after a power cut a later batch may be on disk and an
//! earlier one be zeros: the scan stops at the first batch that is not whole (length, magic, CRC, offset
//! order), and all behind it is cleared, lest a stale batch rise again behind a hole.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nyala_client::wire::crc32c;
use nyala_coordinator::ids::LeaderEpoch;

use super::batch_head::{BatchHead, CRC_FROM, HEAD_BYTES, marker};
use super::log::Log;
use super::truncate::remove_segment;
use super::{StorageError, names, snapshot};

/// What recovery found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes of log read; 0 after a clean stop.
    pub bytes_scanned: u64,
    /// Bytes behind the last whole batch that were no zeros' tail and went.
    pub bytes_cut: u64,
    /// Segments behind a cut that went.
    pub segments_removed: usize,
    /// Records below the recovery point that are gone: the disk lost what it had acknowledged.
    pub synced_offsets_lost: i64,
}

/// What lay behind the last whole batch of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    None,
    Zeros,
    Damage,
}

/// The first segment to scan, given the segments' base offsets. Pure.
pub(crate) fn plan(bases: &[i64], recovery_point: i64) -> usize {
    bases
        .partition_point(|base| *base <= recovery_point)
        .saturating_sub(1)
}

/// Reads a segment front to back through one buffer.
pub(crate) struct Scan<'a> {
    file: &'a File,
    /// Of the next batch.
    pub(crate) position: u64,
    end: u64,
    buffer: &'a mut Vec<u8>,
    buffer_at: u64,
}

/// Read at a time: large enough for the disk, small enough for 8 threads.
const SCAN_BYTES: usize = 1 << 20;

impl<'a> Scan<'a> {
    pub(crate) fn new(file: &'a File, position: u64, end: u64, buffer: &'a mut Vec<u8>) -> Self {
        buffer.clear();
        Self {
            file,
            position,
            end,
            buffer,
            buffer_at: position,
        }
    }

    /// The next whole batch at or behind `offset_min`; `None`: there is none.
    pub(crate) fn next(&mut self, offset_min: i64) -> std::io::Result<Option<(BatchHead, &[u8])>> {
        let head = match BatchHead::parse(self.bytes(HEAD_BYTES)?) {
            Some(head) if self.position + head.size as u64 <= self.end => head,
            _ => return Ok(None),
        };
        let plausible = head.base_offset >= offset_min
            && head.last_offset_delta >= 0
            && head
                .base_offset
                .checked_add(i64::from(head.last_offset_delta))
                .is_some();
        if !plausible {
            return Ok(None);
        }
        let position = self.position;
        let whole = self
            .bytes(head.size)?
            .get(CRC_FROM..)
            .is_some_and(|b| crc32c(b) == head.crc);
        if !whole {
            return Ok(None);
        }
        self.position = position + head.size as u64;
        let from = usize::try_from(position - self.buffer_at).unwrap_or(usize::MAX);
        let batch = self.buffer.get(from..).and_then(|b| b.get(..head.size));
        Ok(batch.map(|batch| (head, batch)))
    }

    /// `len` bytes from the position on; fewer at the end.
    fn bytes(&mut self, len: usize) -> std::io::Result<&[u8]> {
        let end_needed = self.position + len as u64;
        if end_needed > self.buffer_at + self.buffer.len() as u64 {
            let left = self.end - self.position;
            let want = usize::try_from(left).map_or(SCAN_BYTES, |l| l.min(SCAN_BYTES.max(len)));
            self.buffer.resize(want, 0);
            self.file.read_exact_at(self.buffer, self.position)?;
            self.buffer_at = self.position;
        }
        let from = usize::try_from(self.position - self.buffer_at).unwrap_or(usize::MAX);
        let rest = self.buffer.get(from..).unwrap_or_default();
        Ok(rest.get(..len).unwrap_or(rest))
    }
}

impl Log {
    /// Recovers the log: afterwards its segments hold whole batches only. `next_offset` is set.
    pub(crate) fn recover(
        &mut self,
        recovery_point: i64,
        buffer: &mut Vec<u8>,
    ) -> Result<RecoveryReport, StorageError> {
        let bases: Vec<i64> = self.segments.iter().map(|s| s.base_offset).collect();
        let mut report = RecoveryReport::default();
        let first = plan(&bases, recovery_point);
        let mut next_offset = bases.get(first).copied().unwrap_or(0);
        let mut i = first;
        while i < self.segments.len() {
            let (end, rest) = self.recover_segment(i, recovery_point, buffer, &mut report)?;
            next_offset = end;
            let behind = self.segments.get(i + 1).map(|s| s.base_offset);
            let continues = |base: i64| match rest {
                // A gap in the offsets is compaction's.
                Rest::None => base >= end,
                // A roll that was not finished; with a gap, pages that the disk lost.
                Rest::Zeros => base == end,
                Rest::Damage => false,
            };
            if behind.is_some_and(|base| !continues(base)) {
                // A hole: what lies behind it was never acknowledged as synced.
                for segment in self.segments.drain(i + 1..) {
                    report.bytes_cut += segment.size;
                    report.segments_removed += 1;
                    remove_segment(&self.dir, segment.base_offset)?;
                }
            }
            i += 1;
        }
        let sealed = self.segments.len().saturating_sub(1);
        for segment in self.segments.get_mut(first..sealed).unwrap_or_default() {
            match segment.seal_indexes() {
                // In memory they serve as well, and a full disk must not keep the log from starting.
                Err(error) if !error.is_no_space() => return Err(error),
                _ => {}
            }
        }
        self.next_offset = next_offset;
        report.synced_offsets_lost = (recovery_point - next_offset).max(0);
        let found = self.segments.get(first..).unwrap_or_default();
        for segment in found.iter().filter(|segment| segment.size > 0) {
            // What was found is in the file, but who knows since when: the next sync covers it.
            let file = Arc::clone(segment.file()?);
            self.syncer.writes_to(file, segment.path(), true);
        }
        Ok(report)
    }

    /// Scans one segment from the recovery point on and cuts it behind its last whole batch. Returns its
    /// end offset, and what was cut.
    fn recover_segment(
        &mut self,
        i: usize,
        recovery_point: i64,
        buffer: &mut Vec<u8>,
        report: &mut RecoveryReport,
    ) -> Result<(i64, Rest), StorageError> {
        let Some(segment) = self.segments.get_mut(i) else {
            return Ok((0, Rest::None));
        };
        let path = segment.path();
        let file_size = segment.size;
        let file = Arc::clone(segment.file()?);
        let position = segment.resume_at(recovery_point)?;
        let (mut end_offset, mut end) = self.scan_segment(i, position, file_size, buffer)?;
        if end == position && position > 0 {
            // What the index names is damaged: from the front, then, to keep what is sound before it.
            if let Some(segment) = self.segments.get_mut(i) {
                segment.begin_rebuild()?;
            }
            (end_offset, end) = self.scan_segment(i, 0, file_size, buffer)?;
            report.bytes_scanned += end;
        }
        report.bytes_scanned += end.saturating_sub(position);
        refuse_old_format(&file, &path, end, file_size)?;
        if end == file_size {
            return Ok((end_offset, Rest::None));
        }
        let zeros = is_zero(&file, end, file_size);
        let zeros = zeros.map_err(|e| StorageError::io("read", &path, e))?;
        if let Some(segment) = self.segments.get(i) {
            segment.cut(end)?;
        }
        if zeros {
            return Ok((end_offset, Rest::Zeros));
        }
        report.bytes_cut += file_size - end;
        Ok((end_offset, Rest::Damage))
    }

    /// Notes the whole batches from `position` on. Returns the offset and the position behind the last.
    fn scan_segment(
        &mut self,
        i: usize,
        position: u64,
        file_size: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<(i64, u64), StorageError> {
        let interval = self.config.index_interval_bytes;
        let Some(segment) = self.segments.get_mut(i) else {
            return Ok((0, 0));
        };
        let path = segment.path();
        let file = Arc::clone(segment.file()?);
        let mut end_offset = segment.base_offset;
        let mut scan = Scan::new(&file, position, file_size, buffer);
        segment.size = position;
        loop {
            let found = scan.next(end_offset);
            let found = found.map_err(|e| StorageError::io("read", &path, e))?;
            let Some((head, _)) = found else { break };
            segment.write_due_entries()?;
            segment.note(&head, interval)?;
            end_offset = head.last_offset() + 1;
            let epoch = LeaderEpoch(head.leader_epoch);
            if self.epochs.latest().is_none_or(|latest| latest < epoch) {
                self.epochs.assign(epoch, head.base_offset);
            }
        }
        Ok((end_offset, scan.position))
    }

    /// The producers' state at the log's end: the newest sound snapshot, and a replay of what follows.
    pub(crate) fn rebuild_producers(&mut self) -> Result<(), StorageError> {
        self.producers.clear();
        let mut offsets = self.snapshot_offsets()?;
        offsets.sort_unstable();
        let mut from = self.log_start;
        self.snapshot_offset = None;
        while let Some(offset) = offsets.pop() {
            let path = names::segment_file(&self.dir, offset, names::SNAPSHOT);
            if offset > self.next_offset {
                // Knows more than the log holds (KAFKA-6683's other side).
                super::durable::remove(&path)?;
            } else if let Some(producers) = snapshot::read(&path)? {
                self.producers = producers;
                self.snapshot_offset = Some(offset);
                from = from.max(offset);
                break;
            } else {
                super::durable::remove(&path)?;
            }
        }
        self.replay_producers(from)
    }

    fn replay_producers(&mut self, from: i64) -> Result<(), StorageError> {
        if from >= self.next_offset {
            return Ok(());
        }
        for segment in self
            .segments
            .get(self.segment_of(from)..)
            .unwrap_or_default()
        {
            let Some(start) = segment.locate(from)? else {
                continue;
            };
            let mut heads = segment.heads(start.position)?;
            while let Some(placed) = heads.next()? {
                let head = placed.head;
                let marker = if head.is_control() {
                    let mut batch = vec![0; head.size];
                    segment
                        .file()?
                        .read_exact_at(&mut batch, placed.position)
                        .map_err(|e| StorageError::io("read", &segment.path(), e))?;
                    marker(&head, &batch)
                } else {
                    None
                };
                self.producers.note(&head, marker);
            }
        }
        Ok(())
    }

    fn snapshot_offsets(&self) -> Result<Vec<i64>, StorageError> {
        let entries =
            std::fs::read_dir(&self.dir).map_err(|e| StorageError::io("list", &self.dir, e))?;
        let mut offsets = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| StorageError::io("list", &self.dir, e))?;
            if let Some((offset, names::SNAPSHOT)) = entry
                .file_name()
                .to_str()
                .and_then(names::parse_segment_file)
            {
                offsets.push(offset);
            }
        }
        Ok(offsets)
    }
}

/// A sound message of format v0 or v1 where a batch should start: the folder is older than Kafka 0.11, and
/// cutting there would throw away good records.
fn refuse_old_format(
    file: &File,
    path: &std::path::Path,
    at: u64,
    end: u64,
) -> Result<(), StorageError> {
    const MESSAGE_BYTES_MAX: usize = 16 << 20;
    let mut head = [0; 17];
    if end - at < head.len() as u64 || file.read_exact_at(&mut head, at).is_err() {
        return Ok(());
    }
    let [
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        l0,
        l1,
        l2,
        l3,
        c0,
        c1,
        c2,
        c3,
        magic,
    ] = head;
    let len = usize::try_from(i32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(0);
    let old = magic <= 1 && (14..=MESSAGE_BYTES_MAX).contains(&len) && 12 + len as u64 <= end - at;
    if !old {
        return Ok(());
    }
    let mut message = vec![0; len - 4];
    if file.read_exact_at(&mut message, at + 16).is_ok()
        && crc32fast::hash(&message) == u32::from_be_bytes([c0, c1, c2, c3])
    {
        return Err(StorageError::Corrupt {
            path: path.to_path_buf(),
            position: at,
            what: "a message of format v0 or v1, which this broker does not read",
        });
    }
    Ok(())
}

/// Whether the file holds nothing but zeros from `from` to `to`: an allocated, unused end.
fn is_zero(file: &File, from: u64, to: u64) -> std::io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    let mut at = from;
    while at < to {
        let want = usize::try_from(to - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let bytes = buffer.get_mut(..want).unwrap_or_default();
        file.read_exact_at(bytes, at)?;
        if bytes.iter().any(|b| *b != 0) {
            return Ok(false);
        }
        at += want as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
