//! What a producer's batch must be before it may enter a log. Pure: bytes and settings in, the
//! batch or a refusal out.
//!
//! As in Kafka every record is looked at, also in compressed batches: what is let in here is what
//! every consumer must be able to read. Decompression is bounded, whatever the batch claims.

use std::borrow::Cow;

use nyala_client::wire::batch::{
    ATTRIBUTES_AT, BatchError, BatchView, CRC_AT, HEAD_BYTES, LENGTH_AT, LOG_OVERHEAD_BYTES,
    MAX_TIMESTAMP_AT,
};
use nyala_client::wire::compression::{Codec, compress};
use nyala_client::wire::crc32c;

use crate::replication::{PartitionConfig, TimestampType};

/// A batch may always hold this much once decompressed ...
const DECOMPRESSED_BYTES_FLOOR: usize = 8 << 20;
/// ... and this many times its own size, up to the ceiling.
const DECOMPRESSED_RATIO_MAX: usize = 128;
/// No batch holds more than this.
const DECOMPRESSED_BYTES_MAX: usize = 100 << 20;
/// First version of Produce that may carry zstd (KIP-110).
const ZSTD_FROM_VERSION: i16 = 7;
/// A batch with a timestamp of -1 has none.
const NO_TIMESTAMP: i64 = -1;

/// Why a batch is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchRefusal {
    /// No records at all.
    #[error("produce requests must have at least one record batch")]
    Empty,
    /// More than one batch.
    #[error("produce requests must have exactly one record batch a partition")]
    SeveralBatches,
    /// zstd in a version that does not know it.
    #[error("produce requests below version {ZSTD_FROM_VERSION} must not use zstd compression")]
    ZstdTooEarly,
    /// A marker.
    #[error("clients are not allowed to write control records")]
    Control,
    /// Part of a transaction, which this broker cannot begin.
    #[error("transactional batch of producer {producer_id}, which has no transaction here")]
    NoTransaction {
        /// Id of the producer.
        producer_id: i64,
    },
    /// Producer id, epoch and sequence contradict one another.
    #[error(
        "invalid producer: id {producer_id}, epoch {producer_epoch}, first sequence {sequence}, \
         transactional {transactional}"
    )]
    Producer {
        /// Id of the producer.
        producer_id: i64,
        /// Its epoch.
        producer_epoch: i16,
        /// Sequence of the first record.
        sequence: i32,
        /// Whether the batch says that it belongs to a transaction.
        transactional: bool,
    },
    /// Larger than `max.message.bytes`.
    #[error("batch of {bytes} bytes, max.message.bytes is {limit}")]
    TooLarge {
        /// Size of the batch.
        bytes: usize,
        /// `max.message.bytes`.
        limit: usize,
    },
    /// The offsets that it spans do not fit the number of its records.
    #[error("last offset delta {last_offset_delta} does not fit {count} records")]
    OffsetSpan {
        /// As announced.
        last_offset_delta: i32,
        /// As announced.
        count: i32,
    },
    /// A timestamp too far from now.
    #[error(
        "timestamp {timestamp_ms} of record {record} is out of range: {earliest_ms} to {latest_ms}"
    )]
    Timestamp {
        /// Position of the record.
        record: i32,
        /// Its timestamp.
        timestamp_ms: i64,
        /// Bound by `message.timestamp.before.max.ms`.
        earliest_ms: i64,
        /// Bound by `message.timestamp.after.max.ms`.
        latest_ms: i64,
    },
    /// A record without key where the topic is compacted.
    #[error("compacted topic cannot accept message without key in record {record}")]
    NoKey {
        /// Position of the record.
        record: i32,
    },
    /// Not a batch, or its records are not what the head says.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// Checks the records of one partition of a produce request of `version`.
///
/// Gives the batch to append: the bytes as they came, or a copy where the topic wants another codec
/// or the head lied about the largest timestamp.
pub(crate) fn check<'a>(
    records: &'a [u8],
    version: i16,
    config: &PartitionConfig,
    now_ms: i64,
) -> Result<Cow<'a, [u8]>, BatchRefusal> {
    if records.is_empty() {
        return Err(BatchRefusal::Empty);
    }
    let batch = BatchView::parse(records)?;
    let codec = check_head(&batch, records.len(), version, config)?;
    batch.check_crc()?;

    let packed = batch.body().len();
    let bound = packed
        .saturating_mul(DECOMPRESSED_RATIO_MAX)
        .clamp(DECOMPRESSED_BYTES_FLOOR, DECOMPRESSED_BYTES_MAX);
    let body = batch.decompress(bound)?;
    let summary = batch.check_records(&body)?;
    check_each_record(&batch, &body, config, now_ms)?;

    let target = config.compression.unwrap_or(codec);
    let by_producer = config.timestamp_type == TimestampType::CreateTime;
    let lies = by_producer && summary.max_timestamp_ms != batch.max_timestamp();
    if target == codec && !lies {
        return Ok(Cow::Borrowed(batch.bytes()));
    }
    let max_timestamp = if lies {
        summary.max_timestamp_ms
    } else {
        batch.max_timestamp()
    };
    let rebuilt = if target == codec {
        assemble(&batch, batch.body(), codec, max_timestamp)
    } else {
        let body = compress(target, &body, None).map_err(BatchError::from)?;
        assemble(&batch, &body, target, max_timestamp)
    };
    if rebuilt.len() > config.max_message_bytes {
        return Err(BatchRefusal::TooLarge {
            bytes: rebuilt.len(),
            limit: config.max_message_bytes,
        });
    }
    Ok(Cow::Owned(rebuilt))
}

/// What the 61 bytes alone tell.
fn check_head(
    batch: &BatchView<'_>,
    bytes: usize,
    version: i16,
    config: &PartitionConfig,
) -> Result<Codec, BatchRefusal> {
    if bytes > batch.size() {
        return Err(BatchRefusal::SeveralBatches);
    }
    if batch.size() > config.max_message_bytes {
        return Err(BatchRefusal::TooLarge {
            bytes: batch.size(),
            limit: config.max_message_bytes,
        });
    }
    let codec = batch.codec().map_err(BatchError::from)?;
    if codec == Codec::Zstd && version < ZSTD_FROM_VERSION {
        return Err(BatchRefusal::ZstdTooEarly);
    }
    if batch.is_control() {
        return Err(BatchRefusal::Control);
    }
    let (producer_id, sequence) = (batch.producer_id(), batch.base_sequence());
    let idempotent = producer_id >= 0;
    let transactional = batch.is_transactional();
    let producer_epoch = batch.producer_epoch();
    if transactional && !idempotent || idempotent && (sequence < 0 || producer_epoch < 0) {
        return Err(BatchRefusal::Producer {
            producer_id,
            producer_epoch,
            sequence,
            transactional,
        });
    }
    if transactional {
        return Err(BatchRefusal::NoTransaction { producer_id });
    }
    let (count, last) = (batch.record_count(), batch.last_offset_delta());
    if count < 1 || last != count - 1 {
        return Err(BatchRefusal::OffsetSpan {
            last_offset_delta: last,
            count,
        });
    }
    Ok(codec)
}

/// What only some topics ask of each record.
fn check_each_record(
    batch: &BatchView<'_>,
    body: &[u8],
    config: &PartitionConfig,
    now_ms: i64,
) -> Result<(), BatchRefusal> {
    let bounded = config.timestamp_type == TimestampType::CreateTime
        && (config.timestamp_before_max_ms != i64::MAX
            || config.timestamp_after_max_ms != i64::MAX);
    if !bounded && !config.compact {
        return Ok(());
    }
    let earliest_ms = now_ms.saturating_sub(config.timestamp_before_max_ms);
    let latest_ms = now_ms.saturating_add(config.timestamp_after_max_ms);
    for (record, position) in batch.records(body).zip(0..) {
        let record = record?;
        if config.compact && record.key.is_none() {
            return Err(BatchRefusal::NoKey { record: position });
        }
        let timestamp_ms = record.timestamp_ms;
        let inside = (earliest_ms..=latest_ms).contains(&timestamp_ms);
        if bounded && timestamp_ms != NO_TIMESTAMP && !inside {
            return Err(BatchRefusal::Timestamp {
                record: position,
                timestamp_ms,
                earliest_ms,
                latest_ms,
            });
        }
    }
    Ok(())
}

/// The batch with another body, codec and largest timestamp.
fn assemble(batch: &BatchView<'_>, body: &[u8], codec: Codec, max_timestamp: i64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
    bytes.extend_from_slice(batch.bytes().get(..HEAD_BYTES).unwrap_or_default());
    bytes.extend_from_slice(body);
    let length = i32::try_from(bytes.len() - LOG_OVERHEAD_BYTES).unwrap_or(i32::MAX);
    let attributes = (batch.attributes() & !7) | codec.attributes();
    put(&mut bytes, LENGTH_AT, length.to_be_bytes());
    put(&mut bytes, ATTRIBUTES_AT, attributes.to_be_bytes());
    put(&mut bytes, MAX_TIMESTAMP_AT, max_timestamp.to_be_bytes());
    let crc = crc32c(bytes.get(ATTRIBUTES_AT..).unwrap_or_default());
    put(&mut bytes, CRC_AT, crc.to_be_bytes());
    bytes
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..at + N) {
        place.copy_from_slice(&value);
    }
}

impl BatchRefusal {
    /// Position of the record that is at fault, where one is (KIP-467).
    pub(crate) fn record(&self) -> Option<i32> {
        match self {
            Self::Timestamp { record, .. } | Self::NoKey { record } => Some(*record),
            Self::Batch(BatchError::Record(record)) => Some(*record),
            Self::Batch(BatchError::OffsetDelta { at, .. }) => Some(*at),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
