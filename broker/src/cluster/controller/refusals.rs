//! States that ZooKeeper did not take: a node whose content nobody can read, or whose ACL is another's.
//! Such a partition waits for an operator; it must not be tried in every round, and must not hold up
//! the others.

use std::collections::BTreeMap;
use std::time::Duration;

use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{TopicId, TopicPartition};
use nyala_coordinator::registry::{NewState, RefusedState};
use nyala_coordinator::session::ZkError;
use tokio::time::Instant;
use tracing::{info, warn};

/// Until the same write is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// What was refused last.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<TopicPartition, Refusal>);

#[derive(Debug)]
struct Refusal {
    basis: Basis,
    /// It is left alone until then.
    until: Instant,
}

/// What a state was decided from. A topic that was deleted and made again is another one.
#[derive(Debug, PartialEq, Eq)]
struct Basis {
    topic: Option<TopicId>,
    version: Option<i32>,
}

impl Basis {
    fn of(new: &NewState, snapshot: &ClusterSnapshot) -> Self {
        let topic = snapshot.topics.get(&new.partition.topic);
        Self {
            topic: topic.and_then(|info| info.id),
            version: new.version,
        }
    }
}

impl Refusals {
    /// Takes out of `plan`, made from `snapshot`, what was refused a moment ago and is decided from the same
    /// node still.
    pub(super) fn spare(
        &mut self,
        plan: &mut Vec<NewState>,
        snapshot: &ClusterSnapshot,
        now: Instant,
    ) {
        self.0.retain(|_, refusal| refusal.until > now);
        plan.retain(|new| {
            let refused = self.0.get(&new.partition);
            refused.is_none_or(|refusal| refusal.basis != Basis::of(new, snapshot))
        });
    }

    /// Takes what was refused out of `plan`, made from `snapshot`, and tells.
    pub(super) fn note(
        &mut self,
        plan: &mut Vec<NewState>,
        snapshot: &ClusterSnapshot,
        refused: Vec<RefusedState>,
        now: Instant,
    ) {
        for RefusedState { partition, error } in refused {
            match error {
                ZkError::NoNode => {
                    info!("no node for the state of {partition}: its topic may be gone")
                }
                error => warn!(
                    "the state of {partition} cannot be written, and so it keeps the leader that it has: \
                     {error}; is its znode readable, and are its ACL and version ours?"
                ),
            }
            let Some(at) = plan.iter().position(|new| new.partition == partition) else {
                continue;
            };
            let basis = Basis::of(&plan.swap_remove(at), snapshot);
            let until = now + PAUSE;
            self.0.insert(partition, Refusal { basis, until });
        }
    }

    /// When something is to be tried again.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.0.values().map(|refusal| refusal.until).min()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nyala_coordinator::cluster::TopicInfo;
    use nyala_coordinator::ids::{ControllerEpoch, LeaderEpoch, PartitionIndex, TopicName};
    use nyala_coordinator::registry::PartitionState;
    use nyala_coordinator::session::ZkError;

    use super::*;

    fn new_state(index: i32, version: Option<i32>) -> NewState {
        NewState {
            partition: TopicPartition {
                topic: TopicName::new("t").expect("legal"),
                partition: PartitionIndex(index),
            },
            state: PartitionState {
                leader: None,
                leader_epoch: LeaderEpoch(1),
                isr: Vec::new(),
                controller_epoch: ControllerEpoch(1),
            },
            version,
        }
    }

    /// With a topic t that was just made.
    fn snapshot() -> ClusterSnapshot {
        let topic = TopicInfo {
            id: Some(TopicId::random()),
            ..TopicInfo::default()
        };
        let name = TopicName::new("t").expect("legal");
        ClusterSnapshot {
            topics: [(name, Arc::new(topic))].into_iter().collect(),
            ..ClusterSnapshot::default()
        }
    }

    #[test]
    fn what_was_refused_waits_unless_the_node_has_changed() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let (old, made_again) = (snapshot(), snapshot());
        let mut plan = vec![new_state(0, Some(3)), new_state(1, Some(3))];
        let refused = RefusedState {
            partition: plan[0].partition.clone(),
            error: ZkError::BadVersion,
        };
        refusals.note(&mut plan, &old, vec![refused], now);
        assert_eq!(plan, [new_state(1, Some(3))]);
        assert_eq!(refusals.next_try(), Some(now + PAUSE));
        let left = |refusals: &mut Refusals, snapshot, version, now| {
            let mut plan = vec![new_state(0, version), new_state(1, Some(3))];
            refusals.spare(&mut plan, snapshot, now);
            plan.len()
        };
        assert_eq!(left(&mut refusals, &old, Some(3), now), 1);
        assert_eq!(left(&mut refusals, &old, Some(4), now), 2, "repaired");
        assert_eq!(left(&mut refusals, &made_again, Some(3), now), 2, "another");
        assert_eq!(left(&mut refusals, &old, Some(3), now + PAUSE), 2);
        assert_eq!(refusals.next_try(), None);
    }
}
