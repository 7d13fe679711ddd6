//! Record batches of format 2, as they lie on the wire and in the log.
//!
//! ```text
//!  0 base offset i64        | 8 length i32 (of what follows)     | 12 leader epoch i32
//! 16 magic i8 = 2           | 17 crc u32 (CRC32C of 21..)        | 21 attributes i16
//! 23 last offset delta i32  | 27 base timestamp i64              | 35 max timestamp i64
//! 43 producer id i64        | 51 producer epoch i16              | 53 base sequence i32
//! 57 record count i32       | 61 records, compressed as a whole
//!
//! attributes: 0-2 codec | 3 log append time | 4 transactional | 5 control | 6 delete horizon set
//! ```
//! [`BatchHead`] reads the 61 bytes, [`BatchView`] a whole batch, [`BatchBuilder`] writes one.
//! Base offset and leader epoch lie in front of what the checksum covers: a broker stamps them.
//! Message sets of format 0 and 1 are recognised and refused.

#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod builder;
mod head;
mod records;
mod view;

pub use builder::{BatchBuilder, BatchOptions};
pub use head::{BatchHead, TimestampType};
pub use records::{ControlType, Header, Headers, Record, Records, RecordsSummary};
pub use view::{BatchView, Batches, stamp, stamp_log_append_time};

use crate::wire::compression::CompressionError;

/// Bytes of a batch before its records.
pub const HEAD_BYTES: usize = 61;
/// Base offset and length: what the length does not count.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// The only format that is written and read.
pub const MAGIC: i8 = 2;

/// Position of the base offset.
pub const BASE_OFFSET_AT: usize = 0;
/// Position of the length.
pub const LENGTH_AT: usize = 8;
/// Position of the leader epoch.
pub const LEADER_EPOCH_AT: usize = 12;
/// Position of the magic byte, in every format.
pub const MAGIC_AT: usize = 16;
/// Position of the checksum.
pub const CRC_AT: usize = 17;
/// Position of the attributes, where the checksum starts to cover.
pub const ATTRIBUTES_AT: usize = 21;
/// Position of the last offset, relative to the base offset.
pub const LAST_OFFSET_DELTA_AT: usize = 23;
/// Position of the base timestamp.
pub const BASE_TIMESTAMP_AT: usize = 27;
/// Position of the largest timestamp.
pub const MAX_TIMESTAMP_AT: usize = 35;
/// Position of the producer id.
pub const PRODUCER_ID_AT: usize = 43;
/// Position of the producer epoch.
pub const PRODUCER_EPOCH_AT: usize = 51;
/// Position of the first record's sequence number.
pub const BASE_SEQUENCE_AT: usize = 53;
/// Position of the number of records.
pub const RECORD_COUNT_AT: usize = 57;

/// Attribute: the timestamps were set by the broker (`LogAppendTime`).
pub const LOG_APPEND_TIME: i16 = 0x08;
/// Attribute: part of a transaction.
pub const TRANSACTIONAL: i16 = 0x10;
/// Attribute: holds a marker, no records of a user.
pub const CONTROL: i16 = 0x20;
/// Attribute: the base timestamp is a delete horizon (KIP-534).
pub const DELETE_HORIZON: i16 = 0x40;

/// Why bytes are no batch, or a batch no good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("batch needs {needed} bytes, {left} are there")]
    Truncated {
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// The length is below that of an empty batch.
    #[error("batch length {0} is less than that of an empty batch")]
    Length(i32),
    /// Another format.
    #[error("batch has format {0}, only format {MAGIC} is supported")]
    Magic(i8),
    /// The checksum does not match.
    #[error("batch has checksum {stored:08x}, its bytes give {computed:08x}")]
    Crc {
        /// As sent.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// The records cannot be decompressed, or too large.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// The head announces a number of records that the batch does not have.
    #[error("batch announces {announced} records and has {found}")]
    RecordCount {
        /// As announced.
        announced: i32,
        /// As found, counted up to one beyond what was announced.
        found: i32,
    },
    /// A record is malformed.
    #[error("record {0} of the batch is malformed")]
    Record(i32),
    /// Offsets of records do not count up by one from the base offset.
    #[error("record {at} of the batch has offset delta {delta}")]
    OffsetDelta {
        /// Position of the record.
        at: i32,
        /// Its offset delta.
        delta: i32,
    },
    /// A batch cannot hold more.
    #[error("batch would exceed 2^31 - 1 bytes or records")]
    Full,
}

#[cfg(test)]
mod tests;
