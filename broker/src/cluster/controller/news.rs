//! What a controller tells the operator: who came and who went, what that does to partitions, and what
//! becomes of what was asked for. One line for many partitions. Pure text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use nyala_coordinator::cluster::{ClusterSnapshot, PartitionState};
use nyala_coordinator::ids::{BrokerEpoch, BrokerId, TopicName, TopicPartition};
use nyala_coordinator::registry::NewState;

use crate::cluster::names::Names;
use crate::cluster::reassign::{Step, is_moving, origin, target};

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
    let mut new = 0;
    let (mut led, mut leaderless) = (Names::default(), Names::default());
    let (mut in_sync, mut same) = (Names::default(), Names::default());
    for next in plan {
        let tp = &next.partition;
        match (state_of(snapshot, tp), next.state.leader) {
            (None, _) => {
                topics.insert(&tp.topic);
                new += 1;
            }
            (Some(_), None) => leaderless.push(tp),
            (Some(old), leader) if old.leader != leader => led.push(Change { old, next }),
            (Some(old), _) if old.isr != next.state.isr => in_sync.push(Change { old, next }),
            (Some(_), _) => same.push(tp),
        }
    }
    let mut parts = Vec::new();
    if new > 0 {
        let topics: Names = topics.into_iter().collect();
        parts.push(format!("{new} new, of topics: {topics}"));
    }
    let told = [
        ("with another leader", led),
        ("without a leader", leaderless),
        ("with other replicas in sync", in_sync),
        ("with the same leader in another epoch", same),
    ];
    let told = told.iter().filter(|(_, names)| !names.is_empty());
    parts.extend(told.map(|(what, names)| format!("{what}: {names}")));
    format!("partitions {}", parts.join("; "))
}

/// Partitions that `plan` has led by replicas which were not in sync: what only those that were had, is
/// lost. `None`: there are none.
pub(super) fn of_unclean(snapshot: &ClusterSnapshot, plan: &[NewState]) -> Option<String> {
    let mut lossy = Names::default();
    for new in plan {
        let old = state_of(snapshot, &new.partition);
        if let (Some(old), Some(leader)) = (old, new.state.leader)
            && !old.isr.contains(&leader)
        {
            let (tp, isr) = (&new.partition, List(&old.isr));
            lossy.push(format_args!("{tp} in sync {isr} leader now {leader}"));
        }
    }
    let text = "unclean elections, which may lose acknowledged records";
    (!lossy.is_empty()).then(|| format!("{text}: {lossy}"))
}

/// Moves that start, and those that are called off.
pub(super) fn of_starts(snapshot: &ClusterSnapshot, steps: &[&Step]) -> Vec<String> {
    let (mut started, mut called_off) = (Names::default(), Names::default());
    for step in steps {
        let Some(info) = snapshot.partition(&step.partition) else {
            continue;
        };
        let (tp, from, to) = (&step.partition, origin(info), step.target());
        if is_moving(info) && from == to {
            called_off.push(format_args!("{tp} stays on {}", List(&to)));
        } else {
            let (from, to) = (List(&from), List(&to));
            started.push(format_args!("{tp} from {from} to {to}"));
        }
    }
    let told = [
        ("moves start", started),
        ("moves are called off", called_off),
    ];
    let told = told.iter().filter(|(_, names)| !names.is_empty());
    told.map(|(what, names)| format!("{what}: {names}"))
        .collect()
}

/// Moves that are over.
pub(super) fn of_ends(snapshot: &ClusterSnapshot, steps: &[&Step]) -> Option<String> {
    let mut moved = Names::default();
    for step in steps {
        if let Some(info) = snapshot.partition(&step.partition) {
            let (tp, from, to) = (&step.partition, origin(info), target(info));
            let (from, to) = (List(&from), List(&to));
            moved.push(format_args!("{tp} from {from} to {to}"));
        }
    }
    (!moved.is_empty()).then(|| format!("moves are over: {moved}"))
}

/// From whom to whom leadership goes.
pub(super) fn of_leaders<'p>(snapshot: &'p ClusterSnapshot, plan: &'p [NewState]) -> Names {
    let change = |next: &'p NewState| {
        let old = state_of(snapshot, &next.partition)?;
        Some(Change { old, next })
    };
    plan.iter().filter_map(change).collect()
}

fn state_of<'a>(snapshot: &'a ClusterSnapshot, tp: &TopicPartition) -> Option<&'a PartitionState> {
    snapshot.partition(tp)?.state.as_ref()
}

/// What a new state changes, as `t-0 leader 1 -> 2 isr [1,2] -> [2]`.
struct Change<'a> {
    old: &'a PartitionState,
    next: &'a NewState,
}

impl Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = (self.old, &self.next.state);
        write!(f, "{}", self.next.partition)?;
        if old.leader != new.leader {
            let id = |leader: Option<BrokerId>| {
                leader.map_or_else(|| "none".to_owned(), |id| id.to_string())
            };
            write!(f, " leader {} -> {}", id(old.leader), id(new.leader))?;
        }
        if old.isr != new.isr {
            write!(f, " isr {} -> {}", List(&old.isr), List(&new.isr))?;
        }
        Ok(())
    }
}

/// Brokers as `[1,2]`.
struct List<'a>(&'a [BrokerId]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "[{}]", ids.join(","))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nyala_coordinator::cluster::{BrokerInfo, PartitionInfo, TopicInfo};
    use nyala_coordinator::ids::{ControllerEpoch, LeaderEpoch, PartitionIndex};
    use nyala_coordinator::registry::{self, Placement};

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

    fn tp(index: i32) -> TopicPartition {
        TopicPartition {
            topic: TopicName::new("words").expect("legal"),
            partition: PartitionIndex(index),
        }
    }

    fn ids(ids: &[i32]) -> Vec<BrokerId> {
        ids.iter().copied().map(BrokerId).collect()
    }

    /// `count` partitions after the first one, which has no state; each led by 1, with 1 and 2 in sync.
    fn led_by_1(count: i32) -> ClusterSnapshot {
        let info = PartitionInfo {
            replicas: ids(&[1, 2, 3]),
            adding_replicas: ids(&[3]),
            removing_replicas: ids(&[1]),
            state: Some(PartitionState {
                leader: Some(BrokerId(1)),
                leader_epoch: LeaderEpoch(0),
                isr: ids(&[1, 2]),
                controller_epoch: ControllerEpoch(1),
                version: 0,
                written: 0,
            }),
        };
        let partitions = (1..=count).map(|index| (PartitionIndex(index), info.clone()));
        let topic = TopicInfo {
            id: None,
            partitions: partitions.collect(),
        };
        ClusterSnapshot {
            topics: [(tp(0).topic, Arc::new(topic))].into(),
            ..ClusterSnapshot::default()
        }
    }

    fn next(index: i32, leader: Option<i32>, isr: &[i32]) -> NewState {
        NewState {
            partition: tp(index),
            state: registry::PartitionState {
                leader: leader.map(BrokerId),
                leader_epoch: LeaderEpoch(1),
                isr: ids(isr),
                controller_epoch: ControllerEpoch(1),
            },
            version: None,
        }
    }

    #[test]
    fn a_plan_is_told_by_what_becomes_of_partitions() {
        let plan = [
            next(0, Some(1), &[1]),
            next(1, Some(2), &[2]),
            next(2, None, &[1, 2]),
            next(3, Some(1), &[1]),
            next(4, Some(1), &[1, 2]),
        ];
        assert_eq!(
            of_plan(&led_by_1(4), &plan),
            "partitions 1 new, of topics: 1 (words); \
             with another leader: 1 (words-1 leader 1 -> 2 isr [1,2] -> [2]); \
             without a leader: 1 (words-2); \
             with other replicas in sync: 1 (words-3 isr [1,2] -> [1]); \
             with the same leader in another epoch: 1 (words-4)"
        );
    }

    #[test]
    fn a_leader_that_was_not_in_sync_is_told_of() {
        let clean = [
            next(0, Some(3), &[3]),
            next(1, Some(2), &[2]),
            next(2, None, &[1, 2]),
        ];
        assert_eq!(of_unclean(&led_by_1(2), &clean), None);
        let plan: Vec<NewState> = (0..=7).map(|index| next(index, Some(3), &[3])).collect();
        let told = of_unclean(&led_by_1(7), &plan).expect("seven of them");
        let first = "unclean elections, which may lose acknowledged records: \
                     7 (words-1 in sync [1,2] leader now 3, words-2 ";
        assert!(told.starts_with(first), "{told}");
        assert!(
            !told.contains("words-6") && told.ends_with(", ...)"),
            "{told}"
        );
    }

    #[test]
    fn moves_are_told_from_where_to_where() {
        let step = |replicas: &[i32], removing: &[i32]| Step {
            partition: tp(1),
            placement: Placement {
                replicas: ids(replicas),
                adding: Vec::new(),
                removing: ids(removing),
            },
            state: None,
            dropped: Vec::new(),
        };
        let there = led_by_1(1);
        let starts = |step| of_starts(&there, &[&step]);
        let start = starts(step(&[4, 1, 2], &[1, 2]));
        assert_eq!(start, ["moves start: 1 (words-1 from [1,2] to [4])"]);
        let back = starts(step(&[1, 2], &[]));
        assert_eq!(back, ["moves are called off: 1 (words-1 stays on [1,2])"]);
        let end = of_ends(&there, &[&step(&[2, 3], &[])]);
        let end = end.expect("one of them");
        assert_eq!(end, "moves are over: 1 (words-1 from [1,2] to [2,3])");
    }
}
