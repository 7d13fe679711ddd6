//! What waits to be sent to one connection, in order, each message held until the state that it
//! shows is durable.
//!
//! Bounded: answers by the reader, which takes no further request while [`Outbox::room`] waits;
//! watch events by closing the connection of whoever does not read them.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::journal::Progress;

/// Above this, the connection's next request waits.
const READ_PAUSE_BYTES: usize = 256 << 10;
const READ_PAUSE_MESSAGES: usize = 1024;
/// Small messages are sent together up to this.
const WRITE_BYTES: usize = 64 << 10;

#[derive(Debug)]
struct Message {
    zxid: i64,
    bytes: Bytes,
    /// When the request came that this answers.
    asked: Option<Instant>,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    finishing: bool,
}

/// The queue between the engine and one connection's writer.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    drained: Notify,
    closed: CancellationToken,
    bytes_max: usize,
}

impl Outbox {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
            closed: CancellationToken::new(),
            bytes_max,
        }
    }

    /// Queues an answer that shows the state of `zxid`.
    pub(super) fn reply(&self, zxid: i64, bytes: Bytes, asked: Option<Instant>) {
        self.push(Message { zxid, bytes, asked });
    }

    /// Queues a watch event; a reader that lets too many wait is cut off. True when it was.
    pub(super) fn event(&self, zxid: i64, bytes: Bytes) -> bool {
        let waiting = self.push(Message {
            zxid,
            bytes,
            asked: None,
        });
        let slow = waiting > self.bytes_max && !self.closed.is_cancelled();
        if slow {
            self.close();
        }
        slow
    }

    /// Sends what waits, then closes the connection.
    pub(super) fn finish(&self) {
        self.queue.lock().finishing = true;
        self.filled.notify_one();
    }

    /// Closes the connection now.
    pub(super) fn close(&self) {
        self.closed.cancel();
        *self.queue.lock() = Queue::default();
    }

    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.lock().messages.is_empty()
    }

    /// Waits until the peer has taken enough of its answers.
    pub(super) async fn room(&self) {
        loop {
            {
                let queue = self.queue.lock();
                let few = queue.messages.len() < READ_PAUSE_MESSAGES;
                if few && queue.bytes < READ_PAUSE_BYTES {
                    return;
                }
            }
            self.drained.notified().await;
        }
    }

    /// Sends to `socket` until the end; `sent` hears of each batch: its messages, and when the
    /// requests came that it answers.
    pub(super) async fn pump(
        &self,
        mut socket: impl AsyncWrite + Unpin,
        mut progress: watch::Receiver<Progress>,
        mut sent: impl FnMut(usize, &[Instant]),
    ) -> std::io::Result<()> {
        let mut answered = Vec::new();
        loop {
            let Some(zxid) = self.front() else {
                if self.queue.lock().finishing {
                    return socket.shutdown().await;
                }
                self.filled.notified().await;
                continue;
            };
            let reached = |p: &Progress| p.zxid >= zxid || p.broken.is_some();
            let durable = match progress.wait_for(reached).await {
                Ok(progress) if progress.broken.is_none() => progress.zxid,
                _ => return Ok(()),
            };
            let mut batch = BytesMut::new();
            let mut count = 0;
            while let Some(message) = self.next(durable, WRITE_BYTES.saturating_sub(batch.len())) {
                count += 1;
                answered.extend(message.asked);
                if message.bytes.len() >= WRITE_BYTES {
                    socket.write_all(&batch).await?;
                    batch.clear();
                    socket.write_all(&message.bytes).await?;
                } else {
                    batch.extend_from_slice(&message.bytes);
                }
            }
            socket.write_all(&batch).await?;
            self.drained.notify_one();
            sent(count, &answered);
            answered.clear();
        }
    }

    fn push(&self, message: Message) -> usize {
        let mut queue = self.queue.lock();
        if queue.finishing || self.closed.is_cancelled() {
            return 0;
        }
        queue.bytes += message.bytes.len();
        queue.messages.push_back(message);
        self.filled.notify_one();
        queue.bytes
    }

    fn front(&self) -> Option<i64> {
        self.queue.lock().messages.front().map(|m| m.zxid)
    }

    /// The next message if it may go and there is room in the batch.
    fn next(&self, durable: i64, room: usize) -> Option<Message> {
        let mut queue = self.queue.lock();
        let message = queue
            .messages
            .pop_front_if(|m| m.zxid <= durable && room > 0)?;
        queue.bytes -= message.bytes.len();
        Some(message)
    }
}

#[cfg(test)]
mod tests;
