//! What the cluster says about a partition, what this broker makes of it, and what leader and
//! follower tell each other. Plain types and the one decision which facts are newer.
//!
//! A fact carries two epochs: the leader's, and the *partition epoch*, the version of the
//! partition's state znode. Older facts never undo newer ones.

use std::cmp::Ordering;

use nyala_coordinator::ids::{BrokerId, LeaderEpoch};
use tokio::time::Instant;

use crate::storage::EpochEnd;

/// What the cluster says about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaState {
    /// Who leads; nobody while no replica in sync is alive.
    pub leader: Option<BrokerId>,
    /// Epoch of the leader.
    pub leader_epoch: LeaderEpoch,
    /// Version of the partition's state znode.
    pub partition_epoch: i32,
    /// Replicas in sync.
    pub isr: Vec<BrokerId>,
    /// All replicas, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those of them that a reassignment adds.
    pub adding: Vec<BrokerId>,
    /// Those of them that a reassignment removes.
    pub removing: Vec<BrokerId>,
}

impl ReplicaState {
    /// A partition with one replica, which leads in `epoch`.
    #[must_use]
    pub fn alone(this: BrokerId, epoch: LeaderEpoch) -> Self {
        Self {
            leader: Some(this),
            leader_epoch: epoch,
            partition_epoch: 0,
            isr: vec![this],
            replicas: vec![this],
            adding: Vec::new(),
            removing: Vec::new(),
        }
    }

    /// How old these facts are, to be compared with others of the same partition.
    fn age(&self) -> (LeaderEpoch, i32) {
        (self.leader_epoch, self.partition_epoch)
    }
}

/// What this broker is to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader {
        /// Since this epoch.
        epoch: LeaderEpoch,
    },
    /// It follows, or would if there were a leader.
    Follower {
        /// Whom.
        leader: Option<BrokerId>,
        /// In the leader's epoch.
        epoch: LeaderEpoch,
    },
    /// Neither: not told yet, or resigned.
    Idle,
}

/// What became of facts that were applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It leads, in a new epoch or with new replicas in sync.
    Leads,
    /// It follows, in a new epoch: the fetcher has to start anew.
    Follows,
    /// Nothing that matters changed.
    Unchanged,
    /// The facts are older than what it has, and were ignored.
    Stale,
}

impl ReplicaState {
    /// These facts, with the assignment of others.
    pub(crate) fn assigned_as(&self, other: &Self) -> Self {
        Self {
            replicas: other.replicas.clone(),
            adding: other.adding.clone(),
            removing: other.removing.clone(),
            ..self.clone()
        }
    }
}

/// How facts compare with those that were applied before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Older.
    Stale,
    /// The same epochs.
    Same,
    /// The same leader epoch, a later partition epoch.
    Replicas,
    /// A later leader epoch.
    Epoch,
}

/// Compares facts with the ones before.
pub(crate) fn decide_news(known: Option<&ReplicaState>, state: &ReplicaState) -> News {
    let Some(known) = known else {
        return News::Epoch;
    };
    match state.age().cmp(&known.age()) {
        Ordering::Less => News::Stale,
        Ordering::Equal => News::Same,
        Ordering::Greater if state.leader_epoch == known.leader_epoch => News::Replicas,
        Ordering::Greater => News::Epoch,
    }
}

/// Offsets that a leader's answer carries beside the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderOffsets {
    /// Its high watermark.
    pub high_watermark: i64,
    /// First offset of its log.
    pub log_start: i64,
}

/// Where a follower goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPosition {
    /// First offset wanted: the end of the log.
    pub offset: i64,
    /// Newest epoch of the log (KIP-595's truncation on fetch); `None` in a log that knows none.
    pub last_epoch: Option<LeaderEpoch>,
    /// First offset of the log.
    pub log_start: i64,
    /// Whom to ask.
    pub leader: BrokerId,
    /// In which epoch.
    pub leader_epoch: LeaderEpoch,
}

/// A follower's fetch of one partition, as its leader sees it.
#[derive(Clone, Copy, Debug)]
pub struct FollowerFetch {
    /// Who fetches.
    pub broker: BrokerId,
    /// Epoch of its registration, -1 when it does not say (KIP-903).
    pub broker_epoch: i64,
    /// End of its log.
    pub offset: i64,
    /// First offset of its log, -1 when it does not say.
    pub log_start: i64,
    /// Leader epoch that it knows (KIP-320).
    pub leader_epoch: Option<i32>,
    /// Newest epoch of its log.
    pub last_epoch: Option<LeaderEpoch>,
    /// When the request came.
    pub now: Instant,
}

/// What a leader has to say to a follower's fetch, records apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerView {
    /// Where the logs part: the follower truncates before anything else (KAFKA-14704).
    pub diverging: Option<EpochEnd>,
    /// Whether the follower could now join the replicas in sync.
    pub may_join: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(leader_epoch: i32, partition_epoch: i32) -> ReplicaState {
        ReplicaState {
            partition_epoch,
            ..ReplicaState::alone(BrokerId(1), LeaderEpoch(leader_epoch))
        }
    }

    #[test]
    fn older_facts_never_undo_newer_ones() {
        let known = state(5, 7);
        let news = |leader, partition| decide_news(Some(&known), &state(leader, partition));
        assert_eq!(news(4, 9), News::Stale, "an older leader");
        assert_eq!(news(5, 6), News::Stale, "an older set of replicas");
        assert_eq!(news(5, 7), News::Same);
        assert_eq!(news(5, 8), News::Replicas);
        assert_eq!(news(6, 8), News::Epoch);
        assert_eq!(decide_news(None, &state(0, 0)), News::Epoch);
    }
}
