//! Records gather here, per partition, until a batch is worth sending. Pure: `now` comes in.
//!
//! Every partition has at most one open batch and a queue of full ones. A batch is ready when it
//! is full, when `linger` has passed since its first record, or when somebody flushes; it stays
//! open until the sender takes it, so a busy broker gets fuller batches.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};

use super::ack::{Ack, AckSource, Promise, Settlement};
use super::record::{RECORD_OVERHEAD_BYTES, Record};

pub(crate) use crate::wire::batch::HEAD_BYTES as BATCH_HEAD_BYTES;

/// A batch that the sender has taken.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) target: TopicPartition,
    /// Never empty. Timestamps are set.
    pub(crate) records: Vec<Record>,
    /// What the records take in the batch, before compression.
    pub(crate) bytes: usize,
    pub(crate) created: Instant,
    pub(crate) promise: Promise,
}

impl Batch {
    /// What the batch takes of the producer's memory.
    pub(crate) fn memory(&self) -> usize {
        self.bytes + self.records.len() * RECORD_OVERHEAD_BYTES
    }
}

#[derive(Debug)]
struct OpenBatch {
    batch: Batch,
    acks: AckSource,
}

#[derive(Debug, Default)]
struct Queue {
    full: VecDeque<OpenBatch>,
    open: Option<OpenBatch>,
}

/// When a batch is full, and how long it may wait to become so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    pub(crate) batch_bytes_max: usize,
    pub(crate) linger: Duration,
}

impl BatchLimits {
    /// Does `batch` take `bytes` more?
    fn take(&self, batch: &Batch, bytes: usize) -> bool {
        BATCH_HEAD_BYTES + batch.bytes + bytes <= self.batch_bytes_max
    }
}

/// All batches that the sender has not taken. Partitions without any have no entry.
#[derive(Debug)]
pub(crate) struct Batcher {
    limits: BatchLimits,
    queues: BTreeMap<TopicPartition, Queue>,
    /// Flushes under way: while any is, everything is ready.
    flushing: usize,
    /// Batches that may not be settled yet, also those that the sender has taken.
    unsettled: Vec<Settlement>,
    prune_at: usize,
}

/// Settled batches that are remembered before they are looked for.
const PRUNE_AT_MIN: usize = 64;

impl Batcher {
    pub(crate) fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            queues: BTreeMap::new(),
            flushing: 0,
            unsettled: Vec::new(),
            prune_at: PRUNE_AT_MIN,
        }
    }

    /// Does the open batch of this partition take `bytes` more?
    pub(crate) fn has_room(
        &self,
        topic: &TopicName,
        partition: PartitionIndex,
        bytes: usize,
    ) -> bool {
        let target = TopicPartition {
            topic: topic.clone(),
            partition,
        };
        let open = self.queues.get(&target).and_then(|q| q.open.as_ref());
        open.is_some_and(|o| self.limits.take(&o.batch, bytes))
    }

    /// Adds `record` of `bytes` to the partition. The flag says whether the sender has something
    /// new to look at: a first record (its linger begins) or a full batch.
    pub(crate) fn append(
        &mut self,
        target: &TopicPartition,
        record: Record,
        bytes: usize,
        now: Instant,
    ) -> (Ack, bool) {
        let limits = self.limits;
        if !self.queues.contains_key(target) {
            self.queues.insert(target.clone(), Queue::default());
        }
        let queue = self.queues.entry(target.clone()).or_default();
        if let Some(full) = queue.open.take_if(|o| !limits.take(&o.batch, bytes)) {
            queue.full.push_back(full);
        }
        let mut news = queue.open.is_none();
        let open = queue.open.get_or_insert_with(|| {
            let (acks, promise) = AckSource::new(target.clone());
            if self.unsettled.len() >= self.prune_at {
                self.unsettled.retain(|s| !s.is_settled());
                self.prune_at = PRUNE_AT_MIN.max(2 * self.unsettled.len());
            }
            self.unsettled.push(acks.settlement());
            let batch = Batch {
                target: target.clone(),
                records: Vec::new(),
                bytes: 0,
                created: now,
                promise,
            };
            OpenBatch { batch, acks }
        });
        let index = u32::try_from(open.batch.records.len()).unwrap_or(u32::MAX);
        let ack = open.acks.ack(index, record.timestamp_ms.unwrap_or(-1));
        open.batch.bytes += bytes;
        open.batch.records.push(record);
        if BATCH_HEAD_BYTES + open.batch.bytes >= limits.batch_bytes_max {
            queue.full.extend(queue.open.take());
            news = true;
        }
        (ack, news)
    }

    /// Partitions with a batch that is ready.
    pub(crate) fn ready(&self, now: Instant) -> Vec<TopicPartition> {
        let ready = |q: &Queue| !q.full.is_empty() || self.open_ready(q, now);
        let all = self.queues.iter().filter(|(_, q)| ready(q));
        all.map(|(target, _)| target.clone()).collect()
    }

    fn open_ready(&self, queue: &Queue, now: Instant) -> bool {
        let due = |o: &OpenBatch| self.flushing > 0 || now >= o.batch.created + self.limits.linger;
        queue.open.as_ref().is_some_and(due)
    }

    /// Size of the batch that [`Self::take`] would hand over.
    pub(crate) fn next_bytes(&self, target: &TopicPartition) -> Option<usize> {
        let queue = self.queues.get(target)?;
        let next = queue.full.front().or(queue.open.as_ref())?;
        Some(BATCH_HEAD_BYTES + next.batch.bytes)
    }

    /// Takes the oldest batch of the partition if it is ready.
    pub(crate) fn take(&mut self, target: &TopicPartition, now: Instant) -> Option<Batch> {
        let due = self.open_ready(self.queues.get(target)?, now);
        let queue = self.queues.get_mut(target)?;
        let taken = match queue.full.pop_front() {
            Some(full) => Some(full),
            None if due => queue.open.take(),
            None => None,
        };
        if queue.full.is_empty() && queue.open.is_none() {
            self.queues.remove(target);
        }
        taken.map(|t| t.batch)
    }

    /// Takes out every batch that was created before `horizon`: it waited too long.
    pub(crate) fn take_older(&mut self, horizon: Instant) -> Vec<Batch> {
        let mut old = Vec::new();
        self.queues.retain(|_, queue| {
            while let Some(batch) = queue.full.pop_front_if(|b| b.batch.created < horizon) {
                old.push(batch.batch);
            }
            let open = queue.open.take_if(|o| o.batch.created < horizon);
            old.extend(open.map(|o| o.batch));
            !queue.full.is_empty() || queue.open.is_some()
        });
        old
    }

    /// Takes out everything, as the producer ends.
    pub(crate) fn take_all(&mut self) -> Vec<Batch> {
        let queues = std::mem::take(&mut self.queues);
        let all = queues
            .into_values()
            .flat_map(|q| q.full.into_iter().chain(q.open));
        all.map(|o| o.batch).collect()
    }

    /// When the next open batch becomes ready by itself.
    pub(crate) fn next_linger_end(&self) -> Option<Instant> {
        let open = self.queues.values().filter_map(|q| q.open.as_ref());
        open.map(|o| o.batch.created + self.limits.linger).min()
    }

    /// Makes everything ready until [`Self::end_flush`]; hands back what to wait for.
    pub(crate) fn begin_flush(&mut self) -> Vec<Settlement> {
        self.flushing += 1;
        self.unsettled.retain(|s| !s.is_settled());
        self.unsettled.clone()
    }

    pub(crate) fn end_flush(&mut self) {
        self.flushing = self.flushing.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_millis(10);

    fn target(partition: i32) -> TopicPartition {
        TopicPartition {
            topic: TopicName::new("t").expect("legal"),
            partition: PartitionIndex(partition),
        }
    }

    fn batcher() -> Batcher {
        Batcher::new(BatchLimits {
            batch_bytes_max: BATCH_HEAD_BYTES + 100,
            linger: LINGER,
        })
    }

    fn put(batcher: &mut Batcher, partition: i32, bytes: usize, now: Instant) -> bool {
        let target = target(partition);
        let record = Record::new(target.topic.clone(), "v");
        batcher.append(&target, record, bytes, now).1
    }

    fn now() -> Instant {
        nyala_coordinator::clock::now()
    }

    #[test]
    fn linger_makes_an_open_batch_ready() {
        let (mut b, start) = (batcher(), now());
        assert!(put(&mut b, 0, 10, start), "the linger begins");
        assert!(!put(&mut b, 0, 10, start), "nothing new");
        assert!(b.ready(start).is_empty());
        assert_eq!(b.next_linger_end(), Some(start + LINGER));
        assert!(b.take(&target(0), start).is_none());
        assert_eq!(b.ready(start + LINGER), [target(0)]);
        let batch = b.take(&target(0), start + LINGER).expect("ready");
        assert_eq!((batch.records.len(), batch.bytes), (2, 20));
        assert!(b.queues.is_empty() && b.next_linger_end().is_none());
    }

    #[test]
    fn a_full_batch_is_ready_at_once_and_leaves_in_order() {
        let (mut b, start) = (batcher(), now());
        put(&mut b, 3, 60, start);
        assert!(b.has_room(&target(3).topic, PartitionIndex(3), 40));
        assert!(!b.has_room(&target(3).topic, PartitionIndex(3), 41));
        assert!(put(&mut b, 3, 60, start), "the first is full");
        assert!(put(&mut b, 3, 40, start), "exactly full");
        assert!(!b.has_room(&target(3).topic, PartitionIndex(3), 1));
        assert_eq!(b.next_bytes(&target(3)), Some(BATCH_HEAD_BYTES + 60));
        let sizes: Vec<usize> = std::iter::from_fn(|| b.take(&target(3), start))
            .map(|batch| batch.bytes)
            .collect();
        assert_eq!(sizes, [60, 100]);
    }

    #[test]
    fn a_record_larger_than_a_batch_gets_its_own() {
        let (mut b, start) = (batcher(), now());
        assert!(put(&mut b, 0, 5000, start));
        let batch = b.take(&target(0), start).expect("ready");
        assert_eq!(batch.records.len(), 1);
    }

    #[test]
    fn a_flush_makes_all_ready_until_it_ends() {
        let (mut b, start) = (batcher(), now());
        put(&mut b, 0, 10, start);
        put(&mut b, 1, 10, start);
        assert_eq!(b.begin_flush().len(), 2);
        assert_eq!(b.ready(start).len(), 2);
        b.end_flush();
        assert!(b.ready(start).is_empty());
        assert_eq!(b.take_all().len(), 2);
    }

    #[test]
    fn what_waited_too_long_comes_out() {
        let (mut b, start) = (batcher(), now());
        put(&mut b, 0, 100, start);
        put(&mut b, 0, 10, start + LINGER);
        assert_eq!(b.take_older(start + LINGER).len(), 1);
        assert_eq!(b.take_older(start + 2 * LINGER).len(), 1);
        assert!(b.queues.is_empty());
    }
}
