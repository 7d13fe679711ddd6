//! Which replica a consumer had better read from (KIP-392). Pure.
//!
//! As Kafka's `RackAwareReplicaSelector`: one in the consumer's rack, the leader first, else the one
//! that is furthest; the leader where there is none.

use nyala_coordinator::ids::BrokerId;

/// A follower that could serve a read: in sync, and holding the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its number.
    pub(crate) id: BrokerId,
    /// End of its log.
    pub(crate) end: i64,
}

/// The follower that a reader is sent to; `None`: it reads from the leader.
pub(crate) fn decide_read_replica(
    leader: BrokerId,
    candidates: &[Candidate],
    is_near: &dyn Fn(BrokerId) -> bool,
) -> Option<BrokerId> {
    if is_near(leader) {
        return None;
    }
    let near = candidates.iter().filter(|candidate| is_near(candidate.id));
    near.max_by_key(|c| (c.end, std::cmp::Reverse(c.id)))
        .map(|candidate| candidate.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_in_the_same_rack_and_furthest() {
        let candidate = |id, end| Candidate {
            id: BrokerId(id),
            end,
        };
        let candidates = [candidate(2, 5), candidate(3, 9), candidate(4, 9)];
        let decide = |near: &[i32]| {
            decide_read_replica(BrokerId(1), &candidates, &|id| near.contains(&id.0))
        };
        assert_eq!(decide(&[]), None, "nobody is near");
        assert_eq!(decide(&[2]), Some(BrokerId(2)));
        assert_eq!(decide(&[2, 3, 4]), Some(BrokerId(3)));
        assert_eq!(decide(&[1, 3]), None, "the leader is as near");
    }
}
