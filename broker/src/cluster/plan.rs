//! What the controller does, decided from facts alone: leaders for new partitions, for those whose
//! leader has gone, and for those whose leader has come back.
//!
//! Pure. The plan carries the versions that it was made from, so a plan made from an old snapshot
//! fails as a whole when it is written, and is made again.

use std::collections::{BTreeMap, BTreeSet};

use nyala_coordinator::cluster::{ClusterSnapshot, PartitionInfo};
use nyala_coordinator::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, TopicName, TopicPartition,
};
use nyala_coordinator::registry::{NewState, PartitionState};

/// What the controller knows beside the snapshot.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) epoch: ControllerEpoch,
    /// Topics on their way out: their partitions get no leaders.
    pub(super) deleting: &'a BTreeSet<TopicName>,
    /// Brokers that started again since their partitions were given to them.
    pub(super) bounced: &'a BTreeSet<BrokerId>,
}

/// States to write so that every partition that can have a leader has one.
pub(super) fn plan_states(snapshot: &ClusterSnapshot, facts: &Facts<'_>) -> Vec<NewState> {
    let mut plan = Vec::new();
    for (topic, info) in &snapshot.topics {
        if facts.deleting.contains(topic) {
            continue;
        }
        for (partition, known) in &info.partitions {
            if let Some((state, version)) = next_state(snapshot, known, facts) {
                plan.push(NewState {
                    partition: TopicPartition {
                        topic: topic.clone(),
                        partition: *partition,
                    },
                    state,
                    version,
                });
            }
        }
    }
    plan
}

/// The state that a partition should have, and the version it follows; `None`: all is well, or
/// nothing can be done.
fn next_state(
    snapshot: &ClusterSnapshot,
    partition: &PartitionInfo,
    facts: &Facts<'_>,
) -> Option<(PartitionState, Option<i32>)> {
    let alive = |b: &BrokerId| snapshot.brokers.contains_key(b);
    let in_order = |wanted: &dyn Fn(&BrokerId) -> bool| -> Vec<BrokerId> {
        let replicas = partition.replicas.iter();
        replicas.filter(|b| wanted(b)).copied().collect()
    };
    let Some(old) = &partition.state else {
        // New: the first live replica leads, all live ones are in sync (nothing is written yet).
        let isr = in_order(&alive);
        let leader = *isr.first()?;
        let state = PartitionState {
            leader: Some(leader),
            leader_epoch: LeaderEpoch(0),
            isr,
            controller_epoch: facts.epoch,
        };
        return Some((state, None));
    };
    let well = old
        .leader
        .is_some_and(|b| alive(&b) && !facts.bounced.contains(&b));
    if well {
        return None;
    }
    let leader = in_order(&|b| alive(b) && old.isr.contains(b))
        .first()
        .copied();
    if leader.is_none() && old.leader.is_none() {
        return None;
    }
    // The last in-sync replicas stay named while they are away: only they have all records.
    let live_isr: Vec<BrokerId> = old.isr.iter().filter(|b| alive(b)).copied().collect();
    let isr = if live_isr.is_empty() {
        old.isr.clone()
    } else {
        live_isr
    };
    let state = PartitionState {
        leader,
        leader_epoch: LeaderEpoch(old.leader_epoch.0.saturating_add(1)),
        isr,
        controller_epoch: facts.epoch,
    };
    Some((state, Some(old.version)))
}

/// Remembers each broker's incarnation; says who started again (its partitions then get a new
/// leader epoch, so that nothing written before is taken for written after).
#[derive(Debug, Default)]
pub(super) struct Incarnations {
    known: BTreeMap<BrokerId, BrokerEpoch>,
}

impl Incarnations {
    /// Brokers whose registration is another one than at the last [`Self::settle`].
    pub(super) fn bounced(&self, snapshot: &ClusterSnapshot) -> BTreeSet<BrokerId> {
        let again = |(id, epoch): (&BrokerId, &BrokerEpoch)| {
            let now = snapshot.brokers.get(id)?.epoch;
            (now != *epoch).then_some(*id)
        };
        self.known.iter().filter_map(again).collect()
    }

    /// The plan made from `snapshot` is carried out. Brokers that are away stay known.
    pub(super) fn settle(&mut self, snapshot: &ClusterSnapshot) {
        for (id, broker) in &snapshot.brokers {
            self.known.insert(*id, broker.epoch);
        }
    }
}

#[cfg(test)]
mod tests;
