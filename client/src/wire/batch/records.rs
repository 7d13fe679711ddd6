//! The records within a batch, each read in place.
//!
//! ```text
//! length varint | attributes i8 | timestamp delta varlong | offset delta varint
//! key length varint, key | value length varint, value        (length -1: null)
//! header count varint | name length varint, name | value length varint, value | ...
//! ```
//! Headers may repeat a name; their order counts (KIP-82).

use std::borrow::Cow;

use crate::wire::batch::{BatchError, BatchHead, TimestampType};
use crate::wire::codec::{DecodeError, Reader};

/// Least bytes of a header: two lengths.
const HEADER_BYTES_MIN: usize = 2;

/// One record, borrowed from the batch.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Offset in the log.
    pub offset: i64,
    /// Timestamp, the batch's own when the broker set it.
    pub timestamp_ms: i64,
    /// Offset, relative to the base offset.
    pub offset_delta: i32,
    /// Key, unless null.
    pub key: Option<&'a [u8]>,
    /// Value, unless null.
    pub value: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: Headers<'a>,
}

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlType {
    /// The transaction was aborted.
    Abort,
    /// The transaction was committed.
    Commit,
    /// Another kind of marker.
    Other(i16),
}

impl Record<'_> {
    /// What this record of a control batch says; `None` when its key is malformed.
    #[must_use]
    pub fn control_type(&self) -> Option<ControlType> {
        let mut key = Reader::new(self.key?);
        let (version, kind) = (key.i16(), key.i16());
        if key.check().is_err() || version < 0 {
            return None;
        }
        Some(match kind {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            other => ControlType::Other(other),
        })
    }
}

/// A header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Name as sent; Kafka's clients send UTF-8.
    pub name: &'a [u8],
    /// Value, unless null.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The name as text.
    #[must_use]
    pub fn name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.name)
    }
}

/// The headers of a record, in order and with all duplicates. They were checked with the record.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    left: usize,
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader::new(self.rest);
        let header = header(&mut reader);
        self.rest = reader.rest();
        Some(header)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// What a look at every record found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordsSummary {
    /// Number of records.
    pub count: i32,
    /// Largest timestamp, -1 without records.
    pub max_timestamp_ms: i64,
    /// Offset delta of the first record with that timestamp.
    pub max_timestamp_delta: i32,
}

/// Walks over records; ends after the first fault.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    announced: i32,
    read: i32,
    base_offset: i64,
    base_timestamp: i64,
    /// Timestamp of all records when the broker set it.
    append_time: Option<i64>,
}

impl<'a> Records<'a> {
    pub(super) fn new(head: &BatchHead<'_>, body: &'a [u8]) -> Self {
        let by_broker = head.timestamp_type() == TimestampType::LogAppendTime;
        Self {
            rest: body,
            announced: head.record_count(),
            read: 0,
            base_offset: head.base_offset(),
            base_timestamp: head.base_timestamp(),
            append_time: by_broker.then(|| head.max_timestamp()),
        }
    }

    /// What has not been walked over.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads all: as many as announced and not a byte more, offsets counting up by one.
    pub(super) fn check(self) -> Result<RecordsSummary, BatchError> {
        if let Some(summary) = self.check_good() {
            return Ok(summary);
        }
        let mut summary = RecordsSummary {
            count: 0,
            max_timestamp_ms: -1,
            max_timestamp_delta: -1,
        };
        for record in self {
            let (record, at) = (record?, summary.count);
            let delta = record.offset_delta;
            if delta != at {
                return Err(BatchError::OffsetDelta { at, delta });
            }
            if record.timestamp_ms > summary.max_timestamp_ms {
                summary.max_timestamp_ms = record.timestamp_ms;
                summary.max_timestamp_delta = delta;
            }
            summary.count += 1;
        }
        Ok(summary)
    }

    /// As [`Self::check`] for records without fault, a third of its cost; `None` does not say what is
    /// wrong, nor that anything is.
    fn check_good(&self) -> Option<RecordsSummary> {
        let mut summary = RecordsSummary {
            count: 0,
            max_timestamp_ms: -1,
            max_timestamp_delta: -1,
        };
        let mut rest = self.rest;
        for at in 0..self.announced {
            let length = usize::try_from(quick::varint(&mut rest)?).ok()?;
            let (record, after) = rest.split_at_checked(length)?;
            rest = after;
            let (_attributes, mut record) = record.split_first()?;
            let delta = quick::varlong(&mut record)?;
            if quick::varint(&mut record)? != at {
                return None;
            }
            quick::skip_nullable(&mut record)?;
            quick::skip_nullable(&mut record)?;
            let headers = quick::varint(&mut record)?;
            if headers < 0 {
                return None;
            }
            for _ in 0..headers {
                quick::skip(&mut record)?;
                quick::skip_nullable(&mut record)?;
            }
            if !record.is_empty() {
                return None;
            }
            let timestamp =
                (self.append_time).unwrap_or_else(|| self.base_timestamp.wrapping_add(delta));
            if timestamp > summary.max_timestamp_ms {
                summary.max_timestamp_ms = timestamp;
                summary.max_timestamp_delta = at;
            }
            summary.count += 1;
        }
        (rest.is_empty() && self.announced >= 0).then_some(summary)
    }

    fn record(&self, reader: &mut Reader<'a>) -> Record<'a> {
        // No attribute of a record has a meaning yet.
        let _attributes = reader.i8();
        let timestamp_delta = reader.varlong();
        let offset_delta = reader.varint();
        let (key, value) = (nullable(reader), nullable(reader));
        let count = count(reader, HEADER_BYTES_MIN);
        let headers = Headers {
            left: count,
            rest: reader.rest(),
        };
        for _ in 0..count {
            header(reader);
            if reader.check().is_err() {
                break;
            }
        }
        Record {
            offset: self.base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp_ms: (self.append_time)
                .unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            offset_delta,
            key,
            value,
            headers,
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (announced, read) = (self.announced, self.read);
        if read == announced && self.rest.is_empty() {
            return None;
        }
        let mut outer = Reader::new(self.rest);
        let length = count(&mut outer, 1);
        let mut inner = Reader::new(outer.take(length));
        let record = self.record(&mut inner);
        let fault = outer.check().is_err() || inner.end().is_err();
        let left = outer.rest();
        let outcome = match (self.rest.is_empty(), read >= announced) {
            // Too few, too many (where what follows is no matter), or a negative count.
            (true, false) | (_, true) => {
                let found = read.saturating_add(i32::from(!self.rest.is_empty()));
                Err(BatchError::RecordCount { announced, found })
            }
            _ if fault => Err(BatchError::Record(read)),
            _ => Ok(record),
        };
        if outcome.is_ok() {
            (self.rest, self.read) = (left, read + 1);
        } else {
            (self.rest, self.read) = (&[], announced);
        }
        Some(outcome)
    }
}

/// A length that must not be negative, of things that take `least` bytes each.
fn count(reader: &mut Reader<'_>, least: usize) -> usize {
    let count = reader.varint();
    let left = reader.rest().len();
    match usize::try_from(count) {
        Ok(count) if count.saturating_mul(least) <= left => count,
        _ => {
            let count = i64::from(count);
            reader.fail(DecodeError::Count { count, left });
            0
        }
    }
}

fn nullable<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    match reader.varint() {
        -1 => None,
        length => match usize::try_from(length) {
            Ok(length) => Some(reader.take(length)),
            Err(_) => {
                reader.fail(DecodeError::NegativeLength(i64::from(length)));
                None
            }
        },
    }
}

fn header<'a>(reader: &mut Reader<'a>) -> Header<'a> {
    let length = count(reader, 1);
    Header {
        name: reader.take(length),
        value: nullable(reader),
    }
}

/// Numbers and lengths without a word about faults; most numbers take one byte.
mod quick {
    use crate::wire::codec::Reader;

    /// The number in the first one or two bytes, if it ends there.
    #[inline]
    fn short<'a>(rest: &mut &'a [u8]) -> Option<u16> {
        let (number, after): (u16, &'a [u8]) = match *rest {
            [byte, after @ ..] if *byte < 0x80 => (u16::from(*byte), after),
            [low, high, after @ ..] if *high < 0x80 => {
                (u16::from(*low & 0x7f) | u16::from(*high) << 7, after)
            }
            _ => return None,
        };
        *rest = after;
        Some(number)
    }

    #[inline]
    pub(super) fn varint(rest: &mut &[u8]) -> Option<i32> {
        match short(rest) {
            Some(number) => Some(i32::from(number >> 1) ^ -i32::from(number & 1)),
            None => long(rest, Reader::varint),
        }
    }

    #[inline]
    pub(super) fn varlong(rest: &mut &[u8]) -> Option<i64> {
        match short(rest) {
            Some(number) => Some(i64::from(number >> 1) ^ -i64::from(number & 1)),
            None => long(rest, Reader::varlong),
        }
    }

    fn long<'a, T>(rest: &mut &'a [u8], read: impl FnOnce(&mut Reader<'a>) -> T) -> Option<T> {
        let mut reader = Reader::new(rest);
        let value = read(&mut reader);
        reader.check().ok()?;
        *rest = reader.rest();
        Some(value)
    }

    /// A length, not negative, and so many bytes.
    #[inline]
    pub(super) fn skip(rest: &mut &[u8]) -> Option<()> {
        let length = usize::try_from(varint(rest)?).ok()?;
        *rest = rest.get(length..)?;
        Some(())
    }

    /// As [`skip`], or the length -1 and nothing.
    #[inline]
    pub(super) fn skip_nullable(rest: &mut &[u8]) -> Option<()> {
        let length = varint(rest)?;
        if length != -1 {
            *rest = rest.get(usize::try_from(length).ok()?..)?;
        }
        Some(())
    }
}
