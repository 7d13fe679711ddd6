//! The follower's way: batches come from the leader as they are, and what parts from it is cut.
//!
//! Every call names the epoch in which its bytes or answers were fetched; when the role has changed
//! since, nothing is done. A follower's high watermark is the leader's, as far as it has the records.

use nyala_client::wire::batch::{BatchError, Batches};
use nyala_coordinator::clock;
use nyala_coordinator::ids::LeaderEpoch;

use super::{Partition, Role};
use crate::replication::error::FollowError;
use crate::replication::state::{FetchPosition, LeaderOffsets};
use crate::storage::{EpochEnd, Log};

impl Partition {
    /// Where to go on fetching; `None` unless it follows a leader.
    #[must_use]
    pub fn fetch_position(&self) -> Option<FetchPosition> {
        let log = self.log.lock();
        let Role::Follower {
            leader: Some(leader),
            epoch,
        } = self.role()
        else {
            return None;
        };
        Some(FetchPosition {
            offset: log.next_offset(),
            last_epoch: log.latest_epoch(),
            log_start: log.log_start(),
            leader,
            leader_epoch: epoch,
        })
    }

    /// Appends what the leader sent in `epoch`, and takes over its offsets. What is left of a batch
    /// that is not whole at the end is ignored. Gives the end of the log.
    pub fn append_fetched(
        &self,
        epoch: LeaderEpoch,
        batches: &[u8],
        offsets: LeaderOffsets,
        now_ms: i64,
    ) -> Result<i64, FollowError> {
        let whole = self.whole_batches(epoch, batches)?;
        let mut log = self.log.lock();
        self.following(epoch)?;
        let end = log.append_replicated(whole, now_ms)?;
        let before = (log.high_watermark(), log.log_start());
        let watermark = offsets.high_watermark.min(end).max(before.0);
        log.set_high_watermark(watermark);
        let log_start = offsets.log_start.min(watermark);
        if log_start > before.1 {
            raise_log_start(&mut log, log_start)?;
        }
        let moved = log.high_watermark() > before.0;
        drop(log);
        if moved {
            self.waits.wake();
        }
        Ok(end)
    }

    /// The leader's log parts from ours: cuts ours to where `diverging`, its answer, or our own end
    /// of that epoch says (KIP-279). Gives the end of the log; the next fetch asks again.
    pub fn truncate_for(
        &self,
        epoch: LeaderEpoch,
        diverging: EpochEnd,
    ) -> Result<i64, FollowError> {
        let mut log = self.log.lock();
        self.following(epoch)?;
        let own = log.epoch_end_offset(diverging.leader_epoch);
        let target = decide_truncation(diverging, own, log.next_offset());
        let (watermark, end) = (log.high_watermark(), log.next_offset());
        if target < watermark {
            tracing::warn!(
                "{}: truncating to {target}, below the high watermark {watermark}",
                self.id
            );
        } else if target < end {
            tracing::info!("{}: truncating from {end} to {target}", self.id);
        }
        log.truncate_to(target)?;
        Ok(log.next_offset())
    }

    /// The leader's log starts behind the end of ours: empties ours, to go on at `offset`.
    pub fn restart_at(&self, epoch: LeaderEpoch, offset: i64) -> Result<(), FollowError> {
        let mut log = self.log.lock();
        self.following(epoch)?;
        tracing::warn!("{}: starting anew at {offset}", self.id);
        log.restart_at(offset, clock::wall_ms())?;
        drop(log);
        self.waits.wake();
        Ok(())
    }

    /// To be called under the log's lock.
    fn following(&self, epoch: LeaderEpoch) -> Result<(), FollowError> {
        match self.role() {
            Role::Follower { epoch: current, .. } if current == epoch => Ok(()),
            _ => Err(FollowError::NotFollowing {
                partition: self.id.clone(),
                epoch,
            }),
        }
    }

    /// The whole batches at the start of `bytes`, their checksums and epochs checked.
    fn whole_batches<'a>(
        &self,
        epoch: LeaderEpoch,
        bytes: &'a [u8],
    ) -> Result<&'a [u8], FollowError> {
        let partition = || self.id.clone();
        let mut whole = 0_usize;
        for batch in Batches::new(bytes) {
            let checked = batch.and_then(|batch| batch.check_crc().map(|()| batch));
            let batch = match checked {
                Ok(batch) => batch,
                Err(BatchError::Truncated { .. }) => break,
                Err(error) => {
                    let partition = partition();
                    return Err(FollowError::Damaged { partition, error });
                }
            };
            if batch.leader_epoch() > epoch.0 {
                return Err(FollowError::LaterEpoch {
                    partition: partition(),
                    found: batch.leader_epoch(),
                    epoch,
                });
            }
            whole += batch.size();
        }
        Ok(bytes.get(..whole).unwrap_or_default())
    }
}

/// Where to cut: the leader's end of the epoch that it answered with, but not behind our own end of
/// the largest epoch up to that one, for what we have behind that the leader does not.
fn decide_truncation(leader: EpochEnd, own: Option<EpochEnd>, end: i64) -> i64 {
    let own = own.map_or(end, |own| own.end_offset);
    leader.end_offset.min(own).min(end)
}

fn raise_log_start(log: &mut Log, offset: i64) -> Result<(), FollowError> {
    match log.delete_before(offset) {
        Ok(_) | Err(crate::storage::ReadError::OffsetOutOfRange { .. }) => Ok(()),
        Err(crate::storage::ReadError::Storage(error)) => Err(FollowError::Storage(error)),
    }
}
