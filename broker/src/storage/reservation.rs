//! A large batch on its way in: what is received of it lies here, outside of the log and its lock, until
//! all of it has come and it is committed.
//!
//! Receiving into the mapped window instead saves this buffer, but every page of it is first faulted in
//! and zeroed by the kernel, which costs more than the copy that is saved (`tail.rs`).

use bytes::BufMut;
use bytes::buf::Limit;

/// One batch to be: made by `Log::reserve`, filled, given to `Log::commit`. Dropping it costs nobody anything.
#[derive(Debug)]
pub struct Reservation {
    bytes: Vec<u8>,
    len: usize,
}

impl Reservation {
    /// For a batch of `len` bytes: address space only, memory comes with the bytes.
    pub(super) fn new(len: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(len),
            len,
        }
    }

    /// Bytes still to fill.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.len - self.bytes.len()
    }

    /// Adds `bytes`; at most [`Self::remaining`] of them are taken. Returns how many.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.remaining());
        self.bytes
            .extend_from_slice(bytes.get(..count).unwrap_or_default());
        count
    }

    /// The room for the next bytes, at most `limit` of them.
    pub fn room(&mut self, limit: usize) -> Limit<&mut Vec<u8>> {
        let room = self.remaining().min(limit);
        (&mut self.bytes).limit(room)
    }

    /// What was filled so far (to check the batch's CRC, say).
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_was_reserved() {
        let mut reservation = Reservation::new(20);
        assert_eq!(reservation.fill(&[7; 15]), 15);
        assert_eq!(reservation.room(3).remaining_mut(), 3);
        reservation.room(3).put_slice(&[8; 3]);
        assert_eq!(reservation.remaining(), 2);
        assert_eq!(reservation.room(100).remaining_mut(), 2);
        assert_eq!(reservation.fill(&[9; 15]), 2);
        assert_eq!(reservation.room(100).remaining_mut(), 0);
        let expected = [&[7; 15][..], &[8; 3], &[9; 2]].concat();
        assert_eq!(reservation.filled(), expected);
    }
}
