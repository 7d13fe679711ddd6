//! The claims that a member has begun, so that nothing of them is left behind on ZooKeeper.
//! Bookkeeping only: what is asked of ZooKeeper is in `effects.rs` and `member.rs`.

use std::collections::{BTreeMap, BTreeSet};

use nyala_coordinator::ids::TopicPartition;

use crate::consumer::rebalance::FencingToken;

/// Owner znodes that may be this member's. One driver's, for as long as that lives.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Begun under this session, with the last that came through. The machine knows of all of them.
    present: BTreeMap<TopicPartition, Option<FencingToken>>,
    /// Begun under a session that ended. A request that was on its way then may have been carried
    /// out under this one, so they are to be cleared before anything is claimed.
    stale: BTreeSet<TopicPartition>,
}

impl Claims {
    /// A claim begins; gives the last one that came through.
    pub(super) fn begin(&mut self, target: &TopicPartition) -> Option<FencingToken> {
        *self.present.entry(target.clone()).or_default()
    }

    /// A claim came through.
    pub(super) fn made(&mut self, target: &TopicPartition, token: FencingToken) {
        self.present.insert(target.clone(), Some(token));
    }

    /// Another session: what was begun before is not known to the machine any more.
    pub(super) fn new_session(&mut self) {
        let ended = std::mem::take(&mut self.present);
        self.stale.extend(ended.into_keys());
    }

    /// What is to be cleared under this session.
    pub(super) fn stale(&self) -> &BTreeSet<TopicPartition> {
        &self.stale
    }

    /// All that was to be cleared is: told by who has asked ZooKeeper, under this session.
    pub(super) fn cleared(&mut self) {
        self.stale.clear();
    }

    /// All that may be left, for who goes.
    pub(super) fn take(&mut self) -> BTreeSet<TopicPartition> {
        self.new_session();
        std::mem::take(&mut self.stale)
    }
}

#[cfg(test)]
mod tests {
    use nyala_coordinator::ids::{PartitionIndex, TopicName};

    use super::*;

    fn target(partition: i32) -> TopicPartition {
        TopicPartition {
            topic: TopicName::new("t").expect("legal"),
            partition: PartitionIndex(partition),
        }
    }

    #[test]
    fn claims_of_the_present_session_are_never_cleared() {
        let mut claims = Claims::default();
        claims.begin(&target(0));
        assert!(claims.stale().is_empty(), "{claims:?}");
        claims.new_session();
        claims.begin(&target(1));
        assert_eq!(*claims.stale(), BTreeSet::from([target(0)]));
        claims.cleared();
        assert!(claims.stale().is_empty(), "{claims:?}");
        // The driver goes: all that may be there is given back.
        assert_eq!(claims.take(), BTreeSet::from([target(1)]));
    }

    #[test]
    fn what_was_not_cleared_before_the_next_session_still_is_to_be() {
        let mut claims = Claims::default();
        claims.begin(&target(0));
        claims.new_session();
        claims.begin(&target(1));
        // Before the registration that clears it has ended.
        claims.new_session();
        assert_eq!(*claims.stale(), BTreeSet::from([target(0), target(1)]));
        assert_eq!(claims.take(), BTreeSet::from([target(0), target(1)]));
    }

    #[test]
    fn a_claim_begins_with_what_the_last_one_of_its_session_came_to() {
        let mut claims = Claims::default();
        assert_eq!(claims.begin(&target(0)), None);
        claims.made(&target(0), FencingToken(7));
        assert_eq!(claims.begin(&target(0)), Some(FencingToken(7)));
        claims.new_session();
        assert_eq!(claims.begin(&target(0)), None);
    }
}
