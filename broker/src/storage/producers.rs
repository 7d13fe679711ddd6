//! What the log knows of idempotent and transactional producers (KIP-98): pure state.
//!
//! Per producer id: epoch, the last five batches (to answer a repeated one with its first offsets), the
//! first offset of an open transaction. Checked before an append changes anything (KAFKA-6683), then
//! noted; recovery notes what the log holds and arrives at the same state.

use std::collections::{BTreeMap, HashMap};

use super::AppendError;
use super::batch_head::{BatchHead, Marker};
use super::sequence::{next_sequence, subtract_sequence};

/// Batches kept per producer: as many as a producer has in flight (max.in.flight <= 5).
const BATCHES_KEPT: usize = 5;
const NO_SEQUENCE: i32 = -1;

/// One batch of a producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProducedBatch {
    pub(crate) last_sequence: i32,
    pub(crate) last_offset: i64,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp_ms: i64,
}

impl ProducedBatch {
    pub(crate) fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }

    fn first_sequence(&self) -> i32 {
        subtract_sequence(self.last_sequence, self.offset_delta)
    }
}

/// One producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    /// Oldest first; `batches_known` of them count.
    batches: [ProducedBatch; BATCHES_KEPT],
    batches_known: u8,
    pub(crate) last_timestamp_ms: i64,
    pub(crate) coordinator_epoch: i32,
    pub(crate) transaction_first_offset: Option<i64>,
}

impl Producer {
    pub(crate) fn new(epoch: i16) -> Self {
        Self {
            epoch,
            batches: [ProducedBatch::default(); BATCHES_KEPT],
            batches_known: 0,
            last_timestamp_ms: -1,
            coordinator_epoch: -1,
            transaction_first_offset: None,
        }
    }

    fn known(&self) -> &[ProducedBatch] {
        self.batches
            .get(..usize::from(self.batches_known))
            .unwrap_or_default()
    }

    pub(crate) fn last_batch(&self) -> Option<&ProducedBatch> {
        self.known().last()
    }

    fn last_sequence(&self) -> i32 {
        self.last_batch().map_or(NO_SEQUENCE, |b| b.last_sequence)
    }

    fn set_epoch(&mut self, epoch: i16) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.batches_known = 0;
        }
    }

    pub(crate) fn push(&mut self, batch: ProducedBatch) {
        let known = usize::from(self.batches_known);
        if known == BATCHES_KEPT {
            self.batches.rotate_left(1);
        } else {
            self.batches_known += 1;
        }
        if let Some(slot) = self.batches.get_mut(known.min(BATCHES_KEPT - 1)) {
            *slot = batch;
        }
    }
}

/// Verdict on a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// To be appended.
    New,
    /// Appended before, as this.
    Duplicate(ProducedBatch),
}

/// What a log holds of transactions, as far as it was seen. Only Kafka's brokers write any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transactions {
    /// None.
    #[default]
    None,
    /// Some; whether all of them were committed is not known.
    Some,
    /// Some that were aborted: their records are in the log, and readers are to skip them.
    Aborted,
}

/// All producers of a log.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
    /// Open transactions: first offset -> producer.
    open: BTreeMap<i64, i64>,
    seen: Transactions,
}

impl Producers {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }

    pub(crate) fn clear(&mut self) {
        self.by_id = HashMap::new();
        self.open.clear();
    }

    /// Takes a producer from a snapshot.
    pub(crate) fn insert(&mut self, id: i64, producer: Producer) {
        if let Some(first) = producer.transaction_first_offset {
            self.open.insert(first, id);
        }
        // Only the end of a transaction has an epoch of its coordinator.
        if producer.transaction_first_offset.is_some() || producer.coordinator_epoch >= 0 {
            self.saw(Transactions::Some);
        }
        self.by_id.insert(id, producer);
    }

    /// First offset of the oldest open transaction.
    pub(crate) fn first_unstable_offset(&self) -> Option<i64> {
        self.open.keys().next().copied()
    }

    /// What was seen of transactions so far.
    pub(crate) fn transactions(&self) -> Transactions {
        self.seen
    }

    /// Something was seen of transactions.
    pub(crate) fn saw(&mut self, transactions: Transactions) {
        self.seen = self.seen.max(transactions);
    }

    /// Judges a client's batch; changes nothing.
    pub(crate) fn check(&self, head: &BatchHead) -> Result<Checked, AppendError> {
        if !head.has_producer_id() || head.is_control() {
            return Ok(Checked::New);
        }
        let Some(producer) = self.by_id.get(&head.producer_id) else {
            // Its records may be gone by retention: any sequence is accepted, as in Kafka.
            return Ok(Checked::New);
        };
        if head.producer_epoch < producer.epoch {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: head.producer_id,
                producer_epoch: head.producer_epoch,
                current_epoch: producer.epoch,
            });
        }
        let last_sequence = if head.producer_epoch == producer.epoch {
            if let Some(batch) = repeated(producer, head) {
                return Ok(Checked::Duplicate(batch));
            }
            producer.last_sequence()
        } else {
            NO_SEQUENCE
        };
        if head.base_sequence == next_sequence(last_sequence) {
            return Ok(Checked::New);
        }
        Err(AppendError::OutOfOrderSequence {
            producer_id: head.producer_id,
            producer_epoch: head.producer_epoch,
            sequence: head.base_sequence,
            last_sequence,
        })
    }

    /// Notes a batch that is in the log, with its offsets. `marker` is what a control batch says.
    pub(crate) fn note(&mut self, head: &BatchHead, marker: Option<Marker>) {
        if !head.has_producer_id() {
            return;
        }
        let producer = self
            .by_id
            .entry(head.producer_id)
            .or_insert_with(|| Producer::new(head.producer_epoch));
        producer.set_epoch(head.producer_epoch);
        producer.last_timestamp_ms = head.max_timestamp;
        if head.is_transactional() {
            let aborted = marker.is_some_and(|marker| !marker.commit);
            let seen = if aborted {
                Transactions::Aborted
            } else {
                Transactions::Some
            };
            self.seen = self.seen.max(seen);
        }
        if let Some(marker) = marker {
            producer.coordinator_epoch = marker.coordinator_epoch;
            if let Some(first) = producer.transaction_first_offset.take() {
                self.open.remove(&first);
            }
        } else if !head.is_control() {
            producer.push(ProducedBatch {
                last_sequence: head.last_sequence(),
                last_offset: head.last_offset(),
                offset_delta: head.last_offset_delta,
                timestamp_ms: head.max_timestamp,
            });
            if head.is_transactional() && producer.transaction_first_offset.is_none() {
                producer.transaction_first_offset = Some(head.base_offset);
                self.open.insert(head.base_offset, head.producer_id);
            }
        }
    }

    /// Forgets producers that were silent for `expiration_ms`, but for those with an open transaction
    /// (KAFKA-9144).
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_id.retain(|_, producer| {
            producer.transaction_first_offset.is_some()
                || now_ms.saturating_sub(producer.last_timestamp_ms) < expiration_ms
        });
        if self.by_id.is_empty() {
            self.by_id = HashMap::new();
        }
    }
}

fn repeated(producer: &Producer, head: &BatchHead) -> Option<ProducedBatch> {
    let same = |batch: &&ProducedBatch| {
        batch.first_sequence() == head.base_sequence && batch.last_sequence == head.last_sequence()
    };
    producer.known().iter().find(same).copied()
}

#[cfg(test)]
mod tests;
