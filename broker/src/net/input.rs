//! Bytes that came in and are not handled yet: one growing buffer, frames cut off its front.
//!
//! Memory grows as bytes arrive, never by what a length field promises. A frame larger than
//! [`GRANT_FREE_BYTES`] needs a grant of the broker-wide budget before more of it is read.

use std::time::Instant;

use bytes::{Buf, BytesMut};

use crate::api::{CloseReason, Frame, Grant};

/// Frames up to this size need no grant: every connection's buffer has that much.
pub(crate) const GRANT_FREE_BYTES: usize = 64 * 1024;
/// Smallest and largest piece that is asked of the socket at once.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 256 * 1024;
/// A buffer above this is given back as soon as it is empty.
const KEEP_BYTES: usize = 2 * READ_BYTES_MAX;

/// The buffer of one connection.
#[derive(Debug)]
pub(crate) struct Input {
    /// Received, not handled.
    pub(crate) bytes: BytesMut,
    /// Grant for the frame at the front, while it is large.
    pub(crate) grant: Option<Grant>,
    /// When the frame at the front began to arrive, while it is not whole.
    begun: Option<Instant>,
    read_bytes: usize,
    request_bytes_max: usize,
}

impl Input {
    /// An empty buffer for frames up to `request_bytes_max`.
    pub(crate) fn new(request_bytes_max: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            grant: None,
            begun: None,
            read_bytes: READ_BYTES_MIN,
            request_bytes_max,
        }
    }

    /// Length of the frame that starts at `at`, length field not counted, if the field is there.
    pub(crate) fn frame_bytes(&self, at: usize) -> Result<Option<usize>, CloseReason> {
        let Some(prefix) = self.bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) else {
            return Ok(None);
        };
        let size = i32::from_be_bytes(*prefix);
        match usize::try_from(size) {
            Ok(bytes) if (1..=self.request_bytes_max).contains(&bytes) => Ok(Some(bytes)),
            _ => Err(CloseReason::FrameSize {
                size,
                limit: self.request_bytes_max,
            }),
        }
    }

    /// The whole frame that starts at `at`, without its length field; `None` while it is not whole.
    pub(crate) fn frame(&self, at: usize) -> Result<Option<&[u8]>, CloseReason> {
        let Some(bytes) = self.frame_bytes(at)? else {
            return Ok(None);
        };
        Ok(self.bytes.get(at + 4..at + 4 + bytes))
    }

    /// Takes handled bytes off the front.
    pub(crate) fn consume(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.grant = None;
        self.begun = None;
        if bytes == self.bytes.len() {
            self.bytes.clear();
            if self.bytes.capacity() > KEEP_BYTES {
                self.bytes = BytesMut::new();
            }
        } else {
            self.bytes.advance(bytes);
        }
    }

    /// The whole frame that starts at `at`, to be handled; `None` while it is not whole. One that has a grant,
    /// which only the frame at the front can have, leaves the buffer.
    pub(crate) fn next(&mut self, at: usize) -> Result<Option<Frame<'_>>, CloseReason> {
        if at == 0
            && self.grant.is_some()
            && let Some(large) = self.take_large()
        {
            return Ok(Some(large));
        }
        Ok(self.frame(at)?.map(Frame::Lent))
    }

    /// Its memory goes with it, so that a connection holds none of it when it has been handled.
    fn take_large(&mut self) -> Option<Frame<'static>> {
        let frame = self.frame(0).ok()??.len();
        let grant = self.grant.take()?;
        let mut taken = std::mem::take(&mut self.bytes);
        let rest = taken.split_off(4 + frame);
        self.bytes.extend_from_slice(&rest);
        self.begun = None;
        taken.advance(4);
        Some(Frame::Own(taken.freeze(), grant))
    }

    /// All that is here was taken as the front of a large frame whose rest goes elsewhere.
    pub(crate) fn take_front(&mut self) {
        self.bytes.clear();
        // What comes next is the front of another one: no more of it than is needed to see that.
        self.read_bytes = READ_BYTES_MIN;
    }

    /// The rest of that frame has come; `tail_bytes` of it lie here.
    pub(crate) fn end_front(&mut self, tail_bytes: usize) {
        self.grant = None;
        self.begun = None;
        self.bytes.advance(tail_bytes.min(self.bytes.len()));
    }

    /// Bytes of the frame at the front that have not come, as far as its length is known.
    pub(crate) fn missing(&self) -> usize {
        match self.frame_bytes(0) {
            Ok(Some(frame)) => (frame + 4).saturating_sub(self.bytes.len()),
            _ => 0,
        }
    }

    /// Makes room for the next read: the rest of the frame at the front, at most as much again as
    /// is there already.
    pub(crate) fn make_room(&mut self) {
        let missing = self.missing();
        let room = missing
            .min(self.bytes.len().max(READ_BYTES_MAX))
            .max(self.read_bytes);
        if self.bytes.capacity() - self.bytes.len() < room {
            self.bytes.reserve(room);
        }
    }

    /// Notes what one read brought: a full buffer asks for more the next time.
    pub(crate) fn received(&mut self, bytes: usize, now: Instant) {
        if bytes >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        if self.begun.is_none() {
            self.begun = Some(now);
        }
    }

    /// When the frame at the front began to arrive; `None` when nothing is half-read.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.begun
    }

    /// The time in which the frame at the front must come starts now.
    pub(crate) fn begin_again(&mut self, now: Instant) {
        self.begun = self.begun.map(|_| now);
    }

    /// Gives memory back when nothing is buffered.
    pub(crate) fn shrink(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
            self.read_bytes = READ_BYTES_MIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Input {
        let mut input = Input::new(1024);
        input.bytes.extend_from_slice(bytes);
        input
    }

    #[test]
    fn frames_are_cut_where_their_length_says() {
        let mut input = input(b"\0\0\0\x02ab\0\0\0\x01c\0\0");
        assert_eq!(input.frame(0), Ok(Some(&b"ab"[..])));
        assert_eq!(input.frame(6), Ok(Some(&b"c"[..])));
        assert_eq!(input.frame(11), Ok(None));
        input.consume(11);
        assert_eq!(input.frame(0), Ok(None));
        input.bytes.extend_from_slice(b"\0\x05abc");
        assert_eq!(input.frame(0), Ok(None));
    }

    #[test]
    fn impossible_lengths_are_refused_from_four_bytes() {
        for (prefix, size) in [
            ([0, 0, 0, 0], 0),
            ([0xff, 0xff, 0xff, 0xff], -1),
            ([0x7f, 0xff, 0xff, 0xff], i32::MAX),
            (*b"GET ", 0x4745_5420),
            ([0x16, 3, 1, 0], 0x1603_0100),
        ] {
            let limit = 1024;
            let error = CloseReason::FrameSize { size, limit };
            assert_eq!(input(&prefix).frame(0), Err(error));
        }
    }

    #[test]
    fn a_promised_length_reserves_no_memory() {
        let mut input = Input::new(100 << 20);
        input.bytes.extend_from_slice(&(99_i32 << 20).to_be_bytes());
        input.make_room();
        assert!(input.bytes.capacity() <= READ_BYTES_MAX + 1024);
    }
}
