//! Jute, ZooKeeper's serialization: big-endian numbers, length-prefixed strings and vectors.
//!
//! Pure bytes. The reader never reserves by a count that the bytes at hand cannot hold, and
//! nothing in it panics on foreign input.

use std::borrow::Cow;

use bytes::Bytes;

/// Bytes that are not what the protocol says: the peer's connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed jute record")]
pub(crate) struct Malformed;

/// Reads one record after the other from borrowed bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn int(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn long(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        let [byte] = self.array()?;
        Ok(byte != 0)
    }

    /// A byte buffer; length -1 is null, any other negative one malformed.
    pub(crate) fn buffer(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.int()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed)?;
                self.take(length).map(Some)
            }
        }
    }

    /// A buffer that is kept, so its bytes are copied out of the frame.
    pub(crate) fn data(&mut self) -> Result<Option<Bytes>, Malformed> {
        Ok(self.buffer()?.map(Bytes::copy_from_slice))
    }

    /// A string; null reads as empty, and bytes that are not UTF-8 become U+FFFD as in Java
    /// (which no path may contain).
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        Ok(String::from_utf8_lossy(self.buffer()?.unwrap_or_default()))
    }

    /// The count of a vector (null reads as 0) whose elements take at least `element_bytes_min`:
    /// more than the rest can hold is malformed, so that callers may loop and reserve by it.
    pub(crate) fn count(&mut self, element_bytes_min: usize) -> Result<usize, Malformed> {
        match self.int()? {
            -1 => Ok(0),
            count => {
                let count = usize::try_from(count).map_err(|_| Malformed)?;
                match count.checked_mul(element_bytes_min) {
                    Some(bytes) if bytes <= self.rest.len() => Ok(count),
                    _ => Err(Malformed),
                }
            }
        }
    }

    pub(crate) fn strings(&mut self) -> Result<Vec<String>, Malformed> {
        let count = self.count(4)?;
        (0..count)
            .map(|_| self.string().map(Cow::into_owned))
            .collect()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(head)
    }
}

/// Writes records into one growing buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A writer whose first four bytes will be the length of what follows.
    pub(crate) fn frame() -> Self {
        Self { bytes: vec![0; 4] }
    }

    pub(crate) fn int(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn long(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.raw(&[u8::from(value)])
    }

    pub(crate) fn buffer(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            None => self.int(-1),
            Some(bytes) => self.int(length(bytes.len())).raw(bytes),
        }
    }

    pub(crate) fn string(&mut self, value: &str) -> &mut Self {
        self.buffer(Some(value.as_bytes()))
    }

    /// The count in front of a vector's elements.
    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        self.int(length(count))
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of a writer that was made by [`Writer::new`].
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The bytes of a writer that was made by [`Writer::frame`], with the length filled in.
    pub(crate) fn into_frame(mut self) -> Vec<u8> {
        if let Some((head, body)) = self.bytes.split_first_chunk_mut::<4>() {
            *head = length(body.len()).to_be_bytes();
        }
        self.bytes
    }
}

/// Packets are bounded far below 2 GiB on both sides, so this never saturates.
fn length(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut w = Writer::new();
        w.int(-7).long(i64::MIN).bool(true);
        w.buffer(None).buffer(Some(b"ab")).string("ü");
        w.count(2).string("x").string("");
        let bytes = w.into_bytes();
        let mut r = Reader::new(&bytes);
        assert_eq!(r.int(), Ok(-7));
        assert_eq!(r.long(), Ok(i64::MIN));
        assert_eq!(r.bool(), Ok(true));
        assert_eq!(r.buffer(), Ok(None));
        assert_eq!(r.buffer(), Ok(Some(&b"ab"[..])));
        assert_eq!(r.string().as_deref(), Ok("ü"));
        assert_eq!(r.strings(), Ok(vec!["x".to_owned(), String::new()]));
        assert!(r.is_empty());
    }

    #[test]
    fn a_frame_starts_with_its_length() {
        let mut w = Writer::frame();
        w.int(1).bool(false);
        assert_eq!(&w.into_frame()[..], [0, 0, 0, 5, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn lengths_and_counts_are_bounded_by_what_is_there() {
        for bad in [-2, i32::MIN, 5, i32::MAX] {
            let mut bytes = bad.to_be_bytes().to_vec();
            bytes.extend_from_slice(b"1234");
            assert_eq!(Reader::new(&bytes).buffer(), Err(Malformed), "{bad}");
            assert_eq!(Reader::new(&bytes).count(4), Err(Malformed), "{bad}");
            assert!(Reader::new(&bytes).strings().is_err(), "{bad}");
        }
        assert_eq!(Reader::new(&(-1_i32).to_be_bytes()).count(4), Ok(0));
        assert_eq!(Reader::new(&[0, 0]).int(), Err(Malformed));
    }

    #[test]
    fn bytes_that_are_not_utf8_become_a_character_that_no_path_may_have() {
        let bytes = [0, 0, 0, 2, b'/', 0xff];
        assert_eq!(Reader::new(&bytes).string().as_deref(), Ok("/\u{fffd}"));
    }
}
