//! Writes a batch record by record, as a producer does.

use bytes::{Bytes, BytesMut};

use crate::wire::batch::view::{put, seal};
use crate::wire::batch::{
    ATTRIBUTES_AT, BASE_OFFSET_AT, BASE_SEQUENCE_AT, BASE_TIMESTAMP_AT, BatchError, CONTROL,
    HEAD_BYTES, LAST_OFFSET_DELTA_AT, LEADER_EPOCH_AT, LENGTH_AT, LOG_APPEND_TIME,
    LOG_OVERHEAD_BYTES, MAGIC, MAGIC_AT, MAX_TIMESTAMP_AT, PRODUCER_EPOCH_AT, PRODUCER_ID_AT,
    RECORD_COUNT_AT, TRANSACTIONAL, TimestampType,
};
use crate::wire::codec::Writer;
use crate::wire::compression::{Codec, compress};

/// What is the same for all records of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Codec.
    pub codec: Codec,
    /// Level of gzip or zstd, else the codec's default.
    pub level: Option<i32>,
    /// Offset of the first record; 0 from a producer.
    pub base_offset: i64,
    /// Epoch of the leader; -1 from a producer.
    pub leader_epoch: i32,
    /// Id of an idempotent producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Whether the batch belongs to a transaction.
    pub transactional: bool,
    /// Whether the batch holds a marker.
    pub control: bool,
    /// Who sets the timestamps.
    pub timestamp_type: TimestampType,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            codec: Codec::None,
            level: None,
            base_offset: 0,
            leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            transactional: false,
            control: false,
            timestamp_type: TimestampType::CreateTime,
        }
    }
}

/// A batch in the making.
#[derive(Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    /// Head, still zero, and the records so far, not compressed.
    writer: Writer,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new(options: BatchOptions) -> Self {
        Self {
            options,
            writer: Writer::from(BytesMut::zeroed(HEAD_BYTES)),
            count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
        }
    }

    /// Number of records so far.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far, head included, before compression.
    #[must_use]
    pub fn size(&self) -> usize {
        self.writer.len()
    }

    /// Upper bound of what a record with these parts adds, whatever its place in the batch.
    #[must_use]
    pub fn record_size_max(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> usize {
        // Length 5, attributes 1, timestamp 10, offset 5, key 5, value 5, header count 5.
        let mut size = 36 + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        for (name, value) in headers {
            size += 10 + name.len() + value.map_or(0, <[u8]>::len);
        }
        size
    }

    /// Appends a record. A batch that refused one is still good.
    pub fn append(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Result<(), BatchError> {
        let most = Self::record_size_max(key, value, headers);
        let fits = i32::try_from(self.size().saturating_add(most)).is_ok();
        if !fits || self.count == i32::MAX {
            return Err(BatchError::Full);
        }
        if self.is_empty() {
            (self.base_timestamp, self.max_timestamp) = (timestamp_ms, timestamp_ms);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        let delta = timestamp_ms.wrapping_sub(self.base_timestamp);

        let length = 1
            + varlong_size(delta)
            + varlong_size(i64::from(self.count))
            + part_size(key)
            + part_size(value)
            + varlong_size(signed(headers.len()))
            + headers
                .iter()
                .map(|(name, value)| part_size(Some(name.as_bytes())) + part_size(*value))
                .sum::<usize>();
        let writer = &mut self.writer;
        writer.varlong(signed(length));
        writer.i8(0);
        writer.varlong(delta);
        writer.varint(self.count);
        part(writer, key);
        part(writer, value);
        writer.varlong(signed(headers.len()));
        for (name, value) in headers {
            part(writer, Some(name.as_bytes()));
            part(writer, *value);
        }
        self.count += 1;
        Ok(())
    }

    /// The whole batch with its checksum.
    pub fn build(self) -> Result<Bytes, BatchError> {
        let mut batch = self.writer.finish_mut().map_err(|_| BatchError::Full)?;
        let options = &self.options;
        if options.codec != Codec::None {
            let body = batch.split_off(HEAD_BYTES);
            let packed = compress(options.codec, &body, options.level)?;
            batch.extend_from_slice(&packed);
        }
        let length =
            i32::try_from(batch.len() - LOG_OVERHEAD_BYTES).map_err(|_| BatchError::Full)?;
        let mut attributes = options.codec.attributes();
        for (set, bit) in [
            (
                options.timestamp_type == TimestampType::LogAppendTime,
                LOG_APPEND_TIME,
            ),
            (options.transactional, TRANSACTIONAL),
            (options.control, CONTROL),
        ] {
            attributes |= if set { bit } else { 0 };
        }
        put(
            &mut batch,
            BASE_OFFSET_AT,
            options.base_offset.to_be_bytes(),
        );
        put(&mut batch, LENGTH_AT, length.to_be_bytes());
        put(
            &mut batch,
            LEADER_EPOCH_AT,
            options.leader_epoch.to_be_bytes(),
        );
        put(&mut batch, MAGIC_AT, MAGIC.to_be_bytes());
        put(&mut batch, ATTRIBUTES_AT, attributes.to_be_bytes());
        put(
            &mut batch,
            LAST_OFFSET_DELTA_AT,
            (self.count - 1).to_be_bytes(),
        );
        put(
            &mut batch,
            BASE_TIMESTAMP_AT,
            self.base_timestamp.to_be_bytes(),
        );
        put(
            &mut batch,
            MAX_TIMESTAMP_AT,
            self.max_timestamp.to_be_bytes(),
        );
        put(
            &mut batch,
            PRODUCER_ID_AT,
            options.producer_id.to_be_bytes(),
        );
        put(
            &mut batch,
            PRODUCER_EPOCH_AT,
            options.producer_epoch.to_be_bytes(),
        );
        put(
            &mut batch,
            BASE_SEQUENCE_AT,
            options.base_sequence.to_be_bytes(),
        );
        put(&mut batch, RECORD_COUNT_AT, self.count.to_be_bytes());
        seal(&mut batch);
        Ok(batch.freeze())
    }
}

/// A count that was checked against 31 bits.
fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn part(writer: &mut Writer, bytes: Option<&[u8]>) {
    writer.varlong(bytes.map_or(-1, |bytes| signed(bytes.len())));
    writer.raw(bytes.unwrap_or_default());
}

fn part_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varlong_size(signed(bytes.len())) + bytes.len())
}

/// Bytes of a zigzag number; one of 32 bits has the same bytes.
fn varlong_size(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let bits = (u64::BITS - zigzag.leading_zeros()).max(1);
    usize::try_from(bits.div_ceil(7)).unwrap_or(10)
}
