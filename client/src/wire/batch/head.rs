//! The 61 bytes in front of the records: every field by name, nothing copied.

use crate::wire::batch::{
    ATTRIBUTES_AT, BASE_OFFSET_AT, BASE_SEQUENCE_AT, BASE_TIMESTAMP_AT, BatchError, CONTROL,
    CRC_AT, DELETE_HORIZON, HEAD_BYTES, LAST_OFFSET_DELTA_AT, LEADER_EPOCH_AT, LENGTH_AT,
    LOG_APPEND_TIME, LOG_OVERHEAD_BYTES, MAGIC, MAGIC_AT, MAX_TIMESTAMP_AT, PRODUCER_EPOCH_AT,
    PRODUCER_ID_AT, RECORD_COUNT_AT, TRANSACTIONAL,
};
use crate::wire::compression::{Codec, CompressionError};

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer: each record has its own.
    #[default]
    CreateTime,
    /// The broker: all records have the batch's largest timestamp.
    LogAppendTime,
}

/// The head of a batch whose format and length were checked; its checksum was not.
#[derive(Clone, Copy, Debug)]
pub struct BatchHead<'a>(&'a [u8; HEAD_BYTES]);

impl<'a> BatchHead<'a> {
    /// Looks at the head that `bytes` start with.
    ///
    /// Format comes first: an old message set may well be shorter than a head.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let [magic] = field(bytes, MAGIC_AT).ok_or(BatchError::Truncated {
            needed: HEAD_BYTES,
            left: bytes.len(),
        })?;
        let magic = i8::from_be_bytes([magic]);
        if magic != MAGIC {
            return Err(BatchError::Magic(magic));
        }
        let Some((head, _)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(BatchError::Truncated {
                needed: HEAD_BYTES,
                left: bytes.len(),
            });
        };
        let head = Self(head);
        match usize::try_from(head.length()) {
            Ok(length) if length >= HEAD_BYTES - LOG_OVERHEAD_BYTES => Ok(head),
            _ => Err(BatchError::Length(head.length())),
        }
    }

    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        field(self.0, at).expect("every field lies within the head")
    }

    /// Offset of the first record.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.get(BASE_OFFSET_AT))
    }

    /// Bytes after the length field, as sent; at least those of an empty batch.
    fn length(&self) -> i32 {
        i32::from_be_bytes(self.get(LENGTH_AT))
    }

    /// Bytes of the whole batch.
    #[must_use]
    pub fn size(&self) -> usize {
        usize::try_from(self.length()).map_or(HEAD_BYTES, |length| length + LOG_OVERHEAD_BYTES)
    }

    /// Epoch of the leader that appended the batch; -1 on the way from a producer.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.get(LEADER_EPOCH_AT))
    }

    /// Checksum as sent.
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.get(CRC_AT))
    }

    /// All attribute bits.
    #[must_use]
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.get(ATTRIBUTES_AT))
    }

    /// Codec of the records.
    pub fn codec(&self) -> Result<Codec, CompressionError> {
        Codec::from_attributes(self.attributes())
    }

    /// Who set the timestamps.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes() & LOG_APPEND_TIME {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// Whether the batch holds a marker.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// Time after which compaction may drop the tombstones and markers of the batch (KIP-534).
    #[must_use]
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes() & DELETE_HORIZON != 0).then(|| self.base_timestamp())
    }

    /// Last offset, relative to the base offset. As sent: may be negative.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.get(LAST_OFFSET_DELTA_AT))
    }

    /// Offset of the last record; wraps for nonsense, as the fields are as sent.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset()
            .wrapping_add(i64::from(self.last_offset_delta()))
    }

    /// Offset after the last record.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// Timestamp that those of the records are relative to.
    #[must_use]
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.get(BASE_TIMESTAMP_AT))
    }

    /// Largest timestamp of the records, as sent.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.get(MAX_TIMESTAMP_AT))
    }

    /// Id of an idempotent producer, or -1.
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.get(PRODUCER_ID_AT))
    }

    /// Whether an idempotent producer wrote the batch.
    #[must_use]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id() > -1
    }

    /// Epoch of that producer, or -1.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.get(PRODUCER_EPOCH_AT))
    }

    /// Sequence number of the first record, or -1.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.get(BASE_SEQUENCE_AT))
    }

    /// Sequence number of the last record: counts from 2^31 - 1 on to 0. -1 without a sequence.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        let (base, delta) = (self.base_sequence(), self.last_offset_delta());
        if base < 0 || delta < 0 {
            return -1;
        }
        // Both have 31 bits, so the sum has 32 and the mask makes it Kafka's wrap.
        (base.cast_unsigned().wrapping_add(delta.cast_unsigned()) & 0x7fff_ffff).cast_signed()
    }

    /// Number of records, as sent.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.get(RECORD_COUNT_AT))
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
