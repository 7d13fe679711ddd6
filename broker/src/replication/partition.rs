//! One partition: who leads it, its log, its high watermark, and who waits for it.
//!
//! The log's lock is the partition's lock: role and log change under it together, it is held for
//! the length of one append or read and never across an await. Replication between brokers is not
//! there yet: the leader is the only replica in sync, so the high watermark is the log's end.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use arc_swap::ArcSwap;
use nyala_coordinator::ids::{LeaderEpoch, TopicId, TopicPartition};
use tokio::time::Instant;

use super::config::{PartitionConfig, TimestampType};
use super::error::{AppendError, ReadError, WaitError};
use super::isr::decide_high_watermark;
use super::terms::{Acks, Isolation, Offsets, ReadRequest, ReadSlice, Receipt};
use super::waits::{WaitSet, Waits};
use crate::storage::{
    AppendAs, Appended, Log, Origin, ReadAt, Reservation, SharedLog, StorageError,
};

/// One partition of this broker. Shared by `Arc`; every method may be called from any thread.
///
/// `log_start ≤ last_stable ≤ high_watermark ≤ next_offset`.
#[derive(Debug)]
pub struct Partition {
    id: TopicPartition,
    topic_id: Option<TopicId>,
    log: SharedLog,
    /// Epoch in which this broker leads; [`NOT_LEADING`] otherwise. Changes under the log's lock.
    epoch: AtomicI32,
    config: ArcSwap<PartitionConfig>,
    waits: Waits,
}

const NOT_LEADING: i32 = -1;

impl Partition {
    /// A partition that nobody leads yet.
    #[must_use]
    pub fn new(
        id: TopicPartition,
        topic_id: Option<TopicId>,
        log: SharedLog,
        config: Arc<PartitionConfig>,
    ) -> Self {
        Self {
            id,
            topic_id,
            log,
            epoch: AtomicI32::new(NOT_LEADING),
            config: ArcSwap::new(config),
            waits: Waits::default(),
        }
    }

    /// Topic and index.
    #[must_use]
    pub fn id(&self) -> &TopicPartition {
        &self.id
    }

    /// Id of the topic.
    #[must_use]
    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    /// The log, under the partition's lock.
    #[must_use]
    pub fn log(&self) -> &SharedLog {
        &self.log
    }

    /// Current configuration.
    #[must_use]
    pub fn config(&self) -> arc_swap::Guard<Arc<PartitionConfig>> {
        self.config.load()
    }

    /// Changes the configuration.
    pub fn set_config(&self, config: Arc<PartitionConfig>) {
        self.config.store(config);
    }

    /// Epoch in which this broker leads, if it does.
    #[must_use]
    pub fn leading(&self) -> Option<LeaderEpoch> {
        let epoch = self.epoch.load(Ordering::Acquire);
        (epoch != NOT_LEADING).then_some(LeaderEpoch(epoch))
    }

    /// Leads from now on, in `epoch`. Leading again in the same epoch changes nothing; an older
    /// epoch than the current one is ignored.
    pub fn lead(&self, epoch: LeaderEpoch) -> Result<(), StorageError> {
        let mut log = self.log.lock();
        if self.epoch.load(Ordering::Acquire) >= epoch.0 {
            return Ok(());
        }
        log.start_epoch(epoch)?;
        let end = log.next_offset();
        log.set_high_watermark(end);
        self.epoch.store(epoch.0, Ordering::Release);
        drop(log);
        self.waits.wake();
        Ok(())
    }

    /// Leads no more. Whoever waits is woken and finds out.
    pub fn resign(&self) {
        let log = self.log.lock();
        self.epoch.store(NOT_LEADING, Ordering::Release);
        drop(log);
        self.waits.wake();
    }

    /// Appends one batch whose CRC and records are checked.
    pub fn append(
        &self,
        batch: &[u8],
        origin: Origin,
        acks: Acks,
        now_ms: i64,
    ) -> Result<Receipt, AppendError> {
        self.append_by(origin, acks, now_ms, |log, how| Ok(log.append(batch, how)?))
    }

    /// Appends a batch of a coordinator, who read the partition in `epoch`: in another epoch other
    /// brokers may have written what it does not know.
    pub fn append_in(
        &self,
        epoch: LeaderEpoch,
        batch: &[u8],
        acks: Acks,
        now_ms: i64,
    ) -> Result<Receipt, AppendError> {
        self.append_by(Origin::Coordinator, acks, now_ms, |log, how| {
            if how.leader_epoch != epoch {
                return Err(AppendError::NotLeader(self.id.clone()));
            }
            Ok(log.append(batch, how)?)
        })
    }

    /// Room for one batch of `len` bytes, to be filled outside of the lock.
    pub fn reserve(&self, len: usize, now_ms: i64) -> Result<Reservation, AppendError> {
        let mut log = self.log.lock();
        self.leading_or_error()?;
        Ok(log.reserve(len, now_ms)?)
    }

    /// Appends what was filled into a reservation.
    pub fn commit(
        &self,
        reservation: Reservation,
        origin: Origin,
        acks: Acks,
        now_ms: i64,
    ) -> Result<Receipt, AppendError> {
        self.append_by(origin, acks, now_ms, |log, how| {
            Ok(log.commit(reservation, how)?)
        })
    }

    fn append_by(
        &self,
        origin: Origin,
        acks: Acks,
        now_ms: i64,
        append: impl FnOnce(&mut Log, &AppendAs) -> Result<Appended, AppendError>,
    ) -> Result<Receipt, AppendError> {
        let config = self.config.load();
        let needed = config.min_insync_replicas;
        if acks == Acks::All && needed > IN_SYNC {
            let (partition, in_sync) = (self.id.clone(), IN_SYNC);
            return Err(AppendError::NotEnoughReplicas {
                partition,
                in_sync,
                needed,
            });
        }
        let mut log = self.log.lock();
        let how = AppendAs {
            leader_epoch: self.leading_or_error()?,
            origin,
            now_ms,
            log_append_time: config.timestamp_type == TimestampType::LogAppendTime,
        };
        let appended = append(&mut log, &how)?;
        let end = log.next_offset();
        let watermark = decide_high_watermark(log.high_watermark(), [end].into_iter());
        let watermark = log.set_high_watermark(watermark);
        let durable = log.config().flush_before_ack.then(|| log.durable(end));
        drop(log);
        self.waits.wake();
        Ok(Receipt {
            replicated: watermark > appended.last_offset,
            appended,
            durable,
        })
    }

    /// Waits until the high watermark has passed `last_offset`.
    pub async fn wait_replicated(
        self: &Arc<Self>,
        last_offset: i64,
        deadline: Instant,
    ) -> Result<(), WaitError> {
        let mut set = WaitSet::new();
        set.add(self);
        let epoch = self.leading();
        loop {
            if self.log.lock().high_watermark() > last_offset {
                return Ok(());
            }
            if self.leading().is_none() || self.leading() != epoch {
                return Err(WaitError::NotLeader(self.id.clone()));
            }
            if tokio::time::timeout_at(deadline, set.moved())
                .await
                .is_err()
            {
                return Err(WaitError::TimedOut);
            }
        }
    }

    /// Finds record batches to send.
    pub fn read(&self, request: &ReadRequest) -> Result<ReadSlice, ReadError> {
        let log = self.log.lock();
        self.check_epoch(request.leader_epoch)?;
        let high_watermark = log.high_watermark();
        let last_stable = last_stable(&log);
        let slice = log.read(ReadAt {
            offset: request.offset,
            max_bytes: request.max_bytes,
            at_least_one: request.at_least_one,
            upper_bound: match request.isolation {
                Isolation::ReadUncommitted => high_watermark,
                Isolation::ReadCommitted => last_stable,
            },
        })?;
        Ok(ReadSlice {
            slice,
            high_watermark,
            last_stable,
            log_start: log.log_start(),
        })
    }

    /// First offset, last stable offset and high watermark, for a reader that knows `leader_epoch`.
    pub fn offsets(&self, leader_epoch: Option<i32>) -> Result<Offsets, ReadError> {
        let log = self.log.lock();
        self.check_epoch(leader_epoch)?;
        Ok(Offsets {
            log_start: log.log_start(),
            last_stable: last_stable(&log),
            high_watermark: log.high_watermark(),
            next: log.next_offset(),
        })
    }

    /// Refuses a reader with another idea of who leads (KIP-320).
    pub fn check_epoch(&self, asked: Option<i32>) -> Result<(), ReadError> {
        let current = self.epoch.load(Ordering::Acquire);
        if current == NOT_LEADING {
            return Err(ReadError::NotLeader(self.id.clone()));
        }
        match asked {
            Some(asked) if asked < current => Err(ReadError::FencedEpoch { asked, current }),
            Some(asked) if asked > current => Err(ReadError::UnknownEpoch { asked, current }),
            _ => Ok(()),
        }
    }

    fn leading_or_error(&self) -> Result<LeaderEpoch, AppendError> {
        self.leading()
            .ok_or_else(|| AppendError::NotLeader(self.id.clone()))
    }

    pub(super) fn waits(&self) -> &Waits {
        &self.waits
    }
}

/// Replicas in sync while there is no replication: the leader.
const IN_SYNC: usize = 1;

fn last_stable(log: &Log) -> i64 {
    let watermark = log.high_watermark();
    log.first_unstable_offset()
        .map_or(watermark, |offset| offset.min(watermark))
}

#[cfg(test)]
mod tests;
