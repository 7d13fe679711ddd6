//! A record as the application gets it, and how it is cut out of a batch.
//!
//! Batches are decoded when their records are handed out, a few records at a time: what waits in
//! the buffer is as small as it came, however well it was compressed.

use std::borrow::Cow;

use bytes::Bytes;
use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};

use crate::producer::Header;
use crate::wire::batch::{BatchError, BatchView};

/// Largest batch after decompression: the reader's own bound, whatever the broker allows.
const DECOMPRESSED_BYTES_MAX: usize = 100 << 20;

/// One record out of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Topic.
    pub topic: TopicName,
    /// Partition.
    pub partition: PartitionIndex,
    /// Offset within the partition.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Key, unless null.
    pub key: Option<Bytes>,
    /// Value, unless null.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<Header>,
}

/// A place within fetched bytes: whole batches, of which the first may be half read.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// Batches that were not begun.
    rest: Bytes,
    open: Option<OpenBatch>,
    /// Leader epoch of the batch that was begun last.
    epoch: Option<i32>,
}

/// A batch that is being read.
#[derive(Debug)]
struct OpenBatch {
    /// The batch as it came.
    bytes: Bytes,
    /// Its records without compression, from the next one on.
    body: Bytes,
    left: i32,
    next_offset: i64,
}

impl Cursor {
    pub(crate) fn new(batches: Bytes) -> Self {
        Self {
            rest: batches,
            open: None,
            epoch: None,
        }
    }

    /// Leader epoch of what was read last; -1 where the batch has none.
    pub(crate) fn epoch(&self) -> Option<i32> {
        self.epoch
    }

    pub(crate) fn is_done(&self) -> bool {
        self.open.is_none() && self.rest.is_empty()
    }

    /// Reads up to `max` records from offset `*position` on into `into`, and moves the position
    /// behind them. After an error the cursor is of no more use.
    pub(crate) fn read(
        &mut self,
        target: &TopicPartition,
        position: &mut i64,
        max: usize,
        into: &mut Vec<ConsumerRecord>,
    ) -> Result<(), BatchError> {
        let mut left = max;
        while left > 0 {
            if self.open.is_none() {
                if self.rest.is_empty() {
                    return Ok(());
                }
                self.open_next(position)?;
            }
            let Some(open) = &mut self.open else {
                continue;
            };
            open.read(target, position, &mut left, into)?;
            if open.left == 0 {
                *position = open.next_offset.max(*position);
                self.open = None;
            }
        }
        Ok(())
    }

    fn open_next(&mut self, position: &mut i64) -> Result<(), BatchError> {
        let view = BatchView::parse(&self.rest)?;
        let size = view.bytes().len();
        view.check_crc()?;
        self.epoch = Some(view.leader_epoch());
        if view.is_control() {
            // Markers of transactions are no records of anyone.
            *position = view.next_offset().max(*position);
        } else {
            let body = match view.decompress(DECOMPRESSED_BYTES_MAX)? {
                Cow::Borrowed(body) => self.rest.slice_ref(body),
                Cow::Owned(body) => Bytes::from(body),
            };
            let (left, found) = (view.record_count(), 0);
            if left < 0 || (left == 0 && !body.is_empty()) {
                let announced = left;
                return Err(BatchError::RecordCount { announced, found });
            }
            self.open = Some(OpenBatch {
                bytes: self.rest.slice(..size),
                next_offset: view.next_offset(),
                body,
                left,
            });
        }
        self.rest = self.rest.slice(size..);
        Ok(())
    }
}

impl OpenBatch {
    fn read(
        &mut self,
        target: &TopicPartition,
        position: &mut i64,
        left: &mut usize,
        into: &mut Vec<ConsumerRecord>,
    ) -> Result<(), BatchError> {
        let view = BatchView::parse(&self.bytes)?;
        let mut records = view.records(&self.body);
        while self.left > 0 && *left > 0 {
            let Some(record) = records.next() else {
                let announced = view.record_count();
                let found = announced.saturating_sub(self.left);
                return Err(BatchError::RecordCount { announced, found });
            };
            let record = record?;
            self.left -= 1;
            // Offsets ascend and stay within the batch, or the batch lies about them.
            let (at, delta) = (view.record_count() - self.left, record.offset_delta);
            if delta < 0 || record.offset >= self.next_offset {
                return Err(BatchError::OffsetDelta { at, delta });
            }
            // A compressed batch is fetched whole: what lies before the position was read before.
            if record.offset < *position {
                continue;
            }
            let cut = |part: &[u8]| self.body.slice_ref(part);
            into.push(ConsumerRecord {
                topic: target.topic.clone(),
                partition: target.partition,
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: record.key.map(cut),
                value: record.value.map(cut),
                headers: record
                    .headers
                    .map(|h| Header {
                        key: h.name().into_owned(),
                        value: h.value.map(cut),
                    })
                    .collect(),
            });
            *position = record.offset + 1;
            *left -= 1;
        }
        let rest = self.body.slice_ref(records.rest());
        if self.left == 0 && !rest.is_empty() {
            let announced = view.record_count();
            let found = announced.saturating_add(1);
            return Err(BatchError::RecordCount { announced, found });
        }
        self.body = rest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::batch::{BatchBuilder, BatchOptions};
    use crate::wire::compression::Codec;

    fn target() -> TopicPartition {
        TopicPartition {
            topic: TopicName::new("t").expect("legal"),
            partition: PartitionIndex(0),
        }
    }

    fn batch(codec: Codec, base_offset: i64, values: &[&str]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchOptions {
            codec,
            base_offset,
            ..BatchOptions::default()
        });
        for value in values {
            let headers: &[(&str, Option<&[u8]>)] = &[("h", Some(b"1")), ("n", None)];
            builder
                .append(7, None, Some(value.as_bytes()), headers)
                .expect("room");
        }
        builder.build().expect("small").to_vec()
    }

    fn read(cursor: &mut Cursor, position: &mut i64, max: usize) -> Vec<(i64, String)> {
        let mut records = Vec::new();
        cursor
            .read(&target(), position, max, &mut records)
            .expect("whole");
        let text = |b: &Bytes| String::from_utf8_lossy(b).into_owned();
        let pair = |r: ConsumerRecord| (r.offset, r.value.as_ref().map(text).unwrap_or_default());
        records.into_iter().map(pair).collect()
    }

    #[test]
    fn batches_are_read_a_few_records_at_a_time_in_every_codec() {
        for codec in [
            Codec::None,
            Codec::Gzip,
            Codec::Snappy,
            Codec::Lz4,
            Codec::Zstd,
        ] {
            let mut bytes = batch(codec, 10, &["a", "b", "c"]);
            bytes.extend(batch(codec, 20, &["d"]));
            let (mut cursor, mut position) = (Cursor::new(bytes.into()), 11);
            assert_eq!(read(&mut cursor, &mut position, 1), [(11, "b".to_owned())]);
            assert_eq!((position, cursor.is_done()), (12, false));
            let rest = read(&mut cursor, &mut position, 9);
            assert_eq!(rest, [(12, "c".to_owned()), (20, "d".to_owned())]);
            assert_eq!((position, cursor.is_done()), (21, true));
        }
    }

    #[test]
    fn a_flipped_bit_is_found_wherever_it_is() {
        let good = batch(Codec::Zstd, 0, &["aaaa", "bbbb"]);
        for at in 12..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let (mut position, mut records) = (0, Vec::new());
            let read = Cursor::new(bad.into()).read(&target(), &mut position, 9, &mut records);
            // The leader epoch is the broker's, and outside of the checksum.
            assert_eq!(read.is_err(), at >= 16, "byte {at}");
        }
    }

    #[test]
    fn a_batch_that_lies_about_its_records_is_refused() {
        let crc = |bytes: &mut Vec<u8>| {
            let sum = crate::wire::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&sum.to_be_bytes());
        };
        for count in [-1_i32, 0, 1, 3, i32::MAX] {
            let mut bytes = batch(Codec::None, 0, &["a", "b"]);
            bytes[57..61].copy_from_slice(&count.to_be_bytes());
            crc(&mut bytes);
            let (mut position, mut records) = (0, Vec::new());
            let read = Cursor::new(bytes.into()).read(&target(), &mut position, 99, &mut records);
            assert!(read.is_err(), "{count}");
        }
    }
}
