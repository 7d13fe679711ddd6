//! The promise of a batch and the futures that wait for it.
//!
//! One shared state a batch, not one channel a record: a producer of small records would
//! otherwise spend more on its acks than on its bytes. A batch that is split keeps its promise,
//! which is then fulfilled in parts.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;
use nyala_coordinator::ids::TopicPartition;
use parking_lot::Mutex;

use super::record::RecordMetadata;
use crate::error::SendError;

/// Where a batch, or a part of one, was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Offset of the first record; `None` when the broker did not say.
    pub(crate) base_offset: Option<i64>,
    /// The broker's timestamp, if it overrides the records' own.
    pub(crate) log_append_time_ms: Option<i64>,
}

type Settled = Result<Placed, SendError>;
type Parts = Arc<Vec<(u32, Settled)>>;

/// Resolves to the place of one record, or to the reason why it was refused.
///
/// Dropping it does not stop the record.
#[derive(Debug)]
#[must_use = "an ack that nobody awaits hides a refused record"]
pub struct Ack {
    shared: Shared<oneshot::Receiver<Parts>>,
    target: Arc<TopicPartition>,
    index: u32,
    timestamp_ms: i64,
}

impl Ack {
    /// The partition that the record was put in.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.target
    }

    fn metadata(&self, parts: &[(u32, Settled)]) -> Result<RecordMetadata, SendError> {
        let after = parts.partition_point(|(first, _)| *first <= self.index);
        let part = after.checked_sub(1).and_then(|i| parts.get(i));
        let Some((first, settled)) = part else {
            return Err(SendError::Closed);
        };
        let placed = settled.clone()?;
        let delta = i64::from(self.index - first);
        Ok(RecordMetadata {
            topic: self.target.topic.clone(),
            partition: self.target.partition,
            offset: placed.base_offset.map(|base| base.saturating_add(delta)),
            timestamp_ms: placed.log_append_time_ms.unwrap_or(self.timestamp_ms),
        })
    }
}

impl Future for Ack {
    type Output = Result<RecordMetadata, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.shared.poll_unpin(cx) {
            Poll::Pending => Poll::Pending,
            // The producer went away with the batch unsent.
            Poll::Ready(Err(_)) => Poll::Ready(Err(SendError::Closed)),
            Poll::Ready(Ok(parts)) => Poll::Ready(self.metadata(&parts)),
        }
    }
}

/// Waits until every record of a batch is settled, whatever the outcome.
#[derive(Clone, Debug)]
pub(crate) struct Settlement(Shared<oneshot::Receiver<Parts>>);

impl Settlement {
    pub(crate) fn is_settled(&self) -> bool {
        self.0.peek().is_some()
    }

    pub(crate) async fn wait(self) {
        // A cancelled promise is settled too: nothing will come any more.
        let _ = self.0.await;
    }
}

#[derive(Debug)]
struct Collector {
    open: u32,
    parts: Vec<(u32, Settled)>,
    sender: Option<oneshot::Sender<Parts>>,
}

/// The sender's side: must be settled once for every record range it stands for.
#[derive(Debug)]
pub(crate) struct Promise {
    collector: Arc<Mutex<Collector>>,
    first: u32,
}

/// The batcher's side, while the batch is open: gives out acks.
#[derive(Debug)]
pub(crate) struct AckSource {
    shared: Shared<oneshot::Receiver<Parts>>,
    target: Arc<TopicPartition>,
}

impl AckSource {
    /// A new promise for a batch of `target`.
    pub(crate) fn new(target: TopicPartition) -> (Self, Promise) {
        let (sender, receiver) = oneshot::channel();
        let collector = Collector {
            open: 1,
            parts: Vec::new(),
            sender: Some(sender),
        };
        let source = Self {
            shared: receiver.shared(),
            target: Arc::new(target),
        };
        let promise = Promise {
            collector: Arc::new(Mutex::new(collector)),
            first: 0,
        };
        (source, promise)
    }

    /// The ack of the `index`-th record of the batch.
    pub(crate) fn ack(&self, index: u32, timestamp_ms: i64) -> Ack {
        Ack {
            shared: self.shared.clone(),
            target: Arc::clone(&self.target),
            index,
            timestamp_ms,
        }
    }

    pub(crate) fn settlement(&self) -> Settlement {
        Settlement(self.shared.clone())
    }
}

impl Promise {
    /// Index, within the batch as it was filled, of the first record that this promise covers.
    pub(crate) fn first(&self) -> u32 {
        self.first
    }

    /// Cuts off the records from the `at`-th one (counted from this promise's first).
    pub(crate) fn split(&mut self, at: u32) -> Self {
        self.collector.lock().open += 1;
        Self {
            collector: Arc::clone(&self.collector),
            first: self.first + at,
        }
    }

    /// Settles the records that this promise covers.
    pub(crate) fn settle(self, outcome: Settled) {
        let mut collector = self.collector.lock();
        collector.parts.push((self.first, outcome));
        collector.open -= 1;
        if collector.open == 0
            && let Some(sender) = collector.sender.take()
        {
            let mut parts = std::mem::take(&mut collector.parts);
            parts.sort_by_key(|(first, _)| *first);
            // Nobody may be waiting: that is the caller's choice.
            let _ = sender.send(Arc::new(parts));
        }
    }
}

#[cfg(test)]
mod tests {
    use nyala_coordinator::ids::{PartitionIndex, TopicName};

    use super::*;

    fn source() -> (AckSource, Promise) {
        AckSource::new(TopicPartition {
            topic: TopicName::new("t").expect("legal"),
            partition: PartitionIndex(1),
        })
    }

    fn at(base: i64) -> Settled {
        Ok(Placed {
            base_offset: Some(base),
            log_append_time_ms: None,
        })
    }

    #[test]
    fn offsets_count_from_the_base() {
        let (source, promise) = source();
        let (a, b) = (source.ack(0, 7), source.ack(2, 8));
        promise.settle(at(40));
        let a = a.now_or_never().expect("settled").expect("placed");
        let b = b.now_or_never().expect("settled").expect("placed");
        assert_eq!((a.offset, a.timestamp_ms), (Some(40), 7));
        assert_eq!((b.offset, b.timestamp_ms), (Some(42), 8));
    }

    #[test]
    fn a_split_batch_settles_in_parts() {
        let (source, mut promise) = source();
        let mut tail = promise.split(2);
        let last = tail.split(1);
        let acks: Vec<Ack> = (0..4).map(|i| source.ack(i, 0)).collect();
        last.settle(Err(SendError::Closed));
        promise.settle(at(100));
        assert!(source.ack(0, 0).now_or_never().is_none(), "one part is out");
        tail.settle(at(300));
        let offsets: Vec<Option<i64>> = acks
            .into_iter()
            .map(|a| a.now_or_never().expect("settled"))
            .map(|r| r.ok().and_then(|m| m.offset))
            .collect();
        assert_eq!(offsets, [Some(100), Some(101), Some(300), None]);
    }

    #[test]
    fn a_dropped_promise_says_closed() {
        let (source, promise) = source();
        let ack = source.ack(0, 0);
        drop(promise);
        let outcome = ack.now_or_never().expect("cancelled");
        assert!(matches!(outcome, Err(SendError::Closed)));
    }
}
