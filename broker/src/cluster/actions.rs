//! What this broker does about its partitions, decided from facts alone: the cluster's snapshot
//! against what is here.
//!
//! Pure and level-triggered: asked again after any change, it gives only what is still to do.
//! *Invariant*: data is deleted only for a topic that was seen marked for deletion. A topic that is
//! merely gone (a wiped or wrong ZooKeeper) is no longer served, but its files stay.

use std::collections::{BTreeMap, BTreeSet};

use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{BrokerId, LeaderEpoch, TopicId, TopicName, TopicPartition};

/// One partition that this broker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    /// Topic id of its log.
    pub(super) topic_id: Option<TopicId>,
    /// Epoch in which this broker leads it.
    pub(super) leading: Option<LeaderEpoch>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Open or make the log and lead.
    Lead {
        partition: TopicPartition,
        topic_id: Option<TopicId>,
        epoch: LeaderEpoch,
    },
    /// Serve it no more; the log stays.
    Resign { partition: TopicPartition },
    /// Stop serving it and delete the log.
    Delete { partition: TopicPartition },
}

/// Topics that are to be deleted, as they were when the mark was seen.
pub(super) type Marked = BTreeMap<TopicName, Option<TopicId>>;

/// What is to do. `failed` are attempts to lead that need not be repeated.
pub(super) fn diff(
    this: BrokerId,
    snapshot: &ClusterSnapshot,
    marked: &Marked,
    local: &BTreeMap<TopicPartition, Local>,
    failed: &BTreeSet<(TopicPartition, LeaderEpoch)>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    for (partition, here) in local {
        let topic = snapshot.topics.get(&partition.topic);
        let same = topic.is_some_and(|t| t.id == here.topic_id || here.topic_id.is_none());
        let doomed = marked
            .get(&partition.topic)
            .is_some_and(|id| *id == here.topic_id);
        let partition = partition.clone();
        if doomed {
            actions.push(Action::Delete { partition });
        } else if !same && here.leading.is_some() {
            actions.push(Action::Resign { partition });
        } else if here.leading.is_some() {
            let state = snapshot
                .partition(&partition)
                .and_then(|p| p.state.as_ref());
            // Not read yet is not the same as led by another.
            let other = state.is_some_and(|s| s.leader != Some(this));
            if other {
                actions.push(Action::Resign { partition });
            }
        }
    }
    for (topic, info) in &snapshot.topics {
        if marked.get(topic).is_some_and(|id| *id == info.id) {
            continue;
        }
        for (index, known) in &info.partitions {
            let Some(state) = known.state.as_ref().filter(|s| s.leader == Some(this)) else {
                continue;
            };
            let epoch = state.leader_epoch;
            let partition = TopicPartition {
                topic: topic.clone(),
                partition: *index,
            };
            let here = local.get(&partition);
            let same = here.is_some_and(|l| l.topic_id == info.id || l.topic_id.is_none());
            let leads = same && here.and_then(|l| l.leading) >= Some(epoch);
            if !leads && !failed.contains(&(partition.clone(), epoch)) {
                actions.push(Action::Lead {
                    partition,
                    topic_id: info.id,
                    epoch,
                });
            }
        }
    }
    actions
}

#[cfg(test)]
mod tests;
