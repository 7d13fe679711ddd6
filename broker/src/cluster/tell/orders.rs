//! What every broker should know, and the difference to what one broker was told.
//!
//! Pure. The newest orders replace all older ones: a broker that was slow is told where things stand
//! now, never what happened in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nyala_coordinator::cluster::{ClusterSnapshot, PartitionInfo, PartitionState};
use nyala_coordinator::ids::{
    BrokerId, ControllerEpoch, LeaderEpoch, PartitionIndex, TopicId, TopicName, TopicPartition,
};

/// The cluster as the controller wants it known. Immutable.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct Orders {
    pub(in crate::cluster) epoch: ControllerEpoch,
    pub(in crate::cluster) snapshot: Arc<ClusterSnapshot>,
    /// Topics on their way out, with their ids.
    pub(in crate::cluster) deleting: BTreeMap<TopicName, Option<TopicId>>,
    /// Brokers that are shutting down.
    pub(in crate::cluster) stopping: BTreeSet<BrokerId>,
    /// Replicas that a move took from their brokers, not confirmed yet.
    pub(in crate::cluster) dropped: BTreeMap<(BrokerId, TopicPartition), Option<TopicId>>,
    /// Replicas whose log folder has failed.
    pub(in crate::cluster) offline: BTreeSet<(BrokerId, TopicPartition)>,
    /// Partitions whose leaders have to show that they can lead.
    pub(in crate::cluster) unproven: BTreeSet<TopicPartition>,
    /// Counts the notices of failed log folders: after one a broker is told all again, to see in its
    /// answer what has failed.
    pub(in crate::cluster) log_dir_events: BTreeMap<BrokerId, u64>,
}

/// One replica's part in LeaderAndIsr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) partition: TopicPartition,
    pub(super) topic_id: Option<TopicId>,
    pub(super) info: PartitionInfo,
    pub(super) state: PartitionState,
    /// Just made by this controller: there can be no data that it lacks.
    pub(super) is_new: bool,
}

/// One partition in UpdateMetadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Show {
    pub(super) partition: TopicPartition,
    pub(super) topic_id: Option<TopicId>,
    pub(super) info: PartitionInfo,
    pub(super) state: PartitionState,
    /// Replicas that cannot be reached.
    pub(super) offline: Vec<BrokerId>,
    /// Its topic is on its way out.
    pub(super) deleting: bool,
}

/// One replica in StopReplica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) partition: TopicPartition,
    pub(super) topic_id: Option<TopicId>,
    /// `None`: its topic is being deleted.
    pub(super) epoch: Option<LeaderEpoch>,
    pub(super) delete: bool,
}

/// What one incarnation of a broker was told, and has confirmed.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Orders that it follows with its replicas.
    pub(super) led: Option<Arc<Orders>>,
    /// Orders that it shows in metadata.
    pub(super) shown: Option<Arc<Orders>>,
    /// Replicas that it has stopped, with the ids of their topics.
    pub(super) stopped: BTreeMap<TopicPartition, (Option<TopicId>, bool)>,
}

impl Orders {
    fn is_deleting(&self, topic: &TopicName, id: Option<TopicId>) -> bool {
        self.deleting.get(topic).is_some_and(|doomed| *doomed == id)
    }

    /// Whether `broker` is to keep its replica running.
    fn runs(&self, broker: BrokerId, info: &PartitionInfo, state: &PartitionState) -> bool {
        let leaves = self.stopping.contains(&broker)
            && state.leader != Some(broker)
            && info.replicas.len() > 1;
        info.replicas.contains(&broker) && !leaves
    }

    fn unreachable(&self, tp: &TopicPartition, info: &PartitionInfo) -> Vec<BrokerId> {
        let gone = |broker: &BrokerId| {
            !self.snapshot.brokers.contains_key(broker)
                || (!self.offline.is_empty() && self.offline.contains(&(*broker, tp.clone())))
        };
        info.replicas.iter().copied().filter(gone).collect()
    }

    /// Whether brokers and failed replicas are the same: then so is what is shown of a partition that
    /// has not changed itself.
    fn same_brokers(&self, other: &Self) -> bool {
        self.snapshot.brokers == other.snapshot.brokers && self.offline == other.offline
    }
}

/// Every partition that differs between two snapshots, or all of `now`.
fn changed<'a>(
    before: Option<&'a ClusterSnapshot>,
    now: &'a ClusterSnapshot,
    all: bool,
) -> impl Iterator<
    Item = (
        &'a TopicName,
        Option<TopicId>,
        PartitionIndex,
        &'a PartitionInfo,
    ),
> {
    let topics = now.topics.iter().filter(move |(topic, info)| {
        let old = before.and_then(|b| b.topics.get(*topic));
        all || old.is_none_or(|old| !Arc::ptr_eq(old, info))
    });
    topics.flat_map(move |(topic, info)| {
        let old = before.and_then(|b| b.topics.get(topic));
        let old = old.filter(|old| old.id == info.id && !all);
        let partitions = info.partitions.iter().filter(move |(index, now)| {
            old.and_then(|old| old.partitions.get(index)) != Some(*now)
        });
        partitions.map(move |(index, partition)| (topic, info.id, *index, partition))
    })
}

fn named(topic: &TopicName, partition: PartitionIndex) -> TopicPartition {
    TopicPartition {
        topic: topic.clone(),
        partition,
    }
}

/// Replicas of `broker` that must hear of a leader, an epoch or a placement.
pub(super) fn plan_leads(told: &Told, orders: &Orders, broker: BrokerId) -> Vec<Lead> {
    let events = |o: &Orders| o.log_dir_events.get(&broker).copied();
    let before = told.led.as_deref();
    let all = before.is_none_or(|before| {
        events(before) != events(orders) || before.deleting != orders.deleting
    });
    let old = |topic: &TopicName, id, index| {
        let before = before.filter(|b| events(b) == events(orders) && !b.is_deleting(topic, id))?;
        let topic = before.snapshot.topics.get(topic).filter(|t| t.id == id)?;
        let info: &PartitionInfo = topic.partitions.get(&index)?;
        let state = info.state.as_ref()?;
        before.runs(broker, info, state).then_some((info, state))
    };
    let mut leads = Vec::new();
    let snapshots = before.map(|b| &*b.snapshot);
    for (topic, topic_id, index, info) in changed(snapshots, &orders.snapshot, all) {
        let Some(state) = &info.state else { continue };
        if !orders.runs(broker, info, state) || orders.is_deleting(topic, topic_id) {
            continue;
        }
        let is_told = old(topic, topic_id, index).is_some_and(|(old, old_state)| {
            old_state.leader_epoch == state.leader_epoch
                && old_state.leader == state.leader
                && old.replicas == info.replicas
                && old.adding_replicas == info.adding_replicas
                && old.removing_replicas == info.removing_replicas
        });
        if !is_told {
            leads.push(Lead {
                partition: named(topic, index),
                topic_id,
                is_new: state.version == 0 && state.controller_epoch == orders.epoch
                    || info.adding_replicas.contains(&broker) && !state.isr.contains(&broker),
                info: info.clone(),
                state: state.clone(),
            });
        }
    }
    leads
}

/// Partitions that look otherwise than they were shown.
pub(super) fn plan_shows(told: &Told, orders: &Orders) -> Vec<Show> {
    let before = told.shown.as_deref();
    let all = before.is_none_or(|b| !b.same_brokers(orders) || b.deleting != orders.deleting);
    let mut shows = Vec::new();
    let snapshots = before.map(|b| &*b.snapshot);
    for (topic, topic_id, index, info) in changed(snapshots, &orders.snapshot, all) {
        let Some(state) = &info.state else { continue };
        let partition = named(topic, index);
        let offline = orders.unreachable(&partition, info);
        let deleting = orders.is_deleting(topic, topic_id);
        let same = before.is_some_and(|b| {
            let old = b.snapshot.topics.get(topic).filter(|t| t.id == topic_id);
            let old = old.and_then(|t| t.partitions.get(&index));
            old == Some(info)
                && b.unreachable(&partition, info) == offline
                && b.is_deleting(topic, topic_id) == deleting
        });
        if !same {
            shows.push(Show {
                partition,
                topic_id,
                info: info.clone(),
                state: state.clone(),
                offline,
                deleting,
            });
        }
    }
    shows
}

/// Replicas of `broker` that must stop, with their data or without.
pub(super) fn plan_stops(told: &Told, orders: &Orders, broker: BrokerId) -> Vec<Stop> {
    let mut stops = Vec::new();
    for (topic, id) in &orders.deleting {
        let info = orders.snapshot.topics.get(topic);
        for (index, partition) in info.into_iter().flat_map(|info| &info.partitions) {
            if partition.replicas.contains(&broker) {
                stops.push(Stop {
                    partition: named(topic, *index),
                    topic_id: *id,
                    epoch: None,
                    delete: true,
                });
            }
        }
    }
    let of_broker = orders.dropped.iter().filter(|((b, _), _)| *b == broker);
    stops.extend(of_broker.filter_map(|((_, tp), id)| {
        let topic = orders.snapshot.topics.get(&tp.topic)?;
        let state = topic.partitions.get(&tp.partition)?.state.as_ref()?;
        Some(Stop {
            partition: tp.clone(),
            topic_id: *id,
            epoch: Some(state.leader_epoch),
            delete: true,
        })
    }));
    if orders.stopping.contains(&broker) {
        for (topic, info) in &orders.snapshot.topics {
            for (index, partition) in &info.partitions {
                let Some(state) = &partition.state else {
                    continue;
                };
                if partition.replicas.contains(&broker)
                    && !orders.runs(broker, partition, state)
                    && !orders.is_deleting(topic, info.id)
                {
                    stops.push(Stop {
                        partition: named(topic, *index),
                        topic_id: info.id,
                        epoch: Some(state.leader_epoch),
                        delete: false,
                    });
                }
            }
        }
    }
    stops.retain(|stop| told.stopped.get(&stop.partition) != Some(&(stop.topic_id, stop.delete)));
    stops
}

/// Whether the live brokers must be told before anything else: followers connect to them.
pub(super) fn brokers_first(told: &Told, orders: &Orders) -> bool {
    let shown = told.shown.as_deref();
    shown.is_none_or(|shown| shown.snapshot.brokers != orders.snapshot.brokers)
}

#[cfg(test)]
mod tests;
