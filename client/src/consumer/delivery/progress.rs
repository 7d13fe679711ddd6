//! How far partitions are handled, and how far that is committed.

use nyala_coordinator::clock;
use nyala_coordinator::ids::TopicPartition;

use super::{AssignmentId, Claim, Delivery, Share, State};

/// How far a partition was handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) target: TopicPartition,
    pub(crate) id: AssignmentId,
    pub(crate) claim: Option<Claim>,
    pub(crate) offset: i64,
}

impl Share {
    /// What is to be committed, if anything is.
    pub(super) fn progress(&self, target: &TopicPartition) -> Option<Progress> {
        (self.handled > self.committed).then(|| Progress {
            target: target.clone(),
            id: self.id,
            claim: self.claim,
            offset: self.handled,
        })
    }
}

impl Delivery {
    /// The application commits: all that it was given is handled. What is leaving does not go before that is
    /// committed and [`Self::let_go_handled`] is called.
    pub(crate) fn handled(&self) {
        let mut state = self.state.lock();
        state.last_poll = Some(clock::now());
        let State { shares, parked, .. } = &mut *state;
        for share in shares.values_mut().chain(parked.values_mut()) {
            share.handled = share.delivered;
        }
    }

    /// The application asks for more: all that it was given is handled, and what is leaving goes.
    pub(crate) fn let_go(&self) {
        self.handled();
        self.let_go_handled();
    }

    /// What is leaving goes, as far as it is handled: more may have been handed out since a commit began that its
    /// caller did not wait for.
    pub(crate) fn let_go_handled(&self) {
        let mut state = self.state.lock();
        let State { shares, parked, .. } = &mut *state;
        let all = shares.values_mut().chain(parked.values_mut());
        for share in all.filter(|share| share.handled == share.delivered) {
            if let Some(left) = share.left.take() {
                // Whoever waited may have given up.
                let _ = left.send(());
            }
        }
    }

    /// How far a leaving partition was handled, if that is not committed yet.
    pub(crate) fn progress(&self, target: &TopicPartition) -> Option<Progress> {
        self.state.lock().held_mut(target)?.progress(target)
    }

    /// Everything that is handled and not committed, also of what is in doubt: a commit of that is
    /// refused if it is another's by now.
    pub(crate) fn uncommitted(&self) -> Vec<Progress> {
        let state = self.state.lock();
        let all = state.shares.iter().chain(&state.parked);
        all.filter_map(|(target, share)| share.progress(target))
            .collect()
    }

    /// `progress` is committed.
    pub(crate) fn committed(&self, progress: &Progress) {
        let mut state = self.state.lock();
        let State { shares, parked, .. } = &mut *state;
        for shares in [shares, parked] {
            if let Some(share) = shares.get_mut(&progress.target)
                && share.id == progress.id
            {
                share.committed = share.committed.max(progress.offset);
            }
        }
    }

    /// Takes a partition away whose offset another has written; `false` if it was assigned anew since.
    pub(crate) fn fenced(&self, progress: &Progress) -> bool {
        let mut state = self.state.lock();
        let State { shares, parked, .. } = &mut *state;
        let mut found = false;
        for shares in [shares, parked] {
            if shares
                .get(&progress.target)
                .is_some_and(|s| s.id == progress.id)
            {
                shares.remove(&progress.target);
                found = true;
            }
        }
        drop(state);
        self.hungry.notify_one();
        found
    }

    /// Takes everything away: it may be another's. Remembers what was handed out and not committed.
    pub(crate) fn lose_all(&self) {
        let mut state = self.state.lock();
        let state = &mut *state;
        for shares in [&mut state.shares, &mut state.parked] {
            let uncommitted = shares.iter().filter(|(_, s)| s.delivered > s.committed);
            let targets = uncommitted.map(|(target, _)| target.clone());
            state.lost.extend(targets);
            shares.clear();
        }
    }

    /// A partition of which something was handed out that was not committed and never will be, by this
    /// consumer; all of them count as told.
    pub(crate) fn take_lost(&self) -> Option<TopicPartition> {
        std::mem::take(&mut self.state.lock().lost).pop_first()
    }
}
