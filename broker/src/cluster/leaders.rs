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
pub(super) struct Situation<'a> {
    pub(super) epoch: ControllerEpoch,
    /// Topics on their way out: their partitions get no leaders.
    pub(super) deleting: &'a BTreeSet<TopicName>,
    /// Brokers that started again since their partitions were given to them.
    pub(super) bounced: &'a BTreeSet<BrokerId>,
    /// Brokers that are shutting down: they lead only what nobody else can.
    pub(super) stopping: &'a BTreeSet<BrokerId>,
    /// Replicas whose log folder has failed, their brokers being alive.
    pub(super) offline: &'a BTreeSet<(BrokerId, TopicPartition)>,
    /// Replicas that are in sync by name only.
    pub(super) suspects: &'a BTreeMap<TopicPartition, Suspects>,
    /// Epochs in which leaders of partitions on their way have taken over.
    pub(super) led: &'a BTreeMap<TopicPartition, LeaderEpoch>,
    /// `unclean.leader.election.enable` of a topic.
    pub(super) unclean: &'a (dyn Fn(&TopicName) -> bool + Sync),
}

/// In-sync replicas that started again, or are away, while a leader was elected that had started again
/// itself: they stay named until it has taken over, for it may turn out to have lost its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suspects {
    /// Epoch of that leader.
    pub(super) epoch: LeaderEpoch,
    pub(super) brokers: Vec<BrokerId>,
    /// Whether it has taken over.
    pub(super) proven: bool,
}

/// One partition in its situation.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) snapshot: &'a ClusterSnapshot,
    pub(super) situation: &'a Situation<'a>,
    pub(super) tp: &'a TopicPartition,
    pub(super) info: &'a PartitionInfo,
}

/// Hands over every partition but those of topics on their way out.
pub(super) fn for_each_case(
    snapshot: &ClusterSnapshot,
    situation: &Situation<'_>,
    mut each: impl FnMut(&Case<'_>),
) {
    let stay = |(topic, _): &(&TopicName, _)| !situation.deleting.contains(*topic);
    for (topic, info) in snapshot.topics.iter().filter(stay) {
        for (partition, info) in &info.partitions {
            let tp = &TopicPartition {
                topic: topic.clone(),
                partition: *partition,
            };
            each(&Case {
                snapshot,
                situation,
                tp,
                info,
            });
        }
    }
}

/// States to write so that every partition that can have a leader has one.
pub(super) fn plan_states(snapshot: &ClusterSnapshot, situation: &Situation<'_>) -> Vec<NewState> {
    let mut plan = Vec::new();
    for_each_case(snapshot, situation, |case| {
        plan.extend(match &case.info.state {
            None => case.first_state(),
            Some(old) => case.next_state(old),
        });
    });
    plan
}

impl Case<'_> {
    /// Registered, and its log folder works.
    fn runs(&self, broker: BrokerId) -> bool {
        self.snapshot.brokers.contains_key(&broker)
            && (self.situation.offline.is_empty()
                || !(self.situation.offline).contains(&(broker, self.tp.clone())))
    }

    /// Still what it was when it got into the in-sync replicas. Of a partition with one replica only
    /// what this term saw counts: nobody else could have what it lacks.
    fn is_online(&self, broker: BrokerId) -> bool {
        let registered = self.snapshot.brokers.get(&broker).map(|b| b.epoch.0);
        let several = self.info.replicas.len() > 1;
        let since = match &self.info.state {
            Some(state) if several => registered > Some(state.written),
            _ => false,
        };
        let suspected = self.suspects().is_some_and(|s| s.brokers.contains(&broker));
        self.runs(broker) && !since && !suspected && !self.situation.bounced.contains(&broker)
    }

    fn suspects(&self) -> Option<&Suspects> {
        let epoch = self.info.state.as_ref()?.leader_epoch;
        let suspects = self.situation.suspects.get(self.tp);
        suspects.filter(|s| s.epoch == epoch)
    }

    /// May get in sync, having copied what it lacked since it started.
    pub(super) fn may_join(&self, broker: BrokerId) -> bool {
        let situation = self.situation;
        self.runs(broker)
            && !situation.stopping.contains(&broker)
            && !situation.bounced.contains(&broker)
    }

    /// May become leader, or in sync.
    pub(super) fn is_eligible(&self, broker: BrokerId) -> bool {
        self.is_online(broker) && !self.situation.stopping.contains(&broker)
    }

    /// Replicas that pass, the preferred leader first.
    pub(super) fn replicas(&self, passes: impl Fn(BrokerId) -> bool) -> Vec<BrokerId> {
        let replicas = self.info.replicas.iter().copied();
        replicas.filter(|b| passes(*b)).collect()
    }

    /// A new partition: the first live replica leads, all live ones are in sync, for there is
    /// nothing yet that they could lack.
    fn first_state(&self) -> Option<NewState> {
        let stays = |b| self.runs(b) && !self.situation.stopping.contains(&b);
        let mut isr = self.replicas(stays);
        if isr.is_empty() {
            isr = self.replicas(|b| self.runs(b));
        }
        let state = PartitionState {
            leader: Some(*isr.first()?),
            leader_epoch: LeaderEpoch(0),
            isr,
            controller_epoch: self.situation.epoch,
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
        let leaves = serving.is_none_or(|leader| self.situation.stopping.contains(&leader));
        if let Some(leader) = fit.first().filter(|_| leaves) {
            let isr = old.isr.iter().copied().filter(|b| self.is_eligible(*b));
            return Some(self.changed(old, Some(*leader), isr.collect()));
        }
        if let Some(leader) = serving {
            if self.suspects().is_some_and(|s| !s.proven) {
                return None;
            }
            // Dead replicas must not hold up those who wait for all in-sync replicas.
            let stays = |b: &BrokerId| *b == leader || self.is_eligible(*b);
            let isr: Vec<BrokerId> = old.isr.iter().copied().filter(stays).collect();
            return (isr != old.isr).then(|| self.changed(old, Some(leader), isr));
        }
        // Nobody who was in sync all the time: one who was and started again, or, where that is
        // wanted, anyone who runs.
        let mut again = self.replicas(|b| self.runs(b) && in_sync(b));
        again.sort_by_key(|b| Some(*b) != old.leader);
        if let Some(leader) = again.first() {
            return Some(self.changed(old, Some(*leader), old.isr.clone()));
        }
        let anyone = || match (self.situation.unclean)(&self.tp.topic) {
            true => self.replicas(|b| self.runs(b)),
            false => Vec::new(),
        };
        match anyone().first().copied() {
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
                controller_epoch: self.situation.epoch,
            },
            version: Some(old.version),
        }
    }
}

/// What a broker that shuts down leads although another replica runs that could take over, now or
/// when it has caught up. What nobody could take is no reason to wait.
pub(super) fn still_to_move(
    snapshot: &ClusterSnapshot,
    situation: &Situation<'_>,
    broker: BrokerId,
) -> Vec<TopicPartition> {
    let mut led = Vec::new();
    for_each_case(snapshot, situation, |case| {
        let leads = case.info.state.as_ref().and_then(|s| s.leader) == Some(broker);
        let could = |b| b != broker && case.runs(b) && !situation.stopping.contains(&b);
        if leads && !case.replicas(could).is_empty() {
            led.push(case.tp.clone());
        }
    });
    led
}

/// Whom the states of `plan` name in sync although they may lack records.
pub(super) fn find_suspects(
    snapshot: &ClusterSnapshot,
    situation: &Situation<'_>,
    plan: &[NewState],
) -> Vec<(TopicPartition, Suspects)> {
    let of_one = |new: &NewState| {
        let tp = &new.partition;
        let info = snapshot.partition(tp)?;
        info.state.as_ref()?;
        let case = Case {
            snapshot,
            situation,
            tp,
            info,
        };
        let lacking = |b: &BrokerId| Some(*b) != new.state.leader && !case.is_online(*b);
        let suspects = Suspects {
            epoch: new.state.leader_epoch,
            brokers: new.state.isr.iter().copied().filter(lacking).collect(),
            proven: false,
        };
        (!suspects.brokers.is_empty()).then(|| (tp.clone(), suspects))
    };
    plan.iter().filter_map(of_one).collect()
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
