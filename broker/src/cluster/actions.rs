//! What this broker does about its replicas, decided from facts alone: the cluster's snapshot
//! against what is here.
//!
//! Pure and level-triggered: asked again after any change, it gives only what is still to do.
//! *Invariant*: nothing here deletes data. A topic that is merely gone (a wiped or wrong ZooKeeper) is no
//! longer served, but its files stay; they go when the controller says so (StopReplica).

use std::collections::BTreeMap;
use std::sync::Arc;

use nyala_coordinator::cluster::{ClusterSnapshot, PartitionInfo, PartitionState, TopicInfo};
use nyala_coordinator::ids::{BrokerId, LeaderEpoch, TopicId, TopicName, TopicPartition};

use super::facts::PartitionFacts;
use super::marked::Marked;
use crate::replication::ReplicaState;

/// Age of what is known of a partition: leader epoch, then partition epoch.
pub(super) type At = (LeaderEpoch, i32);

/// One partition that this broker has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Local {
    /// Topic id of its log.
    pub(super) topic_id: Option<TopicId>,
    /// The facts that it serves by; `None`: it does not serve.
    pub(super) state: Option<Arc<ReplicaState>>,
    /// Epoch in which this broker leads it.
    pub(super) leading: Option<LeaderEpoch>,
}

impl Local {
    fn at(&self) -> Option<At> {
        let state = self.state.as_ref()?;
        Some((state.leader_epoch, state.partition_epoch))
    }

    /// Whether the replicas are others; a reassignment begins without new epochs.
    fn is_reassigned(&self, known: &PartitionInfo) -> bool {
        self.state.as_ref().is_some_and(|state| {
            state.replicas != known.replicas
                || state.adding != known.adding_replicas
                || state.removing != known.removing_replicas
        })
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Open or make the log; lead or follow.
    Apply(PartitionFacts),
    /// Serve it no more; the log stays.
    Idle(TopicPartition),
}

/// A replica that the controller has stopped, and what may start it again beside the controller's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped {
    /// Id of the topic.
    pub(super) topic_id: Option<TopicId>,
    /// A later leader epoch starts it again; `None`: only another topic does.
    pub(super) until: Option<LeaderEpoch>,
}

/// What counts beside the snapshot.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Topics that are to be deleted, as they were when the mark was seen: nobody leads them.
    pub(super) marked: Marked,
    /// Replicas that the controller has stopped.
    pub(super) stopped: BTreeMap<TopicPartition, Stopped>,
    /// Topics that an order brought and no snapshot has shown yet: it will.
    pub(super) ahead: BTreeMap<TopicName, Option<TopicId>>,
    /// Attempts that failed and need not be repeated.
    pub(super) failed: BTreeMap<TopicPartition, At>,
    /// Leader epochs from before this process. With other replicas about, this broker leads in none of
    /// them by itself: its log may have lost an end that they have. The controller decides.
    pub(super) before: BTreeMap<TopicPartition, LeaderEpoch>,
    /// This broker is leaving: it takes no new role, but gives up what others have taken over.
    pub(super) leaving: bool,
}

/// What is to do.
pub(super) fn diff(
    this: BrokerId,
    snapshot: &ClusterSnapshot,
    memory: &Memory,
    local: &BTreeMap<TopicPartition, Local>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let serving = local.iter().filter(|(_, here)| here.state.is_some());
    for (partition, here) in serving {
        if must_stop(this, snapshot, memory, partition, here) {
            actions.push(Action::Idle(partition.clone()));
        }
    }
    for (topic, info) in &snapshot.topics {
        if memory.marked.get(topic).is_some_and(|id| *id == info.id) {
            continue;
        }
        for (index, known) in &info.partitions {
            let Some(state) = &known.state else { continue };
            let partition = TopicPartition {
                topic: topic.clone(),
                partition: *index,
            };
            let here = local.get(&partition);
            if may_start(this, info.id, known, state, (&partition, here, memory)) {
                actions.push(Action::Apply(facts(partition, info.id, known, state)));
            }
        }
    }
    actions
}

/// Whether a partition that is served here may be served no longer.
fn must_stop(
    this: BrokerId,
    snapshot: &ClusterSnapshot,
    memory: &Memory,
    partition: &TopicPartition,
    here: &Local,
) -> bool {
    let TopicPartition { topic, partition } = partition;
    if memory
        .marked
        .get(topic)
        .is_some_and(|id| *id == here.topic_id)
    {
        return true;
    }
    if memory
        .ahead
        .get(topic)
        .is_some_and(|id| *id == here.topic_id)
    {
        return false;
    }
    let Some(info) = snapshot.topics.get(topic) else {
        return true;
    };
    if !is_same(info, here) {
        return true;
    }
    // Not read yet is not the same as taken away.
    let Some(known) = info.partitions.get(partition) else {
        return false;
    };
    let Some(state) = &known.state else {
        return false;
    };
    let taken = !known.replicas.contains(&this);
    let moved = memory.leaving && here.leading.is_some() && state.leader != Some(this);
    (taken || moved) && Some((state.leader_epoch, state.version)) >= here.at()
}

fn is_same(info: &TopicInfo, here: &Local) -> bool {
    here.topic_id.is_none() || here.topic_id == info.id
}

/// Whether the snapshot has news for this broker that it may act on by itself.
fn may_start(
    this: BrokerId,
    topic_id: Option<TopicId>,
    known: &PartitionInfo,
    state: &PartitionState,
    (partition, here, memory): (&TopicPartition, Option<&Local>, &Memory),
) -> bool {
    let at = (state.leader_epoch, state.version);
    if memory.leaving || !known.replicas.contains(&this) {
        return false;
    }
    let here_at = here.and_then(Local::at);
    let reassigned = here_at == Some(at) && here.is_some_and(|l| l.is_reassigned(known));
    if (here_at >= Some(at) && !reassigned) || memory.failed.get(partition) >= Some(&at) {
        return false;
    }
    let stopped = memory.stopped.get(partition);
    if stopped.is_some_and(|s| s.topic_id == topic_id && s.until.is_none_or(|u| at.0 <= u)) {
        return false;
    }
    match state.leader {
        Some(leader) if leader == this => {
            let alone = known.replicas == [this];
            let leads = here.is_some_and(|l| l.leading == Some(at.0));
            alone || leads || memory.before.get(partition) < Some(&at.0)
        }
        Some(_) => true,
        // Nothing to do for one that nobody leads, but to know it where it is served.
        None => here_at.is_some(),
    }
}

fn facts(
    partition: TopicPartition,
    topic_id: Option<TopicId>,
    known: &PartitionInfo,
    state: &PartitionState,
) -> PartitionFacts {
    PartitionFacts {
        partition,
        topic_id,
        leader: state.leader,
        leader_epoch: state.leader_epoch,
        partition_epoch: state.version,
        isr: state.isr.clone(),
        replicas: known.replicas.clone(),
        adding: known.adding_replicas.clone(),
        removing: known.removing_replicas.clone(),
        is_new: false,
    }
}

#[cfg(test)]
mod tests;
