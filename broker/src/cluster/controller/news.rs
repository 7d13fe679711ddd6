//! What a controller tells the operator: who came and who went, and what that does to partitions.
//! Pure text.

use std::collections::{BTreeMap, BTreeSet};

use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{BrokerEpoch, BrokerId, TopicName};
use nyala_coordinator::registry::NewState;

/// Names of topics in one line.
const NAMES_MAX: usize = 5;

/// A line for each broker that was registered or is, but not both.
pub(super) fn of_brokers(
    before: &BTreeMap<BrokerId, BrokerEpoch>,
    now: &ClusterSnapshot,
    stopping: &BTreeSet<BrokerId>,
) -> Vec<String> {
    let gone = before.keys().filter(|id| !now.brokers.contains_key(id));
    let gone = gone.map(|id| match stopping.contains(id) {
        true => format!("broker {id} has left, as it said"),
        false => format!("broker {id} is gone"),
    });
    let here = now
        .brokers
        .iter()
        .filter_map(|(id, b)| match before.get(id) {
            None => Some(format!("broker {id} is here")),
            Some(epoch) if *epoch != b.epoch => Some(format!("broker {id} has started again")),
            Some(_) => None,
        });
    gone.chain(here).collect()
}

/// What the states of `plan` change.
pub(super) fn of_plan(snapshot: &ClusterSnapshot, plan: &[NewState]) -> String {
    let mut topics: BTreeSet<&TopicName> = BTreeSet::new();
    let (mut new, mut led, mut leaderless, mut in_sync) = (0, 0, 0, 0);
    for state in plan {
        let tp = &state.partition;
        let old = snapshot.partition(tp).and_then(|p| p.state.as_ref());
        match (old, state.state.leader) {
            (None, _) => {
                topics.insert(&tp.topic);
                new += 1;
            }
            (Some(_), None) => leaderless += 1,
            (Some(old), leader) if old.leader != leader => led += 1,
            (Some(_), Some(_)) => in_sync += 1,
        }
    }
    let mut parts = Vec::new();
    let mut part = |count: usize, what: &str| {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    };
    let more = if topics.len() > NAMES_MAX {
        ", ..."
    } else {
        ""
    };
    let names: Vec<&str> = topics.iter().take(NAMES_MAX).map(|t| t.as_str()).collect();
    part(new, &format!("new ({}{more})", names.join(", ")));
    part(led, "with another leader");
    part(leaderless, "without a leader");
    part(in_sync, "with the same leader in another epoch");
    format!("partitions: {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nyala_coordinator::cluster::{self, BrokerInfo, PartitionInfo, TopicInfo};
    use nyala_coordinator::ids::{ControllerEpoch, LeaderEpoch, PartitionIndex, TopicPartition};
    use nyala_coordinator::registry::PartitionState;

    use super::*;

    #[test]
    fn who_came_and_who_went_is_told_once() {
        let info = |id: i32, epoch: i64| BrokerInfo {
            id: BrokerId(id),
            epoch: BrokerEpoch(epoch),
            endpoints: Vec::new(),
            rack: None,
        };
        let now = ClusterSnapshot {
            brokers: [info(1, 10), info(2, 21), info(5, 50)]
                .map(|b| (b.id, b))
                .into(),
            ..ClusterSnapshot::default()
        };
        let before = [(1, 10), (2, 20), (3, 30), (4, 40)];
        let before = before
            .map(|(id, epoch)| (BrokerId(id), BrokerEpoch(epoch)))
            .into();
        assert_eq!(
            of_brokers(&before, &now, &BTreeSet::from([BrokerId(4)])),
            [
                "broker 3 is gone",
                "broker 4 has left, as it said",
                "broker 2 has started again",
                "broker 5 is here",
            ]
        );
    }

    #[test]
    fn a_plan_is_told_by_what_becomes_of_partitions() {
        let topic = TopicName::new("words").expect("legal");
        let tp = |index: i32| TopicPartition {
            topic: topic.clone(),
            partition: PartitionIndex(index),
        };
        let led_by_1 = PartitionInfo {
            state: Some(cluster::PartitionState {
                leader: Some(BrokerId(1)),
                leader_epoch: LeaderEpoch(0),
                isr: vec![BrokerId(1)],
                controller_epoch: ControllerEpoch(1),
                version: 0,
                written: 0,
            }),
            ..PartitionInfo::default()
        };
        let partitions = (1..4).map(|index| (PartitionIndex(index), led_by_1.clone()));
        let info = TopicInfo {
            id: None,
            partitions: partitions.collect(),
        };
        let snapshot = ClusterSnapshot {
            topics: [(topic.clone(), Arc::new(info))].into(),
            ..ClusterSnapshot::default()
        };
        let state = |index: i32, leader: Option<i32>| NewState {
            partition: tp(index),
            state: PartitionState {
                leader: leader.map(BrokerId),
                leader_epoch: LeaderEpoch(1),
                isr: vec![BrokerId(1)],
                controller_epoch: ControllerEpoch(1),
            },
            version: None,
        };
        let plan = [
            state(0, Some(1)),
            state(1, Some(2)),
            state(2, None),
            state(3, Some(1)),
        ];
        assert_eq!(
            of_plan(&snapshot, &plan),
            "partitions: 1 new (words), 1 with another leader, 1 without a leader, \
             1 with the same leader in another epoch"
        );
    }
}
