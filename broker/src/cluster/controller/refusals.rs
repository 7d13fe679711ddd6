//! States that ZooKeeper did not take: a node whose content nobody can read, or whose ACL is another's.
//! Such a partition waits for an operator; it must not be tried in every round, and must not hold up
//! the others.

use std::collections::BTreeMap;
use std::time::Duration;

use nyala_coordinator::ids::TopicPartition;
use nyala_coordinator::registry::{NewState, RefusedState};
use tokio::time::Instant;
use tracing::warn;

/// Until the same write is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// What was refused last, and until when it is left alone.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<TopicPartition, (Option<i32>, Instant)>);

impl Refusals {
    /// Takes out of `plan` what was refused a moment ago and is decided from the same node still.
    pub(super) fn spare(&mut self, plan: &mut Vec<NewState>, now: Instant) {
        self.0.retain(|_, (_, until)| *until > now);
        plan.retain(|new| {
            let refused = self.0.get(&new.partition);
            refused.is_none_or(|(version, _)| *version != new.version)
        });
    }

    /// Takes what was refused out of `plan`, and tells.
    pub(super) fn note(
        &mut self,
        plan: &mut Vec<NewState>,
        refused: Vec<RefusedState>,
        now: Instant,
    ) {
        for RefusedState { partition, error } in refused {
            warn!(
                "the state of {partition} cannot be written, and so it keeps the leader that it has: \
                 {error}; is its znode readable, and are its ACL and version ours?"
            );
            let Some(at) = plan.iter().position(|new| new.partition == partition) else {
                continue;
            };
            let version = plan.swap_remove(at).version;
            self.0.insert(partition, (version, now + PAUSE));
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_was_refused_waits_unless_the_node_has_changed() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let mut plan = vec![new_state(0, Some(3)), new_state(1, Some(3))];
        let refused = RefusedState {
            partition: plan[0].partition.clone(),
            error: ZkError::BadVersion,
        };
        refusals.note(&mut plan, vec![refused], now);
        assert_eq!(plan, [new_state(1, Some(3))]);
        let left = |refusals: &mut Refusals, version, now| {
            let mut plan = vec![new_state(0, version), new_state(1, Some(3))];
            refusals.spare(&mut plan, now);
            plan.len()
        };
        assert_eq!(left(&mut refusals, Some(3), now), 1);
        assert_eq!(left(&mut refusals, Some(4), now), 2, "repaired");
        assert_eq!(left(&mut refusals, Some(3), now + PAUSE), 2);
    }
}
