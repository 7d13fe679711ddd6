//! A partition in doubt: it may be another's by now, or have been this consumer's all the time.
//!
//! Nothing of it is handed out meanwhile. If it was this consumer's all the time, the application
//! goes on where it is: the committed offset may be far behind that.

use nyala_coordinator::ids::TopicPartition;

use super::{Claim, Delivery, Share};

impl Delivery {
    /// Takes a partition away, and remembers how far the application is.
    pub(crate) fn park(&self, target: &TopicPartition) {
        let mut state = self.state.lock();
        if let Some(mut share) = state.shares.remove(target) {
            share.rewind(share.delivered, share.delivered_epoch);
            share.leaving = false;
            share.left = None;
            state.parked.insert(target.clone(), share);
        }
    }

    /// Gives back a partition that is held by the same claim as when it was parked; `false` if it is
    /// not known how far the application was.
    pub(crate) fn resume(&self, target: &TopicPartition, claim: Claim) -> bool {
        let mut state = self.state.lock();
        let same = |share: &Share| share.claim == Some(claim);
        if !state.parked.get(target).is_some_and(same) {
            return false;
        }
        let Some(share) = state.parked.remove(target) else {
            return false;
        };
        state.shares.insert(target.clone(), share);
        drop(state);
        self.hungry.notify_one();
        true
    }
}
