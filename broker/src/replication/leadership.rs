//! What a leader keeps while it leads: its followers' progress and the change of the replicas in
//! sync that is under way. Pure; the partition's locks guard it.

use std::time::Duration;

use nyala_coordinator::ids::BrokerId;
use tokio::time::Instant;

use super::isr::{
    IsrAnswer, IsrWish, LeaderView, decide_high_watermark, decide_isr, effective_minimum, may_join,
};
use super::lease::followers_needed;
use super::progress::Follower;
use super::state::{FollowerFetch, ReplicaState};

/// A leader's books of one partition.
///
/// Invariant: `followers` are exactly the other replicas of the assignment, from the moment on at
/// which the replicas in sync are known: the set is replaced whole (KAFKA-10301).
#[derive(Debug)]
pub(crate) struct Leadership {
    this: BrokerId,
    /// Where this epoch starts in the log.
    pub(crate) epoch_start: i64,
    followers: Vec<Follower>,
    /// Sent, or about to be; what became of it is not known.
    pending: Option<IsrWish>,
}

/// Log and settings at the moment of a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// End of the leader's log.
    pub(crate) end: i64,
    /// High watermark.
    pub(crate) high_watermark: i64,
    /// `min.insync.replicas`.
    pub(crate) min_insync_replicas: usize,
    /// `replica.lag.time.max.ms`.
    pub(crate) lag_max: Duration,
    /// Time.
    pub(crate) now: Instant,
}

impl Leadership {
    /// Begins an epoch; `before`, when this broker led until now.
    pub(crate) fn begin(
        this: BrokerId,
        state: &ReplicaState,
        before: Option<Self>,
        end: i64,
        now: Instant,
    ) -> Self {
        let mut known = before.map(|before| before.followers).unwrap_or_default();
        for follower in &mut known {
            follower.renew(end, state.isr.contains(&follower.id), now);
        }
        Self {
            this,
            epoch_start: end,
            followers: followers_of(this, state, &known, now),
            pending: None,
        }
    }

    /// The state changed within the epoch. The state that a pending change asked to replace is
    /// gone, so it can no longer be written.
    pub(crate) fn update(&mut self, before: &ReplicaState, state: &ReplicaState, now: Instant) {
        for follower in &mut self.followers {
            let id = &follower.id;
            if before.isr.contains(id) && !state.isr.contains(id) {
                follower.drop_behind();
            }
        }
        self.followers = followers_of(self.this, state, &self.followers, now);
        self.pending = None;
    }

    /// As [`update`](Self::update) when only the assignment was told anew, with the same epochs.
    pub(crate) fn reassign(&mut self, state: &ReplicaState, now: Instant) {
        self.followers = followers_of(self.this, state, &self.followers, now);
    }

    /// A broker left the cluster: nobody waits for it unless it is in sync.
    pub(crate) fn forget(&mut self, broker: BrokerId, state: &ReplicaState) {
        let counted =
            state.isr.contains(&broker) || self.joining().is_some_and(|set| set.contains(&broker));
        if let Some(follower) = self.followers.iter_mut().find(|f| f.id == broker)
            && !counted
        {
            follower.drop_behind();
        }
    }

    /// The follower of this number, if the assignment has it.
    pub(crate) fn follower(&self, id: BrokerId) -> Option<&Follower> {
        self.followers.iter().find(|follower| follower.id == id)
    }

    /// All followers.
    pub(crate) fn followers(&self) -> &[Follower] {
        &self.followers
    }

    /// Takes in a fetch. Says whether the follower could now join the replicas in sync.
    pub(crate) fn note(
        &mut self,
        state: &ReplicaState,
        fetch: &FollowerFetch,
        moment: &Moment,
    ) -> bool {
        let follower = self.followers.iter_mut().find(|f| f.id == fetch.broker);
        let Some(follower) = follower else {
            return false;
        };
        follower.note(fetch, moment.end);
        let noted = *follower;
        self.pending.is_none() && may_join(&self.view(state, moment), &noted)
    }

    /// The high watermark as of now. It stays while fewer are in sync than there have to be.
    pub(crate) fn high_watermark(&self, state: &ReplicaState, moment: &Moment) -> i64 {
        let minimum = effective_minimum(moment.min_insync_replicas, state.replicas.len());
        if state.isr.len() < minimum {
            return moment.high_watermark;
        }
        decide_high_watermark(&self.view(state, moment), self.joining().as_deref())
    }

    /// Replicas in sync, and those that may have become so: how many there are at most.
    pub(crate) fn maximal_in_sync(&self, state: &ReplicaState) -> usize {
        let joining = self.joining().unwrap_or_default();
        let new = joining.iter().filter(|id| !state.isr.contains(id));
        state.isr.len() + new.count()
    }

    /// Whether enough followers in sync have followed within `period` for a leader that hears nothing
    /// else to go on.
    pub(crate) fn is_followed(
        &self,
        state: &ReplicaState,
        min_insync_replicas: usize,
        (period, now): (Duration, Instant),
    ) -> bool {
        let minimum = effective_minimum(min_insync_replicas, state.replicas.len());
        let in_touch =
            |f: &&Follower| state.isr.contains(&f.id) && f.has_followed_within(period, now);
        let count = self.followers.iter().filter(in_touch).count();
        count >= followers_needed(state.isr.len(), minimum)
    }

    /// The change that is wanted; it counts as pending from now on. `None` while one is.
    pub(crate) fn wish(
        &mut self,
        state: &ReplicaState,
        moment: &Moment,
        live: &dyn Fn(BrokerId) -> Option<i64>,
    ) -> Option<IsrWish> {
        if self.pending.is_some() {
            return None;
        }
        let isr = decide_isr(&self.view(state, moment), live)?;
        let wish = IsrWish {
            isr,
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
        };
        self.pending = Some(wish.clone());
        Some(wish)
    }

    /// What became of `wish`. Gives the state from now on, if it is another.
    pub(crate) fn answered(
        &mut self,
        state: &ReplicaState,
        wish: &IsrWish,
        answer: &IsrAnswer,
        now: Instant,
    ) -> Option<ReplicaState> {
        if self.pending.as_ref() != Some(wish) {
            return None;
        }
        match answer {
            IsrAnswer::NotApplied => {
                self.pending = None;
                None
            }
            IsrAnswer::Outdated => None,
            IsrAnswer::Changed {
                leader_epoch,
                partition_epoch,
                isr,
            } => {
                let fits = *leader_epoch == state.leader_epoch
                    && *partition_epoch >= state.partition_epoch
                    && isr.contains(&self.this);
                if !fits {
                    return None;
                }
                let next = ReplicaState {
                    partition_epoch: *partition_epoch,
                    isr: isr.clone(),
                    ..state.clone()
                };
                self.update(state, &next, now);
                Some(next)
            }
        }
    }

    fn joining(&self) -> Option<Vec<BrokerId>> {
        let pending = self.pending.as_ref()?;
        Some(pending.isr.iter().map(|(id, _)| *id).collect())
    }

    fn view<'a>(&'a self, state: &'a ReplicaState, moment: &Moment) -> LeaderView<'a> {
        LeaderView {
            this: self.this,
            isr: &state.isr,
            followers: &self.followers,
            end: moment.end,
            high_watermark: moment.high_watermark,
            epoch_start: self.epoch_start,
            lag_max: moment.lag_max,
            now: moment.now,
        }
    }
}

/// The followers of `state`, with what is known of them.
fn followers_of(
    this: BrokerId,
    state: &ReplicaState,
    known: &[Follower],
    now: Instant,
) -> Vec<Follower> {
    let others = state.replicas.iter().filter(|id| **id != this);
    let follower = |id: &BrokerId| {
        let before = known.iter().find(|follower| follower.id == *id);
        before
            .copied()
            .unwrap_or_else(|| Follower::new(*id, state.isr.contains(id), now))
    };
    others.map(follower).collect()
}

/// Whether facts name another assignment.
pub(crate) fn is_reassigned(before: &ReplicaState, state: &ReplicaState) -> bool {
    before.replicas != state.replicas
        || before.adding != state.adding
        || before.removing != state.removing
}
