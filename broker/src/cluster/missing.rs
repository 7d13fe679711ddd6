//! Replicas whose records should be here and are not: their disk is offline, or was replaced.
//!
//! Found once, when the broker starts, by comparing the cluster as it was before with the logs and with what an earlier
//! start has noted (`storage/identity.rs`). An
//! in-sync replica is trusted to have every acknowledged record; one that came back empty must not
//! lead, or all copies would be cut down to nothing (`KIP-966`, KIP-903). It says so to the controller as an error
//! of storage, follows whoever else leads, and is trusted again once it has been out of the in-sync
//! replicas: only a leader that saw it catch up puts it back. Pure, but for the looking and the log.

use std::collections::{BTreeMap, BTreeSet};

use nyala_coordinator::cluster::{ClusterSnapshot, PartitionInfo};
use nyala_coordinator::ids::{BrokerId, PartitionIndex, TopicName, TopicPartition};
use tracing::{error, warn};

use super::facts::{FactError, PartitionFacts};
use super::roles::Failed;
use crate::storage::LogDirs;

/// What is missing.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// May be in a folder that is offline: nothing is made in its place.
    offline: BTreeSet<TopicPartition>,
    /// Were on a disk that is now another one, or in no folder of ours any more, and counted as in sync.
    lost: BTreeSet<TopicPartition>,
    /// How many of them there were when they were noted: they only become fewer.
    noted: usize,
}

/// What the folders look like.
#[derive(Clone, Copy, Debug)]
struct Folders {
    /// Some folder is offline.
    offline: bool,
    /// Some folder is new to this broker, or gone.
    replaced: bool,
}

impl Missing {
    /// Compares the cluster before this broker registered with the logs that are here.
    pub(super) fn find(this: BrokerId, before: &ClusterSnapshot, logs: &LogDirs) -> Self {
        let here: BTreeSet<TopicPartition> = logs.logs().into_keys().collect();
        let states = logs.states();
        let folders = Folders {
            offline: states.iter().any(|dir| dir.offline.is_some()),
            replaced: logs.has_other_dirs(),
        };
        let noted = logs.lost_replicas();
        let missing = Self::decide(this, before, &here, folders, &noted);
        missing.tell(this, before, &here);
        missing
    }

    fn decide(
        this: BrokerId,
        before: &ClusterSnapshot,
        here: &BTreeSet<TopicPartition>,
        folders: Folders,
        noted: &BTreeSet<TopicPartition>,
    ) -> Self {
        let trusted = |known: &PartitionInfo| {
            let state = known.state.as_ref();
            state.is_some_and(|s| s.isr.contains(&this)) && known.replicas.len() > 1
        };
        let mut missing = Self::default();
        for (id, known) in absent(this, before, here) {
            if folders.offline && known.state.is_some() {
                missing.offline.insert(id);
            } else if folders.replaced && trusted(known) {
                missing.lost.insert(id);
            }
        }
        // By an earlier start: an empty log may be here by now.
        let still = noted
            .iter()
            .filter(|id| before.partition(id).is_some_and(trusted));
        missing.lost.extend(still.cloned());
        missing.noted = missing.lost.len();
        missing
    }

    fn tell(&self, this: BrokerId, before: &ClusterSnapshot, here: &BTreeSet<TopicPartition>) {
        let strays = here.iter().filter(|tp| before.partition(tp).is_none());
        if let Some((count, some)) = brief(strays) {
            warn!("{count} logs belong to no topic of this cluster and are left alone: {some}");
        }
        if let Some((count, some)) = brief(self.offline.iter()) {
            error!(
                "{count} replicas may be in the log folder that is offline, and wait for it: {some}"
            );
        }
        if let Some((count, some)) = brief(self.lost.iter()) {
            error!(
                "{count} replicas were in sync here, and the disk that had them is replaced or not \
                 in log.dirs any more: they do not lead until they have been copied from the others: {some}"
            );
        }
        let absent: Vec<_> = absent(this, before, here)
            .filter(|(_, known)| {
                let leader = known.state.as_ref().and_then(|s| s.leader);
                known.replicas == [this] && leader == Some(this)
            })
            .map(|(id, _)| id)
            .filter(|id| !self.offline.contains(id))
            .collect();
        if let Some((count, some)) = brief(absent.iter()) {
            warn!(
                "{count} partitions were led here, but their logs are not here: they start empty: {some}"
            );
        }
    }

    /// Parts facts that may be applied from those that must not be; notes what is trusted again.
    pub(super) fn sift(
        &mut self,
        this: BrokerId,
        facts: Vec<PartitionFacts>,
    ) -> (Vec<PartitionFacts>, Failed<FactError>) {
        if self.offline.is_empty() && self.lost.is_empty() {
            return (facts, Failed::new());
        }
        let mut refused = Failed::new();
        let mut allowed = Vec::new();
        for facts in facts {
            let id = &facts.partition;
            if !facts.isr.contains(&this) {
                self.lost.remove(id);
            }
            let reason = if self.offline.contains(id) && !facts.is_new {
                "it may be in the log folder that is offline"
            } else if self.lost.contains(id) && facts.leader == Some(this) {
                "its records were on a disk that has been replaced or is not in log.dirs any more"
            } else {
                allowed.push(facts);
                continue;
            };
            let error = FactError::Storage {
                partition: id.clone(),
                reason: reason.to_owned(),
            };
            refused.insert(facts.partition, error);
        }
        (allowed, refused)
    }

    /// What is lost, if that is less than when this was asked last.
    pub(super) fn changed(&mut self) -> Option<BTreeSet<TopicPartition>> {
        let count = self.lost.len();
        let changed = std::mem::replace(&mut self.noted, count) != count;
        changed.then(|| self.lost.clone())
    }

    /// Replicas that were in sync and are no more here.
    pub(super) fn lost(&self) -> &BTreeSet<TopicPartition> {
        &self.lost
    }

    /// The controller has deleted the replica.
    pub(super) fn forget(&mut self, id: &TopicPartition) {
        self.offline.remove(id);
        self.lost.remove(id);
    }
}

/// Replicas that the cluster has on this broker and that are not here.
fn absent<'a>(
    this: BrokerId,
    before: &'a ClusterSnapshot,
    here: &'a BTreeSet<TopicPartition>,
) -> impl Iterator<Item = (TopicPartition, &'a PartitionInfo)> {
    let id = |topic: &TopicName, index: &PartitionIndex| TopicPartition {
        topic: topic.clone(),
        partition: *index,
    };
    let all = before.topics.iter().flat_map(move |(topic, info)| {
        let partitions: &BTreeMap<PartitionIndex, PartitionInfo> = &info.partitions;
        partitions
            .iter()
            .map(move |(index, known)| (id(topic, index), known))
    });
    all.filter(move |(id, known)| known.replicas.contains(&this) && !here.contains(id))
}

/// How many, and the first of them; `None` for none.
fn brief<'a>(ids: impl Iterator<Item = &'a TopicPartition>) -> Option<(usize, String)> {
    let names: Vec<String> = ids.map(ToString::to_string).collect();
    let some = names.get(..10).unwrap_or(&names).join(", ");
    (!names.is_empty()).then_some((names.len(), some))
}

#[cfg(test)]
mod tests;
