//! Who leads, decided from facts alone: leaders for new partitions, for those whose leader has gone
//! or is going, for those whose leader has come back; and who is no longer in sync because it is dead.
//!
//! Pure. The plan carries the versions that it was made from, so a plan made from an old snapshot
//! fails when it is written, and is made again.

use std::collections::{BTreeMap, BTreeSet};

use nyala_coordinator::cluster::{self, ClusterSnapshot, PartitionInfo};
use nyala_coordinator::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, TopicName, TopicPartition,
};
use nyala_coordinator::registry::{NewState, PartitionState};

/// What the controller knows beside the snapshot.
pub(super) struct Facts<'a> {
    pub(super) epoch: ControllerEpoch,
    /// Topics on their way out: their partitions get no leaders.
    pub(super) deleting: &'a BTreeSet<TopicName>,
    /// Brokers that started again since their partitions were given to them.
    pub(super) bounced: &'a BTreeSet<BrokerId>,
    /// Brokers that are shutting down: they lead only what nobody else can.
    pub(super) stopping: &'a BTreeSet<BrokerId>,
    /// Replicas whose log folder has failed, their brokers being alive.
    pub(super) offline: &'a BTreeSet<(BrokerId, TopicPartition)>,
    /// `unclean.leader.election.enable` of a topic.
    pub(super) unclean: &'a (dyn Fn(&TopicName) -> bool + Sync),
}

/// One partition among the facts.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) snapshot: &'a ClusterSnapshot,
    pub(super) facts: &'a Facts<'a>,
    pub(super) tp: &'a TopicPartition,
    pub(super) info: &'a PartitionInfo,
}

/// States to write so that every partition that can have a leader has one.
pub(super) fn plan_states(snapshot: &ClusterSnapshot, facts: &Facts<'_>) -> Vec<NewState> {
    let mut plan = Vec::new();
    for (topic, info) in &snapshot.topics {
        if facts.deleting.contains(topic) {
            continue;
        }
        let mut tp = TopicPartition {
            topic: topic.clone(),
            partition: nyala_coordinator::ids::PartitionIndex(0),
        };
        for (partition, info) in &info.partitions {
            tp.partition = *partition;
            let case = Case {
                snapshot,
                facts,
                tp: &tp,
                info,
            };
            plan.extend(match &info.state {
                None => case.first_state(),
                Some(old) => case.next_state(old),
            });
        }
    }
    plan
}

impl Case<'_> {
    /// Registered, and its log folder works.
    fn runs(&self, broker: BrokerId) -> bool {
        self.snapshot.brokers.contains_key(&broker)
            && (self.facts.offline.is_empty()
                || !(self.facts.offline).contains(&(broker, self.tp.clone())))
    }

    /// Still what it was when it got into the in-sync replicas.
    fn is_online(&self, broker: BrokerId) -> bool {
        self.runs(broker) && !self.facts.bounced.contains(&broker)
    }

    /// May become leader, or in sync.
    pub(super) fn is_eligible(&self, broker: BrokerId) -> bool {
        self.is_online(broker) && !self.facts.stopping.contains(&broker)
    }

    /// Replicas that pass, the preferred leader first.
    pub(super) fn replicas(&self, passes: impl Fn(BrokerId) -> bool) -> Vec<BrokerId> {
        let replicas = self.info.replicas.iter().copied();
        replicas.filter(|b| passes(*b)).collect()
    }

    /// A new partition: the first live replica leads, all live ones are in sync, for there is
    /// nothing yet that they could lack.
    fn first_state(&self) -> Option<NewState> {
        let stays = |b| self.runs(b) && !self.facts.stopping.contains(&b);
        let mut isr = self.replicas(stays);
        if isr.is_empty() {
            isr = self.replicas(|b| self.runs(b));
        }
        let state = PartitionState {
            leader: Some(*isr.first()?),
            leader_epoch: LeaderEpoch(0),
            isr,
            controller_epoch: self.facts.epoch,
        };
        Some(NewState {
            partition: self.tp.clone(),
            state,
            version: None,
        })
    }

    /// The state that the partition should have; `None`: all is well, or nothing can be done.
    fn next_state(&self, old: &cluster::PartitionState) -> Option<NewState> {
        let in_sync = |b: BrokerId| old.isr.contains(&b);
        let fit = self.replicas(|b| self.is_eligible(b) && in_sync(b));
        let serving = old.leader.filter(|leader| self.is_online(*leader));
        let leaves = serving.is_none_or(|leader| self.facts.stopping.contains(&leader));
        if let Some(leader) = fit.first().filter(|_| leaves) {
            let isr = old.isr.iter().copied().filter(|b| self.is_eligible(*b));
            return Some(self.changed(old, Some(*leader), isr.collect()));
        }
        if let Some(leader) = serving {
            // Dead replicas must not hold up those who wait for all in-sync replicas.
            let stays = |b: &BrokerId| *b == leader || self.is_eligible(*b);
            let isr: Vec<BrokerId> = old.isr.iter().copied().filter(stays).collect();
            return (isr != old.isr).then(|| self.changed(old, Some(leader), isr));
        }
        // Nobody who was in sync all the time: one who was and started again, or, where that is
        // wanted, anyone who runs.
        let again = self.replicas(|b| self.runs(b) && in_sync(b));
        let anyone = || match (self.facts.unclean)(&self.tp.topic) {
            true => self.replicas(|b| self.runs(b)),
            false => Vec::new(),
        };
        let leader = again.first().copied().or_else(|| anyone().first().copied());
        match leader {
            Some(leader) => Some(self.changed(old, Some(leader), vec![leader])),
            // The last in-sync replicas stay named while they are away: only they have all records.
            None => (old.leader.is_some()).then(|| self.changed(old, None, old.isr.clone())),
        }
    }

    /// The next state after `old`, in a new leader epoch.
    pub(super) fn changed(
        &self,
        old: &cluster::PartitionState,
        leader: Option<BrokerId>,
        isr: Vec<BrokerId>,
    ) -> NewState {
        NewState {
            partition: self.tp.clone(),
            state: PartitionState {
                leader,
                leader_epoch: LeaderEpoch(old.leader_epoch.0.saturating_add(1)),
                isr,
                controller_epoch: self.facts.epoch,
            },
            version: Some(old.version),
        }
    }
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
