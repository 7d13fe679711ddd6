//! The reader's way: record batches and offsets, for consumers and followers.

use nyala_coordinator::ids::{BrokerId, LeaderEpoch};

use super::{NOT_LEADING, Ordering, Partition, Role};
use crate::replication::error::ReadError;
use crate::replication::nearest::{Candidate, decide_read_replica};
use crate::replication::progress::Follower;
use crate::replication::terms::{Isolation, Offsets, ReadRequest, ReadSlice};
use crate::storage::{EpochEnd, Log, ReadAt};

impl Partition {
    /// Finds record batches to send.
    pub fn read(&self, request: &ReadRequest) -> Result<ReadSlice, ReadError> {
        let log = self.log.lock();
        self.check_reader(request)?;
        let high_watermark = log.high_watermark();
        let last_stable = last_stable(&log);
        let slice = log.read(ReadAt {
            offset: request.offset,
            max_bytes: request.max_bytes,
            at_least_one: request.at_least_one,
            upper_bound: match request.isolation {
                Isolation::ReadUncommitted => high_watermark,
                Isolation::ReadCommitted => last_stable,
                Isolation::LogEnd => log.next_offset(),
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

    /// Where `epoch` ended in the log of this leader, for a reader that knows `leader_epoch`.
    pub fn epoch_end(
        &self,
        epoch: LeaderEpoch,
        leader_epoch: Option<i32>,
    ) -> Result<Option<EpochEnd>, ReadError> {
        let log = self.log.lock();
        self.check_epoch(leader_epoch)?;
        Ok(log.epoch_end_offset(epoch))
    }

    /// The follower that a consumer at `offset` had better read from; `None` where this leader is
    /// best, and at a follower.
    pub fn nearest_replica(
        &self,
        offset: i64,
        is_near: &dyn Fn(BrokerId) -> bool,
    ) -> Option<BrokerId> {
        let standing = self.standing.lock();
        let (state, lead) = (standing.state.as_ref()?, standing.lead.as_ref()?);
        let holds = |follower: &&Follower| {
            let end = follower.end.unwrap_or(-1);
            state.isr.contains(&follower.id) && (follower.log_start..=end).contains(&offset)
        };
        let followers = lead.followers().iter().filter(holds);
        let candidates: Vec<Candidate> = followers
            .filter_map(|follower| {
                let (id, end) = (follower.id, follower.end?);
                Some(Candidate { id, end })
            })
            .collect();
        decide_read_replica(state.leader?, &candidates, is_near)
    }

    /// A new leader may not know yet how far its predecessor's high watermark was; until it has
    /// heard from its followers it does not say what the newest offset is (KIP-207).
    pub fn check_watermark_known(&self) -> Result<(), ReadError> {
        let log = self.log.lock();
        let standing = self.standing.lock();
        match &standing.lead {
            Some(lead) if lead.epoch_start > log.high_watermark() => {
                Err(ReadError::OffsetNotAvailable(self.id.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a reader with another idea of who leads (KIP-320).
    pub fn check_epoch(&self, asked: Option<i32>) -> Result<(), ReadError> {
        let current = self.epoch.load(Ordering::Acquire);
        if current == NOT_LEADING {
            return Err(ReadError::NotLeader(self.id.clone()));
        }
        compare(asked, current)
    }

    /// Whether this broker leads in `epoch` and may still believe it: what a coordinator asks before
    /// it answers from what it read in that epoch.
    #[must_use]
    pub fn serves_in(&self, epoch: LeaderEpoch) -> bool {
        self.leading() == Some(epoch) && self.may_serve()
    }

    fn check_reader(&self, request: &ReadRequest) -> Result<(), ReadError> {
        let asked = request.leader_epoch;
        let current = self.epoch.load(Ordering::Acquire);
        if current != NOT_LEADING {
            compare(asked, current)?;
            // A follower's fetch is what a leader that hears nothing else hopes for.
            return match request.isolation == Isolation::LogEnd || self.may_serve() {
                true => Ok(()),
                false => Err(ReadError::NotLeader(self.id.clone())),
            };
        }
        match self.role() {
            Role::Follower { epoch, .. } if request.at_follower => compare(asked, epoch.0),
            _ => Err(ReadError::NotLeader(self.id.clone())),
        }
    }
}

fn compare(asked: Option<i32>, current: i32) -> Result<(), ReadError> {
    match asked {
        Some(asked) if asked < current => Err(ReadError::FencedEpoch { asked, current }),
        Some(asked) if asked > current => Err(ReadError::UnknownEpoch { asked, current }),
        _ => Ok(()),
    }
}

fn last_stable(log: &Log) -> i64 {
    let watermark = log.high_watermark();
    log.first_unstable_offset()
        .map_or(watermark, |offset| offset.min(watermark))
}
