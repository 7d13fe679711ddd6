//! The leader's way: followers' fetches move the high watermark and the set of replicas in sync.

use nyala_coordinator::ids::{BrokerId, LeaderEpoch};

use super::{Arc, Partition, Standing};
use crate::replication::error::ReadError;
use crate::replication::isr::{IsrAnswer, IsrWish};
use crate::replication::state::{FollowerFetch, FollowerView};
use crate::storage::{self, EpochEnd, Log, Transactions};

impl Partition {
    /// Takes in that a follower fetches: it has everything below its offset. May raise the high
    /// watermark. A follower whose log parts from ours is told where, and nothing is noted of it.
    pub fn note_fetch(&self, fetch: &FollowerFetch) -> Result<FollowerView, ReadError> {
        let mut log = self.log.lock();
        self.check_epoch(fetch.leader_epoch)?;
        let mut standing = self.standing.lock();
        let Standing { state, lead, .. } = &mut *standing;
        let (Some(state), Some(lead)) = (state, lead) else {
            return Err(ReadError::NotLeader(self.id.clone()));
        };
        let Some(follower) = lead.follower(fetch.broker) else {
            return Err(ReadError::NotReplica {
                broker: fetch.broker,
                partition: self.id.clone(),
                knows_epoch: fetch.leader_epoch.is_some(),
            });
        };
        if follower.is_from_the_past(fetch.broker_epoch) {
            return Err(ReadError::StaleBroker {
                broker: fetch.broker,
                broker_epoch: fetch.broker_epoch,
            });
        }
        if let Some(diverging) = divergence(&log, fetch)? {
            return Ok(FollowerView {
                diverging: Some(diverging),
                may_join: false,
            });
        }
        let start_moved = follower.log_start != fetch.log_start;
        let may_join = lead.note(state, fetch, &self.moment(&log));
        let before = log.high_watermark();
        let watermark = self.raise_watermark_in(&mut log, &standing);
        drop(standing);
        drop(log);
        if start_moved {
            self.waits.wake();
        } else if watermark > before {
            self.waits.wake_at(watermark);
        }
        Ok(FollowerView {
            diverging: None,
            may_join,
        })
    }

    /// The set of replicas in sync that this leader would like, if another than there is; it counts
    /// as under way from now on, until [`isr_answered`](Self::isr_answered) or newer facts. `live`
    /// gives the epoch of a broker's registration while there is one.
    pub fn isr_wish(&self, live: &dyn Fn(BrokerId) -> Option<i64>) -> Option<IsrWish> {
        let log = self.log.lock();
        let mut standing = self.standing.lock();
        let Standing { state, lead, .. } = &mut *standing;
        let state = state.as_ref()?;
        let wish = lead.as_mut()?.wish(state, &self.moment(&log), live)?;
        let isr: Vec<i32> = wish.isr.iter().map(|(id, _)| id.0).collect();
        let before: Vec<i32> = state.isr.iter().map(|id| id.0).collect();
        tracing::info!("{}: in sync {before:?}, asking for {isr:?}", self.id);
        Some(wish)
    }

    /// What became of a wish. An answer to a wish that newer facts have overtaken is ignored.
    pub fn isr_answered(&self, wish: &IsrWish, answer: &IsrAnswer) {
        let mut log = self.log.lock();
        let mut standing = self.standing.lock();
        let Standing { state, lead, .. } = &mut *standing;
        let (Some(known), Some(lead)) = (state.as_ref(), lead) else {
            return;
        };
        let now = tokio::time::Instant::now();
        if let Some(next) = lead.answered(known, wish, answer, now) {
            *state = Some(Arc::new(next));
        }
        self.publish(&standing);
        // The set may be down to this broker: nobody else's fetch would raise it (KAFKA-13091).
        let before = log.high_watermark();
        let watermark = self.raise_watermark_in(&mut log, &standing);
        drop(standing);
        drop(log);
        if watermark > before {
            self.waits.wake_at(watermark);
        }
    }

    /// First offset that every replica which is alive still has: below it all is deleted. `None` if
    /// this broker does not lead.
    #[must_use]
    pub fn low_watermark(&self, is_alive: &dyn Fn(BrokerId) -> bool) -> Option<i64> {
        let log = self.log.lock();
        let standing = self.standing.lock();
        let followers = standing.lead.as_ref()?.followers().iter();
        let starts = followers.filter(|f| is_alive(f.id)).map(|f| f.log_start);
        Some(starts.fold(log.log_start(), i64::min))
    }

    /// Tells the operator, once, of transactions that Kafka wrote into a log which is led here now:
    /// this version does not filter what was aborted.
    pub(super) fn tell_transactions(&self, log: &Log, told: Transactions) -> Transactions {
        let seen = log.transactions();
        if seen <= told {
            return told;
        }
        let id = &self.id;
        match seen {
            Transactions::None => {}
            Transactions::Some => tracing::warn!(
                "{id} holds records of transactions, which this version does not know: if some were \
                 aborted, readers with isolation.level=read_committed get those, too"
            ),
            Transactions::Aborted => tracing::warn!(
                "{id} holds records of aborted transactions, which this version does not know: readers \
                 with isolation.level=read_committed get them, too"
            ),
        }
        if let Some(offset) = log.first_unstable_offset() {
            tracing::warn!(
                "{id} holds a transaction that was not ended, and nobody ends it here: readers with \
                 isolation.level=read_committed get nothing from offset {offset} on"
            );
        }
        seen
    }

    /// A broker has left the cluster, or came back as a new one: the high watermark does not wait
    /// for it unless it is in sync.
    pub fn forget_follower(&self, broker: BrokerId) {
        let mut log = self.log.lock();
        let mut standing = self.standing.lock();
        let Standing { state, lead, .. } = &mut *standing;
        let (Some(state), Some(lead)) = (state.as_ref(), lead) else {
            return;
        };
        lead.forget(broker, state);
        let before = log.high_watermark();
        let watermark = self.raise_watermark_in(&mut log, &standing);
        drop(standing);
        drop(log);
        if watermark > before {
            self.waits.wake_at(watermark);
        }
    }
}

/// Where the follower's log parts from ours, by the epoch of its last record (KIP-320, KIP-595).
fn divergence(log: &Log, fetch: &FollowerFetch) -> Result<Option<EpochEnd>, storage::ReadError> {
    let range = log.log_start()..=log.next_offset();
    let out_of_range = || storage::ReadError::OffsetOutOfRange {
        offset: fetch.offset,
        log_start: log.log_start(),
        next_offset: log.next_offset(),
    };
    if let Some(last_epoch) = fetch.last_epoch {
        let Some(end) = log.epoch_end_offset(last_epoch) else {
            return Err(out_of_range());
        };
        if fetch.offset < log.log_start() {
            return Err(out_of_range());
        }
        if parts(end, last_epoch, fetch.offset) {
            return Ok(Some(end));
        }
    }
    match range.contains(&fetch.offset) {
        true => Ok(None),
        false => Err(out_of_range()),
    }
}

/// Whether a log whose last epoch is `epoch` and that ends at `offset` has what we have not.
fn parts(end: EpochEnd, epoch: LeaderEpoch, offset: i64) -> bool {
    end.leader_epoch < epoch || end.end_offset < offset
}
