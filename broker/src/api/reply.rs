//! What a request leads to, and the bytes of answers: heads in memory, record ranges in files.
//!
//! A handler never touches a socket. It appends to a [`Payload`] or hands back a future that makes
//! one; `net` sends payloads in request order. Record bytes of a fetch stay in their file.

use std::fs::File;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use nyala_client::wire::{ApiKey, DecodeError, EncodeError};

/// Outcome of one request.
pub(crate) enum Reply {
    /// The answer was appended to the payload that the request came with.
    Now,
    /// The answer comes when this future ends; the connection keeps the order of answers.
    Later(Later),
    /// There is no answer (a produce request with `acks=0`).
    None,
    /// The connection is to be closed, for this reason.
    Close(CloseReason),
}

/// An answer that is not there yet.
pub(crate) struct Later {
    /// Ends with the whole answer, frame length included.
    pub(crate) answer: LaterAnswer,
    /// How it goes together with other requests of its connection.
    pub(crate) kind: LaterKind,
}

/// How an unfinished request goes together with others of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaterKind {
    /// Requests behind it are handled meanwhile: its effects are complete, only the answer waits (a
    /// produce request whose records are in the log).
    Overlapping,
    /// Requests behind it wait. It only reads: it may be dropped when nobody takes the answer.
    Reading,
    /// Requests behind it wait. Once begun it runs to its end, peer or no peer.
    Exclusive,
}

/// Future of an answer.
pub(crate) type LaterAnswer = Pin<Box<dyn Future<Output = Result<Payload, CloseReason>> + Send>>;

/// Why a connection is closed from our side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CloseReason {
    /// The frame's length is negative, zero or above the limit.
    #[error("request of {size} bytes, allowed are 1 to {limit}")]
    FrameSize {
        /// Length that the peer announced.
        size: i32,
        /// `socket.request.max.bytes`.
        limit: usize,
    },
    /// The request head or body is not what its key and version say.
    #[error("malformed request (key {key}, version {version}): {reason}")]
    Malformed {
        /// API key as received, -1 when it was not even there.
        key: i16,
        /// Version as received, -1 when it was not even there.
        version: i16,
        /// What did not fit.
        reason: String,
    },
    /// Nobody serves this key.
    #[error("unknown api key {key}")]
    UnknownKey {
        /// Key as received.
        key: i16,
    },
    /// The key is known, the version is not.
    #[error("{api} version {version} is outside of {min} to {max}")]
    UnsupportedVersion {
        /// Kafka's name of the API.
        api: &'static str,
        /// Version as received.
        version: i16,
        /// Lowest version that is served.
        min: i16,
        /// Highest version that is served.
        max: i16,
    },
    /// This broker has lost the cluster, and others know more.
    #[error("{api} is for brokers that are in touch with the cluster, which this one is not")]
    CutOff {
        /// Kafka's name of the API.
        api: &'static str,
    },
    /// The answer cannot be said in the version of its request: our own fault.
    #[error("no answer to {api} version {version}: {reason}")]
    Unanswerable {
        /// Kafka's name of the API.
        api: &'static str,
        /// Version of the request.
        version: i16,
        /// What does not fit.
        reason: String,
    },
    /// A produce request without acknowledgement failed: closing is the only way to say so.
    #[error("produce request with acks=0 failed: {0}")]
    UnackedFailure(String),
}

impl CloseReason {
    /// The peer's fault.
    pub(super) fn malformed(key: ApiKey, version: i16, error: &DecodeError) -> Self {
        Self::Malformed {
            key: key.code(),
            version,
            reason: error.to_string(),
        }
    }

    /// Our fault.
    pub(super) fn unanswerable(key: ApiKey, version: i16, error: &EncodeError) -> Self {
        Self::Unanswerable {
            api: key.name(),
            version,
            reason: error.to_string(),
        }
    }
}

/// Part of a file that stands in the middle of an answer.
#[derive(Debug)]
pub(crate) struct FileRange {
    /// Stream position (see [`Payload::end`]) in front of which the range stands.
    pub(crate) at: u64,
    /// File.
    pub(crate) file: Arc<File>,
    /// First byte within the file.
    pub(crate) position: u64,
    /// Bytes that remain to be sent.
    pub(crate) remaining: u64,
}

/// Bytes in memory with file ranges between them, in sending order.
///
/// Positions count the bytes in memory from the payload's start and do not move when bytes are
/// taken off the front: `sent ≤ range.at ≤ end` for every range.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    /// Bytes in memory that are not sent yet.
    heads: BytesMut,
    /// Position of the first byte in `heads`.
    sent: u64,
    /// Ranges, ordered by position.
    ranges: std::collections::VecDeque<FileRange>,
    /// Bytes of all ranges that are not sent yet.
    range_bytes: u64,
}

/// A frame whose length is not known yet.
#[derive(Debug)]
#[must_use]
pub(crate) struct OpenFrame {
    start: u64,
    range_bytes: u64,
}

impl Payload {
    /// Starts a frame: place for the length, then the response header.
    ///
    /// `tagged`: the header is of version 1, with an empty list of tagged fields.
    pub(crate) fn begin(&mut self, correlation: i32, tagged: bool) -> OpenFrame {
        let open = OpenFrame {
            start: self.end(),
            range_bytes: self.range_bytes,
        };
        self.heads.put_i32(0);
        self.heads.put_i32(correlation);
        if tagged {
            self.heads.put_u8(0);
        }
        open
    }

    /// Ends the frame: writes its length.
    ///
    /// Nothing may have been taken off the front since [`begin`](Self::begin).
    pub(crate) fn finish(&mut self, open: &OpenFrame) {
        let bytes = self.end() - open.start + (self.range_bytes - open.range_bytes) - 4;
        let start = usize::try_from(open.start - self.sent).unwrap_or(usize::MAX);
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        if let Some(place) = self.heads.get_mut(start..start.saturating_add(4)) {
            place.copy_from_slice(&bytes.to_be_bytes());
        }
    }

    /// Appends bytes.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.heads.extend_from_slice(bytes);
    }

    /// Appends a part of a file.
    pub(crate) fn push_range(&mut self, file: Arc<File>, position: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.range_bytes += bytes;
        self.ranges.push_back(FileRange {
            at: self.end(),
            file,
            position,
            remaining: bytes,
        });
    }

    /// Appends all of `other`.
    pub(crate) fn append(&mut self, other: Self) {
        if self.is_empty() {
            let spare = std::mem::replace(self, other);
            if self.heads.capacity() < spare.heads.capacity() && self.heads.len() < 4096 {
                let mut heads = spare.heads;
                heads.extend_from_slice(&self.heads);
                self.heads = heads;
            }
            return;
        }
        let shift = self.end();
        self.heads.extend_from_slice(&other.heads);
        self.range_bytes += other.range_bytes;
        for mut range in other.ranges {
            range.at = range.at - other.sent + shift;
            self.ranges.push_back(range);
        }
    }

    /// Position behind the last byte in memory.
    fn end(&self) -> u64 {
        self.sent + self.heads.len() as u64
    }

    /// Whether everything is sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.ranges.is_empty()
    }

    /// Bytes to send, file ranges included.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.heads.len() as u64 + self.range_bytes
    }

    /// Next bytes to send from memory, and whether a file range follows them.
    pub(crate) fn front_bytes(&self) -> (&[u8], bool) {
        match self.ranges.front() {
            None => (&self.heads, false),
            Some(range) => {
                let bytes = usize::try_from(range.at - self.sent).unwrap_or(usize::MAX);
                (self.heads.get(..bytes).unwrap_or(&self.heads), true)
            }
        }
    }

    /// The file range at the front; `None` while bytes in memory stand before it.
    pub(crate) fn front_range(&mut self) -> Option<&mut FileRange> {
        self.ranges.front_mut().filter(|r| r.at == self.sent)
    }

    /// Takes sent bytes off the front of the memory part.
    pub(crate) fn advance_bytes(&mut self, bytes: usize) {
        let bytes = bytes.min(self.heads.len());
        self.sent += bytes as u64;
        if bytes == self.heads.len() {
            self.heads.clear();
        } else {
            bytes::Buf::advance(&mut self.heads, bytes);
        }
    }

    /// Takes sent bytes off the range at the front.
    pub(crate) fn advance_range(&mut self, bytes: u64) {
        if let Some(range) = self.ranges.front_mut() {
            let bytes = bytes.min(range.remaining);
            range.position += bytes;
            range.remaining -= bytes;
            self.range_bytes -= bytes;
            if range.remaining == 0 {
                self.ranges.pop_front();
            }
        }
    }

    /// Gives memory back that one large answer took, once it is sent.
    pub(crate) fn shrink(&mut self, bytes_max: usize) {
        if self.heads.is_empty() && self.heads.capacity() > bytes_max {
            self.heads = BytesMut::new();
        }
    }
}

impl From<BytesMut> for Payload {
    fn from(heads: BytesMut) -> Self {
        Self {
            heads,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<File> {
        Arc::new(tempfile::tempfile().expect("a temporary file"))
    }

    #[test]
    fn a_frame_counts_its_file_ranges() {
        let mut payload = Payload::default();
        let open = payload.begin(7, true);
        payload.push_bytes(&[0, 0, 0, 1]);
        payload.push_range(file(), 10, 100);
        payload.push_bytes(&[0]);
        payload.finish(&open);
        assert_eq!(payload.total_bytes(), 4 + 4 + 1 + 4 + 100 + 1);
        let (front, more) = payload.front_bytes();
        assert_eq!(front.len(), 13);
        assert!(more);
        assert_eq!(&front[..4], &(110_i32).to_be_bytes());
        assert!(payload.front_range().is_none());
        payload.advance_bytes(13);
        assert_eq!(payload.front_range().map(|r| r.position), Some(10));
        payload.advance_range(60);
        assert_eq!(payload.front_range().map(|r| r.remaining), Some(40));
        payload.advance_range(40);
        assert_eq!(payload.front_bytes(), (&[0_u8][..], false));
        payload.advance_bytes(1);
        assert!(payload.is_empty());
    }

    #[test]
    fn payloads_are_joined_in_order() {
        let mut first = Payload::default();
        first.push_bytes(b"ab");
        let mut second = Payload::default();
        second.push_bytes(b"xcd");
        second.advance_bytes(1);
        second.push_range(file(), 0, 5);
        second.push_bytes(b"e");
        first.append(second);
        assert_eq!(first.front_bytes(), (&b"abcd"[..], true));
        first.advance_bytes(4);
        first.advance_range(5);
        assert_eq!(first.front_bytes(), (&b"e"[..], false));
    }
}
