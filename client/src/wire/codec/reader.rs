//! Reads values off the bytes of one frame.
//!
//! The first fault is kept and ends the input: from then on every read gives zero or nothing.
//! [`Reader::end`] reports it. Memory: a count is compared with the bytes left before anything is
//! reserved, and what is made of the bytes is charged against a budget that follows from their length
//! ([`BUDGET_FACTOR`]) and may have an upper limit ([`Reader::with_limits`]).

#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::Bytes;
use nyala_coordinator::ids::TopicId;

use crate::wire::api::ApiKey;
use crate::wire::codec::Wire;

/// Elements reserved before the first one was read.
const RESERVE_MAX: usize = 1024;
/// Longest string, in either encoding of lengths, as in Kafka.
pub(crate) const STRING_BYTES_MAX: usize = 0x7fff;
/// What a message may cost in memory: this and [`BUDGET_FACTOR`] times its length.
const BUDGET_FLOOR: usize = 64 << 10;
/// See [`BUDGET_FLOOR`]. Honest messages stay below 8: a partition of a metadata reply is 5.
const BUDGET_FACTOR: usize = 16;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends within a value.
    #[error("value needs {needed} bytes, {left} are left")]
    Truncated {
        /// Bytes that the value takes.
        needed: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// An element count is more than the rest of the input can hold, or negative.
    #[error("count of {count} elements does not fit the {left} bytes left")]
    Count {
        /// Count as sent.
        count: i64,
        /// Bytes that are there.
        left: usize,
    },
    /// A length is negative where no null is meant.
    #[error("negative length {0}")]
    NegativeLength(i64),
    /// A string is longer than Kafka allows.
    #[error("string of {0} bytes, at most {STRING_BYTES_MAX} are allowed")]
    StringLength(usize),
    /// A null where the version has none.
    #[error("null in a field that cannot be null")]
    Null,
    /// A string is not UTF-8.
    #[error("string is not valid UTF-8")]
    Utf8,
    /// A variable-length number does not end in time.
    #[error("variable-length number is longer than {0} bytes")]
    Varint(usize),
    /// Tags do not ascend strictly.
    #[error("tag {tag} does not come after tag {previous}")]
    TagOrder {
        /// Offending tag.
        tag: u32,
        /// Tag before it.
        previous: u32,
    },
    /// A tagged field does not fill its announced size.
    #[error("tagged field has {0} bytes more than its value")]
    TagSize(usize),
    /// Bytes follow the message.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
    /// Decoded, the message would take more memory than one may.
    #[error("message of {0} bytes takes too much memory")]
    Expansion(usize),
    /// The codec does not carry this version.
    #[error("{} has no version {version}", key.name())]
    Version {
        /// API.
        key: ApiKey,
        /// Version asked for.
        version: i16,
    },
}

/// A cursor over one frame.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    /// What is not read yet.
    rest: &'a [u8],
    /// Where `rest` lies, when byte fields may share it instead of copying.
    shared: Option<&'a Bytes>,
    flexible: bool,
    length: usize,
    /// What the rest may cost, in bytes of memory.
    budget: usize,
    /// What an element costs besides its size.
    of_element: usize,
    error: Option<DecodeError>,
}

/// Progress through the tagged fields of one struct.
#[derive(Debug)]
pub struct Tags<'a> {
    left: u32,
    previous: Option<u32>,
    /// What follows the tagged field that is being read.
    after: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; every byte field is a copy.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            shared: None,
            flexible: false,
            length: bytes.len(),
            budget: (bytes.len().saturating_mul(BUDGET_FACTOR)).saturating_add(BUDGET_FLOOR),
            of_element: 0,
            error: None,
        }
    }

    /// Reads `bytes`; record fields share the buffer (and keep it alive), other fields are copies.
    #[must_use]
    pub fn shared(bytes: &'a Bytes) -> Self {
        Self {
            shared: Some(bytes),
            ..Self::new(bytes)
        }
    }

    /// Lets the message cost no more than `most` bytes in memory, whatever its length, where each
    /// element of an array costs `of_element` more than it takes itself: what is made of it later.
    #[must_use]
    pub fn with_limits(self, most: usize, of_element: usize) -> Self {
        // No element is shorter than a byte.
        let elements = self.length.saturating_mul(of_element);
        Self {
            budget: self.budget.saturating_add(elements).min(most),
            of_element,
            ..self
        }
    }

    /// What the rest of the message may still cost in memory, in bytes.
    #[must_use]
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Whether lengths are compact and structs end in tags, from here on.
    pub fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// What is not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The first fault so far.
    pub fn check(&self) -> Result<(), DecodeError> {
        self.error.map_or(Ok(()), Err)
    }

    /// The first fault, or bytes that are left over.
    pub fn end(&mut self) -> Result<(), DecodeError> {
        if !self.rest.is_empty() {
            self.fail(DecodeError::Trailing(self.rest.len()));
        }
        self.check()
    }

    /// Notes a fault and ends the input.
    #[cold]
    pub fn fail(&mut self, error: DecodeError) {
        self.error.get_or_insert(error);
        self.rest = &[];
    }

    /// The next `count` bytes; empty after a fault.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            self.fail(DecodeError::Truncated {
                needed: count,
                left: self.rest.len(),
            });
            return &[];
        };
        self.rest = rest;
        taken
    }

    fn fixed<const N: usize>(&mut self) -> [u8; N] {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            self.fail(DecodeError::Truncated {
                needed: N,
                left: self.rest.len(),
            });
            return [0; N];
        };
        self.rest = rest;
        *taken
    }

    /// One byte; anything but 0 is true, as in Kafka.
    pub fn bool(&mut self) -> bool {
        self.i8() != 0
    }

    /// One byte.
    pub fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.fixed())
    }

    /// Two bytes, big endian.
    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.fixed())
    }

    /// Four bytes, big endian.
    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.fixed())
    }

    /// Eight bytes, big endian.
    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.fixed())
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> [u8; 16] {
        self.fixed()
    }

    /// Sixteen bytes that name a topic.
    pub fn topic_id(&mut self) -> TopicId {
        TopicId(self.fixed())
    }

    /// Up to five bytes, seven bits each, least first.
    pub fn unsigned_varint(&mut self) -> u32 {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed::<1>();
            // The fifth byte may carry four bits only.
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
        }
        self.fail(DecodeError::Varint(5));
        0
    }

    /// Up to five bytes, zigzag, as within records.
    pub fn varint(&mut self) -> i32 {
        let value = self.unsigned_varint();
        (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
    }

    /// Up to ten bytes, zigzag, as within records.
    pub fn varlong(&mut self) -> i64 {
        let mut value: u64 = 0;
        for shift in [0, 7, 14, 21, 28, 35, 42, 49, 56, 63] {
            let [byte] = self.fixed::<1>();
            if shift == 63 && byte > 0x01 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return (value >> 1).cast_signed() ^ -((value & 1).cast_signed());
            }
        }
        self.fail(DecodeError::Varint(10));
        0
    }

    /// A length or count; `None` is null. `wide` says four bytes rather than two when not compact.
    fn length(&mut self, wide: bool) -> Option<i64> {
        let length = match (self.flexible, wide) {
            (true, _) => i64::from(self.unsigned_varint()) - 1,
            (false, true) => i64::from(self.i32()),
            (false, false) => i64::from(self.i16()),
        };
        match length {
            -1 if self.error.is_none() => None,
            length => Some(length),
        }
    }

    fn counted(&mut self, wide: bool) -> Option<&'a [u8]> {
        let length = self.length(wide)?;
        match usize::try_from(length) {
            Ok(length) => Some(self.take(length)),
            Err(_) => {
                self.fail(DecodeError::NegativeLength(length));
                Some(&[])
            }
        }
    }

    /// Turns an absent value into a fault unless `nullable`.
    fn present<T>(&mut self, value: Option<T>, nullable: bool) -> Option<T> {
        if value.is_none() && !nullable {
            self.fail(DecodeError::Null);
        }
        value
    }

    fn charge(&mut self, bytes: usize) {
        match self.budget.checked_sub(bytes) {
            Some(left) => self.budget = left,
            None => self.fail(DecodeError::Expansion(self.length)),
        }
    }

    /// Charges for one element of an array.
    pub(crate) fn charge_element<T>(&mut self) {
        self.charge(size_of::<T>().saturating_add(self.of_element));
    }

    /// A string in place; null only when `nullable`.
    pub fn str_or_null(&mut self, nullable: bool) -> Option<&'a str> {
        let bytes = self.counted(false);
        let bytes = self.present(bytes, nullable)?;
        if bytes.len() > STRING_BYTES_MAX {
            self.fail(DecodeError::StringLength(bytes.len()));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(_) => {
                self.fail(DecodeError::Utf8);
                Some("")
            }
        }
    }

    /// A string in place.
    pub fn str(&mut self) -> &'a str {
        self.str_or_null(false).unwrap_or_default()
    }

    /// A string.
    pub fn string(&mut self) -> String {
        self.string_or_null(false).unwrap_or_default()
    }

    /// A string; null only when `nullable`.
    pub fn string_or_null(&mut self, nullable: bool) -> Option<String> {
        let text = self.str_or_null(nullable)?;
        self.charge(text.len());
        Some(text.to_owned())
    }

    /// Bytes in place; null only when `nullable`.
    pub fn slice_or_null(&mut self, nullable: bool) -> Option<&'a [u8]> {
        let bytes = self.counted(true);
        self.present(bytes, nullable)
    }

    /// Bytes, copied, so that a small field does not keep a large frame alive.
    pub fn bytes(&mut self) -> Bytes {
        self.bytes_or_null(false).unwrap_or_default()
    }

    /// Bytes; null only when `nullable`.
    pub fn bytes_or_null(&mut self, nullable: bool) -> Option<Bytes> {
        let bytes = self.slice_or_null(nullable)?;
        self.charge(bytes.len());
        Some(Bytes::copy_from_slice(bytes))
    }

    /// Records: shared with the frame where [`Reader::shared`] made that possible.
    pub fn records_or_null(&mut self, nullable: bool) -> Option<Bytes> {
        let bytes = self.slice_or_null(nullable)?;
        match self.shared {
            Some(shared) if !bytes.is_empty() => Some(shared.slice_ref(bytes)),
            _ => {
                self.charge(bytes.len());
                Some(Bytes::copy_from_slice(bytes))
            }
        }
    }

    /// Number of elements that follow, none smaller than `least` bytes; null only when `nullable`.
    pub fn count_or_null(&mut self, least: usize, nullable: bool) -> Option<usize> {
        let count = self.length(true);
        let count = self.present(count, nullable)?;
        let left = self.rest.len();
        match usize::try_from(count) {
            Ok(count) if count.saturating_mul(least) <= left => Some(count),
            _ => {
                self.fail(DecodeError::Count { count, left });
                Some(0)
            }
        }
    }

    /// Elements.
    pub fn array<T: Wire>(&mut self, version: i16) -> Vec<T> {
        self.array_or_null(version, false).unwrap_or_default()
    }

    /// Elements; null only when `nullable`.
    pub fn array_or_null<T: Wire>(&mut self, version: i16, nullable: bool) -> Option<Vec<T>> {
        let count = self.count_or_null(T::MIN, nullable)?;
        let mut elements = Vec::with_capacity(count.min(RESERVE_MAX));
        for _ in 0..count {
            self.charge_element::<T>();
            let element = T::read(self, version);
            if self.error.is_some() {
                return None;
            }
            elements.push(element);
        }
        Some(elements)
    }

    /// Starts the tagged fields of a struct; none in versions that are not flexible.
    pub fn tags(&mut self) -> Tags<'a> {
        let left = if self.flexible {
            self.unsigned_varint()
        } else {
            0
        };
        // A tag and its size take a byte each at least.
        if left as usize > self.rest.len() / 2 {
            self.fail(DecodeError::Count {
                count: i64::from(left),
                left: self.rest.len(),
            });
        }
        Tags {
            left,
            previous: None,
            after: &[],
        }
    }

    /// The next tag; until [`Reader::end_tag`], the input ends where its field does.
    pub fn next_tag(&mut self, tags: &mut Tags<'a>) -> Option<u32> {
        if tags.left == 0 || self.error.is_some() {
            return None;
        }
        tags.left -= 1;
        let tag = self.unsigned_varint();
        let size = self.unsigned_varint() as usize;
        if let Some(previous) = tags.previous.replace(tag)
            && previous >= tag
        {
            self.fail(DecodeError::TagOrder { tag, previous });
        }
        let field = self.take(size);
        if self.error.is_some() {
            return None;
        }
        tags.after = self.rest;
        self.rest = field;
        Some(tag)
    }

    /// Skips the field of a tag that nobody knows.
    pub fn skip_tag(&mut self) {
        self.rest = &[];
    }

    /// Ends the field of a tag: it must have been read in full.
    pub fn end_tag(&mut self, tags: &Tags<'a>) {
        if !self.rest.is_empty() {
            self.fail(DecodeError::TagSize(self.rest.len()));
        }
        if self.error.is_none() {
            self.rest = tags.after;
        }
    }

    /// Skips all tagged fields of a struct that knows none.
    pub fn skip_tags(&mut self) {
        let mut tags = self.tags();
        while self.next_tag(&mut tags).is_some() {
            self.skip_tag();
            self.end_tag(&tags);
        }
    }
}
