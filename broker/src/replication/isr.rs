//! From the progress of followers to the high watermark and the replicas in sync. Pure.
//!
//! While a change of the replicas in sync is under way nobody knows whether it was written. So the
//! high watermark counts the *maximal* set meanwhile: the committed one and whoever may have joined
//! (KIP-497). A shrinking set counts in full until the answer is there.

use std::time::Duration;

use nyala_coordinator::ids::{BrokerId, LeaderEpoch};
use tokio::time::Instant;

use super::progress::Follower;

/// A leader's wish for another set of replicas in sync, as it goes to the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrWish {
    /// The set, each with the epoch of its broker's registration or -1.
    pub isr: Vec<(BrokerId, i64)>,
    /// Epoch of the leader.
    pub leader_epoch: LeaderEpoch,
    /// Version of the state that it would change.
    pub partition_epoch: i32,
}

/// What came of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsrAnswer {
    /// It is written, or was already.
    Changed {
        /// Epoch of the leader.
        leader_epoch: LeaderEpoch,
        /// Version of the state from now on.
        partition_epoch: i32,
        /// The set from now on.
        isr: Vec<BrokerId>,
    },
    /// Certainly not written, now or later; another wish may be made.
    NotApplied,
    /// The cluster knows more than this leader does: only newer facts help.
    Outdated,
}

/// What the leader knows when it decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaderView<'a> {
    /// Number of the leader.
    pub(crate) this: BrokerId,
    /// The committed replicas in sync.
    pub(crate) isr: &'a [BrokerId],
    /// All other replicas of the assignment.
    pub(crate) followers: &'a [Follower],
    /// End of the leader's log.
    pub(crate) end: i64,
    /// High watermark.
    pub(crate) high_watermark: i64,
    /// Where the leader's epoch starts.
    pub(crate) epoch_start: i64,
    /// `replica.lag.time.max.ms`.
    pub(crate) lag_max: Duration,
    /// Time.
    pub(crate) now: Instant,
}

/// The high watermark that follows from the log ends of replicas, the leader's included.
///
/// It counts those in the maximal set, whose ends may be unknown yet, and those that are about to
/// join: otherwise they might never catch up. It never goes back within an epoch.
pub(crate) fn decide_high_watermark(view: &LeaderView<'_>, joining: Option<&[BrokerId]>) -> i64 {
    let counts = |follower: &&Follower| {
        view.isr.contains(&follower.id)
            || joining.is_some_and(|joining| joining.contains(&follower.id))
            || follower.is_caught_up(view.end, view.now, view.lag_max)
    };
    let counted = view.followers.iter().filter(counts);
    // One in sync that has not fetched in this epoch holds everything back (KAFKA-10301).
    let ends = counted.map(|follower| follower.end.unwrap_or(-1));
    ends.min()
        .map_or(view.end, |slowest| slowest.min(view.end))
        .max(view.high_watermark)
}

/// Whether a follower may join: it reached the high watermark and the epoch's start, so that with
/// it nothing committed is missing.
pub(crate) fn may_join(view: &LeaderView<'_>, follower: &Follower) -> bool {
    let reached = |end: i64| end >= view.high_watermark && end >= view.epoch_start;
    !view.isr.contains(&follower.id) && follower.end.is_some_and(reached)
}

/// The set of replicas in sync that the leader would like, if another than it has.
///
/// `live` gives the epoch of a broker's registration: only one that is alive, and whose fetches come
/// from that life, may join (KIP-903). Followers are of the assignment, so nobody else gets in
/// (KAFKA-9672).
pub(crate) fn decide_isr(
    view: &LeaderView<'_>,
    live: &dyn Fn(BrokerId) -> Option<i64>,
) -> Option<Vec<(BrokerId, i64)>> {
    let of = |id: BrokerId| view.followers.iter().find(|follower| follower.id == id);
    let stays = |id: &BrokerId| {
        *id == view.this
            || of(*id).is_some_and(|f| f.is_caught_up(view.end, view.now, view.lag_max))
    };
    let joins = |follower: &&Follower| {
        let current = match (follower.broker_epoch, live(follower.id)) {
            (Some(-1), Some(_)) => true,
            (Some(said), Some(registered)) => said == registered,
            _ => false,
        };
        current && may_join(view, follower)
    };
    let staying = view.isr.iter().copied().filter(stays);
    let joining = view.followers.iter().filter(joins).map(|f| f.id);
    let wish: Vec<BrokerId> = staying.chain(joining).collect();
    if wish == view.isr {
        return None;
    }
    let epoch_of = |id: BrokerId| match id == view.this {
        true => live(id).unwrap_or(-1),
        false => of(id).and_then(|f| f.broker_epoch).unwrap_or(-1),
    };
    Some(wish.into_iter().map(|id| (id, epoch_of(id))).collect())
}

/// Replicas that must be in sync: more than there are cannot be.
pub(crate) fn effective_minimum(min_insync_replicas: usize, replicas: usize) -> usize {
    min_insync_replicas.min(replicas)
}

#[cfg(test)]
mod tests;
