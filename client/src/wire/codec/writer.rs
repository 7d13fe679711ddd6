//! Appends values to a growing buffer.
//!
//! Like the reader it keeps the first fault, here a value that the version cannot carry, and
//! reports it once, in [`Writer::finish`].

#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::{BufMut, Bytes, BytesMut};
use nyala_coordinator::ids::TopicId;

use crate::wire::api::ApiKey;
use crate::wire::codec::Wire;
use crate::wire::codec::reader::STRING_BYTES_MAX;

/// Why a message has no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A null where the version has none.
    #[error("null in a field that cannot be null in this version")]
    Null,
    /// A string is longer than Kafka allows.
    #[error("string of {0} bytes, at most {STRING_BYTES_MAX} are allowed")]
    StringLength(usize),
    /// More elements or bytes than a length can say.
    #[error("length {0} does not fit 31 bits")]
    Length(usize),
    /// The codec does not carry this version.
    #[error("{} has no version {version}", key.name())]
    Version {
        /// API.
        key: ApiKey,
        /// Version asked for.
        version: i16,
    },
}

/// A buffer that messages are appended to.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    flexible: bool,
    error: Option<EncodeError>,
}

impl Writer {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self::from(BytesMut::with_capacity(bytes))
    }

    /// Whether lengths are compact and structs end in tags, from here on.
    pub fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there is nothing yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// All bytes, or the first fault.
    pub fn finish(self) -> Result<Bytes, EncodeError> {
        self.finish_mut().map(BytesMut::freeze)
    }

    /// All bytes to write on in, or the first fault.
    pub fn finish_mut(self) -> Result<BytesMut, EncodeError> {
        self.error.map_or(Ok(self.buffer), Err)
    }

    /// Notes a fault.
    #[cold]
    pub fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }

    /// One byte.
    pub fn bool(&mut self, value: bool) {
        self.buffer.put_u8(u8::from(value));
    }

    /// One byte.
    pub fn i8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    /// Two bytes, big endian.
    pub fn i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    /// Four bytes, big endian.
    pub fn i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    /// Eight bytes, big endian.
    pub fn i64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: [u8; 16]) {
        self.buffer.put_slice(&value);
    }

    /// Sixteen bytes that name a topic.
    pub fn topic_id(&mut self, value: TopicId) {
        self.uuid(value.0);
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// Overwrites four bytes at `position`, which were written before.
    pub fn patch_i32(&mut self, position: usize, value: i32) {
        if let Some(place) = self.buffer.get_mut(position..position + 4) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// Up to five bytes, seven bits each, least first.
    pub fn unsigned_varint(&mut self, value: u32) {
        self.groups_of_seven(u64::from(value));
    }

    /// Up to five bytes, zigzag, as within records.
    pub fn varint(&mut self, value: i32) {
        self.unsigned_varint(((value << 1) ^ (value >> 31)).cast_unsigned());
    }

    /// Up to ten bytes, zigzag, as within records.
    pub fn varlong(&mut self, value: i64) {
        self.groups_of_seven(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    fn groups_of_seven(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.buffer.put_u8(low & 0x7f);
            }
            self.buffer.put_u8(low | 0x80);
        }
    }

    /// A length or count; `None` is null.
    fn length(&mut self, length: Option<usize>, wide: bool, nullable: bool) {
        let length = match length.map(i32::try_from) {
            Some(Ok(length)) if wide || length <= i32::from(i16::MAX) => length,
            Some(_) => return self.fail(EncodeError::Length(length.unwrap_or_default())),
            None if nullable => -1,
            None => return self.fail(EncodeError::Null),
        };
        match (self.flexible, wide, i16::try_from(length)) {
            (true, _, _) => self.unsigned_varint((length + 1).cast_unsigned()),
            (false, false, Ok(length)) => self.i16(length),
            (false, _, _) => self.i32(length),
        }
    }

    /// A string.
    pub fn string(&mut self, value: &str) {
        self.string_or_null(Some(value), false);
    }

    /// A string; null only when `nullable`.
    pub fn string_or_null(&mut self, value: Option<&str>, nullable: bool) {
        if let Some(text) = value
            && text.len() > STRING_BYTES_MAX
        {
            return self.fail(EncodeError::StringLength(text.len()));
        }
        self.length(value.map(str::len), false, nullable);
        self.raw(value.unwrap_or_default().as_bytes());
    }

    /// Bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.bytes_or_null(Some(value), false);
    }

    /// Bytes; null only when `nullable`.
    pub fn bytes_or_null(&mut self, value: Option<&[u8]>, nullable: bool) {
        self.length(value.map(<[u8]>::len), true, nullable);
        self.raw(value.unwrap_or_default());
    }

    /// Records; null only when `nullable`.
    pub fn records_or_null(&mut self, value: Option<&[u8]>, nullable: bool) {
        self.bytes_or_null(value, nullable);
    }

    /// The number of elements that follow.
    pub fn count(&mut self, count: usize) {
        self.length(Some(count), true, false);
    }

    /// The number of elements that follow; `None` is null.
    pub fn count_or_null(&mut self, count: Option<usize>) {
        self.length(count, true, true);
    }

    /// Elements.
    pub fn array<T: Wire>(&mut self, values: &[T], version: i16) {
        self.array_or_null(Some(values), version, false);
    }

    /// Elements; null only when `nullable`.
    pub fn array_or_null<T: Wire>(&mut self, values: Option<&[T]>, version: i16, nullable: bool) {
        self.length(values.map(<[T]>::len), true, nullable);
        for value in values.unwrap_or_default() {
            value.write(self, version);
        }
    }

    /// Ends a struct without tagged fields.
    pub fn no_tags(&mut self) {
        if self.flexible {
            self.buffer.put_u8(0);
        }
    }

    /// Announces as many tagged fields as `present` has true values.
    pub fn tag_count(&mut self, present: &[bool]) {
        if self.flexible {
            let count = present.iter().map(|&p| u32::from(p)).sum();
            self.unsigned_varint(count);
        }
    }

    /// Appends one tagged field.
    pub fn tagged(&mut self, tag: u32, value: impl FnOnce(&mut Self)) {
        let mut field = Self {
            flexible: self.flexible,
            ..Self::default()
        };
        value(&mut field);
        if let Some(error) = field.error {
            self.fail(error);
        }
        self.unsigned_varint(tag);
        match u32::try_from(field.buffer.len()) {
            Ok(size) => self.unsigned_varint(size),
            Err(_) => self.fail(EncodeError::Length(field.buffer.len())),
        }
        self.raw(&field.buffer);
    }
}

impl From<BytesMut> for Writer {
    /// Appends to `buffer`.
    fn from(buffer: BytesMut) -> Self {
        Self {
            buffer,
            ..Self::default()
        }
    }
}
