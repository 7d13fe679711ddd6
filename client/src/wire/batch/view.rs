//! One whole batch in place, and a walk over several.

use std::borrow::Cow;
use std::ops::Deref;

use crate::wire::batch::{
    ATTRIBUTES_AT, BASE_OFFSET_AT, BatchError, BatchHead, CRC_AT, HEAD_BYTES, LEADER_EPOCH_AT,
    LOG_APPEND_TIME, MAX_TIMESTAMP_AT, Records, RecordsSummary,
};
use crate::wire::compression::{Codec, decompress};
use crate::wire::crc32c;

/// A whole batch: format and length are checked, checksum and records are not yet.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    head: BatchHead<'a>,
    bytes: &'a [u8],
}

impl<'a> Deref for BatchView<'a> {
    type Target = BatchHead<'a>;

    fn deref(&self) -> &BatchHead<'a> {
        &self.head
    }
}

impl<'a> BatchView<'a> {
    /// Looks at the batch that `bytes` start with; more bytes may follow.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let head = BatchHead::parse(bytes)?;
        let bytes = bytes
            .get(..head.size())
            .ok_or_else(|| BatchError::Truncated {
                needed: head.size(),
                left: bytes.len(),
            })?;
        Ok(Self { head, bytes })
    }

    /// The batch as it lies.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records as they lie, compressed or not.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(HEAD_BYTES..).unwrap_or_default()
    }

    /// Compares the checksum with the bytes.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let covered = self.bytes.get(ATTRIBUTES_AT..).unwrap_or_default();
        let (stored, computed) = (self.crc(), crc32c(covered));
        if stored != computed {
            return Err(BatchError::Crc { stored, computed });
        }
        Ok(())
    }

    /// Whether the checksum matches.
    #[must_use]
    pub fn crc_ok(&self) -> bool {
        self.check_crc().is_ok()
    }

    /// The records without compression: borrowed where there was none, at most `bound` bytes else.
    pub fn decompress(&self, bound: usize) -> Result<Cow<'a, [u8]>, BatchError> {
        match self.codec()? {
            Codec::None => Ok(Cow::Borrowed(self.body())),
            codec => Ok(Cow::Owned(decompress(codec, self.body(), bound)?)),
        }
    }

    /// Walks over the records in `body`, which [`BatchView::decompress`] gave.
    #[must_use]
    pub fn records<'b>(&self, body: &'b [u8]) -> Records<'b> {
        Records::new(&self.head, body)
    }

    /// Looks at every record in `body`: as many as announced, well formed, offsets dense.
    pub fn check_records(&self, body: &[u8]) -> Result<RecordsSummary, BatchError> {
        self.records(body).check()
    }
}

/// Walks over batches that lie one behind the other; ends after the first fault.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// Walks over `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been walked over; after the end, a batch that is not whole, or nothing.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = BatchView::parse(self.rest);
        self.rest = match &batch {
            Ok(batch) => self.rest.get(batch.size()..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(batch)
    }
}

/// Writes base offset and leader epoch into a batch, which no checksum covers.
pub fn stamp(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    put(batch, BASE_OFFSET_AT, base_offset.to_be_bytes());
    put(batch, LEADER_EPOCH_AT, leader_epoch.to_be_bytes());
}

/// Makes a batch one of `LogAppendTime`: attribute, largest timestamp and checksum.
pub fn stamp_log_append_time(batch: &mut [u8], now_ms: i64) {
    let at = ATTRIBUTES_AT..ATTRIBUTES_AT + 2;
    let Some(&[high, low]) = batch.get(at) else {
        return;
    };
    let attributes = i16::from_be_bytes([high, low]) | LOG_APPEND_TIME;
    put(batch, ATTRIBUTES_AT, attributes.to_be_bytes());
    put(batch, MAX_TIMESTAMP_AT, now_ms.to_be_bytes());
    seal(batch);
}

/// Computes and writes the checksum of a whole batch.
pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc32c(batch.get(ATTRIBUTES_AT..).unwrap_or_default());
    put(batch, CRC_AT, crc.to_be_bytes());
}

/// Writes `value` at `at`; a batch too short for it stays as it is.
pub(super) fn put<const N: usize>(batch: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = batch.get_mut(at..at + N) {
        place.copy_from_slice(&value);
    }
}
