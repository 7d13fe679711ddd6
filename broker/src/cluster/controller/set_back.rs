//! Leader epochs that went back in ZooKeeper, as only a hand there, or an old backup, can make them.
//!
//! Whoever has heard of the later epoch refuses the earlier one: the replicas do, and they fence the
//! clients that are told of it. So such a partition goes on above the latest epoch that this term saw. Of what
//! it did not see it hears from leaders whose logs have later epochs (`roles/set_back.rs`); they do not say
//! which, so it goes up in steps that double.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nyala_coordinator::cluster::{ClusterSnapshot, TopicInfo};
use nyala_coordinator::ids::{
    ControllerEpoch, LeaderEpoch, PartitionIndex, TopicId, TopicName, TopicPartition,
};
use nyala_coordinator::registry::{NewState, PartitionState};
use tracing::warn;

/// The partitions whose epoch went back, with the latest one of each.
#[derive(Debug, Default)]
pub(super) struct SetBack {
    last: Arc<ClusterSnapshot>,
    latest: BTreeMap<TopicPartition, (Option<TopicId>, LeaderEpoch)>,
    /// How often in a row each was refused by its leader, and the epoch that it got then.
    refusals: BTreeMap<TopicPartition, (u32, LeaderEpoch)>,
}

fn epoch_of(info: &TopicInfo, index: PartitionIndex) -> Option<LeaderEpoch> {
    let state = info.partitions.get(&index)?.state.as_ref()?;
    Some(state.leader_epoch)
}

impl SetBack {
    /// Compares with the snapshot before. A state that is gone, or cannot be read, may come back as
    /// an earlier one.
    pub(super) fn see(&mut self, snapshot: &Arc<ClusterSnapshot>) {
        for (topic, was) in &self.last.topics {
            let Some(now) = snapshot.topics.get(topic) else {
                continue;
            };
            if Arc::ptr_eq(was, now) || was.id != now.id {
                continue;
            }
            for index in was.partitions.keys() {
                let (before, after) = (epoch_of(was, *index), epoch_of(now, *index));
                if let Some(before) = before.filter(|before| after < Some(*before)) {
                    let (topic, partition) = (topic.clone(), *index);
                    let tp = TopicPartition { topic, partition };
                    let latest = self.latest.entry(tp).or_insert((now.id, before));
                    latest.1 = latest.1.max(before);
                }
            }
        }
        self.latest.retain(|tp, (id, latest)| {
            let topic = snapshot
                .topics
                .get(&tp.topic)
                .filter(|topic| topic.id == *id);
            let there = topic.filter(|topic| topic.partitions.contains_key(&tp.partition));
            there.is_some_and(|topic| epoch_of(topic, tp.partition) < Some(*latest))
        });
        self.refusals
            .retain(|tp, _| snapshot.partition(tp).is_some());
        self.last = Arc::clone(snapshot);
    }

    /// The leader that `tp` was given in `epoch` has records of a later one.
    pub(super) fn refused(&mut self, tp: TopicPartition, epoch: LeaderEpoch) {
        let Some(topic) = self.last.topics.get(&tp.topic) else {
            return;
        };
        // Something else has happened since.
        if epoch_of(topic, tp.partition) != Some(epoch) {
            return;
        }
        let before = self.refusals.get(&tp).filter(|(_, given)| epoch >= *given);
        let times = before.map_or(0, |(times, _)| *times);
        let passed = LeaderEpoch(epoch.0.saturating_add(1 << times));
        let next = ((times + 1).min(30), above(passed));
        self.refusals.insert(tp.clone(), next);
        self.latest.insert(tp, (topic.id, passed));
    }

    /// Lifts the states of `plan` above what went back, and plans those that are to stay as they are
    /// otherwise.
    pub(super) fn lift(
        &self,
        plan: &mut Vec<NewState>,
        snapshot: &ClusterSnapshot,
        deleting: &BTreeSet<TopicName>,
        controller_epoch: ControllerEpoch,
    ) {
        if self.latest.is_empty() {
            return;
        }
        let mut planned = BTreeSet::new();
        for new in plan.iter_mut() {
            if let Some((_, latest)) = self.latest.get(&new.partition) {
                new.state.leader_epoch = new.state.leader_epoch.max(above(*latest));
                planned.insert(new.partition.clone());
            }
        }
        let stay = |tp: &TopicPartition| !planned.contains(tp) && !deleting.contains(&tp.topic);
        for (tp, (_, latest)) in self.latest.iter().filter(|(tp, _)| stay(tp)) {
            let Some(old) = snapshot.partition(tp).and_then(|p| p.state.as_ref()) else {
                continue;
            };
            let (was, next) = (old.leader_epoch, above(*latest));
            warn!(
                "leader epoch {was} of {tp} in ZooKeeper is over for its replicas: it goes on in {next}"
            );
            plan.push(NewState {
                partition: tp.clone(),
                state: PartitionState {
                    leader: old.leader,
                    leader_epoch: next,
                    isr: old.isr.clone(),
                    controller_epoch,
                },
                version: Some(old.version),
            });
        }
    }
}

fn above(epoch: LeaderEpoch) -> LeaderEpoch {
    LeaderEpoch(epoch.0.saturating_add(1))
}
