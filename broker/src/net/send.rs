//! Answers on their way out: kept in request order, sent as memory and file ranges.
//!
//! An answer that is not there yet holds back those behind it. File ranges leave by `sendfile`; a
//! piece that is not in the page cache is read on the blocking pool first, so that the records of a cold
//! reader never stall the connections that share its thread. (The heads of batches that a plan looks at,
//! `storage/read.rs`, are read in place: for who reads on, they came with the piece before.)

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::cold::{ColdReads, Piece, Warmed};
use crate::api::{CloseReason, Later, LaterKind, Payload};

/// File bytes that are checked for residence at once.
const PIECE_BYTES: u64 = 1024 * 1024;
/// After this much, other connections of the thread get their turn; no system call sends more.
const TURN_BYTES: u64 = 256 * 1024;
/// Memory that an empty outbox keeps.
const KEEP_BYTES: usize = 64 * 1024;

/// How a round of sending ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All that may leave has left.
    All,
    /// The socket takes no more for now.
    Blocked,
    /// A piece of a file is being read into the page cache.
    Warming,
    /// There is more, but it is another connection's turn.
    Turn,
}

/// Answers of one connection that are not sent yet.
#[derive(Default)]
pub(crate) struct Outbox {
    /// What may leave now.
    front: Payload,
    /// Answers behind the first one that is not there yet, in request order.
    queue: VecDeque<Entry>,
    /// A piece of the range at the front on its way into the page cache.
    warming: Option<JoinHandle<io::Result<Warmed>>>,
    /// Where the disk had to be waited for.
    cold: ColdReads,
    /// Bytes of the range at the front that were seen in the page cache and not sent since.
    resident: u64,
}

enum Entry {
    Ready(Payload),
    Waiting(Later),
}

impl Outbox {
    /// Where the next answer is appended.
    pub(crate) fn tail(&mut self) -> &mut Payload {
        if self.queue.is_empty() {
            return &mut self.front;
        }
        if !matches!(self.queue.back(), Some(Entry::Ready(_))) {
            self.queue.push_back(Entry::Ready(Payload::default()));
        }
        match self.queue.back_mut() {
            Some(Entry::Ready(payload)) => payload,
            _ => &mut self.front,
        }
    }

    /// Keeps the place of an answer that is not there yet.
    pub(crate) fn push_later(&mut self, later: Later) {
        self.queue.push_back(Entry::Waiting(later));
    }

    /// Whether an answer that is not there yet forbids handling further requests.
    pub(crate) fn holds_requests(&self) -> bool {
        match self.queue.back() {
            Some(Entry::Waiting(later)) => later.kind != LaterKind::Overlapping,
            _ => false,
        }
    }

    /// Answers that are not there yet, and the finished ones that they hold back.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Bytes that wait for the socket, file ranges included.
    pub(crate) fn unsent_bytes(&self) -> u64 {
        self.front.total_bytes()
            + self.queue.iter().fold(0, |sum, entry| match entry {
                Entry::Ready(payload) => sum + payload.total_bytes(),
                Entry::Waiting(_) => sum,
            })
    }

    /// Whether nothing is left to send or to wait for.
    pub(crate) fn is_empty(&self) -> bool {
        self.front.is_empty() && self.queue.is_empty()
    }

    /// Whether [`poll_progress`](Self::poll_progress) has something to wait for.
    pub(crate) fn waits(&self) -> bool {
        self.warming.is_some() || !self.queue.is_empty()
    }

    /// Drives the first answer that is not there yet, and a piece that is being read.
    ///
    /// Ready when there may be something new to send.
    pub(crate) fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut progress = false;
        if let Some(warming) = &mut self.warming
            && let Poll::Ready(done) = std::pin::Pin::new(warming).poll(cx)
        {
            self.warming = None;
            let warmed = done.map_err(io::Error::other)??;
            self.resident = PIECE_BYTES;
            self.cold.note(warmed);
            progress = true;
        }
        loop {
            match self.queue.front_mut() {
                Some(Entry::Waiting(later)) => match later.answer.as_mut().poll(cx) {
                    Poll::Pending => break,
                    Poll::Ready(answer) => {
                        self.queue.pop_front();
                        self.front.append(answer?);
                        progress = true;
                    }
                },
                Some(Entry::Ready(_)) => {
                    if let Some(Entry::Ready(payload)) = self.queue.pop_front() {
                        self.front.append(payload);
                        progress = true;
                    }
                }
                None => break,
            }
        }
        if progress {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Gives up answers that only wait for news.
    pub(crate) fn drop_reading(&mut self) {
        self.queue.retain(|entry| match entry {
            Entry::Waiting(later) => later.kind != LaterKind::Reading,
            Entry::Ready(_) => true,
        });
    }

    /// The requests whose effects must be completed although nobody reads their answers any more.
    pub(crate) fn into_unfinished(self) -> Vec<Later> {
        let laters = self.queue.into_iter().filter_map(|entry| match entry {
            Entry::Waiting(later) if later.kind == LaterKind::Exclusive => Some(later),
            _ => None,
        });
        laters.collect()
    }

    /// Sends as much as the socket takes.
    pub(crate) fn send(&mut self, stream: &TcpStream) -> io::Result<(Sent, u64)> {
        let mut sent = 0;
        if self.warming.is_some() {
            return Ok((Sent::Warming, sent));
        }
        while !self.front.is_empty() {
            if sent >= TURN_BYTES {
                return Ok((Sent::Turn, sent));
            }
            let step = match self.front.front_range() {
                None => self.send_bytes(stream),
                Some(range) => {
                    if self.resident == 0 {
                        let bytes = range.remaining.min(PIECE_BYTES);
                        let piece = Piece {
                            file: Arc::clone(&range.file),
                            position: range.position,
                            bytes,
                        };
                        if self.cold.goes_on(&piece) || !piece.is_resident() {
                            self.warming = Some(tokio::task::spawn_blocking(|| piece.warm()));
                            return Ok((Sent::Warming, sent));
                        }
                        self.resident = bytes;
                    }
                    self.send_range(stream)
                }
            };
            match step {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok((Sent::Blocked, sent));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.front.shrink(KEEP_BYTES);
        Ok((Sent::All, sent))
    }

    fn send_bytes(&mut self, stream: &TcpStream) -> io::Result<u64> {
        let (bytes, more) = self.front.front_bytes();
        // A head goes into the same segment as the records behind it.
        let flags = if more {
            SendFlags::NOSIGNAL | SendFlags::MORE
        } else {
            SendFlags::NOSIGNAL
        };
        let sent = stream.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::send(stream.as_fd(), bytes, flags)?)
        })?;
        self.front.advance_bytes(sent);
        Ok(sent as u64)
    }

    fn send_range(&mut self, stream: &TcpStream) -> io::Result<u64> {
        let resident = self.resident;
        let Some(range) = self.front.front_range() else {
            return Ok(0);
        };
        let bytes = range.remaining.min(resident).min(TURN_BYTES);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut position = range.position;
        let sent = stream.try_io(Interest::WRITABLE, || {
            let (to, from) = (stream.as_fd(), range.file.as_fd());
            Ok(rustix::fs::sendfile(to, from, Some(&mut position), bytes)?)
        })?;
        if sent == 0 {
            // The frame's length is on its way already: only closing tells the peer.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let sent = sent as u64;
        self.resident = if sent == range.remaining {
            0
        } else {
            resident.saturating_sub(sent)
        };
        self.front.advance_range(sent);
        Ok(sent)
    }
}

/// Why a connection can go on no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The socket, or the file that was being sent.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// We close it.
    #[error(transparent)]
    Close(#[from] CloseReason),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn payload(bytes: &[u8]) -> Payload {
        let mut payload = Payload::default();
        payload.push_bytes(bytes);
        payload
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bind");
        let address = listener.local_addr().expect("address");
        let near = TcpStream::connect(address).await.expect("connect");
        (near, listener.accept().await.expect("accept").0)
    }

    #[tokio::test]
    async fn answers_leave_in_request_order() {
        let (near, far) = pair().await;
        let mut outbox = Outbox::default();
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        outbox.tail().push_bytes(b"1");
        outbox.push_later(Later {
            answer: Box::pin(async move {
                finished.await.ok();
                Ok(payload(b"2"))
            }),
            kind: LaterKind::Overlapping,
        });
        outbox.tail().push_bytes(b"3");
        outbox.tail().push_bytes(b"4");
        far.writable().await.expect("writable");
        assert_eq!(outbox.send(&far).expect("sends"), (Sent::All, 1));
        assert!(!outbox.is_empty() && !outbox.holds_requests());
        finish.send(()).expect("still waited for");
        std::future::poll_fn(|cx| outbox.poll_progress(cx))
            .await
            .expect("progress");
        assert_eq!(outbox.send(&far).expect("sends"), (Sent::All, 3));
        assert!(outbox.is_empty());
        drop(far);
        let mut got = Vec::new();
        let mut near = near;
        tokio::io::AsyncReadExt::read_to_end(&mut near, &mut got)
            .await
            .expect("reads");
        assert_eq!(got, b"1234");
    }

    #[tokio::test]
    async fn file_ranges_stand_between_heads() {
        let (near, far) = pair().await;
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(b"0123456789").expect("write");
        let mut outbox = Outbox::default();
        outbox.tail().push_bytes(b"<");
        outbox.tail().push_range(Arc::new(file), 3, 4);
        outbox.tail().push_bytes(b">");
        far.writable().await.expect("writable");
        while outbox.send(&far).expect("sends").0 != Sent::All {
            std::future::poll_fn(|cx| outbox.poll_progress(cx))
                .await
                .expect("progress");
        }
        drop(far);
        let mut got = Vec::new();
        let mut near = near;
        tokio::io::AsyncReadExt::read_to_end(&mut near, &mut got)
            .await
            .expect("reads");
        assert_eq!(got, b"<3456>");
    }

    #[tokio::test]
    async fn a_range_beyond_the_file_breaks_the_connection() {
        let (_near, far) = pair().await;
        let mut outbox = Outbox::default();
        outbox
            .tail()
            .push_range(Arc::new(tempfile::tempfile().expect("file")), 0, 4);
        far.writable().await.expect("writable");
        assert!(outbox.send(&far).is_err());
    }
}
